//! Figures about the hosts of one run: throughput over time, and the bytes between each pair of
//! hosts.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    axis::Axis,
    canvas::{Color, Dash},
    chart::{Chart, Panel, Point, Series},
    figure::{Figure, Picture},
    file_names::slug,
    labels::{natural_key, receivers_label},
    matrix::Matrix,
    mode_order,
    style::{SeriesStyle, numbered_style},
    summary::{Group, Spread, Summary},
};
use crate::record::{Host, Run, SeriesPoint};

/// The limit of receivers with styles of their own. More are drawn in one style, with their median.
const MAX_DISTINCT_RECEIVERS: usize = 6;
/// The same for origins, which differ in their dashes.
const MAX_DISTINCT_ORIGINS: usize = 3;
/// The limit of receivers in a matrix. Of more, the cells could not be told apart.
const MAX_MATRIX_RECEIVERS: usize = 250;
/// The limit of link rates that are drawn. If there are more, none is drawn.
const MAX_LINK_RATES: usize = 3;
/// The limit of steps over the duration of a run.
const MAX_TIME_STEPS: f64 = 60.0;
/// The height of a panel in pixels.
const PANEL_HEIGHT: f64 = 150.0;

/// Selects one counter of a sample.
type Counter = fn(&SeriesPoint) -> u64;

/// Throughput of every host over the time of the typical run. `None` without samples.
pub(super) fn throughput(summary: &Summary<'_>, group: &Group<'_>) -> Option<Figure> {
    let run = group.typical()?;
    let series = summary.records.series.get(&run.run)?;
    let end = run.staying().filter_map(|receiver| receiver.finished_seconds).fold(0.0, f64::max);
    if end <= 0.0 || series.values().all(|points| points.len() < 2) {
        return None;
    }
    let hosts = Hosts::of(run, series);
    let links = &summary.records.header.topology.hosts;
    let labels = &summary.records.labels;
    let up = Counted {
        label: labels.axis("sent"),
        counter: |point| point.up_bytes,
        limits: hosts.limits(links, end, |point| point.up_bytes, |host| host.up_bits_per_second),
    };
    let down = Counted {
        label: labels.axis("received"),
        counter: |point| point.down_bytes,
        limits: hosts.limits(
            links,
            end,
            |point| point.down_bytes,
            |host| host.down_bits_per_second,
        ),
    };
    let mut legend = hosts.legend();
    match up.limits.len().max(down.limits.len()) {
        0 => {}
        1 => legend.push(("rate of the link".into(), LINK_RATE_STYLE)),
        _ => legend.push(("rates of links".into(), LINK_RATE_STYLE)),
    }
    let (up, down) = (hosts.panel(&up, end), hosts.panel(&down, end));
    let title = labels.title("throughput", &group.file.name, &group.name);
    let chart = Chart {
        title: title.clone(),
        subtitle: run_label(group, run),
        x: Axis::rounded(labels.axis("time"), 0.0, end, 8),
        dividers: Vec::new(),
        panels: vec![up, down],
        legend,
    };
    Some(Figure {
        name: format!(
            "throughput-{}-{}",
            slug(&group.file.name),
            slug(&mode_order::plain(group.mode))
        ),
        caption: format!(
            "{title}. On the wire, at each host's interface, {}.",
            run_label(group, run)
        ),
        picture: Picture::Chart(chart),
    })
}

const LINK_RATE_STYLE: SeriesStyle =
    SeriesStyle { color: Color::Muted, line: Some((1.2, Dash::Dotted)), marker: None };
const RECEIVER_STYLE: SeriesStyle =
    SeriesStyle { color: Color::Series(5), line: Some((0.8, Dash::Solid)), marker: None };
const RECEIVER_MEDIAN_STYLE: SeriesStyle =
    SeriesStyle { color: Color::Series(0), line: Some((2.2, Dash::Solid)), marker: None };

const ORIGIN_STYLE: SeriesStyle =
    SeriesStyle { color: Color::Muted, line: Some((0.8, Dash::Solid)), marker: None };
const ORIGIN_MEDIAN_STYLE: SeriesStyle =
    SeriesStyle { color: Color::Ink, line: Some((2.2, Dash::Solid)), marker: None };

