//! Runs an experiment: makes the transfers of a scenario on a network that is built for them, and
//! records the results.
//!
//! `plan` lists the runs, `workspace` is the experiment's place on the machine, `testbed` is a
//! network with files on which runs are made one after the other, `transfer` is one run, `programs`
//! are the programs that are compared, `simulation` makes runs without a network, `ledger` keeps
//! the records. This file distributes the runs to the testbeds and collects their results.

mod ledger;
mod plan;
mod programs;
mod simulation;
mod test_file;
mod testbed;
mod transfer;
mod workspace;

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
    time::Duration,
};

use data_encoding::HEXLOWER;
use serde::Serialize;
use sow_md5::Md5;

pub use self::{
    ledger::LedgerError,
    plan::{Plan, Task},
    simulation::{LinkBytes, SimulatedResult, SimulatedRun, Simulator, can_simulate, simulate},
    workspace::LAB_PREFIX,
};
use self::{
    ledger::{EarlierRecords, Ledger, header},
    programs::{ProgramError, ProgramInfo},
    testbed::{Testbed, bytes_needed},
    transfer::FinishedRun,
};
use crate::{
    bound::Bounds,
    network::{Calibration, NetworkError},
    record::{self, Failure, Header, Missing, Run},
    scenario::{FileSpec, Mode, Scenario, ScenarioConflict},
};

/// The limit of labs side by side.
pub const MAX_JOBS: u16 = 32;

/// How an experiment is carried out, beside what its scenario says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The path of `sow`.
    pub sow: PathBuf,
    /// The name and version of `sow`.
    pub version: String,
    /// The command line of this process, word by word.
    pub command: Vec<String>,
    /// The present time: RFC 3339 in UTC.
    pub date: String,
    /// The folder for the records, which is made if it does not exist. An experiment that was
    /// interrupted there is continued.
    pub out: PathBuf,
    /// The number of labs side by side, 1 to [`MAX_JOBS`].
    pub jobs: u16,
}

