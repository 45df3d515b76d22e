//! Torrents: refused, or safe and consistent; memory in proportion to the input.

use std::collections::BTreeSet;

use sow_content::{Info, Metainfo, hash::sha1, metainfo::Files};

use crate::memory;

/// What decoding takes apart from the input: a path's components, unsorted keys, trackers.
const FIXED: usize = 512 * 1024;

/// How often the input may be there: as the info dictionary, as hashes, and as entries of the
/// shortest files, which take more in memory than they do in the torrent.
const TIMES: usize = 12;

/// Decodes arbitrary bytes as a torrent, and as an info dictionary alone.
pub fn metainfo(data: &[u8]) {
    let limit = FIXED + TIMES * data.len();
    if let Ok(metainfo) = memory::within(limit, || Metainfo::decode(data)) {
        check_info(&metainfo.info);
        assert_eq!(metainfo.info_hash.0, sha1(&metainfo.info_bytes));
        assert!(metainfo.trackers.iter().all(|tier| !tier.is_empty()));
        assert_eq!(Metainfo::decode(&metainfo.encode()).as_ref(), Ok(&metainfo));
        assert_eq!(Info::decode(&metainfo.info_bytes).as_ref(), Ok(&metainfo.info));
    }
    if let Ok(info) = memory::within(limit, || Info::decode(data)) {
        check_info(&info);
        assert_eq!(Info::decode(&info.encode()).as_ref(), Ok(&info));
        let Info { name, geometry, piece_hashes, files, private } = info.clone();
        assert_eq!(Info::from_parts(&name, geometry, files, piece_hashes, private), Ok(info));
    }
}

/// What everybody may rely on who gets an [`Info`].
fn check_info(info: &Info) {
    assert!(is_clean(&info.name));
    assert_eq!(info.piece_hashes.len(), info.geometry.pieces() as usize);
    let mut end = 0;
    let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for span in info.file_spans() {
        assert_eq!(span.offset, end);
        end += span.length;
        let Some(path) = span.path else {
            assert_eq!(info.files, Files::Single);
            continue;
        };
        assert!(path.components().all(is_clean));
        assert!(path.as_path().is_relative());
        if !span.padding {
            assert!(files.insert(path.as_str()), "a path is there twice");
            folders.extend(path.as_str().match_indices('/').map(|(at, _)| &path.as_str()[..at]));
        }
    }
    assert_eq!(end, info.geometry.total());
    assert!(files.is_disjoint(&folders), "a file is a folder, too");
}

/// Whether a name can only name something in the folder that it is looked up in.
fn is_clean(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !["", ".", ".."].contains(&name)
        && !name.contains(['/', '\0'])
}
