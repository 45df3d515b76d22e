//! Transmission's daemon, with a tracker beside the first origin. Each has a folder for its
//! settings, where the .torrent lies already, and no remote control.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    CommandLine, Facts, Held, Place, Process, Program, ProgramError, Receiver, Stage,
    hook::hook,
    installed,
    torrent::{self, Tracker, write},
};
use crate::{record::Missing, scenario::Mode};

const PROGRAM: &str = "transmission-daemon";
const PORT: u16 = 51_413;
/// Uploads at a time.
const SLOTS: u32 = 4;

/// Daemons that know a tracker.
#[derive(Debug, Default)]
pub(super) struct Transmission {
    seeds: Vec<Arc<Process>>,
    torrent: PathBuf,
}

/// Whether it is installed, and what the tracker needs.
pub(super) fn look(mode: Mode) -> Result<Facts, Missing> {
    let [program, _] = installed::find(mode, [(PROGRAM, PROGRAM), ("python3", "python3")])?;
    Ok(Facts {
        version: installed::version(&program, &["--version"]),
        note: Some(format!(
            "Transmission: a tracker beside the origin with announces every 2 s, peer exchange, no encryption, {SLOTS} upload slots, no \
             cache; its choke rounds of 10 s cannot be changed; its start counts."
        )),
    })
}

impl Transmission {
    /// A daemon with its settings. One that was killed finds its folder as it left it.
    fn line(
        &self,
        stage: &Stage<'_>,
        place: &Place,
        downloads: &Path,
    ) -> Result<CommandLine, ProgramError> {
        let folder = folder_of(stage, place);
        let torrents = folder.join("torrents");
        fs::create_dir_all(&torrents)
            .and_then(|()| fs::copy(&self.torrent, torrents.join("content.torrent")))
            .map_err(|source| ProgramError::File { path: torrents, source })?;
        write(
            &folder.join("settings.json"),
            &settings(place, downloads, &hook(stage)?).to_string(),
        )?;
        Ok(CommandLine::new(PROGRAM)
            .args(["--foreground", "--log-error", "--config-dir"])
            .arg(folder))
    }
}

/// The folder of a daemon's settings.
fn folder_of(stage: &Stage<'_>, place: &Place) -> PathBuf {
    stage.work.join(format!("transmission-{}", place.host))
}

/// What a daemon that has ended has sent; the tracker is not told.
fn uploaded(folder: &Path) -> Option<u64> {
    let stats = fs::read(folder.join("stats.json")).ok()?;
    serde_json::from_slice::<Value>(&stats).ok()?["uploaded-bytes"].as_u64()
}

fn settings(place: &Place, downloads: &Path, hook: &Path) -> Value {
    json!({
        "bind-address-ipv4": place.address.to_string(),
        "peer-port": PORT,
        "peer-port-random-on-start": false,
        "port-forwarding-enabled": false,
        "rpc-enabled": false,
        "download-dir": downloads,
        "incomplete-dir-enabled": false,
        "rename-partial-files": false,
        "start-added-torrents": true,
        "dht-enabled": false,
        "lpd-enabled": false,
        "utp-enabled": false,
        "pex-enabled": true,
        "encryption": 0,
        "upload-slots-per-torrent": SLOTS,
        "peer-limit-global": 1000,
        "peer-limit-per-torrent": 500,
        "speed-limit-up-enabled": false,
        "speed-limit-down-enabled": false,
        "alt-speed-enabled": false,
        "download-queue-enabled": false,
        "seed-queue-enabled": false,
        "ratio-limit-enabled": false,
        "idle-seeding-limit-enabled": false,
        "queue-stalled-enabled": false,
        "cache-size-mb": 0,
        "preallocation": 0,
        "script-torrent-done-enabled": true,
        "script-torrent-done-filename": hook,
    })
}

impl Program for Transmission {
    fn start_origins(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError> {
        let tracker = Tracker::start(stage)?;
        self.torrent = torrent::create(stage, Some(&tracker.url))?;
        let folder = stage.content.parent().unwrap_or(Path::new("/"));
        for place in &stage.origins {
            let seed = stage.start(place, &self.line(stage, place, folder)?)?;
            tracker.wait_for_seed(stage, place)?;
            self.seeds.push(seed);
        }
        Ok(())
    }

    fn prepare_receiver(
        &mut self,
        stage: &Stage<'_>,
        index: usize,
    ) -> Result<Box<dyn Receiver>, ProgramError> {
        let place = &stage.receivers[index];
        let line = self.line(stage, place, &place.folder)?;
        Held::prepare(stage, place, &line, place.folder.join(stage.file_name()))
    }

    fn payload_sent(&mut self, stage: &Stage<'_>) -> Vec<Option<u64>> {
        Process::end_in_order(&self.seeds, Signal::TERM);
        stage.origins.iter().map(|place| uploaded(&folder_of(stage, place))).collect()
    }
}
