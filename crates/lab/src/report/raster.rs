//! Renders an SVG of `canvas` as PNG.

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{self, Options, Tree, fontdb::Database},
};

use super::font;

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

/// Renders `svg` with the embedded font.
///
/// # Errors
/// When the SVG cannot be parsed or does not fit into memory.
pub(crate) fn png(svg: &str) -> Result<Vec<u8>, DrawError> {
    let tree = parse_svg(svg)?;
    let size = tree.size().to_int_size().scale_by(PNG_SCALE).ok_or(DrawError::Size)?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or(DrawError::Size)?;
    resvg::render(&tree, Transform::from_scale(PNG_SCALE, PNG_SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| DrawError::Png(error.to_string()))
}

/// Parses `svg` and lays out its texts.
fn parse_svg(svg: &str) -> Result<Tree, DrawError> {
    let mut fonts = Database::new();
    fonts.load_font_data(font::BYTES.to_vec());
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    Ok(Tree::from_str(svg, &options)?)
}
