//! Replays the seeds and the committed corpora with their targets, without a fuzzer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sow_fuzz::TARGETS;

/// The limit on the files of a target's corpus, so that the replay takes seconds.
const MAX_CORPUS_FILES: usize = 300;

/// The limit on the bytes of all corpora together.
const MAX_CORPUS_BYTES: usize = 2_000_000;

#[test]
fn every_input_passes_the_assertions_of_its_target() {
    let mut bytes = 0;
    for (name, target) in TARGETS {
        let seeds = inputs("seeds", name);
        let corpus = inputs("corpus", name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        assert!(!corpus.is_empty(), "{name} has no corpus");
        assert!(
            corpus.len() <= MAX_CORPUS_FILES,
            "{name} has {} files: run `cargo fuzz cmin`",
            corpus.len()
        );
        for path in seeds.iter().chain(&corpus) {
            let data = fs::read(path).unwrap();
            bytes += data.len();
            // The test harness shows it only when the target panics.
            println!("{}", path.display());
            target(&data);
        }
    }
    assert!(bytes <= MAX_CORPUS_BYTES, "the corpora have {bytes} bytes");
}

#[test]
fn every_corpus_belongs_to_a_target() {
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
