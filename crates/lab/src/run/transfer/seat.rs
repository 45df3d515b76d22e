//! What becomes of one receiver in a run.

use std::{collections::BTreeMap, path::Path, time::Instant};

use super::super::programs::{ProgramError, Receiver, Stage};
use crate::record;

/// A receiver: its program, which may be another one after a kill, and what is known of it. Times are seconds since the run began.
pub(super) struct Seat {
    program: Box<dyn Receiver>,
    state: State,
    started: Option<f64>,
    finished: Option<f64>,
    left: Option<f64>,
    error: Option<String>,
    from: BTreeMap<String, u64>,
    cpu_seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Prepared, or killed and about to come back.
    Waiting,
    /// Under way, or complete and serving others.
    Running,
    /// It has ended, or was ended, and does not come back.
    Over,
}

impl Seat {
    /// A receiver that has not joined yet.
    pub(super) fn new(program: Box<dyn Receiver>) -> Self {
        Self {
            program,
            state: State::Waiting,
            started: None,
            finished: None,
            left: None,
            error: None,
            from: BTreeMap::new(),
            cpu_seconds: 0.0,
        }
    }

    /// Lets it join, for the first time or again.
    ///
    /// # Errors
    /// When its program is not there any more.
    pub(super) fn join(&mut self, began: Instant) -> Result<(), ProgramError> {
        self.started.get_or_insert_with(|| began.elapsed().as_secs_f64());
        self.state = State::Running;
        self.program.go()
    }

    /// Kills it. It comes back with another program, or not.
    pub(super) fn kill(&mut self, comes_back: bool) {
        self.look_at_cpu();
        self.program.process().kill();
        self.state = if comes_back { State::Waiting } else { State::Over };
    }

    /// The program with which it comes back.
    pub(super) fn replace(&mut self, program: Box<dyn Receiver>) {
        self.program = program;
    }

    /// The experiment takes it away for good.
    pub(super) fn leave(&mut self, seconds: f64) {
        self.kill(false);
        self.left = Some(seconds);
    }

    /// Looks what it has said, and whether it has ended.
    pub(super) fn look(&mut self, began: Instant, stage: &Stage<'_>) {
        if self.state != State::Running {
            return;
        }
        // In this order: what it says last comes before it ends.
        let ended = self.program.process().ended().is_some();
        if self.finished.is_none()
            && let Some(at) = self.program.completed()
        {
            self.finished = Some(at.saturating_duration_since(began).as_secs_f64());
            self.from = self.sources(stage);
        }
        if ended {
            self.look_at_cpu();
            self.state = State::Over;
            if self.finished.is_none() {
                self.error = Some(said_in_the_end(&*self.program));
            }
        }
    }

    /// Whether nothing more is to be expected of it: complete, or gone.
    pub(super) fn is_settled(&self) -> bool {
        self.finished.is_some() || self.state == State::Over
    }

    /// That its time is over.
    pub(super) fn give_up(&mut self, seconds: f64) {
        if !self.is_settled() {
            self.error = Some(format!("not complete after {seconds:.0} s"));
        }
    }

    /// Where its copy should be.
    pub(super) fn copy(&self) -> &Path {
        self.program.copy()
    }

    /// What is recorded of it, except what its interface counted, and whether its copy is right.
    pub(super) fn record(&mut self, host: &str) -> record::Receiver {
        if self.state == State::Running {
            self.look_at_cpu();
        }
        record::Receiver {
            host: host.to_owned(),
            // One that never joined cannot have finished.
            started_seconds: self.started.unwrap_or_default(),
            finished_seconds: self.finished,
            verified: false,
            left_seconds: self.left,
            from_bytes: std::mem::take(&mut self.from),
            wire_up_bytes: None,
            wire_down_bytes: None,
            cpu_seconds: (self.cpu_seconds > 0.0).then_some(self.cpu_seconds),
            error: self.error.take(),
        }
    }

    fn look_at_cpu(&mut self) {
        self.cpu_seconds += self.program.process().cpu_seconds().unwrap_or_default();
    }

    /// Who gave it how much, by host. Addresses that are nobody's here are left out.
    fn sources(&self, stage: &Stage<'_>) -> BTreeMap<String, u64> {
        let mut sources = BTreeMap::new();
        for (address, bytes) in self.program.from().into_iter().filter(|(_, bytes)| *bytes > 0) {
            if let Some(host) = stage.host_of(&address) {
                *sources.entry(host.to_owned()).or_default() += bytes;
            }
        }
        sources
    }
}

fn said_in_the_end(program: &dyn Receiver) -> String {
    let process = program.process();
    let how = process.ending().map(|ending| ending.how).unwrap_or_default();
    let said = process.last_lines();
    let last = said.lines().last().unwrap_or_default();
    format!("{} ended with {how}: {last}", process.name())
}
