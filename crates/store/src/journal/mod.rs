//! The file of a resume journal: reading, appending, syncing. The meaning of its bytes is in
//! [`format`].
//!
//! The file only grows: no record is ever changed. In the header the boot id changes, and the
//! [`Stamp`] says whether the records may be believed without hashing.

pub(crate) mod format;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::io::Errno;

pub(crate) use format::{BootId, Identity, Record, Replay, Stamp, inode_tag};

use crate::{
    error::{Operation, StoreError},
    staging::LockedFile,
};

/// The largest journal that is read. A journal with the maximum number of pieces, each written many
/// times, is smaller.
const MAX_JOURNAL_BYTES: u64 = 256 << 20;

/// An open journal, for appending records.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Arc<LockedFile>,
    path: PathBuf,
    identity: Identity,
    records: u32,
}

/// The result of reading a journal file.
#[derive(Debug)]
pub(crate) enum JournalContents {
    /// No valid header: the file is new, was never begun, or is damaged.
    Empty,
    /// A journal of other content.
    OtherContent,
    /// A journal of this content.
    ThisContent {
        /// The boot of the system that wrote it.
        boot: BootId,
        /// Whether its records may be believed.
        stamp: Stamp,
        /// The meaning of its records.
        replay: Replay,
    },
}

/// Reads a journal file. Changes nothing.
pub(crate) fn read(
    file: &File,
    path: &Path,
    identity: &Identity,
) -> Result<JournalContents, StoreError> {
    let failed = |error| StoreError::io(Operation::Read, path, error);
    let length = file.metadata().map_err(failed)?.len();
    if length > MAX_JOURNAL_BYTES {
        return Ok(JournalContents::Empty);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let Some(records) = bytes.get(format::RECORDS_OFFSET..) else {
        return Ok(JournalContents::Empty);
    };
    Ok(match format::decode_header(&bytes) {
        None => JournalContents::Empty,
        Some((found, _)) if found != *identity => JournalContents::OtherContent,
        Some((_, boot)) => JournalContents::ThisContent {
            boot,
            stamp: Stamp::decode(&bytes[format::HEADER_BYTES..], &identity.info_hash),
            replay: format::replay(records, identity),
        },
    })
}

impl Journal {
    /// Begins a new journal with these records. The previous contents of `file` are removed.
    pub(crate) fn begin(
        file: Arc<LockedFile>,
        path: &Path,
        identity: Identity,
        boot: BootId,
        records: &[Record],
    ) -> Result<Self, StoreError> {
        file.set_len(0).map_err(|error| StoreError::io(Operation::Resize, path, error))?;
        let mut journal = Self { file, path: path.to_owned(), identity, records: 0 };
        // The header is written last, which makes all records valid at once.
        journal.append_all(records)?;
        journal.write_stamp(Stamp::Unknown)?;
        journal.write_header(boot)?;
        Ok(journal)
    }

    /// Resumes a journal whose first `records` records are intact. The rest is truncated.
    pub(crate) fn resume(
        file: Arc<LockedFile>,
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

    /// The path of the file, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The number of records.
    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// The file, so that [`sync`] can wait for it without a lock on the journal.
    pub(crate) fn file(&self) -> Arc<LockedFile> {
        self.file.clone()
    }

    /// Appends a record. This is one small write that does not wait for the disk.
    pub(crate) fn append(&mut self, record: Record) -> Result<(), StoreError> {
        self.append_all(&[record])
    }

    /// Appends records in one write. If it fails, none of them counts and the next write overwrites
    /// them.
    pub(crate) fn append_all(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let failed = |error| StoreError::io(Operation::Write, &self.path, error);
        let count =
            u32::try_from(records.len()).ok().and_then(|count| self.records.checked_add(count));
        let count = count
            .filter(|count| *count < format::MAX_RECORDS)
            .ok_or_else(|| failed(Errno::FBIG.into()))?;
        let hash = &self.identity.info_hash;
        let encode = |(index, record): (u32, &Record)| record.encode(index, hash);
        let bytes: Vec<u8> = (self.records..).zip(records).flat_map(encode).collect();
        self.file.write_all_at(&bytes, self.end()).map_err(failed)?;
        self.records = count;
        Ok(())
    }

    /// Waits until the journal is on the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        sync(&self.file, &self.path)
    }

    /// Writes the header with the boot of the system that the records are valid for.
    pub(crate) fn write_header(&self, boot: BootId) -> Result<(), StoreError> {
        let header = format::encode_header(&self.identity, boot);
        self.file
            .write_all_at(&header, 0)
            .map_err(|e| StoreError::io(Operation::Write, &self.path, e))?;
        self.sync()
    }

    /// Writes the stamp. Does not wait for the disk.
    pub(crate) fn write_stamp(&self, stamp: Stamp) -> Result<(), StoreError> {
        self.file
            .write_all_at(&stamp.encode(&self.identity.info_hash), format::HEADER_BYTES as u64)
            .map_err(|e| StoreError::io(Operation::Write, &self.path, e))
    }

    /// Records that the disk has failed, as durably as it can be. Errors are ignored: the failure
    /// itself is reported, and a stamp from before it does not fit the files any more.
    pub(crate) fn mark_failed(&self) {
        let _ = self.write_stamp(Stamp::Failed);
        let _ = self.sync();
    }

    fn end(&self) -> u64 {
        format::RECORDS_OFFSET as u64 + u64::from(self.records) * format::RECORD_BYTES as u64
    }
}

/// Waits until the file of a journal is on the disk.
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
    fn appended_records_are_read_back_and_a_torn_tail_is_truncated() {
        let file = tempfile::tempfile().unwrap();
        let path = Path::new("journal");
        let clone = || Arc::new(LockedFile(file.try_clone().unwrap()));
        assert!(matches!(read(&file, path, &identity(1)).unwrap(), JournalContents::Empty));
        let mut journal = Journal::begin(clone(), path, identity(1), BootId::of(3), &[]).unwrap();
        journal.append(Record::Verified(4)).unwrap();
        journal.append_all(&[Record::Verified(5), Record::Synced(2)]).unwrap();
        file.write_all_at(&[1, 2, 3], journal.end()).unwrap();

        let JournalContents::ThisContent { boot, stamp, replay } =
            read(&file, path, &identity(1)).unwrap()
        else {
            panic!()
        };
        assert_eq!((boot, replay.records), (BootId::of(3), 3));
        assert_eq!(stamp, Stamp::Unknown);
        assert_eq!(replay.synced.iter().collect::<Vec<_>>(), [4, 5]);
        assert!(matches!(read(&file, path, &identity(2)).unwrap(), JournalContents::OtherContent));

        let mut journal = Journal::resume(clone(), path, identity(1), replay.records).unwrap();
        assert_eq!(file.metadata().unwrap().len(), journal.end());
        journal.append(Record::Lost(4)).unwrap();
        journal.write_stamp(Stamp::Files([8; 20])).unwrap();
        let JournalContents::ThisContent { stamp, replay, .. } =
            read(&file, path, &identity(1)).unwrap()
        else {
            panic!()
        };
        assert_eq!(stamp, Stamp::Files([8; 20]));
        assert_eq!(replay.synced.iter().collect::<Vec<_>>(), [5]);
    }
}
