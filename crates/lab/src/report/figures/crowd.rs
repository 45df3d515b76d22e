//! Pictures of a whole crowd: completion against users, distance from the bound, what the origin
//! sent, how completion is distributed.

use std::collections::BTreeMap;

use super::{
    super::{
        axis::Axis,
        bars::{Bars, Mark, Row},
        canvas::{Color, Dash, Marker},
        chart::{Chart, Look, Panel, Point, Series},
        modes, published,
        summary::{Group, Spread, Summary},
        tables::receivers_of,
    },
    Figure, Picture, bound_look, look_of, range, repetitions, slug,
};
use crate::record::{File, Model};

/// With fewer numbers of users, there is no line to draw, and each gets a picture with bars.
const USERS_FOR_A_LINE: usize = 3;
const HEIGHT: f64 = 270.0;

const CLIENT_SERVER_BOUND: &str = "bound, client/server";
const PEER_TO_PEER_BOUND: &str = "bound, peer-to-peer";

/// Seconds until the last receiver had verified.
pub(super) fn completion(summary: &Summary<'_>, file: &File) -> Vec<Figure> {
    let sort = Sort {
        name: "completion",
        title: format!("Completion of {}", file.name),
        label: "until the last receiver has verified (s)",
        places: 2,
        value: |group| group.last,
        lines: time_bounds,
        document: Some(|_, mean, _| Some(mean)),
        from: 0.0,
    };
    sort.figures(summary, file)
}

/// The same over the bound; where there are enough numbers of users for a line.
pub(super) fn distance(summary: &Summary<'_>, file: &File) -> Vec<Figure> {
    let sort = Sort {
        name: "distance",
        title: format!("Distance from the bound: {}", file.name),
        label: "last receiver ÷ bound of the model",
        places: 3,
        value: |group| group.distance,
        lines: |_| vec![("bound", Dash::Long, 1.0)],
        // Its client/server figures are means of clients that were not started together: less than
        // the bound of the last.
        document: Some(|model, mean, bound| (model == Model::PeerToPeer).then_some(mean / bound)),
        from: 1.0,
    };
    if summary.users(file).len() < USERS_FOR_A_LINE {
        Vec::new()
    } else {
        sort.figures(summary, file)
    }
}

/// What origins sent, in files.
pub(super) fn origin_upload(summary: &Summary<'_>, file: &File) -> Vec<Figure> {
    let sort = Sort {
        name: "origin-upload",
        title: format!("What the origin sent of {}", file.name),
        label: "origin's upload (units of the file)",
        places: 2,
        value: |group| group.origin_files,
        lines: |group| match group.model {
            Model::ClientServer => {
                vec![("once for each receiver", Dash::Dotted, f64::from(group.users))]
            }
            Model::PeerToPeer => vec![("once", Dash::Long, 1.0)],
        },
        document: None,
        from: 0.0,
    };
    sort.figures(summary, file)
}

/// What to draw of a model, document 1's mean seconds and its bound in seconds.
type OfDocument = fn(Model, f64, f64) -> Option<f64>;

