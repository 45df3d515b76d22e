//! A list of hosts: one a line, with ranges (`web[01-60].example.org`) and comments. Reads the
//! text; what is done with the hosts is decided elsewhere.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use sow_content::untrusted::{excerpt, is_unprintable};

use crate::{
    exit::{Exit, Failure},
    file_errors,
    push::PushTarget,
};

/// The limit of hosts, after the ranges are expanded.
pub(crate) const MAX_HOSTS: usize = 10_000;

/// The limit of a file of hosts, in bytes.
const MAX_FILE_LENGTH: u64 = 1 << 20;

/// The limit of one line, in bytes: a name (RFC 1035), a user and a folder.
const MAX_LINE_LENGTH: usize = 1024;

/// The hosts in the order in which they are named, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostList {
    hosts: Vec<HostEntry>,
    known: BTreeSet<String>,
}

/// One host: `[USER@]HOST[:FOLDER]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostEntry {
    /// As it is written, with its range expanded.
    pub(crate) text: String,
    /// The name or address of the host alone; an IPv6 address without brackets.
    pub(crate) host: String,
    /// The folder on that host.
    pub(crate) folder: Option<String>,
}

/// Why a pattern is not a list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostListError {
    #[error("`{0}` is not a host: it has spaces or control characters, or no name")]
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
        let length = path.metadata().map_err(|error| file_errors::cannot_read(path, &error))?.len();
        if length > MAX_FILE_LENGTH {
            let message = format!("{} is too long for a list of hosts", path.display());
            return Err(Failure::usage(message));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| file_errors::cannot_read(path, &error))?;
        let list = Self::parse(&text).map_err(|(line, error)| {
            Failure::new(Exit::Usage, format!("{}, line {line}: {error}", path.display())).tip(
                "write one host a line, as web01 or web[01-60].example.org; # begins a comment",
            )
        })?;
        if list.hosts.is_empty() {
            return Err(Failure::usage(format!("{} names no host", path.display())));
        }
        Ok(list)
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
            let entry = HostEntry::parse(name)?;
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
    pub(crate) fn hosts(&self) -> &[HostEntry] {
        &self.hosts
    }
}

impl HostEntry {
    /// Parses one host whose range is expanded already.
    fn parse(text: &str) -> Result<Self, HostListError> {
        let not_a_host = || HostListError::NotAHost(excerpt(text));
        if text.len() > MAX_LINE_LENGTH || text.contains(is_unprintable) {
            return Err(not_a_host());
        }
        if text.starts_with("ssh://") {
            let PushTarget { host, folder, .. } =
                PushTarget::parse(text).map_err(|_| not_a_host())?;
            return Ok(Self { text: text.to_owned(), host, folder });
        }
        let rest = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        let (host, folder) = if rest.parse::<IpAddr>().is_ok() {
            (rest, None)
        } else if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, rest) = bracketed.split_once(']').ok_or_else(not_a_host)?;
            let folder = rest.strip_prefix(':');
            if folder.is_none() && !rest.is_empty() {
                return Err(not_a_host());
            }
            (host, folder)
        } else {
            rest.split_once(':').map_or((rest, None), |(host, folder)| (host, Some(folder)))
        };
        // A name that begins with a hyphen would be an option to a program that is given it.
        if host.is_empty() || host.contains(' ') || host.starts_with('-') || text.starts_with('-') {
            return Err(not_a_host());
        }
        let folder = folder.filter(|folder| !folder.is_empty()).map(str::to_owned);
        Ok(Self { text: text.to_owned(), host: host.to_owned(), folder })
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
    if pattern.len() > MAX_LINE_LENGTH {
        return Err(HostListError::NotAHost(excerpt(pattern)));
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
    fn a_host_may_have_a_user_and_a_folder() {
        let of = |text: &str| {
            let entry = HostEntry::parse(text).unwrap();
            (entry.host, entry.folder)
        };
        assert_eq!(of("web01"), ("web01".to_owned(), None));
        assert_eq!(of("root@web01:/srv"), ("web01".to_owned(), Some("/srv".to_owned())));
        assert_eq!(of("fd00::2"), ("fd00::2".to_owned(), None));
        assert_eq!(of("[fd00::2]:/srv"), ("fd00::2".to_owned(), Some("/srv".to_owned())));
        for bad in ["", "-oProxyCommand=x", "root@-x", "a b", "[::1", "[::1]x", ":/srv", "a\u{1b}"]
        {
            assert!(HostEntry::parse(bad).is_err(), "{bad}");
        }
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
