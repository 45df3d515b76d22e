//! The rules of CONTRIBUTING.md that a program can check: line width, words, headers, lengths,
//! clocks, circles of imports.
//!
//! This file lists the files and runs the rules; each rule is a file of its own and takes plain
//! text.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

mod circles;
mod clocks;
mod lengths;
mod source;
mod width;
mod words;

use source::{Finding, SourceFile};

/// What a run of all rules found.
pub(crate) struct Report {
    /// Files that were read.
    pub(crate) files: usize,
    /// Violations, in the order of the files.
    pub(crate) findings: Vec<Finding>,
}

/// Runs every rule over the files of this repository that Git tracks or would track.
pub(crate) fn check() -> Result<Report> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = read_files(&root)?;
    let mut words = words::Words::read(&root.join("xtask/allowed-words.toml"))?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(width::check(file));
        findings.extend(words.check(file));
        if file.path.ends_with(".rs") {
            findings.extend(lengths::check(file)?);
            findings.extend(clocks::check(file));
        }
    }
    findings.extend(words.unused_exceptions());
    findings.extend(circles::check(&files)?);
    Ok(Report { files: files.len(), findings })
}

fn read_files(root: &Path) -> Result<Vec<SourceFile>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    ensure!(listed.status.success(), "git ls-files failed in {}", root.display());
    let listed = String::from_utf8(listed.stdout).context("a path is not UTF-8")?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| is_checked(path)) {
        let full = root.join(path);
        // A file that is deleted and not yet committed is listed too.
        if full.is_file() {
            let text = fs::read_to_string(&full).with_context(|| format!("cannot read {path}"))?;
            files.push(SourceFile { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

fn is_checked(path: &str) -> bool {
    let is_text = [".rs", ".md", ".toml", ".py"].iter().any(|ending| path.ends_with(ending));
    is_text || path == "test" || path.starts_with(".ci/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_files_are_checked_and_figures_are_not() {
        for (path, checked) in [
            ("crates/a/src/lib.rs", true),
            ("README.md", true),
            ("interop/peer.py", true),
            ("test", true),
            (".ci/run", true),
            ("docs/a/figure.svg", false),
            ("docs/a/records.jsonl", false),
        ] {
            assert_eq!(is_checked(path), checked, "{path}");
        }
    }
}
