//! Where a download goes: from what `-o` says and what the content is to a path, and what is there
//! already.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sow_content::{Info, metainfo::Files, path::printable};
use sow_store::{StoreError, StoreErrorKind, clear_leftovers, verify};

use crate::{
    args::get::Destination,
    exit::{Exit, Failure},
    hashing::Progress,
    report::Report,
    stop::Stop,
};

/// Where the bytes of one download go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into files; the path is the file, or the folder of a multi-file torrent.
    Path(PathBuf),
    /// To standard output.
    Stdout,
    /// Nowhere: it is kept in memory.
    Memory,
}

/// What is at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    /// Nothing.
    Nothing,
    /// The content, whole.
    Identical,
    /// Something else.
    Other,
}

/// Names the place for a download.
///
/// # Errors
/// When a folder is to go to standard output.
pub(crate) fn target_of(destination: &Destination, info: &Info) -> Result<Target, Failure> {
    match destination {
        Destination::Folder(folder) if holds(folder, info) => Ok(Target::Path(folder.clone())),
        Destination::Folder(folder) => Ok(Target::Path(folder.join(&info.name))),
        Destination::Path(path) => Ok(Target::Path(path.clone())),
        Destination::Stdout if matches!(info.files, Files::Multi(_)) => Err(Failure::usage(
            format!("{} is a folder, which cannot go to standard output", printable(&info.name)),
        )
        .tip("name a place for it with -o")),
        Destination::Stdout => Ok(Target::Stdout),
        Destination::Memory => Ok(Target::Memory),
    }
}

/// Whether a folder that was named with `-o` holds the files of the content itself, as it does when
/// the same line that once made the folder is run again.
fn holds(folder: &Path, info: &Info) -> bool {
    let is_file = |path: PathBuf, length: u64| {
        fs::symlink_metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == length)
    };
    matches!(info.files, Files::Multi(_))
        && info.file_spans().filter(|span| !span.padding).all(|span| {
            span.path.is_some_and(|path| is_file(folder.join(path.as_path()), span.length))
        })
}

/// Looks at what is at a target, hashing it with progress where its lengths are right. Takes as
/// long as that takes.
///
/// # Errors
/// When it cannot be read, or the run was asked to stop.
pub(crate) fn look_at(
    path: &Path,
    info: &Info,
    info_hash: sow_content::InfoHash,
    report: &Report,
    stop: &Stop,
) -> Result<There, Failure> {
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(There::Nothing);
    }
    let total = info.geometry.total();
    let progress = Progress::start(report, format!("checking {}", path.display()), total);
    let verified = match verify(info, path, 0, &|done| progress.set(done), stop.flag()) {
        Ok(verified) => verified,
        Err(error) if is_other_kind(&error) => return Ok(There::Other),
        Err(error) => return Err(error.into()),
    };
    if !verified.is_identical() {
        return Ok(There::Other);
    }
    if let Err(error) = clear_leftovers(info, info_hash, path) {
        report.warn(crate::exit::chain(&error));
    }
    Ok(There::Identical)
}

/// What to say about a target that is in the way.
pub(crate) fn differs(path: &Path) -> Failure {
    Failure::new(Exit::Differs, format!("{} exists and is not the same", path.display()))
        .tip("replace it with --overwrite, or choose another name with -o")
}

/// A folder where a file is due, or the other way round: not the content, but no trouble either.
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
    fn a_download_goes_under_its_name_into_a_folder() {
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
    fn the_folder_that_an_earlier_run_made_is_known_again() {
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
