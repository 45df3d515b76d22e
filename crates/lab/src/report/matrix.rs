//! Draws a matrix as coloured cells with numbers. What it shows is decided in `figures`.

use super::{
    canvas::{Anchor, Canvas, Color, Medium},
    font,
    labels::natural_key,
    layout::{GAP, LABEL_SIZE, TICK_SIZE, WIDTH, draw_headline},
};

/// The limit of a cell's width and height.
const MAX_CELL_SIZE: (f64, f64) = (96.0, 34.0);
/// The minimum size of numbers. Smaller ones could not be read and are left out.
const MIN_NUMBER_SIZE: f64 = 10.0;
/// The room between a number and the edges of its cell, both sides together.
const NUMBER_MARGIN: f64 = 2.0;
/// The part of the colours at which values above zero begin.
const LEAST_HEAT: f64 = 0.1;
/// The limit of the width of row names.
const MAX_NAME_WIDTH: f64 = 140.0;
/// The width and height of the strip that explains the colours.
const SCALE_SIZE: (f64, f64) = (260.0, 12.0);
/// The colour steps of the strip.
const SCALE_STEPS: usize = 40;

/// Numbers in rows and columns.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) row_label: String,
    pub(crate) column_label: String,
    /// The quantity and its unit.
    pub(crate) unit: String,
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    /// By row, then column; `None` where a value is impossible.
    pub(crate) values: Vec<Vec<Option<f64>>>,
}

/// The geometry of the cells.
struct Grid {
    left: f64,
    /// The baseline of the columns' names.
    names: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Matrix {
    pub(crate) fn draw(&self, medium: Medium) -> String {
        let mut canvas = Canvas::new(medium);
        let top = draw_headline(&mut canvas, &self.title, &self.subtitle);
        let names = self
            .rows
            .iter()
            .map(|name| font::width(name, TICK_SIZE))
            .fold(0.0, f64::max)
            .min(MAX_NAME_WIDTH);
        let left = GAP + LABEL_SIZE + GAP + names + GAP;
        let width = ((WIDTH - GAP - left) / self.columns.len().max(1) as f64).min(MAX_CELL_SIZE.0);
        let height = (width * 0.75).clamp(5.0, MAX_CELL_SIZE.1);
        // A row that is lower than its name needs room above the first row.
        let names = top + LABEL_SIZE + GAP + TICK_SIZE;
        let grid = Grid {
            left,
            names,
            top: names + GAP / 2.0 + (TICK_SIZE * 1.2 - height).max(0.0) / 2.0,
            width,
            height,
        };
        self.draw_names(&mut canvas, &grid, top);
        let scale = Scale::of(self.values.iter().flatten().flatten().copied());
        self.draw_cells(&mut canvas, &grid, scale);
        let bottom = grid.top + self.rows.len() as f64 * height;
        draw_scale(&mut canvas, &self.unit, scale, bottom + 2.0 * GAP);
        let end = bottom + 2.0 * GAP + TICK_SIZE + GAP + SCALE_SIZE.1 + GAP / 2.0 + TICK_SIZE + GAP;
        canvas.finish(WIDTH, end, &self.title)
    }

    fn draw_names(&self, canvas: &mut Canvas, grid: &Grid, top: f64) {
        let across = f64::midpoint(grid.left, grid.left + grid.width * self.columns.len() as f64);
        canvas.text(
            (across, top + LABEL_SIZE * 0.8),
            &self.column_label,
            LABEL_SIZE,
            Anchor::Middle,
            Color::Ink,
        );
        let down = f64::midpoint(grid.top, grid.top + grid.height * self.rows.len() as f64);
        canvas.text_upwards(
            (GAP + LABEL_SIZE * font::CAP_HEIGHT, down),
            &self.row_label,
            LABEL_SIZE,
            Color::Ink,
        );
        let widest =
            self.columns.iter().map(|name| font::width(name, TICK_SIZE)).fold(0.0, f64::max);
        // Rows and columns are mostly the same hosts, so both name the same ones.
        let every = name_interval((widest + 4.0) / grid.width)
            .max(name_interval(TICK_SIZE * 1.2 / grid.height));
        let mut free_from = f64::NEG_INFINITY;
        for (index, name) in
            self.columns.iter().enumerate().filter(|(_, name)| is_named(name, every))
        {
            let x = grid.left + (index as f64 + 0.5) * grid.width;
            let half = font::width(name, TICK_SIZE) / 2.0;
            if x - half >= free_from && x + half <= WIDTH {
                canvas.text((x, grid.names), name, TICK_SIZE, Anchor::Middle, Color::Ink);
                free_from = x + half + 4.0;
            }
        }
        let mut free_from = f64::NEG_INFINITY;
        for (index, name) in self.rows.iter().enumerate() {
            let y = grid.top + (index as f64 + 0.5) * grid.height;
            // The first row is an origin.
            if (index == 0 || is_named(name, every)) && y - TICK_SIZE * 0.6 >= free_from {
                let name = font::fitted(name, TICK_SIZE, MAX_NAME_WIDTH);
                let at = (grid.left - GAP * 0.6, y + TICK_SIZE * font::CAP_HEIGHT / 2.0);
                canvas.text(at, &name, TICK_SIZE, Anchor::End, Color::Ink);
                free_from = y + TICK_SIZE * 0.6;
            }
        }
    }

    fn draw_cells(&self, canvas: &mut Canvas, grid: &Grid, scale: Scale) {
        let (size, text_of) = self.numbers(grid);
        let (rows, columns) = (self.rows.len(), self.columns.len());
        // Most cells of a large crowd are empty. They share one background and have no zeros.
        let area = (columns as f64 * grid.width, rows as f64 * grid.height);
        canvas.rectangle((grid.left, grid.top), area, Color::Heat(0.0));
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)))
        {
            let (x, y) =
                (grid.left + column as f64 * grid.width, grid.top + row as f64 * grid.height);
            let Some(value) = self.values[row][column] else {
                canvas.rectangle((x, y), (grid.width - 1.0, grid.height - 1.0), Color::Grid);
                continue;
            };
            if value == 0.0 {
                continue;
            }
            let heat = scale.heat(value);
            canvas.rectangle((x, y), (grid.width - 1.0, grid.height - 1.0), Color::Heat(heat));
            if size >= MIN_NUMBER_SIZE {
                let middle =
                    (x + grid.width / 2.0, y + grid.height / 2.0 + size * font::CAP_HEIGHT / 2.0);
                canvas.text(middle, &text_of(value), size, Anchor::Middle, Color::OnHeat(heat));
            }
        }
    }

    /// The size of the numbers and their format: as precise as they fit into the cells.
    fn numbers(&self, grid: &Grid) -> (f64, fn(f64) -> String) {
        let size = |text_of: fn(f64) -> String| {
            let values = self.values.iter().flatten().flatten().filter(|value| **value != 0.0);
            let widest = values.map(|value| font::width(&text_of(*value), 1.0)).fold(0.1, f64::max);
            ((grid.width - NUMBER_MARGIN) / widest).min(grid.height * 0.7).min(TICK_SIZE)
        };
        match size(precise) {
            fits if fits >= MIN_NUMBER_SIZE => (fits, precise),
            _ => (size(brief), brief),
        }
    }
}

