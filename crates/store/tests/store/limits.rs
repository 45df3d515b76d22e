//! The store with a full disk, a read-only file system, few file descriptors, and a file size
//! limit.

use std::{
    env, fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::sample::{Sample, names_in, read_tree};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use sow_store::{
    DiskStore, ReceiveOptions, Segment, SequentialFile, SequentialTarget, Store, StoreError,
    StoreErrorKind, hash_content, scan, verify,
};

/// Set in the process that runs a test by itself, to a folder that it may use.
const ISOLATED: &str = "SOW_STORE_TEST_ISOLATED";

/// Runs a test of this file again in a process with its own mount namespace, where it may mount
/// file systems without cleaning up. In that process, runs `test`. Needs root or user namespaces.
fn with_own_mounts(name: &str, test: impl FnOnce()) {
    let rights: &[&str] =
        if geteuid().is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let mut command = Command::new("unshare");
    command.args(rights).arg(env::current_exe().unwrap());
    run_again(command, name, test);
}

/// Runs a test of this file again through a command. In that process, runs `test`.
fn run_again(mut command: Command, name: &str, test: impl FnOnce()) {
    if env::var_os(ISOLATED).is_some() {
        return test();
    }
    let folder = tempfile::tempdir().unwrap();
    command
        .args(["--exact", &format!("limits::{name}"), "--nocapture"])
        .env(ISOLATED, folder.path());
    let done = command.output();
    let done = done.expect("unshare (util-linux) can be run");
    let output_text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success() && output_text.contains("1 passed"),
        "{name} in a process of its own: {output_text}"
    );
}

/// Mounts a tmpfs in a process with its own mounts.
fn mount_tmpfs(size: &str) -> PathBuf {
    let folder = PathBuf::from(env::var_os(ISOLATED).unwrap());
    mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "sow-test"], &folder);
    folder
}

fn mount(arguments: &[&str], path: &Path) {
    let done = Command::new("mount").args(arguments).arg(path).output().expect("mount can be run");
    let output_text = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "this test mounts a tmpfs, for which it needs root or user namespaces: {output_text}"
    );
}

fn receive(sample: &Sample, target: &Path) -> Result<Store, StoreError> {
    let options = ReceiveOptions::default();
    DiskStore::receive(&sample.info, sample.info_hash, target, &options)
        .map(|(store, _)| store.into())
}

fn write_and_journal(store: &Store, sample: &Sample, piece: u32) -> Result<(), StoreError> {
    store.write_piece(piece, &sample.blocks(piece, 16_384))?;
    store.journal(piece)
}

#[test]
fn content_that_does_not_fit_is_rejected_before_the_download() {
    with_own_mounts(
        "content_that_does_not_fit_is_rejected_before_the_download",
        reject_content_that_does_not_fit,
    );
}

fn reject_content_that_does_not_fit() {
    let disk = mount_tmpfs("2m");
    let files = [("a", 1_000_000, false), ("b", 1_500_000, false)];
    for sample in [Sample::file(2_500_000, 32_768, 1), Sample::folder(&files, 32_768, 2)] {
        let error = receive(&sample, &disk.join("content")).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::DiskFull);
        let StoreError::NoSpace { path, needed, free } = &error else { panic!("{error}") };
        assert_eq!((path, *needed), (&disk.join("content"), 2_500_000));
        assert!((1_900_000..=2 << 20).contains(free), "{error}");
        assert!(names_in(&disk).is_empty(), "nothing is left behind");
        let error = DiskStore::receive_unnamed(&sample.info, &disk).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::DiskFull);
    }
}

#[test]
fn a_full_disk_loses_no_journaled_piece() {
    with_own_mounts("a_full_disk_loses_no_journaled_piece", fill_the_disk);
}

