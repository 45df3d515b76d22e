//! Draws charts: panels one above the other with a common horizontal axis, and a legend below. What
//! is shown is decided in `figures`.

use super::{
    axis::Axis,
    canvas::{Anchor, Canvas, Color, Dash, Medium, Stroke},
    font,
    layout::{GAP, LABEL_SIZE, TICK_SIZE, WIDTH, draw_headline, draw_legend},
    style::SeriesStyle,
};

const AXIS_WIDTH: f64 = 1.2;

/// A picture with axes.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) x: Axis,
    /// The positions of thin vertical lines that separate groups.
    pub(crate) dividers: Vec<f64>,
    pub(crate) panels: Vec<Panel>,
    pub(crate) legend: Vec<(String, SeriesStyle)>,
}

/// An area with a vertical axis of its own.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub(crate) y: Axis,
    /// In pixels.
    pub(crate) height: f64,
    pub(crate) series: Vec<Series>,
}

/// The points of a series, in the order in which a line connects them.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) points: Vec<Point>,
    pub(crate) style: SeriesStyle,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// The ends of a whisker.
    pub(crate) range: Option<(f64, f64)>,
}

impl Point {
    pub(crate) fn at(x: f64, y: f64) -> Self {
        Self { x, y, range: None }
    }
}

impl Chart {
    pub(crate) fn draw(&self, medium: Medium) -> String {
        let mut canvas = Canvas::new(medium);
        let top = draw_headline(&mut canvas, &self.title, &self.subtitle);
        let widest = self.panels.iter().flat_map(|panel| &panel.y.ticks);
        let widest = widest.map(|(_, text)| font::width(text, TICK_SIZE)).fold(0.0, f64::max);
        let across = (LABEL_SIZE + 2.0 * GAP + widest + 6.0, WIDTH - 2.0 * GAP);
        let mut y = top;
        for (index, panel) in self.panels.iter().enumerate() {
            let down = (y, y + panel.height);
            self.draw_panel(&mut canvas, panel, across, down);
            y = down.1 + if index + 1 < self.panels.len() { 2.0 * GAP } else { 0.0 };
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
            let y = panel.y.position(*value, upwards);
            canvas.line(&[(across.0, y), (across.1, y)], grid);
            let baseline = y + TICK_SIZE * font::CAP_HEIGHT / 2.0;
            canvas.text((across.0 - 6.0, baseline), text, TICK_SIZE, Anchor::End, Color::Ink);
        }
        for x in self.dividers.iter().map(|value| self.x.position(*value, across)) {
            canvas.line(&[(x, down.0), (x, down.1)], grid);
        }
        let axis = Stroke { color: Color::Ink, width: AXIS_WIDTH, dash: Dash::Solid };
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
                (self.x.position(x, across), panel.y.position(y, upwards))
            });
        }
    }

    fn draw_x_labels(&self, canvas: &mut Canvas, across: (f64, f64), y: f64) {
        let axis = Stroke { color: Color::Ink, width: AXIS_WIDTH, dash: Dash::Solid };
        let mut free_from = f64::NEG_INFINITY;
        for (value, text) in &self.x.ticks {
            let x = self.x.position(*value, across);
            canvas.line(&[(x, y), (x, y + if text.is_empty() { 2.5 } else { 4.0 })], axis);
            if text.is_empty() {
                continue;
            }
            let half = font::width(text, TICK_SIZE) / 2.0;
            // A text that would touch the previous one is left out; its tick is drawn.
            if x - half >= free_from && x + half <= WIDTH {
                canvas.text((x, y + 8.0 + TICK_SIZE), text, TICK_SIZE, Anchor::Middle, Color::Ink);
                free_from = x + half + 5.0;
            }
        }
        let label = font::fitted(&self.x.label, LABEL_SIZE, WIDTH - 2.0 * GAP);
        let baseline = y + 8.0 + TICK_SIZE + GAP + LABEL_SIZE;
        // The label is centred on the axis, unless it would leave the picture there.
        let half = font::width(&label, LABEL_SIZE) / 2.0;
        let middle = f64::midpoint(across.0, across.1).min(WIDTH - GAP - half).max(GAP + half);
        canvas.text((middle, baseline), &label, LABEL_SIZE, Anchor::Middle, Color::Ink);
    }
}

fn draw_series(canvas: &mut Canvas, series: &Series, position: impl Fn(f64, f64) -> (f64, f64)) {
    let style = series.style;
    if let Some((width, dash)) = style.line {
        let points: Vec<(f64, f64)> =
            series.points.iter().map(|point| position(point.x, point.y)).collect();
        canvas.line(&points, Stroke { color: style.color, width, dash });
    }
    let whisker = Stroke { color: style.color, width: AXIS_WIDTH, dash: Dash::Solid };
    for point in &series.points {
        if let Some((low, high)) = point.range {
            let ((x, low), (_, high)) = (position(point.x, low), position(point.x, high));
            canvas.line(&[(x, low), (x, high)], whisker);
            for end in [low, high] {
                canvas.line(&[(x - 3.0, end), (x + 3.0, end)], whisker);
            }
        }
        if let Some((marker, hollow)) = style.marker {
            canvas.marker(position(point.x, point.y), marker, style.color, hollow);
        }
    }
}
