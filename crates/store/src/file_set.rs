//! Positional reads and writes of content in one file or in the files of a folder. It knows layouts
//! and open files, and nothing of hashes or journals.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, IoSlice},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use rustix::{
    fs::{
        Advice, AtFlags, FileType, Mode, OFlags, Stat, fadvise, fstat, fsync, openat, statat,
        syncfs,
    },
    io::{Errno, pwritev, retry_on_intr},
};

use crate::{
    beneath::open_beneath,
    error::{Operation, StoreError},
    handle_cache::HandleCache,
    layout::{Layout, Span},
    segment::Segment,
};

/// The most slices in one vectored write (`UIO_MAXIOV` of the kernel).
const MAX_WRITE_SLICES: usize = 1024;

/// For more files than this, one `syncfs` is cheaper than one sync per file.
const MAX_FILE_SYNCS: usize = 64;

/// A range with more files than this keeps only those open of which it has [`MIN_OPEN_SPAN`].
const MAX_OPEN_SPANS: usize = 4;

/// The length from which a part of a file is worth an open file, in bytes.
const MIN_OPEN_SPAN: u64 = 64 << 10;

/// The files of some content, opened.
#[derive(Debug)]
pub(crate) struct FileSet {
    layout: Layout,
    root: Root,
    /// Only for error messages. The files are accessed through the open root, so a rename of it
    /// does no harm.
    path: Mutex<PathBuf>,
    access: Access,
}

#[derive(Debug)]
enum Root {
    File(Arc<File>),
    Folder { folder: File, handles: HandleCache },
}

/// The purpose of opening the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Existing files of the user. Symbolic links are followed.
    Read,
    /// Files that the store created. A symbolic link in their place is an error.
    ReadWrite,
}

/// What the disk has under the name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileStatus {
    /// Nothing, or something that is not a file.
    Missing,
    /// A file of this length that occupies `allocated` bytes on the disk.
    File { length: u64, allocated: u64 },
}

impl FileSet {
    /// Opens existing content for reading.
    pub(crate) fn open(layout: Layout, path: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError::io(Operation::Open, path, error);
        let metadata = std::fs::metadata(path).map_err(failed)?;
        match (layout.is_folder(), metadata.is_dir(), metadata.is_file()) {
            (true, true, _) | (false, _, true) => {}
            (folder, is_dir, _) => {
                let expected = if folder { "a folder" } else { "a file" };
                let found = if is_dir { "a folder" } else { "something else" };
                return Err(StoreError::WrongKind { path: path.to_owned(), expected, found });
            }
        }
        Ok(Self::with_root(layout, File::open(path).map_err(failed)?, path, Access::Read))
    }

