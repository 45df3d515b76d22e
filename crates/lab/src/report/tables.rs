//! Which tables a report has, and what is in their cells. How a table is written is for `table`.

pub(crate) mod raw;

use std::collections::BTreeSet;

use super::{
    losses::{CAUSES, Losses},
    published,
    summary::{Group, Spread, Summary},
    table::{Table, numbers, words},
};
use crate::record::{Calibration, File, Host, Run, Topology};

/// More hosts than this, and the shares are a CSV file and a picture only.
const HOSTS_IN_A_TABLE: usize = 12;

/// The network that was asked for: hosts with the same links share a row.
pub(crate) fn network(topology: &Topology) -> Table {
    let mut kinds: Vec<(&Host, Vec<&str>)> = Vec::new();
    for host in &topology.hosts {
        let links = |other: &Host| (other.up_bits_per_second, other.down_bits_per_second);
        match kinds.iter_mut().find(|(first, _)| links(first) == links(host)) {
            Some((_, names)) => names.push(&host.name),
            None => kinds.push((host, vec![&host.name])),
        }
    }
    let rate = |bits: Option<u64>| {
        bits.map_or_else(|| "unlimited".to_owned(), |bits| decimals(bits as f64 / 1e6))
    };
    let mut rows: Vec<Vec<String>> = kinds
        .into_iter()
        .map(|(host, names)| {
            vec![listed(&names), rate(host.up_bits_per_second), rate(host.down_bits_per_second)]
        })
        .collect();
    if let Some(trunk) = &topology.trunk {
        let far: Vec<&str> = trunk.far_hosts.iter().map(String::as_str).collect();
        let rate = rate(Some(trunk.bits_per_second));
        rows.push(vec![format!("trunk to {}", listed(&far)), rate.clone(), rate]);
    }
    Table {
        title: "Links".into(),
        name: "links".into(),
        note: format!(
            "{} ms of delay on each link, one way (made by {}); rates limited by {}.",
            decimals(topology.delay_seconds * 1e3),
            topology.delay_by,
            topology.shaped_by
        ),
        columns: vec![words("hosts"), numbers("up (Mbit/s)"), numbers("down (Mbit/s)")],
        rows,
    }
}

/// What the network was measured to do. `None` if it was not measured.
pub(crate) fn calibration(measures: &[Calibration]) -> Option<Table> {
    let row = |measure: &Calibration| {
        let rate = |rate: Option<f64>| optional(rate, |rate| format!("{:.4}", rate / 1e6));
        let trip =
            |seconds: Option<f64>| optional(seconds, |seconds| format!("{:.2}", seconds * 1e3));
        let pair = measure.payload_bytes_per_second.zip(measure.expected_payload_bytes_per_second);
        let off = pair.filter(|&(_, due)| due > 0.0).map(|(is, due)| (is / due - 1.0) * 100.0);
        vec![
            format!("{} → {}", measure.from, measure.to),
            rate(measure.payload_bytes_per_second),
            rate(measure.expected_payload_bytes_per_second),
            optional(off, |off| format!("{off:+.1} %").replace('-', "−")),
            trip(measure.round_trip_seconds),
            trip(measure.expected_round_trip_seconds),
            optional(measure.loss, |loss| format!("{} %", decimals(loss * 100.0))),
        ]
    };
    let table = Table {
        title: "Calibration".into(),
        name: "calibration".into(),
        note: "Measured before the first run. What is due of a link is 1448 of every 1514 bytes on the wire."
            .into(),
        columns: vec![
            words("between"),
            numbers("payload (MB/s)"),
            numbers("due (MB/s)"),
            numbers("off by"),
            numbers("round trip (ms)"),
            numbers("due (ms)"),
            numbers("loss"),
        ],
        rows: measures.iter().map(row).collect(),
    };
    (!table.rows.is_empty()).then(|| table.without_empty_columns())
}

/// The main tables: one for each file, a row for each mode and number of users.
pub(crate) fn completion(summary: &Summary<'_>) -> Vec<Table> {
    let is_published =
        |group: &Group<'_>| published::mean_seconds(group.model, group.file, group.users).is_some();
    let beside_document = published::is_network_of_document_1(&summary.records.header.topology)
        && summary.groups.iter().any(is_published);
    summary
        .files
        .iter()
        .enumerate()
        .map(|(place, file)| {
            let mut table = Table {
                title: format!("Completion: {}, {} bytes", file.name, grouped(file.bytes)),
                // As numbers, it is among the medians.
                name: String::new(),
                note: if place == 0 { completion_note(beside_document) } else { String::new() },
                columns: completion_columns(),
                rows: Vec::new(),
            };
            table.rows =
                summary.of_file(file).map(|group| completion_row(group, beside_document)).collect();
            table.without_empty_columns()
        })
        .collect()
}

