//! The records of an experiment while it runs: a new file, or the file of an interrupted
//! experiment, which is continued if it belongs to the same experiment. The ledger knows which runs
//! were made, not how to make one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Setup, plan::RunKey};
use crate::{
    file_lock::FileLock,
    network::{Link, Switches, Topology},
    record::{
        self, FILE_NAME, Failure, Header, Host, Labels, Missing, RecordError, Run, Sample,
        TrunkLink, VERSION, Writer,
    },
    scenario::{Action, Content, Scenario},
};

/// The limit of an error message in bytes.
const MAX_MESSAGE_BYTES: usize = 4096;
/// The note about the measured times, for readers of the report.
const TIMING_NOTE: &str = "Times count from the moment when receivers may begin until each \
                           program reports that its copy is complete and in place; they include \
                           the start of a command line program. Every copy was then compared with \
                           the original.";
/// The lock file of a folder in which records are written.
const LOCK_NAME: &str = "records.lock";
/// The key of the program's digest in a header's settings.
const BUILD_KEY: &str = "sow_md5";

/// Why records cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The existing records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// The existing records belong to another experiment.
    #[error(
        "{} has records of another experiment; {what}: {there} then, {here} now",
        dir.display()
    )]
    Other {
        /// The folder.
        dir: PathBuf,
        /// The name of the value that differs.
        what: String,
        /// The value in the records.
        there: String,
        /// The value of this experiment.
        here: String,
    },
    /// The existing records were measured with another build.
    #[error(
        "{} has records of another build of sow, and results of two builds must not be mixed",
        dir.display()
    )]
    Build {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process is writing records in the folder.
    #[error("another sow lab run is writing records in {}", dir.display())]
    Held {
        /// The folder.
        dir: PathBuf,
    },
    /// The records cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Records that are being written.
#[derive(Debug)]
pub(super) struct Ledger {
    writer: Writer,
    path: PathBuf,
    next_number: u32,
    _lock: FileLock,
}

/// Locks the folder of the records, which is made if it does not exist. It is locked before the
/// existing records are read, because two writers would give their runs the same numbers.
///
/// # Errors
/// When another process holds the lock, or the folder cannot be made.
pub(super) fn lock_folder(dir: &Path) -> Result<FileLock, LedgerError> {
    let path = dir.join(LOCK_NAME);
    match fs::create_dir_all(dir).and_then(|()| FileLock::try_take(&path)) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(LedgerError::Held { dir: dir.to_owned() }),
        Err(source) => Err(LedgerError::Write { path, source }),
    }
}

/// The records that exist before the experiment starts or continues.
#[derive(Debug, Default)]
pub(super) struct EarlierRecords {
    /// The header, if there are records.
    pub(super) header: Option<Header>,
    /// The runs that were made.
    pub(super) done: BTreeMap<RunKey, usize>,
    /// The number of runs that lack a copy.
    pub(super) incomplete: usize,
    /// The modes that are recorded as missing.
    pub(super) missing: Vec<String>,
    labels: Labels,
    next_number: u32,
}

impl EarlierRecords {
    /// Reads the records in `dir`, if there are any.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn read(dir: &Path) -> Result<Self, LedgerError> {
        if !dir.join(FILE_NAME).exists() {
            return Ok(Self::default());
        }
        let records = record::read(dir)?;
        let mut done = BTreeMap::new();
        for run in &records.runs {
            let key = (run.mode.clone(), run.users, run.file.name.clone(), run.repetition);
            *done.entry(key).or_default() += 1;
        }
        let numbers = records.runs.iter().map(|run| run.run).chain(records.series.keys().copied());
        Ok(Self {
            next_number: numbers.max().map_or(0, |last| last.saturating_add(1)),
            header: Some(records.header),
            done,
            incomplete: records.runs.iter().filter(|run| run.lacks_copies()).count(),
            labels: records.labels,
            missing: records.missing.into_iter().map(|missing| missing.mode).collect(),
        })
    }

    /// Checks that an experiment with this header may continue the records. Users, repetitions and
    /// modes may differ, as long as the network stays the same.
    ///
    /// # Errors
    /// When it is another experiment; the error names the difference.
    pub(super) fn check(&self, dir: &Path, wanted: &Header) -> Result<(), LedgerError> {
        let Some(earlier) = &self.header else { return Ok(()) };
        let dir = dir.to_owned();
        match first_difference("records", &identity(earlier), &identity(wanted)) {
            Some((what, there, here)) => Err(LedgerError::Other { dir, what, there, here }),
            None if earlier.settings[BUILD_KEY] != wanted.settings[BUILD_KEY] => {
                Err(LedgerError::Build { dir })
            }
            None => Ok(()),
        }
    }
}

