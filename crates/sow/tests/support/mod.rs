//! What the tests of whole programs share: running `sow` with a bound on every wait.
//!
//! [`Running`] is a `sow` on this machine whose two outputs are kept apart. [`process`] runs any
//! program on a host of a [`test_network`], for the tests with other programs. No test of a
//! behaviour belongs here.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses a part")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

mod files;
pub mod http;
pub mod process;
pub mod schema;
pub mod test_network;
mod wait;

pub use files::{names, noise, noise_file, text, tree};
pub use wait::{TEST_TIMEOUT, wait_until};

/// A user and group that own no file.
pub const UNPRIVILEGED_ID: u32 = 65_534;

/// An address of this machine at which no program listens, on an unprivileged port.
pub fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The binary under test.
pub fn sow_path() -> &'static Path {
    assert_cmd::cargo::cargo_bin!("sow")
}

/// `sow` with these arguments and without the variables of this environment that would change it.
pub fn sow<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    sow_at(sow_path(), args)
}

/// `sow` as a user without privileges, from a copy in `folder`: the build folder may lie below a
/// home folder that this user must not enter. A test that runs as an ordinary user runs it as that
/// user.
pub fn unprivileged_sow<S: AsRef<std::ffi::OsStr>>(
    folder: &Path,
    args: impl IntoIterator<Item = S>,
) -> Command {
    if !rustix::process::getuid().is_root() {
        return sow(args);
    }
    let mut command = sow_at(&sow_for_all_users(folder), args);
    command.uid(UNPRIVILEGED_ID).gid(UNPRIVILEGED_ID).current_dir(folder);
    command
}

/// A copy of the binary in `folder`, which all users may then enter and run.
pub fn sow_for_all_users(folder: &Path) -> std::path::PathBuf {
    let program = folder.join("sow");
    fs::copy(sow_path(), &program).expect("the program can be copied");
    for path in [folder, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the test owns it");
    }
    program
}

fn sow_at<S: AsRef<std::ffi::OsStr>>(program: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SOW_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").args(args).stdin(Stdio::null());
    command
}

/// `unshare` with a mount namespace of its own, for root and for ordinary users.
pub fn unshare_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    command
}

/// How a run ended, and its output.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit code; -1 after a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Fails the test with the whole output unless the run ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless standard error contains all of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in:\n{}", self.stderr);
        }
        self
    }
}

/// Runs `sow` until it exits.
#[track_caller]
pub fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ended {
    Running::start(&mut sow(args)).wait()
}

/// Runs `sow` in a folder until it exits.
#[track_caller]
pub fn run_in(folder: &Path, args: &[&str]) -> Ended {
    Running::start(sow(args).current_dir(folder)).wait()
}

/// The events of a run with `--json`.
pub fn events_of(stdout: &str) -> Vec<serde_json::Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

/// The `complete` event of a run with `--json`.
pub fn complete_of(stdout: &str) -> serde_json::Value {
    events_of(stdout)
        .into_iter()
        .find(|event| event["event"] == "complete")
        .expect("there is a `complete` event")
}

/// A running `sow`. It is killed when this is dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    stdout: Vec<String>,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Running {
    /// Starts a command and captures its outputs.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
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
        match self.lines.recv_timeout(TEST_TIMEOUT) {
            Ok(line) => {
                self.stdout.push(line.clone());
                line
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.kill();
                let stderr = self.stderr.take().map(|thread| thread.join().unwrap_or_default());
                panic!("no line on standard output; standard error: {}", stderr.unwrap_or_default())
            }
        }
    }

    /// The next JSON event that `is_wanted` accepts. Events before it are skipped.
    #[track_caller]
    pub fn event(&mut self, is_wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while Instant::now() < deadline {
            let line = self.line();
            let event: serde_json::Value = serde_json::from_str(&line).expect("every line is JSON");
            if is_wanted(&event) {
                return event;
            }
        }
        panic!("the event did not come within {TEST_TIMEOUT:?}");
    }

    /// Waits for a `progress` event with more than so many bytes.
    #[track_caller]
    pub fn progress_beyond(&mut self, bytes: u64) -> serde_json::Value {
        self.event(|event| event["event"] == "progress" && event["bytes"].as_u64() > Some(bytes))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not exited.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Stops it with SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues it after [`Running::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends any signal.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process can be signalled");
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it exits; kills it and fails the test after [`TEST_TIMEOUT`].
    #[track_caller]
    pub fn wait(self) -> Ended {
        self.wait_within(TEST_TIMEOUT)
    }

    /// As [`Running::wait`], with another bound.
    #[track_caller]
    pub fn wait_within(mut self, timeout: Duration) -> Ended {
        let deadline = Instant::now() + timeout;
        let status = loop {
            match self.child.try_wait().expect("the process is a child of this one") {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => thread::sleep(wait::POLL_INTERVAL / 2),
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
                panic!("it did not exit within {timeout:?}; stdout:\n{stdout}\nstderr:\n{stderr}")
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A `sow send` on loopback.
pub struct Origin {
    /// The process.
    pub running: Running,
    /// The ticket for receivers.
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
            .unwrap_or_else(|| panic!("not the command of a receiver: {line}"))
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

/// Runs `work` on `count` threads at the same time; returns the results in order.
pub fn in_parallel<T: Send + 'static>(
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
    threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
}
