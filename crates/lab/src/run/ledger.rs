//! The records of an experiment while it goes on: a new file, or one that an interrupted experiment
//! left, which is gone on with when it is of the same experiment. Which runs are there already is
//! found out here; how to make one is not known.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Setup, plan::Key};
use crate::{
    lock::Lock,
    network::{Link, Switches, Topology},
    record::{
        self, FILE_NAME, Failure, Header, Host, Missing, RecordError, Run, Sample, TrunkLink,
        VERSION, Writer,
    },
    scenario::{Action, Content, Scenario},
};

/// Bytes of what a program said that are kept.
const SAID: usize = 4096;
/// What counts, for readers of the report.
const START_UP: &str = "Times count from the moment when receivers may begin, until each program says that its copy is complete and in \
                        place; the start of a command line program is part of it. Every copy was then compared with the original.";

/// Why there can be no records.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// What is there cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// What is there is of another experiment.
    #[error("{} has records of another experiment; {what}: {there} then, {here} now", dir.display())]
    Other {
        /// The folder.
        dir: PathBuf,
        /// What differs.
        what: String,
        /// As the records have it.
        there: String,
        /// As it is wanted.
        here: String,
    },
    /// What is there was measured with another program.
    #[error("{} has records of another build of sow, and results of two builds must not be mixed", dir.display())]
    Build {
        /// The folder.
        dir: PathBuf,
    },
    /// Somebody else is writing there.
    #[error("another sow lab run is writing records in {}", dir.display())]
    Held {
        /// The folder.
        dir: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The file that tells that somebody is writing records in a folder.
const LOCK_NAME: &str = "records.lock";
/// Where the settings have a digest of the program.
const BUILD: &str = "sow_md5";

/// Records that are being written.
#[derive(Debug)]
pub(super) struct Ledger {
    writer: Writer,
    path: PathBuf,
    next: u32,
    _lock: Lock,
}

/// Makes the folder for records ours alone. To be done before what is there is read: who writes
/// meanwhile would number runs alike.
///
/// # Errors
/// If another has it, or it cannot be made.
pub(super) fn hold(dir: &Path) -> Result<Lock, LedgerError> {
    let path = dir.join(LOCK_NAME);
    match fs::create_dir_all(dir).and_then(|()| Lock::try_take(&path)) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(LedgerError::Held { dir: dir.to_owned() }),
        Err(source) => Err(LedgerError::Write { path, source }),
    }
}

/// What is there already.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// The header, if there are records.
    pub(super) header: Option<Header>,
    /// The runs that were made.
    pub(super) done: BTreeMap<Key, usize>,
    /// How many of them lack a copy.
    pub(super) incomplete: usize,
    /// Modes that are known to be missing.
    pub(super) missing: Vec<String>,
    next: u32,
}

impl Before {
    /// Reads what is in `dir`, which may be nothing.
    ///
    /// # Errors
    /// If something is there that cannot be read.
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
            next: numbers.max().map_or(0, |last| last.saturating_add(1)),
            header: Some(records.header),
            done,
            incomplete: records.runs.iter().filter(|run| run.lacks_copies()).count(),
            missing: records.missing.into_iter().map(|missing| missing.mode).collect(),
        })
    }

    /// Whether what is wanted can go on with these. The number of users and repetitions and the
    /// modes may be others, as long as the network stays as it is.
    ///
    /// # Errors
    /// If it is another experiment; says in what.
    pub(super) fn check(&self, dir: &Path, wanted: &Header) -> Result<(), LedgerError> {
        let Some(there) = &self.header else { return Ok(()) };
        let dir = dir.to_owned();
        match difference("records", &identity(there), &identity(wanted)) {
            Some((what, there, here)) => Err(LedgerError::Other { dir, what, there, here }),
            None if there.settings[BUILD] != wanted.settings[BUILD] => {
                Err(LedgerError::Build { dir })
            }
            None => Ok(()),
        }
    }
}