/// The values that identify an experiment, except the build of the program.
fn identity(header: &Header) -> Value {
    let mut settings = header.settings.clone();
    if let Value::Object(settings) = &mut settings {
        settings.remove(BUILD_KEY);
    }
    // The machine chooses how frames are delayed, and it is known only once the lab is up.
    let network = record::Topology { delay_by: String::new(), ..header.topology.clone() };
    json!({
        "experiment": header.experiment,
        "seed": header.seed,
        "program": header.program,
        "network": network,
        "congestion control": header.congestion_control,
        "scenario": settings,
    })
}

/// The first difference within a value that is called `name`: its name and the two values.
fn first_difference(name: &str, there: &Value, here: &Value) -> Option<(String, String, String)> {
    let nested = |name: &str, part: &str| {
        if name == "records" { part.to_owned() } else { format!("{name}, {part}") }
    };
    match (there, here) {
        _ if there == here => None,
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            let of = |object: &serde_json::Map<String, Value>, key| {
                object.get(key).cloned().unwrap_or_default()
            };
            keys.into_iter().find_map(|key| {
                first_difference(&nested(name, key), &of(one, key), &of(other, key))
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            (1..).zip(one.iter().zip(other)).find_map(|(number, (one, other))| {
                first_difference(&nested(name, &number.to_string()), one, other)
            })
        }
        (Value::Array(one), Value::Array(other)) => Some((
            name.to_owned(),
            format!("{} of them", one.len()),
            format!("{} of them", other.len()),
        )),
        _ => Some((name.to_owned(), there.to_string(), here.to_string())),
    }
}

impl Ledger {
    /// Opens the records in `dir`, which the lock belongs to: continues the earlier records, or
    /// begins new ones with this header. Labels are written if the records have others.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn open(
        dir: &Path,
        lock: FileLock,
        header: &Header,
        labels: &Labels,
        earlier: &EarlierRecords,
    ) -> Result<Self, LedgerError> {
        let path = dir.join(FILE_NAME);
        let writer = match earlier.header {
            Some(_) => Writer::append_to(dir),
            None => Writer::create(dir, header),
        };
        let with_labels = |mut writer: Writer| {
            if *labels != earlier.labels {
                writer.write_labels(labels)?;
            }
            Ok(writer)
        };
        match writer.and_then(with_labels) {
            Ok(writer) => Ok(Self { writer, path, next_number: earlier.next_number, _lock: lock }),
            Err(source) => Err(LedgerError::Write { path, source }),
        }
    }

    /// Numbers a run and writes it with its samples.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_run(
        &mut self,
        run: &mut Run,
        samples: &mut [Sample],
    ) -> Result<(), LedgerError> {
        run.receivers.iter_mut().filter_map(|receiver| receiver.error.as_mut()).for_each(shorten);
        run.run = self.next_number;
        self.next_number += 1;
        let write = || {
            for sample in samples {
                sample.run = run.run;
                self.writer.write_sample(sample)?;
            }
            self.writer.write_run(run)
        };
        write().map_err(|source| LedgerError::Write { path: self.path.clone(), source })
    }

    /// Writes a run that could not be made.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_failure(&mut self, failure: &mut Failure) -> Result<(), LedgerError> {
        shorten(&mut failure.message);
        let written = self.writer.write_failure(failure);
        written.map_err(|source| LedgerError::Write { path: self.path.clone(), source })
    }

    /// Writes a missing program.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_missing(&mut self, missing: &Missing) -> Result<(), LedgerError> {
        let written = self.writer.write_missing(missing);
        written.map_err(|source| LedgerError::Write { path: self.path.clone(), source })
    }
}

fn shorten(text: &mut String) {
    let longest = MAX_MESSAGE_BYTES.min(text.len());
    let end = (0..=longest).rev().find(|&index| text.is_char_boundary(index));
    text.truncate(end.unwrap_or_default());
}