/// What matters most of [`completion`], narrow enough for a terminal.
pub(crate) fn short(summary: &Summary<'_>) -> Vec<Table> {
    let row = |group: &Group<'_>| {
        vec![
            group.mode.to_owned(),
            group.users.to_string(),
            spread(group.mean, 1.0, 2),
            spread(group.last, 1.0, 2),
            optional(group.bounds, |bounds| format!("{:.2}", bounds.of(group.model))),
            optional(group.distance, |distance| format!("{:.3}", distance.median)),
            optional(group.origin_files, |files| format!("{:.2}", files.median)),
            runs_of(group),
        ]
    };
    let columns = || {
        let heads = [
            "users",
            "mean (s)",
            "last (s)",
            "bound (s)",
            "last ÷ bound",
            "origin sent (files)",
            "runs",
        ];
        [words("mode")].into_iter().chain(heads.map(numbers)).collect()
    };
    let table = |file: &&File| Table {
        title: format!("{}, {} bytes", file.name, grouped(file.bytes)),
        name: String::new(),
        note: String::new(),
        columns: columns(),
        rows: summary.of_file(file).map(row).collect(),
    };
    summary.files.iter().map(table).collect()
}

fn completion_columns() -> Vec<super::table::Column> {
    vec![
        words("mode"),
        numbers("users"),
        numbers("last (s)"),
        numbers("bound (s)"),
        numbers("last ÷ bound"),
        numbers("last ÷ P2P bound"),
        numbers("mean (s)"),
        numbers("document 1: mean (s)"),
        numbers("speed (MB/s)"),
        numbers("document 1: speed (MB/s)"),
        numbers("origin sent (files)"),
        numbers("wire ÷ wanted"),
        numbers("runs"),
    ]
}

fn completion_note(beside_document: bool) -> String {
    let mut note = "Medians over repetitions, with the range where there are several. last: until the last receiver had \
                    verified its copy. mean: of all receivers. speed: the file ÷ mean. wire ÷ wanted: bytes that all hosts \
                    sent, headers included, for each byte of each copy. bound: the least possible for the mode's model, \
                    client/server or peer-to-peer."
        .to_owned();
    if beside_document {
        note += " Document 1's own figures are means over users on a network of the same rates and delay; its kB are 1024 \
                 bytes, its random file has 10 MiB and its text file about 15.7 MB.";
    }
    note
}

fn completion_row(group: &Group<'_>, beside_document: bool) -> Vec<String> {
    let document = |value: Option<f64>| value.filter(|_| beside_document);
    vec![
        group.mode.to_owned(),
        group.users.to_string(),
        spread(group.last, 1.0, 2),
        optional(group.bounds, |bounds| format!("{:.2}", bounds.of(group.model))),
        spread(group.distance, 1.0, 3),
        spread(group.distance_p2p, 1.0, 3),
        spread(group.mean, 1.0, 2),
        optional(document(published::mean_seconds(group.model, group.file, group.users)), |s| {
            format!("{s:.1}")
        }),
        spread(group.speed, 1e6, 3),
        optional(document(published::speed(group.model, group.file, group.users)), |s| {
            format!("{:.3}", s / 1e6)
        }),
        spread(group.origin_files, 1.0, 2),
        spread(group.wire, 1.0, 3),
        runs_of(group),
    ]
}

/// How many repetitions count, and how many there are if not all do.
fn runs_of(group: &Group<'_>) -> String {
    match (group.complete, group.runs.len()) {
        (complete, all) if complete == all => all.to_string(),
        (complete, all) => format!("{complete} of {all}"),
    }
}

/// Who got which part from whom in one run, in per cent of the file. `None` if nobody could tell,
/// all came from one, or there are too many.
pub(crate) fn shares(run: &Run, name: String) -> Option<Table> {
    let sources: BTreeSet<&str> = run
        .receivers
        .iter()
        .flat_map(|receiver| receiver.from_bytes.keys().map(String::as_str))
        .collect();
    if sources.len() < 2 || sources.len().max(run.receivers.len()) > HOSTS_IN_A_TABLE {
        return None;
    }
    let mut sources: Vec<&str> = sources.into_iter().collect();
    sources.sort_by_key(|host| natural(host));
    let mut columns = vec![words("receiver")];
    columns.extend(sources.iter().map(|host| numbers(&format!("from {host}"))));
    let row = |receiver: &crate::record::Receiver| {
        let part = |host: &&str| {
            let bytes = receiver.from_bytes.get(*host)?;
            Some(format!("{:.1} %", *bytes as f64 / run.file.bytes as f64 * 100.0))
        };
        let mut row = vec![receiver.host.clone()];
        row.extend(sources.iter().map(|host| part(host).unwrap_or_default()));
        row
    };
    let rows = run.receivers.iter().map(row).collect();
    let title = format!("Shares: {}, {}, {}", run.mode, run.file.name, receivers_of(run.users));
    Some(Table { title, name, note: "In per cent of the file.".into(), columns, rows })
}