/// What makes two experiments the same, but for the build of the program.
fn identity(header: &Header) -> Value {
    let mut settings = header.settings.clone();
    if let Value::Object(settings) = &mut settings {
        settings.remove(BUILD);
    }
    // How delays are made is this machine's choice, and known later.
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

/// The first difference within a value that is called `name`: what differs, and the two.
fn difference(name: &str, there: &Value, here: &Value) -> Option<(String, String, String)> {
    let longer = |name: &str, part: &str| {
        if name == "records" { part.to_owned() } else { format!("{name}, {part}") }
    };
    match (there, here) {
        _ if there == here => None,
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            let of = |object: &serde_json::Map<String, Value>, key| {
                object.get(key).cloned().unwrap_or_default()
            };
            keys.into_iter()
                .find_map(|key| difference(&longer(name, key), &of(one, key), &of(other, key)))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            (1..).zip(one.iter().zip(other)).find_map(|(place, (one, other))| {
                difference(&longer(name, &place.to_string()), one, other)
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
    /// Opens the records in `dir`, of which this is the lock: new ones with this header, or what is
    /// there already.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn open(
        dir: &Path,
        lock: Lock,
        header: &Header,
        before: &Before,
    ) -> Result<Self, LedgerError> {
        let path = dir.join(FILE_NAME);
        let writer = match before.header {
            Some(_) => Writer::go_on(dir),
            None => Writer::create(dir, header),
        };
        match writer {
            Ok(writer) => Ok(Self { writer, path, next: before.next, _lock: lock }),
            Err(source) => Err(LedgerError::Write { path, source }),
        }
    }

    /// Writes a run with its samples, and gives it its number.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn run(&mut self, run: &mut Run, samples: &mut [Sample]) -> Result<(), LedgerError> {
        run.receivers.iter_mut().filter_map(|receiver| receiver.error.as_mut()).for_each(shorten);
        run.run = self.next;
        self.next += 1;
        let write = || {
            for sample in samples {
                sample.run = run.run;
                self.writer.sample(sample)?;
            }
            self.writer.run(run)
        };
        write().map_err(|source| LedgerError::Write { path: self.path.clone(), source })
    }

    /// Writes that a run could not be made.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn failure(&mut self, failure: &mut Failure) -> Result<(), LedgerError> {
        shorten(&mut failure.message);
        let written = self.writer.failure(failure);
        written.map_err(|source| LedgerError::Write { path: self.path.clone(), source })
    }

    /// Writes that a program is missing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn missing(&mut self, missing: &Missing) -> Result<(), LedgerError> {
        let written = self.writer.missing(missing);
        written.map_err(|source| LedgerError::Write { path: self.path.clone(), source })
    }
}

fn shorten(text: &mut String) {
    let end = (0..=SAID.min(text.len())).rev().find(|&place| text.is_char_boundary(place));
    text.truncate(end.unwrap_or_default());
}

