//! Content that comes as one stream, of which nothing is known beforehand, perhaps not even its
//! length: no pieces, no hashes, no journal, nothing to go on from. A file gathers beside its
//! target and appears in one step, as received content does.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    error::{Operation, StoreError},
    place::{Lock, Place},
};

/// The length of the runs that content in memory is kept in, in bytes.
const RUN: usize = 1 << 20;

/// Where a stream goes.
#[derive(Debug)]
pub enum SequentialTarget {
    /// Into a file.
    File(SequentialFile),
    /// Into memory.
    Memory(SequentialMemory),
    /// To whoever reads the other end. What was passed on cannot be taken back.
    Pipe(SequentialPipe),
}

/// A file that is being received as a stream. Dropped before it is finished, it leaves nothing
/// behind.
#[derive(Debug)]
pub struct SequentialFile {
    place: Place,
    lock: Lock,
    overwrite: bool,
    /// The journal that is locked tells of a download of another kind.
    is_foreign: bool,
    role: Role,
    position: u64,
}

/// What is done with the bytes.
#[derive(Debug)]
enum Role {
    /// Nothing yet.
    Waiting,
    /// They become the target.
    Part(File),
    /// The target is there and may not be replaced: they are compared with it, and nothing is
    /// written.
    Comparison { target: File, length: u64, buffer: Vec<u8> },
    /// There is nothing more to do.
    Done,
}

/// A stream in memory.
#[derive(Debug, Default)]
pub struct SequentialMemory {
    runs: Vec<Vec<u8>>,
    length: u64,
}

/// A stream that is passed on.
pub struct SequentialPipe {
    out: Box<dyn Write + Send>,
    name: PathBuf,
    passed: u64,
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It is the target now.
    New(PathBuf),
    /// The target was there before, with the same bytes.
    Identical(PathBuf),
    /// It has no name: it is in memory, or was passed on.
    Unnamed,
}

impl SequentialTarget {
    /// Begins with the first byte, forgetting what came before. `length`: in bytes, when it is
    /// known.
    ///
    /// # Errors
    /// When there is no room, the target is there with another length and may not be replaced, or
    /// the disk fails.
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

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When the disk is full or fails, the target differs and may not be replaced, or nobody reads
    /// any more.
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

    /// Whether the stream could begin anew: not when some of it was passed on.
    pub fn can_begin_anew(&self) -> bool {
        !matches!(self, Self::Pipe(SequentialPipe { passed: 1.., .. }))
    }

    /// Everything has come: puts it in place, in one step.
    ///
    /// # Errors
    /// When the target differs or has appeared meanwhile, and may not be replaced; when the disk
    /// fails.
    pub fn finish(&mut self) -> Result<Placement, StoreError> {
        match self {
            Self::File(file) => file.finish(),
            Self::Memory(_) => Ok(Placement::Unnamed),
            Self::Pipe(pipe) => pipe.finish().map(|()| Placement::Unnamed),
        }
    }
}

impl SequentialFile {
    /// Claims the place of a target; nothing is written yet. What is there already may only be
    /// replaced with `overwrite`; else the stream is compared with it.
    ///
    /// # Errors
    /// When the target is no file, its folder does not exist or cannot be written to, or another
    /// process is receiving it.
    pub fn claim(target: &Path, overwrite: bool) -> Result<Self, StoreError> {
        let place = Place::new(target)?;
        place.check_target(false, true)?;
        let lock = place.lock()?;
        let is_foreign = lock.metadata().is_ok_and(|metadata| metadata.len() > 0);
        Ok(Self { place, lock, overwrite, is_foreign, role: Role::Waiting, position: 0 })
    }

    fn begin(&mut self, length: Option<u64>) -> Result<(), StoreError> {
        self.position = 0;
        if !self.overwrite && self.place.has_target()? {
            return self.begin_comparison(length);
        }
        // What another kind of download has gathered there is of no use to this one, and takes up
        // room.
        let path = self.place.journal_path();
        self.lock.set_len(0).map_err(|e| StoreError::io(Operation::Resize, &path, e))?;
        self.is_foreign = false;
        self.role = Role::Waiting;
        self.place.remove_part()?;
        self.place.check_room(length.unwrap_or(0))?;
        self.role = Role::Part(self.place.open_part(false)?);
        Ok(())
    }

