//! The tables for programs, with one number in each cell; they are CSV files only.

use super::{
    super::{
        mode_order,
        summary::{Group, Summary},
        table::{Table, numbers, words},
    },
    optional,
};
use crate::record::Model;

/// Every receiver of every run.
pub(crate) fn receivers(summary: &Summary<'_>) -> Table {
    let columns = vec![
        numbers("run"),
        words("mode"),
        words("file"),
        numbers("file_bytes"),
        numbers("users"),
        numbers("repetition"),
        words("host"),
        numbers("started_seconds"),
        numbers("finished_seconds"),
        numbers("seconds"),
        words("verified"),
        numbers("left_seconds"),
        numbers("wire_up_bytes"),
        numbers("wire_down_bytes"),
        numbers("cpu_seconds"),
        words("error"),
    ];
    let mut rows = Vec::new();
    for run in &summary.records.runs {
        for receiver in &run.receivers {
            rows.push(vec![
                run.run.to_string(),
                mode_order::plain(&run.mode),
                run.file.name.clone(),
                run.file.bytes.to_string(),
                run.users.to_string(),
                run.repetition.to_string(),
                receiver.host.clone(),
                receiver.started_seconds.to_string(),
                optional(receiver.finished_seconds, |seconds| seconds.to_string()),
                optional(receiver.seconds(), |seconds| seconds.to_string()),
                if receiver.verified { "yes" } else { "no" }.to_owned(),
                optional(receiver.left_seconds, |seconds| seconds.to_string()),
                optional(receiver.wire_up_bytes, |bytes| bytes.to_string()),
                optional(receiver.wire_down_bytes, |bytes| bytes.to_string()),
                optional(receiver.cpu_seconds, |seconds| seconds.to_string()),
                receiver.error.clone().unwrap_or_default(),
            ]);
        }
    }
    Table { title: "Receivers".into(), name: "receivers".into(), columns, rows, ..Table::default() }
}

/// The bytes that each receiver got from each host in every run.
pub(crate) fn sources(summary: &Summary<'_>) -> Table {
    let columns = vec![
        numbers("run"),
        words("mode"),
        numbers("users"),
        numbers("repetition"),
        words("to"),
        words("from"),
        numbers("bytes"),
    ];
    let mut rows = Vec::new();
    for run in &summary.records.runs {
        for receiver in &run.receivers {
            rows.extend(receiver.from_bytes.iter().map(|(from, bytes)| {
                vec![
                    run.run.to_string(),
                    mode_order::plain(&run.mode),
                    run.users.to_string(),
                    run.repetition.to_string(),
                    receiver.host.clone(),
                    from.clone(),
                    bytes.to_string(),
                ]
            }));
        }
    }
    Table { title: "Sources".into(), name: "sources".into(), columns, rows, ..Table::default() }
}

/// The medians as numbers, a column for each.
pub(crate) fn medians(summary: &Summary<'_>) -> Table {
    let mut columns = vec![
        words("mode"),
        words("model"),
        words("file"),
        numbers("file_bytes"),
        numbers("users"),
        numbers("runs"),
        numbers("complete"),
        numbers("bound_client_server_seconds"),
        numbers("bound_peer_to_peer_seconds"),
    ];
    let names = [
        "last_seconds",
        "mean_seconds",
        "speed_bytes_per_second",
        "origin_files",
        "wire_per_wanted",
        "distance",
    ];
    for name in names {
        columns.extend(["", "_min", "_max"].map(|end| numbers(&format!("{name}{end}"))));
    }
    let row = |group: &Group<'_>| {
        let model = match group.model {
            Model::ClientServer => "client-server",
            Model::PeerToPeer => "peer-to-peer",
            Model::Multicast => "multicast",
        };
        let mut row = vec![
            mode_order::plain(group.mode),
            model.to_owned(),
            group.file.name.clone(),
            group.file.bytes.to_string(),
            group.users.to_string(),
            group.runs.len().to_string(),
            group.complete.to_string(),
            optional(group.bounds, |bounds| format!("{:.4}", bounds.client_server)),
            optional(group.bounds, |bounds| format!("{:.4}", bounds.peer_to_peer)),
        ];
        for spread in
            [group.last, group.mean, group.speed, group.origin_files, group.wire, group.distance]
        {
            let values = spread.map(|spread| [spread.median, spread.min, spread.max]);
            row.extend(
                values.map_or_else(Default::default, |values| {
                    values.map(|value| format!("{value:.4}"))
                }),
            );
        }
        row
    };
    let rows = summary.groups.iter().map(row).collect();
    Table { title: "Medians".into(), name: "medians".into(), columns, rows, ..Table::default() }
}
