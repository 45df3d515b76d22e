//! A drawing surface that becomes SVG: texts, lines, markers, and the colours on paper and on a
//! page. It knows nothing of axes or data.
//!
//! Why no plotting library: `plotters` draws its legends over the data and needs C libraries to
//! measure text; `kuva` has both legends and metrics, but writes black numbers on dark cells, has
//! no line with a marker in a legend, and restarts dashes at every point of a PNG. Reports need
//! little, and this way one SVG is the source of every picture.

use std::fmt::Write as _;

use super::{escape::escaped, font, palette::series_color};

/// The use of a colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Color {
    /// Texts, axes, bounds.
    Ink,
    /// Less important texts.
    Muted,
    /// Lines behind the data.
    Grid,
    /// The background.
    Paper,
    /// The n-th series; every series has a colour of its own.
    Series(usize),
    /// A cell of a heat map, 0 to 1.
    Heat(f64),
    /// A number on such a cell.
    OnHeat(f64),
}

const INK: (&str, &str) = ("#1a1a1a", "#e8e8e8");
const MUTED: (&str, &str) = ("#5f5f5f", "#a8a8a8");
const GRID: (&str, &str) = ("#dedede", "#3d3d3d");
const PAPER: (&str, &str) = ("#ffffff", "#1c1c1e");

/// Where a picture is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    /// In a file of its own, with fixed colours on white.
    Paper,
    /// In a page that has the variables of [`page_variables`], so that it follows the light or dark
    /// theme.
    Page,
}

/// The style sheet variables of a page with pictures, for the light and for the dark theme. Its
/// pictures have this number of series at most.
pub(crate) fn page_variables(series: usize) -> [String; 2] {
    let mut sides = [String::new(), String::new()];
    let named = [("ink", INK), ("muted", MUTED), ("grid", GRID), ("paper", PAPER)];
    let named = named
        .map(|(name, (light, dark))| (name.to_owned(), (light.to_owned(), dark.to_owned())))
        .into_iter();
    let series = (0..series).map(|number| (format!("series-{number}"), series_color(number)));
    for (name, (light, dark)) in named.chain(series) {
        sides[0] += &format!("--{name}:{light};");
        sides[1] += &format!("--{name}:{dark};");
    }
    sides
}

impl Color {
    fn on(self, medium: Medium) -> String {
        let either = |name: &str, colors: (&str, &str)| match medium {
            Medium::Paper => colors.0.to_owned(),
            Medium::Page => format!("var(--{name})"),
        };
        match self {
            Self::Ink => either("ink", INK),
            Self::Muted => either("muted", MUTED),
            Self::Grid => either("grid", GRID),
            Self::Paper => either("paper", PAPER),
            Self::Series(number) => match medium {
                Medium::Paper => series_color(number).0,
                Medium::Page => format!("var(--series-{number})"),
            },
            Self::Heat(value) => {
                let [red, green, blue] = heat(value);
                format!("#{red:02x}{green:02x}{blue:02x}")
            }
            Self::OnHeat(value) => {
                if is_dark(heat(value)) { "#ffffff" } else { "#1a1a1a" }.to_owned()
            }
        }
    }
}

/// The colour of a heat map's value, from almost white to dark blue: one hue with even steps of
/// brightness, so that it also works in grey.
fn heat(value: f64) -> [u8; 3] {
    const STOPS: [[f64; 3]; 4] =
        [[245.0, 248.0, 252.0], [158.0, 202.0, 225.0], [33.0, 113.0, 181.0], [8.0, 38.0, 90.0]];
    let at = value.clamp(0.0, 1.0) * 3.0;
    let stop = (at.floor() as usize).min(2);
    let part = at - stop as f64;
    std::array::from_fn(|channel| {
        (STOPS[stop][channel] + (STOPS[stop + 1][channel] - STOPS[stop][channel]) * part).round()
            as u8
    })
}

/// Whether white has more contrast on this colour than black (WCAG 2).
fn is_dark(color: [u8; 3]) -> bool {
    let linear = color.map(|channel| {
        let value = f64::from(channel) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.179
}

/// The part of a text that is at its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// The stroke of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stroke {
    pub(crate) color: Color,
    pub(crate) width: f64,
    pub(crate) dash: Dash,
}

/// The dashes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dash {
    Solid,
    Long,
    Short,
    Dotted,
    LongShort,
}

impl Dash {
    fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Solid => None,
            Self::Long => Some("9 4"),
            Self::Short => Some("5 3"),
            Self::Dotted => Some("1.5 3"),
            Self::LongShort => Some("9 3 2 3"),
        }
    }
}

/// The shape of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    TriangleDown,
    Cross,
}

/// All shapes, in the order of series.
pub(crate) const MARKERS: [Marker; 6] = [
    Marker::Circle,
    Marker::Square,
    Marker::Triangle,
    Marker::Diamond,
    Marker::TriangleDown,
    Marker::Cross,
];

/// The elements drawn so far. Units are pixels at a scale of one; y grows downwards.
#[derive(Debug)]
pub(crate) struct Canvas {
    medium: Medium,
    body: String,
}

impl Canvas {
    pub(crate) fn new(medium: Medium) -> Self {
        Self { medium, body: String::new() }
    }

    /// Writes `text` with its baseline at `y`.
    pub(crate) fn text(
        &mut self,
        (x, y): (f64, f64),
        text: &str,
        size: f64,
        anchor: Anchor,
        color: Color,
    ) {
        self.text_turned((x, y), text, size, anchor, color, "");
    }