    fn begin_comparison(&mut self, expected: Option<u64>) -> Result<(), StoreError> {
        let path = self.place.target_path();
        let target = File::open(&path).map_err(|e| StoreError::io(Operation::Open, &path, e))?;
        let metadata =
            target.metadata().map_err(|e| StoreError::io(Operation::Examine, &path, e))?;
        let length = metadata.len();
        if !metadata.is_file() || expected.is_some_and(|expected| expected != length) {
            return Err(StoreError::TargetExists { path });
        }
        self.role = Role::Comparison { target, length, buffer: Vec::new() };
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match &mut self.role {
            Role::Part(file) => {
                file.write_all(bytes)
                    .map_err(|e| StoreError::io(Operation::Write, &self.place.part_path(), e))?;
            }
            Role::Comparison { target, length, buffer } => {
                let path = self.place.target_path();
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
            Role::Waiting | Role::Done => {
                return Err(StoreError::NotWritable { path: self.place.target_path() });
            }
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self) -> Result<Placement, StoreError> {
        let path = self.place.target_path();
        match &mut self.role {
            Role::Part(file) => {
                let part = self.place.part_path();
                let position = file
                    .stream_position()
                    .map_err(|e| StoreError::io(Operation::Examine, &part, e))?;
                let metadata =
                    file.metadata().map_err(|e| StoreError::io(Operation::Examine, &part, e))?;
                let is_ours = self.place.part()?.is_some_and(|(_, inode)| inode == metadata.ino());
                if !is_ours || metadata.len() != position {
                    // Somebody has written to it, or put something else under its name.
                    return Err(StoreError::Changed { path: part, expected: position });
                }
                file.sync_data().map_err(|e| StoreError::io(Operation::Sync, &part, e))?;
                let old = self.place.put(false, self.overwrite)?;
                self.role = Role::Done;
                self.place.remove_replaced(old)?;
                self.place.remove_journal()?;
                Ok(Placement::New(path))
            }
            Role::Comparison { length, .. } if *length == self.position => {
                self.role = Role::Waiting;
                Ok(Placement::Identical(path))
            }
            Role::Comparison { .. } => Err(StoreError::TargetExists { path }),
            Role::Waiting | Role::Done => Err(StoreError::NotWritable { path }),
        }
    }
}

impl Drop for SequentialFile {
    fn drop(&mut self) {
        // That something stays behind is no reason to fail: the next run removes it.
        if matches!(self.role, Role::Part(_)) {
            let _ = self.place.remove_part();
        }
        if !matches!(self.role, Role::Done) && !self.is_foreign {
            let _ = self.place.remove_journal();
        }
    }
}

impl SequentialMemory {
    /// The bytes in order, in runs of any lengths.
    pub fn runs(&self) -> impl Iterator<Item = &[u8]> {
        self.runs.iter().map(Vec::as_slice)
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            match self.runs.last_mut() {
                Some(run) if run.len() < RUN => {
                    let (now, later) = bytes.split_at(bytes.len().min(RUN - run.len()));
                    run.extend_from_slice(now);
                    bytes = later;
                }
                _ => self.runs.push(Vec::with_capacity(RUN)),
            }
        }
    }
}

impl SequentialPipe {
    /// Passes a stream on to a writer; `name` is what errors call it.
    pub fn new(out: impl Write + Send + 'static, name: impl Into<PathBuf>) -> Self {
        Self { out: Box::new(out), name: name.into(), passed: 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.passed += bytes.len() as u64;
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
            .field("passed", &self.passed)
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
    fn the_target_appears_when_it_is_finished_and_not_before() {
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
        // What another claims meanwhile is not taken from it.
        let other = SequentialFile::claim(&target, true).unwrap();
        drop(store);
        assert_eq!(names(folder.path()), ["x", "x.sow-part.journal"]);
        drop(other);
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = claim(&folder.path().join("x"), false);
        store.begin(None).unwrap();
        store.write(b"some").unwrap();
        drop(store);
        drop(claim(&folder.path().join("y"), true));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        let first = SequentialFile::claim(&target, false).unwrap();
        assert!(matches!(SequentialFile::claim(&target, false), Err(StoreError::Locked { .. })));
        drop(first);
        SequentialFile::claim(&target, false).unwrap();
    }

    #[test]
    fn a_target_that_may_not_be_replaced_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        fs::write(&target, "abcdef").unwrap();
        let ends = |parts: &[&[u8]], length| {
            let mut store = claim(&target, false);
            store.begin(length)?;
            parts.iter().try_for_each(|part| store.write(part))?;
            store.finish()
        };
        assert_eq!(ends(&[b"abc", b"def"], None).unwrap(), Placement::Identical(target.clone()));
        assert_eq!(ends(&[b"abcdef"], Some(6)).unwrap(), Placement::Identical(target.clone()));
        for (parts, length) in [
            (&[&b"abc"[..]][..], None),
            (&[b"abX"], None),
            (&[b"abcdef", b"g"], None),
            (&[], Some(5)),
        ] {
            assert!(
                matches!(ends(parts, length), Err(StoreError::TargetExists { .. })),
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
    fn what_does_not_fit_is_refused_before_a_byte_is_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = claim(&folder.path().join("x"), false);
        assert!(matches!(store.begin(Some(1 << 62)), Err(StoreError::NoRoom { .. })));
        drop(store);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_comparison_does_not_touch_what_another_download_has_gathered() {
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
    fn memory_keeps_everything_in_order() {
        let mut store = SequentialTarget::Memory(SequentialMemory::default());
        let bytes: Vec<u8> = (0..RUN as u32 * 2 + 5).map(|at| (at % 251) as u8).collect();
        store.begin(None).unwrap();
        store.write(b"of an earlier connection").unwrap();
        store.begin(None).unwrap();
        bytes.chunks(300_001).for_each(|chunk| store.write(chunk).unwrap());
        assert_eq!(store.finish().unwrap(), Placement::Unnamed);
        let SequentialTarget::Memory(memory) = store else { unreachable!() };
        assert_eq!(memory.length(), bytes.len() as u64);
        assert!(memory.runs().collect::<Vec<_>>().concat() == bytes, "the bytes differ");
    }

    #[test]
    fn what_was_passed_on_cannot_begin_anew() {
        let mut store = SequentialTarget::Pipe(SequentialPipe::new(io::sink(), "out"));
        store.begin(None).unwrap();
        assert!(store.can_begin_anew());
        store.write(b"a").unwrap();
        assert!(!store.can_begin_anew());
    }
}
