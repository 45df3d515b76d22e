//! Sharing: finding the files at a path, hashing them, and comparing files with a metainfo.

use std::{
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use crate::sample::{Sample, random};
use proptest::prelude::*;
use sow_content::{Bitfield, metainfo::Files};
use sow_store::{StoreError, StoreErrorKind, hash_content, scan, verify};

/// An empty folder `shared` inside a temporary one.
fn shared() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared");
    fs::create_dir(&path).unwrap();
    (folder, path)
}

fn write(path: PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn paths_in(files: &Files) -> Vec<&str> {
    let Files::Multi(entries) = files else { panic!("a folder") };
    entries.iter().map(|entry| entry.path.as_str()).collect()
}

#[test]
fn a_file_is_shared_under_its_own_name() {
    let (_folder, path) = shared();
    write(path.join("some file"), b"12345");
    let plan = scan(&path.join("some file")).unwrap();
    assert_eq!((plan.name(), plan.total(), plan.files()), ("some file", 5, &Files::Single));
    symlink("some file", path.join("link")).unwrap();
    let plan = scan(&path.join("link")).unwrap();
    assert_eq!((plan.name(), plan.total()), ("link", 5));
}

#[test]
fn a_folder_is_walked_in_a_fixed_order() {
    let (_folder, path) = shared();
    for name in ["b", "a/z", "a/b/c", "a b", "ü/x", "a.txt", "Z"] {
        write(path.join(name), name.as_bytes());
    }
    write(path.join("empty"), b"");
    fs::create_dir_all(path.join("nothing/in here")).unwrap();
    let plan = scan(&path).unwrap();
    assert_eq!(paths_in(plan.files()), ["Z", "a/b/c", "a/z", "a b", "a.txt", "b", "empty", "ü/x"]);
    assert_eq!(plan.name(), "shared");
    assert_eq!(plan.total(), 1 + 5 + 3 + 3 + 5 + 1 + 4);
    assert_eq!(plan.empty_folders(), [Path::new("nothing/in here")]);
    assert_eq!(
        scan(&path.join("a/..")).unwrap().name(),
        "shared",
        "a path that ends in dots has a name too"
    );
}

#[test]
fn links_inside_the_folder_count_as_what_they_point_to() {
    let (_folder, path) = shared();
    write(path.join("real/file"), b"content");
    symlink("real/file", path.join("a")).unwrap();
    symlink(path.join("real/file"), path.join("absolute")).unwrap();
    symlink("real", path.join("folder")).unwrap();
    let plan = scan(&path).unwrap();
    assert_eq!(paths_in(plan.files()), ["a", "absolute", "folder/file", "real/file"]);
    assert_eq!(plan.total(), 28);
    let hashes = hash_content(&plan, 7, 1, &|_| {}, &AtomicBool::new(false)).unwrap();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
}

#[test]
fn links_that_cannot_be_shared_are_errors() {
    let cases: [(&str, &str); 4] = [
        ("../outside", "leaves the folder"),
        ("/etc", "leaves the folder"),
        (".", "a folder around it"),
        ("gone", "does not exist"),
    ];
    for (to, message) in cases {
        let (folder, path) = shared();
        write(folder.path().join("outside"), b"secret");
        // This folder is outside, although its name begins with the name of the shared folder.
        write(folder.path().join("shared too/file"), b"secret");
        write(path.join("fine"), b"1");
        symlink(to, path.join("link")).unwrap();
        let error = scan(&path).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsuitable);
        let text = error.to_string();
        assert!(text.contains("shared/link") && text.contains(message), "{text}");
    }
    let (folder, path) = shared();
    write(folder.path().join("shared too/file"), b"secret");
    symlink("../shared too/file", path.join("link")).unwrap();
    assert!(matches!(scan(&path), Err(StoreError::LinkLeaves { .. })));
}

#[test]
fn a_path_that_cannot_be_shared_is_an_error() {
    let (_folder, path) = shared();
    let error = scan(&path).unwrap_err();
    assert!(matches!(error, StoreError::EmptyFolder { .. }), "{error}");
    fs::create_dir(path.join("empty")).unwrap();
    assert!(matches!(scan(&path), Err(StoreError::EmptyFolder { .. })));
    let error = scan(&path.join("missing")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Missing);

    write(path.join("fine"), b"1");
    let _socket = UnixListener::bind(path.join("socket")).unwrap();
    let error = scan(&path).unwrap_err();
    assert!(
        error.to_string().ends_with("shared/socket is a socket, not a file or a folder"),
        "{error}"
    );
    assert!(matches!(scan(Path::new("/dev/null")), Err(StoreError::WrongKind { .. })));
    fs::remove_file(path.join("socket")).unwrap();

    write(path.join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"1");
    let error = scan(&path).unwrap_err();
    assert!(
        matches!(&error, StoreError::BadName { .. }) && error.to_string().contains("UTF-8"),
        "{error}"
    );
}

