//! Renders an SVG of `canvas` as PNG.

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{self, Options, Tree},
};

use super::fonts::Fonts;

/// The pixels of the PNG for each pixel of the SVG: enough for print at the width of a column.
const PNG_SCALE: f32 = 3.0;

/// Why a picture cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// The SVG is invalid.
    #[error(transparent)]
    Svg(#[from] usvg::Error),
    /// The picture has no size, or one that does not fit into memory.
    #[error("a picture of an impossible size")]
    Size,
    /// The PNG cannot be encoded. The text is the encoder's.
    #[error("{0}")]
    Png(String),
}

/// Renders `svg` with these fonts.
///
/// # Errors
/// When the SVG cannot be parsed or does not fit into memory.
pub(crate) fn png(svg: &str, fonts: &Fonts) -> Result<Vec<u8>, DrawError> {
    let options = Options { fontdb: Arc::clone(&fonts.database), ..Options::default() };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size().scale_by(PNG_SCALE).ok_or(DrawError::Size)?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or(DrawError::Size)?;
    resvg::render(&tree, Transform::from_scale(PNG_SCALE, PNG_SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| DrawError::Png(error.to_string()))
}