/// What is known of an experiment before its network is up: how delays are made, and what the links
/// do, is missing. `build` tells the program from others of its version.
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
    let far = (1..=topology.links.len()).filter(|&host| topology.switch_of(host) == 2);
    let trunk = match topology.switches {
        Switches::Two { trunk } => Some(TrunkLink {
            bits_per_second: trunk,
            far_hosts: far.map(|host| format!("h{host}")).collect(),
        }),
        Switches::One => None,
    };
    let mut notes = vec![scenario.title.clone(), START_UP.to_owned()];
    if setup.jobs > 1 {
        notes.push(format!("Up to {} labs ran side by side on this machine.", setup.jobs));
    }
    Header {
        version: VERSION,
        experiment: scenario.name.clone(),
        command: setup.command.clone(),
        seed: scenario.seed,
        modes: scenario.modes.iter().map(ToString::to_string).collect(),
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

/// What runs depend on beside the network and the seed.
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
        BUILD: build,
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
    use crate::{record::Model, run::plan::whole_shape, scenario::built_in};

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
        let topology = scenario.network.topology("plan".parse().unwrap(), whole_shape(scenario));
        header(scenario, setup, "0a", &topology, &[2 << 20])
    }

    fn run(mode: &str) -> Run {
        Run {
            run: 0,
            mode: mode.to_owned(),
            model: Model::PeerToPeer,
            program: None,
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

    /// One without a copy.
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
    fn what_an_interrupted_experiment_left_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let (scenario, setup) = smoke();
        let head = head(&scenario, &setup);
        let before = Before::read(dir.path()).unwrap();
        assert!(before.header.is_none() && before.done.is_empty());
        before.check(dir.path(), &head).unwrap();
        let lock = hold(dir.path()).unwrap();
        let mut ledger = Ledger::open(dir.path(), lock, &head, &before).unwrap();
        let other = hold(dir.path()).unwrap_err().to_string();
        assert!(other.starts_with("another sow lab run is writing"), "{other}");
        let mut late = run("swarm");
        late.receivers.push(receiver("h2", &"ä".repeat(9000)));
        for mut run in [run("raw"), late] {
            ledger.run(&mut run, &mut [sample()]).unwrap();
        }
        let missing = Missing { mode: "aria2".into(), program: "aria2c".into(), hint: None };
        ledger.missing(&missing).unwrap();
        let mut failure = Failure {
            mode: "chunk".into(),
            users: 2,
            repetition: 0,
            file: "random-2MiB".into(),
            message: "ä".repeat(9000),
        };
        ledger.failure(&mut failure).unwrap();
        assert_eq!(failure.message.len(), SAID);
        drop(ledger);
        let path = dir.path().join(FILE_NAME);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        // Killed in the middle of the next run's samples.
        let cut = "{\"record\":\"sample\",\"run\":2,\"t\":0,\"host\":\"h1\",\"up_bytes\":0,\"down_bytes\":0}\n{\"rec";
        file.write_all(cut.as_bytes()).unwrap();

        let before = Before::read(dir.path()).unwrap();
        before.check(dir.path(), &head).unwrap();
        let modes: Vec<_> = before.done.keys().map(|(mode, ..)| mode.clone()).collect();
        assert_eq!(
            (modes, &before.missing[..]),
            (vec!["raw".into(), "swarm".into()], &["aria2".to_owned()][..])
        );
        assert_eq!(before.incomplete, 1);
        let mut ledger =
            Ledger::open(dir.path(), hold(dir.path()).unwrap(), &head, &before).unwrap();
        let mut next = run("chunk");
        ledger.run(&mut next, &mut [sample()]).unwrap();
        assert_eq!(
            next.run, 3,
            "its samples must not be mixed with those of the run that was cut off"
        );
        let records = record::read(dir.path()).unwrap();
        assert_eq!(records.runs[1].receivers[0].error.as_ref().map(String::len), Some(SAID));
        assert_eq!(records.runs.iter().map(|run| run.run).collect::<Vec<_>>(), [0, 1, 3]);
        assert!(records.warnings.is_empty(), "{:?}", records.warnings);
    }

    #[test]
    fn records_of_another_experiment_are_not_mixed_in() {
        let dir = tempfile::tempdir().unwrap();
        let (scenario, setup) = smoke();
        let first = head(&scenario, &setup);
        drop(
            Ledger::open(dir.path(), hold(dir.path()).unwrap(), &first, &Before::default())
                .unwrap(),
        );
        let before = Before::read(dir.path()).unwrap();

        let mut same = scenario.clone();
        same.repeat = 9;
        same.modes.truncate(1);
        let mut later = head(
            &same,
            &Setup { date: "2026-02-02T00:00:00Z".to_owned(), jobs: 4, ..setup.clone() },
        );
        later.topology.delay_by = "relay".to_owned();
        before.check(dir.path(), &later).unwrap();

        let mut others = [(); 5].map(|()| scenario.clone());
        others[0].seed += 1;
        others[1].name = "other".to_owned();
        others[2].users = vec![3];
        others[3].piece_length = None;
        others[4].network.link.up += 1;
        for (other, what) in
            others.iter().zip(["seed", "experiment", "network", "scenario", "network"])
        {
            let error = before.check(dir.path(), &head(other, &setup)).unwrap_err().to_string();
            assert!(error.contains(&format!("; {what}")), "{error}");
        }
        let mut rebuilt = first.clone();
        rebuilt.settings[BUILD] = "0b".into();
        let error = before.check(dir.path(), &rebuilt).unwrap_err().to_string();
        assert!(error.contains("another build of sow"), "{error}");
        let newer = Setup { version: "sow 2".to_owned(), ..setup };
        assert!(
            before
                .check(dir.path(), &head(&scenario, &newer))
                .unwrap_err()
                .to_string()
                .contains("sow 2")
        );
    }
}
