//! The adapter of Transmission's daemon, with a tracker beside the first origin. Each daemon has a
//! settings folder that already contains the .torrent file, and no remote control.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    Adapter, CommandLine, ProgramContext, ProgramError, ProgramInfo, ReceiverProgram, TestHost,
    completion_hook::{HookOutput, completion_hook},
    context::write_file,
    installed,
    torrent::TrackedSeeds,
};
use crate::{record::Missing, scenario::Mode};

const PROGRAM: &str = "transmission-daemon";
const PORT: u16 = 51_413;
const UPLOAD_SLOTS: u32 = 4;

/// Transmission in one run.
#[derive(Debug, Default)]
pub(super) struct Transmission {
    seeds: Option<TrackedSeeds>,
}

/// The version of Transmission, and how it is set up.
pub(super) fn program_info(mode: Mode) -> Result<ProgramInfo, Missing> {
    let [program, _] = installed::find(mode, [(PROGRAM, PROGRAM), ("python3", "python3")])?;
    Ok(ProgramInfo {
        version: installed::version(&program, &["--version"]),
        note: Some(format!(
            "Transmission: a tracker beside the origin with announces every 2 s, peer exchange, no \
             encryption, {UPLOAD_SLOTS} upload slots, no cache; its choke rounds of 10 s cannot be \
             changed; its start counts."
        )),
    })
}

impl Adapter for Transmission {
    fn start_origins(&mut self, context: &ProgramContext<'_>) -> Result<(), ProgramError> {
        let folder = context.content_folder();
        let seeds = TrackedSeeds::start(context, |host, torrent| {
            daemon_line(context, host, torrent, folder)
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
        let torrent = self.seeds.as_ref().map(|seeds| &*seeds.torrent).unwrap_or(Path::new(""));
        let line = daemon_line(context, host, torrent, &host.folder)?;
        let process = context.start_held(host, &line)?;
        Ok(ReceiverProgram::with_event(process, host.folder.join(context.file_name())))
    }

    fn payload_sent(&mut self, context: &ProgramContext<'_>) -> Vec<Option<u64>> {
        if let Some(seeds) = &self.seeds {
            seeds.end(Signal::TERM);
        }
        context.origins.iter().map(|host| uploaded(&settings_folder(context, host))).collect()
    }
}

/// A daemon and its settings folder. A daemon that was killed finds its folder as it was.
fn daemon_line(
    context: &ProgramContext<'_>,
    host: &TestHost,
    torrent: &Path,
    downloads: &Path,
) -> Result<CommandLine, ProgramError> {
    let folder = settings_folder(context, host);
    let torrents = folder.join("torrents");
    fs::create_dir_all(&torrents)
        .and_then(|()| fs::copy(torrent, torrents.join("content.torrent")))
        .map_err(|source| ProgramError::File { path: torrents, source })?;
    let settings = settings(host, downloads, &completion_hook(context, HookOutput::Inherited)?);
    write_file(&folder.join("settings.json"), &settings.to_string())?;
    Ok(CommandLine::new(PROGRAM).args(["--foreground", "--log-error", "--config-dir"]).arg(folder))
}

fn settings_folder(context: &ProgramContext<'_>, host: &TestHost) -> PathBuf {
    context.work.join(format!("transmission-{}", host.name))
}

/// The bytes that a daemon has sent, from the statistics that it writes when it ends. The tracker
/// does not get this total.
fn uploaded(folder: &Path) -> Option<u64> {
    let stats = fs::read(folder.join("stats.json")).ok()?;
    serde_json::from_slice::<Value>(&stats).ok()?["uploaded-bytes"].as_u64()
}

fn settings(host: &TestHost, downloads: &Path, hook: &Path) -> Value {
    json!({
        "bind-address-ipv4": host.address.to_string(),
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
        "upload-slots-per-torrent": UPLOAD_SLOTS,
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
