//! Targets of a sequential download: a stream of bytes whose length may be unknown, without pieces,
//! hashes, journal or resume. A file is staged next to its target and appears in one step, as other
//! received content does.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    create::check_length,
    error::{Operation, StoreError},
    staging::{LockedFile, Staging},
};

/// The length of the buffers that hold content in memory.
const MEMORY_BUFFER_BYTES: usize = 1 << 20;

/// The target of a sequential download.
#[derive(Debug)]
pub enum SequentialTarget {
    /// A file.
    File(SequentialFile),
    /// Memory.
    Memory(SequentialMemory),
    /// A writer such as standard output. Bytes that were written to it cannot be taken back.
    Pipe(SequentialPipe),
}

/// A file that is being received sequentially. If it is dropped before it is finished, nothing of
/// it is left.
#[derive(Debug)]
pub struct SequentialFile {
    staging: Staging,
    lock: LockedFile,
    overwrite: bool,
    /// The locked journal belongs to a download of pieces and must not be removed.
    is_foreign_journal: bool,
    state: FileState,
    position: u64,
}

#[derive(Debug)]
enum FileState {
    /// No stream has begun.
    Idle,
    /// The bytes are written to the part.
    Writing(File),
    /// The target exists and must not be replaced. The bytes are compared with it.
    Comparing { target: File, length: u64, buffer: Vec<u8> },
    /// The part is the target now.
    Committed,
}

/// A sequential download into memory.
#[derive(Debug, Default)]
pub struct SequentialMemory {
    buffers: Vec<Vec<u8>>,
    length: u64,
}

/// A sequential download into a writer.
pub struct SequentialPipe {
    out: Box<dyn Write + Send>,
    name: PathBuf,
    written: u64,
}

/// The result of a sequential download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// The content is the target now.
    New(PathBuf),
    /// The target already existed and has the same content.
    Identical(PathBuf),
    /// The content has no name: it is in memory, or was written to a pipe.
    Unnamed,
}

impl SequentialTarget {
    /// Begins the stream. What an earlier stream wrote is discarded. `length` is the length of the
    /// content, if known.
    ///
    /// # Errors
    /// When the disk has too little space or fails, or when the target exists with another length
    /// and must not be replaced.
    pub fn begin(&mut self, length: Option<u64>) -> Result<(), StoreError> {
        match self {
            Self::File(file) => file.begin(length),
            Self::Memory(memory) => {
                *memory = SequentialMemory::default();
                Ok(())
            }
            Self::Pipe(_) => Ok(()),
        }
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// When the disk is full or fails, the target differs and must not be replaced, or the reader
    /// of the pipe is gone.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Memory(memory) => {
                memory.write(bytes);
                Ok(())
            }
            Self::Pipe(pipe) => pipe.write(bytes),
        }
    }

    /// Whether the stream can begin again: not after bytes were written to a pipe.
    pub fn can_restart(&self) -> bool {
        !matches!(self, Self::Pipe(SequentialPipe { written: 1.., .. }))
    }

    /// Ends the stream. A file appears at its target in one step.
    ///
    /// # Errors
    /// When the target differs or exists now, and must not be replaced; when the disk fails.
    pub fn finish(&mut self) -> Result<Placement, StoreError> {
        match self {
            Self::File(file) => file.finish(),
            Self::Memory(_) => Ok(Placement::Unnamed),
            Self::Pipe(pipe) => pipe.finish().map(|()| Placement::Unnamed),
        }
    }
}

impl SequentialFile {
    /// Locks a target; nothing is written yet. An existing target is replaced if `overwrite` is
    /// set. Otherwise the stream is compared with it.
    ///
    /// # Errors
    /// When the target is not a file, its folder does not exist or is not writable, or another
    /// process is receiving it.
    pub fn claim(target: &Path, overwrite: bool) -> Result<Self, StoreError> {
        let staging = Staging::new(target)?;
        staging.check_target(false, true)?;
        let lock = staging.lock()?;
        let is_foreign_journal = lock.metadata().is_ok_and(|metadata| metadata.len() > 0);
        let state = FileState::Idle;
        Ok(Self { staging, lock, overwrite, is_foreign_journal, state, position: 0 })
    }

    fn begin(&mut self, length: Option<u64>) -> Result<(), StoreError> {
        self.position = 0;
        if !self.overwrite && self.staging.has_target()? {
            return self.begin_comparison(length);
        }
        // The part of a download of pieces is of no use here and occupies space.
        let path = self.staging.journal_path();
        self.lock.set_len(0).map_err(|e| StoreError::io(Operation::Resize, &path, e))?;
        self.is_foreign_journal = false;
        self.state = FileState::Idle;
        self.staging.remove_part()?;
        check_length(length.unwrap_or(0), &self.staging.target_path())?;
        self.staging.check_free_space(length.unwrap_or(0))?;
        self.state = FileState::Writing(self.staging.open_part(false)?);
        Ok(())
    }

