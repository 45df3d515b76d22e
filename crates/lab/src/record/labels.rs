//! The words of a report that an experiment can replace, so that the report is in the language of
//! its readers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Words that replace those of the report. An empty table replaces nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// The language of the words, as a BCP 47 tag such as `zh-CN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The names of modes, by their id in records.
    pub modes: BTreeMap<String, String>,
    /// The labels of axes and scales, by the keys of [`AXES`].
    pub axes: BTreeMap<String, String>,
    /// The titles of plots, by the keys of [`TITLES`]. `{file}` and `{mode}` are replaced.
    pub titles: BTreeMap<String, String>,
    /// The names of reference lines, by the keys of [`LINES`].
    pub lines: BTreeMap<String, String>,
}

/// The axes and scales of plots, and their usual labels.
pub const AXES: [(&str, &str); 12] = [
    ("completion", "until the last receiver has verified (s)"),
    ("distance", "last receiver ÷ bound of the model"),
    ("distance-p2p", "last receiver ÷ peer-to-peer bound"),
    ("from", "from"),
    ("origin-upload", "origin's upload (units of the file)"),
    ("received", "received (Mbit/s)"),
    ("receivers", "receivers"),
    ("sent", "sent (Mbit/s)"),
    ("share", "share of the file (%)"),
    ("time", "time since the start (s)"),
    ("to", "to"),
    ("verified", "receivers that have verified (%)"),
];

/// The kinds of plots, and their usual titles.
pub const TITLES: [(&str, &str); 7] = [
    ("completion", "Completion of {file}"),
    ("crowds", "Distance from the bound"),
    ("distance", "Distance from the bound: {file}"),
    ("distribution", "When receivers have {file}"),
    ("origin-upload", "What the origin sent of {file}"),
    ("shares", "Shares by source: {mode}, {file}"),
    ("throughput", "Throughput: {mode}, {file}"),
];

/// The reference lines of plots, and their usual names.
pub const LINES: [(&str, &str); 7] = [
    ("bound", "bound"),
    ("bound-client-server", "bound, client/server"),
    ("bound-multicast", "bound, multicast"),
    ("bound-peer-to-peer", "bound, peer-to-peer"),
    ("once", "once"),
    ("once-each", "once for each receiver"),
    ("simulated", "simulated"),
];

impl Labels {
    /// Whether nothing is replaced.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The label of an axis, which is one of [`AXES`].
    pub(crate) fn axis<'a>(&'a self, key: &'a str) -> &'a str {
        word(&self.axes, &AXES, key)
    }

    /// The name of a line, which is one of [`LINES`].
    pub(crate) fn line<'a>(&'a self, key: &'a str) -> &'a str {
        word(&self.lines, &LINES, key)
    }

    /// The title of a plot, which is one of [`TITLES`].
    pub(crate) fn title(&self, key: &str, file: &str, mode: &str) -> String {
        let pattern = word(&self.titles, &TITLES, key);
        // In one pass: the name of a file may contain `{mode}`.
        let mut title = String::new();
        let mut rest = pattern;
        while let Some(start) = rest.find('{') {
            title += &rest[..start];
            rest = &rest[start..];
            let (length, text) = match rest {
                _ if rest.starts_with("{file}") => (6, file),
                _ if rest.starts_with("{mode}") => (6, mode),
                _ => (1, "{"),
            };
            title += text;
            rest = &rest[length..];
        }
        title + rest
    }
}

/// The replacement of a word, or the word itself.
fn word<'a>(
    replaced: &'a BTreeMap<String, String>,
    usual: &[(&'static str, &'static str)],
    key: &'a str,
) -> &'a str {
    let usual = || usual.iter().find(|(other, _)| *other == key).map_or(key, |&(_, text)| text);
    replaced.get(key).map_or_else(usual, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_has_the_names_of_file_and_mode() {
        let titles = [("shares", "{mode}的来源：{file} {x}")].map(|(k, v)| (k.into(), v.into()));
        let labels = Labels { titles: titles.into(), ..Labels::default() };
        assert_eq!(labels.title("shares", "{mode}.bin", "客户端"), "客户端的来源：{mode}.bin {x}");
        assert_eq!(labels.title("completion", "a", "b"), "Completion of a");
    }

    #[test]
    fn keys_are_sorted_and_unique() {
        for keys in [&AXES[..], &TITLES, &LINES] {
            assert!(keys.windows(2).all(|pair| pair[0].0 < pair[1].0), "{keys:?}");
        }
    }
}
