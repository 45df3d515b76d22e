//! Files, links and names that another user or program put next to a target: none is filled,
//! followed or overwritten.

use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::sample::{Sample, names_in, read_tree};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sow_store::{
    DiskStore, ReceiveOptions, SequentialFile, SequentialTarget, Store, StoreError, check_target,
    drop_page_cache,
};

const PRECIOUS: &[u8] = b"precious";

fn file() -> Sample {
    Sample::file(100_000, 32_768, 1)
}

fn folder() -> Sample {
    Sample::folder(&[("a", 50_000, false), ("b/c", 50_000, false)], 32_768, 2)
}

/// A folder for a download, and a file that must not change.
struct Place {
    folder: tempfile::TempDir,
    victim: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, PRECIOUS).unwrap();
        Self { folder, victim }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("in").join(name)
    }

    fn receive(&self, sample: &Sample, read_back: bool) -> Result<PathBuf, StoreError> {
        let options = ReceiveOptions { read_back, ..Default::default() };
        let target = self.path("content");
        let (store, have) = DiskStore::receive(&sample.info, sample.info_hash, &target, &options)?;
        let store = Store::from(store);
        for piece in (0..have.len()).filter(|piece| !have.get(*piece)) {
            store.write_piece(piece, &sample.blocks(piece, 16_384))?;
            store.journal(piece)?;
        }
        store.finish().map(Option::unwrap)
    }

    fn check_victim(&self) {
        assert_eq!(fs::read(&self.victim).unwrap(), PRECIOUS);
    }
}

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
}

#[test]
fn a_second_name_of_another_file_is_removed_and_not_written_to() {
    for name in ["content.sow-part", "content.sow-part.journal"] {
        let place = Place::new();
        fs::hard_link(&place.victim, place.path(name)).unwrap();
        let target = place.receive(&file(), false).unwrap();
        assert!(read_tree(&target) == file().tree());
        place.check_victim();
        assert_eq!(fs::metadata(&place.victim).unwrap().nlink(), 1);
    }
}

