//! Why a report cannot be made.

use std::{io, path::PathBuf};

use super::raster::DrawError;
use crate::record::RecordError;

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A plot cannot be rendered.
    #[error("cannot draw {name}: {source}")]
    Draw {
        /// The plot.
        name: String,
        /// The cause.
        source: DrawError,
    },
}
