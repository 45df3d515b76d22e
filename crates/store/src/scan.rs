//! What there is to share at a path: one file, or the files of a folder in a fixed order. Looks at
//! names and lengths; reads no contents.

use std::{
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{fs::FileType, io::Errno};
use sow_content::{
    metainfo::{FileEntry, Files, MAX_FILES},
    path::{PathError, SafePath, clean_name},
};

use crate::{
    error::{Operation, StoreError},
    layout::Layout,
    place::describe,
};

/// What is to be shared, as it was found.
#[derive(Debug, Clone)]
pub struct ContentPlan {
    path: PathBuf,
    name: String,
    files: Files,
    layout: Layout,
    stamps: Vec<Stamp>,
    empty_folders: Vec<PathBuf>,
}

/// What a file was like, to see whether it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: (i64, i64),
}

/// Looks at a file or at everything in a folder.
///
/// Files are in the order of their names' bytes, folder by folder. A symbolic link inside the
/// folder counts as what it points to; so does `path` itself.
///
/// # Errors
/// When there is nothing at the path, or no file in the folder; when a link leaves the folder,
/// leads back into itself or nowhere; when there is something that is neither a file nor a folder;
/// when a name is not UTF-8; when a folder cannot be read; when there are too many files.
pub fn scan(path: &Path) -> Result<ContentPlan, StoreError> {
    let metadata = fs::metadata(path).map_err(|e| StoreError::io(Operation::Open, path, e))?;
    let name = name_of(path)?;
    if metadata.is_file() {
        return Ok(ContentPlan {
            path: path.to_owned(),
            name,
            files: Files::Single,
            layout: Layout::single(metadata.len()),
            stamps: vec![Stamp::of(&metadata)],
            empty_folders: Vec::new(),
        });
    }
    if !metadata.is_dir() {
        let found = describe(FileType::from_raw_mode(metadata.mode()));
        return Err(StoreError::WrongKind {
            path: path.to_owned(),
            expected: "a file or a folder",
            found,
        });
    }
    let root = path.canonicalize().map_err(|e| StoreError::io(Operation::Open, path, e))?;
    let mut walk = Walk { path, inside: vec![root], names: Vec::new(), found: Found::default() };
    walk.folder()?;
    let Found { entries, stamps, empty_folders } = walk.found;
    if entries.is_empty() {
        return Err(StoreError::EmptyFolder { path: path.to_owned() });
    }
    let layout = Layout::folder(entries.iter().cloned());
    // Sparse files can claim more than there is disk.
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
    /// Where it lies, as it was given to [`scan`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to call it: the last component of the path, or of what the path stands for (`.`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One file, or the files of the folder.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.layout.total()
    }

    /// Folders with nothing in them, relative to the path. BitTorrent cannot carry them, so that
    /// receivers will not have them.
    pub fn empty_folders(&self) -> &[PathBuf] {
        &self.empty_folders
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Looks whether every file still has the length and the time of its last change that it was
    /// found with.
    ///
    /// # Errors
    /// The error names the first file that has not, or is not there any more.
    pub fn check_unchanged(&self) -> Result<(), StoreError> {
        let paths: Vec<PathBuf> = match &self.files {
            Files::Single => vec![self.path.clone()],
            Files::Multi(entries) => {
                entries.iter().map(|entry| self.path.join(entry.path.as_path())).collect()
            }
        };
        for (path, stamp) in paths.into_iter().zip(&self.stamps) {
            let metadata =
                fs::metadata(&path).map_err(|e| StoreError::io(Operation::Examine, &path, e))?;
            if Stamp::of(&metadata) != *stamp {
                return Err(StoreError::Changed { path, expected: stamp.length });
            }
        }
        Ok(())
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { length: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

/// A walk through a folder, at one place in it.
struct Walk<'a> {
    path: &'a Path,
    /// The folder that the walk is in and all those around it, without links; the shared folder
    /// first.
    inside: Vec<PathBuf>,
    /// The way to it from the shared folder, by the names that are shared.
    names: Vec<OsString>,
    found: Found,
}

#[derive(Default)]
struct Found {
    entries: Vec<FileEntry>,
    stamps: Vec<Stamp>,
    empty_folders: Vec<PathBuf>,
}

impl Walk<'_> {
    /// Takes in the folder that the walk is in.
    fn folder(&mut self) -> Result<(), StoreError> {
        let here = self.here();
        let failed = |error: io::Error| StoreError::io(Operation::Read, &here, error);
        let read = fs::read_dir(&here).map_err(failed)?;
        let mut names = read
            .map(|entry| Ok(entry.map_err(failed)?.file_name()))
            .collect::<Result<Vec<_>, StoreError>>()?;
        if names.is_empty() && !self.names.is_empty() {
            self.found.empty_folders.push(self.names.iter().collect());
        }
        names.sort_unstable();
        for name in names {
            self.names.push(name);
            self.entry()?;
            self.names.pop();
        }
        Ok(())
    }

    /// Takes in one thing.
    fn entry(&mut self) -> Result<(), StoreError> {
        let path = self.here();
        let failed = |error: io::Error| StoreError::io(Operation::Examine, &path, error);
        let mut metadata = fs::symlink_metadata(&path).map_err(failed)?;
        let is_link = metadata.is_symlink();
        if is_link {
            let real = self.follow(&path)?;
            metadata = fs::metadata(&real).map_err(failed)?;
        }
        if metadata.is_dir() {
            let real = path.canonicalize().map_err(failed)?;
            if self.inside.contains(&real) {
                return Err(StoreError::LinkLoop { path, to: real });
            }
            self.inside.push(real);
            self.folder()?;
            self.inside.pop();
            Ok(())
        } else if metadata.is_file() {
            self.file(&path, &metadata)
        } else {
            let found = describe(FileType::from_raw_mode(metadata.mode()));
            Err(StoreError::WrongKind { path, expected: "a file or a folder", found })
        }
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
        if self.found.entries.len() == MAX_FILES {
            return Err(StoreError::TooManyFiles { path: self.path.to_owned(), limit: MAX_FILES });
        }
        let shared = SafePath::from_components(self.names.iter().map(|name| name.as_bytes()));
        let shared = shared.map_err(|error| bad_name(path, error))?;
        self.found.entries.push(FileEntry { path: shared, length: metadata.len(), padding: false });
        self.found.stamps.push(Stamp::of(metadata));
        Ok(())
    }

    /// What a link points to, which must be inside the shared folder.
    fn follow(&self, link: &Path) -> Result<PathBuf, StoreError> {
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

    fn here(&self) -> PathBuf {
        let mut path = self.path.to_owned();
        path.extend(&self.names);
        path
    }
}

/// The last component of a path, or of what it stands for.
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
