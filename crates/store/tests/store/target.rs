//! What is at the target, or in its way, and who else wants it.

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

fn fill(store: &Store, sample: &Sample) {
    for piece in 0..sample.info.geometry.pieces() {
        store.write_piece(piece, &sample.blocks(piece, 16_384)).unwrap();
        store.journal(piece).unwrap();
    }
}

#[test]
fn an_existing_target_is_left_alone() {
    for sample in [file(), folder()] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("content");
        sample.lay_out(&target);
        let error = receive(&sample, &target, false).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Exists, "{error}");
        assert_eq!(names_in(place.path()), ["content"]);
    }
}

#[test]
fn a_target_that_appears_meanwhile_is_left_alone() {
    for sample in [file(), folder()] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("content");
        let store = receive(&sample, &target, false).unwrap();
        fill(&store, &sample);
        let mine = if sample.tree().len() == 1 { target.clone() } else { target.join("mine") };
        fs::create_dir_all(mine.parent().unwrap()).unwrap();
        fs::write(&mine, "mine").unwrap();
        let error = store.finish().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Exists, "{error}");
        assert_eq!(fs::read(&mine).unwrap(), b"mine");
        drop(store);
        // Nothing is lost: with permission to replace it, it goes on from there.
        receive(&sample, &target, true).unwrap().finish().unwrap();
        assert!(read_tree(&target) == sample.tree());
        assert_eq!(names_in(place.path()), ["content"]);
    }
}

#[test]
fn an_existing_target_is_replaced_when_that_is_asked_for() {
    for sample in [file(), folder()] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("content");
        let old = if sample.tree().len() == 1 { target.clone() } else { target.join("x/old") };
        fs::create_dir_all(old.parent().unwrap()).unwrap();
        fs::write(&old, "old").unwrap();
        let store = receive(&sample, &target, true).unwrap();
        fill(&store, &sample);
        assert_eq!(fs::read(&old).unwrap(), b"old", "untouched until the new one is whole");
        assert_eq!(store.finish().unwrap(), Some(target.clone()));
        assert!(read_tree(&target) == sample.tree());
        assert_eq!(names_in(place.path()), ["content"]);
        let mut first = [0; 1000];
        store.read(0..1000, &mut first).unwrap();
        assert!(first == sample.bytes[..1000], "it is served on from its new place");
    }
}

#[test]
fn a_target_of_another_kind_is_never_replaced() {
    for overwrite in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("content");
        fs::create_dir(&target).unwrap();
        let error = receive(&file(), &target, overwrite).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsuitable, "{error}");
        assert!(error.to_string().ends_with("is a folder, not a file"), "{error}");
        fs::remove_dir(&target).unwrap();

        fs::write(&target, "a file").unwrap();
        let error = receive(&folder(), &target, overwrite).unwrap_err();
        assert!(error.to_string().ends_with("is a file, not a folder"), "{error}");
        fs::remove_file(&target).unwrap();

        fs::create_dir(place.path().join("real")).unwrap();
        symlink(place.path().join("real"), &target).unwrap();
        let error = receive(&folder(), &target, overwrite).unwrap_err();
        assert!(error.to_string().ends_with("is a symbolic link, not a folder"), "{error}");
        assert_eq!(names_in(place.path()), ["content", "real"]);

        fs::remove_file(&target).unwrap();
        let _socket = UnixListener::bind(&target).unwrap();
        let error = receive(&file(), &target, overwrite).unwrap_err();
        assert!(error.to_string().ends_with("is a socket, not a file"), "{error}");
    }
}

#[test]
fn a_link_at_the_target_is_replaced_and_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("content");
    fs::write(place.path().join("precious"), "precious").unwrap();
    symlink("precious", &target).unwrap();
    let store = receive(&file(), &target, true).unwrap();
    fill(&store, &file());
    store.finish().unwrap();
    assert!(fs::symlink_metadata(&target).unwrap().is_file());
    assert_eq!(fs::read(place.path().join("precious")).unwrap(), b"precious");
}

#[test]
fn the_folder_of_the_target_has_to_be_there() {
    let place = tempfile::tempdir().unwrap();
    let error = receive(&file(), &place.path().join("missing/content"), false).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Missing);
    assert!(error.to_string().ends_with("missing does not exist"), "{error}");

    fs::write(place.path().join("file"), "").unwrap();
    let error = receive(&file(), &place.path().join("file/content"), false).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsuitable, "{error}");
    for nameless in ["/", "..", "."] {
        let error = receive(&file(), Path::new(nameless), false).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsuitable, "{error}");
    }
    let error = receive(&file(), &place.path().join("x".repeat(256)), false).unwrap_err();
    assert!(error.to_string().contains("256 bytes"), "{error}");
    assert_eq!(names_in(place.path()), ["file"]);
}

#[test]
fn the_longest_name_there_is() {
    for sample in [file(), folder()] {
        let place = tempfile::tempdir().unwrap();
        let name = "é".repeat(127) + "x";
        let target = place.path().join(&name);
        let store = receive(&sample, &target, false).unwrap();
        fill(&store, &sample);
        store.finish().unwrap();
        assert!(read_tree(&target) == sample.tree());
        assert_eq!(names_in(place.path()), [name]);
    }
}

#[test]
fn two_at_once_are_one_too_many() {
    for sample in [file(), folder()] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("content");
        let first = receive(&sample, &target, false).unwrap();
        for overwrite in [false, true] {
            let error = receive(&sample, &target, overwrite).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Locked, "{error}");
            assert!(error.to_string().contains("another process is receiving"), "{error}");
        }
        let error = clear_leftovers(&sample.info, sample.info_hash, &target).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Locked);
        fill(&first, &sample);
        first.finish().unwrap();
        // The first one still serves; it does not hold the target any more.
        let error = receive(&sample, &target, false).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Exists);
        drop(receive(&sample, &target, true).unwrap());
        drop(first);
    }
}

/// Many that open, fill and finish the same target at the same time: one at a time gets it, and it
/// is right in the end.
#[test]
fn a_race_for_one_target() {
    let sample = Arc::new(Sample::file(200_000, 16_384, 3));
    for _ in 0..20 {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("content");
        let start = Barrier::new(4);
        let finished: usize = thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        match receive(&sample, &target, false) {
                            Ok(store) => {
                                fill(&store, &sample);
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
        assert_eq!(names_in(place.path()), ["content"]);
    }
}

#[test]
fn leftovers_that_can_be_gone_on_with_are_kept() {
    let sample = file();
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("content");
    drop(receive(&sample, &target, false).unwrap());
    sample.lay_out(&target);
    clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    assert_eq!(names_in(place.path()), ["content", "content.sow-part", "content.sow-part.journal"]);
    // A journal alone is of no use to anybody.
    fs::remove_file(place.path().join("content.sow-part")).unwrap();
    let other = Sample::file(10, 10, 9);
    clear_leftovers(&other.info, other.info_hash, &target).unwrap();
    assert_eq!(
        names_in(place.path()),
        ["content", "content.sow-part.journal"],
        "not this content's"
    );
    clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    assert_eq!(names_in(place.path()), ["content"]);
}

#[test]
fn to_serve_needs_files_of_the_right_lengths() {
    let place = tempfile::tempdir().unwrap();
    for sample in [file(), folder()] {
        let path = place.path().join("content");
        let error = DiskStore::serve(&sample.info, &path).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Missing, "{error}");
        sample.lay_out(&path);
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
