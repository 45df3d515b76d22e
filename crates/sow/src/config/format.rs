//! The interface of a format of configuration files. Files are read by [`super::load`].

use std::path::Path;

use crate::exit::Failure;

/// A format of configuration files; the default value is that of an empty file.
pub(crate) trait ConfigFormat: Default {
    /// The file that is read, if it exists, when none is named.
    const DEFAULT_FILE: &'static str;

    /// Parses the contents of a file; `path` is for messages.
    ///
    /// # Errors
    /// When something in it cannot be used. The error names file, key and value.
    fn parse(bytes: &[u8], path: &Path) -> Result<Self, Failure>;

    /// A warning for each part of the file that is ignored.
    fn warnings(&self) -> &[String];
}
