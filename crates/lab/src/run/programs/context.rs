//! The context in which an adapter runs the programs of one run: hosts, folders, the file, and the
//! programs started so far. No program is known by name here.

use std::{
    ffi::OsStr,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{CommandLine, Process};
use crate::network::{Lab, NetworkError};

/// The time that a program gets to become ready; hashing a large file is part of it.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The interval at which a wait checks for a stop.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Waits for a line, then becomes a program without input. It ends when the process that would send
/// the line is gone.
const HOLD_SCRIPT: &str = r#"read -r go && exec "$@" </dev/null"#;
/// Runs a program without input, with its output in the file `$0`. After a success it waits for the
/// end of its own input; after a failure it shows the end of the output.
const FINITE_SCRIPT: &str = r#""$@" </dev/null >"$0" 2>&1 || \
    { code=$?; tail -c 2000 "$0" | tr '\r' '\n' | tail -n 5 >&2; exit $code; }
exec cat >/dev/null"#;
/// The variable that marks the processes of a lab. It is kept when other variables of `sow` are
/// removed.
const KEPT_VARIABLE: &str = "SOW_LAB_MEMBER";
/// Variables that make programs use a proxy; each is also known in capitals.
const PROXY_VARIABLES: [&str; 5] =
    ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];

/// Why a program did not do its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It could not be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// The program and its host.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// It ended before the end of the run.
    #[error("{program} ended early: {output}")]
    Ended {
        /// The program and its host.
        program: String,
        /// How it ended, and its last lines of output.
        output: String,
    },
    /// It did not report an event in time.
    #[error("{program}: no `{event}` after {} s: {output}", timeout.as_secs())]
    Timeout {
        /// The program and its host.
        program: String,
        /// The expected event.
        event: String,
        /// The time that it had.
        timeout: Duration,
        /// Its last lines of output.
        output: String,
    },
    /// Its output or its setup cannot be used.
    #[error("{program}: {reason}")]
    Unusable {
        /// The program and its host.
        program: String,
        /// What is wrong.
        reason: String,
    },
    /// One of its files cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The caller requested a stop.
    #[error("interrupted")]
    Interrupted,
}

/// A host of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestHost {
    /// Its name, such as `h2`.
    pub(crate) name: String,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// A folder of its own, empty at the start of the run.
    pub(crate) folder: PathBuf,
}

/// Everything that the programs of one run share.
pub(crate) struct ProgramContext<'a> {
    /// The network.
    pub(crate) lab: &'a Lab,
    /// The path of `sow`.
    pub(crate) sow: &'a Path,
    /// The file to distribute. Programs only read it; it is alone in its folder.
    pub(crate) content: &'a Path,
    /// The piece length in bytes, for programs that take one.
    pub(crate) piece_length: Option<u32>,
    /// The working folder of the programs, for everything but the file and its copies; empty at the
    /// start of the run.
    pub(crate) work: &'a Path,
    /// The hosts that have the file; at least one.
    pub(crate) origins: Vec<TestHost>,
    /// The hosts that fetch it; at least one.
    pub(crate) receivers: Vec<TestHost>,
    /// A time longer than the limit of the run, for programs that end by themselves.
    pub(crate) limit: Duration,
    /// Set when the experiment is to end.
    pub(crate) stop: &'a AtomicBool,
    /// The programs started so far.
    pub(crate) started: Mutex<StartedPrograms>,
}

/// The programs of a run.
#[derive(Default)]
pub(crate) struct StartedPrograms {
    processes: Vec<Arc<Process>>,
    command_lines: Vec<String>,
}

