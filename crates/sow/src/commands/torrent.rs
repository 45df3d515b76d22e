//! `sow torrent create|show|check`: .torrent files of BitTorrent.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use serde::Serialize;
use sow_content::{Bitfield, Metainfo, metainfo::Files, untrusted::Untrusted};
use sow_store::{Verified, verify};

use crate::{
    args::torrent::{CheckArgs, CreateArgs, ShowArgs, TorrentCommand},
    content_hashing::{HashOptions, metainfo_of},
    exit::{Exit, Failure},
    quantity::Size,
    report::Report,
    runtime::blocking,
    stdout,
    stop_signal::StopSignal,
    torrent_file,
};

/// Runs one of the commands.
///
/// # Errors
/// When the command fails.
pub(crate) async fn run(command: TorrentCommand, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let report = report.clone();
    let work = move || match command {
        TorrentCommand::Create(args) => create(args, &report, &stop),
        TorrentCommand::Show(args) => show(&args, &report),
        TorrentCommand::Check(args) => check(args, &report, &stop),
    };
    blocking(work).await
}

fn create(args: CreateArgs, report: &Report, stop: &StopSignal) -> Result<Exit, Failure> {
    // The option's parser has checked the range.
    let piece_length = args.piece_length.and_then(|size| u32::try_from(size.0).ok());
    let options = HashOptions { piece_length, private: args.private };
    let (_, mut metainfo) = metainfo_of(&args.path, options, report, stop)?;
    metainfo.trackers = args.trackers.tracker.into_iter().map(|url| vec![url]).collect();
    metainfo.comment = args.output.comment;
    let default = || PathBuf::from(format!("{}.torrent", metainfo.info.name));
    let out = args.output.out.unwrap_or_else(default);
    if out.as_os_str() == "-" {
        return stdout::write(&metainfo.encode()).map(|()| Exit::Done);
    }
    torrent_file::write(&out, &metainfo, args.output.overwrite)?;
    if report.is_json() {
        report.out_json(&json_of(&metainfo));
    } else {
        report.note(format_args!("{}: {}", out.display(), summary(&metainfo)));
    }
    Ok(Exit::Done)
}

fn show(args: &ShowArgs, report: &Report) -> Result<Exit, Failure> {
    let metainfo = torrent_file::read(&args.torrent)?;
    metainfo.warnings.iter().for_each(|warning| report.warn(warning));
    if report.is_json() {
        report.out_json(&json_of(&metainfo));
    } else {
        report.out_lines(&description_of(&metainfo));
    }
    Ok(Exit::Done)
}

fn check(args: CheckArgs, report: &Report, stop: &StopSignal) -> Result<Exit, Failure> {
    let metainfo = torrent_file::read(&args.torrent)?;
    let is_named = args.path.is_some();
    let warnings = metainfo.warnings.iter().filter(|w| !(is_named && w.concerns_name_only()));
    warnings.for_each(|warning| report.warn(warning));
    let info = &metainfo.info;
    let path = args.path.unwrap_or_else(|| PathBuf::from(&info.name));
    let label = format!("checking {}", path.display());
    let progress = report.read_progress(label, info.geometry.total());
    let verified = verify(info, &path, 0, &|done| progress.set(done), stop.flag())?;
    drop(progress);
    let bad = bad_pieces(&verified);
    if report.is_json() {
        report.out_json(&check_json(&metainfo, &verified, &bad));
    } else if verified.is_identical() {
        report.out(format_args!("{}: {}, verified", path.display(), summary(&metainfo)));
    } else {
        report.out_lines(&problems(&metainfo, &verified, &bad));
    }
    if verified.is_identical() {
        return Ok(Exit::Done);
    }
    let problem = match bad.len() {
        0 => "files whose length differs from the torrent".to_owned(),
        count => format!("{count} of {} pieces that do not verify", info.geometry.pieces()),
    };
    Err(Failure::new(Exit::Unverified, format!("{} has {problem}", path.display())).tip(format!(
        "sow get {} -o {} --overwrite downloads it again",
        args.torrent.display(),
        path.display()
    )))
}

/// `1.0 GiB in 1024 pieces`, and how many files.
fn summary(metainfo: &Metainfo) -> String {
    let geometry = &metainfo.info.geometry;
    let files = match &metainfo.info.files {
        Files::Single => String::new(),
        Files::Multi(entries) => {
            format!("{} files, ", entries.iter().filter(|entry| !entry.padding).count())
        }
    };
    let pieces = if geometry.pieces() == 1 { "piece" } else { "pieces" };
    format!("{files}{} in {} {pieces}", Size(geometry.total()), geometry.pieces())
}

