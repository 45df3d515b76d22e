//! What the page and the Markdown file show. `page` and `markdown` decide how it is written.

use super::{
    figure::Figure,
    figures,
    file_names::{make_unique, slug},
    lead, mode_order,
    summary::Summary,
    table::Table,
    tables,
};
use crate::record::Records;

/// What the page and the Markdown file show, in both the same.
pub(crate) struct Content {
    /// The language of the labels, as a BCP 47 tag.
    pub(crate) language: String,
    /// What came out, as a paragraph; empty without complete runs.
    pub(crate) lead: String,
    pub(crate) network: Vec<Table>,
    pub(crate) results: Vec<Table>,
    pub(crate) figures: Vec<Figure>,
    /// The index of the figure that is shown first.
    pub(crate) main_figure: Option<usize>,
    /// The number of series that have a colour, at most.
    pub(crate) series: usize,
}

impl Content {
    pub(crate) fn new(summary: &Summary<'_>) -> Self {
        let figures = figures::all(summary);
        Self {
            language: summary.records.labels.language.clone().unwrap_or_else(|| "en".to_owned()),
            lead: lead::lead(summary),
            network: network_tables(summary.records),
            results: result_tables(summary),
            main_figure: lead::main_figure(&figures),
            figures,
            series: mode_order::FIRST_UNKNOWN_NUMBER + summary.modes.len(),
        }
    }
}

/// The configured and the measured network.
fn network_tables(records: &Records) -> Vec<Table> {
    let mut network = vec![tables::network(&records.header.topology)];
    network.extend(tables::calibration(&records.header.calibration));
    network
}

/// The tables of results in their order.
fn result_tables(summary: &Summary<'_>) -> Vec<Table> {
    let mut results = tables::completion(summary);
    results.extend(tables::losses(summary));
    results.extend(tables::gaps(summary));
    for file in &summary.files {
        let users = summary.users(file).last().copied();
        let groups = summary.of_file(file).filter(|group| Some(group.users) == users);
        results.extend(groups.filter_map(|group| {
            let name =
                format!("shares-{}-{}", slug(&file.name), slug(&mode_order::plain(group.mode)));
            tables::shares(group, name)
        }));
    }
    make_unique(results.iter_mut().map(|table| &mut table.name));
    results
}
