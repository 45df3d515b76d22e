//! A running program of any kind, for the tests with other programs: waits for lines of its output
//! with a bound. A program never outlives its [`Process`]. Nothing here knows a particular program.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Instant,
};

use serde_json::Value;

use super::wait::{POLL_INTERVAL, TEST_TIMEOUT};

/// The number of lines that are shown when a test fails.
const SHOWN_LINES: usize = 40;

/// A running program, with everything that it has printed.
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
    /// Starts a program. The kernel kills it when the test process ends for any reason.
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

    /// Waits until `find` returns something for the lines so far; fails the test when the program
    /// exits first, or after [`TEST_TIMEOUT`].
    pub(crate) fn wait_for<T>(
        &mut self,
        condition: &str,
        find: impl Fn(&[String]) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let ended = self.child.try_wait().expect("a child can be waited for");
            // The readers still take what is left in the pipes.
            while ended.is_some() && !self.is_read() && Instant::now() < deadline {
                thread::sleep(POLL_INTERVAL);
            }
            let lines = self.printed.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = find(&lines) {
                return found;
            }
            if let Some(status) = ended {
                drop(lines);
                panic!("{} ended ({status}) before {condition}", self.name);
            }
            if Instant::now() > deadline {
                drop(lines);
                panic!("{}: no {condition} after {TEST_TIMEOUT:?}", self.name);
            }
            drop(self.printed.more.wait_timeout(lines, POLL_INTERVAL));
        }
    }

    /// Waits for a line that contains all of these parts.
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

    /// Waits until the program exits; fails the test unless it exits with 0.
    pub(crate) fn wait_success(&mut self) {
        let status = self.wait_exit();
        assert!(status.success(), "{} failed: {status}", self.name);
    }

    /// Waits until the program exits.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for")
                && self.is_read()
            {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} is still running after {TEST_TIMEOUT:?}",
                self.name
            );
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// All lines so far; all lines of the program after [`Process::wait_exit`].
    pub(crate) fn lines(&self) -> Vec<String> {
        self.printed.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops it with SIGSTOP.
    pub(crate) fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Continues it after [`Process::pause`].
    pub(crate) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Interrupts it, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process can be signalled");
    }

    /// Whether everything that it printed has been read.
    fn is_read(&self) -> bool {
        self.readers.iter().all(thread::JoinHandle::is_finished)
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not exited.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Closes its standard input, which makes some programs exit in order, and waits for that.
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
            let tail = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("--- {} printed last:\n{}", self.name, tail.join("\n"));
        }
    }
}

impl Printed {
    /// Collects the lines of a pipe on a thread of its own.
    fn collect(
        self: Arc<Self>,
        pipe: Option<impl Read + Send + 'static>,
    ) -> thread::JoinHandle<()> {
        let pipe = BufReader::new(pipe.expect("the output is piped"));
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

/// Fails the test when a program is not installed.
pub(crate) fn require(program: &str, package: &str) {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).is_file());
    assert!(found, "{program} is missing: apt-get install {package} (./test interop does)");
}
