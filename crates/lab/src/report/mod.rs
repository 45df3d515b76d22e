//! The report of an experiment: tables (Markdown, CSV), plots (SVG, PNG) and one page of HTML, from
//! a directory of records. It computes from records alone and runs nothing.
//!
//! `summary` brings repetitions together, `modes` puts them in order; `tables` and `figures` say
//! what is shown; `table`, `chart`, `bars`, `matrix`, `canvas`, `raster` and `page` say how.

mod axis;
mod bars;
mod canvas;
mod chart;
mod facts;
mod figures;
mod font;
mod losses;
mod matrix;
mod modes;
mod page;
mod published;
mod raster;
mod summary;
mod table;
mod tables;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use self::{
    canvas::Medium, facts::Facts, figures::Figure, summary::Summary, table::Table, tables::raw,
};
use crate::record::{self, RecordError, Records};

/// Why there is no report.
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
        /// Why.
        source: io::Error,
    },
    /// A plot cannot be turned into pixels.
    #[error("cannot draw {name}: {reason}")]
    Draw {
        /// The plot.
        name: String,
        /// Why.
        reason: String,
    },
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// All files, `report.html` first.
    pub files: Vec<PathBuf>,
    /// How many runs they report.
    pub runs: usize,
    /// The main tables as lines of text, for a terminal.
    pub main: String,
    /// What a reader should know: records passed over, runs that failed, programs that are missing.
    pub warnings: Vec<String>,
}

/// Makes the report of the records in `dir`, in the folder `out`, which is made if it is not there;
/// what an earlier report left there under the same names is replaced.
///
/// # Errors
/// If records cannot be read, or a file cannot be written.
pub fn write(dir: &Path, out: &Path) -> Result<Written, ReportError> {
    let records = record::read(dir)?;
    let summary = Summary::new(&records);
    let facts = Facts::new(&records);
    let network = network(&records);
    let results = results(&summary);
    let figures = figures::all(&summary);
    fs::create_dir_all(out)
        .map_err(|source| ReportError::Write { path: out.to_owned(), source })?;
    let mut files = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes)
            .map_err(|source| ReportError::Write { path: path.clone(), source })?;
        files.push(path);
        Ok::<(), ReportError>(())
    };
    put("report.html", page::page(&facts, &network, &results, &figures).as_bytes())?;
    put("report.md", markdown(&facts, &network, &results, &figures).as_bytes())?;
    let numbers = [raw::medians(&summary), raw::receivers(&summary), raw::sources(&summary)];
    let named =
        network.iter().chain(&results).chain(&numbers).filter(|table| !table.name.is_empty());
    for table in named {
        put(&format!("{}.csv", table.name), table.csv().as_bytes())?;
    }
    for figure in &figures {
        let svg = figure.svg(Medium::Paper);
        put(&format!("{}.svg", figure.name), svg.as_bytes())?;
        let png = raster::png(&svg)
            .map_err(|reason| ReportError::Draw { name: figure.name.clone(), reason })?;
        put(&format!("{}.png", figure.name), &png)?;
    }
    let main: Vec<_> = tables::short(&summary).iter().map(Table::text).collect();
    Ok(Written {
        files,
        runs: records.runs.len(),
        main: main.join("\n"),
        warnings: facts.remarks(),
    })
}

/// What the network was asked to be, and was.
fn network(records: &Records) -> Vec<Table> {
    let mut network = vec![tables::network(&records.header.topology)];
    network.extend(tables::calibration(&records.header.calibration));
    network
}

/// What came out, in order.
fn results(summary: &Summary<'_>) -> Vec<Table> {
    let mut results = tables::completion(summary);
    results.extend(tables::losses(summary));
    results.extend(tables::gaps(summary));
    for file in &summary.files {
        let users = summary.users(file).last().copied();
        let groups = summary.of_file(file).filter(|group| Some(group.users) == users);
        results.extend(groups.filter_map(|group| {
            let name =
                format!("shares-{}-{}", figures::slug(&file.name), figures::slug(group.mode));
            tables::shares(group.typical()?, name)
        }));
    }
    figures::name_apart(results.iter_mut().map(|table| &mut table.name));
    results
}

fn markdown(facts: &Facts<'_>, network: &[Table], results: &[Table], figures: &[Figure]) -> String {
    let mut text = format!("# {}\n\n", facts.title());
    for (name, value) in facts.list() {
        text += &format!("- {name}: {}\n", table::cell(&value));
    }
    for remark in facts.remarks() {
        text += &format!("\n> {}\n", table::cell(&remark));
    }
    for (head, tables) in [("Network", network), ("Results", results)] {
        text += &format!("\n## {head}\n");
        for table in tables {
            text += &format!("\n{}", table.markdown());
        }
    }
    text += "\n## Plots\n";
    for figure in figures {
        text += &format!("\n![{0}]({1}.svg)\n\n{0}\n", table::cell(&figure.caption), figure.name);
    }
    text += &format!("\n## Commands\n\n```\n{}\n```\n", facts.command());
    for (title, commands) in facts.run_commands() {
        text += &format!("\n{title}:\n\n```\n{}\n```\n", commands.join("\n"));
    }
    text
}
