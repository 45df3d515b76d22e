//! Makes a PNG of an SVG that `canvas` drew.

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb::Database},
};

use super::font;

/// Pixels of the PNG for each of the SVG's: enough for print at the width of a column.
const SCALE: f32 = 3.0;

/// Draws `svg` with the font that travels with the program.
///
/// # Errors
/// A sentence, if the SVG cannot be read or is larger than memory.
pub(crate) fn png(svg: &str) -> Result<Vec<u8>, String> {
    let tree = tree(svg)?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or("a picture without a size")?;
    let mut pixels =
        Pixmap::new(size.width(), size.height()).ok_or("a picture that is too large")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}

/// Reads `svg` and lays its texts out.
fn tree(svg: &str) -> Result<Tree, String> {
    let mut fonts = Database::new();
    fonts.load_font_data(font::BYTES.to_vec());
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    Tree::from_str(svg, &options).map_err(|error| error.to_string())
}
