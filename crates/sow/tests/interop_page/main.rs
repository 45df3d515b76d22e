//! The live page of an origin in a real browser, and its metrics in Prometheus's own parser.
//!
//! The tests need Debian's packages chromium and prometheus; `./test interop` installs them. With
//! `SOW_SCREENSHOTS=FOLDER` they keep pictures of what the browser showed.

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod fleet;
mod shares;

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use browser::Browser;
use fleet::FakeReceiver;
use serde_json::Value;
use support::{Origin, http::get, noise_file, wait_until};

/// How long a thousand rows may take to be sorted in the browser, on a busy machine.
const MAX_SORT_TIME: Duration = Duration::from_secs(3);

/// A name that would be a script if it were no text.
const HOSTILE: &str = "<img src=x onerror=document.title='broken'>";

/// An origin and what the page needs to know of it.
struct Shown {
    origin: Origin,
    info_hash: [u8; 20],
    pieces: usize,
}

impl Shown {
    fn start(folder: &tempfile::TempDir, more: &[&str]) -> Self {
        let path = noise_file(folder.path(), "debian-13.2-netinst.iso", 16 << 20);
        let origin = Origin::start(&path, more);
        let share = get(origin.address(), "/status", &[]).json()["shares"][0].clone();
        let hash = share["info_hash"].as_str().unwrap();
        let digits = (0..20).map(|at| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).unwrap());
        let info_hash = digits.collect::<Vec<u8>>().try_into().unwrap();
        Self { origin, info_hash, pieces: share["pieces"].as_u64().unwrap() as usize }
    }

    fn receiver(&self, number: u16, have: usize, program: &str) -> FakeReceiver {
        let origin = self.origin.address().parse().unwrap();
        FakeReceiver::connect(origin, &self.info_hash, number, (have, self.pieces), program)
    }

    fn share(&self) -> Value {
        get(self.origin.address(), "/status", &[]).json()["shares"][0].clone()
    }

    fn open(&self, browser: &mut Browser, rows: usize) {
        let url = format!("http://{}/", self.origin.address());
        browser.open(&url, &format!("document.querySelectorAll('#rows tr').length === {rows}"));
    }

    fn count(&self, state: &str) -> usize {
        let share = self.share();
        let all = share["receivers"].as_array().unwrap();
        all.iter().filter(|receiver| receiver["state"] == state).count()
    }
}

/// Where pictures are kept, if they are.
fn keep(browser: &mut Browser, name: &str) {
    if let Some(folder) = std::env::var_os("SOW_SCREENSHOTS") {
        browser.screenshot(&PathBuf::from(folder).join(format!("{name}.png")));
    }
}

#[test]
fn prometheus_accepts_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let shown = Shown::start(&folder, &["--expect", "2"]);
    let _receiver = shown.receiver(1, 3, "a");
    wait_until("the receiver is known", || shown.count("connected") == 1);
    let metrics = get(shown.origin.address(), "/metrics", &[]);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (Debian's prometheus)");
    promtool.stdin.take().unwrap().write_all(&metrics.body).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.success() && said.is_empty(), "{said}\n{}", metrics.text());
}

#[test]
fn the_page_is_live_and_safe_and_usable_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let shown = Shown::start(&folder, &["--expect", "4"]);
    let pieces = shown.pieces;
    let mut first = shown.receiver(1, pieces / 4, HOSTILE);
    let second = shown.receiver(2, pieces / 2, "qBittorrent 5");
    let _third = shown.receiver(3, pieces, "qBittorrent 5");
    wait_until("all are known", || (shown.count("connected"), shown.count("complete")) == (2, 1));
    let mut browser = Browser::start();
    browser.look(1280, 900, false);
    shown.open(&mut browser, 3);
    assert_eq!(browser.value("document.title"), "1/4 · debian-13.2-netinst.iso · sow");
    assert_eq!(
        browser.value("document.querySelector('#command').textContent"),
        format!("sow get {}", shown.origin.ticket)
    );
    assert!(browser.value("document.body.textContent").as_str().unwrap().contains(HOSTILE));
    assert_eq!(browser.value("document.querySelectorAll('#rows img').length"), 0);
    check_progress(&mut browser, &mut first, pieces);
    check_order(&mut browser);
    check_access(&mut browser);
    check_looks(&mut browser, "3");
    drop(second);
    browser.wait_for("document.querySelector('#rows').textContent.includes('gone')");
    drop(shown);
    browser.wait_for("document.querySelector('#link').dataset.state === 'lost'");
    let expected = |complaint: &String| complaint.contains("ERR_");
    browser.complaints.retain(|complaint| !expected(complaint));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