fn description_of(metainfo: &Metainfo) -> String {
    let info = &metainfo.info;
    let geometry = &info.geometry;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<12} {}", Untrusted(value));
    };
    line("name", &info.name);
    line("size", &format!("{} ({} bytes)", Size(geometry.total()), geometry.total()));
    line("pieces", &format!("{} of {}", geometry.pieces(), Size(geometry.piece_length().into())));
    line("info-hash", &metainfo.info_hash.to_string());
    line("private", if info.private { "yes" } else { "no" });
    metainfo.trackers.iter().enumerate().for_each(|(tier, urls)| {
        line(&format!("tracker {}", tier + 1), &urls.join("  "));
    });
    [("comment", &metainfo.comment), ("created by", &metainfo.created_by)].into_iter().for_each(
        |(name, value)| {
            if let Some(value) = value {
                line(name, value);
            }
        },
    );
    if let Some(date) = metainfo.creation_date.and_then(readable_date) {
        line("created", &date);
    }
    line("magnet", &torrent_file::magnet_of(metainfo).to_string());
    if let Files::Multi(entries) = &info.files {
        let files = entries.iter().filter(|entry| !entry.padding);
        line("files", &files.clone().count().to_string());
        for file in files {
            let _ = writeln!(text, "{:>12}  {}", Size(file.length).to_string(), file.path);
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; `None` outside the years 1970 to 9999.
fn readable_date(seconds: i64) -> Option<String> {
    let seconds = u64::try_from(seconds).ok().filter(|&seconds| seconds < 253_402_300_800)?;
    Some(httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds)))
}

#[derive(Serialize)]
struct TorrentJson<'a> {
    name: &'a str,
    bytes: u64,
    pieces: u32,
    piece_length: u32,
    info_hash: String,
    private: bool,
    trackers: &'a [Vec<String>],
    comment: Option<&'a str>,
    created_by: Option<&'a str>,
    creation_date: Option<i64>,
    magnet: String,
    files: Vec<FileJson<'a>>,
}

#[derive(Serialize)]
struct FileJson<'a> {
    path: &'a str,
    bytes: u64,
}

fn json_of(metainfo: &Metainfo) -> String {
    let info = &metainfo.info;
    let files = info.file_spans().filter(|span| !span.padding).map(|span| FileJson {
        path: span.path.map_or(info.name.as_str(), |path| path.as_str()),
        bytes: span.length,
    });
    let json = TorrentJson {
        name: &info.name,
        bytes: info.geometry.total(),
        pieces: info.geometry.pieces(),
        piece_length: info.geometry.piece_length(),
        info_hash: metainfo.info_hash.to_string(),
        private: info.private,
        trackers: &metainfo.trackers,
        comment: metainfo.comment.as_deref(),
        created_by: metainfo.created_by.as_deref(),
        creation_date: metainfo.creation_date,
        magnet: torrent_file::magnet_of(metainfo).to_string(),
        files: files.collect(),
    };
    serde_json::to_string(&json).expect("numbers and texts are valid JSON")
}

fn bad_pieces(verified: &Verified) -> Vec<u32> {
    (0..verified.have.len()).filter(|&piece| !verified.have.get(piece)).collect()
}

fn problems(metainfo: &Metainfo, verified: &Verified, bad: &[u32]) -> String {
    let mut text = String::new();
    for path in &verified.mismatched {
        let _ = writeln!(text, "missing, or of a different length: {}", Untrusted(path.display()));
    }
    for path in bad_files(metainfo, &verified.have) {
        let _ = writeln!(text, "does not verify: {}", Untrusted(path));
    }
    if !bad.is_empty() {
        let _ = writeln!(text, "bad pieces: {}", ranges(bad));
    }
    text
}

/// The files that share bytes with a bad piece.
fn bad_files<'a>(metainfo: &'a Metainfo, have: &'a Bitfield) -> impl Iterator<Item = &'a str> {
    let info = &metainfo.info;
    let length = u64::from(info.geometry.piece_length());
    info.file_spans().filter(|span| !span.padding && span.length > 0).filter_map(move |span| {
        let mut pieces = span.offset / length..(span.offset + span.length).div_ceil(length);
        let is_bad = pieces.any(|piece| !have.get(piece as u32));
        is_bad.then(|| span.path.map_or(info.name.as_str(), |path| path.as_str()))
    })
}

/// `3, 7-9`.
fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let text = |run: &[u32]| match run {
        [first, .., last] => format!("{first}-{last}"),
        _ => run.iter().map(u32::to_string).collect(),
    };
    runs.map(text).collect::<Vec<_>>().join(", ")
}

fn check_json(metainfo: &Metainfo, verified: &Verified, bad: &[u32]) -> String {
    let mismatched = verified.mismatched.iter().map(|path| path.to_string_lossy());
    serde_json::json!({
        "identical": verified.is_identical(),
        "pieces": verified.have.len(),
        "bad_pieces": bad,
        "bad_files": bad_files(metainfo, &verified.have).collect::<Vec<_>>(),
        "misfits": mismatched.collect::<Vec<_>>(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_numbers_are_joined() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[5]), "5");
        assert_eq!(ranges(&[3, 7, 8, 9, 11]), "3, 7-9, 11");
    }

    #[test]
    fn dates_outside_the_calendar_are_omitted() {
        assert_eq!(readable_date(0).as_deref(), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(readable_date(-1), None);
        assert_eq!(readable_date(i64::MAX), None);
    }
}
