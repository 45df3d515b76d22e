//! Runs an experiment: makes the transfers of a scenario on a network that is built for them, and
//! records what they did.
//!
//! `plan` says which runs there are, `slot` what part of the machine is ours, `stand` is a network
//! with its files on which runs are made one after the other, `transfer` is a run, `programs` are
//! those that are compared, `ledger` keeps the records. Here results come together.

mod content;
mod ledger;
mod plan;
mod programs;
mod slot;
mod stand;
mod transfer;

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
};

use data_encoding::HEXLOWER;
use serde::Serialize;
use sow_md5::Md5;

pub use self::{
    ledger::LedgerError,
    plan::{Plan, Task},
    slot::LAB_PREFIX,
};
use self::{
    ledger::{Before, Ledger, header},
    programs::{Facts, ProgramError},
    stand::{Stand, room},
    transfer::Made,
};
use crate::{
    bound::Bounds,
    network::{Calibration, NetworkError},
    record::{self, Failure, Missing, Run},
    scenario::{Misfit, Mode, Scenario},
};

/// The most labs side by side.
pub const MAX_JOBS: u16 = 32;

/// How an experiment is carried out, beside what its scenario says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The path of `sow`.
    pub sow: PathBuf,
    /// What that is: a name and a version.
    pub version: String,
    /// The command line that was typed, word by word.
    pub command: Vec<String>,
    /// Now: RFC 3339 in UTC.
    pub date: String,
    /// The folder for the records. It is made if it is not there; an experiment that was
    /// interrupted there is gone on with.
    pub out: PathBuf,
    /// How many labs are run side by side, 1 to [`MAX_JOBS`].
    pub jobs: u16,
}