/// The content of a panel.
struct Counted<'a> {
    label: &'a str,
    counter: Counter,
    /// Rates of links in Mbit/s.
    limits: Vec<f64>,
}

/// The hosts of a run that have samples, origins first.
struct Hosts<'a> {
    origins: Vec<(&'a str, &'a [SeriesPoint])>,
    receivers: Vec<(&'a str, &'a [SeriesPoint])>,
}

impl<'a> Hosts<'a> {
    fn of(run: &'a Run, series: &'a BTreeMap<String, Vec<SeriesPoint>>) -> Self {
        let find = |host: &'a str| series.get(host).map(|points| (host, points.as_slice()));
        let mut receivers: Vec<_> =
            run.receivers.iter().filter_map(|receiver| find(&receiver.host)).collect();
        receivers.sort_by_key(|(host, _)| natural_key(host));
        Self {
            origins: run.origins.iter().filter_map(|origin| find(&origin.host)).collect(),
            receivers,
        }
    }

    fn has_distinct_receivers(&self) -> bool {
        self.receivers.len() <= MAX_DISTINCT_RECEIVERS
    }

    fn has_distinct_origins(&self) -> bool {
        self.origins.len() <= MAX_DISTINCT_ORIGINS
    }

    fn panel(&self, counted: &Counted<'_>, end: f64) -> Panel {
        let of = |hosts: &[(&str, &[SeriesPoint])]| -> Vec<Vec<Point>> {
            hosts.iter().map(|(_, points)| rates(points, end, counted.counter)).collect()
        };
        let (receivers, origins) = (of(&self.receivers), of(&self.origins));
        let medians = [
            (!self.has_distinct_receivers())
                .then(|| Series { points: median(&receivers), style: RECEIVER_MEDIAN_STYLE }),
            (!self.has_distinct_origins())
                .then(|| Series { points: median(&origins), style: ORIGIN_MEDIAN_STYLE }),
        ];
        let styles = (0..receivers.len()).map(|index| self.receiver_style(index));
        let styles = styles.chain((0..origins.len()).map(|index| self.origin_style(index)));
        let lines = receivers.into_iter().chain(origins).zip(styles);
        let mut series: Vec<Series> =
            lines.map(|(points, style)| Series { points, style }).collect();
        // Thin lines are drawn behind their medians.
        series.sort_by_key(|series| series.style != RECEIVER_STYLE && series.style != ORIGIN_STYLE);
        series.extend(medians.into_iter().flatten());
        let max = series
            .iter()
            .flat_map(|series| &series.points)
            .map(|point| point.y)
            .fold(0.0, f64::max);
        let y = Axis::rounded(
            counted.label,
            0.0,
            counted.limits.iter().copied().fold(max, f64::max),
            6,
        );
        series.extend(counted.limits.iter().map(|&limit| Series {
            points: vec![Point::at(0.0, limit), Point::at(f64::MAX, limit)],
            style: LINK_RATE_STYLE,
        }));
        Panel { y, height: PANEL_HEIGHT, series }
    }

    /// The rates of links in one direction in Mbit/s, ascending; empty if there are too many. If
    /// the rates differ, only those of hosts that used a tenth of their rate at some time: the
    /// others would be far above all lines.
    fn limits(
        &self,
        links: &[Host],
        end: f64,
        counter: Counter,
        rate: fn(&Host) -> Option<u64>,
    ) -> Vec<f64> {
        let rate_of =
            |name: &str| Some(rate(links.iter().find(|host| host.name == name)?)? as f64 / 1e6);
        let all = self.origins.iter().chain(&self.receivers);
        let all: Option<Vec<_>> =
            all.map(|(name, points)| Some((rate_of(name)?, *points))).collect();
        // A host without a limit can exceed every line, so no line is drawn then.
        let all = all.unwrap_or_default();
        let same = all.windows(2).all(|pair| pair[0].0 == pair[1].0);
        let is_used = |limit: f64, points: &[SeriesPoint]| {
            rates(points, end, counter).iter().any(|point| point.y >= limit / 10.0)
        };
        let mut limits: Vec<f64> = all
            .into_iter()
            .filter(|(limit, points)| same || is_used(*limit, points))
            .map(|host| host.0)
            .collect();
        limits.sort_by(f64::total_cmp);
        limits.dedup();
        if limits.len() > MAX_LINK_RATES { Vec::new() } else { limits }
    }

