//! Figures that compare modes: completion against users, distance from the bound, the origin's
//! upload, and the distribution of completion.

use std::collections::BTreeMap;

use super::super::{
    axis::Axis,
    bars::{Bars, Mark, Row},
    canvas::{Color, Dash, Marker},
    chart::{Chart, Panel, Point, Series},
    course_report,
    figure::{Figure, Picture},
    file_names::slug,
    labels::receivers_label,
    mode_order,
    style::{SeriesStyle, bound_style, mode_style},
    summary::{Group, Spread, Summary},
};
use crate::record::{File, Labels, Model};

/// The minimum of different user numbers for a line. With fewer, each number gets a figure with
/// bars.
const MIN_USERS_FOR_LINE: usize = 3;
/// The height of a panel in pixels.
const PANEL_HEIGHT: f64 = 270.0;
/// The limit of steps of a staircase.
const MAX_STEPS: usize = 500;
/// The width of a line in pixels.
const LINE_WIDTH: f64 = 1.2;

/// The keys of the bounds of the models among the lines of [`Labels`].
const CLIENT_SERVER_BOUND: &str = "bound-client-server";
const PEER_TO_PEER_BOUND: &str = "bound-peer-to-peer";
const MULTICAST_BOUND: &str = "bound-multicast";

/// Seconds until the last receiver had verified its copy.
pub(super) fn completion(summary: &Summary<'_>, file: &File) -> Vec<Figure> {
    let comparison = Comparison {
        name: "completion",
        labels: &summary.records.labels,
        decimals: 2,
        value: |group| group.last,
        lines: time_bounds,
        course_value: Some(|_, mean, _| Some(mean)),
        from: 0.0,
    };
    comparison.figures(summary, file)
}

/// The same relative to the bound, if there are enough user numbers for a line.
pub(super) fn distance(summary: &Summary<'_>, file: &File) -> Vec<Figure> {
    let comparison = Comparison {
        name: "distance",
        labels: &summary.records.labels,
        decimals: 3,
        value: |group| group.distance,
        lines: |_| vec![("bound", Dash::Long, 1.0)],
        // The client/server figures are means of clients that did not start together, which can be
        // below the bound of the last one.
        course_value: Some(|model, mean, bound| {
            (model == Model::PeerToPeer).then_some(mean / bound)
        }),
        from: 1.0,
    };
    if summary.users(file).len() < MIN_USERS_FOR_LINE {
        Vec::new()
    } else {
        comparison.figures(summary, file)
    }
}

/// The upload of the origins in units of the file.
pub(super) fn origin_upload(summary: &Summary<'_>, file: &File) -> Vec<Figure> {
    let comparison = Comparison {
        name: "origin-upload",
        labels: &summary.records.labels,
        decimals: 2,
        value: |group| group.origin_files,
        lines: |group| match group.model {
            Model::ClientServer => {
                vec![("once-each", Dash::Dotted, f64::from(group.users))]
            }
            Model::PeerToPeer | Model::Multicast => vec![("once", Dash::Long, 1.0)],
        },
        course_value: None,
        from: 0.0,
    };
    comparison.figures(summary, file)
}

/// The value to draw for a model, from the course report's mean seconds and the bound in seconds.
type CourseValue = fn(Model, f64, f64) -> Option<f64>;

/// Names with their style and their values at numbers of users.
type ReferenceValues<Style> = Vec<(&'static str, Style, Vec<(u32, f64)>)>;

/// A figure that shows a number of each group against users.
struct Comparison<'l> {
    /// The name of its files, of its title and of its axis.
    name: &'static str,
    labels: &'l Labels,
    decimals: usize,
    value: fn(&Group<'_>) -> Option<Spread>,
    /// Reference lines: name, dashes, value at this group's number of users.
    lines: fn(&Group<'_>) -> Vec<(&'static str, Dash, f64)>,
    /// The value of the course report's figures, if they are drawn.
    course_value: Option<CourseValue>,
    /// The start of the vertical axis, unless a value is below it.
    from: f64,
}

/// Horizontal offsets for the points of one number of users, so that equal values do not hide each
/// other.
struct PointOffsets<'a> {
    users: &'a [u32],
    count: f64,
}

impl<'a> PointOffsets<'a> {
    /// Each number of users has a width of 1.
    fn new(users: &'a [u32], count: usize) -> Self {
        Self { users, count: count.max(1) as f64 }
    }

    fn x(&self, users: u32, index: usize) -> f64 {
        let width = (0.84 / self.count).min(0.14);
        self.middle(users) + (index as f64 - (self.count - 1.0) / 2.0) * width
    }

