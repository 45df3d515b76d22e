//! A `sow` process of the demonstration, observed through its JSON events.

use std::process::Stdio;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use super::workspace::Workspace;
use crate::{
    exit::{Exit, Failure},
    own_program::own_program,
};

/// The maximum number of bytes of standard error in a failure.
const MAX_SHOWN_ERROR: u64 = 4096;

/// A command that runs this program with the limits of the demonstration, without the `SOW_*`
/// variables of this environment.
pub(super) fn sow_command(workspace: &Workspace) -> Result<Command, Failure> {
    let mut command = Command::new(own_program()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SOW_") {
            command.env_remove(name);
        }
    }
    let limit = format!("{}B/s", workspace.rate);
    command.env("SOW_BIND", "127.0.0.1").env("SOW_UP_LIMIT", limit).env("SOW_JSON", "1");
    Ok(command)
}

/// A process with JSON events on standard output. It is killed when this is dropped.
pub(super) struct Process {
    name: String,
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
    errors: Option<ChildStderr>,
}

impl Process {
    pub(super) fn start(name: &str, mut command: Command) -> Result<Self, Failure> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let failed =
            |error: String| Failure::new(Exit::Failed, format!("cannot start {name}: {error}"));
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("no standard output".to_owned()))?;
        let errors = child.stderr.take();
        Ok(Self { name: name.to_owned(), child, events: BufReader::new(stdout).lines(), errors })
    }

    /// The next event; `None` when the process has ended.
    pub(super) async fn next_event(&mut self) -> Result<Option<Value>, Failure> {
        let failed = |error: String| Failure::new(Exit::Failed, format!("{}: {error}", self.name));
        match self.events.next_line().await {
            Ok(Some(line)) => {
                serde_json::from_str(&line).map(Some).map_err(|error| failed(error.to_string()))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Waits until the process ends with exit code 0.
    pub(super) async fn wait_for_success(&mut self) -> Result<(), Failure> {
        while self.next_event().await?.is_some() {}
        let status = self.child.wait().await;
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.failure().await),
        }
    }

    /// The failure of the process, with its standard error.
    pub(super) async fn failure(&mut self) -> Failure {
        // The process may be blocked.
        let _ = self.child.kill().await;
        let mut text = String::new();
        if let Some(errors) = self.errors.take() {
            let _ = errors.take(MAX_SHOWN_ERROR).read_to_string(&mut text).await;
        }
        Failure::new(Exit::Failed, format!("{} failed: {}", self.name, text.trim()))
    }
}
