//! In which order modes stand in tables and plots, and which place among colours and forms each
//! has. What the places look like is for `figures`.

use std::collections::BTreeSet;

use crate::scenario::Mode;

/// What tells a mode from others in plots. It is the same whatever else was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which colour and form; no two modes of a report have the same.
    pub(crate) number: usize,
    /// Which of the mode's numbers of origins, the least first.
    pub(crate) variant: usize,
}

/// Places of modes that are not known here begin at this.
const UNKNOWN: usize = 12;

/// Puts modes into the order of `wanted`, then that of [`Mode::ALL`]; what is not known comes last,
/// as it came. Of one mode, fewer origins come first.
pub(crate) fn sort(modes: &mut [&str], wanted: &[String]) {
    modes.sort_by_key(|label| {
        let (mode, origins) = parts(label);
        let known = Mode::ALL.iter().position(|known| known.name() == mode).unwrap_or(usize::MAX);
        (wanted.iter().position(|wanted| wanted == mode).unwrap_or(usize::MAX), known, origins)
    });
}

/// The places of modes that have been [sorted](sort).
pub(crate) fn places(modes: &[&str]) -> Vec<Place> {
    let known = |mode: &str| mode.parse::<Mode>().ok();
    let mut unknown: Vec<&str> = modes.iter().map(|label| parts(label).0).collect();
    unknown.retain(|mode| known(mode).is_none());
    unknown.dedup();
    let place = |label: &&str| {
        let (mode, origins) = parts(label);
        let seen = || unknown.iter().position(|&other| other == mode).unwrap_or_default();
        let number = known(mode).map_or_else(|| UNKNOWN + seen(), number_of);
        let of_mode = modes.iter().map(|label| parts(label)).filter(|(other, _)| *other == mode);
        let numbers: BTreeSet<u32> = of_mode.map(|(_, origins)| origins).collect();
        Place { number, variant: numbers.range(..origins).count() }
    };
    modes.iter().map(place).collect()
}

/// The number of origins of a mode where that varies, as it is written.
pub(crate) fn origins_of(label: &str) -> Option<&str> {
    let (_, origins) = label.rsplit_once(", ")?;
    let number = origins.strip_suffix(" origins").or_else(|| origins.strip_suffix(" origin"))?;
    number.parse::<u32>().is_ok().then_some(origins)
}

/// The mode itself, and its number of origins; 0 where that does not vary.
fn parts(label: &str) -> (&str, u32) {
    let Some(origins) = origins_of(label) else { return (label, 0) };
    let number = origins.split(' ').next().and_then(|number| number.parse().ok());
    (label[..label.len() - origins.len()].trim_end_matches(", "), number.unwrap_or_default())
}

/// Our own have a colour each. Others share them, in other forms: what is alike in kind, as far as
/// there is such a pair.
fn number_of(mode: Mode) -> usize {
    match mode {
        Mode::Swarm => 0,
        Mode::Chunk => 1,
        Mode::JsonTorrent => 2,
        Mode::Raw => 3,
        Mode::Framed => 4,
        Mode::Libtorrent => 5,
        Mode::Transmission => 7,
        Mode::NginxCurl => 9,
        Mode::Aria2 => 10,
        Mode::LibtorrentSuper => 11,
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
    fn the_order_is_what_was_asked_for_whatever_ran_first() {
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
    fn a_mode_has_the_same_place_in_every_experiment() {
        let place = |number, variant| Place { number, variant };
        assert_eq!(places(&["raw", "swarm"]), [place(3, 0), place(0, 0)]);
        assert_eq!(
            places(&["swarm", "aria2", "x", "y"])[..],
            [place(0, 0), place(10, 0), place(12, 0), place(13, 0)]
        );
        let origins = ["swarm, 2 origins", "swarm, 4 origins", "x, 2 origins", "x, 4 origins"];
        assert_eq!(places(&origins), [place(0, 0), place(0, 1), place(12, 0), place(12, 1)]);
        let numbers: BTreeSet<usize> = Mode::ALL.into_iter().map(number_of).collect();
        assert_eq!(numbers.len(), Mode::ALL.len());
        assert!(numbers.iter().all(|&number| number < UNKNOWN));
    }

    #[test]
    fn only_a_number_of_origins_is_one() {
        assert_eq!(origins_of("swarm, 2 origins"), Some("2 origins"));
        assert_eq!(["swarm", "a, b", "x, many origins"].map(origins_of), [None; 3]);
    }
}