#[test]
fn a_file_that_changed_since_the_scan_is_noticed() {
    let (_folder, path) = shared();
    for change in [&b"shorter"[..], b"of the same size!", b"a good deal longer than it was"] {
        write(path.join("a"), b"some bytes in it.");
        // The change must not fall into the same tick of the file system's clock.
        let file = fs::OpenOptions::new().write(true).open(path.join("a")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(10)).unwrap();
        let plan = scan(&path).unwrap();
        write(path.join("a"), change);
        let error = hash_content(&plan, 16_384, 1, &|_| {}, &AtomicBool::new(false)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Changed, "{error}");
    }
}

#[test]
fn hashing_can_be_cancelled_and_reports_its_progress() {
    let (_folder, path) = shared();
    write(path.join("a"), &random(20_000_000, 1));
    let plan = scan(&path).unwrap();
    let cancel = AtomicBool::new(false);
    let max_reported = AtomicU64::new(0);
    let progress = |bytes| {
        max_reported.fetch_max(bytes, Ordering::Relaxed);
        cancel.store(true, Ordering::Relaxed);
    };
    assert!(matches!(
        hash_content(&plan, 1 << 20, 2, &progress, &cancel),
        Err(StoreError::Cancelled)
    ));
    assert!((1..2_000_000).contains(&max_reported.load(Ordering::Relaxed)));
    let progress = |bytes| {
        max_reported.fetch_max(bytes, Ordering::Relaxed);
    };
    hash_content(&plan, 1 << 20, 2, &progress, &AtomicBool::new(false)).unwrap();
    assert_eq!(max_reported.load(Ordering::Relaxed), 20_000_000);
}

#[test]
fn a_copy_is_compared_file_by_file_and_piece_by_piece() {
    let files = [
        ("a", 10_000, false),
        ("b/empty", 0, false),
        (".pad", 100, true),
        ("b/c", 9_900, false),
        ("d", 500, false),
    ];
    let sample = Sample::folder(&files, 1000, 1);
    let (_folder, path) = shared();
    sample.write_to(&path);
    let check = || verify(&sample.info, &path, 2, &|_| {}, &AtomicBool::new(false)).unwrap();
    let without = |lost: std::ops::Range<u32>| {
        let mut set = Bitfield::full(sample.info.geometry.pieces());
        lost.for_each(|piece| assert!(set.unset(piece)));
        set
    };
    assert!(check().is_identical());
    write(path.join("another"), b"not in the metainfo");
    assert!(check().is_identical());

    let mut bytes = fs::read(path.join("b/c")).unwrap();
    bytes[950] ^= 1;
    write(path.join("b/c"), &bytes);
    assert_eq!((check().have, check().mismatched.len()), (without(11..12), 0));
    assert!(!check().is_identical());

    sample.write_to(&path);
    fs::write(path.join("b/c"), &fs::read(path.join("b/c")).unwrap()[..9_899]).unwrap();
    assert_eq!((check().have, check().mismatched), (without(19..20), vec![path.join("b/c")]));
    fs::remove_file(path.join("b/c")).unwrap();
    assert_eq!((check().have, check().mismatched), (without(10..20), vec![path.join("b/c")]));
    sample.write_to(&path);
    fs::OpenOptions::new().append(true).open(path.join("b/c")).unwrap().write_all(b"more").unwrap();
    assert_eq!((check().have, check().mismatched), (without(0..0), vec![path.join("b/c")]));
    assert!(!check().is_identical(), "a file that is too long is not identical");

    sample.write_to(&path);
    fs::remove_file(path.join("b/empty")).unwrap();
    assert_eq!((check().have, check().mismatched), (without(0..0), vec![path.join("b/empty")]));
    assert!(!check().is_identical());
    fs::create_dir(path.join("b/empty")).unwrap();
    assert!(!check().is_identical(), "a folder is not a file");

    let file = Sample::file(10, 10, 1);
    let error = verify(&file.info, &path, 1, &|_| {}, &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsuitable, "{error}");
    let error =
        verify(&file.info, &path.join("x"), 1, &|_| {}, &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Missing, "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// For any files, piece length and number of threads, the hashes are those of the pieces.
    #[test]
    fn hashes_are_those_of_the_pieces(
        lengths in prop::collection::vec(prop_oneof![0u64..3, 0u64..600_000], 1..6),
        piece_length in prop_oneof![1000u64..40_000, 300_000u64..2_000_000],
        threads in 0usize..5,
        seed in any::<u64>(),
    ) {
        let names: Vec<_> = (0..lengths.len()).map(|at| format!("{at}")).collect();
        let files = names.iter().zip(&lengths);
        let specs: Vec<_> = files.map(|(name, length)| (name.as_str(), *length, false)).collect();
        let sample = Sample::folder(&specs, piece_length, seed);
        let (_folder, path) = shared();
        sample.write_to(&path);
        let plan = scan(&path).unwrap();
        prop_assert_eq!(plan.files(), &sample.info.files);
        let cancel = AtomicBool::new(false);
        let hashes = hash_content(&plan, piece_length as u32, threads, &|_| {}, &cancel).unwrap();
        prop_assert!(hashes == sample.info.piece_hashes);
        let found = verify(&sample.info, &path, threads, &|_| (), &cancel).unwrap();
        prop_assert!(found.is_identical());
    }
}
