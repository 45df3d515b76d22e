//! Scenarios from files: valid ones, the errors of invalid ones, and that no text makes the parser
//! panic.

use std::{fs, path::Path, time::Duration};

use proptest::prelude::*;
use sow_lab::{
    network::{Link, Switches},
    scenario::{
        Action, BUILT_IN_NAMES, Content, Event, HostSelector, Mode, Scenario, ScenarioConflict,
        ScenarioError, Shape, built_in, built_in_text, counts, read,
    },
};

const WHOLE: &str = r#"
title = "Every key of a scenario"
users = [5, 1, 5]
origins = "1-2"
modes = ["swarm", "libtorrent-super"]
repeat = 7
piece-length = "64KiB"
seed = 99
limit = "1m30s"
[network]
rate = "10mbit"
delay = "5ms"
queue = "50ms"
congestion-control = "reno"
trunk = "5mbit"
[network.hosts]
origin1 = { up = "2mbit" }
receivers = { rate = "20mbit", down = "40mbit", delay = "1ms" }
h3 = { delay = "2ms" }
[[file]]
name = "noise"
size = "10MB"
kind = "random"
[[file]]
name = "words"
size = 1000
kind = "text"
[[file]]
path = "there/big.iso"
[[event]]
at = 4
receiver = 2
do = "start"
[[event]]
at = "1500ms"
receiver = 2
do = "kill"
[[event]]
at = "3s"
receiver = 3
do = "start"
"#;

const MINIMAL: &str = r#"
title = "The required keys of a scenario"
users = 2
modes = ["swarm"]
[network]
rate = "10mbit"
[[file]]
name = "noise"
size = "1MiB"
kind = "random"
"#;

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(text, Path::new("dir/my test.toml"))
}

#[test]
fn every_key_is_parsed() {
    let scenario = parse(WHOLE).unwrap();
    assert_eq!((&*scenario.name, &*scenario.title), ("my-test", "Every key of a scenario"));
    assert_eq!((&*scenario.users, &*scenario.origins), (&[1, 5][..], &[1, 2][..]));
    assert_eq!(scenario.modes, [Mode::Swarm, Mode::LibtorrentSuper]);
    assert_eq!((scenario.repeat, scenario.piece_length, scenario.seed), (7, Some(65_536), 99));
    assert_eq!(scenario.limit, Some(Duration::from_secs(90)));
    assert_eq!(scenario.runs(), 2 * 2 * 2 * 7 * 3);
    let contents: Vec<_> = scenario.files.iter().map(|file| (&*file.name, &file.content)).collect();
    assert_eq!(
        contents,
        [
            ("noise", &Content::Random { bytes: 10_000_000 }),
            ("words", &Content::Text { bytes: 1000 }),
            ("big.iso", &Content::Path("dir/there/big.iso".into())),
        ]
    );
    let event =
        |millis, receiver, action| Event { at: Duration::from_millis(millis), receiver, action };
    assert_eq!(
        scenario.events,
        [
            event(1500, 2, Action::Kill),
            event(3000, 3, Action::Start),
            event(4000, 2, Action::Start)
        ]
    );
    assert_eq!(scenario.first_start(2), Duration::ZERO);
    assert_eq!(scenario.first_start(3), Duration::from_secs(3));
    assert_eq!(scenario.events_for(2).count(), 2);
}

#[test]
fn a_network_follows_from_a_shape() {
    let scenario = parse(WHOLE).unwrap();
    assert_eq!(scenario.shapes().count(), 4);
    let topology = scenario.network.topology("a".parse().unwrap(), Shape { origins: 2, users: 1 });
    let link = |up, down, delay_us| Link { up, down, delay_us };
    assert_eq!(
        topology.links,
        [
            link(2_000_000, 10_000_000, 5000),
            link(10_000_000, 10_000_000, 5000),
            link(20_000_000, 40_000_000, 2000)
        ]
    );
    assert_eq!(topology.switches, Switches::Two { trunk: 5_000_000 });
    assert_eq!((topology.queue_us, &*topology.congestion_control), (50_000, "reno"));
    let hosts: Vec<_> =
        scenario.network.exceptions.iter().map(|exception| exception.hosts).collect();
    assert_eq!(hosts, [HostSelector::Receivers, HostSelector::Origin(1), HostSelector::Host(3)]);
}

