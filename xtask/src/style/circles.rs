//! Circles of imports: at most three files of a crate may import each other in a circle.
//!
//! An arrow runs from a file that names an item to the file that defines it, through re-exports. A
//! re-export alone is no arrow: a `mod.rs` may present what its folder holds. Code under
//! `#[cfg(test)]` and inside macro calls is not read.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use syn::visit::Visit;

use super::source::{Finding, SourceFile};

/// Files in the largest circle that is allowed.
const MAX_CIRCLE: usize = 3;

/// How many re-exports a name is followed through.
const MAX_REEXPORTS: usize = 8;

type ModulePath = Vec<String>;

/// The arrows between the files of one crate, by path.
type Arrows = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(files: &[SourceFile]) -> Result<Vec<Finding>> {
    let mut crates: BTreeMap<&str, Vec<&SourceFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        if let Some(at) = file.path.find("/src/").filter(|_| !file.path.contains("/tests/")) {
            crates.entry(&file.path[..at]).or_default().push(file);
        }
    }
    let mut findings = Vec::new();
    for files in crates.values() {
        for circle in circles(&arrows(files)?) {
            if circle.len() > MAX_CIRCLE {
                findings.push(Finding {
                    path: circle[0].clone(),
                    line: 1,
                    message: format!(
                        "{} files import each other in a circle: {}",
                        circle.len(),
                        circle.join(", ")
                    ),
                });
            }
        }
    }
    Ok(findings)
}

/// What one file says: the names that it imports, and every path in its code.
struct Module<'a> {
    file: &'a SourceFile,
    /// The path behind each imported or re-exported name.
    imports: BTreeMap<String, ModulePath>,
    /// The paths that are arrows.
    uses: Vec<ModulePath>,
}

fn arrows(files: &[&SourceFile]) -> Result<Arrows> {
    let mut modules: BTreeMap<ModulePath, Module> = BTreeMap::new();
    for file in files {
        let syntax =
            syn::parse_file(&file.text).map_err(|error| anyhow!("{}: {error}", file.path))?;
        let mut module = Module { file, imports: BTreeMap::new(), uses: Vec::new() };
        Reader { module: &mut module }.visit_file(&syntax);
        modules.insert(module_path(&file.path), module);
    }
    let mut arrows = Arrows::new();
    for (path, module) in &modules {
        let targets = arrows.entry(module.file.path.clone()).or_default();
        for used in &module.uses {
            let target = resolve(&modules, path, used, MAX_REEXPORTS);
            targets.extend(target.filter(|target| *target != module.file.path));
        }
    }
    Ok(arrows)
}

/// `crates/a/src/b/mod.rs` is `b`, `crates/a/src/b/c.rs` is `b::c`, `lib.rs` and `main.rs` are the
/// root.
fn module_path(path: &str) -> ModulePath {
    let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside);
    let mut module: ModulePath =
        inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let last = module.last().map(String::as_str);
    if last == Some("mod") || (module.len() == 1 && matches!(last, Some("lib" | "main"))) {
        module.pop();
    }
    module
}

