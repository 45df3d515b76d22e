//! What the rules take and give: the text of a file, and a finding. No rules.

use std::fmt;

/// One violation of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) message: String,
}

/// A tracked text file. `path` is relative to the repository's root.
pub(super) struct SourceFile {
    pub(super) path: String,
    pub(super) text: String,
}

impl Finding {
    pub(super) fn new(file: &SourceFile, line: usize, message: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::style) fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn findings_have_the_form_that_editors_follow() {
        let finding = Finding::new(&file("a/b.rs", ""), 7, "too long");
        assert_eq!(finding.to_string(), "a/b.rs:7: too long");
    }
}
