//! Names and relative paths from outside, made safe before anything touches a disk with them.

use std::{borrow::Cow, fmt, path::Path};

/// The longest file name, in bytes (Linux' `NAME_MAX`).
pub const MAX_NAME: usize = 255;

/// The longest relative path, in bytes; it leaves room for the folder it is put into (`PATH_MAX` is
/// 4,096).
pub const MAX_PATH: usize = 3072;

/// A relative path that stays inside the folder it is joined to: at least one component, and each
/// of them a clean name. Its `Display` is for people; [`SafePath::as_str`] is the path itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafePath(Box<str>);

/// Why a name or a path is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No components, or an empty one.
    #[error("it is empty, or part of it is")]
    Empty,
    /// A `.` or `..` component.
    #[error("`.` and `..` are not names")]
    Dots,
    /// A `/` inside a component; an absolute path is such a one.
    #[error("a name must not contain `/`")]
    Slash,
    /// A NUL byte.
    #[error("a name must not contain NUL")]
    Nul,
    /// Bytes that are not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// A component of over [`MAX_NAME`] bytes.
    #[error("a name of {0} bytes; at most {MAX_NAME} are possible")]
    NameTooLong(usize),
    /// Over [`MAX_PATH`] bytes in all.
    #[error("a path of {0} bytes; at most {MAX_PATH} are accepted")]
    PathTooLong(usize),
}

/// Checks one file or folder name from outside.
///
/// # Errors
/// When it is no name that can be created, or would lead elsewhere.
pub fn clean_name(bytes: &[u8]) -> Result<&str, PathError> {
    if bytes.is_empty() {
        return Err(PathError::Empty);
    }
    if bytes.len() > MAX_NAME {
        return Err(PathError::NameTooLong(bytes.len()));
    }
    if bytes.contains(&0) {
        return Err(PathError::Nul);
    }
    if bytes.contains(&b'/') {
        return Err(PathError::Slash);
    }
    if bytes == b"." || bytes == b".." {
        return Err(PathError::Dots);
    }
    std::str::from_utf8(bytes).map_err(|_| PathError::NotUtf8)
}

/// The text as a terminal may show it: control characters, and those that turn the direction of
/// writing, are escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unprintable(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// The beginning of a text from outside, as an error may repeat it.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 80;
    let short: String = text.chars().take(LONGEST).collect();
    printable(&short).into_owned()
}

impl SafePath {
    /// Joins components, each of them checked as [`clean_name`] does.
    ///
    /// # Errors
    /// When a component is not accepted, there is none, or the whole is too long.
    pub fn from_components<'a>(
        components: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, PathError> {
        let mut path = String::new();
        for component in components {
            let name = clean_name(component)?;
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(name);
            if path.len() > MAX_PATH {
                return Err(PathError::PathTooLong(path.len()));
            }
        }
        if path.is_empty() { Err(PathError::Empty) } else { Ok(Self(path.into())) }
    }

    /// Reads a path with `/` between its components.
    ///
    /// # Errors
    /// As [`SafePath::from_components`]; a leading `/` makes an empty component.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        Self::from_components(path.split('/').map(str::as_bytes))
    }

    /// The path, `/` between its components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path, to be joined to a folder.
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }

    /// The names that the path is made of, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl AsRef<Path> for SafePath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for (path, error) in [
            ("", PathError::Empty),
            ("/etc/passwd", PathError::Empty),
            ("a//b", PathError::Empty),
            ("a/", PathError::Empty),
            ("..", PathError::Dots),
            ("a/../../b", PathError::Dots),
            ("./a", PathError::Dots),
            ("a\0b", PathError::Nul),
        ] {
            assert_eq!(SafePath::parse(path), Err(error), "{path:?}");
        }
        assert_eq!(clean_name(b"a/b"), Err(PathError::Slash));
        assert_eq!(clean_name(b"\xff"), Err(PathError::NotUtf8));
        assert_eq!(clean_name(&[b'x'; 256]), Err(PathError::NameTooLong(256)));
        assert!(clean_name(&[b'x'; 255]).is_ok());
        let long = vec![&b"abc"[..]; 800];
        assert!(matches!(SafePath::from_components(long), Err(PathError::PathTooLong(_))));
    }

    #[test]
    fn what_linux_allows_is_kept() {
        for path in [
            "a",
            "...",
            "..a",
            "a b/ c",
            "-x",
            "back\\slash",
            "Ünïcode/日本",
            "tab\there",
            ".hidden",
        ] {
            let safe = SafePath::parse(path).unwrap();
            assert_eq!(safe.as_str(), path);
            assert_eq!(safe.components().collect::<Vec<_>>().join("/"), path);
        }
    }

    #[test]
    fn terminals_are_spared() {
        assert_eq!(printable("plain ü"), "plain ü");
        assert_eq!(SafePath::parse("a\x1b[31m\n").unwrap().to_string(), "a\\u{1b}[31m\\n");
        assert_eq!(printable("exe.\u{202e}txt"), "exe.\\u{202e}txt");
    }
}
