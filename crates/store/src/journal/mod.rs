//! The resume journal as a file: opened, appended to, synced. What its bytes mean is in [`format`].
//!
//! It only grows: no record is ever changed, and the header changes in its boot id alone. So at
//! every moment the intact records at its beginning are the truth.

pub(crate) mod format;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::io::Errno;

pub(crate) use format::{BootId, Identity, Record, Replay};

use crate::{
    error::{Operation, StoreError},
    place::Lock,
};

/// A journal of content with the most pieces that there can be, each lost and written again many
/// times, is shorter.
const LONGEST: u64 = 256 << 20;

/// An open journal that records are appended to.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Arc<Lock>,
    path: PathBuf,
    identity: Identity,
    records: u32,
}

/// What was found in the file.
#[derive(Debug)]
pub(crate) enum Contents {
    /// No readable header: a new file, one that was never begun, or a damaged one.
    Nothing,
    /// A journal of other content.
    Other,
    /// A journal of this content.
    Ours {
        /// Who wrote it.
        boot: BootId,
        /// What it says.
        replay: Replay,
    },
}

/// Reads what a journal file holds. Nothing is changed.
pub(crate) fn read(file: &File, path: &Path, identity: &Identity) -> Result<Contents, StoreError> {
    let failed = |error| StoreError::io(Operation::Read, path, error);
    let length = file.metadata().map_err(failed)?.len();
    if length > LONGEST {
        return Ok(Contents::Nothing);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok(match format::decode_header(&bytes) {
        None => Contents::Nothing,
        Some((found, _)) if found != *identity => Contents::Other,
        Some((_, boot)) => {
            Contents::Ours { boot, replay: format::replay(&bytes[format::HEADER..], identity) }
        }
    })
}

impl Journal {
    /// Begins a new journal in `file` with these records; whatever was in it is gone.
    pub(crate) fn begin(
        file: Arc<Lock>,
        path: &Path,
        identity: Identity,
        boot: BootId,
        records: &[Record],
    ) -> Result<Self, StoreError> {
        file.set_len(0).map_err(|error| StoreError::io(Operation::Resize, path, error))?;
        let mut journal = Self { file, path: path.to_owned(), identity, records: 0 };
        // The header last: it makes all of them count at once.
        journal.append_all(records)?;
        journal.write_header(boot)?;
        Ok(journal)
    }

    /// Goes on with a journal of which the first `records` records are intact; a torn tail is cut
    /// off.
    pub(crate) fn go_on(
        file: Arc<Lock>,
        path: &Path,
        identity: Identity,
        records: u32,
    ) -> Result<Self, StoreError> {
        let journal = Self { file, path: path.to_owned(), identity, records };
        journal
            .file
            .set_len(journal.end())
            .map_err(|e| StoreError::io(Operation::Resize, path, e))?;
        Ok(journal)
    }

    /// The file's path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// The file, to wait for it with [`sync`] without holding the journal.
    pub(crate) fn file(&self) -> Arc<Lock> {
        self.file.clone()
    }

    /// Appends a record: one small write, no wait for the disk.
    pub(crate) fn append(&mut self, record: Record) -> Result<(), StoreError> {
        self.append_all(&[record])
    }

    /// Appends records in one write. When it fails, none of them counts and the next write takes
    /// their place.
    pub(crate) fn append_all(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let failed = |error| StoreError::io(Operation::Write, &self.path, error);
        let count =
            u32::try_from(records.len()).ok().and_then(|count| self.records.checked_add(count));
        let count = count
            .filter(|count| *count < format::MOST_RECORDS)
            .ok_or_else(|| failed(Errno::FBIG.into()))?;
        let hash = &self.identity.info_hash;
        let encode = |(index, record): (u32, &Record)| record.encode(index, hash);
        let bytes: Vec<u8> = (self.records..).zip(records).flat_map(encode).collect();
        self.file.write_all_at(&bytes, self.end()).map_err(failed)?;
        self.records = count;
        Ok(())
    }

    /// Waits until everything in the journal is on the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        sync(&self.file, &self.path)
    }

    /// Says that this start of the system vouches for the records now.
    pub(crate) fn write_header(&self, boot: BootId) -> Result<(), StoreError> {
        let header = format::encode_header(&self.identity, boot);
        self.file
            .write_all_at(&header, 0)
            .map_err(|e| StoreError::io(Operation::Write, &self.path, e))?;
        self.sync()
    }

    fn end(&self) -> u64 {
        format::HEADER as u64 + u64::from(self.records) * format::RECORD as u64
    }
}

/// Waits until everything in a journal's file is on the disk.
pub(crate) fn sync(file: &File, path: &Path) -> Result<(), StoreError> {
    file.sync_data().map_err(|e| StoreError::io(Operation::Sync, path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sow_content::{Geometry, InfoHash};

    fn identity(byte: u8) -> Identity {
        Identity { info_hash: InfoHash([byte; 20]), geometry: Geometry::new(10_000, 1000).unwrap() }
    }

    #[test]
    fn what_was_appended_is_read_back_and_a_torn_tail_is_overwritten() {
        let file = tempfile::tempfile().unwrap();
        let path = Path::new("journal");
        let clone = || Arc::new(Lock(file.try_clone().unwrap()));
        assert!(matches!(read(&file, path, &identity(1)).unwrap(), Contents::Nothing));
        let mut journal = Journal::begin(clone(), path, identity(1), BootId::of(3), &[]).unwrap();
        journal.append(Record::Verified(4)).unwrap();
        journal.append_all(&[Record::Verified(5), Record::Synced(2)]).unwrap();
        file.write_all_at(&[1, 2, 3], journal.end()).unwrap();

        let Contents::Ours { boot, replay } = read(&file, path, &identity(1)).unwrap() else {
            panic!()
        };
        assert_eq!((boot, replay.records), (BootId::of(3), 3));
        assert_eq!(replay.synced.iter().collect::<Vec<_>>(), [4, 5]);
        assert!(matches!(read(&file, path, &identity(2)).unwrap(), Contents::Other));

        let mut journal = Journal::go_on(clone(), path, identity(1), replay.records).unwrap();
        assert_eq!(file.metadata().unwrap().len(), journal.end());
        journal.append(Record::Lost(4)).unwrap();
        let Contents::Ours { replay, .. } = read(&file, path, &identity(1)).unwrap() else {
            panic!()
        };
        assert_eq!(replay.synced.iter().collect::<Vec<_>>(), [5]);
    }
}