fn fill_the_disk() {
    let disk = mount_tmpfs("4m");
    let sample = Sample::file(3_000_000, 32_768, 1);
    let target = disk.join("content");
    let store = receive(&sample, &target).unwrap();
    (0..40).for_each(|piece| write_and_journal(&store, &sample, piece).unwrap());
    let filler = disk.join("filler");
    let filled = fs::write(&filler, vec![1; 4 << 20]);
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);

    let error = write_and_journal(&store, &sample, 50).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{error}");
    assert!(error.to_string().contains("content.sow-part"), "{error}");
    drop(store);

    fs::remove_file(&filler).unwrap();
    let options = ReceiveOptions::default();
    let (store, have) =
        DiskStore::receive(&sample.info, sample.info_hash, &target, &options).unwrap();
    let store = Store::from(store);
    assert_eq!(have.iter().collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    (40..have.len()).for_each(|piece| write_and_journal(&store, &sample, piece).unwrap());
    // The free space is smaller than the content, but all of the content is on the disk already.
    drop(store);
    receive(&sample, &target).unwrap().finish().unwrap();
    assert!(read_tree(&target) == sample.tree());
}

#[test]
fn a_journal_that_cannot_grow_while_the_content_can_loses_nothing() {
    let name = "a_journal_that_cannot_grow_while_the_content_can_loses_nothing";
    with_own_mounts(name, fill_the_journal);
}

/// The journal lies beside the part, so this takes a mount of the file itself.
fn fill_the_journal() {
    let small = mount_tmpfs("8k").join("journal");
    let folder = tempfile::tempdir().unwrap();
    let (target, journal) =
        (folder.path().join("content"), folder.path().join("content.sow-part.journal"));
    for file in [&small, &journal] {
        fs::write(file, []).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    mount(&["--bind", small.to_str().unwrap()], &journal);
    let sample = Sample::file(4_000_000, 1000, 5);
    let store = receive(&sample, &target).unwrap();
    let failed = (0..4000).find_map(|piece| {
        write_and_journal(&store, &sample, piece).err().map(|error| (piece, error))
    });
    let (failed, error) = failed.expect("the journal has 8 KiB");
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{error}");
    assert!(error.to_string().contains("journal"), "{error}");
    store.write_piece(failed + 1, &sample.blocks(failed + 1, 16_384)).unwrap();
    drop(store);
    let done = Command::new("umount").arg(&journal).output().expect("umount can be run");
    assert!(done.status.success(), "{done:?}");
    let (store, have) =
        DiskStore::receive(&sample.info, sample.info_hash, &target, &ReceiveOptions::default())
            .unwrap();
    assert!((0..=failed + 1).all(|piece| have.get(piece)), "{failed}: {have:?}");
    let store = Store::from(store);
    for piece in (0..4000).filter(|&piece| !have.get(piece)) {
        write_and_journal(&store, &sample, piece).unwrap();
    }
    store.finish().unwrap();
    assert!(read_tree(&target) == sample.tree());
}

#[test]
fn a_read_only_file_system_has_its_own_error() {
    with_own_mounts(
        "a_read_only_file_system_has_its_own_error",
        receive_on_a_read_only_file_system,
    );
}

fn receive_on_a_read_only_file_system() {
    let disk = mount_tmpfs("4m");
    let sample = Sample::file(100_000, 32_768, 1);
    sample.write_to(&disk.join("existing"));
    mount(&["-t", "tmpfs", "-o", "remount,ro", "sow-test"], &disk);
    let error = receive(&sample, &disk.join("content")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
    let error = DiskStore::receive_unnamed(&sample.info, &disk).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
    // Serving from it works.
    assert!(DiskStore::serve(&sample.info, &disk.join("existing")).is_ok());
}

/// 2,000 files with 40 file descriptors, in a process of its own since the limit is per process.
#[test]
fn thousands_of_files_need_few_file_descriptors() {
    let command = Command::new(env::current_exe().unwrap());
    run_again(command, "thousands_of_files_need_few_file_descriptors", || {
        let hard = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(40), maximum: hard }).unwrap();
        receive_and_share_thousands_of_files();
    });
}

