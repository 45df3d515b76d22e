//! The files to share at a path: one file, or the files of a folder in a fixed order. Names and
//! lengths are examined; no content is read.

use std::{
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{fs::FileType, io::Errno};
use sow_content::{
    metainfo::{FileEntry, Files, MAX_FILES},
    path::{PathError, SafePath, clean_name},
};

use crate::{
    error::{Operation, StoreError},
    layout::Layout,
    staging::describe_type,
};

/// The files to share, as they were found.
#[derive(Debug, Clone)]
pub struct ContentPlan {
    path: PathBuf,
    name: String,
    files: Files,
    layout: Layout,
    stamps: FileStamps,
    empty_folders: Vec<PathBuf>,
}

/// The state of all files at one time, by which a change is noticed. `None`: there is no file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileStamps(Vec<Option<FileStamp>>);

/// The state of a file, by which a change is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    length: u64,
    modified: (i64, i64),
    /// The last change of the inode (`ctime`), which no program can set.
    changed: (i64, i64),
    /// The device and the inode.
    identity: (u64, u64),
}

/// Finds a file, or all files in a folder.
///
/// The files are sorted by the bytes of their names, folder by folder. A symbolic link inside the
/// folder counts as what it points to, and so does `path` itself.
///
/// # Errors
/// When nothing is at the path, or no file is in the folder; when a link leaves the folder, points
/// to a folder around it or to nothing; when something is neither a file nor a folder; when a name
/// is not UTF-8; when a folder cannot be read; when there are too many files.
pub fn scan(path: &Path) -> Result<ContentPlan, StoreError> {
    let metadata = fs::metadata(path).map_err(|e| StoreError::io(Operation::Open, path, e))?;
    let name = name_of(path)?;
    if metadata.is_file() {
        return Ok(ContentPlan {
            path: path.to_owned(),
            name,
            files: Files::Single,
            layout: Layout::single(metadata.len()),
            stamps: FileStamps(vec![Some(FileStamp::of(&metadata))]),
            empty_folders: Vec::new(),
        });
    }
    if !metadata.is_dir() {
        let found = describe_type(FileType::from_raw_mode(metadata.mode()));
        return Err(StoreError::WrongKind {
            path: path.to_owned(),
            expected: "a file or a folder",
            found,
        });
    }
    let root = path.canonicalize().map_err(|e| StoreError::io(Operation::Open, path, e))?;
    let found = FoundFiles::default();
    let mut walk = FolderWalk { path, inside: vec![root], names: Vec::new(), found };
    walk.visit_folder()?;
    let FoundFiles { entries, stamps, empty_folders } = walk.found;
    if entries.is_empty() {
        return Err(StoreError::EmptyFolder { path: path.to_owned() });
    }
    let layout = Layout::folder(entries.iter().cloned());
    // Sparse files can be longer than the disk.
    let layout = layout.ok_or_else(|| StoreError::io(Operation::Examine, path, Errno::FBIG))?;
    Ok(ContentPlan {
        path: path.to_owned(),
        name,
        files: Files::Multi(entries),
        layout,
        stamps,
        empty_folders,
    })
}

impl ContentPlan {
    /// The path as it was given to [`scan`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the content: the last component of the path, or of the absolute path for paths
    /// such as `.`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The single file, or the files of the folder.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The length of all files together, in bytes.
    pub fn total(&self) -> u64 {
        self.layout.total()
    }

    /// Empty folders, relative to the path. A torrent cannot describe_type them, so receivers will
    /// not have them.
    pub fn empty_folders(&self) -> &[PathBuf] {
        &self.empty_folders
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Checks that every file has the same length and modification time as when it was found.
    ///
    /// # Errors
    /// The error names the first file that has changed or is missing.
    pub fn check_unchanged(&self) -> Result<(), StoreError> {
        for (path, stamp) in self.paths().into_iter().zip(self.stamps.0.iter().flatten()) {
            let metadata =
                fs::metadata(&path).map_err(|e| StoreError::io(Operation::Examine, &path, e))?;
            if !FileStamp::of(&metadata).has_same_content(stamp) {
                return Err(StoreError::Changed { path, expected: stamp.length });
            }
        }
        Ok(())
    }

    /// The state of the files when they were found.
    pub fn stamps(&self) -> &FileStamps {
        &self.stamps
    }

    /// The state of the files now. It opens none.
    pub fn examine(&self) -> FileStamps {
        let stamp = |path: PathBuf| fs::metadata(path).ok().map(|found| FileStamp::of(&found));
        FileStamps(self.paths().into_iter().map(stamp).collect())
    }

    /// The path of the first file that differs between two states, and what happened to it, such as
    /// "was removed".
    pub fn first_difference(
        &self,
        before: &FileStamps,
        after: &FileStamps,
    ) -> Option<(PathBuf, &'static str)> {
        let at = before.0.iter().zip(&after.0).position(|(before, after)| before != after)?;
        let change = match (before.0[at], after.0[at]) {
            (_, None) => "was removed",
            (Some(before), Some(after)) if before.identity != after.identity => "was replaced",
            _ => "was changed",
        };
        Some((self.paths().swap_remove(at), change))
    }

    fn paths(&self) -> Vec<PathBuf> {
        match &self.files {
            Files::Single => vec![self.path.clone()],
            Files::Multi(entries) => {
                entries.iter().map(|entry| self.path.join(entry.path.as_path())).collect()
            }
        }
    }
}

impl FileStamps {
    /// The states as bytes: two are equal if their bytes are. For a record that is kept; the files
    /// are in the order of the plan.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = |stamp: &Option<FileStamp>| match stamp {
            None => [0; 7],
            Some(FileStamp { length, modified, changed, identity }) => [
                *length as i64,
                modified.0,
                modified.1,
                changed.0,
                changed.1,
                identity.0 as i64,
                identity.1 as i64,
            ],
        };
        self.0.iter().flat_map(numbers).flat_map(i64::to_be_bytes).collect()
    }

    /// The time of the last change of any of the files, by the clock of their file system. No
    /// program can set it.
    pub fn last_change(&self) -> Option<SystemTime> {
        let last = self.0.iter().flatten().map(|stamp| stamp.changed).max()?;
        let seconds = Duration::from_secs(u64::try_from(last.0).ok()?);
        UNIX_EPOCH.checked_add(seconds + Duration::from_nanos(last.1.clamp(0, 999_999_999) as u64))
    }
}

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            identity: (metadata.dev(), metadata.ino()),
        }
    }

    /// Whether nothing was written to the file, as far as its length and times tell.
    fn has_same_content(&self, other: &Self) -> bool {
        (self.length, self.modified) == (other.length, other.modified)
    }
}

