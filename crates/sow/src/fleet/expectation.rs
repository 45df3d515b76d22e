//! Which receivers a run expects, and which of them are missing.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use sow_wire::bittorrent::extension::MAX_RECEIVER_NAME;

use super::{HostList, Receiver};

/// The receivers that a run expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// Any; the run ends when it is stopped.
    Any,
    /// This number of complete receivers.
    Count(usize),
    /// A complete receiver on each of these hosts.
    Hosts(ExpectedHosts),
}

/// Hosts that are expected, and their addresses as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExpectedHosts {
    list: HostList,
    /// The host at each address, by its index; `None` where several share one.
    by_address: BTreeMap<IpAddr, Option<usize>>,
    /// The host by its name in lower case, and by its first label where only one has that.
    by_name: BTreeMap<String, usize>,
    by_label: BTreeMap<String, Option<usize>>,
}

impl From<Option<usize>> for Expectation {
    fn from(count: Option<usize>) -> Self {
        count.map_or(Self::Any, Self::Count)
    }
}

impl ExpectedHosts {
    pub(crate) fn new(list: HostList) -> Self {
        let mut expected = Self::default();
        for (index, entry) in list.hosts().iter().enumerate() {
            let name = normal_name(&entry.host);
            if let Ok(addr) = entry.host.parse::<IpAddr>() {
                expected.add_address(index, addr);
            } else {
                let label = first_label(&name).to_owned();
                expected.by_label.entry(label).and_modify(|of| *of = None).or_insert(Some(index));
            }
            expected.by_name.entry(name).or_insert(index);
            // Several folders of one host are told apart by all that is written.
            expected.by_name.entry(normal_name(&entry.text)).or_insert(index);
        }
        Self { list, ..expected }
    }

    /// A name was looked up: the host with this index has this address.
    pub(crate) fn add_address(&mut self, index: usize, addr: IpAddr) {
        let at = self.by_address.entry(addr.to_canonical()).or_insert(Some(index));
        if *at != Some(index) {
            *at = None;
        }
    }

    /// The host that a receiver is on, by its index: the one with its name, or else the one with
    /// its address. Several hosts behind one address are told apart by their names only.
    fn host_of(&self, receiver: &Receiver) -> Option<usize> {
        let name = normal_name(&receiver.name);
        if let Some(index) = self.by_name.get(&name) {
            return Some(*index);
        }
        // `web01` and `web01.example.org` are the same host if one of them is short.
        if let Some(Some(index)) = self.by_label.get(first_label(&name)) {
            let expected = normal_name(&self.list.hosts()[*index].host);
            if !name.contains('.') || !expected.contains('.') {
                return Some(*index);
            }
        }
        *self.by_address.get(&receiver.addr?.ip().to_canonical())?
    }
}

/// A name as names are compared. Receivers say at most [`MAX_RECEIVER_NAME`] characters of it.
fn normal_name(name: &str) -> String {
    name.chars().take(MAX_RECEIVER_NAME).collect::<String>().trim_end_matches('.').to_lowercase()
}

