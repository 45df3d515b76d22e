//! `sow lab report` through the command line: its output, its files, its exit codes.

use std::{fs, path::Path};

use assert_cmd::Command;

fn report(args: &[&Path]) -> assert_cmd::assert::Assert {
    let mut command = Command::cargo_bin("sow").unwrap();
    command.env_clear().args(["lab", "report"]).args(args).assert()
}

#[test]
fn a_report_is_written_beside_the_records_or_to_another_folder() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/tests/sample/records.jsonl");
    fs::copy(sample, dir.path().join("records.jsonl")).unwrap();
    let page = dir.path().join("report.html");
    report(&[dir.path()]).success().stdout(format!("{}\n", page.display()));
    assert!(fs::read_to_string(&page).unwrap().ends_with("</html>\n"));

    let out = dir.path().join("new/folder");
    report(&[dir.path(), Path::new("--out"), &out]).success();
    assert_eq!(
        fs::read(out.join("report.html")).unwrap(),
        fs::read(&page).unwrap(),
        "the same records, another page"
    );
}

#[test]
fn a_path_that_cannot_be_read_or_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let said = |assert: assert_cmd::assert::Assert| {
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    let none = said(report(&[dir.path()]).code(1));
    assert!(none.contains("cannot read") && none.contains("records.jsonl"), "{none}");

    fs::write(dir.path().join("records.jsonl"), "{\"record\":\"run\"}\n").unwrap();
    let bad = said(report(&[dir.path()]).code(1));
    assert!(bad.contains("records.jsonl, line 1: the first record must be the header"), "{bad}");

    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/tests/sample");
    let taken = dir.path().join("records.jsonl");
    let unwritable = said(report(&[&sample, Path::new("--out"), &taken]).code(5));
    assert!(unwritable.contains("cannot write"), "{unwritable}");
}
