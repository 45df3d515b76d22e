//! aria2, with a tracker beside the first origin, since aria2 takes peers from nowhere else at the
//! start.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::Signal;

use super::{
    CommandLine, Facts, Held, Process, Program, ProgramError, Receiver, Stage,
    hook::hook,
    installed,
    torrent::{self, Tracker},
};
use crate::{record::Missing, scenario::Mode};

const PROGRAM: &str = "aria2c";

/// No discovery that costs time; announces every 2 s; no limit below which it looks for more peers,
/// so that it meets everybody.
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

/// A tracker, and programs that know it.
#[derive(Debug, Default)]
pub(super) struct Aria2 {
    tracker: Option<Tracker>,
    seeds: Vec<Arc<Process>>,
    torrent: PathBuf,
}

/// Whether it is installed, and what the tracker needs.
pub(super) fn look(mode: Mode) -> Result<Facts, Missing> {
    let [program, _] = installed::find(mode, [(PROGRAM, "aria2"), ("python3", "python3")])?;
    Ok(Facts {
        version: installed::version(&program, &["--version"]),
        note: Some(
            "aria2: a tracker beside the origin with announces every 2 s, peer exchange, no limit of speed below which it asks for more \
             peers; its start counts."
                .to_owned(),
        ),
    })
}

impl Aria2 {
    fn line(&self, folder: &Path) -> CommandLine {
        CommandLine::new(PROGRAM).args(SETTINGS).arg("--dir").arg(folder)
    }
}

impl Program for Aria2 {
    fn start_origins(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError> {
        let tracker = Tracker::start(stage)?;
        self.torrent = torrent::create(stage, Some(&tracker.url))?;
        let folder = stage.content.parent().unwrap_or(Path::new("/"));
        for place in &stage.origins {
            let seed = stage.start(
                place,
                &self.line(folder).arg("--check-integrity=true").arg(&self.torrent),
            )?;
            tracker.wait_for_seed(stage, place)?;
            self.seeds.push(seed);
        }
        self.tracker = Some(tracker);
        Ok(())
    }

    fn prepare_receiver(
        &mut self,
        stage: &Stage<'_>,
        index: usize,
    ) -> Result<Box<dyn Receiver>, ProgramError> {
        let place = &stage.receivers[index];
        let line = self
            .line(&place.folder)
            .arg("--on-bt-download-complete")
            .arg(hook(stage)?)
            .arg("--check-integrity=true")
            .arg(&self.torrent);
        Held::prepare(stage, place, &line, place.folder.join(stage.file_name()))
    }

    fn payload_sent(&mut self, stage: &Stage<'_>) -> Vec<Option<u64>> {
        // At SIGTERM it would not tell the tracker how much it has sent.
        Process::end_in_order(&self.seeds, Signal::INT);
        self.tracker.as_ref().map(|tracker| tracker.uploaded_by_origins(stage)).unwrap_or_default()
    }
}