    /// Writes `text` upwards with its middle at the point.
    pub(crate) fn text_upwards(&mut self, (x, y): (f64, f64), text: &str, size: f64, color: Color) {
        let turn = format!(" transform=\"rotate(-90 {} {})\"", short(x), short(y));
        self.text_turned((x, y), text, size, Anchor::Middle, color, &turn);
    }

    fn text_turned(
        &mut self,
        (x, y): (f64, f64),
        text: &str,
        size: f64,
        anchor: Anchor,
        color: Color,
        turn: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (x, y, size, color) = (short(x), short(y), short(size), color.on(self.medium));
        self.add(format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{anchor} fill=\"{color}\"{turn}>{}\
             </text>",
            escaped(text)
        ));
    }

    /// Draws a line through all points.
    pub(crate) fn line(&mut self, points: &[(f64, f64)], stroke: Stroke) {
        if points.len() < 2 {
            return;
        }
        let pairs: Vec<String> =
            points.iter().map(|(x, y)| format!("{},{}", short(*x), short(*y))).collect();
        let dash = stroke
            .dash
            .pattern()
            .map(|dash| format!(" stroke-dasharray=\"{dash}\""))
            .unwrap_or_default();
        self.add(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" \
             stroke-linejoin=\"round\"{dash}/>",
            pairs.join(" "),
            stroke.color.on(self.medium),
            short(stroke.width),
        ));
    }

    /// Fills a rectangle.
    pub(crate) fn rectangle(
        &mut self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        color: Color,
    ) {
        let (x, y, width, height) = (short(x), short(y), short(width), short(height));
        let color = color.on(self.medium);
        self.add(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{color}\"/>"
        ));
    }

    /// Draws a point; a hollow one shows the background inside.
    pub(crate) fn marker(
        &mut self,
        (x, y): (f64, f64),
        marker: Marker,
        color: Color,
        hollow: bool,
    ) {
        let edge = color.on(self.medium);
        let fill = if hollow { Color::Paper.on(self.medium) } else { edge.clone() };
        let path = |points: &[(f64, f64)]| {
            let all: Vec<String> = points
                .iter()
                .map(|(dx, dy)| format!("{} {}", short(x + dx), short(y + dy)))
                .collect();
            format!("<path d=\"M{}Z\"", all.join("L"))
        };
        let shape = match marker {
            Marker::Circle => format!("<circle cx=\"{}\" cy=\"{}\" r=\"4\"", short(x), short(y)),
            Marker::Square => path(&[(-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)]),
            Marker::Triangle => path(&[(0.0, -4.8), (4.5, 3.4), (-4.5, 3.4)]),
            Marker::Diamond => path(&[(0.0, -5.2), (4.6, 0.0), (0.0, 5.2), (-4.6, 0.0)]),
            Marker::TriangleDown => path(&[(0.0, 4.8), (4.5, -3.4), (-4.5, -3.4)]),
            Marker::Cross => {
                let corners = [
                    (-4.6, -2.6),
                    (-2.6, -4.6),
                    (0.0, -2.0),
                    (2.6, -4.6),
                    (4.6, -2.6),
                    (2.0, 0.0),
                    (4.6, 2.6),
                    (2.6, 4.6),
                    (0.0, 2.0),
                    (-2.6, 4.6),
                    (-4.6, 2.6),
                    (-2.0, 0.0),
                ];
                path(&corners)
            }
        };
        self.add(format_args!("{shape} fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"1.3\"/>"));
    }

    /// The whole picture. `title` is read by screen readers.
    pub(crate) fn finish(self, width: f64, height: f64, title: &str) -> String {
        let (width, height) = (short(width.ceil()), short(height.ceil()));
        let ground = Color::Paper.on(self.medium);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{}\">\n\
             <title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" \
             fill=\"{ground}\"/>\n{}</svg>\n",
            font::FAMILY,
            escaped(title),
            self.body
        )
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// Two decimal places without trailing zeros.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([short(1.0), short(1.504), short(-0.001), short(20.0)], ["1", "1.5", "0", "20"]);
    }

    #[test]
    fn texts_are_escaped() {
        let mut canvas = Canvas::new(Medium::Paper);
        canvas.text((1.0, 2.0), "<a> & \"b\"", 13.0, Anchor::Middle, Color::Ink);
        let svg = canvas.finish(10.0, 10.0, "</title>");
        assert!(
            svg.contains(">&lt;a&gt; &amp; &quot;b&quot;</text>")
                && svg.contains("<title>&lt;/title&gt;</title>")
        );
    }

    #[test]
    fn numbers_on_heat_have_enough_contrast() {
        let luminance = |color: [u8; 3]| {
            let linear = color.map(|channel| (f64::from(channel) / 255.0).powf(2.2));
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        for step in 0..=100 {
            let value = f64::from(step) / 100.0;
            let ground = luminance(heat(value));
            let text = if is_dark(heat(value)) { 1.0 } else { luminance([0x1a; 3]) };
            let contrast = (ground.max(text) + 0.05) / (ground.min(text) + 0.05);
            assert!(contrast >= 4.0, "{value}: {contrast}");
        }
    }

    #[test]
    fn higher_heat_is_darker() {
        let light = |value| heat(value).map(u32::from).iter().sum::<u32>();
        assert!(
            (1..=20).all(|step| light(f64::from(step) / 20.0) < light(f64::from(step - 1) / 20.0))
        );
    }
}
