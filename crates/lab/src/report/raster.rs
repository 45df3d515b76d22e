//! Renders an SVG of `canvas` as PNG.

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb::Database},
};

use super::font;

/// The pixels of the PNG for each pixel of the SVG: enough for print at the width of a column.
const PNG_SCALE: f32 = 3.0;

/// Renders `svg` with the embedded font.
///
/// # Errors
/// When the SVG cannot be parsed or does not fit into memory.
pub(crate) fn png(svg: &str) -> Result<Vec<u8>, String> {
    let tree = parse_svg(svg)?;
    let size = tree.size().to_int_size().scale_by(PNG_SCALE).ok_or("a picture without a size")?;
    let mut pixels =
        Pixmap::new(size.width(), size.height()).ok_or("a picture that is too large")?;
    resvg::render(&tree, Transform::from_scale(PNG_SCALE, PNG_SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}

/// Parses `svg` and lays out its texts.
fn parse_svg(svg: &str) -> Result<Tree, String> {
    let mut fonts = Database::new();
    fonts.load_font_data(font::BYTES.to_vec());
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    Tree::from_str(svg, &options).map_err(|error| error.to_string())
}
