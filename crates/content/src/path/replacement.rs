//! Other names for those that no file can have: too long, not UTF-8, or such that they would leave
//! their folder. A replacement depends on the name alone, so every run and every machine chooses
//! the same.

use std::borrow::Cow;

use super::{MAX_NAME, MAX_PATH, SafePath, clean_name};
use crate::hash::sha1;

/// The longest ending, with its dot, that a shortened name keeps, in bytes.
const MAX_EXTENSION: usize = 16;

/// The name itself if [`clean_name`] accepts it, or else a replacement that it accepts: `/`, NUL
/// and bytes that are not UTF-8 become `_`, as do `.`, `..` and the empty name; a name of more
/// than [`MAX_NAME`] bytes is shortened.
pub fn usable_name(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(name) = clean_name(bytes) {
        return Cow::Borrowed(name);
    }
    let replaced = |c| if matches!(c, '/' | '\0' | char::REPLACEMENT_CHARACTER) { '_' } else { c };
    let name: String = String::from_utf8_lossy(bytes).chars().map(replaced).collect();
    Cow::Owned(match name.as_str() {
        "" | "." | ".." => "_".to_owned(),
        _ if name.len() > MAX_NAME => shortened(&name, bytes),
        _ => name,
    })
}

/// A name of at most [`MAX_NAME`] bytes for a longer one: its start, `~` and eight digits of the
/// SHA-1 of `original`, and its ending. Two long names that begin alike stay different.
pub(super) fn shortened(name: &str, original: &[u8]) -> String {
    let tag = sha1(original);
    let tag = format!("~{:08x}", u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]]));
    let extension = extension_of(name);
    let room = MAX_NAME - tag.len() - extension.len();
    let mut end = room.min(name.len() - extension.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{tag}{extension}", &name[..end])
}

/// The path itself if [`SafePath::from_components`] accepts it, or else a replacement: of each
/// component as [`usable_name`] chooses it, without empty components and `.`. Of a path of more
/// than [`MAX_PATH`] bytes, inner folders are omitted. The flag says whether it is a replacement.
pub fn usable_path(components: &[&[u8]]) -> (SafePath, bool) {
    if let Ok(path) = SafePath::from_components(components.iter().copied()) {
        return (path, false);
    }
    let names: Vec<_> = components
        .iter()
        .filter(|name| !name.is_empty() && **name != b".")
        .map(|name| usable_name(name))
        .collect();
    let Some((last, folders)) = names.split_last() else { return (SafePath("_".into()), true) };
    let mut path = String::new();
    let mut last = last.clone();
    for folder in folders {
        if path.len() + folder.len() + 2 + MAX_NAME > MAX_PATH {
            last = Cow::Owned(shortened(&last, &components.join(&b'/')));
            break;
        }
        path.push_str(folder);
        path.push('/');
    }
    path.push_str(&last);
    (SafePath(path.into()), true)
}

/// The same path with a number before the ending of its last name: `a/b.1.txt`. A name that would
/// become too long is shortened.
pub(crate) fn numbered(path: &SafePath, number: usize) -> SafePath {
    let (folder, name) = path.0.rsplit_once('/').map_or((None, &*path.0), |(f, n)| (Some(f), n));
    let extension = extension_of(name);
    let stem = &name[..name.len() - extension.len()];
    let mut numbered = format!("{stem}.{number}{extension}");
    if numbered.len() > MAX_NAME {
        numbered = shortened(&numbered, numbered.as_bytes());
    }
    SafePath(folder.map_or(numbered.clone(), |folder| format!("{folder}/{numbered}")).into())
}

/// The ending of a name with its dot, or nothing: a short text after a dot that is not the first.
fn extension_of(name: &str) -> &str {
    match name.rfind('.') {
        Some(at) if at > 0 && (2..=MAX_EXTENSION).contains(&(name.len() - at)) => &name[at..],
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_file_can_have_are_replaced() {
        assert!(matches!(usable_name("Ünï code.iso".as_bytes()), Cow::Borrowed(_)));
        for (name, due) in [
            (&b""[..], "_"),
            (b".", "_"),
            (b"..", "_"),
            (b"../evil", ".._evil"),
            (b"/etc/passwd", "_etc_passwd"),
            (b"a\0b", "a_b"),
            (b"caf\xe9.iso", "caf_.iso"),
            (b"\xff\xfe", "__"),
        ] {
            assert_eq!(usable_name(name), due);
        }
        let long = |end: &str| usable_name(("ü".repeat(300) + end).as_bytes()).into_owned();
        assert!(long(".tar").ends_with(".tar") && long(".tar").len() <= MAX_NAME);
        assert_ne!(long("1.mkv"), long("2.mkv"));
        assert_eq!(long("1.mkv"), long("1.mkv"));
        for name in [&[b'x'; 256][..], &[b'.'; 300], &[0xff; 5000], &[0; 256]] {
            assert!(clean_name(usable_name(name).as_bytes()).is_ok());
        }
    }

    #[test]
    fn replaced_paths_stay_inside_their_folder() {
        for (path, due) in [
            (&["a", "b"][..], "a/b"),
            (&["..", "..", "etc"], "_/_/etc"),
            (&["", "etc", ".", "passwd"], "etc/passwd"),
            (&["/etc/x"], "_etc_x"),
            (&["a/../../b"], "a_.._.._b"),
            (&[], "_"),
            (&["", "."], "_"),
        ] {
            let path: Vec<_> = path.iter().map(|name| name.as_bytes()).collect();
            assert_eq!(usable_path(&path).0.as_str(), due);
        }
        let long = |end: &'static [u8]| {
            let path: Vec<_> = [&b"folder"[..]; 1000].into_iter().chain([end]).collect();
            usable_path(&path)
        };
        let (path, replaced) = long(b"x.mkv");
        assert!(replaced && path.as_str().len() <= MAX_PATH && path.as_str().ends_with(".mkv"));
        assert_eq!(SafePath::parse(path.as_str()), Ok(path.clone()));
        assert_ne!(long(b"y.mkv").0, path);
    }

    #[test]
    fn a_number_is_put_before_the_ending() {
        let numbered = |path: &str| numbered(&SafePath::parse(path).unwrap(), 2).to_string();
        assert_eq!(numbered("a"), "a.2");
        assert_eq!(numbered("a.d/b.tar.gz"), "a.d/b.tar.2.gz");
        assert_eq!(numbered(".hidden"), ".hidden.2");
        let long = numbered(&("x".repeat(251) + ".iso"));
        assert!(long.len() <= MAX_NAME && long.ends_with(".iso"), "{long}");
    }
}