#[test]
fn an_optional_key_has_a_default() {
    let scenario = parse(MINIMAL).unwrap();
    assert_eq!((&*scenario.origins, scenario.repeat, scenario.seed), (&[1][..], 3, 1));
    assert_eq!((scenario.piece_length, scenario.limit, scenario.events.len()), (None, None, 0));
    let network = &scenario.network;
    assert_eq!(network.link, Link { up: 10_000_000, down: 10_000_000, delay_us: 0 });
    assert_eq!(
        (network.queue_us, &*network.congestion_control, network.trunk),
        (100_000, "cubic", None)
    );
}

/// A part of `WHOLE`, its replacement, and words of the error, with the line where it has one.
const WRONG: &[(&str, &str, &[&str])] = &[
    // Errors of TOML and of keys.
    ("repeat = 7", "repeat = ", &["line 6", "expected"]),
    ("repeat = 7", "repaet = 7", &["line 6", "unknown field `repaet`", "`repeat`"]),
    ("delay = \"5ms\"", "dealy = 1", &["line 12", "unknown field `dealy`", "`delay`"]),
    ("kind = \"text\"", "kin = \"text\"", &["line 27", "unknown field `kin`"]),
    ("title = \"Every key of a scenario\"", "", &["missing field `title`"]),
    ("rate = \"10mbit\"\n", "", &["line 10", "missing field `rate`"]),
    ("users = [5, 1, 5]", "users = 1\nusers = 2", &["line 4", "duplicate key"]),
    ("seed = 99", "seed = 99999999999999999999", &["line 8"]),
    // Single values.
    ("\"Every key of a scenario\"", "\"\"", &["line 2", "`title`", "1 to 200 characters"]),
    (
        "\"Every key of a scenario\"",
        "5",
        &["line 2", "`title`", "5 is not valid here", "write a text"],
    ),
    ("users = [5, 1, 5]", "users = 0", &["line 3", "`users`", "`0`", "1 to 500"]),
    ("users = [5, 1, 5]", "users = \"5-1\"", &["`users`", "`5-1`", "\"1,5,20\""]),
    ("users = [5, 1, 5]", "users = \"1-501\"", &["`users`", "1 to 500"]),
    ("users = [5, 1, 5]", "users = [1, \"2\"]", &["`users`", "`1,?`"]),
    ("users = [5, 1, 5]", "users = []", &["line 3", "`users`"]),
    ("users = [5, 1, 5]", "users = 1.5", &["`users`", "1.5 is not valid here"]),
    ("origins = \"1-2\"", "origins = -1", &["line 4", "`origins`"]),
    ("\"libtorrent-super\"", "\"swarm\"", &["line 5", "`modes`", "twice"]),
    ("\"libtorrent-super\"", "\"bittorrent\"", &["line 5", "no mode `bittorrent`", "nginx+curl"]),
    ("[\"swarm\", \"libtorrent-super\"]", "[]", &["line 5", "`modes`", "is empty"]),
    ("repeat = 7", "repeat = 0", &["line 6", "`repeat`", "from 1 to 1000"]),
    ("\"64KiB\"", "\"64KB/s\"", &["line 7", "`piece-length`", "unit of size"]),
    ("\"64KiB\"", "\"1GiB\"", &["line 7", "1.0 KiB to 16.0 MiB"]),
    ("seed = 99", "seed = -1", &["line 8", "`seed`", "-1 is not valid here"]),
    ("\"1m30s\"", "\"10ms\"", &["line 9", "`limit`", "from 1s"]),
    ("\"1m30s\"", "\"soon\"", &["line 9", "`limit`", "does not begin with a number"]),
    ("rate = \"10mbit\"", "rate = 10", &["line 11", "`network.rate`", "\"10mbit\""]),
    ("rate = \"10mbit\"", "rate = \"10mb/s\"", &["line 11", "bits or bytes"]),
    ("delay = \"5ms\"", "delay = \"11s\"", &["line 12", "`network.delay`", "to 10s"]),
    (
        "origin1 =",
        "origin3 =",
        &["line 17", "`network.hosts.origin3`", "at most 2 origins and 5 receivers"],
    ),
    ("origin1 =", "orgin1 =", &["line 17", "`network.hosts.orgin1`", "receiver1"]),
    ("h3 =", "h03 =", &["line 19", "is no host"]),
    ("h3 =", "h8 =", &["line 19", "there is none"]),
    ("up = \"2mbit\"", "up = \"fast\"", &["line 17", "`network.hosts.origin1.up`"]),
    ("name = \"noise\"", "name = \"../x\"", &["line 21", "`file.name`", "one line"]),
    ("name = \"noise\"", "name = \"words\"", &["line 24", "name of two files"]),
    ("name = \"noise\"", "", &["line 20", "`file`", "needs a `name`"]),
    ("size = 1000", "size = 0", &["line 26", "`file.size`", "1 byte to 1.0 TiB"]),
    ("kind = \"text\"", "kind = \"zeros\"", &["line 27", "\"random\" or \"text\""]),
    ("kind = \"text\"", "path = \"a\"", &["line 24", "`path` alone"]),
    ("path = \"there/big.iso\"", "path = \"..\"", &["line 28", "`file.name`"]),
    ("at = 4", "at = 0", &["line 31", "`event.at`"]),
    ("receiver = 3", "receiver = 6", &["line 40", "`event.receiver`", "from 1 to 5"]),
    ("do = \"kill\"", "do = \"stop\"", &["line 37", "\"leave\" or \"kill\" or \"start\""]),
    // Conflicts between values.
    ("\"64KiB\"", "3000", &["`libtorrent-super`", "3000 bytes", "power of two"]),
    ("rate = \"10mbit\"", "rate = \"8bit\"", &["network", "16 kbit/s"]),
    ("down = \"40mbit\"", "down = \"8bit\"", &["network", "16 kbit/s"]),
    ("queue = \"50ms\"", "queue = 0", &["network", "a queue is"]),
    ("queue = \"50ms\"", "queue = 50", &["line 13", "`network.queue`", "no unit of time", "50ms"]),
    ("\"reno\"", "\"a b\"", &["`a b` is no congestion control"]),
    ("do = \"kill\"", "do = \"leave\"", &["receiver 2", "after \"leave\""]),
    ("at = 4", "at = 1", &["receiver 2", "without a later \"start\""]),
    ("at = 4", "at = \"1500ms\"", &["receiver 2", "at the same time"]),
    (
        "receiver = 3\ndo = \"start\"",
        "receiver = 2\ndo = \"kill\"",
        &["receiver 2", "while it does not run"],
    ),
    (
        "receiver = 3\ndo = \"start\"",
        "receiver = 1\ndo = \"leave\"",
        &["with 1 users, no receiver stays"],
    ),
];