impl ProgramContext<'_> {
    /// Starts a program on a host. It ends with the run at the latest.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(
        &self,
        host: &TestHost,
        line: &CommandLine,
    ) -> Result<Arc<Process>, ProgramError> {
        self.record_line(host, line);
        self.launch(host, line, line.words())
    }

    /// The same, but the program waits for its [release](super::ReceiverProgram::release). Entering
    /// the host's namespace is complete by then.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start_held(
        &self,
        host: &TestHost,
        line: &CommandLine,
    ) -> Result<Arc<Process>, ProgramError> {
        self.record_line(host, line);
        let shell = ["sh", "-c", HOLD_SCRIPT, "sh"].map(OsStr::new);
        let words: Vec<_> =
            shell.into_iter().chain(line.words().iter().map(AsRef::as_ref)).collect();
        self.launch(host, line, &words)
    }

    /// Starts a program that ends by itself when it has sent the file, which may be before the last
    /// receiver is complete. Its place is held until the end of the run. Its output goes to a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start_finite(
        &self,
        host: &TestHost,
        line: &CommandLine,
        output: &Path,
    ) -> Result<Arc<Process>, ProgramError> {
        self.record_line(host, line);
        let shell = ["sh", "-c", FINITE_SCRIPT].map(OsStr::new);
        let words: Vec<_> = shell
            .into_iter()
            .chain([output.as_os_str()])
            .chain(line.words().iter().map(AsRef::as_ref))
            .collect();
        self.launch(host, line, &words)
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes too long.
    pub(crate) fn run(&self, host: &TestHost, line: &CommandLine) -> Result<(), ProgramError> {
        self.record_line(host, line);
        let process = self.spawn(host, line, line.words())?;
        self.wait_for(&process, "end", || process.ended_at())?;
        match process.ending() {
            Some(ending) if ending.success => Ok(()),
            _ => Err(ended_early(&process)),
        }
    }

    /// Waits for an event of a program (a line of JSON with this `event`), and returns it.
    ///
    /// # Errors
    /// When the program ends before, or the event does not come in time.
    pub(crate) fn wait_for_event(
        &self,
        process: &Process,
        event: &str,
    ) -> Result<Value, ProgramError> {
        self.wait_for(process, event, || process.first_event(event))
    }

    /// Waits until `ready` returns a value. `event` names it in errors.
    ///
    /// # Errors
    /// When the program ends before, or the value does not come in time.
    pub(crate) fn wait_for<T>(
        &self,
        process: &Process,
        event: &str,
        ready: impl Fn() -> Option<T>,
    ) -> Result<T, ProgramError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            // The end is read first: once it is known, all output has been read, too.
            let has_ended = process.ended_at().is_some();
            if let Some(value) = ready() {
                return Ok(value);
            }
            if has_ended {
                return Err(ended_early(process));
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(ProgramError::Interrupted);
            }
            if Instant::now() > deadline {
                return Err(ProgramError::Timeout {
                    program: process.name().to_owned(),
                    event: event.to_owned(),
                    timeout: READY_TIMEOUT,
                    output: process.last_lines(),
                });
            }
            process.wait_for_change(STOP_POLL_INTERVAL);
        }
    }

    /// The name of the host with an address, which may have a port.
    pub(crate) fn host_of(&self, address: &str) -> Option<&str> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let address: Ipv4Addr = host.parse().ok()?;
        self.hosts().find(|host| host.address == address).map(|host| &*host.name)
    }

    /// All hosts, origins first.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &TestHost> {
        self.origins.iter().chain(&self.receivers)
    }

    /// The file's name without its folder.
    pub(crate) fn file_name(&self) -> &OsStr {
        self.content.file_name().unwrap_or_default()
    }

    /// The folder that has the file and nothing else.
    pub(crate) fn content_folder(&self) -> &Path {
        self.content.parent().unwrap_or(Path::new("/"))
    }

    /// The programs that were started and not run to their end, in the order of their start.
    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        self.started().processes.clone()
    }

    /// All command lines so far, `host: command line`. Files in the working folder are named
    /// relative to it.
    pub(crate) fn command_lines(&self) -> Vec<String> {
        self.started().command_lines.clone()
    }

    fn record_line(&self, host: &TestHost, line: &CommandLine) {
        let line = line.to_string().replace(&format!("{}/", self.work.display()), "");
        let line = line.replace(&*self.sow.to_string_lossy(), "sow");
        self.started().command_lines.push(format!("{}: {line}", host.name));
    }

    fn launch(
        &self,
        host: &TestHost,
        line: &CommandLine,
        words: &[impl AsRef<OsStr>],
    ) -> Result<Arc<Process>, ProgramError> {
        let process = Arc::new(self.spawn(host, line, words)?);
        self.started().processes.push(Arc::clone(&process));
        Ok(process)
    }

    fn spawn(
        &self,
        host: &TestHost,
        line: &CommandLine,
        words: &[impl AsRef<OsStr>],
    ) -> Result<Process, ProgramError> {
        let name = process_name(line, &host.name);
        let [program, arguments @ ..] = words else {
            let source = io::ErrorKind::InvalidInput.into();
            return Err(ProgramError::Start { program: name, source });
        };
        let mut command = self.lab.command(&host.name, program)?;
        command.args(arguments).current_dir(self.work);
        remove_misleading_variables(&mut command);
        Process::start(name.clone(), &mut command)
            .map_err(|source| ProgramError::Start { program: name, source })
    }

    fn started(&self) -> MutexGuard<'_, StartedPrograms> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a program that ended before the end of the run.
pub(crate) fn ended_early(process: &Process) -> ProgramError {
    let how = process.ending().map(|ending| ending.description).unwrap_or_default();
    let lines = process.last_lines();
    let output = if lines.is_empty() { how } else { format!("{how}: {lines}") };
    ProgramError::Ended { program: process.name().to_owned(), output }
}

/// Writes a small file of a run.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write_file(path: &Path, text: &str) -> Result<(), ProgramError> {
    fs::write(path, text).map_err(|source| ProgramError::File { path: path.to_owned(), source })
}

/// Removes variables that are meant for this program and not for those that it starts: flags of
/// `sow` in the environment, and proxies, which cannot be reached from inside a lab.
fn remove_misleading_variables(command: &mut Command) {
    for name in PROXY_VARIABLES {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SOW_") && name != KEPT_VARIABLE {
            command.env_remove(name);
        }
    }
}

/// The name of a process in errors, such as `sow get on h2`: the program and its subcommands.
fn process_name(line: &CommandLine, host: &str) -> String {
    let file =
        |word: &OsStr| Path::new(word).file_name().unwrap_or(word).to_string_lossy().into_owned();
    let mut words = line.words().iter();
    let program = words.next().map(|word| file(word)).unwrap_or_default();
    let is_subcommand = |word: &str| {
        word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !word.starts_with('-')
    };
    let subcommands = words
        .map(|word| word.to_string_lossy().into_owned())
        .take_while(|word| is_subcommand(word))
        .take(2);
    let name: Vec<_> = [program].into_iter().chain(subcommands).collect();
    format!("{} on {host}", name.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_no_proxy_variables() {
        let mut command = Command::new("true");
        remove_misleading_variables(&mut command);
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).collect();
        for name in ["http_proxy", "HTTPS_PROXY", "all_proxy", "NO_PROXY", "ftp_proxy"] {
            assert!(removed.iter().any(|(removed, _)| *removed == name), "{name}");
        }
    }
}
