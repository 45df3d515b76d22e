//! The tables of a report and their content. How a table is written is decided in `table`.

pub(crate) mod csv;

use std::collections::BTreeSet;

use super::{
    course_report,
    labels::{decimals, grouped_digits, host_list, natural_key, receivers_label, users_label},
    losses::{CAUSES, Losses},
    mode_order,
    summary::{Group, Spread, Summary},
    table::{Table, numbers, words},
};
use crate::record::{Calibration, File, Host, Topology};

/// The limit of hosts in the table of shares. For more, there are only a CSV file and a picture.
const MAX_SHARES_HOSTS: usize = 12;

/// The configured network. Hosts with the same links share a row.
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
            vec![host_list(&names), rate(host.up_bits_per_second), rate(host.down_bits_per_second)]
        })
        .collect();
    if let Some(trunk) = &topology.trunk {
        let far: Vec<&str> = trunk.far_hosts.iter().map(String::as_str).collect();
        let rate = rate(Some(trunk.bits_per_second));
        rows.push(vec![format!("trunk to {}", host_list(&far)), rate.clone(), rate]);
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

/// The measured properties of the network. `None` if it was not measured.
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
        note: "Measured before the first run. The expected payload is 1448 of every 1514 bytes on \
               the wire."
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
    let is_published = |group: &Group<'_>| {
        course_report::mean_seconds(group.model, group.file, group.users).is_some()
    };
    let has_course_figures = course_report::is_course_network(&summary.records.header.topology)
        && summary.groups.iter().any(is_published);
    summary
        .files
        .iter()
        .enumerate()
        .map(|(index, file)| {
            let mut table = Table {
                title: format!("Completion: {}, {} bytes", file.name, grouped_digits(file.bytes)),
                // The medians are the CSV of this table.
                name: String::new(),
                note: if index == 0 { completion_note(has_course_figures) } else { String::new() },
                columns: completion_columns(),
                rows: Vec::new(),
            };
            table.rows = summary
                .of_file(file)
                .map(|group| completion_row(group, has_course_figures))
                .collect();
            table.without_empty_columns()
        })
        .collect()
}

/// The main columns of [`completion`], narrow enough for a terminal.
pub(crate) fn short(summary: &Summary<'_>) -> Vec<Table> {
    let row = |group: &Group<'_>| {
        vec![
            group.name.clone(),
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
        title: format!("{}, {} bytes", file.name, grouped_digits(file.bytes)),
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
        numbers("course report: mean (s)"),
        numbers("speed (MB/s)"),
        numbers("course report: speed (MB/s)"),
        numbers("origin sent (files)"),
        numbers("wire ÷ wanted"),
        numbers("runs"),
    ]
}

fn completion_note(has_course_figures: bool) -> String {
    let mut note = "Medians over repetitions, with the range where there are several. last: until \
                    the last receiver had verified its copy. mean: of all receivers. speed: the \
                    file ÷ mean. wire ÷ wanted: bytes that all hosts sent, headers included, for \
                    each byte of each copy. bound: the lower bound of the mode's model, \
                    client/server, peer-to-peer or multicast."
        .to_owned();
    if has_course_figures {
        note += " The figures of the course report are means over users on a network of the same \
                 rates and delay; its kB are 1024 bytes, its random file has 10 MiB and its text \
                 file about 15.7 MB.";
    }
    note
}

fn completion_row(group: &Group<'_>, has_course_figures: bool) -> Vec<String> {
    let reported = |value: Option<f64>| value.filter(|_| has_course_figures);
    vec![
        group.name.clone(),
        group.users.to_string(),
        spread(group.last, 1.0, 2),
        optional(group.bounds, |bounds| format!("{:.2}", bounds.of(group.model))),
        spread(group.distance, 1.0, 3),
        spread(group.distance_p2p, 1.0, 3),
        spread(group.mean, 1.0, 2),
        optional(
            reported(course_report::mean_seconds(group.model, group.file, group.users)),
            |s| format!("{s:.1}"),
        ),
        spread(group.speed, 1e6, 3),
        optional(reported(course_report::speed(group.model, group.file, group.users)), |s| {
            format!("{:.3}", s / 1e6)
        }),
        spread(group.origin_files, 1.0, 2),
        spread(group.wire, 1.0, 3),
        runs_of(group),
    ]
}

