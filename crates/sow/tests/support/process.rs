//! Running programs: what they print, waiting for it with a bound, and their end. A program never
//! outlives its [`Process`].

#![allow(dead_code, reason = "each group of tests uses its own part of this")]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(50);
const LAST_LINES: usize = 40;

/// A program that runs, with everything that it has printed.
pub(crate) struct Process {
    name: String,
    child: Child,
    printed: Arc<Printed>,
    readers: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Printed {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Process {
    /// Starts a program. The kernel ends it when this test ends, however that comes about.
    pub(crate) fn start(name: &str, command: &[&str]) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("setpriv (package util-linux) for {command:?}: {error}")
            });
        let printed = Arc::<Printed>::default();
        let readers = vec![
            printed.clone().collect(child.stdout.take()),
            printed.clone().collect(child.stderr.take()),
        ];
        Self { name: name.to_owned(), child, printed, readers }
    }

    /// Waits until `find` finds something in the lines so far; fails the test when the program ends
    /// or time is up before.
    pub(crate) fn wait_for<T>(&mut self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait().expect("a child can be waited for");
            // The readers take what is still in the pipes.
            while ended.is_some() && !self.is_read() && Instant::now() < deadline {
                thread::sleep(POLL);
            }
            let lines = self.printed.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = find(&lines) {
                return found;
            }
            if let Some(status) = ended {
                drop(lines);
                panic!("{} ended ({status}) before {what}", self.name);
            }
            if Instant::now() > deadline {
                drop(lines);
                panic!("{}: no {what} after {PATIENCE:?}", self.name);
            }
            drop(self.printed.more.wait_timeout(lines, POLL));
        }
    }

    /// Waits for a line with all of these in it.
    pub(crate) fn wait_line(&mut self, parts: &[&str]) {
        let found = |lines: &[String]| {
            lines.iter().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
        };
        self.wait_for(&format!("line with {parts:?}"), found);
    }

    /// Waits for a JSON line whose `event` is `name`.
    pub(crate) fn wait_event(&mut self, name: &str) -> Value {
        self.wait_for(&format!("event {name:?}"), |lines| events(lines, name).next())
    }

    /// All JSON lines so far whose `event` is `name`.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        events(&self.printed.lines.lock().unwrap_or_else(PoisonError::into_inner), name).collect()
    }

    /// Waits for the program's own end; fails the test unless it exits with 0.
    pub(crate) fn wait_success(&mut self) {
        let status = self.wait_exit();
        assert!(status.success(), "{} failed: {status}", self.name);
    }

    /// Waits for the program's own end.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for")
                && self.is_read()
            {
                return status;
            }
            assert!(Instant::now() < deadline, "{} still runs after {PATIENCE:?}", self.name);
            thread::sleep(POLL);
        }
    }

    /// All lines so far; all there are, once it has been waited for.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.printed.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops it where it is, as if the machine had no time for it.
    pub(crate) fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it can be signalled");
    }

    /// Whether everything that it printed has been read.
    fn is_read(&self) -> bool {
        self.readers.iter().all(thread::JoinHandle::is_finished)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Ends its standard input, which asks some programs to end in order, and waits for that.
    pub(crate) fn finish(&mut self) {
        drop(self.child.stdin.take());
        self.wait_success();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let lines = self.printed.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let tail = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("--- {} printed last:\n{}", self.name, tail.join("\n"));
        }
    }
}

impl Printed {
    /// Collects lines from a pipe on a thread of its own, until its end.
    fn collect(
        self: Arc<Self>,
        pipe: Option<impl Read + Send + 'static>,
    ) -> thread::JoinHandle<()> {
        let pipe = BufReader::new(pipe.expect("the pipe was asked for"));
        thread::spawn(move || {
            for line in pipe.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                self.more.notify_all();
            }
        })
    }
}

fn events<'a>(lines: &'a [String], name: &'a str) -> impl Iterator<Item = Value> + 'a {
    lines
        .iter()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(move |value| value["event"] == name)
}

/// Waits until `done` says so; fails the test with `what` when it does not in time.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not after {PATIENCE:?}");
        thread::sleep(POLL);
    }
}

/// Fails the test when a program is not installed.
pub(crate) fn require(program: &str, package: &str) {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).is_file());
    assert!(found, "{program} is missing: apt-get install {package} (./test interop does)");
}
