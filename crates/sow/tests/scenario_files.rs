//! `sow lab new` through the command line: the scenario file that it writes, and that it overwrites
//! nothing.

use std::{fs, path::Path};

use assert_cmd::Command;

fn new(folder: &Path, args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::cargo_bin("sow").unwrap();
    command.env_clear().current_dir(folder).args(["lab", "new"]).args(args).assert()
}

#[test]
fn a_scenario_is_written_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    new(folder.path(), &["my-test", "--from", "churn"]).success().stdout("my-test.toml\n");
    let path = folder.path().join("my-test.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# Receivers leave"), "{text}");

    fs::write(&path, "mine").unwrap();
    let refused = new(folder.path(), &["my-test"]).code(8);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("my-test.toml exists") && said.contains("another name"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");

    new(folder.path(), &["--from", "churn", "-o", "-"]).success().stdout(text);
    new(folder.path(), &["-o", "a/b.toml"]).code(1);
    new(folder.path(), &["../x"]).code(2);
    new(folder.path(), &["--from", "none"]).code(2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
