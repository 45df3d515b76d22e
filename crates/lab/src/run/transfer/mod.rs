//! One run: origins are started, receivers join, the scenario's events happen, copies are compared.
//! How a program does its part is decided by its adapter; where the files lie, by the caller.

mod monitor;
mod receiver;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, atomic::AtomicBool},
    time::Duration,
};

use self::{
    monitor::{Monitor, RunSetting},
    receiver::TrackedReceiver,
};
use super::{
    plan::Task,
    programs::{self, Process, ProgramContext, ProgramError, TestHost},
    test_file,
};
use crate::{
    network::{CounterReader, Lab},
    record::{self, Run, Sample},
    scenario::{Scenario, Shape},
};

/// The time by which programs that end by themselves outlive the limit of a run.
const PROGRAM_LIMIT_MARGIN: Duration = Duration::from_secs(60);

/// A transfer of one file on a testbed.
pub(super) struct Transfer<'a> {
    /// The scenario.
    pub(super) scenario: &'a Scenario,
    /// The network.
    pub(super) lab: &'a Lab,
    /// The counters of the network.
    pub(super) counters: &'a CounterReader,
    /// The hosts of the largest run.
    pub(super) shape: Shape,
    /// The path of `sow`.
    pub(super) sow: &'a Path,
    /// The file to send.
    pub(super) content: &'a Path,
    /// The length of the file.
    pub(super) bytes: u64,
    /// The folder of the run. It does not exist before and after the run.
    pub(super) folder: PathBuf,
    /// Set when the experiment is to end.
    pub(super) stop: &'a AtomicBool,
}

/// A run that was made, without its number, and its samples.
#[derive(Debug)]
pub(super) struct FinishedRun {
    pub(super) run: Run,
    pub(super) samples: Vec<Sample>,
}

impl Transfer<'_> {
    /// Makes a run. A receiver without a copy is part of the result, not an error.
    ///
    /// # Errors
    /// When a program does not start, an origin ends early, or `stop` is set. Nothing of the run is
    /// left then.
    pub(super) fn run(
        &self,
        task: &Task,
        version: Option<&str>,
    ) -> Result<FinishedRun, ProgramError> {
        let context = self.context(task)?;
        let result = self.run_programs(task, &context, version);
        kill_all(&context);
        let result = result.and_then(|(mut finished, receivers)| {
            self.verify(&mut finished.run, &receivers)?;
            Ok(finished)
        });
        let removed = fs::remove_dir_all(&self.folder);
        let finished = result?;
        removed.map_err(|source| ProgramError::File { path: self.folder.clone(), source })?;
        Ok(finished)
    }

    fn run_programs(
        &self,
        task: &Task,
        context: &ProgramContext<'_>,
        version: Option<&str>,
    ) -> Result<(FinishedRun, Vec<TrackedReceiver>), ProgramError> {
        let mut adapter = programs::adapter_of(task.mode);
        adapter.start_origins(context)?;
        let origins = context.processes();
        let receivers: Result<Vec<_>, _> = (0..context.receivers.len())
            .map(|index| adapter.prepare_receiver(context, index).map(TrackedReceiver::new))
            .collect();
        let setting = RunSetting {
            scenario: self.scenario,
            counters: self.counters,
            context,
            task,
            file: self.record_file(task),
        };
        let mut monitor = Monitor::new(setting, receivers?, origins)?;
        monitor.watch(&mut *adapter)?;
        let (mut run, samples, receivers) = monitor.into_result(version);
        for (origin, sent) in run.origins.iter_mut().zip(adapter.payload_sent(context)) {
            origin.payload_up_bytes = sent;
        }
        run.commands = context.command_lines();
        Ok((FinishedRun { run, samples }, receivers))
    }

    fn context(&self, task: &Task) -> Result<ProgramContext<'_>, ProgramError> {
        let host = |name: String| {
            let address = self.lab.address(&name)?;
            let folder = self.folder.join(&name);
            match fs::create_dir_all(&folder) {
                Ok(()) => Ok(TestHost { name, address, folder }),
                Err(source) => Err(ProgramError::File { path: folder, source }),
            }
        };
        let origins = (1..=task.origins).map(|number| host(self.shape.origin(number)));
        let receivers = (1..=task.users).map(|number| host(self.shape.receiver(number)));
        Ok(ProgramContext {
            lab: self.lab,
            sow: self.sow,
            content: self.content,
            piece_length: self.scenario.piece_length,
            work: &self.folder,
            origins: origins.collect::<Result<_, ProgramError>>()?,
            receivers: receivers.collect::<Result<_, ProgramError>>()?,
            limit: task.limit + PROGRAM_LIMIT_MARGIN,
            stop: self.stop,
            started: Mutex::default(),
        })
    }

    /// Compares each copy that is reported complete with the original.
    fn verify(&self, run: &mut Run, receivers: &[TrackedReceiver]) -> Result<(), ProgramError> {
        for (record, receiver) in run.receivers.iter_mut().zip(receivers) {
            if record.finished_seconds.is_none() {
                continue;
            }
            match test_file::have_same_bytes(self.content, receiver.copy()) {
                Ok(same) => record.verified = same,
                Err(error) if error.kind() == io::ErrorKind::NotFound => record.verified = false,
                Err(source) => {
                    return Err(ProgramError::File { path: receiver.copy().to_owned(), source });
                }
            }
            if !record.verified {
                record.error = Some("its copy differs from the original".to_owned());
            }
        }
        Ok(())
    }

    fn record_file(&self, task: &Task) -> record::File {
        record::File { name: self.scenario.files[task.file].name.clone(), bytes: self.bytes }
    }
}

/// Kills every program of a run: all get the signal before the first is waited for.
fn kill_all(context: &ProgramContext<'_>) {
    let processes = context.processes();
    processes.iter().for_each(|process| process.kill_without_wait());
    processes.iter().for_each(|process| Process::kill(process));
}
