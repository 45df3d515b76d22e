//! Whole reports: of a committed sample that was made by hand, and of large crowds that are a test
//! of the layout.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use resvg::usvg::{Group, Node, Options, Rect, Tree, fontdb::Database};
use sow_lab::{
    record::{
        Failure, File, Header, Host, Missing, Model, Origin, Receiver, Run, Sample, Topology,
        TrunkLink, VERSION, Writer,
    },
    report::{Written, write},
};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sample")
}

fn report_of(dir: &Path) -> (tempfile::TempDir, Written) {
    let out = tempfile::tempdir().unwrap();
    let written = write(dir, out.path()).unwrap();
    (out, written)
}

fn text(dir: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn pictures(written: &Written) -> impl Iterator<Item = &PathBuf> {
    written.files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "svg"))
}

#[test]
fn tables_have_the_numbers_of_the_records() {
    let (out, written) = report_of(&sample());
    assert_eq!(written.runs, 52);
    let markdown = text(&out, "report.md");
    for row in [
        "| mode | users | last (s) | bound (s) | last ÷ bound | last ÷ P2P bound | mean (s) | \
         course report: mean (s) | speed (MB/s) | course report: speed (MB/s) |",
        "| mode | users | origin sent (files) | wire ÷ wanted | runs |",
        "| raw | 5 | 44.32 (44.24–44.41) | 43.85 | 1.011 (1.009–1.013) | 5.053 (5.043–5.063) | \
         43.26 (43.17–43.35) | 38.2 | 0.242 (0.242–0.243) | 0.289 |",
        "| raw | 5 | 5.00 | 1.068 | 2 |",
        "| sow | 5 | 9.22 (9.19–9.24) | 8.77 | 1.051 (1.048–1.054) | 1.051 (1.048–1.054) | \
         9.11 (9.08–9.13) | 11.6 | 1.151 (1.148–1.155) | 0.876 |",
        "| sow | 5 | 1.03 | 1.078 | 2 |",
        "| raw | 5 | 66.90 | 65.79 | 1.017 | 5.085 | 65.56 | 58.2 | 0.240 | 0.270 |",
        "| raw | 5 | 5.00 | 1.068 | 1 |",
        "| aria2 | – | aria2c is not installed: apt-get install aria2 |",
        "| json-torrent | testfile.txt, 5 users, repetition 0 | the tracker did not answer within \
         10 s |",
        "| h1 to h6 | 10 | 10 |",
        "| h1 → h2 | 1.1931 | 1.1955 | −0.2 % | 20.60 | 20.00 | 0 % |",
        "| h2 | 20.2 % | – | 13.1 % | 17.7 % | 22.2 % | 26.8 % |",
        "- congestion control: cubic",
        "> A sample made by hand for tests: nothing here was measured.",
        "sow lab run cs-vs-p2p --users 1-5 --repeat 2",
    ] {
        assert!(markdown.lines().any(|line| line == row), "{row}\nis not in\n{markdown}");
    }
    let medians = text(&out, "medians.csv");
    let due = "sow,peer-to-peer,random 10 MiB,10485760,5,2,2,43.8548,8.7710,9.2185,9.1920,9.2450,";
    assert!(medians.lines().any(|line| line.starts_with(due)), "{medians}");
    assert_eq!(text(&out, "receivers.csv").lines().count(), 1 + 10 * 15 + 2 * 5);
    assert!(
        text(&out, "sources.csv").contains("\r\n24,sow,5,0,h2,h1,"),
        "{}",
        text(&out, "sources.csv")
    );
}

#[test]
fn every_kind_of_plot_exists_as_svg_and_png() {
    let (out, written) = report_of(&sample());
    for name in [
        "completion-random-10-mib",
        "distance-random-10-mib",
        "origin-upload-random-10-mib",
        "distribution-random-10-mib",
        "throughput-random-10-mib-sow",
        "shares-random-10-mib-sow",
        "completion-testfile-txt-5",
        "origin-upload-testfile-txt-5",
        "distribution-testfile-txt",
    ] {
        let size = tree(&out.path().join(format!("{name}.svg"))).size();
        let png = fs::read(out.path().join(format!("{name}.png"))).unwrap();
        let pixels = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n", "{name}");
        let due = [size.width(), size.height()].map(|length| length as u32 * 3);
        assert_eq!([pixels(16), pixels(20)], due, "{name}");
        assert!(text(&out, "report.md").contains(&format!("]({name}.svg)")), "{name}");
    }
    // There is no matrix of a single source, and no throughput without samples.
    assert!(!out.path().join("shares-random-10-mib-raw.svg").exists());
    assert!(!out.path().join("throughput-random-10-mib-framed.svg").exists());
    assert!(pictures(&written).count() >= 9);
}

