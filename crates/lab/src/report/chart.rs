//! Charts of values over an axis: panels one above the other that share it, and a legend below. It
//! lays out and draws; what is shown is for `figures`.

use super::{
    axis::Axis,
    canvas::{Anchor, Canvas, Color, Dash, Marker, Medium, Stroke},
    font,
};

/// Width of all pictures in pixels; at the width of one column of a paper (8.5 cm), texts are 5.6
/// points high.
pub(crate) const WIDTH: f64 = 560.0;
pub(crate) const TITLE_SIZE: f64 = 15.0;
pub(crate) const LABEL_SIZE: f64 = 14.0;
pub(crate) const TICK_SIZE: f64 = 13.0;
/// Between what stands beside each other, and at the edges.
pub(crate) const GAP: f64 = 10.0;

const LINE: f64 = 1.2;
const LEGEND_ROW: f64 = 20.0;
const LEGEND_SAMPLE: f64 = 34.0;
/// No text of a legend is wider, so that there are two columns at least.
const LEGEND_TEXT: f64 = 210.0;

/// A picture with axes.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) x: Axis,
    /// Where thin lines part what belongs together.
    pub(crate) dividers: Vec<f64>,
    pub(crate) panels: Vec<Panel>,
    pub(crate) legend: Vec<(String, Look)>,
}

/// One area with a vertical axis of its own.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub(crate) y: Axis,
    /// Pixels.
    pub(crate) height: f64,
    pub(crate) series: Vec<Series>,
}

/// Points that belong together, in the order in which they are joined.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) points: Vec<Point>,
    pub(crate) look: Look,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// A whisker from the one to the other.
    pub(crate) range: Option<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Look {
    pub(crate) color: Color,
    /// Its width and dashes; `None` for points alone.
    pub(crate) line: Option<(f64, Dash)>,
    /// Its form, and whether it is hollow.
    pub(crate) marker: Option<(Marker, bool)>,
}

impl Point {
    pub(crate) fn at(x: f64, y: f64) -> Self {
        Self { x, y, range: None }
    }
}

impl Chart {
    pub(crate) fn draw(&self, medium: Medium) -> String {
        let mut canvas = Canvas::new(medium);
        let top = headline(&mut canvas, &self.title, &self.subtitle);
        let widest = self.panels.iter().flat_map(|panel| &panel.y.ticks);
        let widest = widest.map(|(_, text)| font::width(text, TICK_SIZE)).fold(0.0, f64::max);
        let across = (LABEL_SIZE + 2.0 * GAP + widest + 6.0, WIDTH - 2.0 * GAP);
        let mut y = top;
        for (place, panel) in self.panels.iter().enumerate() {
            let down = (y, y + panel.height);
            self.draw_panel(&mut canvas, panel, across, down);
            y = down.1 + if place + 1 < self.panels.len() { 2.0 * GAP } else { 0.0 };
        }
        self.draw_x_labels(&mut canvas, across, y);
        let below = y + 8.0 + TICK_SIZE + GAP + LABEL_SIZE + GAP;
        let height = below + draw_legend(&mut canvas, &self.legend, below) + GAP;
        canvas.finish(WIDTH, height, &self.title)
    }

    fn draw_panel(&self, canvas: &mut Canvas, panel: &Panel, across: (f64, f64), down: (f64, f64)) {
        let upwards = (down.1, down.0);
        let grid = Stroke { color: Color::Grid, width: 1.0, dash: Dash::Solid };
        for (value, text) in &panel.y.ticks {
            let y = panel.y.place(*value, upwards);
            canvas.line(&[(across.0, y), (across.1, y)], grid);
            let baseline = y + TICK_SIZE * font::CAP_HEIGHT / 2.0;
            canvas.text((across.0 - 6.0, baseline), text, TICK_SIZE, Anchor::End, Color::Ink);
        }
        for x in self.dividers.iter().map(|value| self.x.place(*value, across)) {
            canvas.line(&[(x, down.0), (x, down.1)], grid);
        }
        let axis = Stroke { color: Color::Ink, width: LINE, dash: Dash::Solid };
        canvas.line(&[(across.0, down.0), (across.0, down.1), (across.1, down.1)], axis);
        let label = font::fitted(&panel.y.label, LABEL_SIZE, panel.height + 2.0 * GAP);
        canvas.text_upwards(
            (GAP + LABEL_SIZE * font::CAP_HEIGHT, f64::midpoint(down.0, down.1)),
            &label,
            LABEL_SIZE,
            Color::Ink,
        );
        for series in &panel.series {
            draw_series(canvas, series, |x, y| {
                (self.x.place(x, across), panel.y.place(y, upwards))
            });
        }
    }

