//! Reports in the words of their readers: names in any script, labels of the experiment's own; and
//! the plot over several experiments. The records are written line by line, as a run writes them.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sow_lab::{
    report::{Grouping, write, write_crowds},
    scenario::{Mode, Scenario},
};

/// Mode, model, receivers, seconds of the last one, whether it was simulated.
type RunSpec = (&'static str, &'static str, u32, f64, bool);

/// Writes the records of these runs into a folder.
fn records(dir: &Path, experiment: &str, runs: &[RunSpec], labels: Value) {
    let most = runs.iter().map(|run| run.2).max().unwrap_or(1);
    let host = |number: u32| {
        let rate = 10_000_000;
        let name = format!("h{number}");
        json!({ "name": name, "up_bits_per_second": rate, "down_bits_per_second": rate })
    };
    let hosts: Vec<Value> = (1..=most + 1).map(host).collect();
    let mut lines = vec![json!({
        "record": "header", "version": 1, "experiment": experiment, "command": ["sow"], "seed": 1,
        "date": "2026-11-28T00:00:00Z", "program": "sow", "kernel": "Linux",
        "congestion_control": "cubic",
        "topology":
            { "hosts": hosts, "delay_seconds": 0, "delay_by": "none", "shaped_by": "tbf" },
    })];
    lines.extend(Some(labels).filter(|labels| !labels.is_null()));
    lines.extend(runs.iter().zip(0..).map(|(run, number)| run_record(run, number)));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(dir.join("records.jsonl"), text).unwrap();
}

/// Every receiver has 4 MB from the origin and 6 MB from the next receiver.
fn run_record(&(mode, model, users, last, simulated): &RunSpec, number: u32) -> Value {
    let receiver = |index: u32| {
        let next = format!("h{}", (index + 1) % users + 2);
        json!({
            "host": format!("h{}", index + 2),
            "started_seconds": 0,
            "finished_seconds": last - f64::from(users - index - 1) * 0.001,
            "verified": true,
            "from_bytes": { "h1": 4_000_000, next: 6_000_000 },
        })
    };
    json!({
        "record": "run", "run": number, "mode": mode, "model": model, "simulated": simulated,
        "repetition": 0, "users": users, "seed": 1,
        "file": { "name": "随机 10MB", "bytes": 10_000_000 },
        "origins": [{ "host": "h1", "payload_up_bytes": 11_000_000 }],
        "receivers": (0..users).map(receiver).collect::<Vec<_>>(),
    })
}

fn chinese() -> Value {
    json!({
        "record": "labels",
        "language": "zh-CN",
        "modes": { "swarm": "本程序", "raw": "客户端/服务器" },
        "axes": { "completion": "最后一个接收者完成的时间（秒）" },
        "titles": { "completion": "{file} 的完成时间" },
        "lines": { "bound-peer-to-peer": "理论下限" },
    })
}

#[test]
fn a_report_can_be_in_the_language_of_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    let runs = [("swarm", "peer-to-peer", 3, 9.0, false), ("raw", "client-server", 3, 25.5, false)];
    records(dir.path(), "群体下载", &runs, chinese());
    let written = write(dir.path(), dir.path()).unwrap();
    let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let svg = text("completion-随机-10mb-3.svg");
    for word in ["本程序", "客户端/服务器", "最后一个接收者完成的时间（秒）", "理论下限"]
    {
        assert!(svg.contains(word), "{word}\n{svg}");
    }
    assert!(svg.contains("随机 10MB 的完成时间, 3 receivers"), "{svg}");
    let page = text("report.html");
    assert!(page.contains("lang=\"zh-CN\"") && page.contains("<title>群体下载"), "{page}");
    assert!(text("report.md").contains("| 本程序 | 3 | 9.00 |"));
    // Tables for programs keep the names that do not depend on labels.
    assert!(text("medians.csv").contains("\r\nsow,peer-to-peer,随机 10MB,"));
    assert!(written.files.iter().any(|file| file.ends_with("shares-随机-10mb-sow.png")));
    let hint = written.font_hint;
    assert!(hint.as_ref().is_none_or(|text| text.contains("fonts-noto-cjk")), "{hint:?}");
}

#[test]
fn the_page_begins_with_what_came_out_and_the_main_plot() {
    let dir = tempfile::tempdir().unwrap();
    let runs = [
        ("raw", "client-server", 5, 42.0, false),
        ("raw", "client-server", 2, 17.0, false),
        ("swarm", "peer-to-peer", 5, 9.2, false),
        ("swarm", "peer-to-peer", 2, 8.6, false),
        ("aria2", "peer-to-peer", 5, 13.8, false),
    ];
    records(dir.path(), "e", &runs, Value::Null);
    write(dir.path(), dir.path()).unwrap();
    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("no {part}"));
    let lead = at("<p class=\"lead\">Of 3 modes, sow brought 随机 10MB");
    let order = [lead, at("plot main"), at("<h2>Results"), at("<h2>Plots"), at("<h2>Experiment")];
    assert!(order.is_sorted(), "{order:?}");
    for part in [
        "to 5 receivers in the least time: the last one had its verified copy after 9.20 s, 1.100 \
         times the lower bound of 8.36 s.",
        "The origin sent 1.1 copies.",
        "aria2 (13.80 s, 1.5 times as long) followed; the slowest was raw (42.00 s, 4.57 times as \
         long).",
        "From 2 to 5 receivers, sow went from 8.60 to 9.20 s, and raw went from 17.00 to 42.00 s.",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // The bars of the main plot have the best result first, and a colour each.
    let svg = fs::read_to_string(dir.path().join("completion-随机-10mb-5.svg")).unwrap();
    let order = [">sow<", ">aria2<", ">raw<"].map(|name| svg.find(name).unwrap());
    assert!(order.is_sorted(), "{order:?}");
    let mut colors: Vec<&str> = svg.split("fill=\"#").filter_map(|part| part.get(..6)).collect();
    colors.retain(|color| ["0072b2", "cc79a7", "5e3c99"].contains(color));
    assert_eq!(colors.len(), 3, "{svg}");
}