/// A report about the progress of an experiment.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The plan; always the first report.
    Planned(&'a Plan),
    /// A program is not installed; its mode is left out.
    Missing(&'a Missing),
    /// A network is up, and its links are measured.
    Calibrated(&'a Calibration),
    /// A run was made.
    Finished {
        /// Its record.
        run: &'a Run,
        /// The lower bound of its duration in its own model, in seconds from its start; `None` if
        /// no link has a limit.
        bound: Option<f64>,
    },
    /// A run could not be made.
    Failed(&'a Failure),
    /// What a simulated run cost; after its [`Progress::Finished`].
    Cost {
        /// Its receivers.
        users: u16,
        /// How long it took.
        wall: Duration,
        /// The most memory that the process had until now, in bytes, where the system tells.
        memory: Option<u64>,
    },
}

/// The result of an experiment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The runs that were made now, complete or not.
    pub made: usize,
    /// The runs in the records, made now or before, in which a receiver lacks a correct copy.
    pub incomplete: usize,
    /// The runs that could not be made.
    pub failed: usize,
    /// The modes that were left out because a program is not installed.
    pub missing: usize,
    /// The runs that are left because of a stop.
    pub left: usize,
}

/// Why an experiment cannot be carried out or continued.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The values of the scenario contradict each other.
    #[error(transparent)]
    Conflict(#[from] ScenarioConflict),
    /// The records cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A file of the scenario cannot be read or written.
    #[error("the file {name}: {source}")]
    File {
        /// Its name.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// There is no folder for the files of runs.
    #[error("no folder for the files of runs: {0}")]
    Workspace(io::Error),
    /// It was stopped before there were any records.
    #[error("interrupted")]
    Interrupted,
}

/// Carries out an experiment. Returns when all runs are made, or soon after `stop` is set. The
/// records stay in `setup.out`; the same call continues them.
///
/// # Errors
/// When the experiment cannot start or continue: no network, no room for files or records, other
/// records in the folder. A run that fails is not an error.
pub fn run(
    scenario: &Scenario,
    setup: &Setup,
    stop: &AtomicBool,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RunError> {
    scenario.check()?;
    let bytes = file_lengths(scenario)?;
    let topology = scenario.network.topology("plan".parse()?, plan::largest_shape(scenario));
    topology.check()?;
    let (programs, missing) = find_programs(&scenario.modes);
    let jobs = usize::from(setup.jobs.clamp(1, MAX_JOBS));
    let build = build_digest(&setup.sow)
        .map_err(|source| RunError::File { name: setup.sow.display().to_string(), source })?;
    let mut head = header(scenario, setup, &build, &topology, &bytes);
    add_program_notes(&mut head, &programs);
    let lock = ledger::lock_folder(&setup.out)?;
    let earlier = EarlierRecords::read(&setup.out)?;
    earlier.check(&setup.out, &head)?;
    let tasks = plan::all_tasks(scenario, &bytes, &topology);
    let possible = tasks.into_iter().filter(|task| programs.contains_key(&task.mode)).collect();
    let plan = plan::plan_remaining(scenario, possible, &earlier.done, jobs);

    report(Progress::Planned(&plan));
    missing.iter().for_each(|missing| report(Progress::Missing(missing)));
    let mut outcome = Outcome {
        missing: missing.len(),
        incomplete: earlier.incomplete,
        left: plan.tasks.len(),
        ..Outcome::default()
    };
    if plan.tasks.is_empty() && earlier.header.is_some() {
        return Ok(outcome);
    }
    let mut testbeds = Vec::new();
    for _ in 0..jobs.min(plan.tasks.len().max(1)) {
        let testbed = Testbed::build(scenario, setup, bytes_needed(scenario, &bytes), stop)?;
        report(Progress::Calibrated(&testbed.calibration));
        testbeds.push(testbed);
    }
    testbeds.iter().for_each(|testbed| testbed.describe(&mut head));
    let mut ledger = Ledger::open(&setup.out, lock, &head, &scenario.labels, &earlier)?;
    for missing in missing.iter().filter(|missing| !earlier.missing.contains(&missing.mode)) {
        ledger.write_missing(missing)?;
    }
    let queue = Mutex::new(plan.tasks.into());
    let runner = Runner { scenario, setup, bytes: &bytes, programs: &programs, queue, stop };
    runner.run_all(testbeds, |result| {
        outcome.left -= 1;
        record_result(result, scenario, &head.topology, &mut ledger, &mut outcome, report)
    })?;
    Ok(outcome)
}

/// The result of a task.
enum TaskResult {
    Finished(Box<FinishedRun>),
    Failed(Task, String),
    /// The testbed can make no further runs.
    TestbedFailed(RunError),
}

/// Why a task has no result.
enum TaskError {
    Program(ProgramError),
    File(io::Error),
}

/// What all testbeds share while they make runs.
struct Runner<'a> {
    scenario: &'a Scenario,
    setup: &'a Setup,
    bytes: &'a [u64],
    programs: &'a BTreeMap<Mode, ProgramInfo>,
    queue: Mutex<VecDeque<Task>>,
    stop: &'a AtomicBool,
}

impl Runner<'_> {
    /// Makes all runs, one at a time on each testbed, and takes the testbeds down. `record` is
    /// called on this thread for each result.
    fn run_all(
        &self,
        testbeds: Vec<Testbed>,
        mut record: impl FnMut(TaskResult) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let (sender, results) = channel();
        thread::scope(|scope| {
            for mut testbed in testbeds {
                let sender = sender.clone();
                scope.spawn(move || self.work_off_queue(&mut testbed, &sender));
            }
            drop(sender);
            let mut recorded = Ok(());
            for result in results {
                if recorded.is_ok() {
                    recorded = record(result);
                }
                if recorded.is_err() {
                    // Runs in progress finish, but their results cannot be recorded.
                    self.queue().clear();
                }
            }
            recorded
        })
    }

    fn work_off_queue(&self, testbed: &mut Testbed, sender: &Sender<TaskResult>) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(task) = self.queue().pop_front() else { break };
            let result = match self.run_task(testbed, &task) {
                Ok(finished) => TaskResult::Finished(Box::new(finished)),
                Err(TaskError::Program(ProgramError::Interrupted)) => break,
                Err(TaskError::Program(ProgramError::Network(error))) => {
                    TaskResult::TestbedFailed(error.into())
                }
                Err(TaskError::Program(error)) => TaskResult::Failed(task, error.to_string()),
                Err(TaskError::File(source)) => {
                    let name = self.scenario.files[task.file].name.clone();
                    TaskResult::TestbedFailed(RunError::File { name, source })
                }
            };
            let is_last = matches!(result, TaskResult::TestbedFailed(_));
            if sender.send(result).is_err() || is_last {
                break;
            }
        }
    }

    fn run_task(&self, testbed: &mut Testbed, task: &Task) -> Result<FinishedRun, TaskError> {
        let bytes = self.bytes[task.file];
        let content = testbed.test_file(self.scenario, task, bytes).map_err(TaskError::File)?;
        let transfer = testbed.transfer(self.scenario, self.setup, &content, bytes, self.stop);
        let version = self.programs.get(&task.mode).and_then(|info| info.version.as_deref());
        transfer.run(task, version).map_err(TaskError::Program)
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Task>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a result into the records, and reports it.
fn record_result(
    result: TaskResult,
    scenario: &Scenario,
    topology: &record::Topology,
    ledger: &mut Ledger,
    outcome: &mut Outcome,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<(), RunError> {
    match result {
        TaskResult::Finished(finished) => {
            let FinishedRun { mut run, mut samples } = *finished;
            ledger.write_run(&mut run, &mut samples)?;
            outcome.made += 1;
            outcome.incomplete += usize::from(run.lacks_copies());
            let bound = Bounds::of_run(&run, topology).map(|bounds| bounds.of(run.model));
            report(Progress::Finished { run: &run, bound });
        }
        TaskResult::Failed(task, message) => {
            let mut failure = Failure {
                mode: task.label.clone(),
                users: task.users.into(),
                repetition: task.repetition.into(),
                file: scenario.files[task.file].name.clone(),
                message,
            };
            ledger.write_failure(&mut failure)?;
            outcome.failed += 1;
            report(Progress::Failed(&failure));
        }
        TaskResult::TestbedFailed(error) => return Err(error),
    }
    Ok(())
}

/// Adds the notes of programs to a header. Two modes may have the same note, which is added once.
fn add_program_notes(header: &mut Header, programs: &BTreeMap<Mode, ProgramInfo>) {
    for note in programs.values().filter_map(|info| info.note.as_ref()) {
        if !header.notes.contains(note) {
            header.notes.push(note.clone());
        }
    }
}

/// The MD5 digest of a program in hexadecimal. Two builds of one version may differ in speed.
fn build_digest(program: &Path) -> io::Result<String> {
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

fn file_lengths(scenario: &Scenario) -> Result<Vec<u64>, RunError> {
    let length = |file: &FileSpec| {
        test_file::length(&file.content)
            .map_err(|source| RunError::File { name: file.name.clone(), source })
    };
    scenario.files.iter().map(length).collect()
}

/// The installed programs of these modes, and the missing ones.
fn find_programs(modes: &[Mode]) -> (BTreeMap<Mode, ProgramInfo>, Vec<Missing>) {
    let mut installed = BTreeMap::new();
    let mut missing = Vec::new();
    for &mode in modes {
        match programs::program_info(mode) {
            Ok(info) => drop(installed.insert(mode, info)),
            Err(program) => missing.push(program),
        }
    }
    (installed, missing)
}
