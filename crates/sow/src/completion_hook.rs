//! `--on-complete`: a command of the user that runs each time that a copy is complete, with what it
//! is about in its environment. A few run at a time; the run waits for them. What counts as
//! complete is not decided here.

use std::{
    ffi::OsString,
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use sow_content::InfoHash;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{exit::Exit, fleet::Receiver, report::Report, stop_signal::StopSignal};

/// How many commands run at a time.
const MAX_RUNNING: usize = 8;

/// How many commands may run and wait, about one for each receiver that is known: any peer can
/// report any number of copies. Further ones are not run, which counts as failed.
const MAX_UNFINISHED: usize = 10_000;

/// How long commands that run may continue after the request to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Variables of this process that are not for the command: it is no service, and a `sow` in it must
/// not run the command again.
const HIDDEN: [&str; 5] =
    ["SOW_ON_COMPLETE", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The content that a command is about.
#[derive(Debug, Clone)]
pub(crate) struct HookContent {
    /// Its name.
    pub(crate) name: String,
    /// Where it is on this machine.
    pub(crate) path: OsString,
    /// Its swarm, if it has one.
    pub(crate) info_hash: Option<InfoHash>,
    /// Its size.
    pub(crate) bytes: u64,
}

/// The command, and those that run. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct CompletionHooks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    command: Mutex<Option<String>>,
    running: Mutex<JoinSet<()>>,
    places: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
    failed: AtomicUsize,
    skipped: AtomicUsize,
}

/// Whether commands may begin, and continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    NoMore,
    Kill,
}

impl CompletionHooks {
    /// Runs this command, if there is one.
    pub(crate) fn new(command: Option<String>) -> Self {
        Self(Arc::new(Inner {
            command: Mutex::new(command),
            running: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_RUNNING)),
            phase: watch::Sender::new(Phase::Open),
            failed: AtomicUsize::new(0),
            skipped: AtomicUsize::new(0),
        }))
    }

    /// From now on runs this command.
    pub(crate) fn set_command(&self, command: Option<String>) {
        *lock(&self.0.command) = command;
    }

    /// A copy is complete: at a receiver, or on this machine. Returns at once.
    pub(crate) fn run(&self, content: &HookContent, receiver: Option<&Receiver>, report: &Report) {
        let Some(command) = lock(&self.0.command).clone() else { return };
        let command = hook_command(&command, content, receiver);
        let about = match receiver {
            Some(receiver) => format!("{} at {}", content.name, receiver.name),
            None => content.name.clone(),
        };
        let (inner, report) = (Arc::clone(&self.0), report.clone());
        let mut running = lock(&self.0.running);
        while running.try_join_next().is_some() {}
        if running.len() >= MAX_UNFINISHED {
            self.0.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        running.spawn(async move { inner.run(command, &about, &report).await });
    }

    /// Waits for all commands; when the run is to stop, for a short time and for those that run.
    /// Returns the exit code of the run: 1 if all went well but a command.
    pub(crate) async fn finish(&self, stop: &StopSignal, exit: Exit, report: &Report) -> Exit {
        let mut running = std::mem::take(&mut *lock(&self.0.running));
        let wait = async { while running.join_next().await.is_some() {} };
        let closing = async {
            stop.requested().await;
            self.0.phase.send_replace(Phase::NoMore);
            sleep(STOP_TIMEOUT).await;
            self.0.phase.send_replace(Phase::Kill);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = wait => {}
            () = closing => {}
        }
        let skipped = self.0.skipped.load(Ordering::Relaxed);
        if skipped > 0 {
            report.warn(format_args!("the command of --on-complete was not run {skipped} times"));
        }
        let is_failed = skipped > 0 || self.0.failed.load(Ordering::Relaxed) > 0;
        if is_failed && exit == Exit::Done { Exit::Failed } else { exit }
    }
}

impl Inner {
    async fn run(&self, command: Command, about: &str, report: &Report) {
        let mut phase = self.phase.subscribe();
        let place = tokio::select! {
            biased;
            () = reached(&mut phase, Phase::NoMore) => None,
            place = self.places.acquire() => place.ok(),
        };
        let Some(_place) = place else {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let ended = match tokio::process::Command::from(command).spawn() {
            Ok(mut child) => {
                let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
                tokio::select! {
                    status = child.wait() => status,
                    () = reached(&mut phase, Phase::Kill) => {
                        if let Some(group) = group {
                            // It may have ended in this moment.
                            let _ = kill_process_group(group, Signal::KILL);
                        }
                        child.wait().await
                    }
                }
            }
            Err(error) => Err(error),
        };
        if let Some(reason) = failure(&ended) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            report.warn(format_args!("the command of --on-complete failed for {about}: {reason}"));
        }
    }
}

/// Returns when a phase has begun.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // The sender lives as long as its commands.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

/// Why a command failed, if it did.
fn failure(ended: &io::Result<ExitStatus>) -> Option<String> {
    match ended {
        Ok(status) if status.success() => None,
        Ok(status) => Some(status.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// The command for the shell. It has a process group of its own, so that Ctrl-C does not reach it,
/// and writes to standard error, because standard output has the results of this program.
fn hook_command(command: &str, content: &HookContent, receiver: Option<&Receiver>) -> Command {
    let mut hook = Command::new("sh");
    hook.arg("-c").arg(command).stdin(Stdio::null()).process_group(0);
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => hook.stdout(stderr),
        Err(_) => hook.stdout(Stdio::null()),
    };
    HIDDEN.iter().for_each(|name| _ = hook.env_remove(name));
    for (name, value) in variables(content, receiver) {
        hook.env(name, value);
    }
    hook
}

/// What the command finds in its environment. No option of this program has these names.
fn variables(content: &HookContent, receiver: Option<&Receiver>) -> Vec<(&'static str, OsString)> {
    let hash = content.info_hash.map(|hash| hash.to_string()).unwrap_or_default();
    let mut variables = vec![
        ("SOW_CONTENT_NAME", content.name.clone().into()),
        ("SOW_CONTENT_PATH", content.path.clone()),
        ("SOW_CONTENT_HASH", hash.into()),
        ("SOW_CONTENT_BYTES", content.bytes.to_string().into()),
    ];
    if let Some(receiver) = receiver {
        variables.extend([
            ("SOW_RECEIVER_NAME", receiver.name.clone().into()),
            ("SOW_RECEIVER_ADDRESS", receiver.peer().into()),
            ("SOW_RECEIVER_ID", receiver.id.clone().into()),
        ]);
    }
    variables
}

/// The absolute form of a path, as the command gets it.
pub(crate) fn absolute(path: &Path) -> OsString {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).into_os_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_option_has_the_name_of_a_variable() {
        let content =
            HookContent { name: "a".into(), path: "/a".into(), info_hash: None, bytes: 1 };
        let ours: Vec<&str> = variables(&content, Some(&Receiver::missing("b", 1)))
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        fn visit(command: &clap::Command, ours: &[&str]) {
            for name in command.get_arguments().filter_map(clap::Arg::get_env) {
                assert!(!ours.contains(&name.to_str().unwrap()), "{name:?}");
            }
            command.get_subcommands().for_each(|command| visit(command, ours));
        }
        assert_eq!(ours.len(), 7);
        visit(&crate::args::Cli::command(), &ours);
    }
}
