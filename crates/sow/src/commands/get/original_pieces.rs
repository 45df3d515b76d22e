//! Pieces that the original `json-torrent` program has stored of an unfinished download: a folder
//! `NAME_data` with a file for each verified piece. They are verified again and copied.

use std::{fs::File, io::Read, path::Path};

use bytes::Bytes;
use sow_content::{Bitfield, Info, hash::sha1};
use sow_store::{Store, StoreError};

/// Copies correct pieces that are missing in the store, and returns their number. Files that are
/// wrong or cannot be read are skipped.
///
/// # Errors
/// When a piece cannot be stored.
pub(super) fn import(
    info: &Info,
    folder: &Path,
    store: &Store,
    have: &mut Bitfield,
) -> Result<u32, StoreError> {
    let mut imported = 0;
    if !folder.is_dir() {
        return Ok(imported);
    }
    for piece in 0..info.geometry.pieces() {
        if have.get(piece) {
            continue;
        }
        let length = info.geometry.length_of(piece);
        let Some(bytes) = read_piece(&folder.join(piece.to_string()), length) else { continue };
        if info.piece_hashes.get(piece as usize) != Some(&sha1(&bytes)) {
            continue;
        }
        store.write_piece(piece, &[Bytes::from(bytes)])?;
        store.journal(piece)?;
        have.set(piece);
        imported += 1;
    }
    Ok(imported)
}

/// A regular file of exactly `length` bytes.
fn read_piece(path: &Path, length: u32) -> Option<Vec<u8>> {
    let metadata = path.symlink_metadata().ok()?;
    if !metadata.is_file() || metadata.len() != u64::from(length) {
        return None;
    }
    let mut bytes = Vec::with_capacity(length as usize);
    File::open(path).ok()?.take(u64::from(length)).read_to_end(&mut bytes).ok()?;
    (bytes.len() == length as usize).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use sow_content::{Geometry, metainfo::Files};
    use sow_store::MemoryStore;

    use super::*;

    #[test]
    fn only_correct_pieces_are_imported() {
        let place = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..2500u32).map(|at| (at % 251) as u8).collect();
        let geometry = Geometry::new(2500, 1000).unwrap();
        let hashes = content.chunks(1000).map(sha1).collect();
        let info = Info::from_parts("a", geometry, Files::Single, hashes, false).unwrap();
        let folder = place.path().join("a_data");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("0"), &content[..1000]).unwrap();
        std::fs::write(folder.join("1"), [0; 1000]).unwrap();
        std::fs::write(folder.join("2"), &content[2000..]).unwrap();
        std::fs::write(folder.join("3"), b"no such piece").unwrap();
        let (store, mut have) = (Store::from(MemoryStore::new(geometry)), Bitfield::new(3));
        assert_eq!(import(&info, &folder, &store, &mut have).unwrap(), 2);
        assert_eq!(have.iter().collect::<Vec<_>>(), [0, 2]);
        let mut last = [0; 500];
        store.read(2000..2500, &mut last).unwrap();
        assert_eq!(last, content[2000..]);
        assert_eq!(import(&info, &place.path().join("none"), &store, &mut have).unwrap(), 0);
    }
}