#[test]
fn the_page_loads_nothing_else() {
    let (out, written) = report_of(&sample());
    assert_eq!(written.files[0], out.path().join("report.html"));
    let page = text(&out, "report.html");
    for outside in ["src=\"", "<link", "<script", "@import", "href=", "url(http", "url(/", "url(\""]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    let addresses =
        page.matches("http").count() - page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count();
    assert_eq!(addresses, 0, "the page has an external address");
    assert_eq!(page.matches("<svg ").count(), pictures(&written).count());
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    for part in [
        "prefers-color-scheme:dark",
        "A sample made by hand",
        "<h3>Calibration</h3>",
        "44.32 <span class=\"range\">(44.24–44.41)</span>",
        "sow get 10",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Pictures use the colours of the page.
    assert!(page.contains("stroke=\"var(--series-0)\"") && page.contains("--series-0:#0072b2"));
}

#[test]
fn no_text_overlaps_another_or_is_cut() {
    let (_out, written) = report_of(&sample());
    pictures(&written).for_each(|path| check_texts(path));
}

#[test]
fn crowds_of_a_hundred_and_long_names_fit() {
    let dir = tempfile::tempdir().unwrap();
    write_large_crowds(dir.path());
    let (out, written) = report_of(dir.path());
    pictures(&written).for_each(|path| check_texts(path));
    assert!(pictures(&written).count() >= 10, "{:?}", written.files);
    let page = text(&out, "report.html");
    assert!(!page.contains("<b>") && page.contains("&lt;b&gt;"), "names are not escaped");
    let markdown = text(&out, "report.md");
    assert!(markdown.contains("| trunk to h90 to h101 |"), "{markdown}");
    assert!(
        markdown.contains("h2 left for good")
            || written.warnings.iter().any(|warning| warning.contains("h2 left"))
    );
}

#[test]
fn a_report_without_runs_says_so() {
    let dir = tempfile::tempdir().unwrap();
    Writer::create(dir.path(), &header(2)).unwrap();
    let (out, written) = report_of(dir.path());
    assert_eq!(written.warnings, ["There is no run in these records."]);
    assert!(text(&out, "report.html").contains("There is no run in these records."));
    assert_eq!(pictures(&written).count(), 0);
}

#[test]
fn incomplete_runs_are_named_and_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(dir.path(), &header(4)).unwrap();
    let mut good = run(0, "swarm", 3);
    writer.write_run(&good).unwrap();
    (good.run, good.repetition) = (1, 1);
    good.receivers[2].finished_seconds = None;
    good.receivers[2].verified = false;
    good.receivers[2].error = Some("out of reach".into());
    // A failure with a later successful run is not reported.
    let failure = |mode: &str, repetition| Failure {
        mode: mode.into(),
        users: 3,
        repetition,
        file: "random".into(),
        message: format!("failed {repetition}"),
    };
    let missing =
        |mode: &str| Missing { mode: mode.into(), program: format!("{mode}d"), hint: None };
    for repetition in 0..3 {
        writer.write_failure(&failure("swarm", repetition)).unwrap();
    }
    writer.write_missing(&missing("swarm")).unwrap();
    writer.write_missing(&missing("swa")).unwrap();
    writer.write_run(&good).unwrap();
    let (out, written) = report_of(dir.path());
    let markdown = text(&out, "report.md");
    assert!(markdown.contains("| failed 2 |") && !markdown.contains("| failed 1 |"), "{markdown}");
    assert!(
        markdown.contains("swad is not installed") && !markdown.contains("swarmd"),
        "{markdown}"
    );
    assert!(
        written.warnings.iter().any(|warning| warning.starts_with("1 run could not")),
        "{written:?}"
    );
    assert!(
        markdown.contains("| sow | 3 | 9.30 | 8.36 | 1.112 |") && markdown.contains("| 1 of 2 |"),
        "{markdown}"
    );
    assert!(
        markdown.contains("| sow | random, 3 users, repetition 1, h4 | out of reach |"),
        "{markdown}"
    );
}