#[test]
fn crowds_of_several_experiments_share_a_plot() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let measured = [
        ("swarm", "peer-to-peer", 5, 8.8, false),
        ("swarm", "peer-to-peer", 20, 9.4, false),
        ("libtorrent", "peer-to-peer", 5, 12.0, false),
        ("libtorrent", "peer-to-peer", 20, 14.2, false),
        ("udpcast", "multicast", 20, 8.7, false),
        ("raw", "client-server", 5, 41.8, false),
    ];
    records(dirs[0].path(), "measured", &measured, Value::Null);
    let simulated =
        [("swarm", "peer-to-peer", 100, 9.0, true), ("swarm", "peer-to-peer", 1000, 9.2, true)];
    records(dirs[1].path(), "simulated", &simulated, Value::Null);
    let out = dirs[2].path();
    let from = [dirs[0].path().to_owned(), dirs[1].path().to_owned()];
    let written = write_crowds(&from, &[], Grouping::ByConditions, out).unwrap();
    assert_eq!(written.runs, 8);
    assert!(written.warnings.is_empty(), "{written:?}");
    let svg = fs::read_to_string(out.join("crowds.svg")).unwrap();
    for word in
        [">sow<", ">sow, simulated<", ">libtorrent<", ">udpcast<", ">bound<", ">1000<", "10 Mbit/s"]
    {
        assert!(svg.contains(word), "{word}\n{svg}");
    }
    assert!(!svg.contains(">raw<"), "{svg}");
    let table = fs::read_to_string(out.join("crowds.md")).unwrap();
    let row =
        "| sow | simulated | 10 MB, 10 Mbit/s, no delay | 1000 | 9.20 | 8.36 | 1.100 | – | 1 |";
    assert!(table.contains(row) && table.contains("](crowds.svg)"), "{table}");
    assert!(out.join("crowds.png").exists() && out.join("crowds.csv").exists());

    let named =
        write_crowds(&from[..1], &[Mode::Raw, Mode::Swarm], Grouping::ByConditions, out).unwrap();
    assert!(named.main.contains("raw") && !named.main.contains("libtorrent"), "{}", named.main);
    let none = write_crowds(&from[..1], &[Mode::Aria2], Grouping::Together, out).unwrap();
    assert!(none.warnings[0].contains("no complete run"), "{none:?}");
}

const SCENARIO: &str = r#"
title = "六台机器"
users = 2
modes = ["sow", "raw"]
[network]
rate = "10mbit"
[[file]]
name = "随机 10 MiB"
size = "10MiB"
kind = "random"
[labels]
language = "zh-CN"
[labels.modes]
sow = "本程序"
[labels.axes]
receivers = "接收者数量"
[labels.titles]
completion = "{file} 的完成时间"
[labels.lines]
bound = "下限"
"#;

fn parsed(text: &str) -> Result<Scenario, String> {
    Scenario::parse(text, Path::new("测试 实验.toml")).map_err(|error| error.to_string())
}

#[test]
fn a_scenario_has_names_in_any_script_and_labels() {
    let scenario = parsed(SCENARIO).unwrap();
    assert_eq!(scenario.name, "测试-实验");
    assert_eq!(scenario.files[0].name, "随机 10 MiB");
    assert_eq!(scenario.files[0].disk_name(0), "file-1");
    assert_eq!(scenario.modes, [Mode::Swarm, Mode::Raw]);
    assert_eq!(scenario.labels.modes["swarm"], "本程序");
    assert_eq!(scenario.labels.language.as_deref(), Some("zh-CN"));
}

#[test]
fn a_wrong_label_is_named() {
    let long = "长".repeat(61);
    for (written, instead, said) in [
        ("sow = \"本程序\"", "swram = \"x\"", &["labels.modes.swram", "no mode `swram`"][..]),
        ("sow = \"本程序\"", "sow = \"a\"\nswarm = \"b\"", &["two labels"]),
        ("receivers = \"接收者数量\"", "width = \"x\"", &["labels.axes.width", "origin-upload"]),
        ("bound = \"下限\"", "limit = \"x\"", &["labels.lines.limit", "bound-multicast"]),
        ("\"zh-CN\"", "\"中文\"", &["labels.language", "zh-CN"]),
        ("\"接收者数量\"", "\"\"", &["labels.axes.receivers", "1 to 60"]),
        ("\"接收者数量\"", "7", &["labels.axes.receivers", "a text"]),
        ("\"接收者数量\"", &format!("\"{long}\""), &["1 to 60"]),
        ("\"接收者数量\"", "\"a\\u202eb\"", &["1 to 60"]),
        ("[labels.lines]", "[labels.words]", &["words"]),
        ("\"随机 10 MiB\"", "\"a\\nb\"", &["file.name", "one line"]),
    ] {
        let text = SCENARIO.replacen(written, instead, 1);
        assert_ne!(text, SCENARIO, "{written}");
        let error = parsed(&text).unwrap_err();
        assert!(said.iter().all(|part| error.contains(part)), "{instead}: {error}");
    }
}
