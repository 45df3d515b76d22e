//! The order of modes in tables and plots, and the number of each mode among the styles. What a
//! style looks like is decided in `style`.

use std::collections::BTreeSet;

use crate::{record::Labels, scenario::Mode};

/// Identifies the style of a mode in plots. It does not depend on the other modes of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModeStyle {
    /// The number of its colour and shape; it differs between the modes of a report.
    pub(crate) number: usize,
    /// The rank of its number of origins among those of the mode, from 0.
    pub(crate) variant: usize,
}

/// The first style number of unknown modes.
pub(crate) const FIRST_UNKNOWN_NUMBER: usize = 12;

/// Sorts modes in the order of `wanted`, then that of [`Mode::ALL`]. Unknown modes come last in
/// their present order. Within one mode, fewer origins come first.
pub(crate) fn sort(modes: &mut [&str], wanted: &[String]) {
    modes.sort_by_key(|label| {
        let (mode, origins) = parts(label);
        let known = Mode::ALL.iter().position(|known| known.id() == mode).unwrap_or(usize::MAX);
        (wanted.iter().position(|wanted| wanted == mode).unwrap_or(usize::MAX), known, origins)
    });
}

/// The styles of [sorted](sort) modes.
pub(crate) fn styles(modes: &[&str]) -> Vec<ModeStyle> {
    let known = |mode: &str| mode.parse::<Mode>().ok();
    let mut unknown: Vec<&str> = modes.iter().map(|label| parts(label).0).collect();
    unknown.retain(|mode| known(mode).is_none());
    unknown.dedup();
    let style = |label: &&str| {
        let (mode, origins) = parts(label);
        let seen = || unknown.iter().position(|&other| other == mode).unwrap_or_default();
        let number = known(mode).map_or_else(|| FIRST_UNKNOWN_NUMBER + seen(), number_of);
        let of_mode = modes.iter().map(|label| parts(label)).filter(|(other, _)| *other == mode);
        let numbers: BTreeSet<u32> = of_mode.map(|(_, origins)| origins).collect();
        ModeStyle { number, variant: numbers.range(..origins).count() }
    };
    modes.iter().map(style).collect()
}

/// The number of origins in a mode's label, such as `2 origins`, where that varies.
pub(crate) fn origins_of(label: &str) -> Option<&str> {
    let (_, origins) = label.rsplit_once(", ")?;
    let number = origins.strip_suffix(" origins").or_else(|| origins.strip_suffix(" origin"))?;
    number.parse::<u32>().is_ok().then_some(origins)
}

/// The name of a mode as readers see it, from its label in records: `sow, 2 origins`.
pub(crate) fn shown(label: &str, labels: &Labels) -> String {
    let (mode, _) = parts(label);
    let usual = || mode.parse::<Mode>().map_or_else(|_| mode.to_owned(), |mode| mode.to_string());
    let name = labels.modes.get(mode).cloned().unwrap_or_else(usual);
    match origins_of(label) {
        Some(origins) => format!("{name}, {origins}"),
        None => name,
    }
}

/// The same without the experiment's own words, for programs and file names.
pub(crate) fn plain(label: &str) -> String {
    shown(label, &Labels::default())
}

/// The mode of a label and its number of origins; 0 where that does not vary.
fn parts(label: &str) -> (&str, u32) {
    let Some(origins) = origins_of(label) else { return (label, 0) };
    let number = origins.split(' ').next().and_then(|number| number.parse().ok());
    (label[..label.len() - origins.len()].trim_end_matches(", "), number.unwrap_or_default())
}

/// The style number of a mode, which is the number of its colour.
fn number_of(mode: Mode) -> usize {
    match mode {
        Mode::Swarm => 0,
        Mode::Chunk => 1,
        Mode::JsonTorrent => 2,
        Mode::Raw => 3,
        Mode::Framed => 4,
        Mode::Libtorrent => 5,
        Mode::Transmission => 6,
        Mode::NginxCurl => 7,
        Mode::Aria2 => 8,
        Mode::LibtorrentSuper => 9,
        Mode::Udpcast => 10,
        Mode::Uftp => 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted<'a>(modes: &[&'a str], wanted: &[&str]) -> Vec<&'a str> {
        let mut modes = modes.to_vec();
        sort(&mut modes, &wanted.iter().map(ToString::to_string).collect::<Vec<_>>());
        modes
    }

    #[test]
    fn the_order_follows_the_request_and_not_the_runs() {
        let ran = ["framed", "zeta", "raw", "alpha, with a comma", "swarm"];
        assert_eq!(sorted(&ran, &[]), ["raw", "framed", "swarm", "zeta", "alpha, with a comma"]);
        assert_eq!(sorted(&ran, &["swarm", "zeta"])[..3], ["swarm", "zeta", "raw"]);
        let origins =
            ["swarm, 8 origins", "chunk, 2 origins", "swarm, 10 origins", "swarm, 1 origin"];
        assert_eq!(
            sorted(&origins, &["swarm"]),
            ["swarm, 1 origin", "swarm, 8 origins", "swarm, 10 origins", "chunk, 2 origins"]
        );
    }

    #[test]
    fn a_mode_has_the_same_style_in_every_experiment() {
        let style = |number, variant| ModeStyle { number, variant };
        assert_eq!(styles(&["raw", "swarm"]), [style(3, 0), style(0, 0)]);
        assert_eq!(
            styles(&["swarm", "aria2", "x", "y"])[..],
            [style(0, 0), style(8, 0), style(12, 0), style(13, 0)]
        );
        let origins = ["swarm, 2 origins", "swarm, 4 origins", "x, 2 origins", "x, 4 origins"];
        assert_eq!(styles(&origins), [style(0, 0), style(0, 1), style(12, 0), style(12, 1)]);
        let numbers: BTreeSet<usize> = Mode::ALL.into_iter().map(number_of).collect();
        assert_eq!(numbers.len(), Mode::ALL.len());
        assert!(numbers.iter().all(|&number| number < FIRST_UNKNOWN_NUMBER));
    }

    #[test]
    fn the_mode_of_sow_has_its_name() {
        let labels = ["swarm", "swarm, 2 origins", "raw", "a, b", "swarmer"];
        assert_eq!(labels.map(plain), ["sow", "sow, 2 origins", "raw", "a, b", "swarmer"]);
        let modes = [("swarm".to_owned(), "本程序".to_owned())].into();
        let own = Labels { modes, ..Labels::default() };
        assert_eq!(labels.map(|label| shown(label, &own))[..2], ["本程序", "本程序, 2 origins"]);
    }

    #[test]
    fn only_a_number_is_a_number_of_origins() {
        assert_eq!(origins_of("swarm, 2 origins"), Some("2 origins"));
        assert_eq!(["swarm", "a, b", "x, many origins"].map(origins_of), [None; 3]);
    }
}
