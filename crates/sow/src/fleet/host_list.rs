//! A list of hosts: one a line, with ranges (`web[01-60].example.org`) and comments. Reads the
//! text; what is done with the hosts is decided elsewhere.

use std::{collections::BTreeSet, path::Path};

use sow_content::untrusted::excerpt;

use super::host_target::{HostTarget, MAX_TARGET};
use crate::{
    exit::{Exit, Failure},
    file_reading::read_at_most,
};

/// The limit of hosts, after the ranges are expanded.
pub(crate) const MAX_HOSTS: usize = 10_000;

/// The limit of a file of hosts, in bytes.
const MAX_FILE_LENGTH: usize = 1 << 20;

/// The hosts in the order in which they are named, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostList {
    hosts: Vec<HostTarget>,
    known: BTreeSet<String>,
}

/// Why a pattern is not a list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostListError {
    #[error("{0}")]
    NotAHost(String),
    #[error("`{0}`: a range is [FIRST-LAST] or [A,B,C], of numbers with at most nine digits")]
    BadRange(String),
    #[error("there are more than {MAX_HOSTS} hosts")]
    TooMany,
}

impl HostList {
    /// Reads a file of hosts.
    ///
    /// # Errors
    /// When the file cannot be read, is too long, names no host, or a line is not a host.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let list = Self::read_or_empty(path)?;
        if list.hosts.is_empty() {
            return Err(Failure::usage(format!("{} names no host", path.display())));
        }
        Ok(list)
    }

    /// Reads a file of hosts that may name none.
    ///
    /// # Errors
    /// When the file cannot be read, is too long, or a line is not a host.
    pub(crate) fn read_or_empty(path: &Path) -> Result<Self, Failure> {
        let bytes = read_at_most(path, MAX_FILE_LENGTH)?;
        let is_too_long = bytes.len() > MAX_FILE_LENGTH;
        let text = String::from_utf8(bytes).ok().filter(|_| !is_too_long).ok_or_else(|| {
            let what = if is_too_long { "too long for" } else { "not" };
            Failure::usage(format!("{} is {what} a list of hosts", path.display()))
        })?;
        Self::parse(&text).map_err(|(line, error)| {
            Failure::new(Exit::Usage, format!("{}, line {line}: {error}", path.display())).tip(
                "write one host a line, as web01 or web[01-60].example.org; # begins a comment",
            )
        })
    }

    /// Parses the text of a file of hosts. The error has the number of its line, from 1.
    pub(crate) fn parse(text: &str) -> Result<Self, (usize, HostListError)> {
        let mut list = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let pattern = without_comment(line.trim_start_matches('\u{feff}')).trim();
            if pattern.is_empty() {
                continue;
            }
            let texts = expand(pattern).map_err(|error| (number, error))?;
            list.add(&texts).map_err(|error| (number, error))?;
        }
        Ok(list)
    }

    /// The hosts of patterns, as they are typed on a command line.
    ///
    /// # Errors
    /// When a pattern names no host, or there are too many.
    pub(crate) fn from_patterns(patterns: &[String]) -> Result<Self, HostListError> {
        let mut list = Self::default();
        patterns.iter().try_for_each(|pattern| list.add(&expand(pattern)?))?;
        Ok(list)
    }

    /// Hosts whose ranges are expanded.
    ///
    /// # Errors
    /// When one is not a host, or there are too many.
    pub(crate) fn from_names(names: &[String]) -> Result<Self, HostListError> {
        let mut list = Self::default();
        list.add(names)?;
        Ok(list)
    }

    /// Both lists.
    ///
    /// # Errors
    /// When there are too many hosts.
    pub(crate) fn and(mut self, other: &Self) -> Result<Self, HostListError> {
        let names: Vec<String> = other.hosts.iter().map(|entry| entry.text.clone()).collect();
        self.add(&names)?;
        Ok(self)
    }

    fn add(&mut self, names: &[String]) -> Result<(), HostListError> {
        for name in names {
            let entry = HostTarget::parse(name).map_err(HostListError::NotAHost)?;
            if !self.known.insert(entry.text.clone()) {
                continue;
            }
            if self.hosts.len() == MAX_HOSTS {
                return Err(HostListError::TooMany);
            }
            self.hosts.push(entry);
        }
        Ok(())
    }

    /// The hosts.
    pub(crate) fn hosts(&self) -> &[HostTarget] {
        &self.hosts
    }
}

