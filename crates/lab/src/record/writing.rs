//! Appends records to a directory, a whole line at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    path::Path,
};

use serde::Serialize;

use super::{FILE_NAME, Failure, Header, Missing, Run, Sample};

/// Writes the records of one experiment. Every line is handed to the system at once, so that a kill
/// loses none.
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
    /// If `dir` cannot be made or written to, or has records already
    /// ([`io::ErrorKind::AlreadyExists`]).
    pub fn create(dir: &Path, header: &Header) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let file = OpenOptions::new().append(true).create_new(true).open(dir.join(FILE_NAME))?;
        let mut writer = Self { file };
        writer.line(&Line::Header(header))?;
        Ok(writer)
    }

    /// Goes on with the file in `dir`. A last line that was cut off by a kill is removed.
    ///
    /// # Errors
    /// If it is not there or cannot be written to.
    pub fn go_on(dir: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).open(dir.join(FILE_NAME))?;
        let length = whole_lines(&mut file)?;
        file.set_len(length)?;
        Ok(Self { file })
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

/// How long a file is without a last line that has no end.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = [0; 64 << 10];
    while end > 0 {
        let length = end.min(block.len() as u64) as usize;
        let start = end - length as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..length])?;
        if let Some(place) = block[..length].iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let long = "x".repeat(200_000);
        for (before, after) in [
            ("{}\n{}\n".to_owned(), "{}\n{}\n"),
            ("{}\n{\"rec".to_owned(), "{}\n"),
            (format!("{{}}\n{long}"), "{}\n"),
            (long, ""),
            (String::new(), ""),
        ] {
            fs::write(&path, before).unwrap();
            let mut writer = Writer::go_on(dir.path()).unwrap();
            let missing = Missing { mode: "a".into(), program: "b".into(), hint: None };
            writer.missing(&missing).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let added = text.strip_prefix(after).unwrap();
            assert!(
                added.starts_with("{\"record\":\"missing\"") && added.ends_with("}\n"),
                "{added}"
            );
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(Writer::go_on(dir.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
