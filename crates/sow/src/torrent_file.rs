//! `.torrent` files on disk: reading them with a limit, writing them atomically; and the magnet
//! link of a torrent.

use std::{fs::Permissions, io::Write, os::unix::fs::PermissionsExt, path::Path};

use sow_content::{
    Magnet, Metainfo,
    bencode::BencodeError,
    json_torrent::{JsonTorrent, is_json},
    metainfo::{MAX_METAINFO, MetainfoError},
};

use sow_store::check_target;

use crate::{
    args::destination::Destination,
    exit::{Exit, Failure, chain},
    file_errors,
    file_reading::read_at_most,
    report::Report,
};

/// Reads a .torrent file.
///
/// # Errors
/// When it cannot be read, or is not a usable torrent.
pub(crate) fn read(path: &Path) -> Result<Metainfo, Failure> {
    decode(&read_at_most(path, MAX_METAINFO)?, path.display())
}

/// A torrent of either format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Torrent {
    /// The format of BitTorrent.
    BitTorrent(Box<Metainfo>),
    /// The format of `json-torrent`.
    Json(Box<JsonTorrent>),
}

/// Reads a .torrent file of either format, recognized by its contents.
///
/// # Errors
/// When it cannot be read, or is not a usable torrent.
pub(crate) fn read_any(path: &Path) -> Result<Torrent, Failure> {
    decode_any(&read_at_most(path, MAX_METAINFO)?, path.display())
}

/// Decodes a torrent of either format; `from` names its origin in messages.
///
/// # Errors
/// When they are not a usable torrent.
pub(crate) fn decode_any(bytes: &[u8], from: impl std::fmt::Display) -> Result<Torrent, Failure> {
    if !is_json(bytes) {
        return decode(bytes, from).map(|metainfo| Torrent::BitTorrent(Box::new(metainfo)));
    }
    match JsonTorrent::decode(bytes) {
        Ok(torrent) => Ok(Torrent::Json(Box::new(torrent))),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("{from}: not a torrent of json-torrent: {}", chain(&error)),
        )
        .tip("create it again with `sow json-torrent create`, or get another copy")),
    }
}

/// Decodes a torrent of BitTorrent; `from` names its origin in messages.
///
/// # Errors
/// When they are not a usable torrent.
pub(crate) fn decode(bytes: &[u8], from: impl std::fmt::Display) -> Result<Metainfo, Failure> {
    Metainfo::decode(bytes).map_err(|error| {
        if is_json(bytes) {
            return Failure::new(
                Exit::Failed,
                format!("{from}: a JSON torrent, not a torrent of BitTorrent"),
            )
            .tip("use it with `sow get` or `sow json-torrent peer`");
        }
        match other_kind(bytes) {
            Some((kind, tip)) => {
                Failure::new(Exit::Failed, format!("{from}: not a torrent, but {kind}")).tip(tip)
            }
            None => unusable(&error, from),
        }
    })
}

/// What bytes are that are certainly not a torrent, and what to do about it.
fn other_kind(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = bytes[..bytes.len().min(64)].trim_ascii_start().to_ascii_lowercase();
    let begins = |start: &str| text.starts_with(start.as_bytes());
    if bytes.trim_ascii().is_empty() {
        Some(("an empty file", "download the .torrent again"))
    } else if begins("<!doctype") || begins("<html") || begins("<?xml") {
        let tip =
            "open it in a browser, and copy the link of the .torrent or the magnet link there";
        Some(("a web page", tip))
    } else if begins("magnet:") {
        Some(("a magnet link", "give its text to `sow get`, in quotes"))
    } else if text.starts_with(&[0x1f, 0x8b]) {
        Some(("a gzip archive", "unpack it: mv it to NAME.gz, and run gunzip NAME.gz"))
    } else if begins("pk\x03\x04") {
        Some(("a ZIP archive", "unpack it, and use the .torrent inside"))
    } else {
        None
    }
}