    fn begin_comparison(&mut self, expected: Option<u64>) -> Result<(), StoreError> {
        let path = self.staging.target_path();
        let target = File::open(&path).map_err(|e| StoreError::io(Operation::Open, &path, e))?;
        let metadata =
            target.metadata().map_err(|e| StoreError::io(Operation::Examine, &path, e))?;
        let length = metadata.len();
        if !metadata.is_file() || expected.is_some_and(|expected| expected != length) {
            return Err(StoreError::TargetExists { path });
        }
        self.state = FileState::Comparing { target, length, buffer: Vec::new() };
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match &mut self.state {
            FileState::Writing(file) => {
                let end = self.position + bytes.len() as u64;
                check_length(end, &self.staging.target_path())?;
                file.write_all(bytes)
                    .map_err(|e| StoreError::io(Operation::Write, &self.staging.part_path(), e))?;
            }
            FileState::Comparing { target, length, buffer } => {
                let path = self.staging.target_path();
                if self.position + bytes.len() as u64 > *length {
                    return Err(StoreError::TargetExists { path });
                }
                buffer.resize(bytes.len(), 0);
                match target.read_exact(buffer) {
                    Ok(()) if buffer == bytes => {}
                    Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                        return Err(StoreError::io(Operation::Read, &path, error));
                    }
                    _ => return Err(StoreError::TargetExists { path }),
                }
            }
            FileState::Idle | FileState::Committed => {
                return Err(StoreError::NotWritable { path: self.staging.target_path() });
            }
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self) -> Result<Placement, StoreError> {
        let path = self.staging.target_path();
        match &mut self.state {
            FileState::Writing(file) => {
                let part = self.staging.part_path();
                let position = file
                    .stream_position()
                    .map_err(|e| StoreError::io(Operation::Examine, &part, e))?;
                let metadata =
                    file.metadata().map_err(|e| StoreError::io(Operation::Examine, &part, e))?;
                let is_ours =
                    self.staging.part()?.is_some_and(|(_, inode)| inode == metadata.ino());
                if !is_ours || metadata.len() != position {
                    // Another program has written to the part or replaced it.
                    return Err(StoreError::Changed { path: part, expected: position });
                }
                file.sync_data().map_err(|e| StoreError::io(Operation::Sync, &part, e))?;
                let old_target = self.staging.commit(file, false, self.overwrite)?;
                self.state = FileState::Committed;
                self.staging.remove_old_target(old_target)?;
                self.staging.remove_journal()?;
                Ok(Placement::New(path))
            }
            FileState::Comparing { length, .. } if *length == self.position => {
                self.state = FileState::Idle;
                Ok(Placement::Identical(path))
            }
            FileState::Comparing { .. } => Err(StoreError::TargetExists { path }),
            FileState::Idle | FileState::Committed => Err(StoreError::NotWritable { path }),
        }
    }
}

impl Drop for SequentialFile {
    fn drop(&mut self) {
        // Errors are ignored: the next run removes what is left.
        if matches!(self.state, FileState::Writing(_)) {
            let _ = self.staging.remove_part();
        }
        if !matches!(self.state, FileState::Committed) && !self.is_foreign_journal {
            let _ = self.staging.remove_journal();
        }
    }
}

impl SequentialMemory {
    /// The content as consecutive buffers of any lengths.
    pub fn buffers(&self) -> impl Iterator<Item = &[u8]> {
        self.buffers.iter().map(Vec::as_slice)
    }

    /// The length of the content in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            match self.buffers.last_mut() {
                Some(buffer) if buffer.len() < MEMORY_BUFFER_BYTES => {
                    let room = MEMORY_BUFFER_BYTES - buffer.len();
                    let (now, later) = bytes.split_at(bytes.len().min(room));
                    buffer.extend_from_slice(now);
                    bytes = later;
                }
                _ => self.buffers.push(Vec::with_capacity(MEMORY_BUFFER_BYTES)),
            }
        }
    }
}

impl SequentialPipe {
    /// A pipe into a writer. `name` is its name in errors.
    pub fn new(out: impl Write + Send + 'static, name: impl Into<PathBuf>) -> Self {
        Self { out: Box::new(out), name: name.into(), written: 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|e| StoreError::io(Operation::Write, &self.name, e))
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        self.out.flush().map_err(|e| StoreError::io(Operation::Write, &self.name, e))
    }
}

