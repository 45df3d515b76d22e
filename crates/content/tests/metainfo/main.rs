//! Torrents: what is encoded decodes to the same, and each kind of malformed torrent has an error
//! that names the field.

mod tolerance;

use proptest::{collection::vec, prelude::*};
use sow_content::{
    Geometry, Info, Metainfo, SafePath,
    bencode::{Encoder, Value},
    metainfo::{FileEntry, Files, MetainfoError},
};

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,3}", "[^/\0]{1,20}"]
        .prop_filter("not a name", |name| name != "." && name != "..")
}

/// Distinct paths, none of which lies inside another: each is directly in one of a few folders.
fn entries() -> impl Strategy<Value = Vec<FileEntry>> {
    let folders = vec(names().prop_map(|name| format!("{name}+")), 1..4);
    let files = vec((names(), any::<prop::sample::Index>(), 0u64..100_000, any::<bool>()), 1..20);
    (folders, files).prop_map(|(folders, files)| {
        let mut seen = std::collections::BTreeSet::new();
        let file = |(name, folder, length, padding): (String, prop::sample::Index, u64, bool)| {
            let path = format!("{}/{name}", folder.get(&folders));
            (seen.insert(path.clone()) || padding).then(|| FileEntry {
                path: SafePath::parse(&path).unwrap(),
                length,
                padding,
            })
        };
        files.into_iter().filter_map(file).collect()
    })
}

fn infos() -> impl Strategy<Value = Info> {
    let files = prop_oneof![
        (0u64..3_000_000).prop_map(|total| (total, Files::Single)),
        entries()
            .prop_map(|files| (files.iter().map(|file| file.length).sum(), Files::Multi(files))),
    ];
    (names(), files, 14u32..20, any::<u8>(), any::<bool>()).prop_map(
        |(name, (total, files), shift, seed, private)| {
            let geometry = Geometry::new(total, 1 << shift).unwrap();
            let hashes = (0..geometry.pieces()).map(|piece| [seed ^ piece as u8; 20]).collect();
            Info::from_parts(&name, geometry, files, hashes, private).unwrap()
        },
    )
}

fn metainfos() -> impl Strategy<Value = Metainfo> {
    let trackers = vec(vec("(http|udp)://[a-z]{1,9}:[0-9]{1,5}/[!-~]{0,9}", 1..3), 0..3);
    let texts =
        (proptest::option::of(".{0,20}"), proptest::option::of(".{0,20}"), any::<Option<i64>>());
    (infos(), trackers, texts).prop_map(|(info, trackers, (comment, created_by, creation_date))| {
        Metainfo { trackers, comment, created_by, creation_date, ..Metainfo::new(info) }
    })
}