    /// Content in an open file or in an open folder, depending on the layout.
    pub(crate) fn with_root(layout: Layout, root: File, path: &Path, access: Access) -> Self {
        let root = if layout.is_folder() {
            Root::Folder { folder: root, handles: HandleCache::within_process_limit() }
        } else {
            Root::File(Arc::new(root))
        };
        Self { layout, root, path: Mutex::new(path.to_owned()), access }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The file, or the folder of the files.
    pub(crate) fn root(&self) -> &File {
        match &self.root {
            Root::File(file) => file,
            Root::Folder { folder, .. } => folder,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Updates the path after a rename of the root.
    pub(crate) fn set_path(&self, path: &Path) {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path.to_owned();
    }

    pub(crate) fn path_of(&self, entry: usize) -> PathBuf {
        let path = self.path();
        if self.layout.is_folder() { path.join(self.layout.entries()[entry].path()) } else { path }
    }

    /// Writes consecutive blocks to the content at `offset`. Returns the range of entries that were
    /// written to. `piece` is only for errors.
    pub(crate) fn write(
        &self,
        piece: u32,
        offset: u64,
        blocks: &[Bytes],
    ) -> Result<Range<usize>, StoreError> {
        let length: u64 = blocks.iter().map(|block| block.len() as u64).sum();
        let mut cursor = BlockCursor { blocks, used_of_first: 0 };
        let mut touched = 0..0;
        for span in self.layout.spans(offset..offset + length) {
            if span.padding {
                if !cursor.skip_zeros(span.length) {
                    return Err(StoreError::Padding { piece });
                }
                continue;
            }
            let file = self.file(span.entry)?;
            let mut done = 0;
            while done < span.length {
                let slices = cursor.slices(span.length - done);
                let written = match retry_on_intr(|| pwritev(&file, &slices, span.offset + done)) {
                    Ok(0) => {
                        Err(StoreError::io(Operation::Write, &self.path_of(span.entry), Errno::IO))
                    }
                    written => written.map_err(|e| {
                        StoreError::io(Operation::Write, &self.path_of(span.entry), e)
                    }),
                }?;
                cursor.advance(written);
                done += written as u64;
            }
            touched = if touched.is_empty() { span.entry } else { touched.start }..span.entry + 1;
        }
        Ok(touched)
    }

    /// Fills `buffer` from the content at `offset`.
    pub(crate) fn read(&self, offset: u64, mut buffer: &mut [u8]) -> Result<(), StoreError> {
        for span in self.layout.spans(offset..offset + buffer.len() as u64) {
            let (now, later) = buffer.split_at_mut(span.length as usize);
            if span.padding {
                now.fill(0);
            } else {
                self.file(span.entry)?
                    .read_exact_at(now, span.offset)
                    .map_err(|e| self.read_error(span.entry, e))?;
            }
            buffer = later;
        }
        Ok(())
    }

    /// The locations of the bytes of a range. Where many small files are in it, they are read into
    /// memory, so that a range keeps few files open.
    pub(crate) fn segments(&self, range: Range<u64>) -> Result<Vec<Segment>, StoreError> {
        let spans: Vec<Span> = self.layout.spans(range.clone()).collect();
        let joined = spans.len() > MAX_OPEN_SPANS;
        let mut segments = Vec::with_capacity(spans.len().min(MAX_OPEN_SPANS));
        // The beginning of the small files that are not in a segment yet.
        let (mut at, mut begin) = (range.start, range.start);
        for span in spans {
            if !joined || span.length >= MIN_OPEN_SPAN {
                self.push_bytes(begin..at, &mut segments)?;
                segments.push(if span.padding {
                    Segment::Zeros(span.length)
                } else {
                    let file = self.file(span.entry)?;
                    Segment::File { file, offset: span.offset, length: span.length }
                });
                begin = at + span.length;
            }
            at += span.length;
        }
        self.push_bytes(begin..at, &mut segments)?;
        Ok(segments)
    }

    fn push_bytes(&self, range: Range<u64>, segments: &mut Vec<Segment>) -> Result<(), StoreError> {
        if !range.is_empty() {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            self.read(range.start, &mut bytes)?;
            segments.push(Segment::Bytes(bytes.into()));
        }
        Ok(())
    }

    /// Advises the kernel to read a range into the page cache. Errors are ignored.
    pub(crate) fn prefetch(&self, range: Range<u64>) {
        for span in self.layout.spans(range).filter(|span| !span.padding) {
            if let Ok(file) = self.file(span.entry) {
                let _ = fadvise(
                    &file,
                    span.offset,
                    std::num::NonZeroU64::new(span.length),
                    Advice::WillNeed,
                );
            }
        }
    }

    /// Drops what the page cache holds of the files, so that the next read comes from the disk.
    /// Bytes that are not written back yet stay. Errors are ignored.
    pub(crate) fn drop_page_cache(&self) {
        for (at, _) in self.layout.on_disk() {
            if let Ok(file) = self.file(at) {
                let _ = fadvise(&file, 0, None, Advice::DontNeed);
            }
        }
    }

    /// Waits until the data of these entries is on the disk, with their times, so that these prove
    /// after a power failure that nothing was written later.
    pub(crate) fn sync(&self, entries: &BTreeSet<usize>) -> Result<(), StoreError> {
        if entries.len() > MAX_FILE_SYNCS {
            return syncfs(self.root())
                .map_err(|e| StoreError::io(Operation::Sync, &self.path(), e));
        }
        for &entry in entries {
            fsync(self.file(entry)?)
                .map_err(|e| StoreError::io(Operation::Sync, &self.path_of(entry), e))?;
        }
        Ok(())
    }

    /// Waits until the names of all files are on the disk.
    pub(crate) fn sync_names(&self) -> Result<(), StoreError> {
        let Root::Folder { folder, .. } = &self.root else { return Ok(()) };
        let below = self.layout.folders();
        if below.len() >= MAX_FILE_SYNCS {
            return syncfs(folder).map_err(|e| StoreError::io(Operation::Sync, &self.path(), e));
        }
        let failed = |path: &Path, error: Errno| {
            StoreError::io(Operation::Sync, &self.path().join(path), error)
        };
        for path in below {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = openat(folder, path, flags, Mode::empty()).map_err(|e| failed(path, e))?;
            fsync(opened).map_err(|e| failed(path, e))?;
        }
        fsync(folder).map_err(|e| failed(Path::new(""), e))
    }

    /// Examines the file of an entry without opening it.
    pub(crate) fn examine(&self, entry: usize) -> Result<FileStatus, StoreError> {
        let path = self.layout.entries()[entry].path();
        let stat = match &self.root {
            Root::File(file) => fstat(file),
            Root::Folder { folder, .. } if self.access == Access::Read => {
                statat(folder, path, AtFlags::empty())
            }
            Root::Folder { folder, .. } => {
                open_beneath(folder, path, OFlags::PATH, Mode::empty()).and_then(fstat)
            }
        };
        match stat {
            Ok(stat) if self.access == Access::ReadWrite && !is_own_file(&stat) => {
                Ok(FileStatus::Missing)
            }
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(FileStatus::File {
                    length: stat.st_size as u64,
                    allocated: stat.st_blocks as u64 * 512,
                })
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(FileStatus::Missing),
            Err(error) => Err(StoreError::io(Operation::Examine, &self.path_of(entry), error)),
        }
    }

    /// An error for the first file whose length differs from the layout.
    pub(crate) fn check_lengths(&self) -> Result<(), StoreError> {
        for (at, entry) in self.layout.on_disk() {
            match self.examine(at)? {
                FileStatus::File { length, .. } if length == entry.length => {}
                FileStatus::File { .. } => {
                    return Err(StoreError::Changed {
                        path: self.path_of(at),
                        expected: entry.length,
                    });
                }
                FileStatus::Missing => {
                    return Err(StoreError::io(Operation::Open, &self.path_of(at), Errno::NOENT));
                }
            }
        }
        Ok(())
    }

    /// The opened file of an entry that is not padding.
    pub(crate) fn file(&self, entry: usize) -> Result<Arc<File>, StoreError> {
        match &self.root {
            Root::File(file) => Ok(file.clone()),
            Root::Folder { folder, handles } => {
                let path = self.layout.entries()[entry].path();
                let open = || match self.access {
                    Access::Read => {
                        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                        Ok(openat(folder, path, flags, Mode::empty())?.into())
                    }
                    Access::ReadWrite => Ok(open_own_file(folder, path)?),
                };
                handles
                    .get(entry, open)
                    .map_err(|error| StoreError::io(Operation::Open, &self.path_of(entry), error))
            }
        }
    }

    fn read_error(&self, entry: usize, error: io::Error) -> StoreError {
        let path = self.path_of(entry);
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                StoreError::Changed { path, expected: self.layout.entries()[entry].length }
            }
            _ => StoreError::io(Operation::Read, &path, error),
        }
    }
}

/// Whether this is a file with one name. The folder around it belongs to this user, so this user
/// created it.
fn is_own_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink <= 1
}

