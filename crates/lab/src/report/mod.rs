//! The report of an experiment: tables (Markdown, CSV), plots (SVG, PNG) and one page of HTML, from
//! a directory of records. It computes from records only and runs nothing.
//!
//! `summary` combines repetitions, `mode_order` sorts modes; `tables` and `figures` decide what is
//! shown; `table`, `chart`, `bars`, `matrix`, `canvas`, `raster`, `markdown` and `page` decide how.

mod axis;
mod bars;
mod canvas;
mod chart;
mod course_report;
mod escape;
mod experiment_info;
mod figure;
mod figures;
mod file_names;
mod font;
mod labels;
mod layout;
mod losses;
mod markdown;
mod matrix;
mod mode_order;
mod page;
mod raster;
mod style;
mod summary;
mod table;
mod tables;

pub use self::raster::DrawError;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use self::{
    canvas::Medium,
    experiment_info::ExperimentInfo,
    file_names::{make_unique, slug},
    summary::Summary,
    table::Table,
    tables::csv,
};
use crate::record::{self, RecordError, Records};

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A plot cannot be rendered.
    #[error("cannot draw {name}: {source}")]
    Draw {
        /// The plot.
        name: String,
        /// The cause.
        source: DrawError,
    },
}

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
    let network = network_tables(&records);
    let results = result_tables(&summary);
    let figures = figures::all(&summary);
    fs::create_dir_all(out)
        .map_err(|source| ReportError::Write { path: out.to_owned(), source })?;
    let mut files = Vec::new();
    let mut write_file = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes)
            .map_err(|source| ReportError::Write { path: path.clone(), source })?;
        files.push(path);
        Ok::<(), ReportError>(())
    };
    write_file("report.html", page::page(&info, &network, &results, &figures).as_bytes())?;
    write_file("report.md", markdown::report(&info, &network, &results, &figures).as_bytes())?;
    let numbers = [csv::medians(&summary), csv::receivers(&summary), csv::sources(&summary)];
    let named =
        network.iter().chain(&results).chain(&numbers).filter(|table| !table.name.is_empty());
    for table in named {
        write_file(&format!("{}.csv", table.name), table.csv().as_bytes())?;
    }
    for figure in &figures {
        let svg = figure.svg(Medium::Paper);
        write_file(&format!("{}.svg", figure.name), svg.as_bytes())?;
        let png = raster::png(&svg)
            .map_err(|source| ReportError::Draw { name: figure.name.clone(), source })?;
        write_file(&format!("{}.png", figure.name), &png)?;
    }
    let main: Vec<_> = tables::short(&summary).iter().map(Table::text).collect();
    Ok(Written { files, runs: records.runs.len(), main: main.join("\n"), warnings: info.remarks() })
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
            let name = format!("shares-{}-{}", slug(&file.name), slug(group.mode));
            tables::shares(group.typical()?, name)
        }));
    }
    make_unique(results.iter_mut().map(|table| &mut table.name));
    results
}