/// The file that defines what `used` names in the module at `from`. `None`: another crate, or a
/// module as such.
fn resolve(
    modules: &BTreeMap<ModulePath, Module>,
    from: &ModulePath,
    used: &[String],
    reexports: usize,
) -> Option<String> {
    let mut place = from.clone();
    let mut rest = used;
    match rest.first()?.as_str() {
        "crate" => (place, rest) = (Vec::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {}
        first => {
            if let Some(path) = modules[from].imports.get(first).filter(|path| path[..] != *used) {
                let reexports = reexports.checked_sub(1)?;
                let longer = path.iter().chain(&rest[1..]).cloned().collect::<Vec<_>>();
                return resolve(modules, from, &longer, reexports);
            }
            if !is_module(modules, &place, first) {
                return None;
            }
        }
    }
    while let Some((first, others)) = rest.split_first() {
        if first == "super" {
            place.pop()?;
        } else if is_module(modules, &place, first) {
            place.push(first.clone());
        } else {
            let module = modules.get(&place)?;
            return match module.imports.get(first) {
                Some(path) if reexports > 0 && place != *from => {
                    let longer = path.iter().chain(others).cloned().collect::<Vec<_>>();
                    resolve(modules, &place, &longer, reexports - 1)
                }
                _ => Some(module.file.path.clone()),
            };
        }
        rest = others;
    }
    None
}

fn is_module(modules: &BTreeMap<ModulePath, Module>, parent: &ModulePath, name: &str) -> bool {
    let mut path = parent.clone();
    path.push(name.to_owned());
    modules.contains_key(&path)
}

/// Collects the imports and paths of a file.
struct Reader<'a, 'b> {
    module: &'a mut Module<'b>,
}

impl Reader<'_, '_> {
    fn import(&mut self, tree: &syn::UseTree, prefix: &mut ModulePath, is_arrow: bool) {
        let mut add = |prefix: &ModulePath, name: &syn::Ident, alias: &syn::Ident| {
            let mut path = prefix.clone();
            if name != "self" {
                path.push(name.to_string());
            }
            let alias = if name == "self" && alias == "self" {
                path.last().cloned().unwrap_or_default()
            } else {
                alias.to_string()
            };
            if is_arrow {
                self.module.uses.push(path.clone());
            }
            self.module.imports.insert(alias, path);
        };
        match tree {
            syn::UseTree::Path(part) => {
                prefix.push(part.ident.to_string());
                self.import(&part.tree, prefix, is_arrow);
                prefix.pop();
            }
            syn::UseTree::Name(name) => add(prefix, &name.ident, &name.ident),
            syn::UseTree::Rename(name) => add(prefix, &name.ident, &name.rename),
            syn::UseTree::Glob(_) => {}
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, prefix, is_arrow);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_, '_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(item) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_reexport = !matches!(item.vis, syn::Visibility::Inherited);
        self.import(&item.tree, &mut Vec::new(), !is_reexport);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.module.uses.push(names);
        syn::visit::visit_path(self, path);
    }

    // The path of a visibility such as `pub(in crate::a)` or `pub(super)` names no item.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

fn is_test_only(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

/// Sets of files that reach each other, each in order of its paths (Tarjan's components).
fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let mut search = Search::new(arrows);
    for file in arrows.keys() {
        if !search.numbers.contains_key(file.as_str()) {
            search.visit(file);
        }
    }
    search.found
}

struct Search<'a> {
    arrows: &'a Arrows,
    numbers: BTreeMap<&'a str, usize>,
    lowest: BTreeMap<&'a str, usize>,
    stack: Vec<&'a str>,
    found: Vec<Vec<String>>,
}

impl<'a> Search<'a> {
    fn new(arrows: &'a Arrows) -> Self {
        Self {
            arrows,
            numbers: BTreeMap::new(),
            lowest: BTreeMap::new(),
            stack: Vec::new(),
            found: Vec::new(),
        }
    }

    fn visit(&mut self, file: &'a str) {
        let number = self.numbers.len();
        self.numbers.insert(file, number);
        self.lowest.insert(file, number);
        self.stack.push(file);
        for target in self.arrows.get(file).into_iter().flatten() {
            if !self.numbers.contains_key(target.as_str()) {
                self.visit(target);
                let lowest = self.lowest[file].min(self.lowest[target.as_str()]);
                self.lowest.insert(file, lowest);
            } else if self.stack.contains(&target.as_str()) {
                let lowest = self.lowest[file].min(self.numbers[target.as_str()]);
                self.lowest.insert(file, lowest);
            }
        }
        if self.lowest[file] == number {
            let at = self.stack.iter().position(|other| *other == file).unwrap_or(0);
            let mut circle: Vec<String> =
                self.stack.split_off(at).into_iter().map(str::to_owned).collect();
            circle.sort();
            if circle.len() > 1 {
                self.found.push(circle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::source::tests::file, *};

    fn arrows_of(files: &[(&str, &str)]) -> Arrows {
        let files: Vec<SourceFile> =
            files.iter().map(|(path, text)| file(&format!("c/src/{path}"), text)).collect();
        arrows(&files.iter().collect::<Vec<_>>()).unwrap()
    }

    fn targets(arrows: &Arrows, path: &str) -> Vec<String> {
        arrows[&format!("c/src/{path}")].iter().cloned().collect()
    }

    #[test]
    fn names_lead_to_the_file_that_defines_them() {
        let arrows = arrows_of(&[
            ("lib.rs", "mod a; mod b; pub use b::Thing;"),
            ("a.rs", "use crate::Thing; use std::fmt; fn f() { super::b::c::g() }"),
            ("b/mod.rs", "mod c; pub use self::c::Thing; pub use c::other;"),
            ("b/c.rs", "use crate::a; pub struct Thing; fn g() { a::f() }"),
        ]);
        assert_eq!(targets(&arrows, "a.rs"), ["c/src/b/c.rs"]);
        assert_eq!(targets(&arrows, "b/c.rs"), ["c/src/a.rs"]);
        assert_eq!(targets(&arrows, "lib.rs"), [""; 0], "a re-export alone is no arrow");
        assert_eq!(circles(&arrows), [["c/src/a.rs", "c/src/b/c.rs"]]);
    }

    #[test]
    fn tests_and_strangers_are_no_arrows() {
        let arrows = arrows_of(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use b::X; use other::Y; #[cfg(test)] mod tests { use crate::b::Z; }"),
            ("b.rs", "use crate::a::W;"),
        ]);
        assert_eq!(targets(&arrows, "a.rs"), [""; 0]);
        assert_eq!(circles(&arrows), [[""; 0]; 0]);
    }

    #[test]
    fn four_files_in_a_circle_are_too_many() {
        let sources = |names: &[&str]| {
            let next = |at: usize| names[(at + 1) % names.len()];
            let text = |at: usize| format!("use crate::{}::f; pub fn f() {{}}", next(at));
            let mut files: Vec<SourceFile> = (0..names.len())
                .map(|at| file(&format!("c/src/{}.rs", names[at]), &text(at)))
                .collect();
            files.push(file("c/src/lib.rs", "mod a; mod b; mod c; mod d;"));
            files
        };
        assert_eq!(check(&sources(&["a", "b", "c"])).unwrap(), []);
        let found = check(&sources(&["a", "b", "c", "d"])).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.starts_with("4 files"), "{found:?}");
    }
}
