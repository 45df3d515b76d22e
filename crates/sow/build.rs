//! Finds out which commit a release is built from, for `sow --version`.
//!
//! In order: the variable `SOW_COMMIT`; git; `commit.txt`, which `git archive` fills in. Builds
//! without optimization do not ask, so that a commit does not mean that all is built again.

use std::{env, fs, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=SOW_COMMIT");
    println!("cargo::rerun-if-changed=commit.txt");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = env::var("SOW_COMMIT")
        .ok()
        .or_else(|| is_release.then(|| of_git().or_else(of_archive)).flatten())
        .filter(|commit| !commit.is_empty() && commit.bytes().all(|c| (b' '..=b'~').contains(&c)));
    let version = env::var("CARGO_PKG_VERSION").expect("Cargo sets it");
    let note = commit.unwrap_or_else(|| match is_release {
        true => "unknown commit".to_owned(),
        false => "development build".to_owned(),
    });
    println!("cargo::rustc-env=SOW_VERSION={version} ({note})");
}

/// The commit that is checked out, its date, and whether files differ from it. `None` if this
/// folder is not that of the repository, or git is not installed.
fn of_git() -> Option<String> {
    // A clone inside another repository's folder is not that repository.
    let root = Path::new("../..").canonicalize().ok()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root {
        return None;
    }
    if let Some(folder) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={folder}");
    }
    // Whether anything differs from the commit.
    for path in ["..", "../../Cargo.toml", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = git(&["log", "-1", "--abbrev=10", "--date=short", "--format=%h %cd"])?;
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"])
        .is_none_or(|changes| !changes.is_empty());
    Some(if is_changed { format!("{commit}, changed") } else { commit })
}

/// What `git archive` has written.
fn of_archive() -> Option<String> {
    let text = fs::read_to_string("commit.txt").ok()?;
    let commit = text.trim();
    (!commit.contains("Format")).then(|| commit.to_owned())
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
