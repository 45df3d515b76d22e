//! What other programs write and load, though it is not as the specifications say: it is read, and
//! what was ignored or replaced is told.

use sow_content::{
    Metainfo,
    bencode::{Encoder, Value},
    metainfo::{MAX_TEXT_CHARS, MAX_WARNINGS, MetainfoWarning},
};

use super::{error_of, folder, single};

/// The names of the files of a torrent, or of the one file, and what was replaced.
fn decoded(info: &[u8]) -> (Vec<String>, Vec<MetainfoWarning>) {
    let metainfo = Metainfo::from_info_bytes(info.to_vec().into()).unwrap();
    let info = &metainfo.info;
    let names = info.file_spans().map(|span| match span.path {
        Some(path) => path.as_str().to_owned(),
        None => info.name.clone(),
    });
    (names.collect(), metainfo.warnings)
}

#[test]
fn names_that_no_file_can_have_are_replaced_and_stay_inside_their_folder() {
    for (name, due) in [
        (&b".."[..], "_"),
        (b".", "_"),
        (b"", "_"),
        (b"/etc/passwd", "_etc_passwd"),
        (b"a\0b", "a_b"),
        (b"\xff\xfe", "__"),
    ] {
        let (names, warnings) = decoded(&single(&[("name", Some(Value::Bytes(name)))]));
        assert_eq!(names, [due]);
        assert!(
            matches!(&warnings[..], [MetainfoWarning::NameReplaced { name, .. }] if name == due)
        );
        assert!(warnings[0].concerns_name_only());
    }
    let long = ["n".repeat(300), ".iso".into()].concat();
    let (names, _) = decoded(&single(&[("name", Some(Value::Bytes(long.as_bytes())))]));
    assert!(names[0].len() == 255 && names[0].ends_with(".iso"), "{names:?}");
    for (path, due) in [
        (&["..", "x"][..], "_/x"),
        (&["a", "..", "..", "x"], "a/_/_/x"),
        (&["/etc", "passwd"], "_etc/passwd"),
        (&["a/../../x"], "a_.._.._x"),
        (&["a", "", "b"], "a/b"),
        (&["", "etc"], "etc"),
        (&[], "_"),
        (&["a\0"], "a_"),
    ] {
        let (names, warnings) = decoded(&folder(&[&["fine"], path]));
        assert_eq!(names, ["fine", due]);
        let [MetainfoWarning::PathReplaced { path, .. }] = &warnings[..] else {
            panic!("{warnings:?}")
        };
        assert_eq!(path, due);
    }
    let (names, _) = decoded(&folder(&[&["long"; 1000]]));
    assert!(names[0].len() <= 3072 && names[0].starts_with("long/long/"), "{names:?}");
}

#[test]
fn names_that_begin_alike_stay_different_when_they_are_shortened() {
    let (one, two) = ("x".repeat(300) + ".mkv", "x".repeat(300) + "y.mkv");
    let (names, warnings) = decoded(&folder(&[&[&one], &[&two], &[&one]]));
    assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
    assert!(names.iter().all(|name| name.len() <= 255 && name.ends_with(".mkv")), "{names:?}");
    assert_eq!(warnings.len(), 4, "three long names, and one that stands there twice");
    assert_eq!(decoded(&folder(&[&[&one], &[&two], &[&one]])).0, names);
}

#[test]
fn a_path_that_is_taken_gets_a_number() {
    assert_eq!(error_of(&folder(&[])), "`info.files` is empty");
    let cases: [(&[&[&str]], &[&str]); 7] = [
        (&[&["a", "b"], &["c"], &["a", "b"]], &["a/b", "c", "a/b.1"]),
        (&[&["a.x"], &["a.x"], &["a.1.x"], &["a.x"]], &["a.x", "a.2.x", "a.1.x", "a.3.x"]),
        (&[&["a"], &["a", "b"]], &["a.1", "a/b"]),
        (&[&["a", "b", "c", "d"], &["x"], &["a", "b"]], &["a/b/c/d", "x", "a/b.1"]),
        (&[&["a"], &["a.1", "b"], &["a"], &["a", "c"]], &["a.2", "a.1/b", "a.3", "a/c"]),
        (
            &[&["a", "c"], &["a.txt"], &["a!"], &["a\x01"], &["a"]],
            &["a/c", "a.txt", "a!", "a\x01", "a.1"],
        ),
        (
            &[&["a", "b"], &["a.txt"], &["a", "c"], &["A"], &["b"]],
            &["a/b", "a.txt", "a/c", "A", "b"],
        ),
    ];
    for (paths, due) in cases {
        let (names, warnings) = decoded(&folder(paths));
        assert_eq!(names, due);
        let before = paths.iter().map(|path| path.join("/"));
        let replaced = before.zip(&names).filter(|(before, name)| before != *name).count();
        assert_eq!(warnings.len(), replaced);
    }
}

