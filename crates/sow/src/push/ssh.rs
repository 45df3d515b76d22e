//! The `ssh` of one host as a running program: scripts go in, lines come out. Nothing is decided
//! here.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// The longest line that is read; the rest of a longer one is skipped.
const MAX_LINE: u64 = 64 * 1024;

/// The number of lines of standard error that are kept.
const KEPT_ERRORS: usize = 20;

/// How long the last lines of standard error are waited for: a connection that `ssh` shares
/// (`ControlPersist`) keeps it open.
const LAST_ERRORS_TIME: Duration = Duration::from_millis(300);

/// How `ssh` is run without questions, terminal and forwarded ports. `ConnectTimeout` is the time
/// in seconds for TCP and for the server's first line. `RemoteCommand` (OpenSSH 7.6) is that of the
/// configuration, for people.
const OPTIONS: [&str; 7] = [
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "RequestTTY=no",
    "ClearAllForwardings=yes",
    "RemoteCommand=none",
];

/// The program that reaches the hosts.
#[derive(Debug, Clone)]
pub(crate) struct SshCommand {
    words: Vec<String>,
}

impl SshCommand {
    /// `ssh`, or a command and its first arguments in its place.
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self { words }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        self.words.first().map_or("ssh", String::as_str)
    }

    /// The command that runs a shell at `destination`. The options are for OpenSSH, and follow
    /// those of the user: the first value of an option counts.
    fn command(&self, destination: &str) -> Command {
        let name = self.name();
        let mut command = Command::new(name);
        command.args(self.words.iter().skip(1));
        if Path::new(name).file_name().is_some_and(|file| file == "ssh") {
            OPTIONS.iter().for_each(|option| _ = command.args(["-o", option]));
        }
        command.args([destination, "exec /bin/sh"]);
        // There is no window for a question that the options do not prevent.
        command.env("SSH_ASKPASS_REQUIRE", "never");
        command
    }
}

/// A shell on a host.
#[derive(Debug)]
pub(super) struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    errors: Arc<Mutex<VecDeque<String>>>,
    errors_read: tokio::task::JoinHandle<()>,
}

impl Session {
    /// Starts `ssh` in a process group of its own, so that Ctrl-C in the terminal does not end it
    /// before this program has told the other end.
    pub(super) fn start(ssh: &SshCommand, destination: &str) -> io::Result<Self> {
        let mut child = ssh
            .command(destination)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let errors = Arc::<Mutex<VecDeque<String>>>::default();
        let errors_read = tokio::spawn(collect_errors(BufReader::new(stderr), Arc::clone(&errors)));
        Ok(Self { child, stdin, stdout, errors, errors_read })
    }

    /// Sends bytes to the shell, or to the program that runs in it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stdin {
            Some(stdin) => {
                stdin.write_all(bytes).await?;
                stdin.flush().await
            }
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// The next line; `None` at the end. No line is lost when the caller stops waiting before it is
    /// there only if it does not ask again.
    pub(super) async fn next_line(&mut self) -> Option<String> {
        read_line(&mut self.stdout).await
    }

    /// Ends standard input, upon which the other end exits, and waits for that, but not longer than
    /// `limit`. Returns the exit status, unless `ssh` had to be killed, and the last lines of
    /// standard error.
    pub(super) async fn end(mut self, limit: Duration) -> (Option<ExitStatus>, Vec<String>) {
        self.stdin = None;
        let exited = async {
            // What is left in the pipe must not keep the other end from exiting.
            while self.next_line().await.is_some() {}
            self.child.wait().await.ok()
        };
        let status = timeout(limit, exited).await.ok().flatten();
        if status.is_none() {
            // It may have exited by now.
            let _ = self.child.kill().await;
        }
        let _ = timeout(LAST_ERRORS_TIME, &mut self.errors_read).await;
        self.errors_read.abort();
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        (status, errors.iter().cloned().collect())
    }
}

/// Keeps the last lines of standard error.
async fn collect_errors(mut stderr: impl AsyncBufRead + Unpin, kept: Arc<Mutex<VecDeque<String>>>) {
    while let Some(line) = read_line(&mut stderr).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_ERRORS {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// The next line without its end; `None` at the end, also after an error.
async fn read_line(from: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    let read = (&mut *from).take(MAX_LINE).read_until(b'\n', &mut line).await.ok()?;
    if read == 0 {
        return None;
    }
    if line.last() != Some(&b'\n') {
        skip_line(from).await?;
    }
    Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

/// Skips the rest of a line.
async fn skip_line(from: &mut (impl AsyncBufRead + Unpin)) -> Option<()> {
    loop {
        let available = from.fill_buf().await.ok()?;
        let end = available.iter().position(|byte| *byte == b'\n');
        let length = available.len();
        from.consume(end.map_or(length, |end| end + 1));
        if end.is_some() || length == 0 {
            return Some(());
        }
    }
}
