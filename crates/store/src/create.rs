//! Creating the files of a part. A file that this process did not create is neither followed nor
//! written to: in its place, a new one is created. Which pieces count is not decided here.

use std::{fs::File, path::Path};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, statat, unlinkat},
    io::Errno,
    process::{Resource, getrlimit},
};

use crate::{
    beneath::open_parent,
    error::{Operation, StoreError},
    file_set::{FileSet, open_own_file},
    layout::Layout,
    part_state::PartState,
};

/// Creates missing files and folders and sets the length of every file.
pub(crate) fn create_files(files: &FileSet, state: &PartState) -> Result<(), StoreError> {
    let set_length = |file: &File, entry: usize| {
        let length = files.layout().entries()[entry].length;
        file.set_len(length)
            .map_err(|e| StoreError::io(Operation::Resize, &files.path_of(entry), e))
    };
    let wrong = state.short.iter().chain(&state.long);
    if !files.layout().is_folder() {
        return wrong.copied().try_for_each(|entry| set_length(files.root(), entry));
    }
    if !state.short.is_empty() {
        for folder in files.layout().folders() {
            create_folder(files.root(), folder)
                .map_err(|e| StoreError::io(Operation::Create, &files.path().join(folder), e))?;
        }
    }
    for &entry in wrong {
        let file = create_file(files.root(), files.layout().entries()[entry].path())
            .map_err(|e| StoreError::io(Operation::Create, &files.path_of(entry), e))?;
        set_length(&file, entry)?;
    }
    Ok(())
}

/// An error when a file of the content is longer than this process may write. Exceeding the limit
/// would end the process with a signal.
pub(crate) fn check_size_limit(layout: &Layout, path: &Path) -> Result<(), StoreError> {
    for (_, entry) in layout.on_disk() {
        if layout.is_folder() {
            check_length(entry.length, &path.join(entry.path()))?;
        } else {
            check_length(entry.length, path)?;
        }
    }
    Ok(())
}

/// Like [`check_size_limit`], for one file.
pub(crate) fn check_length(length: u64, path: &Path) -> Result<(), StoreError> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if limit < length => {
            Err(StoreError::FileSizeLimit { path: path.to_owned(), length, limit })
        }
        _ => Ok(()),
    }
}

/// Creates a folder whose parent exists. Anything else with its name is removed, but no folder.
fn create_folder(root: &File, path: &Path) -> Result<(), Errno> {
    let (parent, name) = (open_parent(root, path)?, path.file_name().ok_or(Errno::INVAL)?);
    let mode = Mode::from_raw_mode(0o777);
    match mkdirat(&parent, name, mode) {
        Err(Errno::EXIST) => {}
        done => return done,
    }
    let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(());
    }
    unlinkat(&parent, name, AtFlags::empty())?;
    mkdirat(&parent, name, mode)
}

/// Opens a file of the part, or creates it.
fn create_file(root: &File, path: &Path) -> Result<File, Errno> {
    let (parent, name) = (open_parent(root, path)?, path.file_name().ok_or(Errno::INVAL)?);
    match open_own_file(root, path) {
        Err(Errno::NOENT) => {}
        Err(Errno::LOOP | Errno::NXIO) => unlinkat(&parent, name, AtFlags::empty())?,
        opened => return opened,
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(&parent, name, flags, Mode::from_raw_mode(0o666))?.into())
}
