//! Lengths and headers of Rust files: a header that says what the file is for, 600 lines a file, 70
//! a function.

use anyhow::{Result, anyhow};
use syn::{spanned::Spanned, visit::Visit};

use super::source::{Finding, SourceFile};

/// Lines of a file.
const MAX_FILE_LINES: usize = 600;

/// Lines of a function, from its signature to its closing brace.
const MAX_FUNCTION_LINES: usize = 70;

pub(super) fn check(file: &SourceFile) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > MAX_FILE_LINES {
        findings.push(Finding::new(file, 1, format!("{lines} lines, {MAX_FILE_LINES} allowed")));
    }
    if !file.text.starts_with("//!") {
        findings.push(Finding::new(file, 1, "does not begin with a //! header"));
    }
    let syntax = syn::parse_file(&file.text).map_err(|error| anyhow!("{}: {error}", file.path))?;
    let mut functions = Functions { file, findings };
    functions.visit_file(&syntax);
    Ok(functions.findings)
}

struct Functions<'a> {
    file: &'a SourceFile,
    findings: Vec<Finding>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let lines = block.span().end().line - first + 1;
        if lines > MAX_FUNCTION_LINES {
            let name = &signature.ident;
            let message = format!("fn {name}: {lines} lines, {MAX_FUNCTION_LINES} allowed");
            self.findings.push(Finding::new(self.file, first, message));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.measure(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::source::tests::file, *};

    fn messages(text: &str) -> Vec<String> {
        let findings = check(&file("a.rs", text)).unwrap();
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn functions_are_measured_without_their_documentation() {
        let function = |lines: usize| {
            format!("/// Doc.\n#[inline]\nfn long() {{\n{}}}\n", "    f();\n".repeat(lines - 2))
        };
        assert_eq!(messages(&format!("//! A.\n{}", function(70))), [""; 0]);
        let found = messages(&format!("//! A.\nimpl A {{\n{}}}\n", function(71)));
        assert_eq!(found, ["fn long: 71 lines, 70 allowed"]);
    }

    #[test]
    fn a_file_has_a_header_and_at_most_600_lines() {
        assert_eq!(messages("use std::fmt;\n"), ["does not begin with a //! header"]);
        let found = messages(&format!("//! A.\n{}", "// x\n".repeat(600)));
        assert_eq!(found, ["601 lines, 600 allowed"]);
    }
}
