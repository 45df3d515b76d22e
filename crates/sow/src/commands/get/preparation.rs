//! Preparation of a download: what exists at the target, the pieces of an earlier run, and a store
//! for the rest.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, Info, InfoHash, Metainfo, hash::sha1};
use sow_node::SwarmContent;
use sow_store::{DiskStore, MemoryStore, ReceiveOptions, Store, drop_page_cache};

use super::{context::DownloadContext, original_pieces};
use crate::{
    args::destination::Destination,
    exit::{Exit, Failure},
    memory_limit,
    quantity::Size,
    report::Report,
    target::{self, Existing, Target},
};

/// What remains to be done.
pub(super) enum Preparation {
    /// Nothing: the target is complete.
    Complete(Box<CompleteTarget>),
    /// Download the missing pieces.
    Pending(Box<PendingDownload>),
}

/// A target that was complete at the start.
pub(super) struct CompleteTarget {
    /// Its path.
    pub(super) path: PathBuf,
    /// Its content, for the swarm.
    pub(super) content: SwarmContent,
}

/// A download with a store for its pieces.
pub(super) struct PendingDownload {
    /// The content and its store, for the swarm.
    pub(super) content: SwarmContent,
    /// The bytes that an earlier run has downloaded.
    pub(super) resumed: u64,
    /// Where the bytes go.
    pub(super) target: Target,
}

/// The description of the content to download.
#[derive(Debug, Clone)]
pub(super) struct ContentDescription {
    /// Its name, size and pieces.
    pub(super) info: Info,
    /// What identifies the partial download of an earlier run.
    pub(super) identity: InfoHash,
    /// The bencoded info dictionary; empty if there is none.
    metadata: Bytes,
}

impl From<&Metainfo> for ContentDescription {
    fn from(metainfo: &Metainfo) -> Self {
        let Metainfo { info, info_hash, info_bytes, .. } = metainfo.clone();
        Self { info, identity: info_hash, metadata: info_bytes }
    }
}

impl ContentDescription {
    /// A file of which only the size and the length of a chunk are known.
    pub(super) fn without_hashes(destination: &Destination, geometry: Geometry) -> Self {
        let name = match destination {
            Destination::Path(path) | Destination::Folder(path) => {
                path.file_name().and_then(OsStr::to_str)
            }
            Destination::Stdout | Destination::Memory => None,
        };
        let named = name.and_then(|name| Info::without_hashes(name, geometry).ok());
        let info = named.or_else(|| Info::without_hashes("file", geometry).ok());
        let info = info.unwrap_or_else(|| unreachable!("`file` is a valid name"));
        let (total, length) = (geometry.total(), geometry.piece_length());
        let identity =
            InfoHash(sha1(format!("a file of {total} bytes in chunks of {length}").as_bytes()));
        Self { info, identity, metadata: Bytes::new() }
    }
}

/// Prepares a download. Blocks for as long as hashing existing data takes.
///
/// # Errors
/// When the target exists and differs, another process is receiving it, the disk is full, or the
/// target cannot be written to.
pub(super) fn prepare(
    context: &DownloadContext,
    description: &ContentDescription,
    report: &Report,
) -> Result<Preparation, Failure> {
    let info = &description.info;
    let target = target::target_of(&context.plan.destination, info)?;
    let (store, mut have) = match &target {
        Target::Stdout => {
            let store = DiskStore::receive_unnamed(info, &std::env::temp_dir())?;
            (Store::from(store), Bitfield::new(info.geometry.pieces()))
        }
        Target::Memory => (in_memory(info.geometry)?, Bitfield::new(info.geometry.pieces())),
        Target::Path(path) => {
            if context.plan.verify {
                drop_page_cache(info, path);
            }
            match target::inspect(path, info, description.identity, report, &context.stop)? {
                Existing::Nothing => {}
                Existing::Identical => {
                    let content = complete_content(description, path, None)?;
                    let complete = CompleteTarget { path: path.clone(), content };
                    return Ok(Preparation::Complete(Box::new(complete)));
                }
                Existing::Other if context.plan.overwrite => {}
                Existing::Other => return Err(target::exists_and_differs(path)),
            }
            let label = format!("checking the partial download of {}", path.display());
            let progress = report.read_progress(label, info.geometry.total());
            let options = ReceiveOptions {
                overwrite: context.plan.overwrite,
                read_back: context.plan.verify,
                threads: 0,
                progress: &|done| progress.set(done),
                cancel: context.stop.flag(),
            };
            let (store, have) = DiskStore::receive(info, description.identity, path, &options)?;
            (Store::from(store), have)
        }
    };
    if context.plan.seed_whole_for.is_some() {
        let folder = format!("{}_data", info.name);
        let imported = original_pieces::import(info, Path::new(&folder), &store, &mut have)?;
        if imported > 0 {
            report.note(format_args!("imported {imported} pieces from {folder}"));
        }
    }
    let resumed = bytes_in(&info.geometry, &have);
    if resumed > 0 {
        report.note(format_args!(
            "resuming: {} of {} stored{}",
            Size(resumed),
            Size(info.geometry.total()),
            if info.has_hashes() { " and verified" } else { "" }
        ));
    }
    let mut info = info.clone();
    // A private torrent gets peers only from trackers (BEP 27), and --only-origin removes these.
    info.private |= context.plan.only_origin;
    let content = SwarmContent {
        info: Arc::new(info),
        metadata: description.metadata.clone(),
        store: Arc::new(store),
        have,
        md5: None,
    };
    Ok(Preparation::Pending(Box::new(PendingDownload { content, resumed, target })))
}

/// A complete target as content that can be served. `md5` is that of the file where only this
/// verifies it.
///
/// # Errors
/// When it cannot be read.
pub(super) fn complete_content(
    description: &ContentDescription,
    path: &Path,
    md5: Option<[u8; 16]>,
) -> Result<SwarmContent, Failure> {
    let store = DiskStore::serve(&description.info, path)?;
    Ok(SwarmContent {
        info: Arc::new(description.info.clone()),
        metadata: description.metadata.clone(),
        store: Arc::new(Store::from(store)),
        have: Bitfield::full(description.info.geometry.pieces()),
        md5,
    })
}

fn in_memory(geometry: Geometry) -> Result<Store, Failure> {
    let max_length = memory_limit::half_of_available();
    if geometry.total() > max_length {
        let (total, limit) = (Size(geometry.total()), Size(max_length));
        return Err(Failure::new(
            Exit::Failed,
            format!("{total} do not fit into memory (at most {limit} do)"),
        )
        .tip("write it to a file with -o"));
    }
    Ok(Store::from(MemoryStore::new(geometry)))
}

fn bytes_in(geometry: &Geometry, have: &Bitfield) -> u64 {
    have.iter().map(|piece| u64::from(geometry.length_of(piece))).sum()
}