/// Where the time beyond the bound went. `None` if that cannot be told of any mode.
pub(crate) fn losses(summary: &Summary<'_>) -> Option<Table> {
    let mut columns =
        vec![words("file"), words("mode"), numbers("users"), numbers("beyond the bound (s)")];
    columns.extend(CAUSES.map(numbers));
    let row = |group: &Group<'_>| {
        let losses = Losses::of(group, summary)?.list();
        let mut row = vec![group.file.name.clone(), group.mode.to_owned(), group.users.to_string()];
        row.push(format!("{:.2}", losses.iter().sum::<f64>()));
        // Nothing has no sign.
        let text =
            |seconds: f64| format!("{seconds:.2}").replace("-0.00", "0.00").replace('-', "−");
        row.extend(losses.map(text));
        Some(row)
    };
    let table = Table {
        title: "Where the time beyond the bound went".into(),
        name: "losses".into(),
        note: "Seconds, medians over repetitions, by what the origin's link did. start: until it carried the file. sent again: it \
               carried parts of the file once more than had to be. sent besides: it carried messages, acknowledgements, short \
               packets. idle: it carried nothing before it was done. tail: it was done, and the last receiver was not."
            .into(),
        columns,
        rows: summary.groups.iter().filter_map(row).collect(),
    };
    (!table.rows.is_empty()).then_some(table)
}

/// What was not measured. `None` if everything was.
pub(crate) fn gaps(summary: &Summary<'_>) -> Option<Table> {
    let mut rows = Vec::new();
    for missing in summary.records.still_missing() {
        let hint = missing.hint.as_deref().map(|hint| format!(": {hint}")).unwrap_or_default();
        rows.push(vec![
            missing.mode.clone(),
            String::new(),
            format!("{} is not installed{hint}", missing.program),
        ]);
    }
    for failure in summary.records.standing_failures() {
        let which = format!(
            "{}, {}, repetition {}",
            failure.file,
            users_of(failure.users),
            failure.repetition
        );
        rows.push(vec![failure.mode.clone(), which, failure.message.clone()]);
    }
    for run in &summary.records.runs {
        for receiver in run.staying().filter(|receiver| receiver.seconds().is_none()) {
            let which = format!(
                "{}, {}, repetition {}, {}",
                run.file.name,
                users_of(run.users),
                run.repetition,
                receiver.host
            );
            let said = receiver.error.as_deref().unwrap_or("no verified copy");
            rows.push(vec![run.mode.clone(), which, said.to_owned()]);
        }
    }
    let table = Table {
        title: "Not measured".into(),
        name: "gaps".into(),
        note: String::new(),
        columns: vec![words("mode"), words("run"), words("why")],
        rows,
    };
    (!table.rows.is_empty()).then_some(table)
}

fn spread(spread: Option<Spread>, unit: f64, places: usize) -> String {
    optional(spread, |spread| {
        let [median, least, most] = [spread.median, spread.least, spread.most]
            .map(|value| format!("{:.places$}", value / unit));
        if least == most { median } else { format!("{median} ({least}–{most})") }
    })
}

fn optional<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map(text).unwrap_or_default()
}

/// `5 users`.
fn users_of(users: u32) -> String {
    if users == 1 { "1 user".to_owned() } else { format!("{users} users") }
}

/// `5 receivers`.
pub(crate) fn receivers_of(users: u32) -> String {
    if users == 1 { "1 receiver".to_owned() } else { format!("{users} receivers") }
}

/// Without needless zeros, at most two places.
fn decimals(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `10 485 760`, with narrow spaces that do not break.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// `h1 to h6` of what is numbered without a gap, else all names up to six.
fn listed(names: &[&str]) -> String {
    let parts: Vec<_> = names.iter().map(|name| natural(name)).collect();
    let run = parts
        .windows(2)
        .all(|pair| pair[0].0 == pair[1].0 && pair[0].1.checked_add(1) == Some(pair[1].1));
    match names {
        [first, _, .., last] if run => format!("{first} to {last}"),
        [first, ..] if names.len() > 6 => format!("{first} and {} more", names.len() - 1),
        _ => names.join(", "),
    }
}

/// Splits `h10` into `h` and 10, so that it comes after `h9`.
pub(crate) fn natural(name: &str) -> (&str, u64) {
    let end = name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    name[end..].parse().map_or((name, 0), |number| (&name[..end], number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_listed_in_short() {
        assert_eq!(listed(&["h1", "h2", "h3"]), "h1 to h3");
        assert_eq!(listed(&["h1", "h3"]), "h1, h3");
        assert_eq!(listed(&["h9", "h10", "h11"]), "h9 to h11");
        assert_eq!(listed(&["a", "b", "c", "d", "e", "f", "g"]), "a and 6 more");
        assert_eq!(listed(&[]), "");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1), "1");
        assert_eq!(grouped(10_485_760), "10\u{a0}485\u{a0}760");
    }

    #[test]
    fn ranges_are_shown_where_there_is_one() {
        let one = Spread { median: 2.0, least: 2.0, most: 2.0, count: 1 };
        assert_eq!(spread(Some(one), 1.0, 2), "2.00");
        assert_eq!(spread(Some(Spread { least: 1.0, count: 2, ..one }), 1.0, 1), "2.0 (1.0–2.0)");
        assert_eq!(spread(Some(Spread { least: 1.99, count: 2, ..one }), 1.0, 1), "2.0");
        assert_eq!(spread(None, 1.0, 1), "");
    }
}
