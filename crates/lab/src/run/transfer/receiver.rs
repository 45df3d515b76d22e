//! The state of one receiver in a run, from its preparation to its record. When receivers join,
//! leave or come back is decided by `monitor`.

use std::{collections::BTreeMap, path::Path, time::Instant};

use super::super::programs::{ProgramError, ReceiverProgram};
use crate::record;

/// A receiver and its program, which is replaced after a kill. Times are seconds since the start of
/// the run.
pub(super) struct TrackedReceiver {
    program: ReceiverProgram,
    state: State,
    started: Option<f64>,
    finished: Option<f64>,
    left: Option<f64>,
    error: Option<String>,
    bytes_by_source: BTreeMap<String, u64>,
    cpu_seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Prepared, or killed and due to come back.
    Waiting,
    /// Downloading, or complete and seeding.
    Running,
    /// Ended for good.
    Ended,
}

impl TrackedReceiver {
    /// A receiver that has not joined yet.
    pub(super) fn new(program: ReceiverProgram) -> Self {
        Self {
            program,
            state: State::Waiting,
            started: None,
            finished: None,
            left: None,
            error: None,
            bytes_by_source: BTreeMap::new(),
            cpu_seconds: 0.0,
        }
    }

    /// Lets it join, for the first time or again.
    ///
    /// # Errors
    /// When its program has already ended.
    pub(super) fn join(&mut self, run_start: Instant) -> Result<(), ProgramError> {
        self.started.get_or_insert_with(|| run_start.elapsed().as_secs_f64());
        self.state = State::Running;
        self.program.release()
    }

    /// Kills its program. `comes_back` says whether a [replacement](Self::replace) follows.
    pub(super) fn kill(&mut self, comes_back: bool) {
        self.add_cpu_time();
        self.program.process().kill();
        self.state = if comes_back { State::Waiting } else { State::Ended };
    }

    /// Sets the program with which it comes back.
    pub(super) fn replace(&mut self, program: ReceiverProgram) {
        self.program = program;
    }

    /// Kills its program for good, as the scenario wants it.
    pub(super) fn leave(&mut self, seconds: f64) {
        self.kill(false);
        self.left = Some(seconds);
    }

    /// Updates the state from the output and the end of its program.
    pub(super) fn update(&mut self, run_start: Instant) {
        if self.state != State::Running {
            return;
        }
        // The end is read first: once it is known, all output has been read, too.
        let has_ended = self.program.process().ended_at().is_some();
        if self.finished.is_none()
            && let Some(at) = self.program.completed_at()
        {
            self.finished = Some(at.saturating_duration_since(run_start).as_secs_f64());
            self.bytes_by_source = self.program.bytes_by_source();
        }
        if has_ended {
            self.add_cpu_time();
            self.state = State::Ended;
            if self.finished.is_none() {
                self.error = Some(end_message(&self.program));
            }
        }
    }

    /// Whether its result is final: it is complete, or it has ended for good.
    pub(super) fn is_settled(&self) -> bool {
        self.finished.is_some() || self.state == State::Ended
    }

    /// Records that the limit of the run is over.
    pub(super) fn time_out(&mut self, seconds: f64) {
        if !self.is_settled() {
            self.error = Some(format!("not complete after {seconds:.0} s"));
        }
    }

    /// The path of its copy.
    pub(super) fn copy(&self) -> &Path {
        self.program.copy()
    }

    /// Its record, without the counters of its interface and the comparison of its copy. `host_of`
    /// maps an address to the name of a host.
    pub(super) fn record<'a>(
        &mut self,
        host: &str,
        host_of: impl Fn(&str) -> Option<&'a str>,
    ) -> record::Receiver {
        if self.state == State::Running {
            self.add_cpu_time();
        }
        record::Receiver {
            host: host.to_owned(),
            // A receiver that never joined has not finished either.
            started_seconds: self.started.unwrap_or_default(),
            finished_seconds: self.finished,
            verified: false,
            left_seconds: self.left,
            from_bytes: self.bytes_by_host(host_of),
            wire_up_bytes: None,
            wire_down_bytes: None,
            cpu_seconds: (self.cpu_seconds > 0.0).then_some(self.cpu_seconds),
            error: self.error.take(),
        }
    }

    fn add_cpu_time(&mut self) {
        self.cpu_seconds += self.program.process().cpu_seconds().unwrap_or_default();
    }

    /// The bytes that it received from each host. Addresses of no host of the run are left out.
    fn bytes_by_host<'a>(
        &self,
        host_of: impl Fn(&str) -> Option<&'a str>,
    ) -> BTreeMap<String, u64> {
        let mut hosts = BTreeMap::new();
        for (address, bytes) in self.bytes_by_source.iter().filter(|(_, bytes)| **bytes > 0) {
            if let Some(host) = host_of(address) {
                *hosts.entry(host.to_owned()).or_default() += bytes;
            }
        }
        hosts
    }
}