impl std::fmt::Debug for SequentialPipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SequentialPipe")
            .field("name", &self.name)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn claim(target: &Path, overwrite: bool) -> SequentialTarget {
        SequentialTarget::File(SequentialFile::claim(target, overwrite).unwrap())
    }

    #[test]
    fn the_target_appears_when_the_stream_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        let mut store = claim(&target, false);
        store.begin(None).unwrap();
        store.write(b"of an earlier connection").unwrap();
        store.begin(Some(6)).unwrap();
        store.write(b"ab").unwrap();
        store.write(b"cdef").unwrap();
        assert_eq!(names(folder.path()), ["x.sow-part", "x.sow-part.journal"]);
        assert_eq!(store.finish().unwrap(), Placement::New(target.clone()));
        assert_eq!(
            (names(folder.path()), fs::read(&target).unwrap()),
            (vec!["x".to_owned()], b"abcdef".to_vec())
        );
        // Dropping the finished file does not release the claim of another one.
        let other = SequentialFile::claim(&target, true).unwrap();
        drop(store);
        assert_eq!(names(folder.path()), ["x", "x.sow-part.journal"]);
        drop(other);
    }

    #[test]
    fn an_unfinished_stream_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = claim(&folder.path().join("x"), false);
        store.begin(None).unwrap();
        store.write(b"some").unwrap();
        drop(store);
        drop(claim(&folder.path().join("y"), true));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_target_can_be_claimed_only_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        let first = SequentialFile::claim(&target, false).unwrap();
        assert!(matches!(SequentialFile::claim(&target, false), Err(StoreError::Locked { .. })));
        drop(first);
        SequentialFile::claim(&target, false).unwrap();
    }

    #[test]
    fn a_target_that_must_not_be_replaced_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        fs::write(&target, "abcdef").unwrap();
        let receive = |parts: &[&[u8]], length| {
            let mut store = claim(&target, false);
            store.begin(length)?;
            parts.iter().try_for_each(|part| store.write(part))?;
            store.finish()
        };
        assert_eq!(receive(&[b"abc", b"def"], None).unwrap(), Placement::Identical(target.clone()));
        assert_eq!(receive(&[b"abcdef"], Some(6)).unwrap(), Placement::Identical(target.clone()));
        for (parts, length) in [
            (&[&b"abc"[..]][..], None),
            (&[b"abX"], None),
            (&[b"abcdef", b"g"], None),
            (&[], Some(5)),
        ] {
            assert!(
                matches!(receive(parts, length), Err(StoreError::TargetExists { .. })),
                "{parts:?}"
            );
        }
        assert_eq!(
            (names(folder.path()), fs::read(&target).unwrap()),
            (vec!["x".to_owned()], b"abcdef".to_vec())
        );
        let mut store = claim(&target, true);
        store.begin(None).unwrap();
        store.write(b"new").unwrap();
        assert_eq!(store.finish().unwrap(), Placement::New(target.clone()));
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn content_that_does_not_fit_is_rejected_before_the_download() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = claim(&folder.path().join("x"), false);
        assert!(matches!(store.begin(Some(1 << 62)), Err(StoreError::NoSpace { .. })));
        drop(store);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_comparison_does_not_change_the_part_of_another_download() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("x", "abc"), ("x.sow-part", "ab"), ("x.sow-part.journal", "of a swarm")]
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut store = claim(&folder.path().join("x"), false);
        store.begin(None).unwrap();
        store.write(b"abc").unwrap();
        store.finish().unwrap();
        drop(store);
        assert_eq!(names(folder.path()), ["x", "x.sow-part", "x.sow-part.journal"]);
    }

    #[test]
    fn memory_keeps_all_bytes_in_order() {
        let mut store = SequentialTarget::Memory(SequentialMemory::default());
        let bytes: Vec<u8> =
            (0..MEMORY_BUFFER_BYTES as u32 * 2 + 5).map(|at| (at % 251) as u8).collect();
        store.begin(None).unwrap();
        store.write(b"of an earlier connection").unwrap();
        store.begin(None).unwrap();
        bytes.chunks(300_001).for_each(|chunk| store.write(chunk).unwrap());
        assert_eq!(store.finish().unwrap(), Placement::Unnamed);
        let SequentialTarget::Memory(memory) = store else { unreachable!() };
        assert_eq!(memory.length(), bytes.len() as u64);
        assert!(memory.buffers().collect::<Vec<_>>().concat() == bytes, "the bytes differ");
    }

    #[test]
    fn a_pipe_cannot_restart_after_its_first_byte() {
        let mut store = SequentialTarget::Pipe(SequentialPipe::new(io::sink(), "out"));
        store.begin(None).unwrap();
        assert!(store.can_restart());
        store.write(b"a").unwrap();
        assert!(!store.can_restart());
    }
}
