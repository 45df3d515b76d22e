//! Where one run takes place: the hosts and their folders, the file, and the programs that run on
//! them. It knows no program by name.

use std::{
    ffi::OsStr,
    io,
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

/// How long a program may take until it is ready; hashing a large file is part of it.
const READY: Duration = Duration::from_secs(60);
/// How often a wait looks whether it was asked to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Waits for a line, then becomes a program that has no input. When whoever should say it is gone,
/// it ends.
const HOLD: &str = r#"read -r go && exec "$@" </dev/null"#;
/// What a lab's processes are known by; it stays when other variables of ours go.
const KEPT_VARIABLE: &str = "SOW_LAB_MEMBER";

/// What tells programs to fetch through somebody else; known in capitals, too.
const PROXY_VARIABLES: [&str; 5] =
    ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];

/// Why a program did not do its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It could not be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// Which, where.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before its time.
    #[error("{program} ended early: {said}")]
    Ended {
        /// Which, where.
        program: String,
        /// How, and its last lines.
        said: String,
    },
    /// It took too long.
    #[error("{program}: no `{event}` after {} s: {said}", patience.as_secs())]
    Silent {
        /// Which, where.
        program: String,
        /// What it should have said.
        event: String,
        /// How long it had.
        patience: Duration,
        /// Its last lines.
        said: String,
    },
    /// It said something that cannot be used.
    #[error("{program}: {said}")]
    Senseless {
        /// Which, where.
        program: String,
        /// What is wrong.
        said: String,
    },
    /// A file for it cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lab is not what it was.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The experiment was asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A host of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its name, such as `h2`.
    pub(crate) host: String,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// A folder of its own that is there and was empty when the run began.
    pub(crate) folder: PathBuf,
}

/// One run: who is there, what is shared.
pub(crate) struct Stage<'a> {
    /// The network.
    pub(crate) lab: &'a Lab,
    /// The path of `sow`.
    pub(crate) sow: &'a Path,
    /// The file that is shared. Programs only read it; its folder has nothing else in it.
    pub(crate) content: &'a Path,
    /// Bytes of a piece, for programs that are told.
    pub(crate) piece_length: Option<u32>,
    /// A folder for whatever is neither the file nor a copy: it is where programs run, and was
    /// empty when the run began.
    pub(crate) work: &'a Path,
    /// Those that have the file; at least one.
    pub(crate) origins: Vec<Place>,
    /// Those that want it; at least one.
    pub(crate) receivers: Vec<Place>,
    /// Longer than the run will be allowed to take: for programs that end by themselves.
    pub(crate) limit: Duration,
    /// Set when the experiment is to end.
    pub(crate) stop: &'a AtomicBool,
    /// What runs, and what was run.
    pub(crate) cast: Mutex<Cast>,
}

/// Programs of a run.
#[derive(Default)]
pub(crate) struct Cast {
    processes: Vec<Arc<Process>>,
    lines: Vec<String>,
}

