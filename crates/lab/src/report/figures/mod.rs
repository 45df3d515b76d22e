//! The figures of a report and their content. How they are drawn is decided in `chart`, `bars` and
//! `matrix`.

mod comparison;
mod hosts;

use super::{figure::Figure, file_names::make_unique, summary::Summary};

/// All figures of a report, the max important first.
pub(crate) fn all(summary: &Summary<'_>) -> Vec<Figure> {
    let mut figures = Vec::new();
    for file in &summary.files {
        figures.extend(comparison::completion(summary, file));
        figures.extend(comparison::distance(summary, file));
        figures.extend(comparison::origin_upload(summary, file));
        figures.extend(comparison::distribution(summary, file));
    }
    for file in &summary.files {
        let users = summary.users(file).last().copied();
        for group in summary.of_file(file).filter(|group| Some(group.users) == users) {
            figures.extend(hosts::throughput(summary, group));
            figures.extend(hosts::shares(summary, group));
        }
    }
    make_unique(figures.iter_mut().map(|figure| &mut figure.name));
    figures
}
