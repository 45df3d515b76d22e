//! What BitTorrent programs of others need beside themselves: a .torrent that none of them made,
//! and a tracker for those that find peers in no other way. Both are Python scripts that are
//! carried along; the interop tests use the same.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::Signal;

use super::{CommandLine, Place, Process, ProgramError, Stage, installed::PYTHON};

/// libtorrent, steered and watched.
pub(super) const LIBTORRENT_PEER: (&str, &str) =
    ("libtorrent_peer.py", include_str!("../../../../../interop/libtorrent_peer.py"));
const TRACKER: (&str, &str) = ("tracker.py", include_str!("../../../../../interop/tracker.py"));
const TORRENT_FILE: (&str, &str) =
    ("torrent_file.py", include_str!("../../../../../interop/torrent_file.py"));

const TRACKER_PORT: u16 = 6969;
/// What all BitTorrent programs take.
const PIECES: std::ops::RangeInclusive<u64> = 16 << 10..=16 << 20;
/// Enough pieces for a large crowd (50 × log2 N), and no more messages than that.
const WANTED_PIECES: u64 = 256;

/// Puts one of the scripts into the work folder.
///
/// # Errors
/// When it cannot be written.
pub(super) fn script(
    stage: &Stage<'_>,
    (name, text): (&str, &str),
) -> Result<PathBuf, ProgramError> {
    let path = stage.work.join(name);
    write(&path, text)?;
    Ok(path)
}

/// Writes a small file of a run.
///
/// # Errors
/// When that fails.
pub(super) fn write(path: &Path, text: &str) -> Result<(), ProgramError> {
    fs::write(path, text).map_err(|source| ProgramError::File { path: path.to_owned(), source })
}

/// Makes the .torrent in the work folder.
///
/// # Errors
/// When the file cannot be read, or the .torrent not written.
pub(super) fn create(stage: &Stage<'_>, tracker: Option<&str>) -> Result<PathBuf, ProgramError> {
    let path = stage.work.join("content.torrent");
    let bytes = fs::metadata(stage.content)
        .map_err(|source| ProgramError::File { path: stage.content.to_owned(), source })?
        .len();
    let length = stage.piece_length.map_or_else(|| piece_length(bytes), u64::from);
    let line = CommandLine::new(PYTHON)
        .arg(script(stage, TORRENT_FILE)?)
        .arg(stage.content)
        .arg(&path)
        .args(["--piece-length", &length.to_string()])
        .args(tracker.into_iter().flat_map(|url| ["--tracker", url]));
    stage.run(&stage.origins[0], &line)?;
    Ok(path)
}

/// A piece length that somebody who knows would choose for a file: a power of two.
fn piece_length(bytes: u64) -> u64 {
    (bytes / WANTED_PIECES).max(1).next_power_of_two().clamp(*PIECES.start(), *PIECES.end())
}

/// A tracker beside the first origin, with an interval of 2 seconds.
#[derive(Debug)]
pub(super) struct Tracker {
    process: Arc<Process>,
    /// Where to announce.
    pub(super) url: String,
}

impl Tracker {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn start(stage: &Stage<'_>) -> Result<Self, ProgramError> {
        let place = &stage.origins[0];
        script(stage, TORRENT_FILE)?;
        let line = CommandLine::new(PYTHON).arg(script(stage, TRACKER)?).args([
            "--listen",
            &place.address.to_string(),
            "--port",
            &TRACKER_PORT.to_string(),
        ]);
        let process = stage.start(place, &line)?;
        stage.wait_for_event(&process, "listening")?;
        Ok(Self { process, url: format!("http://{}:{TRACKER_PORT}/announce", place.address) })
    }

    /// Waits until a program on this host has announced that it has everything.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn wait_for_seed(
        &self,
        stage: &Stage<'_>,
        place: &Place,
    ) -> Result<(), ProgramError> {
        stage.wait(&self.process, "announce of a seed", || {
            let announce = self.process.latest("announce")?;
            let peer = announce["peer"].as_str()?;
            (stage.host_of(peer) == Some(&place.host) && announce["left"] == "0").then_some(())
        })
    }

    /// What the program on each origin said last that it has sent. Ends the tracker.
    pub(super) fn uploaded_by_origins(&self, stage: &Stage<'_>) -> Vec<Option<u64>> {
        Process::end_in_order(std::slice::from_ref(&self.process), Signal::TERM);
        let totals = self.process.latest("totals").unwrap_or_default();
        let peers: Vec<_> = totals["uploaded"].as_object().into_iter().flatten().collect();
        let of_host = |host: &str| peers.iter().find(|(peer, _)| stage.host_of(peer) == Some(host));
        stage.origins.iter().map(|place| of_host(&place.host)?.1.as_u64()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_neither_few_nor_tiny() {
        for (bytes, length) in
            [(1, 16 << 10), (4 << 20, 16 << 10), (10 << 20, 64 << 10), (1 << 40, 16 << 20)]
        {
            assert_eq!(piece_length(bytes), length, "{bytes}");
        }
    }
}
