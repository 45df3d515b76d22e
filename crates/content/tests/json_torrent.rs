//! Metainfo of the `json-torrent` protocol: both forms of hashes round trip, and no bytes make the
//! decoder panic.

use proptest::{collection::vec, prelude::*};
use sow_content::{
    Geometry, JsonTorrent,
    json_torrent::{HashForm, read_digest, write_digest},
};

fn forms() -> impl Strategy<Value = HashForm> {
    prop_oneof![Just(HashForm::Python), Just(HashForm::Hex)]
}

/// Digests with many of the bytes that `repr` escapes.
fn digests() -> impl Strategy<Value = [u8; 20]> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"'\"\\\t\n\r\0\x7f".to_vec())];
    prop::array::uniform20(byte)
}

fn torrents() -> impl Strategy<Value = JsonTorrent> {
    let names = "[^/\0]{1,20}".prop_filter("not a name", |name| name != "." && name != "..");
    (
        names,
        "[a-z][a-z0-9.-]{0,20}",
        1..=u16::MAX,
        ".{0,20}",
        vec(digests(), 0..6),
        1u64..100_000,
        any::<u64>(),
    )
        .prop_map(|(file_name, announce, port, comment, piece_hashes, piece_length, rest)| {
            let whole = (piece_hashes.len() as u64).saturating_sub(1) * piece_length;
            let last = if piece_hashes.is_empty() { 0 } else { 1 + rest % piece_length };
            let geometry = Geometry::new(whole + last, piece_length).unwrap();
            JsonTorrent {
                announce,
                port,
                comment,
                file_name,
                geometry,
                piece_hashes,
                warnings: vec![],
            }
        })
}

proptest! {
    #[test]
    fn every_torrent_round_trips(torrent in torrents(), form in forms()) {
        let bytes = torrent.encode(form);
        prop_assert!(bytes.is_ascii());
        prop_assert_eq!(JsonTorrent::decode(&bytes), Ok(torrent));
    }

    #[test]
    fn every_digest_round_trips(digest in digests(), form in forms()) {
        prop_assert_eq!(read_digest(&write_digest(&digest, form)), Some(digest));
    }

    #[test]
    fn a_damaged_torrent_is_rejected_or_consistent(
        torrent in torrents(), form in forms(), at: prop::sample::Index, byte: u8,
    ) {
        let mut bytes = torrent.encode(form);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = JsonTorrent::decode(&bytes) {
            prop_assert_eq!(read.piece_hashes.len(), read.geometry.pieces() as usize);
            prop_assert_eq!(JsonTorrent::decode(&read.encode(form)), Ok(without_warnings(read)));
        }
    }
}

/// What reading `torrent` back gives: its name was cleaned already, so nothing is warned of.
fn without_warnings(torrent: JsonTorrent) -> JsonTorrent {
    JsonTorrent { warnings: vec![], ..torrent }
}

#[test]
fn a_name_damaged_to_a_path_is_cleaned_once() {
    let mut torrent = JsonTorrent {
        announce: "a".to_owned(),
        port: 1,
        comment: String::new(),
        file_name: "/0Aa 0".to_owned(),
        geometry: Geometry::new(1, 1).unwrap(),
        piece_hashes: vec![[0; 20]],
        warnings: vec![],
    };
    let read = JsonTorrent::decode(&torrent.encode(HashForm::Hex)).unwrap();
    assert_eq!(read.warnings.len(), 1);
    torrent.file_name = "_0Aa 0".to_owned();
    assert_eq!(without_warnings(read.clone()), torrent);
    assert_eq!(JsonTorrent::decode(&read.encode(HashForm::Hex)), Ok(torrent));
}
