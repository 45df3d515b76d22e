//! A program that runs on a host: what it says and when, how it ends. What its words mean is its
//! adapter's.

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

/// Bytes of a line that are read, more than any event has; the rest of a longer one is a line of
/// its own.
const LINE: u64 = 64 << 10;
/// Names of events that are kept apart. Programs under test have a handful.
const KINDS: usize = 64;
/// Lines that are kept to be shown when something fails …
const LAST_LINES: usize = 12;
/// … and characters of each.
const LINE_SHOWN: usize = 500;
/// Threads here read lines and wait.
const STACK: usize = 256 << 10;
/// How long what it said last may take to be heard when it has ended.
const HEARING: Duration = Duration::from_secs(1);
/// How long programs may take to end when they are asked to: some take leave of a tracker.
const ENDING: Duration = Duration::from_secs(5);
/// How long a program may take to vanish when it is killed. A kill cannot be refused; a busy
/// machine can be slow.
const VANISHING: Duration = Duration::from_secs(10);

/// A program that was started: the leader of a process group, killed with all of it when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    pid: Pid,
    /// Until it was asked how it ended: so long, its id and that of its group are nobody else's.
    child: Mutex<Option<Child>>,
    stdin: Mutex<Option<ChildStdin>>,
    heard: Arc<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By the `event` of JSON lines: the first and the latest.
    events: BTreeMap<String, [(Instant, Value); 2]>,
    last: VecDeque<String>,
    ended: Option<(Instant, Ending)>,
    /// Outputs that are still being read.
    reading: usize,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// With exit code 0.
    pub(crate) well: bool,
    /// In words.
    pub(crate) how: String,
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
        let heard = Arc::new(Heard::default());
        lock(&heard.state).reading = 2;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pid = Pid::from_child(&child);
        // From here on it is killed when something fails.
        let process = Self {
            name,
            pid,
            child: Mutex::new(Some(child)),
            stdin: Mutex::new(stdin),
            heard: Arc::clone(&heard),
        };
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            read_on_a_thread(stdout, Arc::clone(&heard))?;
            read_on_a_thread(stderr, Arc::clone(&heard))?;
        }
        thread::Builder::new().stack_size(STACK).spawn(move || {
            let ending = wait_for_the_end(pid);
            lock(&heard.state).ended = Some((Instant::now(), ending));
            heard.changed.notify_all();
        })?;
        Ok(process)
    }

    /// What it is called in complaints, such as `sow get on h2`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// When it first said this event (a line of JSON with this `event`), and what exactly.
    pub(crate) fn event(&self, event: &str) -> Option<(Instant, Value)> {
        lock(&self.heard.state).events.get(event).map(|[first, _]| first.clone())
    }

    /// When it first said this event.
    pub(crate) fn event_time(&self, event: &str) -> Option<Instant> {
        lock(&self.heard.state).events.get(event).map(|[(first, _), _]| *first)
    }

    /// What it said last of this event.
    pub(crate) fn latest(&self, event: &str) -> Option<Value> {
        lock(&self.heard.state).events.get(event).map(|[_, (_, latest)]| latest.clone())
    }

    /// Waits until it has said something, has ended, or this long.
    pub(super) fn wait_for_news(&self, patience: Duration) {
        let state = lock(&self.heard.state);
        drop(
            self.heard
                .changed
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Gives it a line on its standard input.
    ///
    /// # Errors
    /// When it does not listen any more.
    pub(crate) fn say(&self, line: &str) -> io::Result<()> {
        match &mut *lock(&self.stdin) {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// When it ended; what it said before has been heard by then.
    pub(crate) fn ended(&self) -> Option<Instant> {
        let state = lock(&self.heard.state);
        let (ended, _) = state.ended.as_ref()?;
        // Its outputs may be in other hands, which may never close them.
        (state.reading == 0 || ended.elapsed() > HEARING).then_some(*ended)
    }

    /// How it ended, if it has.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ended()?;
        lock(&self.heard.state).ended.as_ref().map(|(_, ending)| ending.clone())
    }

    /// CPU time so far of the program and of its children that have ended, in seconds; `None` once
    /// it was killed.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero())).ok()?;
        cpu_ticks(&stat).map(|ticks| ticks as f64 / clock_ticks_per_second() as f64)
    }

    /// Its last lines, for complaints.
    pub(crate) fn last_lines(&self) -> String {
        lock(&self.heard.state).last.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Asks programs to end, and waits until they have, or had time to.
    pub(super) fn end_in_order(processes: &[Arc<Self>], signal: Signal) {
        processes.iter().for_each(|process| process.signal(signal));
        let patience = Instant::now() + ENDING;
        for process in processes {
            while process.ended().is_none() && Instant::now() < patience {
                process.wait_for_news(Duration::from_millis(100));
            }
        }
    }

    /// Ends it and its group at once, and does not wait.
    pub(crate) fn kill_soon(&self) {
        self.signal(Signal::KILL);
    }

    /// Ends it and its group at once, and waits until it is gone.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
        let patience = Instant::now() + VANISHING;
        while lock(&self.heard.state).ended.is_none() && Instant::now() < patience {
            self.wait_for_news(Duration::from_millis(100));
        }
        if lock(&self.heard.state).ended.is_some()
            && let Some(mut child) = lock(&self.child).take()
        {
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: Signal) {
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

impl State {
    fn hear(&mut self, line: String) {
        let event = serde_json::from_str::<Value>(&line).ok();
        let name = event.as_ref().and_then(|event| event["event"].as_str()).map(str::to_owned);
        if let (Some(event), Some(name)) = (event, name)
            && (self.events.contains_key(&name) || self.events.len() < KINDS)
        {
            let now = (Instant::now(), event);
            match self.events.get_mut(&name) {
                Some([_, latest]) => *latest = now,
                None => drop(self.events.insert(name, [now.clone(), now])),
            }
        }
        self.last.push_back(line.chars().take(LINE_SHOWN).collect());
        if self.last.len() > LAST_LINES {
            self.last.pop_front();
        }
    }
}

/// Waits until a child ends, and leaves it there to be asked how.
fn wait_for_the_end(pid: Pid) -> Ending {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => return ending(&status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Ending { well: false, how: error.to_string() },
        }
    }
}

fn ending(status: &WaitIdStatus) -> Ending {
    let how = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "nobody knows how".to_owned(),
    };
    Ending { well: status.exit_status() == Some(0), how }
}

fn read_on_a_thread(output: impl Read + Send + 'static, heard: Arc<Heard>) -> io::Result<()> {
    let read = move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        // An error is its end, too.
        while matches!((&mut output).take(LINE).read_until(b'\n', &mut line), Ok(1..)) {
            lock(&heard.state).hear(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            heard.changed.notify_all();
            line.clear();
        }
        lock(&heard.state).reading -= 1;
        heard.changed.notify_all();
    };
    thread::Builder::new().stack_size(STACK).spawn(read).map(drop)
}

/// User and system time of a process and of its children that it has waited for, from
/// proc_pid_stat(5). The name may contain anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let numbers =
        rest.split_ascii_whitespace().skip(11).take(4).map(|number| number.parse::<u64>().ok());
    numbers.collect::<Option<Vec<_>>>().filter(|four| four.len() == 4).map(|four| four.iter().sum())
}

/// What was being done while it was held is not half done: another thread's panic is no reason to
/// stop.
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
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(answer) = ready() {
                return answer;
            }
            assert!(Instant::now() < patience, "it does not come: {}", process.last_lines());
            process.wait_for_news(Duration::from_millis(100));
        }
    }

    #[test]
    fn events_are_heard_and_told_apart_from_other_lines() {
        let script = r#"echo '{"event":"progress","bytes":1}'; echo words; echo '{"event":"progress","bytes":2}'; echo bad >&2; exit 7"#;
        let process = start(script);
        let ending = wait(&process, || process.ending());
        assert_eq!(ending, Ending { well: false, how: "exit code 7".to_owned() });
        assert_eq!(process.event("progress").unwrap().1["bytes"], 1);
        assert_eq!(process.latest("progress").unwrap()["bytes"], 2);
        assert_eq!(process.event("words"), None);
        let said = process.last_lines();
        assert!(said.contains("words") && said.contains("bad"), "{said}");
        assert!(process.cpu_seconds().is_some());
    }

    #[test]
    fn of_endless_lines_little_is_kept() {
        let script = r#"head -c 300000 /dev/zero | tr '\0' x; echo; printf '{"event":"big","x":"'
            head -c 70000 /dev/zero | tr '\0' x; echo '"}'; echo '{"event":"small"}'"#;
        let process = start(script);
        wait(&process, || process.ended());
        assert_eq!((process.event("big"), process.event("small").is_some()), (None, true));
        let said = process.last_lines();
        assert!(
            said.lines().count() > 5 && said.lines().all(|line| line.chars().count() <= 500),
            "{said}"
        );
    }

    #[test]
    fn a_kill_ends_the_whole_group_even_when_its_leader_has_ended() {
        let process = start(r#"sleep 1000 & echo "{\"event\":\"child\",\"pid\":$!}""#);
        let (_, child) = wait(&process, || process.event("child"));
        // The sleeper holds the outputs, so the end is known by patience.
        wait(&process, || process.ended());
        let sleeper = format!("/proc/{}/cmdline", child["pid"]);
        assert!(
            fs::read_to_string(&sleeper).is_ok_and(|line| line.contains("sleep")),
            "it does not run"
        );
        process.kill();
        wait(&process, || {
            fs::read_to_string(&sleeper).unwrap_or_default().is_empty().then_some(())
        });
        assert_eq!(process.cpu_seconds(), None);
        process.kill();
    }

    #[test]
    fn it_listens_and_ends_when_told_to() {
        let process = start(r#"read -r go && echo "{\"event\":\"$go\"}" && exec sleep 1000"#);
        process.say("went").unwrap();
        wait(&process, || process.event("went"));
        process.signal(Signal::TERM);
        assert_eq!(wait(&process, || process.ending()).how, "signal 15");
    }

    #[test]
    fn cpu_time_is_read_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 3 4 20 0 1 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(37));
        assert_eq!(cpu_ticks("7 (a"), None);
        assert_eq!(cpu_ticks("7 (a) S 1 7"), None);
    }
}
