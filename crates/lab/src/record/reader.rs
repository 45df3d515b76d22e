//! Reads a directory of records. Its memory is bounded, its errors name the line, and it ignores
//! what it does not know.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    FILE_NAME, Failure, Header, Labels, Missing, Run, Sample, VERSION,
    line_error::{LineError, MAX_NAME_CHARS, quoted},
};

/// The limits of what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes in a line.
    pub line_bytes: usize,
    /// Lines of all kinds but samples.
    pub records: usize,
    /// Samples.
    pub samples: usize,
    /// Hosts in a network, receivers or origins in a run.
    pub hosts: usize,
}

/// The limits of [`read`]: far above any experiment, and about half a GiB of memory.
pub const READ_LIMITS: ReadLimits =
    ReadLimits { line_bytes: 16 << 20, records: 100_000, samples: 10_000_000, hosts: 20_000 };

/// The limit of a file's length: above it, a double does not hold every whole number.
const MAX_FILE_BYTES: u64 = 1 << 53;
/// The limit of unknown kinds of records that are named, so that a wrong file does not give a long
/// list of warnings.
const MAX_UNKNOWN_KINDS: usize = 8;

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is invalid.
    #[error("{}, line {line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        source: LineError,
    },
}

/// The content of a directory of records.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// The first line.
    pub header: Header,
    /// All runs, in the order of the file.
    pub runs: Vec<Run>,
    /// Samples by run and host, ascending by time.
    pub series: BTreeMap<u32, BTreeMap<String, Series>>,
    /// Runs that failed.
    pub failures: Vec<Failure>,
    /// Programs that are not installed.
    pub missing: Vec<Missing>,
    /// Words for the report.
    pub labels: Labels,
    /// What was ignored, a sentence each.
    pub warnings: Vec<String>,
}

impl Records {
    /// The failures without a later run of the same kind.
    pub fn standing_failures(&self) -> impl Iterator<Item = &Failure> {
        let made: BTreeSet<_> = self
            .runs
            .iter()
            .map(|run| (&run.mode, run.users, run.repetition, &run.file.name))
            .collect();
        self.failures.iter().filter(move |failure| {
            !made.contains(&(&failure.mode, failure.users, failure.repetition, &failure.file))
        })
    }

    /// The programs that are still missing. If a mode has runs, its program was installed at
    /// another time.
    pub fn still_missing(&self) -> impl Iterator<Item = &Missing> {
        // The number of origins may follow the name of the mode.
        let made: BTreeSet<_> =
            self.runs.iter().filter_map(|run| run.mode.split(", ").next()).collect();
        self.missing.iter().filter(move |missing| !made.contains(&*missing.mode))
    }
}

/// One host's samples of one run.
pub type Series = Vec<SeriesPoint>;

/// A [`Sample`] without the names of run and host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesPoint {
    /// Seconds since the start of the run.
    pub t: f64,
    /// Bytes sent so far.
    pub up_bytes: u64,
    /// Bytes received so far.
    pub down_bytes: u64,
}

/// Reads `records.jsonl` in `dir`, within [`READ_LIMITS`].
///
/// # Errors
/// When it cannot be read, a line is invalid, or a limit is exceeded. A last line that was cut off
/// by a kill is ignored with a warning.
pub fn read(dir: &Path) -> Result<Records, RecordError> {
    let path = dir.join(FILE_NAME);
    match File::open(&path) {
        Ok(file) => read_with(BufReader::new(file), &path, READ_LIMITS),
        Err(source) => Err(RecordError::Io { path, source }),
    }
}

/// Reads records from any source; errors name it `path`.
///
/// # Errors
/// As [`read`].
pub fn read_with(
    mut source: impl BufRead,
    path: &Path,
    limits: ReadLimits,
) -> Result<Records, RecordError> {
    let mut reader = Reader { limits, ..Reader::default() };
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let length = (&mut source)
            .take(limits.line_bytes as u64 + 1)
            .read_until(b'\n', &mut text)
            .map_err(|source| RecordError::Io { path: path.to_owned(), source })?;
        if length == 0 {
            break;
        }
        let is_whole = text.last() == Some(&b'\n');
        let outcome = if length > limits.line_bytes {
            Err(LineError::TooLong(limits.line_bytes))
        } else {
            reader.read_line(&text)
        };
        match outcome {
            Ok(()) => {}
            // A writer that was killed leaves an incomplete last line.
            Err(_) if !is_whole && length <= limits.line_bytes && reader.header.is_some() => {
                reader
                    .warnings
                    .push(format!("Line {line}, the last one, is cut off and was ignored."));
            }
            Err(source) => return Err(RecordError::Line { path: path.to_owned(), line, source }),
        }
    }
    reader.finish().map_err(|source| RecordError::Line { path: path.to_owned(), line: 1, source })
}