fn receive_and_share_thousands_of_files() {
    let names: Vec<String> =
        (0..2000).map(|at| format!("some folder {}/näme {at}", at % 37)).collect();
    let files: Vec<_> =
        names.iter().zip(0..).map(|(name, at)| (name.as_str(), at * 7 % 3001, false)).collect();
    let sample = Sample::folder(&files, 16_384, 1);
    let folder = tempfile::tempdir().unwrap();
    let target: PathBuf = folder.path().join("content");
    let store = receive(&sample, &target).unwrap();
    let pieces = sample.info.geometry.pieces();
    for piece in (0..pieces).rev() {
        write_and_journal(&store, &sample, piece).unwrap();
        if piece % 50 == 0 {
            store.sync().unwrap();
        }
    }
    store.finish().unwrap();
    assert!(read_tree(&target) == sample.tree());

    // 25 segments keep their files open, although the cache holds only 10.
    let held: Vec<_> =
        (0..25).map(|at| store.segments(at * 100_000..at * 100_000 + 1).unwrap()).collect();
    assert!(held.iter().flatten().all(|segment| matches!(segment, Segment::File { .. })));
    // A block of 20 small files keeps none open, so hundreds of blocks can wait to be sent.
    let blocks: Vec<_> = (0..150u64).map(|at| at * 16_384..(at + 1) * 16_384).collect();
    let waiting: Vec<_> =
        blocks.iter().map(|range| store.segments(range.clone()).unwrap()).collect();
    for (range, segments) in blocks.iter().zip(&waiting) {
        let bytes: Vec<u8> = segments.iter().flat_map(bytes_of).collect();
        assert!(bytes == sample.bytes[range.start as usize..range.end as usize], "{range:?}");
    }
    drop(waiting);
    let mut bytes = vec![0; sample.bytes.len()];
    store.read(0..sample.bytes.len() as u64, &mut bytes).unwrap();
    assert!(bytes == sample.bytes);
    drop((held, store));

    let found = verify(&sample.info, &target, 4, &|_| {}, &false.into()).unwrap();
    assert!(found.is_identical());
    let plan = scan(&target).unwrap();
    let hashes = hash_content(&plan, 16_384, 4, &|_| {}, &false.into()).unwrap();
    assert_eq!(hashes.len(), pieces as usize);
}

fn bytes_of(segment: &Segment) -> Vec<u8> {
    let mut bytes = vec![0; segment.length() as usize];
    match segment {
        Segment::File { file, offset, .. } => file.read_exact_at(&mut bytes, *offset).unwrap(),
        Segment::Bytes(found) => bytes.copy_from_slice(found),
        Segment::Zeros(_) => {}
    }
    bytes
}

/// A file that is longer than the process may write (`ulimit -f`) is an error before anything is
/// written, which would be a signal.
#[test]
fn the_file_size_limit_is_an_error() {
    let command = Command::new(env::current_exe().unwrap());
    run_again(command, "the_file_size_limit_is_an_error", || {
        let folder = tempfile::tempdir().unwrap();
        let hard = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current: Some(50_000), maximum: hard }).unwrap();
        let files = [("a", 30_000, false), ("b", 40_000, false)];
        receive(&Sample::folder(&files, 16_384, 1), &folder.path().join("small")).unwrap();
        let single = Sample::file(60_000, 16_384, 1);
        let large = Sample::folder(&[("a", 10, false), ("b", 60_000, false)], 16_384, 1);
        for sample in [&single, &large] {
            let error = receive(sample, &folder.path().join("large")).unwrap_err();
            assert!(matches!(error, StoreError::FileSizeLimit { limit: 50_000, .. }), "{error}");
        }
        let error = DiskStore::receive_unnamed(&single.info, folder.path()).unwrap_err();
        assert!(matches!(error, StoreError::FileSizeLimit { .. }), "{error}");
        let stream = SequentialFile::claim(&folder.path().join("stream"), false).unwrap();
        let mut stream = SequentialTarget::File(stream);
        assert!(matches!(stream.begin(Some(50_001)), Err(StoreError::FileSizeLimit { .. })));
        stream.begin(None).unwrap();
        stream.write(&[0; 50_000]).unwrap();
        assert!(matches!(stream.write(&[0]), Err(StoreError::FileSizeLimit { .. })));
    });
}