/// What a receiver says is shown without a reload.
fn check_progress(browser: &mut Browser, receiver: &mut FakeReceiver, pieces: usize) {
    let percents = "[...document.querySelectorAll('.bar span')].map((one) => one.textContent)";
    assert_eq!(browser.value(percents), serde_json::json!(["25 %", "50 %", "100 %"]));
    receiver.has(pieces / 4..pieces - 1);
    browser.wait_for(&format!("{percents}.some((text) => /^9. %$/.test(text))"));
    browser.wait_for("document.querySelectorAll('#plot svg path.done').length === 1");
    browser.value("document.querySelector('#copy').click()");
    browser.wait_for("document.querySelector('#copy').textContent === 'Copied'");
}

/// The table is sorted by keyboard and filtered.
fn check_order(browser: &mut Browser) {
    let names =
        "[...document.querySelectorAll('#rows th')].map((one) => one.textContent[8]).join('')";
    browser.value("document.querySelector('th[data-sort=name] button').focus()");
    assert_eq!(browser.value("document.activeElement.matches(':focus-visible')"), true);
    browser.press("Enter", 13);
    browser.wait_for("document.querySelector('th[data-sort=name]').ariaSort === 'ascending'");
    assert_eq!(browser.value(names), "123");
    browser.press("Enter", 13);
    browser.wait_for("document.querySelector('th[data-sort=name]').ariaSort === 'descending'");
    assert_eq!(browser.value(names), "321");
    let sorted = "document.querySelectorAll('th[aria-sort]').length";
    assert_eq!(browser.value(sorted), 1, "one column says that it is sorted");
    browser.value("document.querySelector('#filter').focus()");
    browser.call("Input.insertText", serde_json::json!({ "text": "127.9.0.2" }));
    browser.wait_for("document.querySelectorAll('#rows tr').length === 1");
    assert_eq!(browser.value("document.querySelector('#count').textContent"), "(1 of 3)");
    browser.value("document.querySelector('#filter').value = ''");
    browser.value("document.querySelector('#filter').dispatchEvent(new Event('input'))");
    browser.wait_for("document.querySelectorAll('#rows tr').length === 3");
}

/// A screen reader finds a table with headers, named controls and a picture with a description.
fn check_access(browser: &mut Browser) {
    let tree = browser.accessible();
    let count = |role: &str| tree.get(role).map_or(0, Vec::len);
    assert_eq!((count("table"), count("columnheader"), count("rowheader")), (1, 5, 3), "{tree:?}");
    assert_eq!((count("main"), count("heading")), (1, 4), "{tree:?}");
    for role in ["button", "searchbox", "combobox", "link", "table", "progressbar", "image"] {
        let names = tree.get(role).unwrap_or_else(|| panic!("no {role}: {tree:?}"));
        assert!(names.iter().all(|name| !name.trim().is_empty()), "{role}: {names:?}");
    }
    let live = "document.querySelectorAll('[role=status],[role=alert],[aria-live]').length";
    assert_eq!(browser.value(live), 2, "few things are read out by themselves");
    assert_eq!(browser.value("document.documentElement.lang"), "en");
}

/// From a telephone to a projector, light and dark: nothing is cut, all texts can be read.
fn check_looks(browser: &mut Browser, name: &str) {
    for (width, height) in [(400, 850), (1280, 720), (1920, 1080)] {
        for is_dark in [false, true] {
            browser.look(width, height, is_dark);
            let wide = "document.scrollingElement.scrollWidth";
            assert_eq!(browser.value(wide), width, "no scrolling to the side");
            let worst = browser.value(CONTRAST).as_f64().unwrap();
            assert!(worst >= 4.5, "contrast {worst} at {width} px, dark: {is_dark}");
            let scheme = if is_dark { "dark" } else { "light" };
            thread::sleep(Duration::from_millis(100));
            keep(browser, &format!("{name}-{width}-{scheme}"));
        }
    }
}