/// Which colour a value has. Half of the values are in each half of the colours, so that usual
/// differences are visible beside a few extreme values.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    low: f64,
    high: f64,
    /// The exponent of the part between `low` and `high`.
    exponent: f64,
}

impl Scale {
    /// The scale of the values that are not zero.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
        values.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (values.first(), values.last()) else {
            return Self { low: 0.0, high: 0.0, exponent: 1.0 };
        };
        let median = (values[values.len() / 2] - low) / (high - low);
        let exponent = if (0.0..1.0).contains(&median) && median > 0.0 {
            (0.5_f64.ln() / median.ln()).clamp(0.25, 2.0)
        } else {
            1.0
        };
        Self { low, high, exponent }
    }

    /// The part of the colours for a value that is not zero. Zero alone has the lightest one.
    fn heat(self, value: f64) -> f64 {
        let span = self.high - self.low;
        let part = if span > 0.0 { (value - self.low) / span } else { 0.5 };
        LEAST_HEAT + (1.0 - LEAST_HEAT) * part.clamp(0.0, 1.0).powf(self.exponent)
    }

    /// The value at a part of the strip.
    fn value(self, part: f64) -> f64 {
        self.low + (self.high - self.low) * part.powf(1.0 / self.exponent)
    }
}

/// The interval of names that are written if there is room for one name in this number.
fn name_interval(room_for_one_in: f64) -> u64 {
    [1, 2, 5, 10, 20, 50].into_iter().find(|&every| every as f64 >= room_for_one_in).unwrap_or(100)
}

/// Whether a name is written if only every n-th is: `h10` for every fifth or tenth.
fn is_named(name: &str, every: u64) -> bool {
    natural_key(name).1.is_multiple_of(every)
}

