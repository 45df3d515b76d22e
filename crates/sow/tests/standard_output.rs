//! A standard output that cannot take the results ends every command with exit code 5 and its name,
//! and a closed pipe is no such failure.

mod support;

use std::{
    fs::OpenOptions,
    process::{Command, Stdio},
    time::Duration,
};

use support::{Origin, noise_file, sow, text};

/// How `command` ends with its standard output on a full disk.
fn on_full_disk(command: &mut Command) -> (i32, String) {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = wait(child);
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The output of a process, which is killed after a bounded time.
fn wait(child: std::process::Child) -> std::process::Output {
    let pid = rustix::process::Pid::from_child(&child);
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    ended
        .recv_timeout(Duration::from_secs(20))
        .unwrap_or_else(|_| {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("it did not exit")
        })
        .unwrap()
}

#[test]
fn a_full_standard_output_ends_every_command_with_5_and_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "file", 300_000);
    let torrent = folder.path().join("file.torrent");
    support::run(["torrent", "create", text(&file), "-o", text(&torrent)]).expect(0);
    let origin = Origin::start(&file, &[]);
    let target = folder.path().join("copy");
    let (file, torrent, target) = (text(&file), text(&torrent), text(&target));
    let ticket = origin.ticket.as_str();
    let lines: &[&[&str]] = &[
        &["get", ticket, "-o", target, "--no-seed", "--json", "--timeout", "10s"],
        &["get", ticket, "-o", "-", "--no-seed", "--timeout", "10s"],
        &["send", file, "--port", "0", "--bind", "127.0.0.1"],
        &["send", file, "--port", "0", "--bind", "127.0.0.1", "--expect", "3", "--json"],
        &["torrent", "show", torrent],
        &["torrent", "check", torrent, file],
        &["torrent", "create", file, "-o", "-"],
        &["json-torrent", "create", file, "--announce", "127.0.0.1", "-o", "-"],
        &["man"],
        &["completions", "bash"],
        &["lab", "new", "-o", "-"],
        &["--help"],
        &["get", "--help"],
        &["--version"],
    ];
    for line in lines {
        let (code, said) = on_full_disk(&mut sow(*line));
        assert_eq!(code, 5, "{line:?}: {said}");
        assert!(said.contains("standard output (/dev/full)"), "{line:?}: {said}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure_of_the_disk() {
    for (line, code) in [(&["man"][..], 0), (&["completions", "bash"], 0), (&["--help"], 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = sow(line).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = wait(child);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{line:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
