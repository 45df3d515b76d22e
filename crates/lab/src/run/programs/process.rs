//! A program that runs on a host: its output with the time of each event, and how it ends. What the
//! output means is decided by its adapter.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    param::clock_ticks_per_second,
    process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid},
};
use serde_json::Value;

/// The limit of a line in bytes, above any event. The rest of a longer line is read as another
/// line.
const MAX_LINE_BYTES: u64 = 64 << 10;
/// The limit of different events that are kept. Programs under test have a handful.
const MAX_EVENT_KINDS: usize = 64;
/// The limit of lines that are kept for errors.
const MAX_LAST_LINES: usize = 12;
/// The limit of characters that are kept of each such line.
const MAX_SHOWN_CHARS: usize = 500;
/// The stack of the threads here, which read lines and wait.
const THREAD_STACK_BYTES: usize = 256 << 10;
/// The time after a program's end in which its last output is still awaited.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that programs get to end after a signal; some send a last announce to a tracker.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that a program gets to disappear after a kill, on a busy machine.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval at which a wait looks for the end of a program.
const END_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A program that was started. It leads a process group, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    pid: Pid,
    /// The child until it was waited for. Until then, the system does not reuse its id and that of
    /// its group.
    child: Mutex<Option<Child>>,
    stdin: Mutex<Option<ChildStdin>>,
    output: Arc<SharedOutput>,
}