#[test]
fn an_error_has_its_position_and_its_cause() {
    parse(WHOLE).unwrap();
    for &(right, wrong, words) in WRONG {
        assert!(WHOLE.contains(right), "{right}");
        let error = parse(&WHOLE.replacen(right, wrong, 1)).expect_err(wrong).to_string();
        assert!(error.starts_with("dir/my test.toml"), "{wrong}: {error}");
        assert!(!error.contains('\n'), "{wrong}: {error}");
        for word in words {
            assert!(error.contains(word), "{wrong}: {error}");
        }
    }
}

#[test]
fn client_server_modes_need_a_run_with_one_origin() {
    let raw = MINIMAL.replace("\"swarm\"", "\"raw\"");
    parse(&raw.replacen("users", "origins = [1, 2]\nusers", 1)).unwrap();
    let error = parse(&raw.replacen("users", "origins = 2\nusers", 1)).unwrap_err().to_string();
    assert!(
        error.contains("`raw` has one origin only") && error.contains("let `origins` have a 1"),
        "{error}"
    );
}

#[test]
fn a_second_start_needs_an_end_before() {
    let start = |at| format!("[[event]]\nat = {at}\nreceiver = 2\ndo = \"start\"\n");
    parse(&format!("{MINIMAL}{}", start(1))).unwrap();
    let error = parse(&format!("{MINIMAL}{}{}", start(1), start(2))).unwrap_err();
    let ScenarioError::Conflict { source, .. } = error else { panic!("{error}") };
    let ScenarioConflict::Events { receiver: 2, reason } = source else { panic!("{source}") };
    assert!(reason.contains("while it runs"), "{reason}");
}

