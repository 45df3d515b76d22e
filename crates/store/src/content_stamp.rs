//! The state of files, by which a change is noticed without reading them: lengths, modification and
//! change times, inode numbers. Whether that proves anything is decided in `receive`.

use std::{
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, Stat, fstat, statat},
    io::Errno,
};
use sow_content::hash::Sha1;

use crate::{
    error::{Operation, StoreError},
    file_set::FileSet,
};

/// Two writes within this time may get the same times: many kernels take them from a clock that
/// ticks every 1 to 10 ms.
const TIME_GRANULARITY: Duration = Duration::from_millis(20);

/// The state of all files at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentStamp {
    /// Covers the length, the times and the inode number of each file.
    pub(crate) digest: [u8; 20],
    /// The newest change time, since 1970.
    changed: Duration,
}

impl ContentStamp {
    /// The state of the files now.
    pub(crate) fn of(files: &FileSet) -> Result<Self, StoreError> {
        let mut hash = Sha1::new();
        let mut changed = Duration::ZERO;
        let failed = |error: Errno| StoreError::io(Operation::Examine, &files.path(), error);
        let root = fstat(files.root()).map_err(failed)?;
        if files.layout().is_folder() {
            // Of the folder only its identity: its times change with names that are not content.
            hash.update(&root.st_ino.to_le_bytes());
            for (at, entry) in files.layout().on_disk() {
                match statat(files.root(), entry.path(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => changed = changed.max(add(&mut hash, &stat)),
                    Err(Errno::NOENT | Errno::NOTDIR) => hash.update(b"missing"),
                    Err(error) => {
                        return Err(StoreError::io(Operation::Examine, &files.path_of(at), error));
                    }
                }
            }
        } else {
            changed = add(&mut hash, &root);
        }
        Ok(Self { digest: hash.finish(), changed })
    }

    /// The state of files that no program is writing to, after which a write cannot be overlooked:
    /// their last change is older than the granularity of the times. Waits for that at most
    /// [`TIME_GRANULARITY`]. `None` when the files change meanwhile.
    pub(crate) fn settled(files: &FileSet) -> Result<Option<Self>, StoreError> {
        let stamp = Self::of(files)?;
        if stamp.is_settled() {
            return Ok(Some(stamp));
        }
        sleep(TIME_GRANULARITY);
        Ok((Self::of(files)? == stamp).then_some(stamp))
    }

    /// Whether the last change is older than the granularity of the times.
    pub(crate) fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.abs_diff(self.changed) > TIME_GRANULARITY
    }
}

/// Adds the state of one file, and returns its change time.
fn add(hash: &mut Sha1, stat: &Stat) -> Duration {
    hash.update(&stat.st_ino.to_le_bytes());
    hash.update(&stat.st_size.to_le_bytes());
    for (seconds, nanoseconds) in
        [(stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec)]
    {
        hash.update(&seconds.to_le_bytes());
        hash.update(&nanoseconds.to_le_bytes());
    }
    let seconds = u64::try_from(stat.st_ctime).unwrap_or(0);
    Duration::new(seconds, u32::try_from(stat.st_ctime_nsec).unwrap_or(0))
}
