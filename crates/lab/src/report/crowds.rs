//! The distance from the bound against the number of receivers, from the records of any number of
//! experiments: one plot and one table. Client/server modes, whose distance is the number of
//! receivers, are shown only where they are named.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Written,
    axis::Axis,
    canvas::{Dash, Medium},
    chart::{Chart, Panel, Point, Series},
    error::ReportError,
    figure::{Figure, Picture},
    files::Folder,
    fonts::Fonts,
    labels::{decimals, size_label},
    markdown, mode_order, raster,
    style::{SeriesStyle, bound_style, numbered_style},
    summary::{Group, Spread, Summary},
    table::{Table, numbers, words},
};
use crate::{
    record::{self, Labels, Model, Records, Topology},
    scenario::Mode,
};

/// The name of the files, without the ending.
const NAME: &str = "crowds";
const PANEL_HEIGHT: f64 = 330.0;
/// From this ratio of the largest to the least distance, the axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 6.0;

/// Which runs of a mode are on one line of the plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// Those with the same file and the same links.
    ByConditions,
    /// All of them.
    Together,
}

/// Writes the plot and the table of the records in `dirs` into the folder `out`, which is made if
/// it does not exist. `modes` are shown in this order; none means all but client/server.
///
/// # Errors
/// When records cannot be read, or a file cannot be written.
pub fn write_crowds(
    dirs: &[PathBuf],
    modes: &[Mode],
    grouping: Grouping,
    out: &Path,
) -> Result<Written, ReportError> {
    let records = dirs.iter().map(|dir| record::read(dir)).collect::<Result<Vec<Records>, _>>()?;
    let labels = records.iter().map(|records| &records.labels).find(|labels| !labels.is_empty());
    let labels = labels.cloned().unwrap_or_default();
    let summaries: Vec<Summary<'_>> = records.iter().map(Summary::new).collect();
    let wanted = |mode: &str, model: Model| match mode.parse::<Mode>() {
        Ok(known) if !modes.is_empty() => modes.contains(&known),
        _ => modes.is_empty() && model != Model::ClientServer,
    };
    let lines = Lines::of(&summaries, wanted, modes, grouping, &labels);
    let mut folder = Folder::create(out)?;
    let table = lines.table();
    folder.write(&format!("{NAME}.csv"), table.csv().as_bytes())?;
    let (mut warnings, mut font_hint) = (Vec::new(), None);
    if lines.lines.is_empty() {
        warnings.push("There is no complete run of these modes in these records.".to_owned());
        folder.write(&format!("{NAME}.md"), markdown::table(&table).as_bytes())?;
    } else {
        let figure = lines.figure(&labels);
        let text = format!("{}\n{}", markdown::plot(&figure), markdown::table(&table));
        folder.write(&format!("{NAME}.md"), text.trim_start().as_bytes())?;
        let svg = figure.svg(Medium::Paper);
        folder.write(&format!("{NAME}.svg"), svg.as_bytes())?;
        let fonts = Fonts::for_pictures([&*svg].into_iter(), labels.language.as_deref());
        let png = raster::png(&svg, &fonts)
            .map_err(|source| ReportError::Draw { name: NAME.to_owned(), source })?;
        folder.write(&format!("{NAME}.png"), &png)?;
        font_hint = fonts.warning();
    }
    let runs = records.iter().map(|records| records.runs.len()).sum();
    Ok(Written { files: folder.written, runs, main: table.text(), warnings, font_hint })
}

/// The file and the links of a run: length, rates, delay.
type Conditions = [String; 3];

/// What identifies a line: the mode as it is recorded, whether it was simulated, the conditions.
type LineKey = (String, bool, Option<Conditions>);

/// All lines of the plot, in the order of the legend.
struct Lines {
    lines: Vec<Line>,
    /// The parts of the conditions that all runs have in common.
    shared: [Option<String>; 3],
}

/// One mode under the same conditions, over the number of receivers.
struct Line {
    name: String,
    /// The mode without its conditions.
    mode: String,
    simulated: bool,
    style: SeriesStyle,
    /// Ascending by the number of receivers.
    points: BTreeMap<u32, Measure>,
}