/// The header of an experiment before its network is up. The delay method and the calibration are
/// added later. `build` is the digest of the program.
pub(super) fn header(
    scenario: &Scenario,
    setup: &Setup,
    build: &str,
    topology: &Topology,
    bytes: &[u64],
) -> Header {
    let host = |(index, link): (usize, &Link)| Host {
        name: format!("h{}", index + 1),
        up_bits_per_second: Some(link.up),
        down_bits_per_second: Some(link.down),
    };
    let far_hosts = (1..=topology.links.len()).filter(|&host| topology.switch_of(host) == 2);
    let trunk = match topology.switches {
        Switches::Two { trunk } => Some(TrunkLink {
            bits_per_second: trunk,
            far_hosts: far_hosts.map(|host| format!("h{host}")).collect(),
        }),
        Switches::One => None,
    };
    let mut notes = vec![scenario.title.clone(), TIMING_NOTE.to_owned()];
    if setup.jobs > 1 {
        notes.push(format!("Up to {} labs ran side by side on this machine.", setup.jobs));
    }
    Header {
        version: VERSION,
        experiment: scenario.name.clone(),
        command: setup.command.clone(),
        seed: scenario.seed,
        modes: scenario.modes.iter().map(|mode| mode.id().to_owned()).collect(),
        date: setup.date.clone(),
        program: setup.version.clone(),
        kernel: String::new(),
        congestion_control: topology.congestion_control.clone(),
        cpus: None,
        topology: record::Topology {
            hosts: topology.links.iter().enumerate().map(host).collect(),
            delay_seconds: scenario.network.link.delay_us as f64 / 1e6,
            delay_by: String::new(),
            shaped_by: "tbf".to_owned(),
            trunk,
        },
        calibration: Vec::new(),
        notes,
        settings: settings(scenario, build, bytes, topology),
    }
}