#[test]
fn too_many_runs_are_refused() {
    let mut scenario = parse(MINIMAL).unwrap();
    scenario.users = (1..=500).collect();
    scenario.repeat = 1000;
    assert!(matches!(scenario.check(), Err(ScenarioConflict::TooManyRuns(500_000))));
}

#[test]
fn a_link_of_a_host_that_no_run_has_is_refused() {
    let mut scenario = built_in("mixed-links").unwrap();
    scenario.users = vec![2, 6];
    scenario.check().unwrap();
    scenario.users = vec![3];
    let error = scenario.check().unwrap_err().to_string();
    assert!(
        error.contains("`network.hosts.receiver5`") && error.contains("3 receivers"),
        "{error}"
    );
}

#[test]
fn counts_are_numbers_ranges_and_lists() {
    assert_eq!(counts("5").unwrap(), [5]);
    assert_eq!(counts("1-3, 20,2").unwrap(), [1, 2, 3, 20]);
    let long = "1,".repeat(10_000) + "1";
    for wrong in
        ["", "0", "501", "1-", "-1", "3-1", "1,,2", "1.5", "+1-x", "1-2-3", "1-500,", &long]
    {
        let error = counts(wrong).unwrap_err().to_string();
        assert!(error.len() < 200 && error.contains("\"1-5\""), "{error}");
    }
}

#[test]
fn a_file_that_is_no_scenario_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    fs::write(&path, MINIMAL).unwrap();
    assert_eq!(read(&path).unwrap().name, "a");
    for (bytes, said) in [(vec![b'#'; (1 << 20) + 1], "1 MiB"), (vec![0xff; 10], "UTF-8")] {
        fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("a.toml"), "{error}");
    }
    assert!(read(folder.path()).unwrap_err().to_string().contains("is no file"));
    assert!(matches!(read(&folder.path().join("none")), Err(ScenarioError::Read { .. })));
}

#[test]
fn built_in_scenarios_are_commented_and_valid_in_any_folder() {
    for name in BUILT_IN_NAMES {
        let text = built_in_text(name).unwrap();
        assert!(text.starts_with("# "), "{name}");
        assert!(text.lines().all(|line| line.len() <= 100), "{name}");
        assert_eq!(parse(text).unwrap().title, built_in(name).unwrap().title);
    }
}

/// Lines of scenarios, so that a random text is often parsed up to its values.
fn fragments() -> impl Strategy<Value = String> {
    let lines: Vec<String> = BUILT_IN_NAMES
        .iter()
        .flat_map(|name| built_in_text(name).unwrap_or_default().lines())
        .chain(WHOLE.lines())
        .map(str::to_owned)
        .collect();
    let line = prop_oneof![
        8 => proptest::sample::select(lines),
        1 => "[a-z-]{1,9} = [-0-9\"\\[\\]{}.a-z]{0,12}",
        1 => "\\PC{0,20}",
    ];
    proptest::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn no_mixture_of_scenarios_makes_the_parser_panic(text in fragments()) {
        if let Err(error) = parse(&text) {
            prop_assert!(error.to_string().len() < 2000);
        }
    }

    #[test]
    fn no_damaged_scenario_makes_the_parser_panic(
        start in 0..WHOLE.len(),
        length in 0..30_usize,
        with in "[-0-9a-z\"\\[\\]{}.=\n\\PC]{0,12}",
    ) {
        let end = (start + length).min(WHOLE.len());
        if let Ok(scenario) = parse(&format!("{}{with}{}", &WHOLE[..start], &WHOLE[end..])) {
            prop_assert!(scenario.check().is_ok());
        }
    }
}

#[test]
fn endless_brackets_are_refused() {
    for open in ["[", "{a=", "a.", "[["] {
        parse(&open.repeat(200_000)).expect_err(open);
        parse(&format!("title = {}", open.repeat(200_000))).expect_err(open);
    }
}