/// What was measured with one number of receivers.
#[derive(Debug, Clone)]
struct Measure {
    conditions: Conditions,
    distance: Spread,
    seconds: f64,
    bound: f64,
    runs: usize,
}

impl Lines {
    fn of(
        summaries: &[Summary<'_>],
        wanted: impl Fn(&str, Model) -> bool,
        order: &[Mode],
        grouping: Grouping,
        labels: &Labels,
    ) -> Self {
        let mut found: BTreeMap<LineKey, BTreeMap<u32, Measure>> = BTreeMap::new();
        for summary in summaries {
            let topology = &summary.records.header.topology;
            for group in summary.groups.iter().filter(|group| wanted(group.mode, group.model)) {
                let Some(measure) = Measure::of(group, topology) else { continue };
                let conditions = match grouping {
                    Grouping::ByConditions => Some(measure.conditions.clone()),
                    Grouping::Together => None,
                };
                let key = (group.mode.to_owned(), group.simulated, conditions);
                // Of two experiments with the same runs, the one with more repetitions counts.
                let points = found.entry(key).or_default();
                let better = points.get(&group.users).is_none_or(|old| old.runs < measure.runs);
                if better {
                    points.insert(group.users, measure);
                }
            }
        }
        let keys: Vec<LineKey> = found.keys().cloned().collect();
        let mut modes: Vec<&str> = keys.iter().map(|key| &*key.0).collect();
        let order: Vec<String> = order.iter().map(|mode| mode.id().to_owned()).collect();
        mode_order::sort(&mut modes, &order);
        modes.dedup();
        let styles = mode_order::styles(&modes);
        let shared = shared_parts(found.values().flat_map(BTreeMap::values));
        let mut lines: Vec<Line> = found
            .into_iter()
            .map(|((mode, simulated, conditions), points)| {
                let alike = keys.iter().filter(|key| (&key.0, key.1) == (&mode, simulated));
                let alike: Vec<&LineKey> = alike.collect();
                let variant = alike.iter().position(|key| key.2 == conditions).unwrap_or_default();
                let at = modes.iter().position(|&other| other == mode).unwrap_or_default();
                let shown = mode_order::shown(&mode, labels);
                let mut name = shown.clone();
                if simulated {
                    name += &format!(", {}", labels.line("simulated"));
                }
                if let Some(conditions) = conditions.filter(|_| alike.len() > 1) {
                    let own = conditions.iter().zip(&shared).filter(|(_, shared)| shared.is_none());
                    own.for_each(|(part, _)| name += &format!(", {part}"));
                }
                let style = line_style(styles[at].number, variant, simulated);
                Line { name, mode: shown, simulated, style, points }
            })
            .collect();
        let rank = |line: &Line| {
            let at = modes.iter().position(|&mode| mode_order::shown(mode, labels) == line.mode);
            (at, line.simulated)
        };
        lines.sort_by_key(rank);
        Self { lines, shared }
    }

    fn figure(&self, labels: &Labels) -> Figure {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let users = || points().map(|(users, _)| f64::from(*users));
        let mut x = Axis::logarithmic(
            labels.axis("receivers"),
            users().fold(f64::INFINITY, f64::min),
            users().fold(0.0, f64::max),
        );
        let low = points().map(|(_, measure)| measure.distance.min).fold(1.0, f64::min);
        let high = points().map(|(_, measure)| measure.distance.max).fold(1.0, f64::max);
        let label = labels.axis("distance-p2p");
        let mut y = if high / low >= LOGARITHMIC_FROM {
            Axis::logarithmic(label, low, high)
        } else {
            Axis::rounded(label, low, high.max(1.1), 6)
        };
        // The bound and the first points are not drawn on the axes.
        y.low -= (y.high - y.low) * if y.logarithmic { 0.01 } else { 0.05 };
        (x.low, x.high) = (x.low * 0.85, x.high * if x.high > 500.0 { 1.5 } else { 1.15 });
        let bound = bound_style(Dash::Long);
        let ends = [Point::at(x.low, 1.0), Point::at(x.high, 1.0)];
        let mut series = vec![Series { points: ends.into(), style: bound }];
        series.extend(self.lines.iter().map(|line| {
            let point = |(users, measure): (&u32, &Measure)| Point {
                x: f64::from(*users),
                y: measure.distance.median,
                range: (measure.distance.count > 1)
                    .then_some((measure.distance.min, measure.distance.max)),
            };
            Series { points: line.points.iter().map(point).collect(), style: line.style }
        }));
        let mut legend: Vec<(String, SeriesStyle)> =
            self.lines.iter().map(|line| (line.name.clone(), line.style)).collect();
        legend.push((labels.line("bound").to_owned(), bound));
        let title = labels.title(NAME, "", "");
        let chart = Chart {
            title: title.clone(),
            subtitle: self.shared.iter().flatten().cloned().collect::<Vec<_>>().join(", "),
            x,
            dividers: Vec::new(),
            panels: vec![Panel { y, height: PANEL_HEIGHT, series }],
            legend,
        };
        let caption = format!(
            "{title}: the time until the last receiver had verified its copy, divided by the \
             lower bound for peer-to-peer, against the number of receivers. Medians, and ranges \
             where there are several runs."
        );
        Figure { name: NAME.to_owned(), caption, picture: Picture::Chart(chart) }
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for line in &self.lines {
            for (users, measure) in &line.points {
                let Measure { conditions, distance, seconds, bound, runs } = measure;
                let range = if distance.count > 1 {
                    format!("{:.3}–{:.3}", distance.min, distance.max)
                } else {
                    String::new()
                };
                rows.push(vec![
                    line.mode.clone(),
                    if line.simulated { "simulated" } else { "measured" }.to_owned(),
                    conditions.join(", "),
                    users.to_string(),
                    format!("{seconds:.2}"),
                    format!("{bound:.2}"),
                    format!("{:.3}", distance.median),
                    range,
                    runs.to_string(),
                ]);
            }
        }
        let columns = vec![
            words("mode"),
            words("how"),
            words("file and links"),
            numbers("users"),
            numbers("last (s)"),
            numbers("P2P bound (s)"),
            numbers("last ÷ P2P bound"),
            numbers("range"),
            numbers("runs"),
        ];
        Table {
            title: "Distance from the bound".into(),
            name: NAME.into(),
            note:
                "Medians over complete runs. last: until the last receiver had verified its copy."
                    .into(),
            columns,
            rows,
        }
    }
}

impl Measure {
    fn of(group: &Group<'_>, topology: &Topology) -> Option<Self> {
        Some(Self {
            conditions: conditions(group, topology),
            distance: group.distance_p2p?,
            seconds: group.last?.median,
            bound: group.bounds?.peer_to_peer,
            runs: group.complete,
        })
    }
}

/// A simulated line is dashed, with hollow points.
fn line_style(number: usize, variant: usize, simulated: bool) -> SeriesStyle {
    let style = numbered_style(number, variant);
    let dash = if simulated { Dash::Short } else { Dash::Solid };
    SeriesStyle {
        line: style.line.map(|(width, _)| (width, dash)),
        marker: style.marker.map(|(marker, _)| (marker, simulated)),
        ..style
    }
}

/// The parts that are the same in all conditions.
fn shared_parts<'m>(measures: impl Iterator<Item = &'m Measure>) -> [Option<String>; 3] {
    let all: Vec<&Conditions> = measures.map(|measure| &measure.conditions).collect();
    std::array::from_fn(|part| {
        let first = &all.first()?[part];
        all.iter().all(|other| other[part] == *first).then(|| first.clone())
    })
}

/// The file and the links of a group: `10 MB`, `10 Mbit/s`, `5 ms`.
fn conditions(group: &Group<'_>, topology: &Topology) -> Conditions {
    let rates =
        topology.hosts.iter().flat_map(|host| [host.up_bits_per_second, host.down_bits_per_second]);
    let mut rates: Vec<Option<u64>> = rates.collect();
    rates.sort_unstable();
    rates.dedup();
    let links = match (rates.as_slice(), &topology.trunk) {
        ([Some(rate)], None) => format!("{} Mbit/s", decimals(*rate as f64 / 1e6)),
        ([None], None) => "unlimited links".to_owned(),
        _ => "links that differ".to_owned(),
    };
    let delay = match topology.delay_seconds * 1e3 {
        0.0 => "no delay".to_owned(),
        delay => format!("{} ms", decimals(delay)),
    };
    [size_label(group.file.bytes), links, delay]
}
