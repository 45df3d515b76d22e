//! From a path to a torrent's metainfo, with progress: what `send` and `torrent create` have in
//! common.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::atomic::Ordering,
};

use sow_content::{Geometry, Info, Metainfo, geometry::piece_length_for, hash::Md5};
use sow_store::{ContentPlan, hash_content, scan};

use crate::{
    disk,
    exit::{Exit, Failure, chain},
    quantity::{Rate, Size},
    report::Report,
    stop::Stop,
};

/// How much is read at a time for a sum, in bytes.
const READ: usize = 256 * 1024;

/// How new metainfo is to be.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// Bytes in a piece; `None` lets the size decide.
    pub(crate) piece_length: Option<u32>,
    /// BEP 27.
    pub(crate) private: bool,
}

/// The MD5 of a file.
///
/// # Errors
/// When it cannot be read, or the run was asked to stop.
pub(crate) fn md5_of(path: &Path, report: &Report, stop: &Stop) -> Result<[u8; 16], Failure> {
    let failed = |error: &io::Error| disk::unreadable(path, error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let total = file.metadata().map_err(|error| failed(&error))?.len();
    let progress = Progress::start(report, format!("checking {}", path.display()), total);
    let (mut md5, mut buffer, mut done) = (Md5::new(), vec![0; READ], 0);
    loop {
        if stop.flag().load(Ordering::Relaxed) {
            return Err(Failure::new(Exit::Interrupted, "interrupted"));
        }
        let read = file.read(&mut buffer).map_err(|error| failed(&error))?;
        if read == 0 {
            return Ok(md5.finish());
        }
        md5.update(&buffer[..read]);
        done += read as u64;
        progress.set(done);
    }
}

/// Looks at what is at `path` and hashes it on all cores. Takes as long as reading it takes: to be
/// called where a thread may wait.
///
/// # Errors
/// When it cannot be shared or read, changes meanwhile, or the run was asked to stop.
pub(crate) fn metainfo_of(
    path: &Path,
    wishes: Wishes,
    report: &Report,
    stop: &Stop,
) -> Result<(ContentPlan, Metainfo), Failure> {
    let plan = scan(path)?;
    for folder in plan.empty_folders().iter().take(5) {
        report.warn(format_args!(
            "{} is empty, and BitTorrent does not carry empty folders: receivers will not have it",
            path.join(folder).display()
        ));
    }
    let piece_length = wishes.piece_length.unwrap_or_else(|| piece_length_for(plan.total()));
    let geometry = Geometry::new(plan.total(), piece_length.into()).map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display()))
            .tip("choose longer pieces with --piece-length")
    })?;
    let meter = Progress::start(report, format!("hashing {}", plan.name()), plan.total());
    let hashes = hash_content(&plan, piece_length, 0, &|done| meter.set(done), stop.flag())?;
    let info =
        Info::from_parts(plan.name(), geometry, plan.files().clone(), hashes, wishes.private)
            .map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot share {}: {}", path.display(), chain(&error)),
                )
            })?;
    let mut metainfo = Metainfo::new(info);
    metainfo.created_by = Some(concat!("sow ", env!("CARGO_PKG_VERSION")).to_owned());
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    metainfo.creation_date = since_1970.ok().and_then(|time| i64::try_from(time.as_secs()).ok());
    Ok((plan, metainfo))
}

/// Progress of reading through something of known size.
pub(crate) struct Progress {
    meter: crate::report::Meter,
    started: std::time::Instant,
    total: u64,
}

impl Progress {
    pub(crate) fn start(report: &Report, label: String, total: u64) -> Self {
        Self { meter: report.meter(label), started: std::time::Instant::now(), total }
    }

    /// Shows that `done` bytes are read. From any thread.
    pub(crate) fn set(&self, done: u64) {
        self.meter.set(done, self.total, || {
            let rate = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
            format!("{} of {}  {}", Size(done), Size(self.total), Rate(rate as u64))
        });
    }
}
