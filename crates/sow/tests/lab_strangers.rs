//! A file of another user where `get` gathers the bytes, in a folder that all users share. Root
//! only, since `get` runs as a user without privileges and the file is root's.

mod support;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use support::{Origin, Running, names, noise_file, text, unprivileged_sow};

#[test]
fn a_strange_part_in_a_sticky_folder_ends_with_5_and_stays() {
    assert!(rustix::process::getuid().is_root(), "this test needs root");
    for planted in ["copy.sow-part", "copy.sow-part.journal"] {
        let folder = tempfile::tempdir().unwrap();
        let file = noise_file(folder.path(), "file", 300_000);
        let origin = Origin::start(&file, &[]);
        let shared = folder.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
        fs::write(shared.join(planted), "of root").unwrap();
        let target = shared.join("copy");
        let line = ["get", &origin.ticket, "-o", text(&target), "--no-seed", "--timeout", "20s"];
        let ended = Running::start(&mut unprivileged_sow(folder.path(), line)).wait().expect(5);
        ended.says(&[planted, "belongs to another user"]);
        assert_eq!(fs::read(shared.join(planted)).unwrap(), b"of root");
        assert!(!target.exists(), "{:?}", names(&shared));
    }
}
