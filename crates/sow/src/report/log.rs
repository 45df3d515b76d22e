//! The log of `-v`: tracing events on standard error, above the progress bars. Without `-v` and
//! `SOW_LOG` there is no log.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::{
    EnvFilter,
    field::MakeExt as _,
    fmt::{FormatFields, MakeWriter, format::debug_fn},
};

use sow_content::untrusted::Untrusted;
use sow_engine::Event;

use super::Report;

/// Starts the log: `-v` shows information, `-vv` debug messages, `-vvv` everything. `SOW_LOG` sets
/// a filter instead (`SOW_LOG=sow_engine=trace`).
pub(crate) fn start(verbose: u8, report: &Report) {
    let directives = match verbose {
        0 => "off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("SOW_LOG").unwrap_or_else(|_| EnvFilter::new(directives));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .fmt_fields(escaped_fields())
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal() && !plain)
        .with_writer(Lines(report.clone()))
        .finish();
    // This fails if a subscriber exists already; then that one is used.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Logs an event of a swarm.
pub(crate) fn swarm_event(event: &Event) {
    match event {
        Event::PeerConnected { addr, peer_id, .. } => {
            tracing::info!(%addr, %peer_id, "peer connected")
        }
        Event::PeerDisconnected { addr, peer_id, reason, .. } => {
            let reason = reason
                .as_ref()
                .map_or_else(|| "closed by the peer".to_owned(), ToString::to_string);
            tracing::info!(%addr, %peer_id, reason, "peer disconnected");
        }
        Event::PeerGivenUp { addr, misbehavior } => {
            tracing::warn!(%addr, %misbehavior, "address given up")
        }
        Event::PeerComplete { addr, peer_id } => {
            tracing::info!(%addr, %peer_id, "peer is complete")
        }
        Event::Metadata(bytes) => {
            tracing::info!(bytes = bytes.len(), "metadata received")
        }
        Event::GeometryLearned { addr, geometry } => {
            let (bytes, chunk) = (geometry.total(), geometry.piece_length());
            tracing::info!(%addr, bytes, chunk, "server announced its file");
        }
        Event::FileMismatch => {
            tracing::warn!("checksum mismatch after every chunk was downloaded again")
        }
        Event::PieceVerified { piece, .. } => {
            tracing::trace!(piece, "piece verified and stored")
        }
        Event::IncompleteBuffer { piece } => {
            tracing::error!(piece, "a piece buffer is incomplete; the piece is requested again");
        }
        Event::PieceCorrupt { piece } => tracing::warn!(piece, "piece does not verify"),
        Event::Banned { addr, piece } => tracing::warn!(%addr, piece, "peer banned"),
        Event::OriginWithdrew { addr, reason } => {
            tracing::warn!(%addr, reason, "the origin no longer has the content")
        }
        Event::ReceiverReported { addr, report, .. } => {
            tracing::info!(%addr, copy = %report.copy, name = ?report.name, state = ?report.state,
                "receiver reported");
        }
        Event::CopyReported { addr, state } => {
            tracing::info!(%addr, ?state, "reported to the origin");
        }
        Event::RequestRefused { addr, asked, answer } => {
            tracing::info!(%addr, asked, answer, "request answered with ERROR")
        }
        Event::Complete => tracing::info!("all pieces verified"),
        Event::TrackerFailed { url, error } => tracing::warn!(url, %error, "announce failed"),
        Event::TrackerAnswered { url, peers, warning } => {
            tracing::debug!(url, peers, warning, "tracker answered")
        }
    }
}

/// Writes the fields of an event, escaped. The subscriber itself passes on the control characters
/// of values that are logged with `%`.
fn escaped_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", Untrusted(format_args!("{value:?}"))),
        name => write!(writer, "{name}={}", Untrusted(format_args!("{value:?}"))),
    })
    .delimited(" ")
}

/// Writes log lines through the report.
struct Lines(Report);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The fields are escaped; what is left are the newline and the colors of the subscriber.
        self.0.inner.write_stderr(format_args!("{}", String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written for one event.
    fn logged(colors: bool, event: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(escaped_fields())
            .with_ansi(colors)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, event);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn values_of_log_fields_cannot_steer_the_terminal() {
        let bad = "a\u{1b}[31mRED\u{7}\u{9b}0m\u{202e}\u{2028}\u{200b}\nwarning: fake";
        for colors in [false, true] {
            let log = logged(colors, || {
                tracing::info!(shown = %bad, debugged = ?bad, plain = bad, count = 3, "{bad}");
            });
            let line = log.strip_suffix('\n').unwrap();
            let raw = ['\n', '\u{7}', '\u{9b}', '\u{202e}', '\u{2028}', '\u{200b}'];
            assert!(!line.contains(raw) && !line.contains("\u{1b}[31m"), "{line:?}");
            assert!(
                line.ends_with(" count=3") && line.contains(r" shown=a\u{1b}[31mRED"),
                "{line:?}"
            );
            assert_eq!(line.contains('\u{1b}'), colors, "{line:?}");
        }
    }
}
