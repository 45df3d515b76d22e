//! From metainfo to a place for the bytes: what is at the target already, what an earlier run left.

use std::{path::PathBuf, sync::Arc};

use sow_content::{Bitfield, Geometry, Metainfo};
use sow_node::SwarmContent;
use sow_store::{DiskStore, ReceiveOptions, Store};

use super::Run;
use crate::{
    exit::Failure,
    hashing::Progress,
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
}

/// A download with a place for its bytes.
pub(super) struct Fetch {
    /// For the swarm.
    pub(super) content: SwarmContent,
    /// Bytes that an earlier run has fetched.
    pub(super) resumed: u64,
    /// The bytes go to standard output.
    pub(super) is_stream: bool,
}

/// Opens the place for a download. Takes as long as hashing what is there takes.
///
/// # Errors
/// When the target is there and differs, another process is at it, there is no room, or it cannot be written to.
pub(super) fn open(run: &Run, metainfo: &Metainfo, report: &Report) -> Result<Opening, Failure> {
    let info = &metainfo.info;
    let target = target::target_of(&run.plan.destination, info)?;
    let (store, have) = match &target {
        Target::Stdout => {
            let store = DiskStore::receive_unnamed(info, &std::env::temp_dir())?;
            (store, Bitfield::new(info.geometry.pieces()))
        }
        Target::Path(path) => {
            match target::look_at(path, info, metainfo.info_hash, report, &run.stop)? {
                There::Nothing => {}
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
            DiskStore::receive(info, metainfo.info_hash, path, &options)?
        }
    };
    let resumed = bytes_in(&info.geometry, &have);
    if resumed > 0 {
        report.note(format_args!(
            "resuming: {} of {} are there and verified",
            Size(resumed),
            Size(info.geometry.total())
        ));
    }
    let mut info = info.clone();
    // Peers come from nowhere but the trackers, of which there are none then (BEP 27).
    info.private |= run.plan.only_origin;
    let content = SwarmContent {
        info: Arc::new(info),
        metadata: metainfo.info_bytes.clone(),
        store: Arc::new(Store::from(store)),
        have,
    };
    Ok(Opening::Fetch(Box::new(Fetch { content, resumed, is_stream: target == Target::Stdout })))
}

fn bytes_in(geometry: &Geometry, have: &Bitfield) -> u64 {
    have.iter().map(|piece| u64::from(geometry.length_of(piece))).sum()
}
