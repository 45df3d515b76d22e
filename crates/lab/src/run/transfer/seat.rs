//! What becomes of one receiver in a run.

use std::{collections::BTreeMap, path::Path, time::Instant};

use super::super::programs::{ProgramError, Receiver};
use crate::record;

/// A receiver: its program, which may be another one after a kill, and what is known of it. Times
/// are seconds since the run began.
pub(super) struct Seat {
    program: Box<dyn Receiver>,
    state: State,
    started: Option<f64>,
    finished: Option<f64>,
    left: Option<f64>,
    error: Option<String>,
    /// By address.
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
    pub(super) fn look(&mut self, began: Instant) {
        if self.state != State::Running {
            return;
        }
        // In this order: what it says last comes before it ends.
        let ended = self.program.process().ended().is_some();
        if self.finished.is_none()
            && let Some(at) = self.program.completed()
        {
            self.finished = Some(at.saturating_duration_since(began).as_secs_f64());
            self.from = self.program.from();
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
    /// `host_of` names the host of an address.
    pub(super) fn record<'a>(
        &mut self,
        host: &str,
        host_of: impl Fn(&str) -> Option<&'a str>,
    ) -> record::Receiver {
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
            from_bytes: self.sources(host_of),
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
    fn sources<'a>(&self, host_of: impl Fn(&str) -> Option<&'a str>) -> BTreeMap<String, u64> {
        let mut sources = BTreeMap::new();
        for (address, bytes) in self.from.iter().filter(|(_, bytes)| **bytes > 0) {
            if let Some(host) = host_of(address) {
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

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _, process::Command, sync::Arc, thread, time::Duration,
    };

    use super::*;
    use crate::run::programs::Process;

    /// Waits for `go`, and then does what the script says.
    struct Scripted(Arc<Process>);

    impl Receiver for Scripted {
        fn go(&mut self) -> Result<(), ProgramError> {
            self.0.say("go").map_err(|source| ProgramError::File { path: "sh".into(), source })
        }

        fn process(&self) -> &Arc<Process> {
            &self.0
        }

        fn copy(&self) -> &Path {
            Path::new("copy")
        }

        fn completed(&self) -> Option<Instant> {
            self.0.event_time("complete")
        }

        fn from(&self) -> BTreeMap<String, u64> {
            [("10.0.0.1:1", 5), ("10.0.0.1:2", 2), ("10.0.0.9:1", 7), ("10.0.0.2:1", 0)]
                .map(|(address, bytes)| (address.to_owned(), bytes))
                .into()
        }
    }

    const COMPLETE: &str = r#"echo '{"event":"complete"}'"#;

    fn program(script: &str) -> Box<dyn Receiver> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("read -r go; {script}")]).process_group(0);
        Box::new(Scripted(Arc::new(Process::start("sh on h2".to_owned(), &mut command).unwrap())))
    }

    fn settle(seat: &mut Seat, began: Instant) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !seat.is_settled() {
            assert!(Instant::now() < patience, "nothing comes of it");
            seat.look(began);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn record(seat: &mut Seat) -> record::Receiver {
        seat.record("h2", |address| address.starts_with("10.0.0.1:").then_some("h1"))
    }

    #[test]
    fn one_that_is_complete_serves_on() {
        let began = Instant::now();
        let mut seat = Seat::new(program(&format!("{COMPLETE}; sleep 1000")));
        seat.look(began);
        assert!(!seat.is_settled(), "it has not joined");
        seat.join(began).unwrap();
        settle(&mut seat, began);
        seat.give_up(9.0);
        let record = record(&mut seat);
        assert!(record.finished_seconds >= Some(record.started_seconds), "{record:?}");
        assert_eq!((record.error, record.left_seconds), (None, None));
        assert_eq!(record.from_bytes, BTreeMap::from([("h1".to_owned(), 7)]));
    }

    #[test]
    fn one_that_is_killed_goes_on_with_its_next_program() {
        let began = Instant::now();
        let mut seat = Seat::new(program("sleep 1000"));
        seat.join(began).unwrap();
        seat.kill(true);
        seat.replace(program(COMPLETE));
        seat.look(began);
        assert!(!seat.is_settled(), "it is to come back");
        let away = began.elapsed().as_secs_f64();
        seat.join(began).unwrap();
        settle(&mut seat, began);
        let record = record(&mut seat);
        assert!(
            record.started_seconds < away && record.finished_seconds > Some(away),
            "{record:?}"
        );
        assert_eq!(record.error, None);
    }

    #[test]
    fn one_that_leaves_is_not_waited_for() {
        let began = Instant::now();
        let mut seat = Seat::new(program("sleep 1000"));
        seat.join(began).unwrap();
        seat.leave(1.5);
        assert!(seat.is_settled());
        let record = record(&mut seat);
        assert_eq!(
            (record.left_seconds, record.finished_seconds, record.error),
            (Some(1.5), None, None)
        );
    }

    #[test]
    fn one_that_fails_says_why() {
        let began = Instant::now();
        let mut seat = Seat::new(program("echo no room >&2; exit 5"));
        seat.join(began).unwrap();
        settle(&mut seat, began);
        assert_eq!(record(&mut seat).error.unwrap(), "sh on h2 ended with exit code 5: no room");
        let mut slow = Seat::new(program("sleep 1000"));
        slow.join(began).unwrap();
        slow.give_up(90.4);
        assert_eq!(record(&mut slow).error.unwrap(), "not complete after 90 s");
    }
}
