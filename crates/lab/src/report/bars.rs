//! Draws horizontal bars with ranges and numbers, a row for each name, and vertical lines for
//! bounds. What is shown is decided in `figures`.

use std::ops::Range;

use super::{
    axis::Axis,
    canvas::{Anchor, Canvas, Color, Dash, Medium, Stroke},
    font,
    layout::{GAP, LABEL_SIZE, TICK_SIZE, WIDTH, draw_headline, draw_legend},
    style::SeriesStyle,
    summary::Spread,
};

const ROW_HEIGHT: f64 = 26.0;
const BAR_HEIGHT: f64 = 14.0;
/// The limit of the width of names.
const MAX_NAME_WIDTH: f64 = 190.0;

/// A picture of one number for each of several names.
#[derive(Debug, Clone)]
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) label: String,
    /// Decimal places of the numbers.
    pub(crate) decimals: usize,
    pub(crate) rows: Vec<Row>,
    pub(crate) marks: Vec<Mark>,
}

/// A value to compare rows with: one line from top to bottom if all rows have the same value, else
/// one for each row.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) name: String,
    pub(crate) style: SeriesStyle,
    /// The index of a row and its value, ascending by row.
    pub(crate) values: Vec<(usize, f64)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: Spread,
    pub(crate) color: Color,
}

impl Bars {
    pub(crate) fn draw(&self, medium: Medium) -> String {
        let mut canvas = Canvas::new(medium);
        let top = draw_headline(&mut canvas, &self.title, &self.subtitle);
        let names = self
            .rows
            .iter()
            .map(|row| font::width(&row.name, TICK_SIZE))
            .fold(0.0, f64::max)
            .min(MAX_NAME_WIDTH);
        let numbers: Vec<String> =
            self.rows.iter().map(|row| format!("{:.*}", self.decimals, row.value.median)).collect();
        let number = numbers.iter().map(|text| font::width(text, TICK_SIZE)).fold(0.0, f64::max);
        let across = (GAP + names + GAP, WIDTH - GAP - number - GAP);
        let max = self.rows.iter().map(|row| row.value.max);
        let max = max
            .chain(self.marks.iter().flat_map(|mark| &mark.values).map(|value| value.1))
            .fold(0.0, f64::max);
        let axis = Axis::rounded(&self.label, 0.0, max, 5);
        let bottom = top + self.rows.len() as f64 * ROW_HEIGHT;
        draw_axis(&mut canvas, &axis, across, (top, bottom));
        for (index, (row, number)) in self.rows.iter().zip(&numbers).enumerate() {
            let middle = top + (index as f64 + 0.5) * ROW_HEIGHT;
            draw_row(&mut canvas, row, number, &axis, across, middle);
        }
        for mark in &self.marks {
            let (width, dash) = mark.style.line.unwrap_or((1.0, Dash::Solid));
            for (rows, value) in mark.stretches(self.rows.len()) {
                let x = axis.position(value, across);
                let [start, end] = [rows.start, rows.end].map(|row| top + row as f64 * ROW_HEIGHT);
                canvas
                    .line(&[(x, start), (x, end)], Stroke { color: mark.style.color, width, dash });
            }
        }
        let below = bottom + 8.0 + TICK_SIZE + GAP + LABEL_SIZE + GAP;
        let legend: Vec<(String, SeriesStyle)> =
            self.marks.iter().map(|mark| (mark.name.clone(), mark.style)).collect();
        let height = below + draw_legend(&mut canvas, &legend, below) + GAP;
        canvas.finish(WIDTH, height, &self.title)
    }
}

impl Mark {
    /// Adjacent rows with the same value; all rows if there is only one value.
    fn stretches(&self, rows: usize) -> Vec<(Range<usize>, f64)> {
        let mut stretches: Vec<(Range<usize>, f64)> = Vec::new();
        for &(row, value) in &self.values {
            match stretches.last_mut() {
                Some((before, same)) if before.end == row && *same == value => before.end = row + 1,
                _ => stretches.push((row..row + 1, value)),
            }
        }
        match &self.values[..] {
            [(_, first), others @ ..] if others.iter().all(|(_, value)| value == first) => {
                vec![(0..rows, *first)]
            }
            _ => stretches,
        }
    }
}

fn draw_axis(canvas: &mut Canvas, axis: &Axis, across: (f64, f64), (top, bottom): (f64, f64)) {
    for (value, text) in &axis.ticks {
        let x = axis.position(*value, across);
        canvas.line(
            &[(x, top), (x, bottom)],
            Stroke { color: Color::Grid, width: 1.0, dash: Dash::Solid },
        );
        canvas.text((x, bottom + 8.0 + TICK_SIZE), text, TICK_SIZE, Anchor::Middle, Color::Ink);
    }
    let ink = Stroke { color: Color::Ink, width: 1.2, dash: Dash::Solid };
    canvas.line(&[(across.0, top), (across.0, bottom), (across.1, bottom)], ink);
    let label = font::fitted(&axis.label, LABEL_SIZE, WIDTH - 2.0 * GAP);
    let half = font::width(&label, LABEL_SIZE) / 2.0;
    let middle = f64::midpoint(across.0, across.1).min(WIDTH - GAP - half).max(GAP + half);
    let baseline = bottom + 8.0 + TICK_SIZE + GAP + LABEL_SIZE;
    canvas.text((middle, baseline), &label, LABEL_SIZE, Anchor::Middle, Color::Ink);
}

fn draw_row(
    canvas: &mut Canvas,
    row: &Row,
    number: &str,
    axis: &Axis,
    across: (f64, f64),
    middle: f64,
) {
    let baseline = middle + TICK_SIZE * font::CAP_HEIGHT / 2.0;
    let name = font::fitted(&row.name, TICK_SIZE, MAX_NAME_WIDTH);
    canvas.text((across.0 - GAP * 0.7, baseline), &name, TICK_SIZE, Anchor::End, Color::Ink);
    let [start, end, min, max] = [axis.low, row.value.median, row.value.min, row.value.max]
        .map(|value| axis.position(value, across));
    canvas.rectangle((start, middle - BAR_HEIGHT / 2.0), (end - start, BAR_HEIGHT), row.color);
    if row.value.count > 1 {
        let ink = Stroke { color: Color::Ink, width: 1.2, dash: Dash::Solid };
        canvas.line(&[(min, middle), (max, middle)], ink);
        for x in [min, max] {
            canvas.line(&[(x, middle - 3.5), (x, middle + 3.5)], ink);
        }
    }
    // Numbers are in a column at the right edge, where neither whiskers nor bounds are drawn.
    canvas.text((WIDTH - GAP, baseline), number, TICK_SIZE, Anchor::End, Color::Ink);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_drawn_at_the_rows_that_have_it() {
        let style = SeriesStyle { color: Color::Ink, line: None, marker: None };
        let stretches = |values: &[(usize, f64)]| {
            Mark { name: "bound".into(), style, values: values.to_vec() }.stretches(4)
        };
        assert_eq!(stretches(&[(1, 8.0), (3, 8.0)]), [(0..4, 8.0)]);
        assert_eq!(
            stretches(&[(0, 35.0), (1, 17.0), (2, 8.0), (3, 8.0)]),
            [(0..1, 35.0), (1..2, 17.0), (2..4, 8.0)]
        );
        assert_eq!(stretches(&[]), []);
    }
}