fn tree(path: &Path) -> Tree {
    let mut fonts = Database::new();
    fonts.load_font_data(include_bytes!("../fonts/DejaVuSans-subset.ttf").to_vec());
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let svg = fs::read_to_string(path).unwrap();
    Tree::from_str(&svg, &options).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn check_texts(path: &Path) {
    let tree = tree(path);
    let mut texts = Vec::new();
    collect_texts(tree.root(), &mut texts);
    assert!(texts.len() >= 4, "{}: {texts:?}", path.display());
    for (index, (text, area)) in texts.iter().enumerate() {
        let size = tree.size();
        let inside = area.left() >= 0.0
            && area.top() >= 0.0
            && area.right() <= size.width()
            && area.bottom() <= size.height();
        assert!(inside, "{}: {text:?} is cut: {area:?}", path.display());
        for (other, other_area) in &texts[..index] {
            let apart = area.left() >= other_area.right()
                || area.right() <= other_area.left()
                || area.top() >= other_area.bottom()
                || area.bottom() <= other_area.top();
            assert!(
                apart,
                "{}: {text:?} overlaps {other:?}: {area:?} {other_area:?}",
                path.display()
            );
        }
    }
}

fn collect_texts(group: &Group, texts: &mut Vec<(String, Rect)>) {
    for node in group.children() {
        match node {
            Node::Group(group) => collect_texts(group, texts),
            Node::Text(text) => {
                let content = text.chunks().iter().map(|chunk| chunk.text()).collect();
                texts.push((content, text.abs_bounding_box()));
            }
            _ => {}
        }
    }
}

fn header(hosts: usize) -> Header {
    let host = |number| Host {
        name: format!("h{number}"),
        up_bits_per_second: Some(10_000_000),
        down_bits_per_second: Some(10_000_000),
    };
    Header {
        version: VERSION,
        experiment: "strain".into(),
        command: vec!["sow".into(), "lab".into(), "run".into(), "my file.toml".into()],
        seed: 1,
        modes: Vec::new(),
        date: "2026-01-01T00:00:00Z".into(),
        program: "sow 0.1.0".into(),
        kernel: "Linux".into(),
        congestion_control: "cubic".into(),
        cpus: None,
        topology: Topology {
            hosts: (1..=hosts).map(host).collect(),
            delay_seconds: 0.0,
            delay_by: "none".into(),
            shaped_by: "tbf".into(),
            trunk: None,
        },
        calibration: Vec::new(),
        notes: Vec::new(),
        settings: serde_json::Value::Null,
    }
}

/// Every receiver gets a tenth from the origin, and the rest from the next receiver.
fn run(number: u32, mode: &str, users: u32) -> Run {
    let bytes = 10_000_000;
    let receiver = |place: u32| Receiver {
        host: format!("h{}", place + 2),
        started_seconds: 0.0,
        finished_seconds: Some(9.0 + 0.1 * f64::from(place + 1)),
        verified: true,
        left_seconds: None,
        from_bytes: BTreeMap::from([
            ("h1".to_owned(), bytes / 10),
            (format!("h{}", (place + 1) % users + 2), bytes - bytes / 10),
        ]),
        wire_up_bytes: Some(9_500_000),
        wire_down_bytes: Some(10_600_000),
        cpu_seconds: None,
        error: None,
    };
    Run {
        run: number,
        mode: mode.into(),
        model: Model::PeerToPeer,
        program: None,
        simulated: false,
        repetition: 0,
        users,
        file: File { name: "random".into(), bytes },
        seed: 1,
        origins: vec![Origin {
            host: "h1".into(),
            payload_up_bytes: Some(u64::from(users) * bytes / 10),
            wire_up_bytes: Some(10_600_000),
            wire_down_bytes: Some(200_000),
        }],
        receivers: (0..users).map(receiver).collect(),
        commands: Vec::new(),
        note: None,
    }
}

/// A hundred receivers beyond a trunk, more modes than colours, names of the maximum length, user
/// numbers that differ widely.
fn write_large_crowds(dir: &Path) {
    let mut header = header(101);
    let far = (90..=101).map(|number| format!("h{number}")).collect();
    header.topology.trunk = Some(TrunkLink { bits_per_second: 2_000_000, far_hosts: far });
    header.topology.hosts[3].up_bits_per_second = None;
    let mut writer = Writer::create(dir, &header).unwrap();
    let long = format!("<b>{}</b>", "a mode with a very long name ".repeat(3));
    let modes: Vec<String> =
        (1..=7).map(|number| format!("program-{number}")).chain([long.trim().to_owned()]).collect();
    let mut number = 0;
    for mode in &modes {
        for users in [1, 20, 100] {
            let mut run = run(number, mode, users);
            run.file.name =
                "a file with a very long name that does not fit into the title of any figure.bin"
                    .into();
            if users == 100 {
                run.receivers[0].left_seconds = Some(1.0);
                run.note = Some("h2 left for good".into());
            }
            writer.write_run(&run).unwrap();
            if users == 100 && mode == "program-1" {
                sample_all(&mut writer, &run);
            }
            number += 1;
        }
        // Another file with two user numbers, which gives bars.
        for users in [5, 20] {
            writer.write_run(&run(number, mode, users)).unwrap();
            number += 1;
        }
    }
    let mut odd = run(number, "odd", 30);
    odd.file = File { name: "%&\"<>'".into(), bytes: 1 };
    writer.write_run(&odd).unwrap();
    let failure = Failure {
        mode: "odd".into(),
        users: 1,
        repetition: 0,
        file: "f".into(),
        message: "a\nb | c".into(),
    };
    writer.write_failure(&failure).unwrap();
    writer.write_missing(&Missing { mode: "x".into(), program: "x".into(), hint: None }).unwrap();
}

fn sample_all(writer: &mut Writer, run: &Run) {
    for step in 1..=20_u32 {
        for number in 1..=run.users + 1 {
            let sample = Sample {
                run: run.run,
                t: f64::from(step),
                host: format!("h{number}"),
                up_bytes: u64::from(step * number) * 10_000,
                down_bytes: u64::from(step) * 500_000,
            };
            writer.write_sample(&sample).unwrap();
        }
    }
}
