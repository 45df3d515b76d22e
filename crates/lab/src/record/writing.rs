//! Appends records to a directory, a whole line at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use super::{FILE_NAME, Failure, Header, Missing, Run, Sample};

/// Writes the records of one experiment. Every line is handed to the system at once, so that a kill loses none.
#[derive(Debug)]
pub struct Writer {
    file: File,
}

#[derive(Serialize)]
#[serde(tag = "record", rename_all = "lowercase")]
enum Line<'a> {
    Header(&'a Header),
    Run(&'a Run),
    Sample(&'a Sample),
    Failure(&'a Failure),
    Missing(&'a Missing),
}

impl Writer {
    /// Begins a new file in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// If `dir` cannot be made or written to, or has records already ([`io::ErrorKind::AlreadyExists`]).
    pub fn create(dir: &Path, header: &Header) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let file = OpenOptions::new().append(true).create_new(true).open(dir.join(FILE_NAME))?;
        let mut writer = Self { file };
        writer.line(&Line::Header(header))?;
        Ok(writer)
    }

    /// Appends a run.
    ///
    /// # Errors
    /// If the file cannot be written to.
    pub fn run(&mut self, run: &Run) -> io::Result<()> {
        self.line(&Line::Run(run))
    }

    /// Appends a sample.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub fn sample(&mut self, sample: &Sample) -> io::Result<()> {
        self.line(&Line::Sample(sample))
    }

    /// Appends a failure.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub fn failure(&mut self, failure: &Failure) -> io::Result<()> {
        self.line(&Line::Failure(failure))
    }

    /// Appends the name of a missing program.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub fn missing(&mut self, missing: &Missing) -> io::Result<()> {
        self.line(&Line::Missing(missing))
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)
    }
}
