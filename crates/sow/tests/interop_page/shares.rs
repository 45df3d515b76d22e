//! The index of several shares in the browser: a line to paste for each, a filter, and the way to
//! the live page of one.

use std::path::PathBuf;

use crate::{
    HOSTILE,
    browser::Browser,
    keep,
    support::{Running, noise_file, sow},
};

/// The number of files, beside the one with a hostile name.
const FILES: usize = 60;

#[test]
fn several_shares_have_an_index_with_a_line_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let name = |at: usize| format!("image-{at:02}-amd64.iso");
    let mut paths: Vec<PathBuf> =
        (0..FILES).map(|at| noise_file(folder.path(), &name(at), 10_000 + at)).collect();
    paths.push(noise_file(folder.path(), &HOSTILE.replace('/', ""), 500));
    let mut command = sow(["send", "--bind", "127.0.0.1", "--port", "0"]);
    let mut origin = Running::start(command.args(&paths));
    let lines: Vec<String> = paths.iter().map(|_| origin.line()).collect();
    let address = lines[0].strip_prefix("sow get ").unwrap().split_once('/').unwrap().0.to_owned();
    let mut browser = Browser::start();
    browser.look(1280, 900, false);
    let count = "document.querySelectorAll('#list li').length";
    browser.open(&format!("http://{address}/"), &format!("{count} === {}", FILES + 1));
    let shown = "[...document.querySelectorAll('#list code')].map((it) => it.textContent).sort()";
    let mut expected = lines.clone();
    expected.sort();
    assert_eq!(browser.value(shown), serde_json::json!(expected));
    assert_eq!(browser.value("document.title"), "61 shares · sow");
    assert_eq!(browser.value("document.querySelectorAll('#list img').length"), 0);
    assert_eq!(browser.value("document.querySelector('#one').hidden"), true);
    keep(&mut browser, "index-light");
    for (width, height, is_dark) in [(400, 800, true), (1920, 1080, true)] {
        browser.look(width, height, is_dark);
        let overflow =
            "document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(browser.value(overflow), false, "{width} px");
        keep(&mut browser, &format!("index-{width}"));
    }
    browser.value("document.querySelector('#find').value = 'IMAGE-07'");
    browser.value("document.querySelector('#find').dispatchEvent(new Event('input'))");
    browser.wait_for(&format!("{count} === 1"));
    assert_eq!(browser.value("document.querySelector('#number').textContent"), "(1 of 61)");
    browser.value("document.querySelector('#list .copy').click()");
    browser.wait_for("document.querySelector('#list .copy').textContent !== 'Copy'");
    let link = browser.value("document.querySelector('#list a').href");
    let ready = format!("document.querySelector('#command')?.textContent === '{}'", lines[7]);
    browser.open(link.as_str().unwrap(), &ready);
    assert_eq!(browser.value("document.querySelector('#name').textContent"), name(7));
    assert_eq!(browser.value("document.querySelector('#shares').hidden"), false, "the way back");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}
