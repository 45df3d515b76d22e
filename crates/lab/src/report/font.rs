//! The font of all pictures, a subset of DejaVu Sans that is embedded in the program, and the width
//! of texts in it.

use std::sync::OnceLock;

use skrifa::{
    FontRef, MetadataProvider,
    instance::{LocationRef, Size},
};

/// The font file: Latin letters, Greek letters, arrows and the signs that reports use.
/// `fonts/LICENSE` has its terms.
pub(crate) const BYTES: &[u8] = include_bytes!("../../fonts/DejaVuSans-subset.ttf");

/// Its name, and the replacements where a picture is shown without it.
pub(crate) const FAMILY: &str = "DejaVu Sans, Verdana, Liberation Sans, Arial, sans-serif";

/// The height of a digit and of a capital letter, in parts of the font's size.
pub(crate) const CAP_HEIGHT: f64 = 0.73;

/// The width of `text` at `size`, both in the same unit.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    static FONT: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    let Some(font) = FONT.get_or_init(|| FontRef::new(BYTES).ok()) else {
        return text.chars().count() as f64 * size;
    };
    let metrics = font.glyph_metrics(Size::new(1.0), LocationRef::default());
    let letters = font.charmap();
    // A letter that the font lacks is drawn as a full square.
    let advance = |letter: char| letters.map(letter).and_then(|glyph| metrics.advance_width(glyph));
    text.chars().map(|letter| f64::from(advance(letter).unwrap_or(1.0))).sum::<f64>() * size
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
        assert_eq!(width("漢", 10.0), 10.0);
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(fitted("short", 10.0, 100.0), "short");
        let cut = fitted("a rather long text", 10.0, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 60.0, "{cut}");
        assert_eq!(fitted("text", 10.0, 1.0), "");
    }
}