    fn ends(&self, users: u32) -> [f64; 2] {
        [self.middle(users) - 0.46, self.middle(users) + 0.46]
    }

    fn middle(&self, users: u32) -> f64 {
        self.users.iter().position(|&other| other == users).unwrap_or_default() as f64
    }
}

impl Comparison<'_> {
    fn label(&self) -> &str {
        self.labels.axis(self.name)
    }

    fn title(&self, file: &File) -> String {
        self.labels.title(self.name, &file.name, "")
    }

    fn figures(&self, summary: &Summary<'_>, file: &File) -> Vec<Figure> {
        let groups: Vec<&Group<'_>> =
            summary.of_file(file).filter(|group| (self.value)(group).is_some()).collect();
        let mut users: Vec<u32> = groups.iter().map(|group| group.users).collect();
        users.sort_unstable();
        users.dedup();
        if users.len() >= MIN_USERS_FOR_LINE {
            return vec![self.against_users(summary, file, &groups, &users)];
        }
        let of =
            |users| groups.iter().copied().filter(|group| group.users == users).collect::<Vec<_>>();
        users.iter().map(|&users| self.bars_of_users(summary, file, &of(users), users)).collect()
    }

    fn against_users(
        &self,
        summary: &Summary<'_>,
        file: &File,
        groups: &[&Group<'_>],
        users: &[u32],
    ) -> Figure {
        let modes: Vec<&str> = summary
            .modes
            .iter()
            .copied()
            .filter(|mode| groups.iter().any(|group| group.mode == *mode))
            .collect();
        let course_values = self.course_values(summary, groups);
        let offsets = PointOffsets::new(users, modes.len() + course_values.len());
        let (mut series, mut legend) = (Vec::new(), Vec::new());
        for (index, mode) in modes.iter().enumerate() {
            let points = self.points_of_mode(groups, mode, |users| offsets.x(users, index));
            let mut style = mode_style(summary.mode_style(mode), true);
            style.line = Some((LINE_WIDTH, Dash::Solid));
            series.push(Series { points, style });
            legend.push((mode_order::shown(mode, self.labels), style));
        }
        for (name, dash, values) in self.reference_values(groups) {
            let style = bound_style(dash);
            for (users, value) in values {
                let [start, end] = offsets.ends(users);
                // Drawn behind the points.
                series.insert(
                    0,
                    Series { points: vec![Point::at(start, value), Point::at(end, value)], style },
                );
            }
            legend.push((self.labels.line(name).to_owned(), style));
        }
        for (index, (name, marker, values)) in course_values.into_iter().enumerate() {
            let style = SeriesStyle { color: Color::Ink, line: None, marker: Some((marker, true)) };
            let points = values
                .into_iter()
                .map(|(users, value)| Point::at(offsets.x(users, modes.len() + index), value))
                .collect();
            series.push(Series { points, style });
            legend.push((name.to_owned(), style));
        }
        let y = self.vertical_axis(&series);
        let chart = Chart {
            title: self.title(file),
            subtitle: repetitions(groups),
            x: Axis::listed(self.labels.axis("receivers"), users),
            dividers: (1..users.len()).map(|index| index as f64 - 0.5).collect(),
            panels: vec![Panel { y, height: PANEL_HEIGHT, series }],
            legend,
        };
        Figure {
            name: format!("{}-{}", self.name, slug(&file.name)),
            caption: format!(
                "{}: {}. Points of one number of receivers are side by side.",
                self.title(file),
                self.label()
            ),
            picture: Picture::Chart(chart),
        }
    }

    /// The points of a mode; `x` is the horizontal position for a number of users.
    fn points_of_mode(
        &self,
        groups: &[&Group<'_>],
        mode: &str,
        x: impl Fn(u32) -> f64,
    ) -> Vec<Point> {
        let point = |group: &Group<'_>| {
            let spread = (self.value)(group)?;
            Some(Point { x: x(group.users), y: spread.median, range: range(spread) })
        };
        let of_mode = groups.iter().filter(|group| group.mode == mode);
        of_mode.filter_map(|group| point(group)).collect()
    }

    /// From zero, or from a little below `self.from` and the data.
    fn vertical_axis(&self, series: &[Series]) -> Axis {
        let points = || series.iter().flat_map(|series| &series.points);
        let high = points()
            .map(|point| point.range.map_or(point.y, |range| range.1.max(point.y)))
            .fold(0.0, f64::max);
        let low = points().map(|point| point.range.map_or(point.y, |range| range.0.min(point.y)));
        let low = low.fold(self.from, f64::min);
        let room = if low > 0.0 { ((high - low) * 0.05).max(0.01) } else { 0.0 };
        Axis::rounded(self.label(), low - room, high, 6)
    }

    /// Every reference line, and its value at each number of users.
    fn reference_values(&self, groups: &[&Group<'_>]) -> ReferenceValues<Dash> {
        let mut lines = ReferenceValues::new();
        for group in groups {
            for (name, dash, value) in (self.lines)(group) {
                let at = lines.iter().position(|line| line.0 == name).unwrap_or_else(|| {
                    lines.push((name, dash, Vec::new()));
                    lines.len() - 1
                });
                // Another number of origins has another bound.
                if !lines[at].2.contains(&(group.users, value)) {
                    lines[at].2.push((group.users, value));
                }
            }
        }
        lines
    }

    /// The figures of the course report, if network and file are the same: name, marker, value at
    /// each number of users.
    fn course_values(
        &self,
        summary: &Summary<'_>,
        groups: &[&Group<'_>],
    ) -> ReferenceValues<Marker> {
        let Some(value_of) = self.course_value else { return Vec::new() };
        if !course_report::is_course_network(&summary.records.header.topology) {
            return Vec::new();
        }
        let kinds = [
            (Model::ClientServer, "course report, C/S (mean)", Marker::Circle),
            (Model::PeerToPeer, "course report, P2P (mean)", Marker::Diamond),
        ];
        let values = |model| {
            let of_model = groups.iter().filter(|group| group.model == model);
            let value = |group: &&Group<'_>| {
                let mean = course_report::mean_seconds(model, group.file, group.users)?;
                Some((group.users, value_of(model, mean, group.bounds?.of(model))?))
            };
            of_model.filter_map(value).collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>()
        };
        let kinds = kinds.into_iter().map(|(model, name, marker)| (name, marker, values(model)));
        kinds.filter(|(_, _, values)| !values.is_empty()).collect()
    }

    fn bars_of_users(
        &self,
        summary: &Summary<'_>,
        file: &File,
        groups: &[&Group<'_>],
        users: u32,
    ) -> Figure {
        // The best result first.
        let mut groups = groups.to_vec();
        let median =
            |group: &&Group<'_>| (self.value)(group).map_or(f64::INFINITY, |value| value.median);
        groups.sort_by(|one, other| median(one).total_cmp(&median(other)));
        let mut marks: Vec<Mark> = Vec::new();
        for (row, group) in groups.iter().enumerate() {
            for (name, dash, value) in (self.lines)(group) {
                let name = self.labels.line(name);
                let at = marks.iter().position(|mark| mark.name == name).unwrap_or_else(|| {
                    let style = bound_style(dash);
                    marks.push(Mark { name: name.to_owned(), style, values: Vec::new() });
                    marks.len() - 1
                });
                marks[at].values.push((row, value));
            }
        }
        let row = |group: &&Group<'_>| {
            let color = mode_style(summary.mode_style(group.mode), true).color;
            Some(Row { name: group.name.clone(), value: (self.value)(group)?, color })
        };
        let title = format!("{}, {}", self.title(file), receivers_label(users));
        let bars = Bars {
            title: title.clone(),
            subtitle: repetitions(&groups),
            label: self.label().to_owned(),
            decimals: self.decimals,
            rows: groups.iter().filter_map(row).collect(),
            marks,
        };
        Figure {
            name: format!("{}-{}-{users}", self.name, slug(&file.name)),
            caption: format!("{title}: {}.", self.label()),
            picture: Picture::Bars(bars),
        }
    }
}

/// The share of receivers that are complete over time, for the largest number of receivers.
pub(super) fn distribution(summary: &Summary<'_>, file: &File) -> Option<Figure> {
    let groups: Vec<&Group<'_>> =
        summary.of_file(file).filter(|group| group.complete > 0).collect();
    let users = groups.iter().map(|group| group.users).max()?;
    let groups: Vec<&Group<'_>> = groups.into_iter().filter(|group| group.users == users).collect();
    let labels = &summary.records.labels;
    let (mut series, mut legend) = (Vec::new(), Vec::new());
    for group in &groups {
        let style = mode_style(summary.mode_style(group.mode), false);
        series.extend(staircase(&completion_times(group), style));
        legend.push((group.name.clone(), style));
    }
    for (name, style, seconds) in distinct_bounds(&groups, labels) {
        let points = vec![Point::at(seconds, 0.0), Point::at(seconds, 100.0)];
        // Drawn behind the receivers.
        series.insert(0, Series { points, style });
        legend.push((name, style));
    }
    let times = || series.iter().flat_map(|series| &series.points).map(|point| point.x);
    let (first, last) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    let x = Axis::around(labels.axis("time"), first, last);
    let title = labels.title("distribution", &file.name, "");
    let title = format!("{title}: {}", receivers_label(users));
    let chart = Chart {
        title: title.clone(),
        subtitle: if x.logarithmic {
            "all repetitions together; logarithmic axis of time"
        } else {
            "all repetitions together"
        }
        .into(),
        x,
        dividers: Vec::new(),
        panels: vec![Panel {
            y: Axis::rounded(labels.axis("verified"), 0.0, 100.0, 5),
            height: PANEL_HEIGHT,
            series,
        }],
        legend,
    };
    Some(Figure {
        name: format!("distribution-{}", slug(&file.name)),
        caption: format!("{title}; the receivers of all repetitions together."),
        picture: Picture::Chart(chart),
    })
}

/// The bounds of time with distinct names and styles. If the number of origins varies, there are
/// several bounds of one model.
fn distinct_bounds(groups: &[&Group<'_>], labels: &Labels) -> Vec<(String, SeriesStyle, f64)> {
    let mut bounds: Vec<(&str, Dash, f64, Vec<&str>)> = Vec::new();
    for group in groups {
        for (name, dash, seconds) in time_bounds(group) {
            let at = bounds.iter().position(|bound| (bound.0, bound.2) == (name, seconds));
            let at = at.unwrap_or_else(|| {
                bounds.push((name, dash, seconds, Vec::new()));
                bounds.len() - 1
            });
            let origins = mode_order::origins_of(group.mode)
                .filter(|origins| !bounds[at].3.contains(origins));
            bounds[at].3.extend(origins);
        }
    }
    let is_unique = |name: &str| bounds.iter().filter(|bound| bound.0 == name).count() == 1;
    let dashes = [Dash::Long, Dash::Dotted, Dash::LongShort, Dash::Short];
    let named = bounds.iter().enumerate().map(|(index, (name, dash, seconds, origins))| {
        if is_unique(name) {
            return (labels.line(name).to_owned(), bound_style(*dash), *seconds);
        }
        let of = if origins.is_empty() { format!("{seconds:.1} s") } else { origins.join(" or ") };
        (
            format!("{}, {of}", labels.line("bound")),
            bound_style(dashes[index % dashes.len()]),
            *seconds,
        )
    });
    named.collect()
}

/// The completion times of all receivers of all repetitions, ascending.
fn completion_times(group: &Group<'_>) -> Vec<f64> {
    let mut all = Vec::new();
    for run in group.complete_runs() {
        let began = run.began().unwrap_or_default();
        all.extend(
            run.staying()
                .filter_map(|receiver| receiver.finished_seconds)
                .map(|finished| finished - began),
        );
    }
    all.sort_by(f64::total_cmp);
    all
}

/// A staircase to 100 % with a point at its end.
fn staircase(times: &[f64], style: SeriesStyle) -> Vec<Series> {
    let share = |count: usize| count as f64 / times.len() as f64 * 100.0;
    let stair = |(before, &time): (usize, &f64)| {
        [Point::at(time, share(before)), Point::at(time, share(before + 1))]
    };
    // A large crowd has more steps than a picture has pixels.
    let every = times.len().div_ceil(MAX_STEPS);
    let is_drawn = |index: usize| index.is_multiple_of(every) || index + 1 == times.len();
    let steps = times.iter().enumerate().filter(|(index, _)| is_drawn(*index));
    let line: Vec<Point> = steps.flat_map(stair).collect();
    let end = line.last().copied().into_iter().collect();
    vec![
        Series { points: line, style: SeriesStyle { marker: None, ..style } },
        Series { points: end, style: SeriesStyle { line: None, ..style } },
    ]
}

fn time_bounds(group: &Group<'_>) -> Vec<(&'static str, Dash, f64)> {
    let name = match group.model {
        Model::ClientServer => (CLIENT_SERVER_BOUND, Dash::Dotted),
        Model::PeerToPeer => (PEER_TO_PEER_BOUND, Dash::Long),
        Model::Multicast => (MULTICAST_BOUND, Dash::LongShort),
    };
    group.bounds.map(|bounds| (name.0, name.1, bounds.of(group.model))).into_iter().collect()
}

/// The range of a point's whisker, if there are several repetitions.
fn range(spread: Spread) -> Option<(f64, f64)> {
    (spread.count > 1).then_some((spread.min, spread.max))
}

/// The subtitle about repetitions.
fn repetitions(groups: &[&Group<'_>]) -> String {
    match groups.iter().map(|group| group.complete).max().unwrap_or_default() {
        0 | 1 => "one run each".to_owned(),
        max => format!("medians and ranges of {max} runs"),
    }
}
