//! The help texts of all commands as snapshots, the completions, and the manual pages.

mod support;

use support::{names, run};

#[test]
fn every_command_has_its_help() {
    for words in [
        &["--help"][..],
        &["send", "--help"],
        &["get", "--help"],
        &["push", "--help"],
        &["serve", "--help"],
        &["tracker", "--help"],
        &["torrent", "--help"],
        &["torrent", "create", "--help"],
        &["torrent", "show", "--help"],
        &["torrent", "check", "--help"],
        &["demo", "--help"],
        &["raw", "--help"],
        &["raw", "server", "--help"],
        &["raw", "client", "--help"],
        &["framed", "--help"],
        &["framed", "server", "--help"],
        &["framed", "client", "--help"],
        &["chunk", "--help"],
        &["chunk", "server", "--help"],
        &["chunk", "client", "--help"],
        &["json-torrent", "--help"],
        &["json-torrent", "create", "--help"],
        &["json-torrent", "tracker", "--help"],
        &["json-torrent", "peer", "--help"],
        &["lab", "--help"],
        &["lab", "up", "--help"],
        &["lab", "exec", "--help"],
        &["lab", "shell", "--help"],
        &["lab", "status", "--help"],
        &["lab", "calibrate", "--help"],
        &["lab", "down", "--help"],
        &["lab", "run", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
    ] {
        let name = words[..words.len() - 1].join("_");
        let help = run(words.iter()).expect(0).stdout;
        insta::assert_snapshot!(
            if name.is_empty() { "help".to_owned() } else { format!("help_{name}") },
            help
        );
    }
}

#[test]
fn without_a_command_the_help_is_shown_as_a_usage_error() {
    let ended = run::<&str>([]).expect(2);
    assert!(ended.stderr.contains("Usage: sow"), "{}", ended.stderr);
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(["completions", shell]).expect(0).stdout;
        assert!(script.contains("only-origin"), "{shell} does not know every flag");
    }
    run(["completions", "tcsh"]).expect(2);
}

#[test]
fn the_example_of_the_completions_works_as_it_is_pasted() {
    let program = support::sow_path().parent().unwrap().display();
    let line = "source <(sow completions bash) && complete -p sow";
    let mut bash = std::process::Command::new("bash");
    let ended = bash.args(["-c", &format!("PATH={program}:$PATH; {line}")]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn the_version_says_what_it_was_built_from() {
    let version = run(["--version"]).expect(0).stdout;
    let (name, rest) = version.trim().split_once(' ').unwrap();
    let (number, note) = rest.split_once(" (").unwrap();
    assert_eq!((name, number), ("sow", env!("CARGO_PKG_VERSION")));
    assert!(note.len() > 5 && note.ends_with(')'), "{version}");
}

#[test]
fn the_manual_is_one_page_or_a_page_for_each_command() {
    let page = run(["man"]).expect(0).stdout;
    assert!(page.contains(".TH sow 1") && page.contains("SOW TORRENT CREATE"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("share/man1");
    run(["man", "-o", new.to_str().unwrap()]).expect(0);
    let pages = names(&new);
    for page in ["sow.1", "sow-send.1", "sow-get.1", "sow-torrent-check.1"] {
        assert!(pages.iter().any(|name| name == page), "{page} is not in {pages:?}");
    }
    let file = new.join("sow.1/x");
    run(["man", "-o", file.to_str().unwrap()]).expect(5).says(&["sow.1/x"]);
}
