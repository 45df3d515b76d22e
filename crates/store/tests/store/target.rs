//! The target: when it exists, has another type, or is received by several processes at once.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    sync::{Arc, Barrier},
    thread,
};

use crate::sample::{Sample, names_in, read_tree};
use sow_store::{DiskStore, ReceiveOptions, Store, StoreError, StoreErrorKind, clear_leftovers};

fn file() -> Sample {
    Sample::file(100_000, 32_768, 1)
}

fn folder() -> Sample {
    Sample::folder(&[("a", 50_000, false), ("b/c", 50_000, false)], 32_768, 2)
}

fn receive(sample: &Sample, target: &Path, overwrite: bool) -> Result<Store, StoreError> {
    let options = ReceiveOptions { overwrite, ..Default::default() };
    DiskStore::receive(&sample.info, sample.info_hash, target, &options)
        .map(|(store, _)| store.into())
}

fn write_all_pieces(store: &Store, sample: &Sample) {
    for piece in 0..sample.info.geometry.pieces() {
        store.write_piece(piece, &sample.blocks(piece, 16_384)).unwrap();
        store.journal(piece).unwrap();
    }
}

#[test]
fn an_existing_target_is_not_changed() {
    for sample in [file(), folder()] {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("content");
        sample.write_to(&target);
        let error = receive(&sample, &target, false).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Exists, "{error}");
        assert_eq!(names_in(dir.path()), ["content"]);
    }
}

#[test]
fn a_target_that_appears_during_the_download_is_not_changed() {
    for sample in [file(), folder()] {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("content");
        let store = receive(&sample, &target, false).unwrap();
        write_all_pieces(&store, &sample);
        let mine = if sample.tree().len() == 1 { target.clone() } else { target.join("mine") };
        fs::create_dir_all(mine.parent().unwrap()).unwrap();
        fs::write(&mine, "mine").unwrap();
        let error = store.finish().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Exists, "{error}");
        assert_eq!(fs::read(&mine).unwrap(), b"mine");
        drop(store);
        // Nothing is lost: a run that may replace the target resumes.
        receive(&sample, &target, true).unwrap().finish().unwrap();
        assert!(read_tree(&target) == sample.tree());
        assert_eq!(names_in(dir.path()), ["content"]);
    }
}

#[test]
fn an_existing_target_is_replaced_with_overwrite() {
    for sample in [file(), folder()] {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("content");
        let old = if sample.tree().len() == 1 { target.clone() } else { target.join("x/old") };
        fs::create_dir_all(old.parent().unwrap()).unwrap();
        fs::write(&old, "old").unwrap();
        let store = receive(&sample, &target, true).unwrap();
        write_all_pieces(&store, &sample);
        assert_eq!(fs::read(&old).unwrap(), b"old", "unchanged until the new content is complete");
        assert_eq!(store.finish().unwrap(), Some(target.clone()));
        assert!(read_tree(&target) == sample.tree());
        assert_eq!(names_in(dir.path()), ["content"]);
        let mut first = [0; 1000];
        store.read(0..1000, &mut first).unwrap();
        assert!(first == sample.bytes[..1000], "the store reads from the target now");
    }
}

#[test]
fn a_target_of_another_kind_is_never_replaced() {
    for overwrite in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("content");
        fs::create_dir(&target).unwrap();
        let error = receive(&file(), &target, overwrite).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsuitable, "{error}");
        assert!(error.to_string().ends_with("is a folder, not a file"), "{error}");
        fs::remove_dir(&target).unwrap();

        fs::write(&target, "a file").unwrap();
        let error = receive(&folder(), &target, overwrite).unwrap_err();
        assert!(error.to_string().ends_with("is a file, not a folder"), "{error}");
        fs::remove_file(&target).unwrap();

        fs::create_dir(dir.path().join("real")).unwrap();
        symlink(dir.path().join("real"), &target).unwrap();
        let error = receive(&folder(), &target, overwrite).unwrap_err();
        assert!(error.to_string().ends_with("is a symbolic link, not a folder"), "{error}");
        assert_eq!(names_in(dir.path()), ["content", "real"]);

        fs::remove_file(&target).unwrap();
        let _socket = UnixListener::bind(&target).unwrap();
        let error = receive(&file(), &target, overwrite).unwrap_err();
        assert!(error.to_string().ends_with("is a socket, not a file"), "{error}");
    }
}

#[test]
fn a_link_at_the_target_is_replaced_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("content");
    fs::write(dir.path().join("precious"), "precious").unwrap();
    symlink("precious", &target).unwrap();
    let store = receive(&file(), &target, true).unwrap();
    write_all_pieces(&store, &file());
    store.finish().unwrap();
    assert!(fs::symlink_metadata(&target).unwrap().is_file());
    assert_eq!(fs::read(dir.path().join("precious")).unwrap(), b"precious");
}

