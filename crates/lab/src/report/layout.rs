//! What all pictures have in common: sizes, the headline and the legend.

use super::{
    canvas::{Anchor, Canvas, Color, Stroke},
    font,
    style::SeriesStyle,
};

/// The width of all pictures in pixels. Printed at the width of a paper's column (8.5 cm), texts
/// are 5.6 points high.
pub(crate) const WIDTH: f64 = 560.0;
pub(crate) const TITLE_SIZE: f64 = 15.0;
pub(crate) const LABEL_SIZE: f64 = 14.0;
pub(crate) const TICK_SIZE: f64 = 13.0;
/// The gap between adjacent elements, and at the edges.
pub(crate) const GAP: f64 = 10.0;

const LEGEND_ROW_HEIGHT: f64 = 20.0;
const LEGEND_SAMPLE_WIDTH: f64 = 34.0;
/// The limit of a legend's text, so that there are at least two columns.
const MAX_LEGEND_TEXT_WIDTH: f64 = 210.0;

/// Draws title and subtitle. Returns the top of the remaining area.
pub(crate) fn draw_headline(canvas: &mut Canvas, title: &str, subtitle: &str) -> f64 {
    let room = WIDTH - 2.0 * GAP;
    let mut y = GAP + TITLE_SIZE;
    canvas.text(
        (GAP, y),
        &font::fitted(title, TITLE_SIZE, room),
        TITLE_SIZE,
        Anchor::Start,
        Color::Ink,
    );
    if !subtitle.is_empty() {
        y += GAP / 2.0 + TICK_SIZE;
        canvas.text(
            (GAP, y),
            &font::fitted(subtitle, TICK_SIZE, room),
            TICK_SIZE,
            Anchor::Start,
            Color::Muted,
        );
    }
    y + 2.0 * GAP
}

/// Draws the legend in equal columns below `top`. Returns its height.
pub(crate) fn draw_legend(canvas: &mut Canvas, legend: &[(String, SeriesStyle)], top: f64) -> f64 {
    let room = WIDTH - 2.0 * GAP;
    let texts: Vec<String> = legend
        .iter()
        .map(|(text, _)| font::fitted(text, TICK_SIZE, MAX_LEGEND_TEXT_WIDTH))
        .collect();
    let widest = texts.iter().map(|text| font::width(text, TICK_SIZE)).fold(0.0, f64::max);
    let cell = LEGEND_SAMPLE_WIDTH + widest + 2.0 * GAP;
    let columns = ((room + 2.0 * GAP) / cell).floor().clamp(1.0, 6.0) as usize;
    for (index, (text, (_, style))) in texts.iter().zip(legend).enumerate() {
        let x = GAP + (index % columns) as f64 * cell;
        let middle = top + (index / columns) as f64 * LEGEND_ROW_HEIGHT + LEGEND_ROW_HEIGHT / 2.0;
        let sample = [(x, middle), (x + LEGEND_SAMPLE_WIDTH - 8.0, middle)];
        if let Some((width, dash)) = style.line {
            canvas.line(&sample, Stroke { color: style.color, width, dash });
        }
        if let Some((marker, hollow)) = style.marker {
            let centre = f64::midpoint(sample[0].0, sample[1].0);
            canvas.marker((centre, middle), marker, style.color, hollow);
        }
        let baseline = middle + TICK_SIZE * font::CAP_HEIGHT / 2.0;
        canvas.text(
            (x + LEGEND_SAMPLE_WIDTH, baseline),
            text,
            TICK_SIZE,
            Anchor::Start,
            Color::Ink,
        );
    }
    legend.len().div_ceil(columns) as f64 * LEGEND_ROW_HEIGHT
}
