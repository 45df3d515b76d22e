//! `sow lab run` with other programs: each makes right copies, and a program that is not installed
//! is named. Root only; needs Debian's packages aria2, curl, nginx-light, python3-libtorrent,
//! transmission-daemon, udpcast and uftp.

mod support;

use std::{fs, path::Path, time::Duration};

use sow_lab::record::{self, Model, Records};
use support::{Running, sow};

const MODES: [&str; 7] =
    ["nginx+curl", "aria2", "libtorrent", "libtorrent-super", "transmission", "udpcast", "uftp"];
/// The modes that send to all receivers at once.
const MULTICAST: [&str; 2] = ["udpcast", "uftp"];

fn write_scenario(dir: &Path) -> String {
    let path = dir.join("others.toml");
    let text = format!(
        "title = \"Other programs\"\nusers = 2\nmodes = {MODES:?}\nrepeat = 1\n\
         limit = \"60s\"\n\
         [network]\nrate = \"50mbit\"\n\
         [[file]]\nname = \"random-1MiB\"\nsize = \"1MiB\"\nkind = \"random\"\n"
    );
    fs::write(&path, text).expect("the scenario can be written");
    path.to_string_lossy().into_owned()
}

fn records(dir: &Path) -> Records {
    record::read(dir).expect("there are records")
}

#[test]
fn every_program_makes_right_copies_and_reports_its_traffic() {
    let dir = tempfile::tempdir().expect("a folder");
    let (scenario, out) = (write_scenario(dir.path()), dir.path().join("results"));
    // Transmission alone may take several of its choke intervals of ten seconds.
    let words = ["lab", "run", &scenario, "--out", &out.to_string_lossy()];
    Running::start(&mut sow(words)).wait_within(Duration::from_secs(300)).expect(0);
    let records = records(&out);
    assert!(records.failures.is_empty() && records.missing.is_empty(), "{records:?}");
    let modes: Vec<_> = records.runs.iter().map(|run| &*run.mode).collect();
    assert_eq!(modes, MODES);
    for run in &records.runs {
        assert!(
            run.program.as_ref().is_some_and(|program| program.contains(['1', '2', '3'])),
            "{run:?}"
        );
        assert!(run.receivers.iter().all(|receiver| receiver.seconds().is_some()), "{run:?}");
        let [origin] = &*run.origins else { panic!("{run:?}") };
        let wire = origin.wire_up_bytes.unwrap();
        if MULTICAST.contains(&&*run.mode) {
            assert_eq!(run.model, Model::Multicast);
            // One copy on the origin's link, with headers and a few packets that are sent again.
            assert!((run.file.bytes..run.file.bytes * 13 / 10).contains(&wire), "{run:?}");
        }
        // uftp does not say how often it sent a packet.
        let Some(payload) = origin.payload_up_bytes else {
            assert_eq!(run.mode, "uftp", "{run:?}");
            continue;
        };
        // Programs count the bytes that they wrote to their sockets; some of them may not be sent
        // when the last copy is complete.
        assert!((run.file.bytes..wire + run.file.bytes).contains(&payload), "{run:?}");
    }
    for run in records
        .runs
        .iter()
        .filter(|run| run.mode.contains("libtorrent") || run.mode == "nginx+curl")
    {
        for receiver in &run.receivers {
            let sum: u64 = receiver.from_bytes.values().sum();
            assert!(sum >= run.file.bytes, "{run:?}");
        }
    }
    let notes = records.header.notes.join("\n");
    assert!(
        notes.contains("aria2: a tracker")
            && notes.contains("Transmission: a tracker")
            && notes.contains("udpcast: multicast")
            && notes.contains("uftp: multicast"),
        "{notes}"
    );
}

#[test]
fn a_program_that_is_not_installed_is_named_with_its_package() {
    let dir = tempfile::tempdir().expect("a folder");
    let (scenario, out) = (write_scenario(dir.path()), dir.path().join("results"));
    // PATH has only this folder, with everything that a lab needs and without aria2.
    let folder = dir.path().join("bin");
    fs::create_dir(&folder).expect("a folder");
    for program in [
        "ip", "tc", "bridge", "nsenter", "unshare", "sh", "chrt", "timeout", "cat", "sleep", "curl",
    ] {
        let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .map(|folder| Path::new(folder).join(program));
        let found = found.into_iter().find(|path| path.exists()).expect(program);
        std::os::unix::fs::symlink(found, folder.join(program)).expect("a link");
    }
    let mut command = sow([
        "lab",
        "run",
        &scenario,
        "--modes",
        "aria2,nginx+curl,udpcast",
        "--out",
        &out.to_string_lossy(),
    ]);
    let output = command.env("PATH", &folder).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("aria2") && said.contains("apt install aria2"), "{said}");
    assert!(said.contains("udpcast is skipped") && said.contains("apt install udpcast"), "{said}");
    let records = records(&out);
    let missing: Vec<_> =
        records.missing.iter().map(|missing| (&*missing.mode, &*missing.program)).collect();
    // The tracker for aria2 needs Python, which is not in that folder either.
    let due = [("aria2", "aria2c + python3"), ("udpcast", "udp-sender + udp-receiver")];
    assert_eq!(missing, due, "{said}");
    assert!(
        records.runs.iter().all(|run| run.mode == "nginx+curl") && records.runs.len() == 1,
        "{said}"
    );
}