/// A name, and its values at numbers of users.
type Compared<Form> = Vec<(&'static str, Form, Vec<(u32, f64)>)>;

/// A number of each group against users.
struct Sort {
    name: &'static str,
    title: String,
    label: &'static str,
    places: usize,
    value: fn(&Group<'_>) -> Option<Spread>,
    /// Lines to compare with: name, dashes, value at this group's number of users.
    lines: fn(&Group<'_>) -> Vec<(&'static str, Dash, f64)>,
    /// What is drawn of document 1's own figures, if anything.
    document: Option<OfDocument>,
    /// Where the vertical axis begins, unless there is something below.
    from: f64,
}

/// Places side by side for what belongs to one number of users, so that equal values do not hide
/// each other.
struct Slots<'a> {
    users: &'a [u32],
    count: f64,
}

impl<'a> Slots<'a> {
    /// Each number of users has a width of 1.
    fn new(users: &'a [u32], count: usize) -> Self {
        Self { users, count: count.max(1) as f64 }
    }

    fn x(&self, users: u32, place: usize) -> f64 {
        let width = (0.84 / self.count).min(0.14);
        self.middle(users) + (place as f64 - (self.count - 1.0) / 2.0) * width
    }

    fn ends(&self, users: u32) -> [f64; 2] {
        [self.middle(users) - 0.46, self.middle(users) + 0.46]
    }

    fn middle(&self, users: u32) -> f64 {
        self.users.iter().position(|&other| other == users).unwrap_or_default() as f64
    }
}

impl Sort {
    fn figures(&self, summary: &Summary<'_>, file: &File) -> Vec<Figure> {
        let groups: Vec<&Group<'_>> =
            summary.of_file(file).filter(|group| (self.value)(group).is_some()).collect();
        let mut users: Vec<u32> = groups.iter().map(|group| group.users).collect();
        users.sort_unstable();
        users.dedup();
        if users.len() >= USERS_FOR_A_LINE {
            return vec![self.against_users(summary, file, &groups, &users)];
        }
        let of =
            |users| groups.iter().copied().filter(|group| group.users == users).collect::<Vec<_>>();
        users.iter().map(|&users| self.of_users(summary, file, &of(users), users)).collect()
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
        let document = self.document_1(summary, groups);
        let slots = Slots::new(users, modes.len() + document.len());
        let (mut series, mut legend) = (Vec::new(), Vec::new());
        for (place, mode) in modes.iter().enumerate() {
            let point = |group: &Group<'_>| {
                let spread = (self.value)(group)?;
                Some(Point {
                    x: slots.x(group.users, place),
                    y: spread.median,
                    range: range(spread),
                })
            };
            let points = groups
                .iter()
                .filter(|group| group.mode == *mode)
                .filter_map(|group| point(group))
                .collect();
            let mut look = look_of(summary.place(mode), true);
            look.line = Some((1.2, Dash::Solid));
            series.push(Series { points, look });
            legend.push(((*mode).to_owned(), look));
        }
        for (name, dash, values) in self.compared(groups) {
            let look = bound_look(dash);
            for (users, value) in values {
                let [start, end] = slots.ends(users);
                // Behind the points.
                series.insert(
                    0,
                    Series { points: vec![Point::at(start, value), Point::at(end, value)], look },
                );
            }
            legend.push((name.to_owned(), look));
        }
        for (place, (name, marker, values)) in document.into_iter().enumerate() {
            let look = Look { color: Color::Ink, line: None, marker: Some((marker, true)) };
            let points = values
                .into_iter()
                .map(|(users, value)| Point::at(slots.x(users, modes.len() + place), value))
                .collect();
            series.push(Series { points, look });
            legend.push((name.to_owned(), look));
        }
        let y = self.vertical(&series);
        let chart = Chart {
            title: self.title.clone(),
            subtitle: repetitions(groups),
            x: Axis::listed("receivers", users),
            dividers: (1..users.len()).map(|place| place as f64 - 0.5).collect(),
            panels: vec![Panel { y, height: HEIGHT, series }],
            legend,
        };
        Figure {
            name: format!("{}-{}", self.name, slug(&file.name)),
            caption: format!(
                "{}: {}. Points of one number of receivers stand side by side.",
                self.title, self.label
            ),
            picture: Picture::Chart(chart),
        }
    }

    /// From zero, or from a little below `self.from` and the data.
    fn vertical(&self, series: &[Series]) -> Axis {
        let points = || series.iter().flat_map(|series| &series.points);
        let high = points()
            .map(|point| point.range.map_or(point.y, |range| range.1.max(point.y)))
            .fold(0.0, f64::max);
        let low = points().map(|point| point.range.map_or(point.y, |range| range.0.min(point.y)));
        let low = low.fold(self.from, f64::min);
        let room = if low > 0.0 { ((high - low) * 0.05).max(0.01) } else { 0.0 };
        Axis::rounded(self.label, low - room, high, 6)
    }

    /// Every line to compare with, and its value at each number of users.
    fn compared(&self, groups: &[&Group<'_>]) -> Compared<Dash> {
        let mut lines = Compared::new();
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

    /// Document 1's own figures where its network and file are used: name, form, value at each
    /// number of users.
    fn document_1(&self, summary: &Summary<'_>, groups: &[&Group<'_>]) -> Compared<Marker> {
        let Some(of) = self.document else { return Vec::new() };
        if !published::is_network_of_document_1(&summary.records.header.topology) {
            return Vec::new();
        }
        let kinds = [
            (Model::ClientServer, "document 1, C/S (mean)", Marker::Circle),
            (Model::PeerToPeer, "document 1, P2P (mean)", Marker::Diamond),
        ];
        let values = |model| {
            let alike = groups.iter().filter(|group| group.model == model);
            let value = |group: &&Group<'_>| {
                let mean = published::mean_seconds(model, group.file, group.users)?;
                Some((group.users, of(model, mean, group.bounds?.of(model))?))
            };
            alike.filter_map(value).collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>()
        };
        let kinds = kinds.into_iter().map(|(model, name, marker)| (name, marker, values(model)));
        kinds.filter(|(_, _, values)| !values.is_empty()).collect()
    }

    fn of_users(
        &self,
        summary: &Summary<'_>,
        file: &File,
        groups: &[&Group<'_>],
        users: u32,
    ) -> Figure {
        let mut marks: Vec<Mark> = Vec::new();
        for (row, group) in groups.iter().enumerate() {
            for (name, dash, value) in (self.lines)(group) {
                let at = marks.iter().position(|mark| mark.name == name).unwrap_or_else(|| {
                    let look = bound_look(dash);
                    marks.push(Mark { name: name.to_owned(), look, values: Vec::new() });
                    marks.len() - 1
                });
                marks[at].values.push((row, value));
            }
        }
        let row = |group: &&Group<'_>| {
            let color = look_of(summary.place(group.mode), true).color;
            Some(Row { name: group.mode.to_owned(), value: (self.value)(group)?, color })
        };
        let title = format!("{}, {}", self.title, receivers_of(users));
        let bars = Bars {
            title: title.clone(),
            subtitle: repetitions(groups),
            label: self.label.to_owned(),
            places: self.places,
            rows: groups.iter().filter_map(row).collect(),
            marks,
        };
        Figure {
            name: format!("{}-{}-{users}", self.name, slug(&file.name)),
            caption: format!("{title}: {}.", self.label),
            picture: Picture::Bars(bars),
        }
    }
}

