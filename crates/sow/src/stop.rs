//! Being asked to stop: Ctrl-C, SIGTERM, or a reader of our standard output that has gone.

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

/// Tells whether the run was asked to stop. Clones tell the same.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    asked: watch::Receiver<bool>,
    flag: Arc<AtomicBool>,
}

impl Stop {
    /// Listens from now on. Asked a second time, the process ends at once.
    ///
    /// # Errors
    /// When the system has no room for a signal handler.
    pub(crate) fn listen(report: &Report) -> Result<Self, Failure> {
        let (sender, asked) = watch::channel(false);
        let flag = Arc::new(AtomicBool::new(false));
        let mut signals = Signals::new().map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot listen for Ctrl-C: {error}"))
        })?;
        tokio::spawn({
            let (flag, report) = (Arc::clone(&flag), report.clone());
            async move {
                tokio::select! {
                    () = signals.next() => {}
                    () = report.reader_gone() => {}
                }
                flag.store(true, Ordering::Relaxed);
                // Nobody may be waiting for it any more.
                let _ = sender.send(true);
                signals.next().await;
                std::process::exit(Exit::Interrupted.code().into());
            }
        });
        Ok(Self { asked, flag })
    }

    /// Returns when the run was asked to stop.
    pub(crate) async fn asked(&self) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Does something that being asked to stop and a deadline cut short.
    pub(crate) async fn bounded<T>(
        &self,
        deadline: Option<Instant>,
        work: impl Future<Output = T>,
    ) -> Result<T, Cut> {
        let too_late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = work => Ok(done),
            () = self.asked() => Err(Cut::Interrupted),
            () = too_late => Err(Cut::TooLate),
        }
    }

    /// Tells the same to work that cannot wait on a future.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.flag
    }
}

/// Why something was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Ctrl-C or the like.
    Interrupted,
    /// `--timeout`.
    TooLate,
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