/// A line up to its comment.
fn without_comment(line: &str) -> &str {
    let is_start = |at: usize| at == 0 || line[..at].ends_with(char::is_whitespace);
    let start = line.match_indices('#').map(|(at, _)| at).find(|&at| is_start(at));
    start.map_or(line, |at| &line[..at])
}

/// The hosts that a pattern names: every range is replaced by each of its numbers, with as many
/// digits as the first has.
///
/// # Errors
/// When a range is not one, or there are too many hosts.
pub(crate) fn expand(pattern: &str) -> Result<Vec<String>, HostListError> {
    if pattern.len() > MAX_TARGET {
        let message = format!("`{}` is not a host: it is too long", excerpt(pattern));
        return Err(HostListError::NotAHost(message));
    }
    let mut texts = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((range, after)) = after.split_once(']') else {
            return Err(HostListError::BadRange(excerpt(pattern)));
        };
        // An IPv6 address stands in brackets, too.
        let numbers = match range.contains(':') {
            true => vec![format!("[{range}]")],
            false => numbers_of(range).ok_or_else(|| range_error(range, pattern))?,
        };
        if texts.len().saturating_mul(numbers.len()) > MAX_HOSTS {
            return Err(HostListError::TooMany);
        }
        texts = texts
            .iter()
            .flat_map(|text| numbers.iter().map(move |number| format!("{text}{before}{number}")))
            .collect();
        rest = after;
    }
    texts.iter_mut().for_each(|text| text.push_str(rest));
    Ok(texts)
}

fn range_error(range: &str, pattern: &str) -> HostListError {
    let is_long = |part: &str| {
        part.split_once('-').is_some_and(|(first, last)| {
            matches!((first.parse::<u32>(), last.parse::<u32>()), (Ok(first), Ok(last))
                if last >= first && (last - first) as usize >= MAX_HOSTS)
        })
    };
    match range.split(',').any(is_long) {
        true => HostListError::TooMany,
        false => HostListError::BadRange(excerpt(pattern)),
    }
}

/// The numbers of a range, `01-60` or `1,3,5-9`; `None` if it is not one, or too long.
fn numbers_of(range: &str) -> Option<Vec<String>> {
    let is_number =
        |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    let mut numbers = Vec::new();
    for part in range.split(',') {
        let part = part.trim();
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if !is_number(first) || !is_number(last) {
            return None;
        }
        let (from, to) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if to < from || numbers.len() + (to - from) as usize >= MAX_HOSTS {
            return None;
        }
        let width = first.len();
        numbers.extend((from..=to).map(|number| format!("{number:0width$}")));
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        HostList::parse(text).unwrap().hosts.into_iter().map(|entry| entry.text).collect()
    }

    #[test]
    fn hosts_stand_one_a_line_with_comments_and_ranges() {
        let text = "# the lab\nweb[08-11].example.org  # four\n\n  db1\r\ndb1\nr[1,3]n[1-2]\n";
        assert_eq!(
            names(text),
            [
                "web08.example.org",
                "web09.example.org",
                "web10.example.org",
                "web11.example.org",
                "db1",
                "r1n1",
                "r1n2",
                "r3n1",
                "r3n2"
            ]
        );
        assert_eq!(names("[fd00::1]:/srv\nfd00::2\n10.0.0.[8-9]\na#b").len(), 5);
    }

    #[test]
    fn ranges_are_checked_and_bounded() {
        for bad in ["web[1-", "web[]", "web[a-b]", "web[5-1]", "web[1-2-3]", "w[1234567890]"] {
            let error = expand(bad).unwrap_err();
            assert!(matches!(error, HostListError::BadRange(_)), "{bad}: {error}");
        }
        for many in ["web[0-999999999]", "a[0-999]b[0-999]", "a[1-5000,1-5001]"] {
            assert!(expand(many).is_err(), "{many}");
        }
        assert_eq!(expand("a[0-9999]").unwrap().len(), MAX_HOSTS);
        let two = HostList::parse("a[0-9999]\nb");
        assert_eq!(two, Err((2, HostListError::TooMany)));
    }

    #[test]
    fn a_file_without_hosts_is_a_usage_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.txt");
        std::fs::write(&path, "# none\n").unwrap();
        assert_eq!(HostList::read(&path).unwrap_err().exit(), Exit::Usage);
        std::fs::write(&path, "a\nb c\n").unwrap();
        let failure = HostList::read(&path).unwrap_err();
        assert!(failure.message().contains("line 2"), "{failure}");
        assert!(HostList::read(&folder.path().join("none")).is_err());
    }
}