fn draw_scale(canvas: &mut Canvas, unit: &str, scale: Scale, top: f64) {
    let baseline = top + TICK_SIZE;
    canvas.text(
        (GAP, baseline),
        &font::fitted(unit, TICK_SIZE, WIDTH - 2.0 * GAP),
        TICK_SIZE,
        Anchor::Start,
        Color::Ink,
    );
    let y = baseline + GAP;
    let step = SCALE_SIZE.0 / SCALE_STEPS as f64;
    for index in 0..SCALE_STEPS {
        let x = GAP + index as f64 * step;
        let value = scale.value((index as f64 + 0.5) / SCALE_STEPS as f64);
        // A little wider than a step, so that no gaps are visible.
        canvas.rectangle((x, y), (step + 0.3, SCALE_SIZE.1), Color::Heat(scale.heat(value)));
    }
    let below = y + SCALE_SIZE.1 + GAP / 2.0 + TICK_SIZE * 0.8;
    let mut taken: Vec<(f64, f64)> = Vec::new();
    // The ends come first, and the others where there is room.
    for part in [0.0, 1.0, 0.5, 0.25, 0.75] {
        let (text, x) = (precise(scale.value(part)), GAP + part * SCALE_SIZE.0);
        let width = font::width(&text, TICK_SIZE);
        // The text at the start begins there, the one at the end ends there.
        let (start, end) = (x - part * width - GAP / 2.0, x + (1.0 - part) * width + GAP / 2.0);
        if taken.iter().all(|other| end <= other.0 || start >= other.1) {
            let at = (x - part * width, below);
            canvas.text(at, &text, TICK_SIZE, Anchor::Start, Color::Ink);
            taken.push((start, end));
        }
        if scale.high <= scale.low {
            break;
        }
    }
}

/// A number with one decimal place.
fn precise(value: f64) -> String {
    format!("{value:.1}")
}

/// A number with two significant digits.
fn brief(value: f64) -> String {
    if value >= 9.95 { format!("{value:.0}") } else { precise(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_far_as_there_is_room() {
        assert_eq!([0.4, 1.0, 1.3, 2.7, 5.5, 1000.0].map(name_interval), [1, 1, 2, 5, 10, 100]);
        let named = |every| {
            (1..=21).filter(|host| is_named(&format!("h{host}"), every)).collect::<Vec<_>>()
        };
        assert_eq!(named(5), [5, 10, 15, 20]);
        assert_eq!(named(1).len(), 21);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.04, 1.234, 9.96, 100.0].map(precise), ["0.0", "1.2", "10.0", "100.0"]);
        assert_eq!([0.04, 1.234, 9.96, 100.0].map(brief), ["0.0", "1.2", "10", "100"]);
    }

    #[test]
    fn usual_differences_are_visible_beside_extreme_values() {
        let values = [4.0, 4.5, 5.0, 5.5, 6.0, 100.0];
        let scale = Scale::of(values.into_iter().chain([0.0]));
        let heats = values.map(|value| scale.heat(value));
        assert!(heats.windows(2).all(|pair| pair[1] - pair[0] > 0.02), "{heats:?}");
        assert!(heats[4] - heats[0] > 0.3 && heats[0] >= LEAST_HEAT, "{heats:?}");
        assert!((heats[5] - 1.0).abs() < 1e-9);
        for part in [0.0, 0.3, 0.5, 1.0] {
            let heat = LEAST_HEAT + (1.0 - LEAST_HEAT) * part;
            assert!((scale.heat(scale.value(part)) - heat).abs() < 1e-9, "{part}");
        }
        let same = Scale::of([7.0, 7.0].into_iter());
        assert!((0.4..0.7).contains(&same.heat(7.0)));
        assert!(Scale::of(std::iter::empty()).heat(0.0).is_finite());
    }

    #[test]
    fn twenty_receivers_have_numbers() {
        let hosts: Vec<String> = (2..=21).map(|host| format!("h{host}")).collect();
        let rows = std::iter::once("h1 (origin)".to_owned()).chain(hosts.clone()).collect();
        let matrix = Matrix {
            title: String::new(),
            subtitle: String::new(),
            row_label: "from".into(),
            column_label: "to".into(),
            unit: "%".into(),
            values: vec![vec![Some(4.87); 20]; 21],
            rows,
            columns: hosts,
        };
        let svg = matrix.draw(Medium::Paper);
        assert_eq!(svg.matches(">4.9</text>").count(), 20 * 21 + 1);
    }
}
