//! The request to stop: Ctrl-C, SIGTERM, SIGHUP (the terminal is gone), or a standard output that
//! is closed or full. Where `sow push` started this program: the end of standard input.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    exit::{Exit, Failure},
    report::Report,
};

/// Tells whether the run is to stop. Clones share the state.
#[derive(Debug, Clone)]
pub(crate) struct StopSignal {
    requested: watch::Receiver<bool>,
    flag: Arc<AtomicBool>,
}

/// Why work was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// The run is to stop.
    BySignal,
    /// The time of `--timeout` is over.
    ByTimeout,
}

impl StopSignal {
    /// Listens from now on. A second Ctrl-C or SIGTERM ends the process at once.
    ///
    /// # Errors
    /// When the system cannot install a signal handler.
    pub(crate) fn listen(report: &Report) -> Result<Self, Failure> {
        Self::listen_beside(report, std::future::pending(), HangupUse::Stop)
    }

    /// The same, and the run is also to stop when standard input ends: without a terminal, that is
    /// all that a program notices of the end of the `ssh` that started it.
    ///
    /// # Errors
    /// When the system cannot install a signal handler.
    pub(crate) fn listen_with_stdin(report: &Report) -> Result<Self, Failure> {
        let (sender, ended) = tokio::sync::oneshot::channel::<()>();
        // A thread of its own: a read that never returns must not keep the runtime from ending.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            drop(sender);
        });
        Self::listen_beside(report, async { _ = ended.await }, HangupUse::Stop)
    }

    /// The same for a service, which SIGHUP tells to read its configuration again: it does not stop
    /// the run, unless it says that the terminal is gone.
    ///
    /// # Errors
    /// When the system cannot install a signal handler.
    pub(crate) fn listen_for_reloads(report: &Report) -> Result<(Self, Reloads), Failure> {
        let signal = signal(SignalKind::hangup()).map_err(|error| cannot_listen(&error))?;
        let (lost, terminal_lost) = tokio::sync::oneshot::channel();
        let reloads = Reloads { signal, lost: Some(lost), has_terminal: has_terminal() };
        let gone = async {
            if terminal_lost.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Ok((Self::listen_beside(report, gone, HangupUse::Reload)?, reloads))
    }

    fn listen_beside(
        report: &Report,
        other: impl Future<Output = ()> + Send + 'static,
        hangup: HangupUse,
    ) -> Result<Self, Failure> {
        let (sender, requested) = watch::channel(false);
        let flag = Arc::new(AtomicBool::new(false));
        let mut signals = Signals::new(hangup).map_err(|error| cannot_listen(&error))?;
        tokio::spawn({
            let (flag, report) = (Arc::clone(&flag), report.clone());
            async move {
                tokio::select! {
                    () = signals.next() => {}
                    () = report.stdout_ended() => {}
                    () = other => {}
                }
                flag.store(true, Ordering::Relaxed);
                // All receivers may be gone.
                let _ = sender.send(true);
                signals.next_insistent().await;
                std::process::exit(Exit::Interrupted.code().into());
            }
        });
        Ok(Self { requested, flag })
    }

    /// Returns when the run is to stop.
    pub(crate) async fn requested(&self) {
        let mut requested = self.requested.clone();
        if requested.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Runs `work` until it ends, the run is to stop, or the deadline passes.
    pub(crate) async fn interruptible<T>(
        &self,
        deadline: Option<Instant>,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        let deadline_passed = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = work => Ok(done),
            () = self.requested() => Err(Interrupted::BySignal),
            () = deadline_passed => Err(Interrupted::ByTimeout),
        }
    }

    /// The same state for work that cannot await: true when the run is to stop.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.flag
    }
}

/// What SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HangupUse {
    Stop,
    Reload,
}

/// The requests to read the configuration again.
#[derive(Debug)]
pub(crate) struct Reloads {
    signal: Signal,
    lost: Option<tokio::sync::oneshot::Sender<()>>,
    has_terminal: bool,
}

impl Reloads {
    /// Returns at the next request. The signal of a terminal that is gone stops the run instead.
    pub(crate) async fn next(&mut self) {
        loop {
            if self.signal.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            if !self.has_terminal || has_terminal() {
                return;
            }
            if let Some(lost) = self.lost.take() {
                // The run may be stopping already.
                let _ = lost.send(());
            }
        }
    }
}

/// Whether this process has a terminal that exists.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

fn cannot_listen(error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot listen for signals: {error}"))
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where it is ignored, as `nohup` arranges.
    hangup: Option<Signal>,
}

impl Signals {
    fn new(hangup: HangupUse) -> io::Result<Self> {
        let stops = hangup == HangupUse::Stop && !is_hangup_ignored();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if stops { Some(signal(SignalKind::hangup())?) } else { None },
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            () = received(self.hangup.as_mut()) => {}
            () = Self::either(&mut self.interrupt, &mut self.terminate) => {}
        }
    }

    /// The next signal that a user or a service manager sends. A terminal that goes away may send
    /// SIGHUP twice: the kernel and the shell each do.
    async fn next_insistent(&mut self) {
        Self::either(&mut self.interrupt, &mut self.terminate).await;
    }

    async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether this process was started with SIGHUP ignored. It must be asked before a handler is
/// installed.
fn is_hangup_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

/// Whether the mask `SigIgn` in `/proc/self/status` (proc(5)) contains SIGHUP, its lowest bit.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_of_the_mask_is_the_hangup() {
        assert!(ignores_hangup("Name:\tsow\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!ignores_hangup("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
