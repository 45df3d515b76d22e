//! Replays the seeds and the committed corpora through their targets, without a fuzzer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sow_fuzz::TARGETS;

/// The most files that a target's corpus may have, so that this stays a matter of seconds.
const MAX_FILES: usize = 300;

/// The most bytes that all corpora may have.
const MAX_BYTES: usize = 2_000_000;

#[test]
fn every_input_holds_what_its_target_asserts() {
    let mut bytes = 0;
    for (name, target) in TARGETS {
        let seeds = inputs("seeds", name);
        let corpus = inputs("corpus", name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        assert!(!corpus.is_empty(), "{name} has no corpus");
        assert!(
            corpus.len() <= MAX_FILES,
            "{name} has {} files: run `cargo fuzz cmin`",
            corpus.len()
        );
        for path in seeds.iter().chain(&corpus) {
            let data = fs::read(path).unwrap();
            bytes += data.len();
            // Seen only when the target panics.
            println!("{}", path.display());
            target(&data);
        }
    }
    assert!(bytes <= MAX_BYTES, "the corpora have {bytes} bytes");
}

/// Whatever is in the folder belongs to a target.
#[test]
fn no_corpus_is_without_its_target() {
    for kind in ["seeds", "corpus"] {
        for entry in fs::read_dir(root().join(kind)).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(
                TARGETS.iter().any(|(target, _)| *target == name),
                "{kind}/{} has no target",
                name.display()
            );
        }
    }
}

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root().join(kind).join(target)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