/// The number of complete repetitions, and of all if some are not.
fn runs_of(group: &Group<'_>) -> String {
    match (group.complete, group.runs.len()) {
        (complete, all) if complete == all => all.to_string(),
        (complete, all) => format!("{complete} of {all}"),
    }
}

/// The share of the file that each receiver got from each host in one run. `None` if the sources
/// are unknown, there is only one, or there are too many hosts.
pub(crate) fn shares(group: &Group<'_>, name: String) -> Option<Table> {
    let run = group.typical()?;
    let sources: BTreeSet<&str> = run
        .receivers
        .iter()
        .flat_map(|receiver| receiver.from_bytes.keys().map(String::as_str))
        .collect();
    if sources.len() < 2 || sources.len().max(run.receivers.len()) > MAX_SHARES_HOSTS {
        return None;
    }
    let mut sources: Vec<&str> = sources.into_iter().collect();
    sources.sort_by_key(|host| natural_key(host));
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
    let title =
        format!("Shares: {}, {}, {}", group.name, run.file.name, receivers_label(run.users));
    Some(Table { title, name, note: "In per cent of the file.".into(), columns, rows })
}

/// The causes of the time beyond the bound. `None` if they are not known for any mode.
pub(crate) fn losses(summary: &Summary<'_>) -> Option<Table> {
    let mut columns =
        vec![words("file"), words("mode"), numbers("users"), numbers("beyond the bound (s)")];
    columns.extend(CAUSES.map(numbers));
    let row = |group: &Group<'_>| {
        let losses = Losses::of(group, summary)?.list();
        let mut row = vec![group.file.name.clone(), group.name.clone(), group.users.to_string()];
        row.push(format!("{:.2}", losses.iter().sum::<f64>()));
        // Zero has no sign.
        let text =
            |seconds: f64| format!("{seconds:.2}").replace("-0.00", "0.00").replace('-', "−");
        row.extend(losses.map(text));
        Some(row)
    };
    let table = Table {
        title: "Where the time beyond the bound went".into(),
        name: "losses".into(),
        note: "Seconds, medians over repetitions, by what the origin's link did. start: until it \
               carried the file. sent again: it carried parts of the file more often than \
               necessary. sent besides: it carried messages, acknowledgements, short packets. \
               idle: it carried nothing before it was done. tail: it was done, and the last \
               receiver was not."
            .into(),
        columns,
        rows: summary.groups.iter().filter_map(row).collect(),
    };
    (!table.rows.is_empty()).then_some(table)
}

/// The runs and copies that are missing. `None` if there are none.
pub(crate) fn gaps(summary: &Summary<'_>) -> Option<Table> {
    let shown = |mode: &str| mode_order::shown(mode, &summary.records.labels);
    let mut rows = Vec::new();
    for missing in summary.records.still_missing() {
        let hint = missing.hint.as_deref().map(|hint| format!(": {hint}")).unwrap_or_default();
        rows.push(vec![
            shown(&missing.mode),
            String::new(),
            format!("{} is not installed{hint}", missing.program),
        ]);
    }
    for failure in summary.records.standing_failures() {
        let which = format!(
            "{}, {}, repetition {}",
            failure.file,
            users_label(failure.users),
            failure.repetition
        );
        rows.push(vec![shown(&failure.mode), which, failure.message.clone()]);
    }
    for run in &summary.records.runs {
        for receiver in run.staying().filter(|receiver| receiver.seconds().is_none()) {
            let which = format!(
                "{}, {}, repetition {}, {}",
                run.file.name,
                users_label(run.users),
                run.repetition,
                receiver.host
            );
            let error = receiver.error.as_deref().unwrap_or("no verified copy");
            rows.push(vec![shown(&run.mode), which, error.to_owned()]);
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
        let [median, min, max] = [spread.median, spread.min, spread.max]
            .map(|value| format!("{:.places$}", value / unit));
        if min == max { median } else { format!("{median} ({min}–{max})") }
    })
}

fn optional<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_shown_if_there_is_one() {
        let one = Spread { median: 2.0, min: 2.0, max: 2.0, count: 1 };
        assert_eq!(spread(Some(one), 1.0, 2), "2.00");
        assert_eq!(spread(Some(Spread { min: 1.0, count: 2, ..one }), 1.0, 1), "2.0 (1.0–2.0)");
        assert_eq!(spread(Some(Spread { min: 1.99, count: 2, ..one }), 1.0, 1), "2.0");
        assert_eq!(spread(None, 1.0, 1), "");
    }
}
