//! One run: origins are made ready, receivers join, the experiment does to them what the scenario
//! says, copies are compared. How a program does its part is its adapter's; where the run's files
//! are is the caller's.

mod seat;
mod watch;

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Duration,
};

use self::{seat::Seat, watch::Watch};
use super::{
    content,
    plan::Task,
    programs::{self, Place, Process, ProgramError, Stage},
};
use crate::{
    network::{CounterReader, Lab},
    record::{self, Run, Sample},
    scenario::{Scenario, Shape},
};

/// Where a run takes place.
pub(super) struct Site<'a> {
    /// The scenario.
    pub(super) scenario: &'a Scenario,
    /// The network.
    pub(super) lab: &'a Lab,
    /// Its counters.
    pub(super) counters: &'a CounterReader,
    /// The hosts of the largest run.
    pub(super) shape: Shape,
    /// The path of `sow`.
    pub(super) sow: &'a Path,
    /// The file that is sent.
    pub(super) content: &'a Path,
    /// Its length.
    pub(super) bytes: u64,
    /// A folder that is not there, and will not be afterwards.
    pub(super) folder: PathBuf,
    /// Set when the experiment is to end.
    pub(super) stop: &'a AtomicBool,
}

/// A run that was made, without its number, and its samples.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) run: Run,
    pub(super) samples: Vec<Sample>,
}

impl Site<'_> {
    /// Makes a run. A receiver that does not get its copy is part of what comes out.
    ///
    /// # Errors
    /// When a program does not begin, an origin ends early, or it was asked to stop. Nothing of the
    /// run is left then.
    pub(super) fn run(&self, task: &Task, version: Option<&str>) -> Result<Made, ProgramError> {
        let mut stage = self.stage(task)?;
        let made = self.on_stage(task, &mut stage, version);
        end(&stage);
        let made = made.and_then(|(mut made, seats)| {
            self.verify(&mut made.run, &seats)?;
            Ok(made)
        });
        let cleared = fs::remove_dir_all(&self.folder);
        let made = made?;
        cleared.map_err(|source| ProgramError::File { path: self.folder.clone(), source })?;
        Ok(made)
    }

    fn on_stage(
        &self,
        task: &Task,
        stage: &mut Stage<'_>,
        version: Option<&str>,
    ) -> Result<(Made, Vec<Seat>), ProgramError> {
        let mut program = programs::of(task.mode);
        program.start_origins(stage)?;
        let origins = stage.processes();
        let seats: Result<Vec<Seat>, _> = (0..stage.receivers.len())
            .map(|index| program.prepare_receiver(stage, index).map(Seat::new))
            .collect();
        let mut watch = Watch::new(self, stage, task, seats?, origins)?;
        watch.follow(&mut *program)?;
        let (mut run, samples, seats) = watch.result(version)?;
        for (origin, sent) in run.origins.iter_mut().zip(program.payload_sent(stage)) {
            origin.payload_up_bytes = sent;
        }
        run.commands = stage.command_lines();
        Ok((Made { run, samples }, seats))
    }

    fn stage(&self, task: &Task) -> Result<Stage<'_>, ProgramError> {
        let made = |path: PathBuf| match fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(ProgramError::File { path, source }),
        };
        let place = |host: String| {
            let address: Ipv4Addr = self.lab.address(&host)?;
            Ok(Place { address, folder: made(self.folder.join(&host))?, host })
        };
        let origins = (1..=task.origins).map(|number| place(self.shape.origin(number)));
        let receivers = (1..=task.users).map(|number| place(self.shape.receiver(number)));
        Ok(Stage {
            lab: self.lab,
            sow: self.sow,
            content: self.content,
            piece_length: self.scenario.piece_length,
            work: &self.folder,
            origins: origins.collect::<Result<_, ProgramError>>()?,
            receivers: receivers.collect::<Result<_, ProgramError>>()?,
            limit: task.limit + Duration::from_secs(60),
            stop: self.stop,
            cast: std::sync::Mutex::default(),
        })
    }

    /// Compares each copy that is said to be complete with the original.
    fn verify(&self, run: &mut Run, seats: &[Seat]) -> Result<(), ProgramError> {
        for (receiver, seat) in run.receivers.iter_mut().zip(seats) {
            if receiver.finished_seconds.is_none() {
                continue;
            }
            match content::is_same(self.content, seat.copy()) {
                Ok(same) => receiver.verified = same,
                Err(error) if error.kind() == io::ErrorKind::NotFound => receiver.verified = false,
                Err(source) => {
                    return Err(ProgramError::File { path: seat.copy().to_owned(), source });
                }
            }
            if !receiver.verified {
                receiver.error = Some("its copy is not what was sent".to_owned());
            }
        }
        Ok(())
    }

    /// What is sent.
    fn file(&self, task: &Task) -> record::File {
        record::File { name: self.scenario.files[task.file].name.clone(), bytes: self.bytes }
    }
}

/// Ends every program of a run: all are told before one is waited for.
fn end(stage: &Stage<'_>) {
    let processes = stage.processes();
    processes.iter().for_each(|process| process.kill_soon());
    processes.iter().for_each(|process| Process::kill(process));
}