proptest! {
    #[test]
    fn every_torrent_round_trips(metainfo in metainfos()) {
        let bytes = metainfo.encode();
        let read = Metainfo::decode(&bytes);
        prop_assert_eq!(read.as_ref(), Ok(&metainfo));
        prop_assert_eq!(read.unwrap().encode(), bytes);
        prop_assert_eq!(Info::decode(&metainfo.info_bytes), Ok(metainfo.info.clone()));
        let bare = Metainfo::from_info_bytes(metainfo.info_bytes.clone()).unwrap();
        prop_assert_eq!(bare.info_hash, metainfo.info_hash);
        prop_assert_eq!(bare.trackers.len(), 0);
    }

    #[test]
    fn files_follow_each_other_in_the_content(info in infos()) {
        let mut end = 0;
        for span in info.file_spans() {
            prop_assert_eq!(span.offset, end);
            end += span.length;
        }
        prop_assert_eq!(end, info.geometry.total());
    }

    #[test]
    fn a_damaged_torrent_is_rejected_or_consistent(
        metainfo in metainfos(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = metainfo.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Metainfo::decode(&bytes) {
            prop_assert_eq!(read.info.piece_hashes.len(), read.info.geometry.pieces() as usize);
            let again = Metainfo::decode(&read.encode()).unwrap();
            prop_assert_eq!(again.info, read.info);
            prop_assert_eq!((again.info_hash, again.trackers), (read.info_hash, read.trackers));
        }
    }

    #[test]
    fn a_truncated_torrent_is_reported_as_truncated(
        metainfo in metainfos(), at in any::<prop::sample::Index>(),
    ) {
        let bytes = metainfo.encode();
        let error = Metainfo::decode(&bytes[..at.index(bytes.len())]).unwrap_err();
        prop_assert!(error.to_string().contains("truncated"), "{}", error);
    }
}

/// An info dictionary of the given fields, in the given order.
fn info(fields: &[(&str, Value<'_>)]) -> Vec<u8> {
    let dict = fields.iter().map(|(key, value)| (key.as_bytes(), value.clone())).collect();
    Value::Dict(dict).encode()
}

/// A valid info dictionary of one file, with some fields replaced, added or (`None`) removed.
fn single<'a>(changes: &[(&'a str, Option<Value<'a>>)]) -> Vec<u8> {
    let mut fields = vec![
        ("length", Value::Int(40_000)),
        ("name", Value::Bytes(b"a.iso")),
        ("piece length", Value::Int(16_384)),
        ("pieces", Value::Bytes(&[7; 60])),
    ];
    for (key, value) in changes {
        fields.retain(|(name, _)| name != key);
        fields.extend(value.clone().map(|value| (*key, value)));
    }
    info(&fields)
}

/// An info dictionary of a folder with files of 10 bytes; valid when the paths are.
fn folder(paths: &[&[&str]]) -> Vec<u8> {
    let files = paths.iter().map(|path| {
        let path = path.iter().map(|name| Value::Bytes(name.as_bytes())).collect();
        Value::Dict(vec![(b"length", Value::Int(10)), (b"path", Value::List(path))])
    });
    let hash = if paths.is_empty() { &[][..] } else { &[7; 20] };
    info(&[
        ("files", Value::List(files.collect())),
        ("name", Value::Bytes(b"folder")),
        ("piece length", Value::Int(16_384)),
        ("pieces", Value::Bytes(hash)),
    ])
}

fn error_of(info: &[u8]) -> String {
    Info::decode(info).unwrap_err().to_string()
}

#[test]
fn the_unchanged_dictionaries_are_valid() {
    assert!(Info::decode(&single(&[])).is_ok());
    assert!(Info::decode(&folder(&[&["a"], &["b", "c"], &["b", "d"], &["b.x"]])).is_ok());
}

#[test]
fn empty_content_and_content_of_one_byte_are_accepted() {
    let empty = single(&[("length", Some(Value::Int(0))), ("pieces", Some(Value::Bytes(b"")))]);
    let empty = Info::decode(&empty).unwrap();
    assert_eq!((empty.geometry.pieces(), empty.file_spans().count()), (0, 1));
    let one = single(&[("length", Some(Value::Int(1))), ("pieces", Some(Value::Bytes(&[7; 20])))]);
    assert_eq!(Info::decode(&one).unwrap().geometry.length_of(0), 1);
}

#[test]
fn a_torrent_truncated_at_any_byte_is_reported_with_its_field() {
    let metainfo = Metainfo {
        trackers: vec![vec!["http://t/announce".into()], vec!["udp://u:1".into()]],
        ..Metainfo::from_info_bytes(folder(&[&["a", "b"], &["c"]]).into()).unwrap()
    };
    let bytes = metainfo.encode();
    for length in 0..bytes.len() {
        let error = Metainfo::decode(&bytes[..length]).unwrap_err().to_string();
        assert!(error.contains("truncated"), "at {length}: {error}");
    }
    assert_eq!(
        Metainfo::decode(&bytes[..20]).unwrap_err().to_string(),
        "`announce`: truncated: the string at byte 11 has a length of 17, but 6 bytes are left"
    );
    let in_info = bytes.windows(6).position(|window| window == b"4:path").unwrap() + 10;
    assert!(
        Metainfo::decode(&bytes[..in_info])
            .unwrap_err()
            .to_string()
            .starts_with("`info.files[0].path`: truncated")
    );
}

#[test]
fn bytes_that_are_not_a_torrent_are_rejected() {
    for (bytes, error) in [
        (&b"<html>"[..], "not a torrent: expected a dictionary at byte 0"),
        (b"", "not a torrent: truncated: the bytes end at byte 0, inside a value"),
        (b"de", "`info` is missing"),
        (b"d4:infoi1ee", "`info`: expected a dictionary at byte 7"),
        (b"d8:announcei1ee", "`info` is missing"),
        (b"d8:announcei1xe", "`announce`: the integer at byte 11 is malformed"),
    ] {
        assert_eq!(Metainfo::decode(bytes).unwrap_err().to_string(), error);
    }
    let nested = [b"d1:x".as_slice(), &[b'l'; 100_000]].concat();
    assert_eq!(
        Metainfo::decode(&nested).unwrap_err().to_string(),
        "not a torrent: nested deeper than 32 levels at byte 35"
    );
    let long = vec![b'd'; (64 << 20) + 1];
    assert_eq!(
        Metainfo::decode(&long).unwrap_err().to_string(),
        "the torrent has 67108865 bytes; the limit is 67108864"
    );
}

#[test]
fn missing_fields_and_fields_of_the_wrong_type_are_rejected() {
    for field in ["length", "name", "piece length", "pieces"] {
        assert_eq!(error_of(&single(&[(field, None)])), format!("`info.{field}` is missing"));
        let other = Value::List(vec![]);
        let error = error_of(&single(&[(field, Some(other))]));
        assert!(
            error.starts_with(&format!("`info.{field}`: expected")) && error.contains(" at byte "),
            "{error}"
        );
    }
    let no_path = Value::List(vec![Value::Dict(vec![(b"length", Value::Int(1))])]);
    let bytes = single(&[("length", None), ("files", Some(no_path))]);
    assert_eq!(error_of(&bytes), "`info.files[0].path` is missing");
    let no_files = single(&[("files", Some(Value::List(vec![])))]);
    assert_eq!(error_of(&no_files), "`info.files` is empty");
}

#[test]
fn impossible_sizes_are_rejected() {
    let with = |field, value| error_of(&single(&[(field, Some(Value::Int(value)))]));
    assert_eq!(with("length", -1), "`info.length` is -1, which is negative");
    assert_eq!(with("piece length", -5), "`info.piece length` is -5, which is negative");
    assert_eq!(
        with("piece length", 0),
        "`info.piece length`: piece length 0 is not between 1 and 268435456 bytes"
    );
    assert_eq!(
        with("piece length", 1 << 40),
        "`info.piece length`: piece length 1099511627776 is not between 1 and 268435456 bytes"
    );
    assert_eq!(
        with("length", i64::MAX),
        "`info.piece length`: 9223372036854775807 bytes in pieces of 16384 are more than \
         4194304 pieces"
    );
    assert_eq!(
        with("length", 1 << 20),
        "`info.pieces` has 3 hashes, but the content has 64 pieces"
    );
    let remainder = single(&[("pieces", Some(Value::Bytes(&[7; 59])))]);
    assert_eq!(error_of(&remainder), "`info.pieces` has 59 bytes, which is not a multiple of 20");

    let file = |length| {
        Value::Dict(vec![
            (b"length", Value::Int(length)),
            (b"path", Value::List(vec![Value::Bytes(b"x")])),
        ])
    };
    let bytes = single(&[("length", None), ("files", Some(Value::List(vec![file(-7)])))]);
    assert_eq!(error_of(&bytes), "`info.files[0].length` is -7, which is negative");
    let other = Value::Dict(vec![
        (b"length", Value::Int(1)),
        (b"path", Value::List(vec![Value::Bytes(b"y")])),
    ]);
    let bytes =
        single(&[("length", None), ("files", Some(Value::List(vec![file(i64::MAX), other])))]);
    assert_eq!(
        error_of(&bytes),
        "the lengths of the files add up to more than 2^63 bytes at `info.files[1]`"
    );
    let bytes = single(&[]);
    let at = bytes.windows(6).position(|window| window == b"40000e").unwrap();
    let bytes = [&bytes[..at], b"99999999999999999999", &bytes[at + 5..]].concat();
    assert_eq!(error_of(&bytes), "`info.length`: the integer at byte 9 is out of range");
}

#[test]
fn at_most_a_million_files_are_accepted() {
    let with = |files: u32| {
        let mut encoder = Encoder::new();
        encoder.dict(|dict| {
            dict.entry(b"files", |encoder| {
                encoder.list(|encoder| {
                    for n in 0..files {
                        encoder.raw(format!("d6:lengthi0e4:pathl3:dir7:{n:07}ee").as_bytes());
                    }
                });
            });
            dict.bytes(b"name", b"many");
            dict.int(b"piece length", 16_384);
            dict.bytes(b"pieces", b"");
        });
        Info::decode(&encoder.finish())
    };
    assert_eq!(with(1_000_000).unwrap().file_spans().count(), 1_000_000);
    assert_eq!(with(1_000_001), Err(MetainfoError::TooManyFiles));
}

#[test]
fn padding_files_may_share_a_path_and_symbolic_links_are_rejected() {
    let file = |attr: &'static [u8], path: &'static [u8]| {
        let path = Value::List(vec![Value::Bytes(path)]);
        Value::Dict(vec![
            (b"attr", Value::Bytes(attr)),
            (b"length", Value::Int(10)),
            (b"path", path),
        ])
    };
    let with = |files: Vec<Value<'static>>| {
        let pieces = Some(Value::Bytes(&[7; 20]));
        Info::decode(&single(&[
            ("length", None),
            ("pieces", pieces),
            ("files", Some(Value::List(files))),
        ]))
    };
    let padded =
        with(vec![file(b"", b"a"), file(b"p", b"10"), file(b"x", b"b"), file(b"p", b"10")])
            .unwrap();
    let padding: Vec<bool> = padded.file_spans().map(|span| span.padding).collect();
    assert_eq!(padding, [false, true, false, true]);
    let unnamed = Value::Dict(vec![(b"attr", Value::Bytes(b"p")), (b"length", Value::Int(10))]);
    assert_eq!(with(vec![file(b"", b"a"), unnamed]).unwrap().file_spans().count(), 2);
    assert_eq!(
        with(vec![file(b"", b"a"), file(b"xl", b"b")]),
        Err(MetainfoError::Symlink { index: 1 })
    );
}

#[test]
fn a_utf_8_name_replaces_a_name_in_an_old_encoding() {
    let bytes = single(&[
        ("name", Some(Value::Bytes(b"\xc4\xe3"))),
        ("name.utf-8", Some(Value::Bytes("你".as_bytes()))),
    ]);
    assert_eq!(Info::decode(&bytes).unwrap().name, "你");
}

#[test]
fn v2_torrents_are_rejected_and_hybrids_are_accepted() {
    let v2 = [("meta version", Some(Value::Int(2))), ("file tree", Some(Value::Dict(vec![])))];
    let v2_only = [&v2[..], &[("pieces", None), ("length", None)]].concat();
    assert_eq!(Info::decode(&single(&v2_only)), Err(MetainfoError::V2Only));
    let hybrid = Info::decode(&single(&v2)).unwrap();
    assert_eq!(hybrid.geometry.total(), 40_000);
}

#[test]
fn the_info_hash_covers_the_received_bytes() {
    let plain = single(&[]);
    let more = single(&[("source", Some(Value::Bytes(b"somewhere")))]);
    let unsorted = b"d12:piece lengthi16384e4:name1:x6:lengthi0e6:pieces0:e".to_vec();
    for bytes in [plain, more, unsorted] {
        let metainfo = Metainfo::from_info_bytes(bytes.clone().into()).unwrap();
        assert_eq!(metainfo.info_hash.0, sow_content::hash::sha1(&bytes));
        let again = Metainfo::decode(&metainfo.encode()).unwrap();
        assert_eq!((again.info_hash, &again.info_bytes[..]), (metainfo.info_hash, &bytes[..]));
    }
}

#[test]
fn tracker_urls_are_bounded_in_number_and_trimmed() {
    let mut encoder = Encoder::new();
    encoder.dict(|dict| {
        dict.bytes(b"announce", b"http://ignored/");
        dict.entry(b"announce-list", |encoder| {
            encoder.list(|encoder| {
                encoder.list(|encoder| {
                    encoder.bytes(b"");
                    encoder.bytes(b"\xff");
                    encoder.bytes(&[b'x'; 2049]);
                });
                for n in 0..1000 {
                    encoder.list(|encoder| encoder.bytes(format!(" http://t{n}/ ").as_bytes()));
                }
            });
        });
        dict.entry(b"info", |encoder| encoder.raw(&single(&[])));
    });
    let trackers = Metainfo::decode(&encoder.finish()).unwrap().trackers;
    assert_eq!(trackers.len(), 256);
    assert_eq!(trackers[255], ["http://t255/"]);
}

#[test]
fn contradicting_parts_are_rejected() {
    let geometry = Geometry::new(40_000, 16_384).unwrap();
    let hashes = vec![[0; 20]; 3];
    let parts = |name: &str, files, hashes| Info::from_parts(name, geometry, files, hashes, false);
    assert!(parts("a", Files::Single, hashes.clone()).is_ok());
    let path = SafePath::parse("x").unwrap();
    let short = Files::Multi(vec![FileEntry { path, length: 39_999, padding: false }]);
    assert_eq!(
        parts("a", short, hashes.clone()),
        Err(MetainfoError::TotalMismatch { files: 39_999, total: 40_000 })
    );
    assert_eq!(
        parts("a", Files::Single, vec![]),
        Err(MetainfoError::HashCount { got: 0, want: 3 })
    );
    assert!(matches!(parts("a/b", Files::Single, hashes), Err(MetainfoError::Path { .. })));
}

#[test]
fn new_content_has_no_conflicting_paths() {
    let entry =
        |path| FileEntry { path: SafePath::parse(path).unwrap(), length: 1, padding: false };
    let check = |paths: &[&'static str]| {
        let files = Files::Multi(paths.iter().map(|path| entry(path)).collect());
        let geometry = Geometry::new(paths.len() as u64, 16_384).unwrap();
        Info::from_parts("a", geometry, files, vec![[0; 20]], false).unwrap_err().to_string()
    };
    assert_eq!(check(&["b", "a", "b"]), "`info.files[2].path`: b appears twice");
    assert_eq!(check(&["a/b", "a"]), "`info.files[1].path`: a is a file and a folder");
}
