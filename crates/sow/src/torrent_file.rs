//! `.torrent` files on this machine's disk: reading them with a bound, writing them whole or not at
//! all; and the magnet link that says the same.

use std::{fs::Permissions, io::Write, os::unix::fs::PermissionsExt, path::Path};

use sow_content::{
    Magnet, Metainfo,
    json_torrent::{JsonTorrent, is_json},
    metainfo::MAX_METAINFO,
};

use crate::{
    disk,
    exit::{Exit, Failure, chain},
};

/// Reads a .torrent file.
///
/// # Errors
/// When it cannot be read, or is no torrent that can be used.
pub(crate) fn read(path: &Path) -> Result<Metainfo, Failure> {
    decode(&disk::read_bounded(path, MAX_METAINFO)?, path.display())
}

/// A .torrent of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Torrent {
    /// BitTorrent's.
    BitTorrent(Box<Metainfo>),
    /// Document 2's.
    Json(Box<JsonTorrent>),
}

/// Reads a .torrent file of either kind, told apart by its content.
///
/// # Errors
/// When it cannot be read, or is no torrent that can be used.
pub(crate) fn read_any(path: &Path) -> Result<Torrent, Failure> {
    decode_any(&disk::read_bounded(path, MAX_METAINFO)?, path.display())
}

/// Reads the bytes of a .torrent of either kind; `from` is where they are from.
///
/// # Errors
/// When they are no torrent that can be used.
pub(crate) fn decode_any(bytes: &[u8], from: impl std::fmt::Display) -> Result<Torrent, Failure> {
    if !is_json(bytes) {
        return decode(bytes, from).map(|metainfo| Torrent::BitTorrent(Box::new(metainfo)));
    }
    match JsonTorrent::decode(bytes) {
        Ok(torrent) => Ok(Torrent::Json(Box::new(torrent))),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("{from}: not a torrent of document 2: {}", chain(&error)),
        )
        .tip("make it again with `sow json-torrent create`, or ask whoever made it for another")),
    }
}

/// Reads the bytes of a .torrent; `from` is where they are from.
///
/// # Errors
/// When they are no torrent that can be used.
pub(crate) fn decode(bytes: &[u8], from: impl std::fmt::Display) -> Result<Metainfo, Failure> {
    Metainfo::decode(bytes).map_err(|error| {
        if is_json(bytes) {
            return Failure::new(
                Exit::Failed,
                format!("{from}: a torrent of document 2, and not of BitTorrent"),
            )
            .tip("`sow get` and `sow json-torrent peer` take it");
        }
        Failure::new(Exit::Failed, format!("{from}: {}", chain(&error)))
            .tip("fetch the .torrent again, or ask whoever made it for another")
    })
}

/// Writes a .torrent file in one step. One that is there is replaced when it names the same
/// content, or with `overwrite`.
///
/// # Errors
/// When there is another one, or it cannot be written.
pub(crate) fn write(path: &Path, metainfo: &Metainfo, overwrite: bool) -> Result<(), Failure> {
    let same = || read(path).is_ok_and(|there| there.info_hash == metainfo.info_hash);
    let replace = overwrite || same();
    put(path, &metainfo.encode(), replace)
}

/// Writes a file that describes content in one step: it is there whole, or not at all.
///
/// # Errors
/// When something is there and is not to be replaced, or it cannot be written.
pub(crate) fn put(path: &Path, bytes: &[u8], replace: bool) -> Result<(), Failure> {
    let exists = || {
        Failure::new(Exit::Differs, format!("{} exists and names other content", path.display()))
            .tip("replace it with --overwrite, or choose another name")
    };
    if !replace && path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let failed = |error: &std::io::Error| disk::unwritable(path, error);
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As any new file has; the umask is applied to it.
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

/// The magnet link that says the same as a torrent.
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
    fn another_torrent_is_not_replaced_unasked() {
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
    fn what_is_no_torrent_is_named() {
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