/// Something to tell people while it goes on.
#[derive(Debug)]
pub enum News<'a> {
    /// What will be done. The first news.
    Planned(&'a Plan),
    /// A program is not installed; its mode is left out.
    Missing(&'a Missing),
    /// A network is up, and this is what its links do.
    Calibrated(&'a Calibration),
    /// A run was made.
    Made {
        /// What came out.
        run: &'a Run,
        /// The least time possible, in seconds from the start of the run, in its own model; `None`
        /// if nothing limits it.
        bound: Option<f64>,
    },
    /// A run could not be made.
    Failed(&'a Failure),
}

/// How an experiment ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Runs that were made now, whatever came out.
    pub made: usize,
    /// Runs in the records, made now or before, in which a receiver that was to get a copy has not
    /// got a right one.
    pub incomplete: usize,
    /// Runs that could not be made.
    pub failed: usize,
    /// Modes that were left out because a program is not installed.
    pub missing: usize,
    /// Runs that are still to be made, because it was asked to stop.
    pub left: usize,
}

/// Why an experiment cannot be carried out, or not be carried on with.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The scenario does not fit together.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// There can be no records.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A file of the scenario cannot be had.
    #[error("the file {name}: {source}")]
    File {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// There is no place for the files of runs.
    #[error("no place for the files of runs: {0}")]
    Place(io::Error),
    /// It was asked to stop before there were any records.
    #[error("interrupted")]
    Interrupted,
}

/// Carries an experiment out and returns when everything is done, or soon after `stop` is set. What
/// was recorded so far stays in `setup.out`; the same call goes on from there.
///
/// # Errors
/// When it cannot begin, or not go on: no network, no place for files or records, other records in
/// the folder. A run that fails is none.
pub fn run(
    scenario: &Scenario,
    setup: &Setup,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<Outcome, RunError> {
    scenario.check()?;
    let bytes = lengths(scenario)?;
    let topology = scenario.network.topology("plan".parse()?, plan::whole_shape(scenario));
    topology.check()?;
    let (programs, missing) = look(&scenario.modes);
    let jobs = usize::from(setup.jobs.clamp(1, MAX_JOBS));
    let build = build_of(&setup.sow)
        .map_err(|source| RunError::File { name: setup.sow.display().to_string(), source })?;
    let mut head = header(scenario, setup, &build, &topology, &bytes);
    for note in programs.values().filter_map(|facts| facts.note.as_ref()) {
        // Two modes may be one program.
        if !head.notes.contains(note) {
            head.notes.push(note.clone());
        }
    }
    let lock = ledger::hold(&setup.out)?;
    let before = Before::read(&setup.out)?;
    before.check(&setup.out, &head)?;
    let tasks = plan::tasks(scenario, &bytes, &topology);
    let able = tasks.into_iter().filter(|task| programs.contains_key(&task.mode)).collect();
    let plan = plan::left(scenario, able, &before.done, jobs);

    tell(News::Planned(&plan));
    missing.iter().for_each(|missing| tell(News::Missing(missing)));
    let planned = plan.tasks.len();
    let (missing_modes, incomplete) = (missing.len(), before.incomplete);
    let mut outcome =
        Outcome { missing: missing_modes, incomplete, left: planned, ..Outcome::default() };
    if planned == 0 && before.header.is_some() {
        return Ok(outcome);
    }
    let jobs = jobs.min(planned.max(1));
    let mut stands = Vec::new();
    for _ in 0..jobs {
        let stand = Stand::build(scenario, setup, room(scenario, &bytes), stop)?;
        tell(News::Calibrated(&stand.calibration));
        stands.push(stand);
    }
    stands.iter().for_each(|stand| stand.describe(&mut head));
    let mut ledger = Ledger::open(&setup.out, lock, &head, &before)?;
    for missing in missing.iter().filter(|missing| !before.missing.contains(&missing.mode)) {
        ledger.missing(missing)?;
    }
    let crew = Crew {
        scenario,
        setup,
        bytes: &bytes,
        programs: &programs,
        queue: Mutex::new(plan.tasks.into()),
        stop,
    };
    crew.work(stands, |message| {
        outcome.left -= 1;
        note(message, scenario, &head.topology, &mut ledger, &mut outcome, tell)
    })?;
    Ok(outcome)
}

/// What a run came to.
enum Message {
    Made(Box<Made>),
    Failed(Task, String),
    /// Nothing more can be done on this stand.
    Broken(RunError),
}

/// All that is the same for those who make the runs, each on a stand of his own.
struct Crew<'a> {
    scenario: &'a Scenario,
    setup: &'a Setup,
    bytes: &'a [u64],
    programs: &'a BTreeMap<Mode, Facts>,
    queue: Mutex<VecDeque<Task>>,
    stop: &'a AtomicBool,
}

impl Crew<'_> {
    /// Makes all runs, each stand one at a time, and takes the stands down. `note` is called for
    /// each run, by this thread.
    fn work(
        &self,
        stands: Vec<Stand>,
        mut note: impl FnMut(Message) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let (sender, messages) = channel();
        thread::scope(|scope| {
            for mut stand in stands {
                let sender = sender.clone();
                scope.spawn(move || self.make_runs(&mut stand, &sender));
            }
            drop(sender);
            let mut ended = Ok(());
            for message in messages {
                if ended.is_ok() {
                    ended = note(message);
                }
                if ended.is_err() {
                    // Runs that are under way come to their end; there is nowhere to write them.
                    self.queue().clear();
                }
            }
            ended
        })
    }

    fn make_runs(&self, stand: &mut Stand, sender: &Sender<Message>) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(task) = self.queue().pop_front() else { break };
            let message = match self.make(stand, &task) {
                Ok(made) => Message::Made(Box::new(made)),
                Err(Trouble::Program(ProgramError::Interrupted)) => break,
                Err(Trouble::Program(ProgramError::Network(error))) => {
                    Message::Broken(error.into())
                }
                Err(Trouble::Program(error)) => Message::Failed(task, error.to_string()),
                Err(Trouble::File(source)) => {
                    let name = self.scenario.files[task.file].name.clone();
                    Message::Broken(RunError::File { name, source })
                }
            };
            let over = matches!(message, Message::Broken(_));
            if sender.send(message).is_err() || over {
                break;
            }
        }
    }

    fn make(&self, stand: &mut Stand, task: &Task) -> Result<Made, Trouble> {
        let bytes = self.bytes[task.file];
        let content = stand.content(self.scenario, task, bytes).map_err(Trouble::File)?;
        let site = stand.site(self.scenario, self.setup, &content, bytes, self.stop);
        let version = self.programs.get(&task.mode).and_then(|facts| facts.version.as_deref());
        site.run(task, version).map_err(Trouble::Program)
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Task>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a run came to nothing.
enum Trouble {
    Program(ProgramError),
    File(io::Error),
}

/// Writes down what a run came to, and tells it.
fn note(
    message: Message,
    scenario: &Scenario,
    topology: &record::Topology,
    ledger: &mut Ledger,
    outcome: &mut Outcome,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<(), RunError> {
    match message {
        Message::Made(made) => {
            let Made { mut run, mut samples } = *made;
            ledger.run(&mut run, &mut samples)?;
            outcome.made += 1;
            outcome.incomplete += usize::from(run.lacks_copies());
            let bound = Bounds::of_run(&run, topology).map(|bounds| bounds.of(run.model));
            tell(News::Made { run: &run, bound });
        }
        Message::Failed(task, message) => {
            let mut failure = Failure {
                mode: task.label.clone(),
                users: task.users.into(),
                repetition: task.repetition.into(),
                file: scenario.files[task.file].name.clone(),
                message,
            };
            ledger.failure(&mut failure)?;
            outcome.failed += 1;
            tell(News::Failed(&failure));
        }
        Message::Broken(error) => return Err(error),
    }
    Ok(())
}

/// The MD5 sum of a program, in hexadecimal: two builds of a version may differ in what is
/// measured.
fn build_of(program: &Path) -> io::Result<String> {
    let mut file = File::open(program)?;
    let mut md5 = Md5::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(HEXLOWER.encode(&md5.finish())),
            Ok(length) => md5.update(&block[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn lengths(scenario: &Scenario) -> Result<Vec<u64>, RunError> {
    let length = |file: &crate::scenario::FileSpec| {
        content::length(&file.content)
            .map_err(|source| RunError::File { name: file.name.clone(), source })
    };
    scenario.files.iter().map(length).collect()
}

/// What is there of the programs that are wanted, and what is not.
fn look(modes: &[Mode]) -> (BTreeMap<Mode, Facts>, Vec<Missing>) {
    let mut there = BTreeMap::new();
    let mut missing = Vec::new();
    for &mode in modes {
        match programs::look(mode) {
            Ok(facts) => drop(there.insert(mode, facts)),
            Err(program) => missing.push(program),
        }
    }
    (there, missing)
}
