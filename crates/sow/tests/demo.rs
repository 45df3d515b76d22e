//! `sow demo` with few receivers: its table, and what it leaves behind.

mod support;

use std::{fs, path::Path};

use support::{Running, names, sow, wait_until};

/// The ids of the processes with `word` in their command line.
fn processes_with(word: &str) -> Vec<u32> {
    let pid_of = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let mut found = Vec::new();
    for pid in fs::read_dir("/proc").expect("/proc").flatten().filter_map(pid_of) {
        let arguments =
            fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&arguments).contains(word) {
            found.push(pid);
        }
    }
    found
}

#[test]
fn the_table_compares_swarm_and_client_server() {
    let place = tempfile::tempdir().unwrap();
    let args = ["demo", "--receivers", "2", "--size", "1MiB", "--rate", "16mbit"];
    let ended = Running::start(sow(args).env("TMPDIR", place.path())).wait().expect(0);
    let rows: Vec<Vec<f64>> = ended
        .stdout
        .lines()
        .map(|line| {
            line.split_whitespace()
                .filter_map(|word| word.trim_matches(['(', ')']).parse().ok())
                .collect()
        })
        .filter(|numbers: &Vec<f64>| numbers.len() >= 8)
        .collect();
    assert_eq!(rows.len(), 2, "{}", ended.stdout);
    // 1 MiB over 2 MB/s takes 0.52 s; client/server twice that for two.
    assert_eq!((rows[1][0], rows[1][2], rows[1][4]), (2.0, 1.05, 0.52), "{}", ended.stdout);
    assert!(rows[1][1] >= 0.9, "faster than the link: {}", ended.stdout);
    assert!(ended.stderr.contains("2 of 2 receivers have a verified copy"), "{}", ended.stderr);
    assert!(names(place.path()).is_empty(), "{:?}", names(place.path()));
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    // It would run for longer than the test waits.
    let args = ["demo", "--receivers", "2", "--size", "64MiB", "--rate", "1mbit"];
    let demo = Running::start(sow(args).env("TMPDIR", place.path()));
    let mark = place.path().to_str().unwrap();
    wait_until("all processes", || processes_with(mark).len() >= 3);
    demo.interrupt();
    demo.wait().expect(130);
    wait_until("the end of all processes", || processes_with(mark).is_empty());
    assert!(names(place.path()).is_empty(), "{:?}", names(place.path()));
}
