//! The programs that are compared. An adapter starts the programs of a mode as an expert would, and
//! reads their output.
//!
//! `sow_modes` is the adapter of all modes of `sow`; each program of others has an adapter with
//! what is particular to it. Every receiver is a [`ReceiverProgram`]. What a run is, when it is
//! over, what is recorded and whether the copies are right is decided by the runner. A new program
//! is a [`Mode`], an adapter here, and a line in [`adapter_of`] and in [`program_info`].

mod adapter;
mod aria2;
mod command_line;
mod completion_hook;
mod context;
mod installed;
mod libtorrent;
mod multicast;
mod nginx_curl;
mod process;
mod receiver;
mod sow_modes;
mod torrent;
mod transmission;
mod udpcast;
mod uftp;

use crate::{record::Missing, scenario::Mode};

pub(crate) use self::{
    adapter::{Adapter, ProgramInfo},
    command_line::CommandLine,
    context::{ProgramContext, ProgramError, TestHost, ended_early},
    process::Process,
    receiver::ReceiverProgram,
};

/// A new adapter for one run of a mode.
pub(crate) fn adapter_of(mode: Mode) -> Box<dyn Adapter> {
    match mode {
        Mode::Raw => Box::new(sow_modes::SowMode::new(sow_modes::Command::Raw)),
        Mode::Framed => Box::new(sow_modes::SowMode::new(sow_modes::Command::Framed)),
        Mode::Chunk => Box::new(sow_modes::SowMode::new(sow_modes::Command::Chunk)),
        Mode::JsonTorrent => Box::new(sow_modes::SowMode::new(sow_modes::Command::JsonTorrent)),
        Mode::Swarm => Box::new(sow_modes::SowMode::new(sow_modes::Command::Swarm)),
        Mode::Aria2 => Box::new(aria2::Aria2::default()),
        Mode::Transmission => Box::new(transmission::Transmission::default()),
        Mode::Libtorrent => Box::new(libtorrent::Libtorrent::new(false)),
        Mode::LibtorrentSuper => Box::new(libtorrent::Libtorrent::new(true)),
        Mode::NginxCurl => Box::new(nginx_curl::NginxCurl::default()),
        Mode::Udpcast => Box::new(udpcast::Udpcast::default()),
        Mode::Uftp => Box::new(uftp::Uftp),
    }
}

/// The version of a mode's program, and how it is set up.
///
/// # Errors
/// The program that is not installed, and how to install it.
pub(crate) fn program_info(mode: Mode) -> Result<ProgramInfo, Missing> {
    match mode {
        Mode::Raw | Mode::Framed | Mode::Chunk | Mode::JsonTorrent | Mode::Swarm => {
            Ok(ProgramInfo::default())
        }
        Mode::Aria2 => aria2::program_info(mode),
        Mode::Transmission => transmission::program_info(mode),
        Mode::Libtorrent | Mode::LibtorrentSuper => libtorrent::program_info(mode),
        Mode::NginxCurl => nginx_curl::program_info(mode),
        Mode::Udpcast => udpcast::program_info(mode),
        Mode::Uftp => uftp::program_info(mode),
    }
}