/// The permissions that a new file and a new folder get, under the umask of this process.
fn usual_modes() -> (u32, u32) {
    let folder = tempfile::tempdir().unwrap();
    let (file, inner) = (folder.path().join("file"), folder.path().join("folder"));
    fs::write(&file, "").unwrap();
    fs::create_dir(&inner).unwrap();
    (mode_of(&file), mode_of(&inner))
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_file_that_a_group_or_all_users_can_write_to_is_moved_aside() {
    for mode in [0o666, 0o660, 0o602] {
        for name in ["content.sow-part", "content.sow-part.journal"] {
            let place = Place::new();
            fs::write(place.path(name), "of another user").unwrap();
            fs::set_permissions(place.path(name), Permissions::from_mode(mode)).unwrap();
            let target = place.receive(&file(), false).unwrap();
            assert!(read_tree(&target) == file().tree());
            assert_eq!(mode_of(&target), usual_modes().0);
            assert_eq!(names_in(&place.path("")), ["content", "content.sow-aside1"]);
            assert_eq!(fs::read(place.path("content.sow-aside1")).unwrap(), b"of another user");
        }
    }
    let place = Place::new();
    fs::create_dir(place.path("content.sow-part")).unwrap();
    fs::set_permissions(place.path("content.sow-part"), Permissions::from_mode(0o770)).unwrap();
    place.receive(&folder(), false).unwrap();
    assert_eq!(names_in(&place.path("")), ["content", "content.sow-aside1"]);
}

#[test]
fn a_part_is_of_this_user_alone_until_the_target_appears() {
    let (file_mode, folder_mode) = usual_modes();
    for (sample, mode) in [(file(), file_mode), (folder(), folder_mode)] {
        let place = Place::new();
        let (target, part) = (place.path("content"), place.path("content.sow-part"));
        let options = ReceiveOptions::default();
        let open = || DiskStore::receive(&sample.info, sample.info_hash, &target, &options);
        let store = Store::from(open().unwrap().0);
        for piece in 0..sample.info.geometry.pieces() {
            store.write_piece(piece, &sample.blocks(piece, 16_384)).unwrap();
            store.journal(piece).unwrap();
        }
        for path in [&part, &place.path("content.sow-part.journal")] {
            assert_eq!(mode_of(path) & 0o077, 0, "{}", path.display());
        }
        // A target that appears meanwhile stays, and so do the part and its permissions.
        fs::write(&target, "other").unwrap();
        store.finish().unwrap_err();
        assert_eq!(mode_of(&part) & 0o077, 0);
        drop(store);
        fs::remove_file(&target).unwrap();
        let (store, have) = open().unwrap();
        assert_eq!(have.count(), have.len());
        Store::from(store).finish().unwrap();
        assert_eq!(mode_of(&target), mode);
        if target.is_dir() {
            assert_eq!(mode_of(&target.join("b")), folder_mode);
            assert_eq!(mode_of(&target.join("b/c")), file_mode);
        }
        assert_eq!(names_in(&place.path("")), ["content"]);
    }
}

#[test]
fn links_and_pipes_next_to_a_target_are_errors() {
    for name in ["content.sow-part", "content.sow-part.journal"] {
        let place = Place::new();
        symlink(&place.victim, place.path(name)).unwrap();
        place.receive(&file(), false).unwrap_err();
        if let Ok(file) = SequentialFile::claim(&place.path("content"), false) {
            let mut stream = SequentialTarget::File(file);
            stream.begin(None).unwrap();
            stream.write(b"content").unwrap();
            stream.finish().unwrap();
        }
        place.check_victim();
        let place = Place::new();
        make_fifo(&place.path(name));
        let error = place.receive(&file(), false).unwrap_err();
        assert!(error.to_string().ends_with("is a pipe, not a file"), "{error}");
        assert!(fs::symlink_metadata(place.path(name)).is_ok(), "it is left alone");
    }
}

#[test]
fn nothing_in_the_folder_of_a_part_is_followed() {
    for planted in ["a", "b", "b/c"] {
        for is_link in [true, false] {
            let place = Place::new();
            let part = place.path("content.sow-part");
            fs::create_dir_all(part.join(planted).parent().unwrap()).unwrap();
            let outside = place.folder.path().join("outside");
            fs::create_dir(&outside).unwrap();
            match (planted, is_link) {
                ("b", true) => symlink(&outside, part.join(planted)).unwrap(),
                (_, true) => symlink(&place.victim, part.join(planted)).unwrap(),
                ("b", false) => make_fifo(&part.join(planted)),
                _ => fs::hard_link(&place.victim, part.join(planted)).unwrap(),
            }
            let target = place.receive(&folder(), false).unwrap();
            assert!(read_tree(&target) == folder().tree(), "{planted}");
            place.check_victim();
            assert!(names_in(&outside).is_empty(), "{planted}");
            assert!(fs::symlink_metadata(target.join("b")).unwrap().is_dir());
        }
    }
}

#[test]
fn pipes_devices_and_dangling_links_are_no_targets() {
    let place = Place::new();
    make_fifo(&place.path("content"));
    symlink(place.path("content"), place.path("to a pipe")).unwrap();
    symlink("nowhere", place.path("dangling")).unwrap();
    symlink(&place.victim, place.path("to a file")).unwrap();
    let error = |name: &str| check_target(&place.path(name)).unwrap_err().to_string();
    assert!(error("content").ends_with("is a pipe, not a file"));
    assert!(error("to a pipe").ends_with("is a link to a pipe, not a file"));
    assert!(error("dangling").ends_with("is a link to nowhere, which does not exist"));
    assert!(check_target(Path::new("/dev/null")).is_err());
    for allowed in ["none", "to a file", ""] {
        check_target(&place.path(allowed)).unwrap();
    }
    place.receive(&file(), false).unwrap_err();
    SequentialFile::claim(&place.path("dangling"), true).unwrap_err();
    assert_eq!(names_in(&place.path("")), ["content", "dangling", "to a file", "to a pipe"]);
}

#[test]
fn content_that_is_read_back_must_match_its_hashes() {
    for sample in [file(), folder()] {
        let place = Place::new();
        let target = place.path("content");
        let options = ReceiveOptions { read_back: true, ..Default::default() };
        let open = || DiskStore::receive(&sample.info, sample.info_hash, &target, &options);
        let store = Store::from(open().unwrap().0);
        for piece in 0..sample.info.geometry.pieces() {
            store.write_piece(piece, &sample.blocks(piece, 16_384)).unwrap();
            store.journal(piece).unwrap();
        }
        let part = place.path("content.sow-part");
        let first = if part.is_dir() { part.join("a") } else { part };
        let file = OpenOptions::new().write(true).open(first).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"EVIL", 100).unwrap();
        let error = store.finish().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { pieces: 1, .. }), "{error}");
        assert!(!target.exists());
        drop(store);
        let (store, have) = open().unwrap();
        assert!(!have.get(0) && have.count() == have.len() - 1);
        drop(store);
        place.receive(&sample, true).unwrap();
        assert!(read_tree(&target) == sample.tree());
        drop_page_cache(&sample.info, &target);
    }
}