/// How a program ended, with its last line of output.
fn end_message(program: &ReceiverProgram) -> String {
    let process = program.process();
    let how = process.ending().map(|ending| ending.description).unwrap_or_default();
    let lines = process.last_lines();
    let last = lines.lines().last().unwrap_or_default();
    format!("{} ended with {how}: {last}", process.name())
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _, process::Command, sync::Arc, thread, time::Duration,
    };

    use super::*;
    use crate::run::programs::Process;

    const COMPLETE: &str = r#"echo '{"event":"complete","from":{
        "10.0.0.1:1":5,"10.0.0.1:2":2,"10.0.0.9:1":7,"10.0.0.2:1":0}}' | tr -d '\n'; echo"#;

    /// A program that waits for its release and then runs a script.
    fn program(script: &str) -> ReceiverProgram {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("read -r go; {script}")]).process_group(0);
        let process = Process::start("sh on h2".to_owned(), &mut command).unwrap();
        ReceiverProgram::with_event(Arc::new(process), "copy".into())
    }

    fn wait_until_settled(receiver: &mut TrackedReceiver, run_start: Instant) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !receiver.is_settled() {
            assert!(Instant::now() < deadline, "it neither completes nor ends");
            receiver.update(run_start);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn record(receiver: &mut TrackedReceiver) -> record::Receiver {
        receiver.record("h2", |address| address.starts_with("10.0.0.1:").then_some("h1"))
    }

    #[test]
    fn a_complete_receiver_keeps_running() {
        let run_start = Instant::now();
        let mut receiver = TrackedReceiver::new(program(&format!("{COMPLETE}; sleep 1000")));
        receiver.update(run_start);
        assert!(!receiver.is_settled(), "it has not joined");
        receiver.join(run_start).unwrap();
        wait_until_settled(&mut receiver, run_start);
        receiver.time_out(9.0);
        let record = record(&mut receiver);
        assert!(record.finished_seconds >= Some(record.started_seconds), "{record:?}");
        assert_eq!((record.error, record.left_seconds), (None, None));
        assert_eq!(record.from_bytes, BTreeMap::from([("h1".to_owned(), 7)]));
    }

    #[test]
    fn a_killed_receiver_continues_with_its_next_program() {
        let run_start = Instant::now();
        let mut receiver = TrackedReceiver::new(program("sleep 1000"));
        receiver.join(run_start).unwrap();
        receiver.kill(true);
        receiver.replace(program(COMPLETE));
        receiver.update(run_start);
        assert!(!receiver.is_settled(), "it is due to come back");
        let away = run_start.elapsed().as_secs_f64();
        receiver.join(run_start).unwrap();
        wait_until_settled(&mut receiver, run_start);
        let record = record(&mut receiver);
        assert!(
            record.started_seconds < away && record.finished_seconds > Some(away),
            "{record:?}"
        );
        assert_eq!(record.error, None);
    }

    #[test]
    fn a_receiver_that_leaves_is_not_waited_for() {
        let run_start = Instant::now();
        let mut receiver = TrackedReceiver::new(program("sleep 1000"));
        receiver.join(run_start).unwrap();
        receiver.leave(1.5);
        assert!(receiver.is_settled());
        let record = record(&mut receiver);
        assert_eq!(
            (record.left_seconds, record.finished_seconds, record.error),
            (Some(1.5), None, None)
        );
    }

    #[test]
    fn a_receiver_that_fails_reports_the_cause() {
        let run_start = Instant::now();
        let mut receiver = TrackedReceiver::new(program("echo no room >&2; exit 5"));
        receiver.join(run_start).unwrap();
        wait_until_settled(&mut receiver, run_start);
        let error = record(&mut receiver).error.unwrap();
        assert_eq!(error, "sh on h2 ended with exit code 5: no room");
        let mut slow = TrackedReceiver::new(program("sleep 1000"));
        slow.join(run_start).unwrap();
        slow.time_out(90.4);
        assert_eq!(record(&mut slow).error.unwrap(), "not complete after 90 s");
    }
}
