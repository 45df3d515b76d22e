//! A matrix of who got how much from whom, as coloured cells with numbers.

use super::{
    canvas::{Anchor, Canvas, Color, Medium},
    chart::{GAP, LABEL_SIZE, TICK_SIZE, WIDTH, headline},
    font,
    tables::natural,
};

/// Cells are not larger than this, so that a matrix of two by one is no poster.
const CELL_MOST: (f64, f64) = (96.0, 34.0);
/// Numbers smaller than this are not written: nobody could read them, and colours say as much.
const NUMBER_LEAST: f64 = 10.0;
/// The strip that explains the colours.
const SCALE: (f64, f64) = (200.0, 12.0);

/// Numbers in rows and columns.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) row_label: String,
    pub(crate) column_label: String,
    /// What the numbers are, with the unit.
    pub(crate) unit: String,
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    /// By row, then column; `None` where there can be nothing.
    pub(crate) values: Vec<Vec<Option<f64>>>,
}

/// Where the cells are.
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
        let top = headline(&mut canvas, &self.title, &self.subtitle);
        let names = self
            .rows
            .iter()
            .map(|name| font::width(name, TICK_SIZE))
            .fold(0.0, f64::max)
            .min(140.0);
        let left = GAP + LABEL_SIZE + GAP + names + GAP;
        let width = ((WIDTH - GAP - left) / self.columns.len().max(1) as f64).min(CELL_MOST.0);
        let height = (width * 0.75).clamp(5.0, CELL_MOST.1);
        // The names of low rows stand out above the first one.
        let names = top + LABEL_SIZE + GAP + TICK_SIZE;
        let grid = Grid {
            left,
            names,
            top: names + GAP / 2.0 + (TICK_SIZE * 1.2 - height).max(0.0) / 2.0,
            width,
            height,
        };
        self.draw_names(&mut canvas, &grid, top);
        let most = self.values.iter().flatten().flatten().copied().fold(0.0, f64::max);
        self.draw_cells(&mut canvas, &grid, most);
        let bottom = grid.top + self.rows.len() as f64 * height;
        draw_scale(&mut canvas, &self.unit, most, bottom + 2.0 * GAP);
        let end = bottom + 2.0 * GAP + TICK_SIZE + GAP + SCALE.1 + GAP / 2.0 + TICK_SIZE + GAP;
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
        // Rows and columns are mostly the same hosts, and those that are named should be.
        let every = every((widest + 4.0) / grid.width).max(every(TICK_SIZE * 1.2 / grid.height));
        let mut free_from = f64::NEG_INFINITY;
        for (place, name) in
            self.columns.iter().enumerate().filter(|(_, name)| is_named(name, every))
        {
            let x = grid.left + (place as f64 + 0.5) * grid.width;
            let half = font::width(name, TICK_SIZE) / 2.0;
            if x - half >= free_from && x + half <= WIDTH {
                canvas.text((x, grid.names), name, TICK_SIZE, Anchor::Middle, Color::Ink);
                free_from = x + half + 4.0;
            }
        }
        let mut free_from = f64::NEG_INFINITY;
        for (place, name) in self.rows.iter().enumerate() {
            let y = grid.top + (place as f64 + 0.5) * grid.height;
            // What begins the rows is an origin.
            if (place == 0 || is_named(name, every)) && y - TICK_SIZE * 0.6 >= free_from {
                let name = font::fitted(name, TICK_SIZE, 140.0);
                let at = (grid.left - GAP * 0.6, y + TICK_SIZE * font::CAP_HEIGHT / 2.0);
                canvas.text(at, &name, TICK_SIZE, Anchor::End, Color::Ink);
                free_from = y + TICK_SIZE * 0.6;
            }
        }
    }

    fn draw_cells(&self, canvas: &mut Canvas, grid: &Grid, most: f64) {
        let texts = self.values.iter().flatten().flatten().map(|value| number(*value));
        let widest = texts.map(|text| font::width(&text, 1.0)).fold(0.1, f64::max);
        let size = ((grid.width - 6.0) / widest).min(grid.height * 0.7).min(TICK_SIZE);
        let (rows, columns) = (self.rows.len(), self.columns.len());
        // Most cells of a large crowd are empty: one ground for all of them, and no zeros to read
        // over.
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
            let part = if most > 0.0 { value / most } else { 0.0 };
            if value == 0.0 {
                continue;
            }
            canvas.rectangle((x, y), (grid.width - 1.0, grid.height - 1.0), Color::Heat(part));
            if size >= NUMBER_LEAST {
                let middle =
                    (x + grid.width / 2.0, y + grid.height / 2.0 + size * font::CAP_HEIGHT / 2.0);
                canvas.text(middle, &number(value), size, Anchor::Middle, Color::OnHeat(part));
            }
        }
    }
}

/// Of how many names one is written where there is room for one in so many.
fn every(room_for_one_in: f64) -> u64 {
    [1, 2, 5, 10, 20, 50].into_iter().find(|&every| every as f64 >= room_for_one_in).unwrap_or(100)
}

/// Whether a name is one of those that are written when not all are: `h10` of every fifth or tenth.
fn is_named(name: &str, every: u64) -> bool {
    natural(name).1.is_multiple_of(every)
}

fn draw_scale(canvas: &mut Canvas, unit: &str, most: f64, top: f64) {
    const STEPS: usize = 40;
    let baseline = top + TICK_SIZE;
    canvas.text(
        (GAP, baseline),
        &font::fitted(unit, TICK_SIZE, WIDTH - 2.0 * GAP),
        TICK_SIZE,
        Anchor::Start,
        Color::Ink,
    );
    let y = baseline + GAP;
    let step = SCALE.0 / STEPS as f64;
    for place in 0..STEPS {
        let x = GAP + place as f64 * step;
        // A little wider than a step, lest seams show.
        canvas.rectangle(
            (x, y),
            (step + 0.3, SCALE.1),
            Color::Heat((place as f64 + 0.5) / STEPS as f64),
        );
    }
    let below = y + SCALE.1 + GAP / 2.0 + TICK_SIZE * 0.8;
    canvas.text((GAP, below), "0", TICK_SIZE, Anchor::Start, Color::Ink);
    canvas.text((GAP + SCALE.0, below), &number(most), TICK_SIZE, Anchor::End, Color::Ink);
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value {
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_many_as_there_is_room_for() {
        assert_eq!([0.4, 1.0, 1.3, 2.7, 5.5, 1000.0].map(every), [1, 1, 2, 5, 10, 100]);
        let named = |every| {
            (1..=21).filter(|host| is_named(&format!("h{host}"), every)).collect::<Vec<_>>()
        };
        assert_eq!(named(5), [5, 10, 15, 20]);
        assert_eq!(named(1).len(), 21);
    }

    #[test]
    fn numbers_have_three_digits() {
        let texts = [0.004, 1.234, 9.999, 12.34, 123.4].map(number);
        assert_eq!(texts, ["0.00", "1.23", "10.0", "12.3", "123"]);
    }
}
