//! The workspace of the demonstration: a temporary folder with the file that is sent, and the
//! upload rate of every process.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    exit::{Exit, Failure},
    file_errors,
    quantity::{Rate, Size},
};

/// How often the removal of the folder is tried.
const REMOVAL_ATTEMPTS: u32 = 20;

/// The delay between two attempts to remove the folder.
const REMOVAL_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The folder and the limits of a demonstration.
#[derive(Debug)]
pub(super) struct Workspace {
    folder: TempDir,
    /// The file's size in bytes.
    pub(super) size: u64,
    /// The maximum upload rate of every process, in bytes per second.
    pub(super) rate: u64,
}

impl Workspace {
    /// A new folder with a file of random bytes.
    pub(super) fn new(size: Size, rate: Rate) -> Result<Self, Failure> {
        let parent = std::env::temp_dir();
        let folder = tempfile::Builder::new()
            .prefix("sow-demo-")
            .tempdir_in(&parent)
            .map_err(|error| file_errors::cannot_write(&parent, &error))?;
        let workspace = Self { folder, size: size.0, rate: rate.0 };
        workspace
            .write_file()
            .map_err(|error| file_errors::cannot_write(&workspace.file(), &error))?;
        Ok(workspace)
    }

    /// The file that the origin sends.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("big.iso")
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The lower bound of the time until the last of N receivers is complete, if all of them
    /// download only from the origin: `N·F/us`. Download rates have no limit.
    pub(super) fn client_server_bound(&self, receivers: u32) -> Duration {
        Duration::from_secs_f64(f64::from(receivers) * self.size as f64 / self.rate as f64)
    }

    /// The same bound if receivers upload to each other: `max(F/us, N·F/(us + Σu))` (Kumar and Ross
    /// 2006).
    pub(super) fn peer_to_peer_bound(&self, receivers: u32) -> Duration {
        let (size, rate, receivers) = (self.size as f64, self.rate as f64, f64::from(receivers));
        Duration::from_secs_f64((size / rate).max(receivers * size / (rate + receivers * rate)))
    }

    /// The description of the demonstration.
    pub(super) fn description(&self, receivers: u32) -> String {
        format!(
            "One origin has a file of {}; {receivers} receivers download it. Each is a process of \
             its own in {} and uploads at most at {}.",
            Size(self.size),
            self.folder.path().display(),
            Rate(self.rate)
        )
    }

    /// Removes the folder. Processes that have just ended may still use it for a moment.
    pub(super) async fn remove(self) {
        let path = self.folder.keep();
        for _ in 0..REMOVAL_ATTEMPTS {
            if std::fs::remove_dir_all(&path).is_ok() {
                return;
            }
            tokio::time::sleep(REMOVAL_RETRY_DELAY).await;
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
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| file_errors::cannot_read(path, &error));
    Ok(read(one)? == read(other)?)
}

/// The failure because a copy differs from the original.
pub(super) fn copy_differs(copy: &Path) -> Failure {
    Failure::new(Exit::Unverified, format!("{} differs from the original", copy.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_follow_the_formulas() {
        let workspace = Workspace::new(Size(1 << 20), Rate(1 << 20)).unwrap();
        let seconds = |bound: Duration| bound.as_secs_f64();
        assert_eq!(seconds(workspace.client_server_bound(1)), 1.0);
        assert_eq!(seconds(workspace.client_server_bound(5)), 5.0);
        assert_eq!(seconds(workspace.peer_to_peer_bound(1)), 1.0);
        assert_eq!(seconds(workspace.peer_to_peer_bound(5)), 1.0);
    }
}