/// The failure because of an unusable torrent; `from` names its origin. The tip is about the error.
pub(crate) fn unusable(error: &MetainfoError, from: impl std::fmt::Display) -> Failure {
    let tip = match error {
        MetainfoError::Bencode(error) | MetainfoError::Field { source: error, .. } => match error {
            BencodeError::Truncated { .. } | BencodeError::StringPastEnd { .. } => {
                "it is not whole: download the .torrent again"
            }
            _ => "check that it is a .torrent; another copy of it may be whole",
        },
        MetainfoError::V2Only => "ask its author for a v1 or hybrid torrent of the same content",
        MetainfoError::Symlink { .. } => "use another BitTorrent program for it",
        MetainfoError::Geometry(_) => {
            "its author can choose pieces of another length, at most 256 MiB"
        }
        MetainfoError::TooLong { .. } | MetainfoError::TooManyFiles => {
            "its author can choose longer pieces, or share several torrents"
        }
        MetainfoError::Missing { .. } | MetainfoError::NoFiles => {
            "the torrent lacks what every torrent has: only its author can make a right one"
        }
        _ => "the torrent contradicts itself: only its author can make a right one",
    };
    Failure::new(Exit::Failed, format!("{from}: {}", chain(error))).tip(tip)
}

/// Reports what was ignored or replaced in a torrent. Its name does not matter if `destination`
/// names the target.
pub(crate) fn report_warnings(metainfo: &Metainfo, destination: &Destination, report: &Report) {
    let uses_name = matches!(destination, Destination::Folder(_));
    let warnings = metainfo.warnings.iter();
    let warnings = warnings.filter(|warning| uses_name || !warning.concerns_name_only());
    warnings.for_each(|warning| report.warn(warning));
}

/// Writes a .torrent file atomically. An existing file is replaced if it names the same content, or
/// with `overwrite`.
///
/// # Errors
/// When a torrent of other content exists, or the file cannot be written.
pub(crate) fn write(path: &Path, metainfo: &Metainfo, overwrite: bool) -> Result<(), Failure> {
    let names_same_content =
        || read(path).is_ok_and(|existing| existing.info_hash == metainfo.info_hash);
    write_bytes(path, &metainfo.encode(), overwrite || names_same_content())
}

/// Writes the bytes of a torrent of either format atomically.
///
/// # Errors
/// When a file exists and may not be replaced, or the file cannot be written.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8], replace: bool) -> Result<(), Failure> {
    let exists = || {
        Failure::new(Exit::Differs, format!("{} exists and names other content", path.display()))
            .tip("replace it with --overwrite, or choose another name")
    };
    check_target(path)?;
    if !replace && path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let failed = |error: &std::io::Error| file_errors::cannot_write(path, error);
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The usual mode of a new file; the umask applies to it.
    let mode = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .prefix(".sow-")
        .permissions(mode)
        .tempfile_in(folder)
        .map_err(|e| failed(&e))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(|e| failed(&e))?;
    let kept = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    match kept {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists()),
        Err(error) => Err(failed(&error.error)),
    }
}

/// The magnet link of a torrent.
pub(crate) fn magnet_of(metainfo: &Metainfo) -> Magnet {
    Magnet {
        name: Some(metainfo.info.name.clone()),
        trackers: metainfo.trackers.concat(),
        length: Some(metainfo.info.geometry.total()),
        ..Magnet::new(metainfo.info_hash)
    }
}

#[cfg(test)]
mod tests {
    use sow_content::{Geometry, Info, metainfo::Files};

    use super::*;

    fn metainfo(name: &str) -> Metainfo {
        let geometry = Geometry::new(1, 32 << 10).unwrap();
        Metainfo::new(
            Info::from_parts(name, geometry, Files::Single, vec![[7; 20]], false).unwrap(),
        )
    }

    #[test]
    fn a_torrent_of_other_content_is_replaced_only_with_overwrite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.torrent");
        write(&path, &metainfo("a"), false).unwrap();
        let mut with_comment = metainfo("a");
        with_comment.comment = Some("newer".into());
        write(&path, &with_comment, false).unwrap();
        assert_eq!(read(&path).unwrap(), with_comment);
        assert_eq!(write(&path, &metainfo("b"), false).unwrap_err().exit(), Exit::Differs);
        assert_eq!(read(&path).unwrap(), with_comment);
        write(&path, &metainfo("b"), true).unwrap();
        assert_eq!(read(&path).unwrap(), metainfo("b"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_error_names_a_file_that_is_not_a_torrent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.torrent");
        std::fs::write(&path, "<html>").unwrap();
        let failure = read(&path).unwrap_err();
        assert_eq!(failure.exit(), Exit::Failed);
        assert!(failure.message().contains("a.torrent: not a torrent"), "{failure}");
        assert_eq!(read(Path::new("/no/such.torrent")).unwrap_err().exit(), Exit::Failed);
        assert_eq!(
            write(Path::new("/no/such.torrent"), &metainfo("a"), false).unwrap_err().exit(),
            Exit::Failed
        );
    }
}
