//! The adapter of libtorrent, through its Python binding (`interop/libtorrent_peer.py`) with
//! settings for a flash crowd. Every host gets the addresses of all others, so that no host waits
//! for a tracker; the start of the interpreter does not count.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::Signal;

use super::{
    Adapter, CommandLine, Process, ProgramContext, ProgramError, ProgramInfo, ReceiverProgram,
    TestHost,
    installed::{self, PYTHON},
    torrent::{LIBTORRENT_PEER, create_torrent, write_script},
};
use crate::{record::Missing, scenario::Mode};

const PORT: u16 = 6881;

/// libtorrent in one run.
#[derive(Debug)]
pub(super) struct Libtorrent {
    super_seeding: bool,
    seeds: Vec<Arc<Process>>,
    torrent: PathBuf,
}

/// The version of libtorrent, and how it is set up.
pub(super) fn program_info(mode: Mode) -> Result<ProgramInfo, Missing> {
    let python = Path::new(PYTHON);
    let version =
        installed::version(python, &["-c", "import libtorrent; print(libtorrent.__version__)"]);
    let version = version
        .ok_or_else(|| installed::missing(mode, "libtorrent for Python", "python3-libtorrent"))?;
    Ok(ProgramInfo {
        version: Some(format!("libtorrent {version}")),
        note: Some(
            "libtorrent: choke rounds of 1 s, 3 upload slots, pieces announced 0.5 s ahead, 20 \
             requests in flight, every host has the addresses of all others; the start of its \
             Python does not count."
                .to_owned(),
        ),
    })
}

impl Libtorrent {
    pub(super) fn new(super_seeding: bool) -> Self {
        Self { super_seeding, seeds: Vec::new(), torrent: PathBuf::new() }
    }

    fn session_line(
        &self,
        context: &ProgramContext<'_>,
        host: &TestHost,
        save: &Path,
    ) -> CommandLine {
        CommandLine::new(PYTHON)
            .arg(context.work.join(LIBTORRENT_PEER.0))
            .arg("--torrent")
            .arg(&self.torrent)
            .args(["--listen", &host.address.to_string(), "--port", &PORT.to_string()])
            .args(["--preset", "flash-crowd", "--save"])
            .arg(save)
    }
}

impl Adapter for Libtorrent {
    fn start_origins(&mut self, context: &ProgramContext<'_>) -> Result<(), ProgramError> {
        write_script(context, LIBTORRENT_PEER)?;
        self.torrent = create_torrent(context, None)?;
        let role = if self.super_seeding { &["--seed", "--super-seed"][..] } else { &["--seed"] };
        for host in &context.origins {
            let line = self.session_line(context, host, context.content_folder()).args(role);
            let seed = context.start(host, &line)?;
            context.wait_for_event(&seed, "listening")?;
            self.seeds.push(seed);
        }
        Ok(())
    }

    /// The session starts now and waits for its release by itself.
    fn prepare_receiver(
        &mut self,
        context: &ProgramContext<'_>,
        index: usize,
    ) -> Result<ReceiverProgram, ProgramError> {
        let host = &context.receivers[index];
        let others = context.hosts().filter(|other| *other != host);
        let connect =
            others.flat_map(|other| ["--connect".to_owned(), format!("{}:{PORT}", other.address)]);
        let line = self.session_line(context, host, &host.folder).arg("--wait").args(connect);
        let process = context.start(host, &line)?;
        context.wait_for_event(&process, "listening")?;
        Ok(ReceiverProgram::with_event(process, host.folder.join(context.file_name())))
    }

    fn payload_sent(&mut self, _context: &ProgramContext<'_>) -> Vec<Option<u64>> {
        Process::end_all(&self.seeds, Signal::TERM);
        self.seeds.iter().map(|seed| seed.latest_event("stopped")?["uploaded"].as_u64()).collect()
    }
}
