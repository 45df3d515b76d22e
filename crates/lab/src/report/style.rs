//! The styles of series in plots: colour, line and marker. A mode has the same style in every plot.

use super::{
    canvas::{Color, Dash, MARKERS, Marker},
    mode_order::ModeStyle,
};

/// The width of a line, and that of a bound.
const LINE_WIDTH: f64 = 1.8;
const BOUND_WIDTH: f64 = 1.3;

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SeriesStyle {
    pub(crate) color: Color,
    /// Width and dashes of the line; `None` for points only.
    pub(crate) line: Option<(f64, Dash)>,
    /// Shape of the points, and whether they are hollow.
    pub(crate) marker: Option<(Marker, bool)>,
}

/// The style of a mode, the same in every picture of every report. `solid` replaces the dashes.
pub(crate) fn mode_style(mode: ModeStyle, solid: bool) -> SeriesStyle {
    let style = numbered_style(mode.number, mode.variant);
    if solid { SeriesStyle { line: Some((LINE_WIDTH, Dash::Solid)), ..style } } else { style }
}

/// The style of a number. Every number has another colour. A variant has the same colour with
/// another marker and other dashes.
pub(crate) fn numbered_style(number: usize, variant: usize) -> SeriesStyle {
    let round = number / MARKERS.len();
    let form = number + round + variant;
    SeriesStyle {
        color: Color::Series(number),
        line: Some((LINE_WIDTH, [Dash::Solid, Dash::Long, Dash::Short, Dash::LongShort][form % 4])),
        marker: Some((MARKERS[form % MARKERS.len()], round % 2 == 1)),
    }
}

/// The style of a bound.
pub(crate) fn bound_style(dash: Dash) -> SeriesStyle {
    SeriesStyle { color: Color::Ink, line: Some((BOUND_WIDTH, dash)), marker: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_differ() {
        let styles: Vec<SeriesStyle> = (0..36).map(|number| numbered_style(number, 0)).collect();
        for (index, style) in styles.iter().enumerate() {
            let same = styles[..index].iter().find(|other| other.color == style.color);
            assert_eq!(same, None, "{index}");
        }
        for variant in 1..12 {
            assert!(
                (0..variant).all(|other| numbered_style(0, variant) != numbered_style(0, other)),
                "{variant}"
            );
        }
        // The markers alone differ, too, as long as there are enough of them.
        let forms: Vec<_> = styles.iter().take(6).map(|style| style.marker).collect();
        assert!(forms.iter().enumerate().all(|(index, form)| !forms[..index].contains(form)));
    }
}