/// A walk through a folder.
struct FolderWalk<'a> {
    path: &'a Path,
    /// The real paths of the shared folder and of the folders down to the current one.
    inside: Vec<PathBuf>,
    /// The names from the shared folder down to the current entry.
    names: Vec<OsString>,
    found: FoundFiles,
}

#[derive(Default)]
struct FoundFiles {
    entries: Vec<FileEntry>,
    stamps: FileStamps,
    empty_folders: Vec<PathBuf>,
}

impl FolderWalk<'_> {
    fn visit_folder(&mut self) -> Result<(), StoreError> {
        let folder = self.current_path();
        let failed = |error: io::Error| StoreError::io(Operation::Read, &folder, error);
        let read = fs::read_dir(&folder).map_err(failed)?;
        let mut names = read
            .map(|entry| Ok(entry.map_err(failed)?.file_name()))
            .collect::<Result<Vec<_>, StoreError>>()?;
        if names.is_empty() && !self.names.is_empty() {
            self.found.empty_folders.push(self.names.iter().collect());
        }
        names.sort_unstable();
        for name in names {
            self.names.push(name);
            self.visit_entry()?;
            self.names.pop();
        }
        Ok(())
    }

    fn visit_entry(&mut self) -> Result<(), StoreError> {
        let path = self.current_path();
        let failed = |error: io::Error| StoreError::io(Operation::Examine, &path, error);
        let mut metadata = fs::symlink_metadata(&path).map_err(failed)?;
        let is_link = metadata.is_symlink();
        if is_link {
            let real = self.follow_link(&path)?;
            metadata = fs::metadata(&real).map_err(failed)?;
        }
        if metadata.is_dir() {
            let real = path.canonicalize().map_err(failed)?;
            if self.inside.contains(&real) {
                return Err(StoreError::LinkLoop { path, to: real });
            }
            self.inside.push(real);
            self.visit_folder()?;
            self.inside.pop();
            Ok(())
        } else if metadata.is_file() {
            self.add_file(&path, &metadata)
        } else {
            let found = describe_type(FileType::from_raw_mode(metadata.mode()));
            Err(StoreError::WrongKind { path, expected: "a file or a folder", found })
        }
    }

    fn add_file(&mut self, path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
        if self.found.entries.len() == MAX_FILES {
            return Err(StoreError::TooManyFiles { path: self.path.to_owned(), limit: MAX_FILES });
        }
        let relative = SafePath::from_components(self.names.iter().map(|name| name.as_bytes()));
        let relative = relative.map_err(|error| bad_name(path, error))?;
        let entry = FileEntry { path: relative, length: metadata.len(), padding: false };
        self.found.entries.push(entry);
        self.found.stamps.0.push(Some(FileStamp::of(metadata)));
        Ok(())
    }

    /// The real path that a link points to, which must be inside the shared folder.
    fn follow_link(&self, link: &Path) -> Result<PathBuf, StoreError> {
        let to = || fs::read_link(link).unwrap_or_default();
        match link.canonicalize() {
            Ok(real) if real.starts_with(&self.inside[0]) => Ok(real),
            Ok(real) => Err(StoreError::LinkLeaves { path: link.to_owned(), to: real }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = format!("a link to {}, which does not exist", to().display());
                Err(StoreError::BadName { path: link.to_owned(), reason })
            }
            Err(error) => Err(StoreError::io(Operation::Open, link, error)),
        }
    }

    fn current_path(&self) -> PathBuf {
        let mut path = self.path.to_owned();
        path.extend(&self.names);
        path
    }
}

/// The last component of a path, or of the absolute path if it ends in dots.
fn name_of(path: &Path) -> Result<String, StoreError> {
    let real = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().map_err(|e| StoreError::io(Operation::Open, path, e))?,
    };
    let name = real.file_name().unwrap_or_default();
    clean_name(name.as_bytes()).map(str::to_owned).map_err(|error| bad_name(path, error))
}

fn bad_name(path: &Path, error: PathError) -> StoreError {
    StoreError::BadName {
        path: path.to_owned(),
        reason: format!("this name cannot be shared: {error}"),
    }
}