#[test]
fn a_path_that_stands_there_a_hundred_thousand_times_is_numbered_quickly() {
    let files: Vec<_> = (0..100_000).map(|_| &["same", "name.txt"][..]).collect();
    let started = std::time::Instant::now();
    let bytes = {
        let hash = Value::Bytes(&[7; 20 * 62]);
        let list = files.iter().map(|path| {
            let path = path.iter().map(|name| Value::Bytes(name.as_bytes())).collect();
            Value::Dict(vec![(b"length", Value::Int(10)), (b"path", Value::List(path))])
        });
        single(&[
            ("length", None),
            ("files", Some(Value::List(list.collect()))),
            ("pieces", Some(hash)),
        ])
    };
    let (names, warnings) = decoded(&bytes);
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
    assert_eq!(names[99_999], "same/name.99999.txt");
    assert_eq!(warnings.len(), MAX_WARNINGS);
    assert_eq!(
        warnings.last(),
        Some(&MetainfoWarning::More { count: 99_999 - (MAX_WARNINGS - 1) })
    );
}

/// A torrent with a valid info dictionary and other top-level fields.
fn torrent(fields: &[(&str, Value<'_>)]) -> Metainfo {
    let mut encoder = Encoder::new();
    encoder.raw(b"d");
    for (key, value) in fields {
        encoder.bytes(key.as_bytes());
        value.encode_into(&mut encoder);
    }
    encoder.bytes(b"info");
    encoder.raw(&single(&[]));
    encoder.raw(b"e");
    Metainfo::decode(&encoder.finish()).unwrap()
}

#[test]
fn optional_fields_of_another_type_are_ignored_with_a_warning() {
    let odd = [Value::Int(7), Value::List(vec![Value::Int(1)]), Value::Dict(vec![])];
    for field in ["announce", "announce-list", "comment", "created by"] {
        for value in &odd {
            let read = torrent(&[(field, value.clone())]);
            assert_eq!(
                read.warnings,
                [MetainfoWarning::Ignored { field: field.into() }],
                "{value:?}"
            );
            assert!(
                read.trackers.is_empty() && read.comment.is_none() && read.created_by.is_none()
            );
        }
    }
    for value in [Value::Bytes(b"2011-01-01"), Value::List(vec![])] {
        let read = torrent(&[("creation date", value)]);
        assert_eq!((read.creation_date, read.warnings.len()), (None, 1));
    }
    for field in ["encoding", "nodes", "url-list", "httpseeds", "publisher", "azureus_properties"] {
        assert!(torrent(&[(field, Value::Int(7))]).warnings.is_empty());
    }
    assert_eq!(torrent(&[("comment", Value::Bytes(b"\xff"))]).comment.as_deref(), Some("\u{fffd}"));
    let long = "ü".repeat(MAX_TEXT_CHARS + 1);
    let read = torrent(&[("comment", Value::Bytes(long.as_bytes()))]);
    assert_eq!(read.comment.unwrap().chars().count(), MAX_TEXT_CHARS);
    let date = [&b"d13:creation datei99999999999999999999e4:info"[..], &single(&[]), b"e"].concat();
    let read = Metainfo::decode(&date).unwrap();
    assert_eq!((read.creation_date, read.warnings.len()), (None, 1));

    let with =
        |field, value| Metainfo::from_info_bytes(single(&[(field, Some(value))]).into()).unwrap();
    assert_eq!(with("name.utf-8", Value::Int(5)).info.name, "a.iso");
    assert_eq!(with("name.utf-8", Value::Bytes(b"")).info.name, "a.iso");
    for (value, private, warnings) in [
        (Value::Int(1), true, 0),
        (Value::Int(0), false, 0),
        (Value::Bytes(b"1"), true, 1),
        (Value::Bytes(b"no"), false, 1),
        (Value::List(vec![]), false, 1),
    ] {
        let read = with("private", value);
        assert_eq!((read.info.private, read.warnings.len()), (private, warnings));
    }
    let file = Value::Dict(vec![
        (b"attr", Value::Int(5)),
        (b"length", Value::Int(40_000)),
        (b"md5sum", Value::Int(1)),
        (b"path", Value::List(vec![Value::Bytes(b"a")])),
        (b"path.utf-8", Value::Int(2)),
    ]);
    let (names, warnings) =
        decoded(&single(&[("length", None), ("files", Some(Value::List(vec![file])))]));
    assert_eq!((&names[..], warnings.len()), (&["a".to_owned()][..], 2));
}

#[test]
fn trackers_are_found_in_whatever_shape_they_are_written() {
    let url = Value::Bytes(b"http://t/");
    let list =
        |items: &[&Value<'static>]| Value::List(items.iter().map(|&item| item.clone()).collect());
    for (field, value) in [
        ("announce-list", url.clone()),
        ("announce-list", list(&[&url])),
        ("announce-list", list(&[&Value::Int(1), &list(&[&Value::Int(2), &url])])),
        ("announce", list(&[&url])),
        ("announce", list(&[&list(&[&url])])),
    ] {
        let read = torrent(&[(field, value)]);
        assert_eq!(read.trackers, [["http://t/"]], "{field}");
        assert!(matches!(&read.warnings[..], [MetainfoWarning::Understood { .. }]), "{field}");
    }
}

#[test]
fn bytes_after_the_torrent_are_ignored_with_a_warning() {
    let torrent = Metainfo::from_info_bytes(single(&[]).into()).unwrap();
    for tail in [&b"\n"[..], b"\0\0", b"<html>"] {
        let read = Metainfo::decode(&[&torrent.encode()[..], tail].concat()).unwrap();
        assert_eq!(read.warnings, [MetainfoWarning::TrailingBytes { count: tail.len() }]);
        assert_eq!(read.info_hash, torrent.info_hash);
    }
}
