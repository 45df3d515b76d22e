//! `--on-complete` of `send`, `serve` and `get`: what the command is told, and what its end means.

mod support;

use std::{fs, path::Path};

use support::{Origin, Running, noise_file, run, sow, text, wait_until};

/// A command that appends its variables to a file, one line for each run.
fn noting(file: &Path) -> String {
    format!(
        "printf '%s|%s|%s|%s|%s\\n' \"$SOW_CONTENT_NAME\" \"$SOW_CONTENT_PATH\" \
         \"$SOW_CONTENT_BYTES\" \"$SOW_RECEIVER_NAME\" \"${{SOW_RECEIVER_ADDRESS%:*}}\" >> '{}'",
        text(file)
    )
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn an_origin_runs_the_command_for_each_receiver_and_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 100_000);
    let noted = folder.path().join("noted");
    let command = format!("sleep 1; {}", noting(&noted));
    let origin = Origin::start(&path, &["--expect", "2", "--on-complete", &command]);
    for name in ["web01", "web02 $(touch broken)"] {
        let out = folder.path().join(&name[..5]);
        let get = ["get", &origin.ticket, "--no-seed", "--name", name, "-o", text(&out)];
        run(get).expect(0);
    }
    origin.running.wait().expect(0);
    let mut noted = lines(&noted);
    noted.sort();
    let line = |name: &str| format!("a.iso|{}|100000|{name}|127.0.0.1", text(&path));
    assert_eq!(noted, [line("web01"), line("web02 $(touch broken)")]);
}

#[test]
fn a_failing_command_is_a_warning_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 1000);
    let origin = Origin::start(&path, &["--expect", "1", "--on-complete", "echo said; exit 3"]);
    let out = folder.path().join("out");
    let get = run(["get", &origin.ticket, "--no-seed", "-o", text(&out), "--on-complete", "false"]);
    get.expect(1).says(&["the command of --on-complete failed for a.iso", "exit status: 1"]);
    assert_eq!(fs::read(&out).unwrap(), fs::read(&path).unwrap(), "the copy is in place");
    let ended = origin.running.wait().expect(1).says(&["said", "a.iso at ", "exit status: 3"]);
    assert!(!ended.stdout.contains("said"), "standard output has the results: {}", ended.stdout);
}

#[test]
fn a_download_runs_the_command_when_its_target_is_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 5000);
    let origin = Origin::start(&path, &[]);
    let (out, noted) = (folder.path().join("copy"), folder.path().join("noted"));
    let command = format!("cmp '{}' \"$SOW_CONTENT_PATH\" && {}", text(&path), noting(&noted));
    let get = ["get", &origin.ticket, "--no-seed", "-o", text(&out), "--on-complete", &command];
    run(get).expect(0);
    assert_eq!(lines(&noted), [format!("a.iso|{}|5000||", text(&out))]);
    run(get).expect(0);
    assert_eq!(lines(&noted).len(), 1, "a copy that was in place is not news");
}

#[test]
fn a_service_runs_the_command_and_ends_commands_that_last() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 5000);
    let noted = folder.path().join("noted");
    let config = folder.path().join("serve.toml");
    let command = format!("{}; exec sleep 1000", noting(&noted));
    fs::write(&config, format!("on_complete = '''{command}'''\n")).unwrap();
    let state = folder.path().join("state");
    let mut serve = sow(["serve", "--bind", "127.0.0.1", "--port", "0", "--settle", "0s"]);
    serve.arg(&path).args(["--state", text(&state), "--config", text(&config)]);
    let mut serve = Running::start(&mut serve);
    let ticket = serve.line().strip_prefix("sow get ").unwrap().to_owned();
    let out = folder.path().join("out");
    run(["get", &ticket, "--no-seed", "--name", "web01", "-o", text(&out)]).expect(0);
    wait_until("the command runs", || lines(&noted).len() == 1);
    assert!(lines(&noted)[0].contains("|web01|"), "{:?}", lines(&noted));
    serve.interrupt();
    serve.wait().expect(1).says(&["failed for a.iso at web01", "signal: 9"]);
}
