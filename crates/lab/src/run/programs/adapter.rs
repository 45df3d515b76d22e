//! What the runner asks of an adapter. How a program does its part is in the adapter's own file.

use super::{ProgramContext, ProgramError, ReceiverProgram};

/// Starts and reads the programs of one mode in one run.
pub(crate) trait Adapter: Send {
    /// Starts the programs that have the file, and a tracker where one is needed. Returns when they
    /// can serve.
    ///
    /// # Errors
    /// When one of them cannot be started or is not ready in time.
    fn start_origins(&mut self, context: &ProgramContext<'_>) -> Result<(), ProgramError>;

    /// Prepares receiver `index` (from 0) as far as its program gets without joining; the time that
    /// this takes does not count. The copy goes into the folder of its
    /// [`TestHost`](super::TestHost). For a receiver that was killed, this is called again; the new
    /// program resumes, if it can.
    ///
    /// # Errors
    /// When the program cannot be started.
    fn prepare_receiver(
        &mut self,
        context: &ProgramContext<'_>,
        index: usize,
    ) -> Result<ReceiverProgram, ProgramError>;

    /// The bytes of the file that each origin has sent, retransmissions included; `None` if they
    /// are unknown. Called once, at the end of the run; it may end the origins.
    fn payload_sent(&mut self, context: &ProgramContext<'_>) -> Vec<Option<u64>>;
}

/// The program of a mode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProgramInfo {
    /// The program and its version, for programs of others.
    pub(crate) version: Option<String>,
    /// How the program is set up, as a sentence for the notes of the experiment.
    pub(crate) note: Option<String>,
}
