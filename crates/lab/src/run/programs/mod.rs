//! The programs that are compared, one adapter a file: how each is started as an expert would, and
//! how it tells that it is complete.
//!
//! An adapter starts programs and reads what they say. What a run is, when it is over, what is
//! recorded and whether the copies are right is the runner's. A new program is a [`Mode`], an
//! adapter here, and a line in [`of`].

mod aria2;
mod chunk;
mod client_server;
mod command_line;
mod held;
mod hook;
mod installed;
mod json_torrent;
mod libtorrent;
mod nginx_curl;
mod process;
mod stage;
mod swarm;
mod torrent;
mod transmission;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use crate::{record::Missing, scenario::Mode};

pub(crate) use self::{
    command_line::CommandLine,
    held::Held,
    process::Process,
    stage::{Place, ProgramError, Stage},
};

/// One mode's programs in one run, for which it is made anew.
pub(crate) trait Program: Send {
    /// Starts those that have the file, and whatever else must be there (a tracker); returns when
    /// they can serve.
    ///
    /// # Errors
    /// When one of them cannot be started or is not ready in time.
    fn start_origins(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError>;

    /// Brings receiver `index` (from 0) as far as its program gets without joining; what this takes
    /// does not count. The copy goes into the folder of its [`Place`]. Called again when a receiver
    /// comes back after it was killed; then it goes on, if its program can.
    ///
    /// # Errors
    /// When the program cannot be started.
    fn prepare_receiver(
        &mut self,
        stage: &Stage<'_>,
        index: usize,
    ) -> Result<Box<dyn Receiver>, ProgramError>;

    /// Bytes of the file that each origin has sent, counted again when sent again; empty if nobody
    /// can tell. Asked once, when the run is over, and may end the origins for it.
    fn payload_sent(&mut self, _stage: &Stage<'_>) -> Vec<Option<u64>> {
        Vec::new()
    }
}

/// A receiver that is prepared or under way. Asked every few milliseconds, so answers must be
/// cheap.
pub(crate) trait Receiver: Send {
    /// Lets it join. To be done at once: the others are waiting.
    ///
    /// # Errors
    /// When its program has ended already.
    fn go(&mut self) -> Result<(), ProgramError>;

    /// Its program.
    fn process(&self) -> &Arc<Process>;

    /// Where its copy will be.
    fn copy(&self) -> &Path;

    /// When its program said that the copy is complete and in place.
    fn completed(&self) -> Option<Instant>;

    /// Bytes of the file that it got, by the source's address (with or without a port); empty if
    /// nobody can tell. Asked once it is complete.
    fn from(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}

/// What can be said of a mode before any run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The program and its version, for programs that are not ours.
    pub(crate) version: Option<String>,
    /// What a reader of the report should know of how it was set up, a sentence; once in the notes
    /// of the experiment.
    pub(crate) note: Option<String>,
}

/// The programs of a mode, for one run.
pub(crate) fn of(mode: Mode) -> Box<dyn Program> {
    match mode {
        Mode::Raw => Box::new(client_server::ClientServer::raw()),
        Mode::Framed => Box::new(client_server::ClientServer::framed()),
        Mode::Chunk => Box::new(chunk::Chunk::default()),
        Mode::JsonTorrent => Box::new(json_torrent::JsonTorrent::default()),
        Mode::Swarm => Box::new(swarm::Swarm::default()),
        Mode::Aria2 => Box::new(aria2::Aria2::default()),
        Mode::Transmission => Box::new(transmission::Transmission::default()),
        Mode::Libtorrent => Box::new(libtorrent::Libtorrent::new(false)),
        Mode::LibtorrentSuper => Box::new(libtorrent::Libtorrent::new(true)),
        Mode::NginxCurl => Box::new(nginx_curl::NginxCurl::default()),
    }
}

/// What is to be said of a mode before any run of it.
///
/// # Errors
/// The program that is not installed, and how to get it.
pub(crate) fn look(mode: Mode) -> Result<Facts, Missing> {
    match mode {
        Mode::Raw | Mode::Framed | Mode::Chunk | Mode::JsonTorrent | Mode::Swarm => {
            Ok(Facts::default())
        }
        Mode::Aria2 => aria2::look(mode),
        Mode::Transmission => transmission::look(mode),
        Mode::Libtorrent | Mode::LibtorrentSuper => libtorrent::look(mode),
        Mode::NginxCurl => nginx_curl::look(mode),
    }
}