/// When how many receivers were ready, of the largest crowd.
pub(super) fn distribution(summary: &Summary<'_>, file: &File) -> Option<Figure> {
    let groups: Vec<&Group<'_>> =
        summary.of_file(file).filter(|group| group.complete > 0).collect();
    let users = groups.iter().map(|group| group.users).max()?;
    let groups: Vec<&Group<'_>> = groups.into_iter().filter(|group| group.users == users).collect();
    let (mut series, mut legend) = (Vec::new(), Vec::new());
    for group in &groups {
        let look = look_of(summary.place(group.mode), false);
        series.extend(steps(&finishes(group), look));
        legend.push((group.mode.to_owned(), look));
    }
    for (name, look, seconds) in distinct_bounds(&groups) {
        let points = vec![Point::at(seconds, 0.0), Point::at(seconds, 100.0)];
        // Behind the receivers.
        series.insert(0, Series { points, look });
        legend.push((name, look));
    }
    let times = || series.iter().flat_map(|series| &series.points).map(|point| point.x);
    let (first, last) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    let x = Axis::around("time since the start (s)", first, last);
    let title = format!("When receivers have {}: {}", file.name, receivers_of(users));
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
            y: Axis::rounded("receivers that have verified (%)", 0.0, 100.0, 5),
            height: HEIGHT,
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

/// Bounds of time with names and looks that tell them apart: where the number of origins varies,
/// there are several of one model.
fn distinct_bounds(groups: &[&Group<'_>]) -> Vec<(String, Look, f64)> {
    let mut bounds: Vec<(&str, Dash, f64, Vec<&str>)> = Vec::new();
    for group in groups {
        for (name, dash, seconds) in time_bounds(group) {
            let at = bounds.iter().position(|bound| (bound.0, bound.2) == (name, seconds));
            let at = at.unwrap_or_else(|| {
                bounds.push((name, dash, seconds, Vec::new()));
                bounds.len() - 1
            });
            let origins =
                modes::origins_of(group.mode).filter(|origins| !bounds[at].3.contains(origins));
            bounds[at].3.extend(origins);
        }
    }
    let alone = |name: &str| bounds.iter().filter(|bound| bound.0 == name).count() == 1;
    let dashes = [Dash::Long, Dash::Dotted, Dash::LongShort, Dash::Short];
    let named = bounds.iter().enumerate().map(|(place, (name, dash, seconds, origins))| {
        if alone(name) {
            return ((*name).to_owned(), bound_look(*dash), *seconds);
        }
        let of = if origins.is_empty() { format!("{seconds:.1} s") } else { origins.join(" or ") };
        (format!("bound, {of}"), bound_look(dashes[place % dashes.len()]), *seconds)
    });
    named.collect()
}

/// When each receiver of each repetition had finished, ascending.
fn finishes(group: &Group<'_>) -> Vec<f64> {
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

/// A staircase to 100 %, with a point at its end.
fn steps(times: &[f64], look: Look) -> Vec<Series> {
    let share = |count: usize| count as f64 / times.len() as f64 * 100.0;
    let stair = |(before, &time): (usize, &f64)| {
        [Point::at(time, share(before)), Point::at(time, share(before + 1))]
    };
    let line: Vec<Point> = times.iter().enumerate().flat_map(stair).collect();
    let end = line.last().copied().into_iter().collect();
    vec![
        Series { points: line, look: Look { marker: None, ..look } },
        Series { points: end, look: Look { line: None, ..look } },
    ]
}

fn time_bounds(group: &Group<'_>) -> Vec<(&'static str, Dash, f64)> {
    let name = match group.model {
        Model::ClientServer => (CLIENT_SERVER_BOUND, Dash::Dotted),
        Model::PeerToPeer => (PEER_TO_PEER_BOUND, Dash::Long),
    };
    group.bounds.map(|bounds| (name.0, name.1, bounds.of(group.model))).into_iter().collect()
}
