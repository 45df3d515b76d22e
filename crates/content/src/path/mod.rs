//! Validation of file names and relative paths that come from a torrent or a peer. No file is
//! opened or created here.

mod replacement;

use std::{fmt, path::Path};

pub(crate) use replacement::numbered;
pub use replacement::{usable_name, usable_path};

use crate::untrusted::Untrusted;

/// The longest file name, in bytes (Linux' `NAME_MAX`).
pub const MAX_NAME: usize = 255;

/// The longest relative path, in bytes. The rest of `PATH_MAX` (4,096) is for the folder that the
/// path is joined to.
pub const MAX_PATH: usize = 3072;

/// A relative path that stays inside the folder it is joined to: one or more components, each of
/// which passes [`clean_name`]. `Display` escapes unprintable characters; [`SafePath::as_str`] is
/// the unchanged path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafePath(Box<str>);

/// Why a name or a path is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path has no components, or an empty one.
    #[error("it is empty or has an empty component")]
    Empty,
    /// A `.` or `..` component.
    #[error("`.` and `..` are not file names")]
    DotComponent,
    /// A `/` inside a component.
    #[error("a name must not contain `/`")]
    Slash,
    /// A NUL byte.
    #[error("a name must not contain NUL")]
    Nul,
    /// Bytes that are not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// A component of more than [`MAX_NAME`] bytes.
    #[error("the name has {0} bytes; the limit is {MAX_NAME}")]
    NameTooLong(usize),
    /// The path has more than [`MAX_PATH`] bytes.
    #[error("the path has {0} bytes; the limit is {MAX_PATH}")]
    PathTooLong(usize),
}

/// Validates one untrusted file or folder name and returns it as text.
///
/// # Errors
/// When no file can have that name, or the name would leave its folder.
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
        return Err(PathError::DotComponent);
    }
    std::str::from_utf8(bytes).map_err(|_| PathError::NotUtf8)
}

impl SafePath {
    /// Joins components after validating each of them with [`clean_name`].
    ///
    /// # Errors
    /// When a component is rejected, there are no components, or the path is too long.
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

    /// Parses a path with `/` between its components.
    ///
    /// # Errors
    /// As [`SafePath::from_components`]. A leading `/` counts as an empty component.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        Self::from_components(path.split('/').map(str::as_bytes))
    }

    /// The path with `/` between its components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path, ready to be joined to a folder.
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }

    /// The components of the path, outermost first.
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
        Untrusted(&*self.0).fmt(f)
    }
}

impl fmt::Debug for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_their_folder_are_rejected() {
        for (path, error) in [
            ("", PathError::Empty),
            ("/etc/passwd", PathError::Empty),
            ("a//b", PathError::Empty),
            ("a/", PathError::Empty),
            ("..", PathError::DotComponent),
            ("a/../../b", PathError::DotComponent),
            ("./a", PathError::DotComponent),
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
    fn names_that_linux_allows_are_kept_unchanged() {
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
}
