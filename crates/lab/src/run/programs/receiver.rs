//! A receiver's program in one run, the same for all modes: it is started on its host, waits for
//! its release, and reports when its copy is complete.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{Process, ProgramError, context::ended_early};

/// The line on standard input that releases a program.
const RELEASE_LINE: &str = "go";

/// A receiver's program that is prepared or running. It is asked every few milliseconds, so its
/// answers are cheap.
#[derive(Debug)]
pub(crate) struct ReceiverProgram {
    process: Arc<Process>,
    copy: PathBuf,
    completion: Completion,
}

/// How a program reports that its copy is complete, and where the copy came from.
#[derive(Debug)]
enum Completion {
    /// By the event `complete`, whose field `from` has the bytes from each address.
    Event,
    /// By exit code 0; all bytes came from this address.
    CleanExit { source: String },
}

impl ReceiverProgram {
    /// A program that prints the event `complete`, as `sow` does. It will put its copy at `copy`.
    pub(crate) fn with_event(process: Arc<Process>, copy: PathBuf) -> Self {
        Self { process, copy, completion: Completion::Event }
    }

    /// A program that is complete when it exits with code 0. `source` is the address of the only
    /// host that it fetches from.
    pub(super) fn with_clean_exit(process: Arc<Process>, copy: PathBuf, source: String) -> Self {
        Self { process, copy, completion: Completion::CleanExit { source } }
    }

    /// Lets the program begin. The call returns at once: other receivers are waiting.
    ///
    /// # Errors
    /// When the program has already ended.
    pub(crate) fn release(&self) -> Result<(), ProgramError> {
        self.process.write_line(RELEASE_LINE).map_err(|_| ended_early(&self.process))
    }

    /// The process of the program.
    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// The path of the copy.
    pub(crate) fn copy(&self) -> &Path {
        &self.copy
    }

    /// The time at which the program reported that its copy is complete and in place.
    pub(crate) fn completed_at(&self) -> Option<Instant> {
        match self.completion {
            Completion::Event => self.process.event_time("complete"),
            Completion::CleanExit { .. } => {
                let is_clean = |_: &Instant| self.process.ending().is_some_and(|end| end.success);
                self.process.ended_at().filter(is_clean)
            }
        }
    }

    /// The bytes of the file that it received, by the source's address with or without a port;
    /// empty if they are unknown. Valid once the copy is complete.
    pub(crate) fn bytes_by_source(&self) -> BTreeMap<String, u64> {
        match &self.completion {
            Completion::Event => {
                let event = self.process.first_event("complete");
                let from = event.as_ref().and_then(|event| event["from"].as_object());
                let sources = from.into_iter().flatten();
                let bytes = |(address, bytes): (&String, &serde_json::Value)| {
                    Some((address.clone(), bytes.as_u64()?))
                };
                sources.filter_map(bytes).collect()
            }
            Completion::CleanExit { source } => {
                let bytes = fs::metadata(&self.copy).map(|metadata| metadata.len()).ok();
                bytes.into_iter().map(|bytes| (source.clone(), bytes)).collect()
            }
        }
    }
}
