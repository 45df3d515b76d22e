//! A receiver of ours, or of any program that begins as soon as it is started: held back in its
//! host until it may go. It says `complete` as `sow` does.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{CommandLine, Place, Process, ProgramError, Receiver, Stage};

/// A receiver that is held until it may go, and then says `complete`. The start of its program
/// counts.
#[derive(Debug)]
pub(crate) struct Held {
    process: Arc<Process>,
    copy: PathBuf,
}

impl Held {
    /// Gets a program ready to run. `copy` is where it will put its copy.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn prepare(
        stage: &Stage<'_>,
        place: &Place,
        line: &CommandLine,
        copy: PathBuf,
    ) -> Result<Box<dyn Receiver>, ProgramError> {
        Ok(Box::new(Self { process: stage.hold(place, line)?, copy }))
    }
}

impl Receiver for Held {
    fn go(&mut self) -> Result<(), ProgramError> {
        Stage::release(&self.process)
    }

    fn process(&self) -> &Arc<Process> {
        &self.process
    }

    fn copy(&self) -> &Path {
        &self.copy
    }

    fn completed(&self) -> Option<Instant> {
        self.process.event_time("complete")
    }

    fn from(&self) -> BTreeMap<String, u64> {
        from_of(&self.process)
    }
}

/// What a program said in `complete` of who sent how much.
pub(super) fn from_of(process: &Process) -> BTreeMap<String, u64> {
    let complete = process.event("complete");
    let from = complete.as_ref().and_then(|(_, event)| event["from"].as_object());
    let bytes = from.into_iter().flatten();
    bytes.filter_map(|(address, bytes)| Some((address.clone(), bytes.as_u64()?))).collect()
}
