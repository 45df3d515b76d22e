//! Files that another user has put next to a target. Root only, since they get another owner.

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "store/sample.rs"]
mod sample;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use sample::{Sample, names_in, read_tree};
use sow_store::{DiskStore, ReceiveOptions, Store, StoreError};

/// A user and group that own nothing here.
const OTHER_USER: u32 = 65_534;

fn receive(sample: &Sample, target: &Path) -> Result<(), StoreError> {
    let options = ReceiveOptions::default();
    let (store, have) = DiskStore::receive(&sample.info, sample.info_hash, target, &options)?;
    let store = Store::from(store);
    for piece in (0..have.len()).filter(|piece| !have.get(*piece)) {
        store.write_piece(piece, &sample.blocks(piece, 16_384))?;
        store.journal(piece)?;
    }
    store.finish().map(|_| ())
}

#[test]
fn a_part_and_a_journal_of_another_user_do_not_become_the_target() {
    let samples =
        [Sample::file(100_000, 32_768, 1), Sample::folder(&[("a", 9_000, false)], 4096, 2)];
    for sample in samples {
        for name in ["content.sow-part", "content.sow-part.journal"] {
            let folder = tempfile::tempdir().unwrap();
            let (target, planted) = (folder.path().join("content"), folder.path().join(name));
            if sample.tree().contains_key(Path::new("")) || name.ends_with("journal") {
                fs::write(&planted, "of another user").unwrap();
            } else {
                fs::create_dir(&planted).unwrap();
            }
            chown(&planted, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
            receive(&sample, &target).unwrap();
            assert!(read_tree(&target) == sample.tree());
            assert_ne!(fs::metadata(&target).unwrap().uid(), OTHER_USER);
            assert_eq!(names_in(folder.path()), ["content", "content.sow-aside1"]);
        }
    }
}

#[test]
fn an_earlier_download_of_the_same_user_is_resumed_in_a_folder_for_all() {
    let sample = Sample::file(100_000, 32_768, 1);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    chown(folder.path(), Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    let target = folder.path().join("content");
    let options = ReceiveOptions::default();
    let open = || DiskStore::receive(&sample.info, sample.info_hash, &target, &options).unwrap();
    let store = Store::from(open().0);
    store.write_piece(1, &sample.blocks(1, 16_384)).unwrap();
    store.journal(1).unwrap();
    drop(store);
    let (_store, have) = open();
    assert_eq!(have.iter().collect::<Vec<_>>(), [1]);
}
