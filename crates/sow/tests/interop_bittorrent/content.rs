//! Content to share: a file or a folder, a .torrent file that neither `sow` nor one of the other
//! programs made, and the comparison of copies.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::support::{noise, tree};

/// The folder of the scripts.
pub(crate) const INTEROP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop");
/// Debian's Python, for which python3-libtorrent is installed; PATH may name another one.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Not a multiple of the piece length or the block length.
const FILE_BYTES: usize = (6 << 20) + 12_345;

/// Shared content in a temporary folder, with further folders for copies.
pub(crate) struct Content {
    folder: TempDir,
    /// The file or folder that is shared.
    pub(crate) path: PathBuf,
}

/// A .torrent file and the info-hash of its content.
pub(crate) struct Torrent {
    /// The file.
    pub(crate) path: PathBuf,
    /// The info-hash in hex.
    pub(crate) info_hash: String,
}

impl Content {
    /// A single file.
    pub(crate) fn file() -> Self {
        let content = Self::named("shared.bin");
        fs::write(&content.path, noise(FILE_BYTES, 1)).expect("a temporary file can be written");
        content
    }

    /// A folder with the difficult cases: nested folders, an empty file, spaces, UTF-8, files
    /// shorter and longer than a piece.
    pub(crate) fn folder() -> Self {
        let content = Self::named("shared folder");
        let files: [(&str, usize); 6] = [
            ("a.bin", 3_000_000),
            ("deep/er/est/b.bin", 70_000),
            ("deep/naïve 名前.txt", 1),
            ("empty", 0),
            ("with space/c.bin", 65_536),
            ("z.bin", 1_000_001),
        ];
        for (seed, (name, size)) in (2..).zip(files) {
            let path = content.path.join(name);
            fs::create_dir_all(path.parent().expect("it is in a folder"))
                .expect("a temporary folder can be made");
            fs::write(path, noise(size, seed)).expect("a temporary file can be written");
        }
        content
    }

    /// A folder of this name, for a copy or for the files of a program.
    pub(crate) fn subfolder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        path
    }

    /// A .torrent file of the content that names `tracker`.
    pub(crate) fn torrent(&self, tracker: Option<&str>) -> Torrent {
        let path = self.folder.path().join("shared.torrent");
        let mut command = Command::new(PYTHON);
        command.arg(format!("{INTEROP}/torrent_file.py")).arg(&self.path).arg(&path);
        if let Some(tracker) = tracker {
            command.args(["--tracker", tracker]);
        }
        let output =
            command.output().unwrap_or_else(|error| panic!("{PYTHON} (package python3): {error}"));
        assert!(
            output.status.success(),
            "torrent_file.py: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Torrent { path, info_hash: String::from_utf8_lossy(&output.stdout).trim().to_owned() }
    }

    /// The folder that the content is in.
    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().expect("content is in a folder")
    }

    /// Whether `folder` has an exact copy of every file that is not empty. Transmission creates no
    /// empty files.
    pub(crate) fn is_copied_without_empty_files_to(&self, folder: &Path) -> bool {
        let [copy, original] = [self.copy_in(folder), tree(&self.path)].map(|mut tree| {
            tree.retain(|_, bytes| !bytes.is_empty());
            tree
        });
        copy == original
    }

    /// Whether `folder` has an exact copy, under the same name.
    pub(crate) fn is_copied_to(&self, folder: &Path) -> bool {
        self.copy_in(folder) == tree(&self.path)
    }

    /// Fails the test unless `folder` has an exact copy.
    pub(crate) fn assert_copied_to(&self, folder: &Path) {
        let copy = self.copy_in(folder);
        let original = tree(&self.path);
        let sizes = |tree: &Tree| {
            tree.iter().map(|(path, bytes)| (path.clone(), bytes.len())).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&copy), sizes(&original), "names and sizes in {}", folder.display());
        assert!(copy == original, "the bytes in {} differ", folder.display());
    }

    fn copy_in(&self, folder: &Path) -> Tree {
        tree(&folder.join(self.path.file_name().expect("content has a name")))
    }

    fn named(name: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let path = folder.path().join("original").join(name);
        fs::create_dir(path.parent().expect("it is in a folder"))
            .expect("a temporary folder can be made");
        Self { folder, path }
    }
}

impl Torrent {
    /// A magnet link with these `x.pe` peers and trackers.
    pub(crate) fn magnet(&self, peers: &[String], trackers: &[&str]) -> String {
        let mut link = format!("magnet:?xt=urn:btih:{}", self.info_hash);
        peers.iter().for_each(|peer| link.push_str(&format!("&x.pe={peer}")));
        trackers.iter().for_each(|tracker| {
            link.push_str(&format!("&tr={}", tracker.replace(':', "%3A").replace('/', "%2F")));
        });
        link
    }
}

type Tree = BTreeMap<PathBuf, Vec<u8>>;