/// The least contrast of a text with what is behind it (WCAG 2.2, 1.4.3).
const CONTRAST: &str = "(() => {
    const parse = (text) => (text.match(/[0-9.]+/g) ?? []).map(Number);
    const over = ([r, g, b, a = 1], below) =>
        [r, g, b].map((value, at) => value * a + below[at] * (1 - a));
    const light = (rgb) => {
        const [r, g, b] = rgb.map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        if (!element) return [255, 255, 255];
        const color = parse(getComputedStyle(element).backgroundColor);
        return color[3] === 0 ? behind(element.parentElement)
            : over(color, behind(element.parentElement));
    };
    let worst = 21;
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const element = walk.currentNode.parentElement;
        if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
        if (element.closest('noscript,.unseen,.skip,:disabled,svg,option')) continue;
        const back = behind(element);
        const pair = [light(over(parse(getComputedStyle(element).color), back)), light(back)];
        const [low, high] = pair.sort((a, b) => a - b);
        worst = Math.min(worst, (high + 0.05) / (low + 0.05));
    }
    return worst;
})()";

#[test]
fn a_thousand_receivers_are_shown_sorted_and_filtered() {
    let folder = tempfile::tempdir().unwrap();
    let shown = Shown::start(&folder, &["--expect", "1000"]);
    let mut browser = Browser::start();
    browser.look(1280, 900, false);
    browser.run_first(THOUSAND);
    shown.open(&mut browser, 1000);
    assert_eq!(browser.value("document.querySelector('#count').textContent"), "(1000)");
    let first = "document.querySelector('#rows tr').textContent";
    let failed = browser.value(first);
    assert!(failed.as_str().unwrap().contains("no space left"), "failures are first: {failed}");
    // The least of several, on a machine that does other work.
    let times = [1, 2, 3].map(|_| {
        let began = Instant::now();
        browser.value("document.querySelector('th[data-sort=bytes] button').click()");
        browser.value("feed.progress()");
        browser.value("document.querySelector('#table').offsetHeight");
        began.elapsed()
    });
    assert!(times.iter().any(|time| *time < MAX_SORT_TIME), "{times:?}");
    let bars = "[...document.querySelectorAll('.bar progress')].map((one) => one.value)";
    let sorted = format!("{bars}.every((value, at, all) => !at || all[at - 1] <= value)");
    assert_eq!(browser.value(&sorted), true, "rows are in order again after an update");
    browser.value("document.querySelector('th[data-sort=state] button').click()");
    check_looks(&mut browser, "1000");
    browser.value("document.querySelector('#state').value = 'connected'");
    browser.value("document.querySelector('#state').dispatchEvent(new Event('change'))");
    browser.wait_for("document.querySelectorAll('#rows tr').length === 700");
    browser.value("document.querySelector('#fleet').scrollIntoView()");
    keep(&mut browser, "1000-filtered");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

/// A stream of events with a thousand receivers, in place of the origin's: 700 that download, 280
/// that are complete, and some of each other kind.
const THOUSAND: &str = "window.EventSource = class extends EventTarget {
    static CLOSED = 2;
    readyState = 1;
    constructor() { super(); window.feed = this; this.begin(); }
    async begin() {
        const all = await (await fetch('/status')).json();
        const { receivers, sent, rate_up, peers, ...share } = all.shares[0];
        this.length = share.length;
        this.onopen();
        const history = Array.from({ length: 200 }, (_, at) =>
            [at, 0.7 * at / 200, 4e8 + 1e8 * Math.sin(at / 9)]);
        const rows = Array.from({ length: 1000 }, (_, at) => this.row(at));
        this.say('state', { ...share, t: 200, history, rows,
            totals: { sent: 9 * share.length, rate_up: 1e8, peers: 200 } });
    }
    row(at) {
        const state = at < 5 ? 'failed' : at < 15 ? 'missing' : at < 20 ? 'gone' :
            at < 300 ? 'complete' : 'connected';
        const part = state === 'complete' ? 1 : state === 'missing' ? 0 : (at * 37 % 90 + 5) / 100;
        const name = `web${String(at + 1).padStart(4, '0')}.example.org`;
        const error = state === 'failed' ? 'no space left on device' : null;
        const peer = state === 'missing' ? '' : `10.1.${at >> 8}.${at & 255}:52001`;
        return [at + 1, state, Math.floor(this.length * part),
            state === 'connected' ? 4e5 + at * 100 : 0, name, peer, 'sow', error, 1, 90 + at % 90];
    }
    progress() {
        const rows = Array.from({ length: 1000 }, (_, at) => this.row(at))
            .filter((row) => row[1] === 'connected')
            .map((row) => [row[0], row[1], Math.min(row[2] + row[0] * 997, this.length - 1), row[3],
                row[9] + 1]);
        this.say('update', { t: 201, rows, removed: [], reason: null, sample: [201, 0.71, 4e8],
            totals: { sent: 9 * this.length, rate_up: 1e8, peers: 200 } });
    }
    say(name, data) {
        this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) }));
    }
    close() {}
}";
