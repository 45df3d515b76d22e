//! `/metrics`: counters and gauges for Prometheus, in OpenMetrics or in the older text format, as
//! the client accepts. The number of series is bounded: none is for a single receiver.

use std::fmt;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use super::{
    board::{Board, Counts},
    process::ProcessStats,
    state::Web,
    wall_clock::unix_time,
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The states of receivers. Each has a series, so that it does not appear later.
const RECEIVER_STATES: [&str; 5] = ["connected", "complete", "gone", "failed", "missing"];

/// Answers `/metrics`.
pub(super) async fn answer(State(web): State<Web>, headers: HeaderMap) -> Response {
    web.0.requests.metrics.inc();
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let text = web.0.metrics.get(|| Bytes::from(web.metrics()));
    let (kind, text) = match is_open {
        true => (OPEN_METRICS, text),
        false => (TEXT, Bytes::from(text_format(&String::from_utf8_lossy(&text)))),
    };
    let head = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    let vary = [(header::VARY, "accept")];
    (head, vary, text).into_response()
}

impl Collector for Web {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        let build = out.0.encode_descriptor("sow_build", "The program", None, MetricType::Info)?;
        version.encode(build)?;
        self.encode_shares(&mut out)?;
        let requests = &self.0.requests;
        out.counters(
            "sow_http_requests",
            "Requests over HTTP by what they were for",
            None,
            "for",
            &[
                ("events", requests.events.get()),
                ("healthz", requests.health.get()),
                ("metrics", requests.metrics.get()),
                ("status", requests.status.get()),
            ],
        )?;
        let watchers = self.0.watchers.taken() as u64;
        out.gauge("sow_http_watchers", "Pages that are updated", None, watchers)?;
        self.encode_process(&mut out)
    }
}

impl Web {
    /// All metrics in OpenMetrics.
    fn metrics(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string does not fail");
        text
    }

    fn encode_shares(&self, out: &mut Out<'_>) -> fmt::Result {
        let boards = self.boards();
        let sum = |number: &dyn Fn(&Board) -> u64| boards.iter().map(|board| number(board)).sum();
        let counts: Vec<Counts> = boards.iter().map(|board| board.counts()).collect();
        let in_state = |state: &'static str| {
            (state, counts.iter().map(|counts| counts.in_state(state) as u64).sum())
        };
        let right = boards.iter().filter(|board| board.reason().is_none()).count();
        let bytes = Some(&Unit::Bytes);
        out.gauge("sow_shares", "Files and folders that are shared", None, boards.len() as u64)?;
        out.gauge(
            "sow_shares_available",
            "Shares whose files are still what was hashed",
            None,
            right as u64,
        )?;
        let content = sum(&|board| board.info().length);
        out.gauge("sow_content", "The size of all shares", bytes, content)?;
        out.gauges(
            "sow_receivers",
            "Receivers by their state",
            "state",
            &RECEIVER_STATES.map(in_state),
        )?;
        let expected = sum(&|board| board.info().expected.unwrap_or(0) as u64);
        out.gauge("sow_receivers_expected", "Receivers that are waited for", None, expected)?;
        out.gauge(
            "sow_receivers_verified",
            "What all receivers have verified",
            bytes,
            counts.iter().map(|counts| counts.bytes).sum::<u64>(),
        )?;
        let peers = sum(&|board| board.totals().peers as u64);
        out.gauge("sow_peers", "Connected peers", None, peers)?;
        out.counters(
            "sow_sent",
            "Content that was sent, by protocol",
            bytes,
            "protocol",
            &[
                ("http", sum(&|board| board.info().download.usage().1)),
                ("swarm", sum(&|board| board.totals().sent)),
            ],
        )?;
        let downloads = sum(&|board| board.info().download.usage().0 as u64);
        out.gauge("sow_http_downloads", "Downloads over HTTP in progress", None, downloads)
    }

    fn encode_process(&self, out: &mut Out<'_>) -> fmt::Result {
        let start = unix_time().saturating_sub(self.0.started.elapsed()).as_secs_f64();
        let seconds = Some(&Unit::Seconds);
        out.gauge("process_start_time", "When sow began to listen, as Unix time", seconds, start)?;
        let Some(stats) = ProcessStats::now() else { return Ok(()) };
        let cpu = ConstCounter::new(stats.cpu.as_secs_f64());
        let help = "Processor time of this process";
        cpu.encode(out.0.encode_descriptor("process_cpu", help, seconds, MetricType::Counter)?)?;
        let bytes = Some(&Unit::Bytes);
        out.gauge("process_resident_memory", "Memory in use", bytes, stats.resident)?;
        out.gauge("process_open_fds", "Open files and sockets", None, stats.open_files)
    }
}

/// Writes metrics.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge<N>(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: N) -> fmt::Result
    where
        N: prometheus_client::encoding::EncodeGaugeValue,
    {
        let metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, number) in values {
            let labels = [(label, *value)];
            ConstGauge::new(*number).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (value, number) in values {
            let labels = [(label, *value)];
            ConstCounter::new(*number).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// OpenMetrics as the text format of Prometheus: there the name of a family is that of its series,
/// there are no units, and information is a gauge.
fn text_format(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.rsplit_once(' ').unwrap_or((family, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let description = help.take().and_then(|line| line.splitn(4, ' ').nth(3));
            if let Some(description) = description {
                text.push_str(&format!("# HELP {name}{suffix} {description}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_have_the_same_series() {
        let open = Web::new().metrics();
        let text = text_format(&open);
        let series = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(series(&open), series(&text));
        assert!(open.ends_with("# EOF\n") && !text.contains("# EOF"), "{open}");
        assert!(open.contains("# TYPE sow_sent_bytes counter\n"), "{open}");
        assert!(text.contains("# TYPE sow_sent_bytes_total counter\n"), "{text}");
        assert!(text.contains("# HELP sow_sent_bytes_total Content that was sent"), "{text}");
        assert!(text.contains("sow_sent_bytes_total{protocol=\"swarm\"} 0\n"), "{text}");
        assert!(text.contains("# TYPE sow_build_info gauge\n"), "{text}");
        assert!(text.contains("sow_receivers{state=\"complete\"} 0\n"), "{text}");
        assert!(series(&text).len() < 40, "the number of series is bounded");
    }
}
