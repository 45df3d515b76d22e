//! Appends records to a directory, one whole line at a time. Which records there are is decided by
//! the caller.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    path::Path,
};

use serde::Serialize;

use super::{FILE_NAME, Failure, Header, Labels, Missing, Run, Sample};

/// Writes the records of one experiment. Every line is written without buffering, so that a kill
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
    Labels(&'a Labels),
}

impl Writer {
    /// Begins a new file in `dir`, which is made if it does not exist.
    ///
    /// # Errors
    /// When `dir` cannot be made or written to, or has records already
    /// ([`io::ErrorKind::AlreadyExists`]).
    pub fn create(dir: &Path, header: &Header) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let file = OpenOptions::new().append(true).create_new(true).open(dir.join(FILE_NAME))?;
        let mut writer = Self { file };
        writer.write_line(&Line::Header(header))?;
        Ok(writer)
    }

    /// Continues the file in `dir`. A last line that was cut off by a kill is removed.
    ///
    /// # Errors
    /// When the file does not exist or cannot be written to.
    pub fn append_to(dir: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).open(dir.join(FILE_NAME))?;
        let length = length_of_whole_lines(&mut file)?;
        file.set_len(length)?;
        Ok(Self { file })
    }

    /// Appends a run.
    ///
    /// # Errors
    /// When the file cannot be written to.
    pub fn write_run(&mut self, run: &Run) -> io::Result<()> {
        self.write_line(&Line::Run(run))
    }

    /// Appends a sample.
    ///
    /// # Errors
    /// As [`Writer::write_run`].
    pub fn write_sample(&mut self, sample: &Sample) -> io::Result<()> {
        self.write_line(&Line::Sample(sample))
    }

    /// Appends a failure.
    ///
    /// # Errors
    /// As [`Writer::write_run`].
    pub fn write_failure(&mut self, failure: &Failure) -> io::Result<()> {
        self.write_line(&Line::Failure(failure))
    }

    /// Appends a missing program.
    ///
    /// # Errors
    /// As [`Writer::write_run`].
    pub fn write_missing(&mut self, missing: &Missing) -> io::Result<()> {
        self.write_line(&Line::Missing(missing))
    }

    /// Appends words for the report, which replace those before.
    ///
    /// # Errors
    /// As [`Writer::write_run`].
    pub fn write_labels(&mut self, labels: &Labels) -> io::Result<()> {
        self.write_line(&Line::Labels(labels))
    }

    fn write_line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)
    }
}

/// The length of a file without an incomplete last line.
fn length_of_whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = [0; 64 << 10];
    while end > 0 {
        let length = end.min(block.len() as u64) as usize;
        let start = end - length as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..length])?;
        if let Some(index) = block[..length].iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + index as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_is_removed() {
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
            let mut writer = Writer::append_to(dir.path()).unwrap();
            let missing = Missing { mode: "a".into(), program: "b".into(), hint: None };
            writer.write_missing(&missing).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let added = text.strip_prefix(after).unwrap();
            assert!(
                added.starts_with("{\"record\":\"missing\"") && added.ends_with("}\n"),
                "{added}"
            );
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(Writer::append_to(dir.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