impl<'a> Stage<'a> {
    /// Starts a program on a host. It ends with the run at the latest.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(
        &self,
        place: &Place,
        line: &CommandLine,
    ) -> Result<Arc<Process>, ProgramError> {
        self.note(place, line);
        self.launch(place, line, line.words())
    }

    /// The same, but the program waits until it is [released](Self::release): all that it takes to
    /// get into its host is done by then.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn hold(
        &self,
        place: &Place,
        line: &CommandLine,
    ) -> Result<Arc<Process>, ProgramError> {
        self.note(place, line);
        let shell = ["sh", "-c", HOLD, "sh"].map(OsStr::new);
        let words: Vec<_> =
            shell.into_iter().chain(line.words().iter().map(AsRef::as_ref)).collect();
        self.launch(place, line, &words)
    }

    /// Lets a program begin that was held.
    ///
    /// # Errors
    /// When it is not there any more.
    pub(crate) fn release(process: &Process) -> Result<(), ProgramError> {
        process.say("go").map_err(|_| Self::ended(process))
    }

    /// Runs a program to its end, which must be a good one, and returns when it is there.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes too long.
    pub(crate) fn run(&self, place: &Place, line: &CommandLine) -> Result<(), ProgramError> {
        self.note(place, line);
        let process = self.process(place, line, line.words())?;
        self.wait(&process, "end", || process.ended())?;
        match process.ending() {
            Some(ending) if ending.well => Ok(()),
            _ => Err(Self::ended(&process)),
        }
    }

    /// Waits until a program has said an event (a line of JSON with this `event`), and returns
    /// that.
    ///
    /// # Errors
    /// When it ends before, or takes too long.
    pub(crate) fn wait_for_event(
        &self,
        process: &Process,
        event: &str,
    ) -> Result<Value, ProgramError> {
        self.wait(process, event, || process.event(event).map(|(_, event)| event))
    }

    /// Waits until `ready` has an answer; `what` is for complaints.
    ///
    /// # Errors
    /// When the program ends before, or it takes too long.
    pub(crate) fn wait<T>(
        &self,
        process: &Process,
        what: &str,
        ready: impl Fn() -> Option<T>,
    ) -> Result<T, ProgramError> {
        let deadline = Instant::now() + READY;
        loop {
            // In this order: what it says last comes before it ends.
            let over = process.ended().is_some();
            if let Some(answer) = ready() {
                return Ok(answer);
            }
            if over {
                return Err(Self::ended(process));
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(ProgramError::Interrupted);
            }
            if Instant::now() > deadline {
                return Err(ProgramError::Silent {
                    program: process.name().to_owned(),
                    event: what.to_owned(),
                    patience: READY,
                    said: process.last_lines(),
                });
            }
            process.wait_for_news(LOOK);
        }
    }

    /// That a program is not there any more.
    pub(crate) fn ended(process: &Process) -> ProgramError {
        let how = process.ending().map(|ending| ending.how).unwrap_or_default();
        let said = process.last_lines();
        let said = if said.is_empty() { how } else { format!("{how}: {said}") };
        ProgramError::Ended { program: process.name().to_owned(), said }
    }

    /// The host of an address, with or without a port.
    pub(crate) fn host_of(&self, address: &str) -> Option<&str> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let address: Ipv4Addr = host.parse().ok()?;
        let mut places = self.origins.iter().chain(&self.receivers);
        places.find(|place| place.address == address).map(|place| &*place.host)
    }

    /// Everybody's place, origins first.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.origins.iter().chain(&self.receivers)
    }

    /// The file's name without its folder.
    pub(crate) fn file_name(&self) -> &OsStr {
        self.content.file_name().unwrap_or_default()
    }

    /// Every program that was started and not run to its end, in order.
    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        self.cast().processes.clone()
    }

    /// Every command line so far, `host: command line`. What lies in the work folder is named from
    /// there, which is where it was run.
    pub(crate) fn command_lines(&self) -> Vec<String> {
        self.cast().lines.clone()
    }

    fn note(&self, place: &Place, line: &CommandLine) {
        let line = line.to_string().replace(&format!("{}/", self.work.display()), "");
        let line = line.replace(&*self.sow.to_string_lossy(), "sow");
        self.cast().lines.push(format!("{}: {line}", place.host));
    }

    fn launch(
        &self,
        place: &Place,
        line: &CommandLine,
        words: &[impl AsRef<OsStr>],
    ) -> Result<Arc<Process>, ProgramError> {
        let process = Arc::new(self.process(place, line, words)?);
        self.cast().processes.push(Arc::clone(&process));
        Ok(process)
    }

    fn process(
        &self,
        place: &Place,
        line: &CommandLine,
        words: &[impl AsRef<OsStr>],
    ) -> Result<Process, ProgramError> {
        let name = name_of(line, &place.host);
        let [program, arguments @ ..] = words else {
            let source = io::ErrorKind::InvalidInput.into();
            return Err(ProgramError::Start { program: name, source });
        };
        let mut command = self.lab.command(&place.host, program)?;
        command.args(arguments).current_dir(self.work);
        without_misleading_variables(&mut command);
        Process::start(name.clone(), &mut command)
            .map_err(|source| ProgramError::Start { program: name, source })
    }

    fn cast(&self) -> MutexGuard<'_, Cast> {
        self.cast.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Flags of `sow` can come from the environment; what is meant for this program is not meant for
/// those it runs. Nor can they reach a proxy from inside a lab.
fn without_misleading_variables(command: &mut Command) {
    for name in PROXY_VARIABLES {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SOW_") && name != KEPT_VARIABLE {
            command.env_remove(name);
        }
    }
}

/// `sow get on h2`: the program and its first words.
fn name_of(line: &CommandLine, host: &str) -> String {
    let file =
        |word: &OsStr| Path::new(word).file_name().unwrap_or(word).to_string_lossy().into_owned();
    let mut words = line.words().iter();
    let program = words.next().map(|word| file(word)).unwrap_or_default();
    let plain = |word: &str| {
        word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !word.starts_with('-')
    };
    let verbs = words
        .map(|word| word.to_string_lossy().into_owned())
        .take_while(|word| plain(word))
        .take(2);
    let name: Vec<_> = [program].into_iter().chain(verbs).collect();
    format!("{} on {host}", name.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_hear_of_no_proxy() {
        let mut command = Command::new("true");
        without_misleading_variables(&mut command);
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).collect();
        for name in ["http_proxy", "HTTPS_PROXY", "all_proxy", "NO_PROXY", "ftp_proxy"] {
            assert!(removed.iter().any(|(removed, _)| *removed == name), "{name}");
        }
    }
}
