//! What the tests of the command line share: running `sow` with a bound on every wait, and content
//! to send.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of this")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// `sow` with these arguments and nothing of this environment that would change it.
pub fn sow<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("sow"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SOW_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").args(args).stdin(Stdio::null());
    command
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit code; dying of a signal has none.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Fails the test, showing everything, unless the run ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless all of `words` are in the error text.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in:\n{}", self.stderr);
        }
        self
    }
}

/// Runs `sow` to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ended {
    Running::start(&mut sow(args)).wait()
}

/// The `complete` event of a run with `--json`.
pub fn complete_of(stdout: &str) -> serde_json::Value {
    stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("every line is JSON"))
        .find(|event| event["event"] == "complete")
        .expect("it says that it is complete")
}

/// A `sow` that is running. It is killed when this is dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    stdout: Vec<String>,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Running {
    /// Starts a command with its outputs captured.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let stderr = Some(thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        }));
        Self { child, lines, stdout: Vec::new(), stderr }
    }

    /// The next line of standard output.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.line_within(PATIENCE).unwrap_or_else(|| {
            self.kill();
            let stderr = self.stderr.take().map(|thread| thread.join().unwrap_or_default());
            panic!("no line on standard output; standard error: {}", stderr.unwrap_or_default())
        })
    }

    /// The next line of standard output, if one comes in time.
    pub fn line_within(&mut self, patience: Duration) -> Option<String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                self.stdout.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// The next JSON event that `wanted` accepts; the others are passed over.
    #[track_caller]
    pub fn event(&mut self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let line = self.line();
            let event: serde_json::Value = serde_json::from_str(&line).expect("every line is JSON");
            if wanted(&event) {
                return event;
            }
        }
        panic!("the event did not come");
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Stops it where it is, as if the machine had no time for it.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it can be signalled");
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end; kills it and fails when it takes too long.
    #[track_caller]
    pub fn wait(self) -> Ended {
        self.wait_within(PATIENCE)
    }

    /// As [`Running::wait`] with another bound.
    #[track_caller]
    pub fn wait_within(mut self, patience: Duration) -> Ended {
        let deadline = Instant::now() + patience;
        let status = loop {
            match self.child.try_wait().expect("its end can be asked for") {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        self.kill();
        let stderr =
            self.stderr.take().map(|thread| thread.join().unwrap_or_default()).unwrap_or_default();
        self.stdout.extend(self.lines.iter());
        let stdout = self.stdout.join("\n");
        match status {
            Some(status) => Ended { status, stdout, stderr },
            None => {
                panic!("it did not end within {patience:?}; stdout:\n{stdout}\nstderr:\n{stderr}")
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An origin on loopback.
pub struct Origin {
    /// The process.
    pub running: Running,
    /// What receivers are given.
    pub ticket: String,
}

impl Origin {
    /// `sow send PATH` on a free port of 127.0.0.1, with more arguments.
    pub fn start(path: &Path, more: &[&str]) -> Self {
        Self::start_on("127.0.0.1", 0, path, more)
    }

    /// `sow send PATH` on an address and port.
    pub fn start_on(bind: &str, port: u16, path: &Path, more: &[&str]) -> Self {
        let port = port.to_string();
        let mut command = sow(["send", "--bind", bind, "--port", &port]);
        let mut running = Running::start(command.arg(path).args(more));
        let line = running.line();
        let ticket = line
            .strip_prefix("sow get ")
            .unwrap_or_else(|| panic!("not the line: {line}"))
            .to_owned();
        Self { running, ticket }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        self.ticket.split_once('/').expect("a ticket has a slash").0
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address()
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .expect("a ticket has a port")
    }
}

/// Bytes that look random, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// A file of such bytes.
pub fn noise_file(folder: &Path, name: &str, length: usize) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, noise(length, length as u64)).expect("the test's folder can be written");
    path
}

/// Every file below a folder, with its bytes, sorted by path.
pub fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the test") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("a file of the test");
                files.push((path.strip_prefix(root).expect("it is below").to_owned(), bytes));
            }
        }
    }
    files.sort();
    files
}

/// The files in a folder, by name.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder of the test")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Calls `check` until it is true; fails when that takes too long.
#[track_caller]
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Shared between threads that run receivers at the same time.
pub fn at_once<T: Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let work = Arc::new(work);
    let threads: Vec<_> = (0..count)
        .map(|index| {
            let work = Arc::clone(&work);
            thread::spawn(move || work(index))
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().expect("a receiver's thread ends well"))
        .collect()
}