    fn origin_style(&self, index: usize) -> SeriesStyle {
        if !self.has_distinct_origins() {
            return ORIGIN_STYLE;
        }
        let dash = [Dash::Solid, Dash::Long, Dash::Short][index % MAX_DISTINCT_ORIGINS];
        SeriesStyle { color: Color::Ink, line: Some((2.0, dash)), marker: None }
    }

    fn receiver_style(&self, index: usize) -> SeriesStyle {
        if self.has_distinct_receivers() {
            SeriesStyle { marker: None, ..numbered_style(index, 0) }
        } else {
            RECEIVER_STYLE
        }
    }

    fn legend(&self) -> Vec<(String, SeriesStyle)> {
        let origins = self.origins.iter().enumerate();
        let mut legend: Vec<_> = origins
            .map(|(index, (host, _))| (format!("{host} (origin)"), self.origin_style(index)))
            .collect();
        if !self.has_distinct_origins() {
            legend = vec![
                (format!("{} origins", self.origins.len()), ORIGIN_STYLE),
                ("median of origins".into(), ORIGIN_MEDIAN_STYLE),
            ];
        }
        if self.has_distinct_receivers() {
            let receivers = self.receivers.iter().enumerate();
            legend.extend(
                receivers
                    .map(|(index, (host, _))| ((*host).to_owned(), self.receiver_style(index))),
            );
        } else {
            legend.push((format!("{} receivers", self.receivers.len()), RECEIVER_STYLE));
            legend.push(("median of receivers".into(), RECEIVER_MEDIAN_STYLE));
        }
        legend
    }
}

/// The rate in Mbit/s in equal steps of time, from counters at arbitrary times.
fn rates(points: &[SeriesPoint], end: f64, counter: Counter) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    // Steps shorter than the sampling interval would show the sampling and not the traffic.
    let between = (last.t - first.t) / points.len().saturating_sub(1).max(1) as f64;
    let steps = (end / (end / MAX_TIME_STEPS).max(2.0 * between)).floor().clamp(1.0, MAX_TIME_STEPS)
        as usize;
    let step = end / steps as f64;
    let counted: Vec<f64> =
        (0..=steps).map(|index| bytes_at(points, index as f64 * step, counter)).collect();
    let rate = |pair: &[f64]| (pair[1] - pair[0]).max(0.0) * 8.0 / 1e6 / step;
    counted
        .windows(2)
        .enumerate()
        .map(|(index, pair)| Point::at((index as f64 + 0.5) * step, rate(pair)))
        .collect()
}

/// The counter at a time, interpolated between two samples; it is zero at the start.
fn bytes_at(points: &[SeriesPoint], t: f64, counter: Counter) -> f64 {
    let after = points.partition_point(|point| point.t < t);
    let value = |point: &SeriesPoint| counter(point) as f64;
    let (t0, v0) = after
        .checked_sub(1)
        .map_or((0.0, 0.0), |before| (points[before].t, value(&points[before])));
    match points.get(after) {
        None => v0,
        Some(next) if next.t <= t0 => value(next),
        Some(next) => v0 + (value(next) - v0) * (t - t0) / (next.t - t0),
    }
}

/// The median of lines at each step. Lines with other steps are left out.
fn median(lines: &[Vec<Point>]) -> Vec<Point> {
    let Some(first) = lines.iter().max_by_key(|line| line.len()) else { return Vec::new() };
    let same_steps: Vec<&Vec<Point>> =
        lines.iter().filter(|line| line.len() == first.len()).collect();
    let middle = |index: usize| {
        Spread::of(same_steps.iter().map(|line| line[index].y)).map(|spread| spread.median)
    };
    (0..first.len()).filter_map(|index| Some(Point::at(first[index].x, middle(index)?))).collect()
}

