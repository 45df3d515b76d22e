//! The request to stop: Ctrl-C, SIGTERM, or a closed standard output.

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
    /// Listens from now on. A second signal ends the process at once.
    ///
    /// # Errors
    /// When the system cannot install a signal handler.
    pub(crate) fn listen(report: &Report) -> Result<Self, Failure> {
        let (sender, requested) = watch::channel(false);
        let flag = Arc::new(AtomicBool::new(false));
        let mut signals = Signals::new().map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot listen for Ctrl-C: {error}"))
        })?;
        tokio::spawn({
            let (flag, report) = (Arc::clone(&flag), report.clone());
            async move {
                tokio::select! {
                    () = signals.next() => {}
                    () = report.stdout_closed() => {}
                }
                flag.store(true, Ordering::Relaxed);
                // All receivers may be gone.
                let _ = sender.send(true);
                signals.next().await;
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

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
