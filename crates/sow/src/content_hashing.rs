//! Hashing of content that is to be shared: the metainfo of a file or folder, the MD5 of a file.
//! Used by `send`, `torrent create` and the `chunk` commands.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::atomic::Ordering,
    time::{SystemTime, UNIX_EPOCH},
};

use sow_content::{Geometry, Info, Metainfo, geometry::piece_length_for, hash::Md5};
use sow_store::{ContentPlan, hash_content, scan};

use crate::{
    exit::{Exit, Failure, chain},
    file_errors,
    report::Report,
    stop_signal::StopSignal,
};

/// The number of bytes that are read at a time for an MD5.
const READ_SIZE: usize = 256 * 1024;

/// The number of empty folders that get a warning.
const MAX_EMPTY_FOLDER_WARNINGS: usize = 5;

/// The choices of new metainfo.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HashOptions {
    /// The length of a piece in bytes; `None` chooses it by size.
    pub(crate) piece_length: Option<u32>,
    /// The private flag (BEP 27).
    pub(crate) private: bool,
}

/// The MD5 of a file. Blocks for as long as reading the file takes.
///
/// # Errors
/// When the file cannot be read, or the run is to stop.
pub(crate) fn md5_of_file(
    path: &Path,
    report: &Report,
    stop: &StopSignal,
) -> Result<[u8; 16], Failure> {
    let failed = |error: io::Error| file_errors::cannot_read(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let total = file.metadata().map_err(failed)?.len();
    let progress = report.read_progress(format!("checking {}", path.display()), total);
    let (mut md5, mut buffer, mut done) = (Md5::new(), vec![0; READ_SIZE], 0);
    loop {
        if stop.flag().load(Ordering::Relaxed) {
            return Err(Failure::new(Exit::Interrupted, "interrupted"));
        }
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok(md5.finish());
        }
        md5.update(&buffer[..read]);
        done += read as u64;
        progress.set(done);
    }
}

/// Scans `path` and hashes it on all cores. Blocks for as long as reading the content takes.
///
/// # Errors
/// When the content cannot be shared or read or changes meanwhile, or the run is to stop.
pub(crate) fn metainfo_of(
    path: &Path,
    options: HashOptions,
    report: &Report,
    stop: &StopSignal,
) -> Result<(ContentPlan, Metainfo), Failure> {
    let plan = scan(path)?;
    let metainfo = metainfo_of_plan(&plan, options, report, stop)?;
    Ok((plan, metainfo))
}

/// Hashes what a scan has found, on all cores. Blocks for as long as reading the content takes.
///
/// # Errors
/// When the content cannot be shared or read or changes meanwhile, or the run is to stop.
pub(crate) fn metainfo_of_plan(
    plan: &ContentPlan,
    options: HashOptions,
    report: &Report,
    stop: &StopSignal,
) -> Result<Metainfo, Failure> {
    let path = plan.path();
    for folder in plan.empty_folders().iter().take(MAX_EMPTY_FOLDER_WARNINGS) {
        report.warn(format_args!(
            "{} is empty, and BitTorrent cannot carry empty folders: receivers will not have it",
            path.join(folder).display()
        ));
    }
    let piece_length = options.piece_length.unwrap_or_else(|| piece_length_for(plan.total()));
    let geometry = Geometry::new(plan.total(), piece_length.into()).map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display()))
            .tip("choose longer pieces with --piece-length")
    })?;
    let progress = report.read_progress(format!("hashing {}", plan.name()), plan.total());
    let hashes = hash_content(plan, piece_length, 0, &|done| progress.set(done), stop.flag())?;
    let info =
        Info::from_parts(plan.name(), geometry, plan.files().clone(), hashes, options.private)
            .map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot share {}: {}", path.display(), chain(&error)),
                )
            })?;
    let mut metainfo = Metainfo::new(info);
    metainfo.created_by = Some(concat!("sow ", env!("CARGO_PKG_VERSION")).to_owned());
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    metainfo.creation_date = since_1970.ok().and_then(|time| i64::try_from(time.as_secs()).ok());
    Ok(metainfo)
}
