//! `send --hosts`: which hosts are complete, which are missing, and the files that a run leaves for
//! the next one.

mod support;

use std::{fs, path::Path};

use support::{Ended, Origin, noise_file, run, sow, text};

const SIZE: usize = 300_000;

/// Shares a file with the hosts that a list names. `gets`: how many times one on this machine
/// fetches it.
fn send(folder: &Path, hosts: &Path, gets: usize) -> Ended {
    let file = noise_file(folder, "big.iso", SIZE);
    let (results, missing) = (folder.join("results.csv"), folder.join("missing.txt"));
    let options = ["--timeout", "6s", "--hosts", text(hosts), "--results", text(&results)];
    let origin = Origin::start(&file, &[&options[..], &["--missing", text(&missing)]].concat());
    for n in 0..gets {
        let copy = folder.join(format!("copy{n}"));
        run(["get", &origin.ticket, "-o", text(&copy), "--no-seed"]).expect(0);
        fs::remove_file(copy).unwrap();
    }
    origin.running.wait()
}

#[test]
fn a_host_that_never_comes_is_named_and_expected_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts.txt");
    fs::write(&hosts, "127.0.0.1 # this one\nweb[1-2].invalid\n").unwrap();
    // A second copy on one host is no second host.
    let ended = send(folder.path(), &hosts, 2).expect(7);
    let ended =
        ended.says(&["1 of 3", "web1.invalid (not connected)", "web2.invalid (not connected)"]);
    assert!(!ended.stderr.contains("127.0.0.1 ("), "{}", ended.stderr);
    let missing = fs::read_to_string(folder.path().join("missing.txt")).unwrap();
    assert_eq!(missing, "web1.invalid\nweb2.invalid\n");
    let results = fs::read_to_string(folder.path().join("results.csv")).unwrap();
    let complete = |row: &&str| row.contains(&format!(",complete,{SIZE},"));
    assert!(
        results.lines().filter(complete).all(|row| row.ends_with(",127.0.0.1,big.iso")),
        "{results}"
    );
    assert!(results.lines().any(|row| complete(&row)), "{results}");
    for host in ["web1.invalid", "web2.invalid"] {
        let row = format!("{host},,missing,0,,,not connected,,{host},big.iso");
        assert!(results.lines().any(|line| line == row), "{results}");
    }
    fs::write(&hosts, "127.0.0.1\n").unwrap();
    send(folder.path(), &hosts, 1).expect(0);
    assert_eq!(fs::read_to_string(folder.path().join("missing.txt")).unwrap(), "");
}

#[test]
fn a_file_that_cannot_be_used_is_reported_before_the_content_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "big.iso", SIZE);
    let hosts = folder.path().join("hosts.txt");
    fs::write(&hosts, "web1\nweb 2\n").unwrap();
    let none = folder.path().join("none.txt");
    for (options, code, words) in [
        (["--hosts", text(&hosts)], 2, "line 2"),
        (["--hosts", text(&none)], 1, "none.txt"),
        (["--results", "results.txt"], 2, "FILE.csv or FILE.json"),
        (["--missing", text(folder.path())], 2, "is a folder"),
        (["--timeout", "soon"], 2, "--timeout"),
    ] {
        let line = [&["send", text(&file), "--port", "0"][..], &options].concat();
        let ended = support::Running::start(&mut sow(line)).wait();
        ended.expect(code).says(&[words]);
    }
}
