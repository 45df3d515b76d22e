//! What BitTorrent programs of others need beside themselves: a .torrent file that none of them
//! made, a tracker for those that find peers in no other way, and seeds that have announced
//! themselves. The tracker and the maker of the .torrent are Python scripts, embedded from the
//! interop tests.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::Signal;

use super::{
    CommandLine, Process, ProgramContext, ProgramError, TestHost, context::write_file,
    installed::PYTHON,
};

/// The script that controls and observes libtorrent: its file name and its text.
pub(super) const LIBTORRENT_PEER: (&str, &str) =
    ("libtorrent_peer.py", include_str!("../../../../../interop/libtorrent_peer.py"));
const TRACKER: (&str, &str) = ("tracker.py", include_str!("../../../../../interop/tracker.py"));
const TORRENT_FILE: (&str, &str) =
    ("torrent_file.py", include_str!("../../../../../interop/torrent_file.py"));

const TRACKER_PORT: u16 = 6969;
/// The piece lengths that all BitTorrent programs accept.
const PIECE_LENGTHS: std::ops::RangeInclusive<u64> = 16 << 10..=16 << 20;
/// The targeted number of pieces: enough for a large crowd (50 × log2 N), without needless
/// messages.
const TARGET_PIECES: u64 = 256;

/// Writes one of the scripts into the working folder.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_script(
    context: &ProgramContext<'_>,
    (name, text): (&str, &str),
) -> Result<PathBuf, ProgramError> {
    let path = context.work.join(name);
    write_file(&path, text)?;
    Ok(path)
}

/// Makes the .torrent file in the working folder.
///
/// # Errors
/// When the content cannot be read, or the .torrent file cannot be written.
pub(super) fn create_torrent(
    context: &ProgramContext<'_>,
    tracker: Option<&str>,
) -> Result<PathBuf, ProgramError> {
    let path = context.work.join("content.torrent");
    let bytes = fs::metadata(context.content)
        .map_err(|source| ProgramError::File { path: context.content.to_owned(), source })?
        .len();
    let length = context.piece_length.map_or_else(|| piece_length(bytes), u64::from);
    let line = CommandLine::new(PYTHON)
        .arg(write_script(context, TORRENT_FILE)?)
        .arg(context.content)
        .arg(&path)
        .args(["--piece-length", &length.to_string()])
        .args(tracker.into_iter().flat_map(|url| ["--tracker", url]));
    context.run(&context.origins[0], &line)?;
    Ok(path)
}

/// The piece length that an expert would choose for a file: a power of two.
fn piece_length(bytes: u64) -> u64 {
    let length = (bytes / TARGET_PIECES).max(1).next_power_of_two();
    length.clamp(*PIECE_LENGTHS.start(), *PIECE_LENGTHS.end())
}

/// A tracker, and a seed on every origin that has announced itself there.
#[derive(Debug)]
pub(super) struct TrackedSeeds {
    /// The tracker.
    pub(super) tracker: Tracker,
    /// The .torrent file, which names the tracker.
    pub(super) torrent: PathBuf,
    seeds: Vec<Arc<Process>>,
}

impl TrackedSeeds {
    /// Starts the tracker, makes the .torrent file, and starts a seed on each origin. `line` is the
    /// seed's command line for a host and the .torrent file.
    ///
    /// # Errors
    /// When a program cannot be started, or a seed does not announce itself in time.
    pub(super) fn start(
        context: &ProgramContext<'_>,
        line: impl Fn(&TestHost, &Path) -> Result<CommandLine, ProgramError>,
    ) -> Result<Self, ProgramError> {
        let tracker = Tracker::start(context)?;
        let torrent = create_torrent(context, Some(&tracker.url))?;
        let mut seeds = Vec::new();
        for host in &context.origins {
            let seed = context.start(host, &line(host, &torrent)?)?;
            tracker.wait_for_seed(context, host)?;
            seeds.push(seed);
        }
        Ok(Self { tracker, torrent, seeds })
    }

    /// Asks the seeds to end, and waits for it.
    pub(super) fn end(&self, signal: Signal) {
        Process::end_all(&self.seeds, signal);
    }
}

/// A tracker beside the first origin, with an interval of 2 seconds.
#[derive(Debug)]
pub(super) struct Tracker {
    process: Arc<Process>,
    url: String,
}

impl Tracker {
    /// Starts it and waits until it listens.
    fn start(context: &ProgramContext<'_>) -> Result<Self, ProgramError> {
        let host = &context.origins[0];
        write_script(context, TORRENT_FILE)?;
        let line = CommandLine::new(PYTHON).arg(write_script(context, TRACKER)?).args([
            "--listen",
            &host.address.to_string(),
            "--port",
            &TRACKER_PORT.to_string(),
        ]);
        let process = context.start(host, &line)?;
        context.wait_for_event(&process, "listening")?;
        Ok(Self { process, url: format!("http://{}:{TRACKER_PORT}/announce", host.address) })
    }

    /// Waits until a program on this host has announced that it has the whole file.
    fn wait_for_seed(
        &self,
        context: &ProgramContext<'_>,
        host: &TestHost,
    ) -> Result<(), ProgramError> {
        context.wait_for(&self.process, "announce of a seed", || {
            let announce = self.process.latest_event("announce")?;
            let peer = announce["peer"].as_str()?;
            (context.host_of(peer) == Some(&host.name) && announce["left"] == "0").then_some(())
        })
    }

    /// The bytes that the program on each origin last reported as sent. Ends the tracker.
    pub(super) fn uploaded_by_origins(&self, context: &ProgramContext<'_>) -> Vec<Option<u64>> {
        Process::end_all(std::slice::from_ref(&self.process), Signal::TERM);
        let totals = self.process.latest_event("totals").unwrap_or_default();
        let peers: Vec<_> = totals["uploaded"].as_object().into_iter().flatten().collect();
        let of_host =
            |host: &str| peers.iter().find(|(peer, _)| context.host_of(peer) == Some(host));
        context.origins.iter().map(|host| of_host(&host.name)?.1.as_u64()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_piece_length_gives_a_moderate_number_of_pieces() {
        for (bytes, length) in
            [(1, 16 << 10), (4 << 20, 16 << 10), (10 << 20, 64 << 10), (1 << 40, 16 << 20)]
        {
            assert_eq!(piece_length(bytes), length, "{bytes}");
        }
    }
}
