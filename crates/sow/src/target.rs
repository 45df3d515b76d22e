//! The target of a download: its path, from `-o` and the content's name, and whether something
//! exists there.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use sow_content::{Info, InfoHash, metainfo::Files, untrusted::printable};
use sow_store::{StoreError, StoreErrorKind, check_target, clear_leftovers, verify};

use crate::{
    args::destination::Destination,
    completion_hook::{HookContent, absolute},
    exit::{Exit, Failure, chain},
    report::Report,
    stop_signal::StopSignal,
};

/// Where the bytes of one download go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// To files; the path is the file, or the folder of a multi-file torrent.
    Path(PathBuf),
    /// To standard output.
    Stdout,
    /// To memory.
    Memory,
}

/// What exists at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Nothing.
    Nothing,
    /// The complete content.
    Identical,
    /// Something else.
    Other,
}

impl Target {
    /// What a command is told that runs when the content is in its place.
    pub(crate) fn hook_content(&self, info: &Info, info_hash: InfoHash) -> HookContent {
        let path = match self {
            Self::Path(path) => absolute(path),
            Self::Stdout => OsString::from("-"),
            Self::Memory => OsString::new(),
        };
        HookContent {
            name: printable(&info.name).into_owned(),
            path,
            info_hash: info.has_hashes().then_some(info_hash),
            bytes: info.geometry.total(),
        }
    }
}

/// The target of a download.
///
/// # Errors
/// When a folder would go to standard output.
pub(crate) fn target_of(destination: &Destination, info: &Info) -> Result<Target, Failure> {
    match destination {
        Destination::Folder(folder) if contains_files(folder, info) => {
            Ok(Target::Path(folder.clone()))
        }
        Destination::Folder(folder) => Ok(Target::Path(folder.join(&info.name))),
        Destination::Path(path) => Ok(Target::Path(path.clone())),
        Destination::Stdout if matches!(info.files, Files::Multi(_)) => Err(Failure::usage(
            format!("{} is a folder, which cannot go to standard output", printable(&info.name)),
        )
        .tip("name a folder with -o")),
        Destination::Stdout => Ok(Target::Stdout),
        Destination::Memory => Ok(Target::Memory),
    }
}

/// Whether a folder that `-o` names contains the files of the content itself: an earlier run of the
/// same command has created it.
fn contains_files(folder: &Path, info: &Info) -> bool {
    let is_file = |path: PathBuf, length: u64| {
        fs::symlink_metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == length)
    };
    matches!(info.files, Files::Multi(_))
        && info.file_spans().filter(|span| !span.padding).all(|span| {
            span.path.is_some_and(|path| is_file(folder.join(path.as_path()), span.length))
        })
}

/// Checks what exists at a target, and hashes it if its size is right. Blocks for as long as
/// hashing takes.
///
/// # Errors
/// When it cannot be read, or the run is to stop.
pub(crate) fn inspect(
    path: &Path,
    info: &Info,
    info_hash: InfoHash,
    report: &Report,
    stop: &StopSignal,
) -> Result<Existing, Failure> {
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(Existing::Nothing);
    }
    check_target(path)?;
    let total = info.geometry.total();
    let progress = report.read_progress(format!("checking {}", path.display()), total);
    let verified = match verify(info, path, 0, &|done| progress.set(done), stop.flag()) {
        Ok(verified) => verified,
        Err(error) if is_other_kind(&error) => return Ok(Existing::Other),
        Err(error) => return Err(error.into()),
    };
    if !verified.is_identical() {
        return Ok(Existing::Other);
    }
    if let Err(error) = clear_leftovers(info, info_hash, path) {
        report.warn(chain(&error));
    }
    Ok(Existing::Identical)
}

/// The failure because a different target exists, or something that no download replaces.
pub(crate) fn exists_and_differs(path: &Path) -> Failure {
    if let Err(error) = check_target(path) {
        return error.into();
    }
    Failure::new(Exit::Differs, format!("{} exists and differs", path.display()))
        .tip("replace it with --overwrite, or choose another name with -o")
}

/// Whether the target is a folder instead of a file, or a file instead of a folder.
fn is_other_kind(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Unsuitable)
}

#[cfg(test)]
mod tests {
    use sow_content::{Geometry, SafePath, metainfo::FileEntry};

    use super::*;

    fn info(files: Files, total: u64) -> Info {
        let geometry = Geometry::new(total, 32 << 10).unwrap();
        Info::from_parts("name", geometry, files, vec![[0; 20]; geometry.pieces() as usize], false)
            .unwrap()
    }

    fn folder_info() -> Info {
        let entry = |path: &str, length| FileEntry {
            path: SafePath::parse(path).unwrap(),
            length,
            padding: false,
        };
        info(Files::Multi(vec![entry("a", 3), entry("b/c", 0)]), 3)
    }

    #[test]
    fn a_download_goes_into_a_folder_under_its_own_name() {
        let path = |path: &str| Target::Path(path.into());
        let file = info(Files::Single, 5);
        assert_eq!(target_of(&Destination::Folder(".".into()), &file).unwrap(), path("./name"));
        assert_eq!(target_of(&Destination::Path("x/y".into()), &file).unwrap(), path("x/y"));
        assert_eq!(target_of(&Destination::Stdout, &file).unwrap(), Target::Stdout);
        assert_eq!(
            target_of(&Destination::Stdout, &folder_info()).unwrap_err().exit(),
            Exit::Usage
        );
    }

    #[test]
    fn a_folder_of_an_earlier_run_is_recognized() {
        let place = tempfile::tempdir().unwrap();
        let destination = Destination::Folder(place.path().to_owned());
        let below = Target::Path(place.path().join("name"));
        assert_eq!(target_of(&destination, &folder_info()).unwrap(), below);
        fs::create_dir(place.path().join("b")).unwrap();
        fs::write(place.path().join("b/c"), "").unwrap();
        fs::write(place.path().join("a"), "xy").unwrap();
        assert_eq!(target_of(&destination, &folder_info()).unwrap(), below);
        fs::write(place.path().join("a"), "xyz").unwrap();
        assert_eq!(
            target_of(&destination, &folder_info()).unwrap(),
            Target::Path(place.path().to_owned())
        );
    }
}