#[test]
fn the_folder_of_the_target_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let error = receive(&file(), &dir.path().join("missing/content"), false).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Missing);
    assert!(error.to_string().ends_with("missing does not exist"), "{error}");

    fs::write(dir.path().join("file"), "").unwrap();
    let error = receive(&file(), &dir.path().join("file/content"), false).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsuitable, "{error}");
    for nameless in ["/", "..", "."] {
        let error = receive(&file(), Path::new(nameless), false).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsuitable, "{error}");
    }
    let error = receive(&file(), &dir.path().join("x".repeat(256)), false).unwrap_err();
    assert!(error.to_string().contains("256 bytes"), "{error}");
    assert_eq!(names_in(dir.path()), ["file"]);
}

#[test]
fn a_target_can_have_the_longest_possible_name() {
    for sample in [file(), folder()] {
        let dir = tempfile::tempdir().unwrap();
        let name = "é".repeat(127) + "x";
        let target = dir.path().join(&name);
        let store = receive(&sample, &target, false).unwrap();
        write_all_pieces(&store, &sample);
        store.finish().unwrap();
        assert!(read_tree(&target) == sample.tree());
        assert_eq!(names_in(dir.path()), [name]);
    }
}

#[test]
fn a_target_is_received_only_once_at_a_time() {
    for sample in [file(), folder()] {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("content");
        let first = receive(&sample, &target, false).unwrap();
        for overwrite in [false, true] {
            let error = receive(&sample, &target, overwrite).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Locked, "{error}");
            assert!(error.to_string().contains("another process is receiving"), "{error}");
        }
        let error = clear_leftovers(&sample.info, sample.info_hash, &target).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Locked);
        write_all_pieces(&first, &sample);
        first.finish().unwrap();
        // The first store can still be read, but has released the target.
        let error = receive(&sample, &target, false).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Exists);
        drop(receive(&sample, &target, true).unwrap());
        drop(first);
    }
}

/// Several threads open, write and finish the same target at the same time.
#[test]
fn one_of_several_racing_receivers_finishes_the_target() {
    let sample = Arc::new(Sample::file(200_000, 16_384, 3));
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("content");
        let start = Barrier::new(4);
        let finished: usize = thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        match receive(&sample, &target, false) {
                            Ok(store) => {
                                write_all_pieces(&store, &sample);
                                store.finish().unwrap();
                                1
                            }
                            Err(error) => {
                                let kind = error.kind();
                                assert!(
                                    matches!(kind, StoreErrorKind::Locked | StoreErrorKind::Exists),
                                    "{error}"
                                );
                                0
                            }
                        }
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(finished, 1);
        assert!(read_tree(&target) == sample.tree());
        assert_eq!(names_in(dir.path()), ["content"]);
    }
}

#[test]
fn leftovers_that_a_download_can_resume_are_kept() {
    let sample = file();
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("content");
    drop(receive(&sample, &target, false).unwrap());
    sample.write_to(&target);
    clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    assert_eq!(names_in(dir.path()), ["content", "content.sow-part", "content.sow-part.journal"]);
    // A journal without a part is useless.
    fs::remove_file(dir.path().join("content.sow-part")).unwrap();
    let other = Sample::file(10, 10, 9);
    clear_leftovers(&other.info, other.info_hash, &target).unwrap();
    assert_eq!(
        names_in(dir.path()),
        ["content", "content.sow-part.journal"],
        "the journal belongs to other content"
    );
    clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    assert_eq!(names_in(dir.path()), ["content"]);
}

#[test]
fn serving_needs_files_of_the_right_lengths() {
    let dir = tempfile::tempdir().unwrap();
    for sample in [file(), folder()] {
        let path = dir.path().join("content");
        let error = DiskStore::serve(&sample.info, &path).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Missing, "{error}");
        sample.write_to(&path);
        let store = Store::from(DiskStore::serve(&sample.info, &path).unwrap());
        assert!(matches!(store.journal(0), Err(StoreError::NotWritable { .. })));
        assert!(matches!(
            store.write_piece(0, &[sample.piece(0)]),
            Err(StoreError::NotWritable { .. })
        ));
        assert_eq!(store.finish().unwrap(), Some(path.clone()));
        let first = if path.is_dir() { path.join("b/c") } else { path.clone() };
        fs::write(&first, "short").unwrap();
        let error = DiskStore::serve(&sample.info, &path).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Changed, "{error}");
        let mut buffer = [0; 1000];
        let error = store.read(99_000..100_000, &mut buffer).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Changed, "{error}");
        fs::remove_file(&first).unwrap();
        let error = DiskStore::serve(&sample.info, &path).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Missing, "{error}");
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        }
    }
}