/// The records read so far.
#[derive(Default)]
struct Reader {
    limits: ReadLimits,
    header: Option<Header>,
    runs: Vec<Run>,
    numbers: BTreeSet<u32>,
    series: BTreeMap<u32, BTreeMap<String, Series>>,
    samples: usize,
    failures: Vec<Failure>,
    missing: Vec<Missing>,
    labels: Labels,
    unknown: BTreeMap<String, usize>,
    warnings: Vec<String>,
}

impl Default for ReadLimits {
    fn default() -> Self {
        READ_LIMITS
    }
}

#[derive(Deserialize)]
struct Kind {
    record: String,
}

impl Reader {
    fn read_line(&mut self, text: &[u8]) -> Result<(), LineError> {
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let Kind { record } = parse(text)?;
        if self.header.is_none() && record != "header" {
            return Err(LineError::NotHeader(record));
        }
        match record.as_str() {
            "header" => self.add_header(parse(text)?),
            "run" => self.add_run(parse(text)?),
            "sample" => self.add_sample(parse(text)?),
            "failure" => {
                self.check_count()?;
                let failure: Failure = parse(text)?;
                [&failure.mode, &failure.file].into_iter().try_for_each(|text| check_name(text))?;
                self.failures.push(failure);
                Ok(())
            }
            "missing" => {
                self.check_count()?;
                let missing: Missing = parse(text)?;
                let names = [&missing.mode, &missing.program];
                names.into_iter().try_for_each(|text| check_name(text))?;
                self.missing.push(missing);
                Ok(())
            }
            "labels" => {
                let labels: Labels = parse(text)?;
                let tables = [&labels.modes, &labels.axes, &labels.titles, &labels.lines];
                let words =
                    tables.into_iter().flat_map(|table| table.iter()).flat_map(|(k, v)| [k, v]);
                words.chain(&labels.language).try_for_each(|word| check_name(word))?;
                self.labels = labels;
                Ok(())
            }
            _ => {
                let is_named = self.unknown.len() < MAX_UNKNOWN_KINDS;
                let kind = if is_named { quoted(&record) } else { "others".to_owned() };
                *self.unknown.entry(kind).or_default() += 1;
                Ok(())
            }
        }
    }

    fn add_header(&mut self, header: Header) -> Result<(), LineError> {
        if self.header.is_some() {
            return Err(LineError::SecondHeader);
        }
        if header.version > VERSION {
            return Err(LineError::UnknownVersion(header.version));
        }
        check_name(&header.experiment)?;
        self.check_host_count("hosts", header.topology.hosts.len())?;
        self.check_host_count("calibrations", header.calibration.len())?;
        header.topology.hosts.iter().try_for_each(|host| check_name(&host.name))?;
        check_number("delay_seconds", Some(header.topology.delay_seconds))?;
        for measure in &header.calibration {
            [&measure.from, &measure.to].into_iter().try_for_each(|text| check_name(text))?;
            check_number("payload_bytes_per_second", measure.payload_bytes_per_second)?;
            let expected = measure.expected_payload_bytes_per_second;
            check_number("expected_payload_bytes_per_second", expected)?;
            check_number("round_trip_seconds", measure.round_trip_seconds)?;
            check_number("expected_round_trip_seconds", measure.expected_round_trip_seconds)?;
            check_number("loss", measure.loss)?;
        }
        self.header = Some(header);
        Ok(())
    }

    fn add_run(&mut self, run: Run) -> Result<(), LineError> {
        self.check_count()?;
        check_name(&run.mode)?;
        check_name(&run.file.name)?;
        if run.file.bytes == 0 || run.file.bytes > MAX_FILE_BYTES {
            return Err(LineError::InvalidFileLength(run.file.bytes));
        }
        self.check_host_count("receivers", run.receivers.len().max(run.users as usize))?;
        self.check_host_count("origins", run.origins.len())?;
        if run.users == 0 || run.origins.is_empty() {
            return Err(LineError::EmptyRun);
        }
        run.origins.iter().try_for_each(|origin| check_name(&origin.host))?;
        for receiver in &run.receivers {
            check_name(&receiver.host)?;
            check_number("started_seconds", Some(receiver.started_seconds))?;
            check_number("finished_seconds", receiver.finished_seconds)?;
            check_number("left_seconds", receiver.left_seconds)?;
            check_number("cpu_seconds", receiver.cpu_seconds)?;
            if receiver.finished_seconds.is_some_and(|finished| finished < receiver.started_seconds)
            {
                return Err(LineError::FinishedBeforeStart(receiver.host.clone()));
            }
            self.check_host_count("sources", receiver.from_bytes.len())?;
            receiver.from_bytes.keys().try_for_each(|host| check_name(host))?;
        }
        if !self.numbers.insert(run.run) {
            return Err(LineError::RepeatedRun(run.run));
        }
        self.runs.push(run);
        Ok(())
    }

