//! What is there to share at a moment: the paths that are named, and the entries of the folders
//! that are watched. Nothing is opened but folders, and nothing is remembered.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use sow_store::{ContentPlan, StoreErrorKind, scan};
use tokio::time::Instant;

use crate::{exit::chain, file_errors};

/// The limit of entries of one watched folder.
const MAX_ENTRIES: usize = 100_000;

/// The endings of what a download of this program has not completed.
const PART_ENDINGS: [&[u8]; 2] = [b".sow-part", b".sow-part.journal"];

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// Files and folders.
    pub(super) paths: Vec<PathBuf>,
    /// Folders whose entries are shared.
    pub(super) watch: Vec<PathBuf>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Round {
    /// What is at each path, or why it cannot be shared.
    pub(super) found: BTreeMap<PathBuf, Result<ContentPlan, String>>,
    /// The folders that cannot be watched, and why: what is shared of them stays.
    pub(super) unreadable: BTreeMap<PathBuf, String>,
    /// When the round began.
    pub(super) began: Instant,
    /// The same by the clock of the files.
    pub(super) time: SystemTime,
}

impl Sources {
    /// Looks at everything. Blocks.
    pub(super) fn look(&self) -> Round {
        let mut round = Round {
            found: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            began: Instant::now(),
            time: SystemTime::now(),
        };
        for folder in &self.watch {
            match entries_of(folder) {
                Ok(paths) => paths.into_iter().for_each(|path| round.look_at_entry(path)),
                Err(reason) => _ = round.unreadable.insert(folder.clone(), reason),
            }
        }
        for path in &self.paths {
            let found = scan(path).map_err(|error| chain(&error));
            round.found.insert(path.clone(), found);
        }
        round
    }
}

impl Round {
    fn look_at_entry(&mut self, path: PathBuf) {
        match scan(&path) {
            // It was removed since the folder was read.
            Err(error) if error.kind() == StoreErrorKind::Missing && !path.exists() => {}
            found => _ = self.found.insert(path, found.map_err(|error| chain(&error))),
        }
    }
}

/// The entries of a folder that are shared.
fn entries_of(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error| file_errors::cannot_read(folder, &error).message().to_owned();
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.as_bytes();
        if name.starts_with(b".") || PART_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        // Sockets and pipes are no content.
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_file() || kind.is_dir() || kind.is_symlink() {
            paths.push(entry.path());
        }
        if paths.len() > MAX_ENTRIES {
            return Err(format!("{} has over {MAX_ENTRIES} entries", folder.display()));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_watched_folders_are_found_but_hidden_and_partial_ones() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["b", ".hidden", "a.sow-part", "a.sow-part.journal", "c.iso"] {
            fs::write(at(name), name).unwrap();
        }
        fs::create_dir(at("photos")).unwrap();
        fs::write(at("photos/1"), "x").unwrap();
        fs::create_dir(at("empty")).unwrap();
        let (named, gone) = (at(".hidden"), at("gone"));
        let sources = Sources {
            paths: vec![named.clone(), gone.clone()],
            watch: vec![folder.path().to_owned(), at("none")],
        };
        let round = sources.look();
        let names: Vec<_> =
            round.found.keys().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, [".hidden", "b", "c.iso", "empty", "gone", "photos"]);
        assert_eq!(round.found[&at("photos")].as_ref().unwrap().total(), 1);
        assert!(round.found[&named].is_ok() && round.found[&at("empty")].is_err());
        assert!(round.found[&gone].as_ref().unwrap_err().contains("gone"));
        assert_eq!(round.unreadable.keys().collect::<Vec<_>>(), [&at("none")]);
    }
}
