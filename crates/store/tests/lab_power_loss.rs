//! A power failure: what a file system on a loop device has not written to its backing file is
//! lost. The backing file is copied while a download is under way, and the copy is mounted as the
//! disk that the next boot finds. Root only.

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "store/sample.rs"]
mod sample;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sample::{Sample, copy, names_in, read_tree};
use sow_content::{Bitfield, hash::sha1};
use sow_store::{DiskStore, ReceiveOptions, Store};

const DISK_BYTES: u64 = 96 << 20;
const PIECE_BYTES: u64 = 32 << 10;

/// A file system on a loop device, unmounted when it is dropped.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// A new file system.
    fn make(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = fs::File::create(folder.path().join("image")).unwrap();
        image.set_len(DISK_BYTES).unwrap();
        let image = folder.path().join("image");
        run(Command::new("mkfs.ext4").arg("-q").args(options).arg(image));
        Self::mount(folder)
    }

    /// The disk as the next boot finds it if the power fails now.
    fn after_power_failure(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&self.folder.path().join("image"), &folder.path().join("image"));
        Self::mount(folder)
    }

    fn mount(folder: tempfile::TempDir) -> Self {
        let (image, mounted) = (folder.path().join("image"), folder.path().join("mounted"));
        fs::create_dir(&mounted).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(mounted));
        Self { folder }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("mounted/content")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mounted = self.folder.path().join("mounted");
        let _ = Command::new("umount").arg(mounted).status();
    }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?} needs root: {errors}");
}

fn open(sample: &Sample, target: &Path) -> (Store, Bitfield) {
    let options = ReceiveOptions::default();
    let (store, have) =
        DiskStore::receive(&sample.info, sample.info_hash, target, &options).unwrap();
    (store.into(), have)
}

fn write_and_journal(store: &Store, sample: &Sample, piece: u32) {
    store.write_piece(piece, &sample.blocks(piece, 16_384)).unwrap();
    store.journal(piece).unwrap();
}

/// Changes the boot id of a journal, as a reboot does. It is at byte 40, followed by the check.
fn reboot(target: &Path) {
    let journal = target.with_file_name("content.sow-part.journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[40..56].iter_mut().for_each(|byte| *byte ^= 0x55);
    let check = sha1(&bytes[..56]);
    bytes[56..64].copy_from_slice(&check[..8]);
    fs::write(journal, bytes).unwrap();
}

/// Checks that every piece of `synced` counts and no piece counts with wrong bytes; then completes
/// the content.
fn check(sample: &Sample, disk: &Disk, synced: &[u32]) {
    let target = disk.target();
    reboot(&target);
    let (store, have) = open(sample, &target);
    for piece in synced {
        assert!(have.get(*piece), "piece {piece} was synced and is lost");
    }
    for piece in have.iter() {
        let range = sample.info.geometry.range_of(piece);
        let mut bytes = vec![0; (range.end - range.start) as usize];
        store.read(range, &mut bytes).unwrap();
        assert!(bytes == sample.piece(piece), "piece {piece} counts with wrong bytes");
    }
    let missing = (0..have.len()).filter(|piece| !have.get(*piece));
    missing.for_each(|piece| write_and_journal(&store, sample, piece));
    store.finish().unwrap();
    assert!(read_tree(&target) == sample.tree());
    let names = names_in(target.parent().unwrap());
    assert_eq!(names, ["content", "lost+found"]);
}

fn lose_power_while_receiving(sample: &Sample, options: &[&str]) {
    let disk = Disk::make(options);
    let (store, have) = open(sample, &disk.target());
    let mut synced = Vec::new();
    let mut since = Vec::new();
    for piece in 0..have.len() {
        write_and_journal(&store, sample, piece);
        since.push(piece);
        if piece % 40 == 17 {
            store.sync().unwrap();
            synced.append(&mut since);
            check(sample, &disk.after_power_failure(), &synced);
        }
        if piece % 40 == 31 {
            check(sample, &disk.after_power_failure(), &synced);
        }
    }
    store.finish().unwrap();
    // The target is on the disk, whole, as soon as `finish` returns.
    let after = disk.after_power_failure();
    assert!(read_tree(&after.target()) == sample.tree());
}

fn samples() -> [Sample; 2] {
    let names: Vec<String> = (0..100).map(|at| format!("folder {}/{at}", at % 7)).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 40_000, false)).collect();
    [Sample::file(4 << 20, PIECE_BYTES, 1), Sample::folder(&files, PIECE_BYTES, 2)]
}

#[test]
fn a_power_failure_loses_no_synced_piece() {
    samples().iter().for_each(|sample| lose_power_while_receiving(sample, &[]));
}

#[test]
fn a_power_failure_loses_no_synced_piece_without_a_journal_of_the_file_system() {
    let options = ["-O", "^has_journal"];
    samples().iter().take(1).for_each(|sample| lose_power_while_receiving(sample, &options));
}