    fn add_sample(&mut self, sample: Sample) -> Result<(), LineError> {
        self.samples += 1;
        if self.samples > self.limits.samples {
            return Err(LineError::TooManySamples(self.limits.samples));
        }
        check_name(&sample.host)?;
        check_number("t", Some(sample.t))?;
        let (t, up_bytes, down_bytes) = (sample.t, sample.up_bytes, sample.down_bytes);
        let series = self.series.entry(sample.run).or_default().entry(sample.host).or_default();
        series.push(SeriesPoint { t, up_bytes, down_bytes });
        Ok(())
    }

    fn check_count(&self) -> Result<(), LineError> {
        let records = self.runs.len() + self.failures.len() + self.missing.len();
        if records < self.limits.records {
            return Ok(());
        }
        Err(LineError::TooManyRecords(self.limits.records))
    }

    fn check_host_count(&self, what: &'static str, count: usize) -> Result<(), LineError> {
        if count <= self.limits.hosts {
            return Ok(());
        }
        Err(LineError::TooManyHosts { what, count, limit: self.limits.hosts })
    }

    fn finish(mut self) -> Result<Records, LineError> {
        let header = self.header.ok_or(LineError::NoHeader)?;
        for (kind, count) in &self.unknown {
            self.warnings
                .push(format!("Records of an unknown kind were ignored: {count} of {kind}."));
        }
        for series in self.series.values_mut().flat_map(BTreeMap::values_mut) {
            series.sort_by(|one, other| one.t.total_cmp(&other.t));
        }
        Ok(Records {
            header,
            runs: self.runs,
            series: self.series,
            failures: self.failures,
            missing: self.missing,
            labels: self.labels,
            warnings: self.warnings,
        })
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, LineError> {
    serde_json::from_slice(text).map_err(|error| {
        // The parser's "line 1" could be mistaken for a line of the file.
        let text = error.to_string();
        LineError::Malformed(match text.split_once(" at line 1 column ") {
            Some((reason, column)) => format!("{reason} (column {column})"),
            None => text,
        })
    })
}

fn check_name(text: &str) -> Result<(), LineError> {
    let fits = !text.trim().is_empty() && text.chars().nth(MAX_NAME_CHARS).is_none();
    if fits && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(LineError::InvalidName(text.to_owned()))
}

/// Checks that a number is finite and not negative.
fn check_number(field: &'static str, value: Option<f64>) -> Result<(), LineError> {
    match value {
        Some(value) if !(0.0..1e15).contains(&value) => {
            Err(LineError::InvalidNumber { field, value })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = concat!(
        r#"{"record":"header","version":1,"experiment":"e","command":["sow"],"seed":7,"#,
        r#""date":"2026-01-01T00:00:00Z","program":"sow 0","kernel":"Linux","#,
        r#""congestion_control":"cubic","topology":{"hosts":[{"name":"h1"}],"#,
        r#""delay_seconds":0.005,"delay_by":"relay","shaped_by":"tbf"}}"#,
    );
    const RUN: &str = concat!(
        r#"{"record":"run","run":0,"mode":"raw","model":"client-server","repetition":0,"#,
        r#""users":1,"file":{"name":"f","bytes":5},"seed":1,"origins":[{"host":"h1"}],"#,
        r#""receivers":[{"host":"h2","started_seconds":0.0,"finished_seconds":1.5,"#,
        r#""verified":true}]}"#,
    );

    fn lines(lines: &[&str]) -> Result<Records, RecordError> {
        text(&format!("{}\n", lines.join("\n")), READ_LIMITS)
    }

    fn text(text: &str, limits: ReadLimits) -> Result<Records, RecordError> {
        read_with(text.as_bytes(), Path::new("r"), limits)
    }

    fn error_of(result: Result<Records, RecordError>) -> String {
        result.expect_err("these records are invalid").to_string()
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let from = lines(&[HEADER, RUN]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut writer = crate::record::Writer::create(dir.path(), &from.header).unwrap();
        let sample = |t, up_bytes| Sample { run: 0, t, host: "h1".into(), up_bytes, down_bytes: 2 };
        let failure = Failure {
            mode: "raw".into(),
            users: 1,
            repetition: 1,
            file: "f".into(),
            message: "no room".into(),
        };
        let missing = Missing { mode: "aria2".into(), program: "aria2c".into(), hint: None };
        writer.write_sample(&sample(0.5, 20)).unwrap();
        writer.write_sample(&sample(0.25, 10)).unwrap();
        writer.write_run(&from.runs[0]).unwrap();
        writer.write_failure(&failure).unwrap();
        writer.write_missing(&missing).unwrap();
        let again = read(dir.path()).unwrap();
        assert_eq!((&again.header, &again.runs), (&from.header, &from.runs));
        assert_eq!((again.failures, again.missing), (vec![failure], vec![missing]));
        let times: Vec<_> =
            again.series[&0]["h1"].iter().map(|point| (point.t, point.up_bytes)).collect();
        assert_eq!(times, [(0.25, 10), (0.5, 20)]);
        assert!(again.warnings.is_empty());
        let taken =
            crate::record::Writer::create(dir.path(), &from.header).expect_err("records exist");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn unknown_fields_and_records_are_ignored() {
        let run = RUN.replacen('{', r#"{"colour":{"deep":[1,2]},"#, 1);
        let records = lines(&[HEADER, &run, r#"{"record":"weather","rain":true}"#, ""]).unwrap();
        assert_eq!(records.runs.len(), 1);
        assert_eq!(
            records.warnings,
            [r#"Records of an unknown kind were ignored: 1 of "weather"."#]
        );
    }

    #[test]
    fn a_line_that_was_cut_off_by_a_kill_is_ignored() {
        let cut = format!("{HEADER}\n{RUN}\n{}", &RUN[..60]);
        let records = text(&cut, READ_LIMITS).unwrap();
        assert_eq!(records.runs.len(), 1);
        assert_eq!(records.warnings, ["Line 3, the last one, is cut off and was ignored."]);
        let middle = format!("{HEADER}\n{}\n{RUN}\n", &RUN[..60]);
        assert!(error_of(text(&middle, READ_LIMITS)).starts_with("r, line 2: EOF while parsing"));
    }

    #[test]
    fn errors_name_the_line() {
        let newer = HEADER.replace(r#""version":1"#, r#""version":2"#);
        for (bad, says) in [
            (vec![RUN], r#"r, line 1: the first record must be the header, not "run""#),
            (vec![""], "r, line 1: there is no header; is this a file of records?"),
            (vec!["hello"], "r, line 1: expected value (column 1)"),
            (
                vec![newer.as_str()],
                "r, line 1: written in version 2 of the format; this program knows versions up \
                 to 1",
            ),
            (
                vec![HEADER, HEADER],
                "r, line 2: a second header; each experiment needs a directory of its own",
            ),
            (vec![HEADER, RUN, RUN], "r, line 3: a second run with the number 0"),
        ] {
            assert_eq!(error_of(lines(&bad)), says);
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        for (from, to, says) in [
            (r#""bytes":5"#, r#""bytes":0"#, "a file of 0 bytes"),
            (r#""bytes":5"#, r#""bytes":-5"#, "invalid value"),
            (
                r#""bytes":5"#,
                r#""bytes":18446744073709551615"#,
                "a file of 18446744073709551615 bytes",
            ),
            ("1.5", "-1.5", "finished_seconds is -1.5"),
            ("1.5", "1e999", "number out of range"),
            (r#""started_seconds":0.0"#, r#""started_seconds":2"#, "h2 finished before it started"),
            (r#""users":1"#, r#""users":0"#, "a run needs an origin and a user"),
            (r#""users":1"#, r#""users":4000000000"#, "4000000000 receivers; the limit is 20000"),
            (r#""mode":"raw""#, r#""mode":"a\nb""#, "is no name"),
            (r#""mode":"raw""#, r#""mode":" ""#, "is no name"),
            (r#""mode":"raw","#, "", "missing field `mode`"),
            (r#""client-server""#, r#""sneakernet""#, "unknown variant"),
        ] {
            assert!(RUN.contains(from), "{from}");
            let said = error_of(lines(&[HEADER, &RUN.replacen(from, to, 1)]));
            assert!(said.starts_with("r, line 2: ") && said.contains(says), "{to}: {said}");
        }
    }

    #[test]
    fn limits_are_enforced() {
        let whole = format!("{HEADER}\n{RUN}\n");
        let limits = ReadLimits { line_bytes: HEADER.len() + 1, ..READ_LIMITS };
        assert!(HEADER.len() > RUN.len() && text(&whole, limits).is_ok());
        let limits = ReadLimits { line_bytes: HEADER.len(), ..READ_LIMITS };
        assert_eq!(
            error_of(text(&whole, limits)),
            format!("r, line 1: longer than {} bytes", HEADER.len())
        );
        let limits = ReadLimits { records: 0, ..READ_LIMITS };
        assert_eq!(error_of(text(&whole, limits)), "r, line 2: more than 0 records");
        let limits = ReadLimits { samples: 0, ..READ_LIMITS };
        let sample = r#"{"record":"sample","run":0,"t":1,"host":"h1","up_bytes":1,"down_bytes":1}"#;
        assert_eq!(
            error_of(text(&format!("{HEADER}\n{sample}\n"), limits)),
            "r, line 2: more than 0 samples"
        );
    }

    #[test]
    fn a_directory_without_records_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(error_of(read(dir.path())).starts_with("cannot read "));
    }
}