    fn draw_x_labels(&self, canvas: &mut Canvas, across: (f64, f64), y: f64) {
        let axis = Stroke { color: Color::Ink, width: LINE, dash: Dash::Solid };
        let mut free_from = f64::NEG_INFINITY;
        for (value, text) in &self.x.ticks {
            let x = self.x.place(*value, across);
            canvas.line(&[(x, y), (x, y + if text.is_empty() { 2.5 } else { 4.0 })], axis);
            if text.is_empty() {
                continue;
            }
            let half = font::width(text, TICK_SIZE) / 2.0;
            // A text that would touch the one before is left out; its tick stays.
            if x - half >= free_from && x + half <= WIDTH {
                canvas.text((x, y + 8.0 + TICK_SIZE), text, TICK_SIZE, Anchor::Middle, Color::Ink);
                free_from = x + half + 5.0;
            }
        }
        let label = font::fitted(&self.x.label, LABEL_SIZE, WIDTH - 2.0 * GAP);
        let baseline = y + 8.0 + TICK_SIZE + GAP + LABEL_SIZE;
        // The label's middle is the axis's, unless it would leave the picture there.
        let half = font::width(&label, LABEL_SIZE) / 2.0;
        let middle = f64::midpoint(across.0, across.1).min(WIDTH - GAP - half).max(GAP + half);
        canvas.text((middle, baseline), &label, LABEL_SIZE, Anchor::Middle, Color::Ink);
    }
}

/// Title and subtitle; returns where the picture may begin.
pub(crate) fn headline(canvas: &mut Canvas, title: &str, subtitle: &str) -> f64 {
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

/// Draws the legend in even columns from `top` on; returns its height.
pub(crate) fn draw_legend(canvas: &mut Canvas, legend: &[(String, Look)], top: f64) -> f64 {
    let room = WIDTH - 2.0 * GAP;
    let texts: Vec<String> =
        legend.iter().map(|(text, _)| font::fitted(text, TICK_SIZE, LEGEND_TEXT)).collect();
    let widest = texts.iter().map(|text| font::width(text, TICK_SIZE)).fold(0.0, f64::max);
    let cell = LEGEND_SAMPLE + widest + 2.0 * GAP;
    let columns = ((room + 2.0 * GAP) / cell).floor().clamp(1.0, 6.0) as usize;
    for (place, (text, (_, look))) in texts.iter().zip(legend).enumerate() {
        let x = GAP + (place % columns) as f64 * cell;
        let middle = top + (place / columns) as f64 * LEGEND_ROW + LEGEND_ROW / 2.0;
        let sample = [Point::at(x, middle), Point::at(x + LEGEND_SAMPLE - 8.0, middle)];
        if let Some((width, dash)) = look.line {
            let ends = sample.map(|point| (point.x, point.y));
            canvas.line(&ends, Stroke { color: look.color, width, dash });
        }
        if let Some((marker, hollow)) = look.marker {
            canvas.marker(
                (f64::midpoint(sample[0].x, sample[1].x), middle),
                marker,
                look.color,
                hollow,
            );
        }
        let baseline = middle + TICK_SIZE * font::CAP_HEIGHT / 2.0;
        canvas.text((x + LEGEND_SAMPLE, baseline), text, TICK_SIZE, Anchor::Start, Color::Ink);
    }
    legend.len().div_ceil(columns) as f64 * LEGEND_ROW
}

fn draw_series(canvas: &mut Canvas, series: &Series, place: impl Fn(f64, f64) -> (f64, f64)) {
    let look = series.look;
    if let Some((width, dash)) = look.line {
        let points: Vec<(f64, f64)> =
            series.points.iter().map(|point| place(point.x, point.y)).collect();
        canvas.line(&points, Stroke { color: look.color, width, dash });
    }
    let whisker = Stroke { color: look.color, width: LINE, dash: Dash::Solid };
    for point in &series.points {
        if let Some((low, high)) = point.range {
            let ((x, low), (_, high)) = (place(point.x, low), place(point.x, high));
            canvas.line(&[(x, low), (x, high)], whisker);
            for end in [low, high] {
                canvas.line(&[(x - 3.0, end), (x + 3.0, end)], whisker);
            }
        }
        if let Some((marker, hollow)) = look.marker {
            canvas.marker(place(point.x, point.y), marker, look.color, hollow);
        }
    }
}
