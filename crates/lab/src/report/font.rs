//! The font of all pictures, a subset of DejaVu Sans that is embedded in the program, and the width
//! of texts in it.

use std::sync::OnceLock;

use skrifa::{
    FontRef, MetadataProvider,
    instance::{LocationRef, Size},
};
use textwrap::core::display_width;

/// The font file: Latin letters, Greek letters, arrows and the signs that reports use.
/// `fonts/LICENSE` has its terms.
pub(crate) const BYTES: &[u8] = include_bytes!("../../fonts/DejaVuSans-subset.ttf");

/// Its name, and the replacements where a picture is shown without it.
pub(crate) const FAMILY: &str = "DejaVu Sans, Verdana, Liberation Sans, Arial, sans-serif";

/// The height of a digit and of a capital letter, in parts of the font's size.
pub(crate) const CAP_HEIGHT: f64 = 0.73;

/// The width of a letter of another font, in parts of the font's size: about that of a wide
/// Cyrillic letter. An East Asian letter has a full square.
const OTHER_WIDTH: f64 = 0.7;

fn embedded() -> Option<&'static FontRef<'static>> {
    static FONT: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    FONT.get_or_init(|| FontRef::new(BYTES).ok()).as_ref()
}

/// Whether a letter is drawn with another font. Letters that are not drawn are not lacking.
pub(crate) fn lacks(letter: char) -> bool {
    let is_drawn = !letter.is_control() && !letter.is_whitespace();
    is_drawn && embedded().is_some_and(|font| font.charmap().map(letter).is_none())
}

/// The width of a letter that the font lacks, in parts of the font's size.
fn other_width(letter: char) -> f64 {
    match display_width(letter.encode_utf8(&mut [0; 4])) {
        0 => 0.0,
        1 => OTHER_WIDTH,
        _ => 1.0,
    }
}

/// The width of `text` at `size`, both in the same unit. That of another font is an estimate.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    let Some(font) = embedded() else {
        return text.chars().map(other_width).sum::<f64>() * size;
    };
    let metrics = font.glyph_metrics(Size::new(1.0), LocationRef::default());
    let letters = font.charmap();
    let advance = |letter: char| letters.map(letter).and_then(|glyph| metrics.advance_width(glyph));
    let wide = |letter: char| advance(letter).map_or_else(|| other_width(letter), f64::from);
    text.chars().map(wide).sum::<f64>() * size
}

/// `text`, or its beginning and `…` if it is wider than `room`.
pub(crate) fn fitted(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while short.pop().is_some() {
        let cut = format!("{}…", short.trim_end());
        if width(&cut, size) <= room {
            return cut;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_follow_the_font() {
        // DejaVu Sans: a digit is 1303 of 2048 units wide, an m 1995, an i 569.
        for (text, units) in [("0", 1303.0), ("m", 1995.0), ("i", 569.0), ("m0", 3298.0), ("", 0.0)]
        {
            assert!((width(text, 2048.0) - units).abs() < 0.5, "{text}: {}", width(text, 2048.0));
        }
        assert_eq!(width("漢字", 10.0), 20.0);
        assert_eq!(width("Ж", 10.0), 7.0);
        // A mark above a letter takes no room.
        assert_eq!(width("\u{0e48}", 10.0), 0.0);
        assert!(lacks('漢') && !lacks('ä') && !lacks(' ') && !lacks('\n'));
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(fitted("short", 10.0, 100.0), "short");
        let cut = fitted("a rather long text", 10.0, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 60.0, "{cut}");
        assert_eq!(fitted("text", 10.0, 1.0), "");
    }
}
