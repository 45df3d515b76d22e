//! From metainfo to a place for the bytes: what is at the target already, what an earlier run left.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, Info, InfoHash, Metainfo, hash::sha1};
use sow_node::SwarmContent;
use sow_store::{DiskStore, MemoryStore, ReceiveOptions, Store};

use super::{Run, leftovers};
use crate::{
    args::get::Destination,
    exit::{Exit, Failure},
    hashing::Progress,
    memory,
    quantity::Size,
    report::Report,
    target::{self, Target, There},
};

/// What there is to do.
pub(super) enum Opening {
    /// Nothing: the target is there, identical.
    Done(PathBuf),
    /// To fetch what is missing.
    Fetch(Box<Fetch>),
    /// To serve the target, which is there.
    Seed(Box<SwarmContent>),
}

/// A download with a place for its bytes.
pub(super) struct Fetch {
    /// For the swarm.
    pub(super) content: SwarmContent,
    /// Bytes that an earlier run has fetched.
    pub(super) resumed: u64,
    /// Where the bytes go.
    pub(super) target: Target,
}

/// What is to be received.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// Name, size, pieces.
    pub(super) info: Info,
    /// What an earlier run's leftovers are known by.
    pub(super) identity: InfoHash,
    /// The bencoded info dictionary; empty when there is none.
    metadata: Bytes,
}

impl From<&Metainfo> for Subject {
    fn from(metainfo: &Metainfo) -> Self {
        let Metainfo { info, info_hash, info_bytes, .. } = metainfo.clone();
        Self { info, identity: info_hash, metadata: info_bytes }
    }
}

impl Subject {
    /// A file of which nothing is known but its size and its chunks.
    pub(super) fn without_hashes(destination: &Destination, geometry: Geometry) -> Self {
        let name = match destination {
            Destination::Path(path) | Destination::Folder(path) => {
                path.file_name().and_then(OsStr::to_str)
            }
            Destination::Stdout | Destination::Memory => None,
        };
        let named = name.and_then(|name| Info::without_hashes(name, geometry).ok());
        let info = named.or_else(|| Info::without_hashes("file", geometry).ok());
        let info = info.unwrap_or_else(|| unreachable!("`file` is a name"));
        let (total, length) = (geometry.total(), geometry.piece_length());
        let identity =
            InfoHash(sha1(format!("a file of {total} bytes in chunks of {length}").as_bytes()));
        Self { info, identity, metadata: Bytes::new() }
    }
}

/// Opens the place for a download. Takes as long as hashing what is there takes.
///
/// # Errors
/// When the target is there and differs, another process is at it, there is no room, or it cannot
/// be written to.
pub(super) fn open(run: &Run, subject: &Subject, report: &Report) -> Result<Opening, Failure> {
    let info = &subject.info;
    let target = target::target_of(&run.plan.destination, info)?;
    let (store, mut have) = match &target {
        Target::Stdout => {
            let store = DiskStore::receive_unnamed(info, &std::env::temp_dir())?;
            (Store::from(store), Bitfield::new(info.geometry.pieces()))
        }
        Target::Memory => (in_memory(info.geometry)?, Bitfield::new(info.geometry.pieces())),
        Target::Path(path) => {
            match target::look_at(path, info, subject.identity, report, &run.stop)? {
                There::Nothing => {}
                There::Identical if run.plan.seed_whole_for.is_some_and(|time| !time.is_zero()) => {
                    return seed(subject, path);
                }
                There::Identical => return Ok(Opening::Done(path.clone())),
                There::Other if run.plan.overwrite => {}
                There::Other => return Err(target::differs(path)),
            }
            let label = format!("checking what is left of {}", path.display());
            let progress = Progress::start(report, label, info.geometry.total());
            let options = ReceiveOptions {
                overwrite: run.plan.overwrite,
                threads: 0,
                progress: &|done| progress.set(done),
                cancel: run.stop.flag(),
            };
            let (store, have) = DiskStore::receive(info, subject.identity, path, &options)?;
            (Store::from(store), have)
        }
    };
    if run.plan.seed_whole_for.is_some() {
        let folder = format!("{}_data", info.name);
        let taken = leftovers::take_over(info, Path::new(&folder), &store, &mut have)?;
        if taken > 0 {
            report.note(format_args!("took over {taken} pieces from {folder}"));
        }
    }
    let resumed = bytes_in(&info.geometry, &have);
    if resumed > 0 {
        report.note(format_args!(
            "resuming: {} of {} are there{}",
            Size(resumed),
            Size(info.geometry.total()),
            if info.has_hashes() { " and verified" } else { "" }
        ));
    }
    let mut info = info.clone();
    // Peers come from nowhere but the trackers, of which there are none then (BEP 27).
    info.private |= run.plan.only_origin;
    let content = SwarmContent {
        info: Arc::new(info),
        metadata: subject.metadata.clone(),
        store: Arc::new(store),
        have,
        md5: None,
    };
    Ok(Opening::Fetch(Box::new(Fetch { content, resumed, target })))
}

/// What is there already is served.
fn seed(subject: &Subject, path: &Path) -> Result<Opening, Failure> {
    let store = DiskStore::serve(&subject.info, path)?;
    Ok(Opening::Seed(Box::new(SwarmContent {
        info: Arc::new(subject.info.clone()),
        metadata: subject.metadata.clone(),
        store: Arc::new(Store::from(store)),
        have: Bitfield::full(subject.info.geometry.pieces()),
        md5: None,
    })))
}

fn in_memory(geometry: Geometry) -> Result<Store, Failure> {
    let most = memory::half_of_available();
    if geometry.total() > most {
        let (total, most) = (Size(geometry.total()), Size(most));
        return Err(Failure::new(
            Exit::Failed,
            format!("{total} do not fit into memory ({most} at most)"),
        )
        .tip("write it to a file with -o"));
    }
    Ok(Store::from(MemoryStore::new(geometry)))
}

fn bytes_in(geometry: &Geometry, have: &Bitfield) -> u64 {
    have.iter().map(|piece| u64::from(geometry.length_of(piece))).sum()
}