fn first_label(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

impl Expectation {
    /// The names that are to be looked up, each with the index of its host.
    pub(crate) fn host_names(&self) -> Vec<(usize, String)> {
        let Self::Hosts(hosts) = self else { return Vec::new() };
        let names = hosts.list.hosts().iter().map(|entry| entry.host.clone());
        names.enumerate().filter(|(_, name)| name.parse::<IpAddr>().is_err()).collect()
    }

    /// Names were looked up: the hosts with these indices have these addresses.
    pub(crate) fn add_addresses(&mut self, found: Vec<(usize, IpAddr)>) {
        if let Self::Hosts(hosts) = self {
            found.into_iter().for_each(|(index, addr)| hosts.add_address(index, addr));
        }
    }

    /// The hosts that are expected, as they are written.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        match self {
            Self::Hosts(hosts) => hosts.list.hosts().iter().map(|it| it.text.as_str()).collect(),
            Self::Any | Self::Count(_) => Vec::new(),
        }
    }

    /// Whether any receivers are expected, so that a run without them has failed.
    pub(crate) fn is_some(&self) -> bool {
        *self != Self::Any
    }

    /// The number of receivers that are expected.
    pub(crate) fn count(&self) -> Option<usize> {
        match self {
            Self::Any => None,
            Self::Count(count) => Some(*count),
            Self::Hosts(hosts) => Some(hosts.list.hosts().len()),
        }
    }

    /// How many of the expected receivers are complete; of all, if none are expected.
    pub(crate) fn complete<'a>(&self, receivers: impl Iterator<Item = &'a Receiver>) -> usize {
        let complete = receivers.filter(|receiver| receiver.is_complete());
        match self {
            Self::Any | Self::Count(_) => complete.count(),
            Self::Hosts(hosts) => complete
                .filter_map(|receiver| hosts.host_of(receiver))
                .collect::<BTreeSet<_>>()
                .len(),
        }
    }

    /// Whether all expected receivers are complete.
    pub(crate) fn is_met(&self, complete: usize) -> bool {
        self.count().is_some_and(|count| complete >= count)
    }

    /// A row for each receiver, with the expected host that it is on, and one for each expected
    /// host that has not come: in the order of the list, then the others.
    pub(crate) fn rows(&self, receivers: &[Receiver], total: u64) -> Vec<(Receiver, Option<&str>)> {
        let Self::Hosts(hosts) = self else {
            return receivers.iter().map(|receiver| (receiver.clone(), None)).collect();
        };
        let mut on_host: BTreeMap<usize, Vec<&Receiver>> = BTreeMap::new();
        let mut others = Vec::new();
        for receiver in receivers {
            match hosts.host_of(receiver) {
                Some(index) => on_host.entry(index).or_default().push(receiver),
                None => others.push((receiver.clone(), None)),
            }
        }
        let mut rows = Vec::new();
        for (index, entry) in hosts.list.hosts().iter().enumerate() {
            let host = Some(entry.text.as_str());
            match on_host.remove(&index) {
                Some(here) => rows.extend(here.into_iter().map(|one| (one.clone(), host))),
                None => rows.push((Receiver::missing(&entry.host, total), host)),
            }
        }
        rows.extend(others);
        rows
    }

    /// The hosts for the next try: those expected ones without a complete receiver; without a list,
    /// the names of the receivers that are not complete.
    pub(crate) fn missing_hosts<'a>(
        &self,
        rows: &'a [(Receiver, Option<&'a str>)],
    ) -> Vec<Cow<'a, str>> {
        let complete: BTreeSet<&str> = rows
            .iter()
            .filter(|(one, _)| one.is_complete())
            .filter_map(|(_, host)| *host)
            .collect();
        let is_listed = matches!(self, Self::Hosts(_));
        let mut seen = BTreeSet::new();
        rows.iter()
            .filter(|(receiver, _)| !receiver.is_complete())
            .filter_map(|(receiver, host)| match is_listed {
                true => host.filter(|host| !complete.contains(host)).map(Cow::Borrowed),
                false => Some(receiver.host_name()),
            })
            .filter(|host| seen.insert(host.clone()))
            .collect()
    }

    /// The lines that name what is missing and why, one for each receiver or host.
    pub(crate) fn missing_lines(&self, rows: &[(Receiver, Option<&str>)]) -> Vec<String> {
        let hosts: BTreeSet<Cow<'_, str>> = self.missing_hosts(rows).into_iter().collect();
        let is_listed = matches!(self, Self::Hosts(_));
        let is_missing = |(receiver, host): &&(Receiver, Option<&str>)| {
            !receiver.is_complete()
                && (!is_listed || host.is_some_and(|host| hosts.contains(&Cow::Borrowed(host))))
        };
        let mut lines: Vec<String> = rows
            .iter()
            .filter(is_missing)
            .map(|(receiver, host)| missing_line(receiver, *host))
            .collect();
        if let Self::Count(count) = self {
            let unseen = count.saturating_sub(rows.len());
            if unseen > 0 {
                lines.push(format!("{unseen} not connected"));
            }
        }
        lines
    }
}