/// Opens a file below the folder of a part. Anything else is `ELOOP`, as a link is.
pub(crate) fn open_own_file(folder: &File, path: &Path) -> Result<File, Errno> {
    let file = open_beneath(folder, path, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty())?;
    if is_own_file(&fstat(&file)?) { Ok(file.into()) } else { Err(Errno::LOOP) }
}

/// A position in consecutive blocks.
struct BlockCursor<'a> {
    blocks: &'a [Bytes],
    /// How many bytes of the first block are behind the position.
    used_of_first: usize,
}

impl<'a> BlockCursor<'a> {
    /// The next bytes, at most `limit` and at most what one system call accepts.
    fn slices(&self, limit: u64) -> Vec<IoSlice<'a>> {
        let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut skip = self.used_of_first;
        let mut slices = Vec::with_capacity(self.blocks.len().min(MAX_WRITE_SLICES));
        for block in self.blocks {
            if left == 0 || slices.len() == MAX_WRITE_SLICES {
                break;
            }
            let part = &block[skip..];
            let part = &part[..part.len().min(left)];
            skip = 0;
            left -= part.len();
            if !part.is_empty() {
                slices.push(IoSlice::new(part));
            }
        }
        slices
    }

    fn advance(&mut self, mut bytes: usize) {
        while let [first, rest @ ..] = self.blocks
            && bytes >= first.len() - self.used_of_first
        {
            bytes -= first.len() - self.used_of_first;
            self.used_of_first = 0;
            self.blocks = rest;
        }
        self.used_of_first += bytes;
    }

    /// Skips `length` bytes. Returns false when one of them is not zero.
    fn skip_zeros(&mut self, mut length: u64) -> bool {
        while length > 0 {
            let slices = self.slices(length);
            if slices.iter().any(|slice| slice.iter().any(|byte| *byte != 0)) {
                return false;
            }
            let passed: usize = slices.iter().map(|slice| slice.len()).sum();
            self.advance(passed);
            length -= passed as u64;
        }
        true
    }
}