/// The bytes between each pair of hosts in the typical run. `None` if the sources are unknown or
/// there is only one.
pub(super) fn shares(summary: &Summary<'_>, group: &Group<'_>) -> Option<Figure> {
    let run = group.typical().filter(|run| run.receivers.len() <= MAX_MATRIX_RECEIVERS)?;
    let mut rows: Vec<&str> = run.origins.iter().map(|origin| origin.host.as_str()).collect();
    let mut others: Vec<&str> =
        run.receivers.iter().map(|receiver| receiver.host.as_str()).collect();
    others.extend(
        run.receivers.iter().flat_map(|receiver| receiver.from_bytes.keys().map(String::as_str)),
    );
    others.sort_by_key(|host| natural_key(host));
    let sources: BTreeSet<&String> =
        run.receivers.iter().flat_map(|receiver| receiver.from_bytes.keys()).collect();
    // The rows are the origins and, if any receiver uploaded, all receivers.
    let from_peers =
        |host: &&str| run.receivers.iter().any(|receiver| receiver.from_bytes.contains_key(*host));
    let peers_gave = others.iter().any(|host| !rows.contains(host) && from_peers(host));
    for host in others {
        if !rows.contains(&host) && peers_gave {
            rows.push(host);
        }
    }
    if sources.len() < 2 {
        return None;
    }
    let mut receivers: Vec<_> = run.receivers.iter().collect();
    receivers.sort_by_key(|receiver| natural_key(&receiver.host));
    let cell = |from: &str, receiver: &crate::record::Receiver| {
        let bytes = receiver.from_bytes.get(from).copied().unwrap_or_default();
        (from != receiver.host).then_some(bytes as f64 / run.file.bytes as f64 * 100.0)
    };
    let labels = &summary.records.labels;
    let title = labels.title("shares", &group.file.name, &group.name);
    let matrix = Matrix {
        title: title.clone(),
        subtitle: run_label(group, run),
        row_label: labels.axis("from").into(),
        column_label: labels.axis("to").into(),
        unit: labels.axis("share").into(),
        values: rows
            .iter()
            .map(|from| receivers.iter().map(|receiver| cell(from, receiver)).collect())
            .collect(),
        rows: rows
            .iter()
            .map(|host| {
                let is_origin = run.origins.iter().any(|origin| origin.host == *host);
                if is_origin { format!("{host} (origin)") } else { (*host).to_owned() }
            })
            .collect(),
        columns: receivers.iter().map(|receiver| receiver.host.clone()).collect(),
    };
    Some(Figure {
        name: format!("shares-{}-{}", slug(&group.file.name), slug(&mode_order::plain(group.mode))),
        caption: format!("{title}, in per cent of the file, {}.", run_label(group, run)),
        picture: Picture::Matrix(matrix),
    })
}

/// The number of receivers and of the run, for captions.
fn run_label(group: &Group<'_>, run: &Run) -> String {
    let of = if group.complete > 1 { ", the median of its repetitions" } else { "" };
    format!("{}, run {}{of}", receivers_label(group.users), run.run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(samples: &[(f64, u64)]) -> Vec<SeriesPoint> {
        samples
            .iter()
            .map(|&(t, bytes)| SeriesPoint { t, up_bytes: bytes, down_bytes: 0 })
            .collect()
    }

    #[test]
    fn counters_are_interpolated_between_samples() {
        let series = points(&[(1.0, 100), (3.0, 300), (3.0, 400), (4.0, 400)]);
        let at = |t| bytes_at(&series, t, |point| point.up_bytes);
        assert_eq!(
            [at(0.0), at(0.5), at(1.0), at(2.0), at(3.5), at(9.0)],
            [0.0, 50.0, 100.0, 200.0, 400.0, 400.0]
        );
        assert_eq!(bytes_at(&[], 1.0, |point| point.up_bytes), 0.0);
    }

    #[test]
    fn a_steady_link_is_a_level_line() {
        let samples: Vec<(f64, u64)> =
            (0..=100).map(|index| (f64::from(index) * 0.1, index as u64 * 125_000)).collect();
        let line = rates(&points(&samples), 10.0, |point| point.up_bytes);
        assert_eq!(line.len(), 50);
        assert!(line.iter().all(|point| (point.y - 10.0).abs() < 1e-6), "{line:?}");
        assert!(rates(&[], 10.0, |point| point.up_bytes).is_empty());
        assert_eq!(rates(&points(&samples[..1]), 10.0, |point| point.up_bytes).len(), 60);
    }
}