fn missing_line(receiver: &Receiver, host: Option<&str>) -> String {
    let addr = receiver.peer();
    let mut name = host.unwrap_or(&receiver.name).to_owned();
    if receiver.name != name && receiver.name != addr && receiver.addr.is_some() {
        name = format!("{name}, {}", receiver.name);
    }
    let at = if addr.is_empty() || addr == name { String::new() } else { format!(" {addr}") };
    format!("{name}{at} ({})", receiver.shortfall())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ReceiverState;

    fn hosts(text: &str) -> Expectation {
        Expectation::Hosts(ExpectedHosts::new(HostList::parse(text).unwrap()))
    }

    fn receiver(name: &str, host: u8, state: ReceiverState) -> Receiver {
        Receiver {
            addr: Some(([10, 0, 0, host], 6881).into()),
            state,
            ..Receiver::missing(name, 100)
        }
    }

    #[test]
    fn a_host_is_known_by_its_name_or_else_by_its_address() {
        let expected = hosts("web01.example.org\nWEB02\n10.0.0.3\nweb04");
        let receivers = [
            receiver("web01", 1, ReceiverState::Complete),
            receiver("web02.example.org", 2, ReceiverState::Complete),
            receiver("debian", 3, ReceiverState::Complete),
            receiver("debian", 4, ReceiverState::Complete),
        ];
        assert_eq!(expected.complete(receivers.iter()), 3);
        assert!(!expected.is_met(3) && expected.is_met(4));
        let rows = expected.rows(&receivers, 100);
        let names: Vec<_> = rows.iter().map(|(one, host)| (one.name.as_str(), *host)).collect();
        assert_eq!(
            names[2..],
            [("debian", Some("10.0.0.3")), ("web04", Some("web04")), ("debian", None)]
        );
        assert_eq!(expected.missing_hosts(&rows), ["web04"]);
        assert_eq!(expected.missing_lines(&rows), ["web04 (not connected)"]);
    }

    #[test]
    fn hosts_behind_one_address_are_told_apart_by_name() {
        let mut expected = ExpectedHosts::new(HostList::parse("a\nb\nroot@c:/srv").unwrap());
        (0..2).for_each(|index| expected.add_address(index, [10, 0, 0, 1].into()));
        expected.add_address(2, [10, 0, 0, 2].into());
        let expected = Expectation::Hosts(expected);
        let one = [receiver("other", 1, ReceiverState::Complete)];
        assert_eq!(expected.complete(one.iter()), 0);
        let two =
            [receiver("a", 1, ReceiverState::Complete), receiver("x", 2, ReceiverState::Gone)];
        let rows = expected.rows(&two, 100);
        assert_eq!(expected.missing_hosts(&rows), ["b", "root@c:/srv"]);
        let lines = expected.missing_lines(&rows);
        assert_eq!(lines[1], "root@c:/srv, x 10.0.0.2:6881 (0.0 %, disconnected)");
    }

    #[test]
    fn a_second_copy_on_a_host_does_not_make_it_missing() {
        let expected = hosts("a");
        let two =
            [receiver("a", 1, ReceiverState::Gone), receiver("a", 1, ReceiverState::Complete)];
        let rows = expected.rows(&two, 100);
        assert_eq!((rows.len(), expected.missing_hosts(&rows).len()), (2, 0));
        assert!(expected.is_met(expected.complete(two.iter())));
    }

    #[test]
    fn without_a_list_receivers_are_counted() {
        let expected = Expectation::from(Some(3));
        let two =
            [receiver("a", 1, ReceiverState::Complete), receiver("b", 2, ReceiverState::Connected)];
        assert_eq!(expected.complete(two.iter()), 1);
        let rows = expected.rows(&two, 100);
        assert_eq!(expected.missing_hosts(&rows), ["b"]);
        let unnamed =
            Receiver { name: "10.0.0.2:6881".to_owned(), ..receiver("", 2, ReceiverState::Gone) };
        let rows_of_unnamed = expected.rows(&[unnamed], 100);
        assert_eq!(expected.missing_hosts(&rows_of_unnamed), ["10.0.0.2"], "without its port");
        assert_eq!(expected.missing_lines(&rows), ["b 10.0.0.2:6881 (0.0 %)", "1 not connected"]);
        assert!(!Expectation::Any.is_met(9) && !Expectation::Any.is_some());
    }
}