/// The output of a process, shared with the threads that read it.
#[derive(Debug, Default)]
struct SharedOutput {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct OutputState {
    /// The first and the latest event of each kind, by the `event` of JSON lines.
    events: BTreeMap<String, [(Instant, Value); 2]>,
    last_lines: VecDeque<String>,
    ended: Option<(Instant, Ending)>,
    /// The number of outputs that are still being read.
    open_outputs: usize,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Whether the exit code was 0.
    pub(crate) success: bool,
    /// The exit code or the signal, in words.
    pub(crate) description: String,
}

impl Process {
    /// Starts a program. `command` leads a process group of its own
    /// ([`crate::network::Lab::command`]).
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(name: String, command: &mut Command) -> io::Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let output = Arc::new(SharedOutput::default());
        lock(&output.state).open_outputs = 2;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pid = Pid::from_child(&child);
        // From here on, the program is killed when a step fails.
        let process = Self {
            name,
            pid,
            child: Mutex::new(Some(child)),
            stdin: Mutex::new(stdin),
            output: Arc::clone(&output),
        };
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            read_on_a_thread(stdout, Arc::clone(&output))?;
            read_on_a_thread(stderr, Arc::clone(&output))?;
        }
        thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(move || {
            let ending = wait_for_end(pid);
            lock(&output.state).ended = Some((Instant::now(), ending));
            output.changed.notify_all();
        })?;
        Ok(process)
    }

    /// Its name in errors, such as `sow get on h2`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The first event of this kind (a line of JSON with this `event`).
    pub(crate) fn first_event(&self, kind: &str) -> Option<Value> {
        lock(&self.output.state).events.get(kind).map(|[(_, first), _]| first.clone())
    }

    /// The time of the first event of this kind.
    pub(crate) fn event_time(&self, kind: &str) -> Option<Instant> {
        lock(&self.output.state).events.get(kind).map(|[(first, _), _]| *first)
    }

    /// The latest event of this kind.
    pub(crate) fn latest_event(&self, kind: &str) -> Option<Value> {
        lock(&self.output.state).events.get(kind).map(|[_, (_, latest)]| latest.clone())
    }

    /// Waits until there is new output, the program has ended, or the timeout is over.
    pub(super) fn wait_for_change(&self, timeout: Duration) {
        let state = lock(&self.output.state);
        let waited = self.output.changed.wait_timeout(state, timeout);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes a line to the program's standard input.
    ///
    /// # Errors
    /// When the program no longer reads its input.
    pub(crate) fn write_line(&self, line: &str) -> io::Result<()> {
        match &mut *lock(&self.stdin) {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// The time of its end. All its output has been read by then.
    pub(crate) fn ended_at(&self) -> Option<Instant> {
        let state = lock(&self.output.state);
        let (ended, _) = state.ended.as_ref()?;
        // A child of the program may keep its outputs open forever.
        (state.open_outputs == 0 || ended.elapsed() > OUTPUT_TIMEOUT).then_some(*ended)
    }

    /// How it ended, if it has.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ended_at()?;
        lock(&self.output.state).ended.as_ref().map(|(_, ending)| ending.clone())
    }

    /// The CPU time so far of the program and of its children that have ended, in seconds; `None`
    /// after it was killed.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero())).ok()?;
        cpu_ticks(&stat).map(|ticks| ticks as f64 / clock_ticks_per_second() as f64)
    }

    /// Its last lines of output, for errors.
    pub(crate) fn last_lines(&self) -> String {
        lock(&self.output.state).last_lines.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Sends programs a signal that asks them to end, and waits for their end or the timeout.
    pub(super) fn end_all(processes: &[Arc<Self>], signal: Signal) {
        processes.iter().for_each(|process| process.send_signal(signal));
        let deadline = Instant::now() + END_TIMEOUT;
        for process in processes {
            while process.ended_at().is_none() && Instant::now() < deadline {
                process.wait_for_change(END_POLL_INTERVAL);
            }
        }
    }

    /// Kills it and its group, and does not wait.
    pub(crate) fn kill_without_wait(&self) {
        self.send_signal(Signal::KILL);
    }

    /// Kills it and its group, and waits for its end.
    pub(crate) fn kill(&self) {
        self.send_signal(Signal::KILL);
        let deadline = Instant::now() + KILL_TIMEOUT;
        while lock(&self.output.state).ended.is_none() && Instant::now() < deadline {
            self.wait_for_change(END_POLL_INTERVAL);
        }
        if lock(&self.output.state).ended.is_some()
            && let Some(mut child) = lock(&self.child).take()
        {
            let _ = child.wait();
        }
    }

    fn send_signal(&self, signal: Signal) {
        if lock(&self.child).is_some() {
            let _ = kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl OutputState {
    fn add_line(&mut self, line: String) {
        let event = serde_json::from_str::<Value>(&line).ok();
        let kind = event.as_ref().and_then(|event| event["event"].as_str()).map(str::to_owned);
        if let (Some(event), Some(kind)) = (event, kind)
            && (self.events.contains_key(&kind) || self.events.len() < MAX_EVENT_KINDS)
        {
            let timed = (Instant::now(), event);
            match self.events.get_mut(&kind) {
                Some([_, latest]) => *latest = timed,
                None => drop(self.events.insert(kind, [timed.clone(), timed])),
            }
        }
        if line.is_empty() {
            return;
        }
        self.last_lines.push_back(line.chars().take(MAX_SHOWN_CHARS).collect());
        if self.last_lines.len() > MAX_LAST_LINES {
            self.last_lines.pop_front();
        }
    }
}

/// Waits until a child ends, and leaves it as a zombie, so that its id is not reused.
fn wait_for_end(pid: Pid) -> Ending {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => return ending_of(&status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Ending { success: false, description: error.to_string() },
        }
    }
}

fn ending_of(status: &WaitIdStatus) -> Ending {
    let description = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "an unknown status".to_owned(),
    };
    Ending { success: status.exit_status() == Some(0), description }
}

fn read_on_a_thread(
    output: impl Read + Send + 'static,
    shared: Arc<SharedOutput>,
) -> io::Result<()> {
    let read = move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        // An error ends the output, as its end does.
        while matches!((&mut output).take(MAX_LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            lock(&shared.state).add_line(text);
            shared.changed.notify_all();
            line.clear();
        }
        lock(&shared.state).open_outputs -= 1;
        shared.changed.notify_all();
    };
    thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(read).map(drop)
}

/// User and system time of a process and of the children that it has waited for, from
/// proc_pid_stat(5). The name may contain any character.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let numbers =
        rest.split_ascii_whitespace().skip(11).take(4).map(|number| number.parse::<u64>().ok());
    numbers.collect::<Option<Vec<_>>>().filter(|four| four.len() == 4).map(|four| four.iter().sum())
}

/// Locks a mutex, poisoned or not: no change under these locks can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    fn start(script: &str) -> Process {
        let mut command = Command::new("sh");
        Process::start("sh on h1".to_owned(), command.args(["-c", script]).process_group(0))
            .unwrap()
    }

    fn wait<T>(process: &Process, ready: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(value) = ready() {
                return value;
            }
            assert!(Instant::now() < deadline, "timeout: {}", process.last_lines());
            process.wait_for_change(END_POLL_INTERVAL);
        }
    }

    #[test]
    fn events_are_distinguished_from_other_lines() {
        let script = r#"echo '{"event":"progress","bytes":1}'; echo words
            echo '{"event":"progress","bytes":2}'; echo bad >&2; exit 7"#;
        let process = start(script);
        let ending = wait(&process, || process.ending());
        assert_eq!(ending, Ending { success: false, description: "exit code 7".to_owned() });
        assert_eq!(process.first_event("progress").unwrap()["bytes"], 1);
        assert_eq!(process.latest_event("progress").unwrap()["bytes"], 2);
        assert_eq!(process.first_event("words"), None);
        let lines = process.last_lines();
        assert!(lines.contains("words") && lines.contains("bad"), "{lines}");
        assert!(process.cpu_seconds().is_some());
    }

    #[test]
    fn only_a_part_of_an_endless_line_is_kept() {
        let script = r#"head -c 300000 /dev/zero | tr '\0' x; echo; printf '{"event":"big","x":"'
            head -c 70000 /dev/zero | tr '\0' x; echo '"}'; echo '{"event":"small"}'"#;
        let process = start(script);
        wait(&process, || process.ended_at());
        let events = (process.first_event("big"), process.first_event("small").is_some());
        assert_eq!(events, (None, true));
        let lines = process.last_lines();
        assert!(
            lines.lines().count() > 5 && lines.lines().all(|line| line.chars().count() <= 500),
            "{lines}"
        );
    }

    #[test]
    fn a_kill_ends_the_whole_group_even_when_its_leader_has_ended() {
        let process = start(r#"sleep 1000 & echo "{\"event\":\"child\",\"pid\":$!}""#);
        let child = wait(&process, || process.first_event("child"));
        // The sleeper keeps the outputs open, so the end is reported after the output timeout.
        wait(&process, || process.ended_at());
        let sleeper = format!("/proc/{}/cmdline", child["pid"]);
        assert!(
            fs::read_to_string(&sleeper).is_ok_and(|line| line.contains("sleep")),
            "the child does not run"
        );
        process.kill();
        wait(&process, || {
            fs::read_to_string(&sleeper).unwrap_or_default().is_empty().then_some(())
        });
        assert_eq!(process.cpu_seconds(), None);
        process.kill();
    }

    #[test]
    fn a_program_reads_its_input_and_ends_on_a_signal() {
        let process = start(r#"read -r go && echo "{\"event\":\"$go\"}" && exec sleep 1000"#);
        process.write_line("went").unwrap();
        wait(&process, || process.first_event("went"));
        process.send_signal(Signal::TERM);
        assert_eq!(wait(&process, || process.ending()).description, "signal 15");
    }

    #[test]
    fn cpu_time_is_read_whatever_the_name_of_the_program() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 3 4 20 0 1 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(37));
        assert_eq!(cpu_ticks("7 (a"), None);
        assert_eq!(cpu_ticks("7 (a) S 1 7"), None);
    }
}
