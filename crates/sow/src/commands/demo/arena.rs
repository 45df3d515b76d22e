//! Where the demonstration takes place: a temporary folder with the file that is sent, and the
//! limits of every machine.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    disk,
    exit::{Exit, Failure},
    quantity::{Rate, Size},
};

/// The stage and its props.
#[derive(Debug)]
pub(super) struct Arena {
    folder: TempDir,
    /// The file's size in bytes.
    pub(super) size: u64,
    /// What every machine sends at most, in bytes per second.
    pub(super) rate: u64,
}

impl Arena {
    /// A fresh folder with a file of random bytes in it.
    pub(super) fn new(size: Size, rate: Rate) -> Result<Self, Failure> {
        let parent = std::env::temp_dir();
        let folder = tempfile::Builder::new()
            .prefix("sow-demo-")
            .tempdir_in(&parent)
            .map_err(|error| disk::unwritable(&parent, &error))?;
        let arena = Self { folder, size: size.0, rate: rate.0 };
        arena.write_file().map_err(|error| disk::unwritable(&arena.file(), &error))?;
        Ok(arena)
    }

    /// The file that the origin sends.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("big.iso")
    }

    /// Where things are put.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The shortest possible time until the last of `receivers` has everything, when each of them
    /// takes from the origin alone: `N·F/us`. Nothing limits what a receiver takes.
    pub(super) fn client_server_bound(&self, receivers: u32) -> Duration {
        Duration::from_secs_f64(f64::from(receivers) * self.size as f64 / self.rate as f64)
    }

    /// The same when receivers send to each other: `max(F/us, N·F/(us + Σu))` (Kumar and Ross
    /// 2006).
    pub(super) fn peer_to_peer_bound(&self, receivers: u32) -> Duration {
        let (size, rate, receivers) = (self.size as f64, self.rate as f64, f64::from(receivers));
        Duration::from_secs_f64((size / rate).max(receivers * size / (rate + receivers * rate)))
    }

    /// What is about to be shown.
    pub(super) fn description(&self, receivers: u32) -> String {
        format!(
            "One origin has a file of {}; {receivers} receivers want it. Each is a process of its own, in {}, and sends at \
             most {}.",
            Size(self.size),
            self.folder.path().display(),
            Rate(self.rate)
        )
    }

    /// Removes the folder. Processes that were just ended may hold on to it for a moment.
    pub(super) async fn clear(self) {
        let path = self.folder.keep();
        for _ in 0..20 {
            if std::fs::remove_dir_all(&path).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn write_file(&self) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(self.file())?);
        let mut random = fastrand::Rng::new();
        let mut block = [0; 64 * 1024];
        let mut left = self.size;
        while left > 0 {
            let now = left.min(block.len() as u64) as usize;
            random.fill(&mut block[..now]);
            file.write_all(&block[..now])?;
            left -= now as u64;
        }
        file.flush()
    }
}

/// Compares two files byte by byte.
pub(super) fn is_same(one: &Path, other: &Path) -> Result<bool, Failure> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| disk::unreadable(path, &error));
    Ok(read(one)? == read(other)?)
}

/// What to say when a copy is not what was sent.
pub(super) fn not_the_same(copy: &Path) -> Failure {
    Failure::new(Exit::Unverified, format!("{} is not what was sent", copy.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_formulas() {
        let arena = Arena::new(Size(1 << 20), Rate(1 << 20)).unwrap();
        let seconds = |bound: Duration| bound.as_secs_f64();
        assert_eq!(seconds(arena.client_server_bound(1)), 1.0);
        assert_eq!(seconds(arena.client_server_bound(5)), 5.0);
        assert_eq!(seconds(arena.peer_to_peer_bound(1)), 1.0);
        assert_eq!(seconds(arena.peer_to_peer_bound(5)), 1.0);
    }
}
