//! The report of an experiment: tables (Markdown, CSV), plots (SVG, PNG) and one page of HTML, from
//! a directory of records. It computes from records only and runs nothing.
//!
//! `summary` combines repetitions, `mode_order` sorts modes; `tables` and `figures` decide what is
//! shown; `table`, `chart`, `bars`, `matrix`, `canvas`, `raster`, `markdown` and `page` decide how.

mod axis;
mod bars;
mod canvas;
mod chart;
mod content;
mod course_report;
mod crowds;
mod error;
mod escape;
mod experiment_info;
mod figure;
mod figures;
mod file_names;
mod files;
mod font;
mod fonts;
mod labels;
mod layout;
mod lead;
mod losses;
mod markdown;
mod matrix;
mod mode_order;
mod page;
mod palette;
mod raster;
mod style;
mod summary;
mod table;
mod tables;

pub use self::{
    crowds::{Grouping, write_crowds},
    error::ReportError,
    raster::DrawError,
};

use std::path::{Path, PathBuf};

use self::{
    canvas::Medium, content::Content, experiment_info::ExperimentInfo, figure::Figure,
    files::Folder, fonts::Fonts, summary::Summary, table::Table, tables::csv,
};
use crate::record;

/// A report that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// All files, `report.html` first.
    pub files: Vec<PathBuf>,
    /// The number of reported runs.
    pub runs: usize,
    /// The main tables as lines of text, for a terminal.
    pub main: String,
    /// Remarks for readers: ignored records, failed runs, missing programs.
    pub warnings: Vec<String>,
    /// What to install when no font of this machine has all letters of the PNG pictures.
    pub font_hint: Option<String>,
}

/// Writes the report of the records in `dir` into the folder `out`, which is made if it does not
/// exist. Files of an earlier report with the same names are replaced.
///
/// # Errors
/// When records cannot be read, or a file cannot be written.
pub fn write(dir: &Path, out: &Path) -> Result<Written, ReportError> {
    let records = record::read(dir)?;
    let summary = Summary::new(&records);
    let info = ExperimentInfo::new(&records);
    let content = Content::new(&summary);
    let mut folder = Folder::create(out)?;
    folder.write("report.html", page::page(&info, &content).as_bytes())?;
    folder.write("report.md", markdown::report(&info, &content).as_bytes())?;
    let numbers = [csv::medians(&summary), csv::receivers(&summary), csv::sources(&summary)];
    let tables = content.network.iter().chain(&content.results).chain(&numbers);
    let named = tables.filter(|table| !table.name.is_empty());
    for table in named {
        folder.write(&format!("{}.csv", table.name), table.csv().as_bytes())?;
    }
    let pictures: Vec<(&Figure, String)> =
        content.figures.iter().map(|figure| (figure, figure.svg(Medium::Paper))).collect();
    let fonts = Fonts::for_pictures(
        pictures.iter().map(|(_, svg)| svg.as_str()),
        records.labels.language.as_deref(),
    );
    for (figure, svg) in &pictures {
        folder.write(&format!("{}.svg", figure.name), svg.as_bytes())?;
        let png = raster::png(svg, &fonts)
            .map_err(|source| ReportError::Draw { name: figure.name.clone(), source })?;
        folder.write(&format!("{}.png", figure.name), &png)?;
    }
    let main: Vec<_> = tables::short(&summary).iter().map(Table::text).collect();
    Ok(Written {
        files: folder.written,
        runs: records.runs.len(),
        main: main.join("\n"),
        warnings: info.remarks(),
        font_hint: fonts.warning(),
    })
}

/// The name of a mode as readers see it, from its label in records.
pub fn mode_name(label: &str) -> String {
    mode_order::plain(label)
}
