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
        let mut signals = Signals::new()
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot listen for Ctrl-C: {error}")))?;
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

    /// The same for work that cannot wait on a future.
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
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
