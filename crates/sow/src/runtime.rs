//! The tokio runtime of a command, and blocking work beside it.

use std::num::NonZero;

use rustix::process::Signal;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

use crate::exit::{Exit, Failure};

/// Runs a command on a tokio runtime with a thread for each processor.
pub(crate) fn run_async(
    command: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    run_async_with(processors(), command)
}

/// Runs a command on a tokio runtime with the given number of threads. Blocking work that has not
/// ended when the command ends is abandoned.
pub(crate) fn run_async_with(
    threads: usize,
    command: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let runtime =
        Builder::new_multi_thread().worker_threads(threads).enable_all().build().map_err(
            |error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")),
        )?;
    let ended = runtime.block_on(async {
        // While a signal is handled, a write beyond the file size limit is an error (EFBIG) instead
        // of the end of the process. No value is ever awaited.
        let _handled = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
        command.await
    });
    runtime.shutdown_background();
    ended
}

/// The number of processors that this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs blocking work on a thread for such work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match spawn_blocking(work).await {
        Ok(ended) => ended,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