/// The values that runs depend on, beside the network and the seed.
fn settings(scenario: &Scenario, build: &str, bytes: &[u64], topology: &Topology) -> Value {
    let files = scenario.files.iter().zip(bytes).map(|(file, bytes)| {
        let kind = match &file.content {
            Content::Random { .. } => "random",
            Content::Text { .. } => "text",
            Content::Path(_) => "path",
        };
        json!({ "name": file.name, "kind": kind, "bytes": bytes })
    });
    let events = scenario.events.iter().map(|event| {
        let action = match event.action {
            Action::Leave => "leave",
            Action::Kill => "kill",
            Action::Start => "start",
        };
        json!({ "at_seconds": event.at.as_secs_f64(), "receiver": event.receiver, "do": action })
    });
    json!({
        BUILD_KEY: build,
        "files": files.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "origins": scenario.origins,
        "piece_length": scenario.piece_length,
        "limit_seconds": scenario.limit.map(|limit| limit.as_secs_f64()),
        "delays_us": topology.links.iter().map(|link| link.delay_us).collect::<Vec<_>>(),
        "queue_us": topology.queue_us,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, path::PathBuf};

    use super::*;
    use crate::{record::Model, run::plan::largest_shape, scenario::built_in};

    fn smoke() -> (Scenario, Setup) {
        let setup = Setup {
            sow: PathBuf::from("sow"),
            version: "sow 1".to_owned(),
            command: vec!["sow".to_owned()],
            date: "2026-01-01T00:00:00Z".to_owned(),
            out: PathBuf::from("out"),
            jobs: 1,
        };
        (built_in("smoke").unwrap(), setup)
    }

    fn head(scenario: &Scenario, setup: &Setup) -> Header {
        let topology = scenario.network.topology("plan".parse().unwrap(), largest_shape(scenario));
        header(scenario, setup, "0a", &topology, &[2 << 20])
    }

    fn run(mode: &str) -> Run {
        Run {
            run: 0,
            mode: mode.to_owned(),
            model: Model::PeerToPeer,
            program: None,
            simulated: false,
            repetition: 0,
            users: 2,
            file: record::File { name: "random-2MiB".to_owned(), bytes: 2 << 20 },
            seed: 1,
            origins: vec![record::Origin {
                host: "h1".to_owned(),
                payload_up_bytes: None,
                wire_up_bytes: None,
                wire_down_bytes: None,
            }],
            receivers: Vec::new(),
            commands: Vec::new(),
            note: None,
        }
    }

    /// A receiver without a copy.
    fn receiver(host: &str, error: &str) -> record::Receiver {
        record::Receiver {
            host: host.to_owned(),
            started_seconds: 0.0,
            finished_seconds: None,
            verified: false,
            left_seconds: None,
            from_bytes: BTreeMap::new(),
            wire_up_bytes: None,
            wire_down_bytes: None,
            cpu_seconds: None,
            error: Some(error.to_owned()),
        }
    }

    fn sample() -> Sample {
        Sample { run: 0, t: 0.0, host: "h1".to_owned(), up_bytes: 0, down_bytes: 0 }
    }

    #[test]
    fn the_records_of_an_interrupted_experiment_are_continued() {
        let dir = tempfile::tempdir().unwrap();
        let (scenario, setup) = smoke();
        let head = head(&scenario, &setup);
        let earlier = EarlierRecords::read(dir.path()).unwrap();
        assert!(earlier.header.is_none() && earlier.done.is_empty());
        earlier.check(dir.path(), &head).unwrap();
        let lock = lock_folder(dir.path()).unwrap();
        let mut ledger =
            Ledger::open(dir.path(), lock, &head, &Labels::default(), &earlier).unwrap();
        let other = lock_folder(dir.path()).unwrap_err().to_string();
        assert!(other.starts_with("another sow lab run is writing"), "{other}");
        let mut late = run("swarm");
        late.receivers.push(receiver("h2", &"ä".repeat(9000)));
        for mut run in [run("raw"), late] {
            ledger.write_run(&mut run, &mut [sample()]).unwrap();
        }
        let missing = Missing { mode: "aria2".into(), program: "aria2c".into(), hint: None };
        ledger.write_missing(&missing).unwrap();
        let mut failure = Failure {
            mode: "chunk".into(),
            users: 2,
            repetition: 0,
            file: "random-2MiB".into(),
            message: "ä".repeat(9000),
        };
        ledger.write_failure(&mut failure).unwrap();
        assert_eq!(failure.message.len(), MAX_MESSAGE_BYTES);
        drop(ledger);
        let path = dir.path().join(FILE_NAME);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        // The file ends as after a kill amid the samples of the next run.
        let cut = concat!(
            r#"{"record":"sample","run":2,"t":0,"host":"h1","up_bytes":0,"down_bytes":0}"#,
            "\n{\"rec"
        );
        file.write_all(cut.as_bytes()).unwrap();

        let earlier = EarlierRecords::read(dir.path()).unwrap();
        earlier.check(dir.path(), &head).unwrap();
        let modes: Vec<_> = earlier.done.keys().map(|(mode, ..)| mode.clone()).collect();
        assert_eq!(
            (modes, &earlier.missing[..]),
            (vec!["raw".into(), "swarm".into()], &["aria2".to_owned()][..])
        );
        assert_eq!(earlier.incomplete, 1);
        let lock = lock_folder(dir.path()).unwrap();
        let mut ledger =
            Ledger::open(dir.path(), lock, &head, &Labels::default(), &earlier).unwrap();
        let mut next = run("chunk");
        ledger.write_run(&mut next, &mut [sample()]).unwrap();
        assert_eq!(next.run, 3, "the number of the run that was cut off is used again");
        let records = record::read(dir.path()).unwrap();
        let error = records.runs[1].receivers[0].error.as_ref();
        assert_eq!(error.map(String::len), Some(MAX_MESSAGE_BYTES));
        assert_eq!(records.runs.iter().map(|run| run.run).collect::<Vec<_>>(), [0, 1, 3]);
        assert!(records.warnings.is_empty(), "{:?}", records.warnings);
    }

    #[test]
    fn the_records_of_another_experiment_are_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let (scenario, setup) = smoke();
        let first = head(&scenario, &setup);
        let lock = lock_folder(dir.path()).unwrap();
        drop(
            Ledger::open(dir.path(), lock, &first, &Labels::default(), &EarlierRecords::default())
                .unwrap(),
        );
        let earlier = EarlierRecords::read(dir.path()).unwrap();

        let mut same = scenario.clone();
        same.repeat = 9;
        same.modes.truncate(1);
        let mut later = head(
            &same,
            &Setup { date: "2026-02-02T00:00:00Z".to_owned(), jobs: 4, ..setup.clone() },
        );
        later.topology.delay_by = "relay".to_owned();
        earlier.check(dir.path(), &later).unwrap();

        let mut others = [(); 5].map(|()| scenario.clone());
        others[0].seed += 1;
        others[1].name = "other".to_owned();
        others[2].users = vec![3];
        others[3].piece_length = None;
        others[4].network.link.up += 1;
        for (other, what) in
            others.iter().zip(["seed", "experiment", "network", "scenario", "network"])
        {
            let error = earlier.check(dir.path(), &head(other, &setup)).unwrap_err().to_string();
            assert!(error.contains(&format!("; {what}")), "{error}");
        }
        let mut rebuilt = first.clone();
        rebuilt.settings[BUILD_KEY] = "0b".into();
        let error = earlier.check(dir.path(), &rebuilt).unwrap_err().to_string();
        assert!(error.contains("another build of sow"), "{error}");
        let newer = Setup { version: "sow 2".to_owned(), ..setup };
        let error = earlier.check(dir.path(), &head(&scenario, &newer)).unwrap_err().to_string();
        assert!(error.contains("sow 2"), "{error}");
    }
}
