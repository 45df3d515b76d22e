//! The adapter of aria2. A tracker runs beside the first origin, because aria2 has no other way to
//! find its first peers.

use std::path::Path;

use rustix::process::Signal;

use super::{
    Adapter, CommandLine, ProgramContext, ProgramError, ProgramInfo, ReceiverProgram,
    completion_hook::{HookOutput, completion_hook},
    installed,
    torrent::TrackedSeeds,
};
use crate::{record::Missing, scenario::Mode};

const PROGRAM: &str = "aria2c";

/// No discovery that takes time, announces every 2 s, and no speed below which it requests more
/// peers, so that it connects to all of them.
const SETTINGS: [&str; 14] = [
    "--no-conf=true",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--enable-peer-exchange=true",
    "--bt-tracker-interval=2",
    "--bt-request-peer-speed-limit=1000M",
    "--disable-ipv6=true",
    "--listen-port=6881",
    "--seed-ratio=0.0",
    "--file-allocation=none",
    "--allow-overwrite=true",
    "--summary-interval=0",
    "--console-log-level=error",
];

/// aria2 in one run.
#[derive(Debug, Default)]
pub(super) struct Aria2 {
    seeds: Option<TrackedSeeds>,
}

/// The version of aria2, and how it is set up.
pub(super) fn program_info(mode: Mode) -> Result<ProgramInfo, Missing> {
    let [program, _] = installed::find(mode, [(PROGRAM, "aria2"), ("python3", "python3")])?;
    Ok(ProgramInfo {
        version: installed::version(&program, &["--version"]),
        note: Some(
            "aria2: a tracker beside the origin with announces every 2 s, peer exchange, no limit \
             of speed below which it requests more peers; its start counts."
                .to_owned(),
        ),
    })
}

impl Adapter for Aria2 {
    fn start_origins(&mut self, context: &ProgramContext<'_>) -> Result<(), ProgramError> {
        let folder = context.content_folder();
        let seeds = TrackedSeeds::start(context, |_, torrent| {
            Ok(base_line(folder).arg("--check-integrity=true").arg(torrent))
        })?;
        self.seeds = Some(seeds);
        Ok(())
    }

    fn prepare_receiver(
        &mut self,
        context: &ProgramContext<'_>,
        index: usize,
    ) -> Result<ReceiverProgram, ProgramError> {
        let host = &context.receivers[index];
        let line = base_line(&host.folder)
            .arg("--on-bt-download-complete")
            .arg(completion_hook(context, HookOutput::Inherited)?)
            .arg("--check-integrity=true")
            .args(self.seeds.iter().map(|seeds| &seeds.torrent));
        let process = context.start_held(host, &line)?;
        Ok(ReceiverProgram::with_event(process, host.folder.join(context.file_name())))
    }

    fn payload_sent(&mut self, context: &ProgramContext<'_>) -> Vec<Option<u64>> {
        let Some(seeds) = &self.seeds else { return Vec::new() };
        // On SIGTERM, aria2 does not send the tracker its final totals.
        seeds.end(Signal::INT);
        seeds.tracker.uploaded_by_origins(context)
    }
}

fn base_line(folder: &Path) -> CommandLine {
    CommandLine::new(PROGRAM).args(SETTINGS).arg("--dir").arg(folder)
}
