//! The log of `-v`: tracing events on standard error, above the progress bars. Without `-v` and
//! `SOW_LOG` there is no log.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use sow_content::untrusted::printable;
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
        Event::RequestRefused { addr, asked, answer } => {
            tracing::info!(%addr, asked, answer, "request answered with ERROR")
        }
        Event::Complete => tracing::info!("all pieces verified"),
        Event::TrackerFailed { url, error } => tracing::warn!(url, %error, "announce failed"),
        Event::TrackerAnswered { url, peers } => tracing::debug!(url, peers, "tracker answered"),
    }
}

/// An event in one line, escaped except for the colors of the subscriber. It has escaped the ESC of
/// the values, but not everything that can steer a terminal.
fn escaped(event: &str) -> String {
    let mut text = String::with_capacity(event.len());
    for (at, part) in event.split('\u{1b}').enumerate() {
        let end = part.find(|c: char| !matches!(c, '[' | ';' | '0'..='9'));
        let is_color =
            at > 0 && part.starts_with('[') && end.is_some_and(|end| part[end..].starts_with('m'));
        match (at, is_color) {
            (0, _) => {}
            (_, true) => text.push('\u{1b}'),
            (_, false) => text.push_str("\\u{1b}"),
        }
        text.push_str(&printable(part));
    }
    text
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
        // The subscriber writes one event at a time, with a newline at its end.
        let text = String::from_utf8_lossy(bytes);
        self.0.inner.write_stderr(format_args!("{}\n", escaped(text.trim_end_matches('\n'))));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What the subscriber writes for one event.
    fn logged(colors: bool, event: impl FnOnce()) -> String {
        let written = Mutex::new(Vec::new());
        let written = std::sync::Arc::new(written);
        let writer = std::sync::Arc::clone(&written);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(colors)
            .without_time()
            .with_writer(move || Sink(std::sync::Arc::clone(&writer)))
            .finish();
        tracing::subscriber::with_default(subscriber, event);
        let written = written.lock().unwrap();
        String::from_utf8(written.clone()).unwrap()
    }

    struct Sink(std::sync::Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn values_of_log_fields_cannot_steer_the_terminal() {
        let bad = "a\u{1b}[31mRED\u{7}\u{9b}0m\u{202e}\u{2028}\u{200b}\nwarning: fake";
        for colors in [false, true] {
            let log = logged(colors, || {
                tracing::info!(shown = %bad, debugged = ?bad, plain = bad, "event {bad}");
            });
            assert!(log.ends_with('\n'));
            let shown = escaped(log.trim_end_matches('\n'));
            let raw = shown.contains(['\n', '\u{7}', '\u{9b}', '\u{202e}', '\u{2028}', '\u{200b}']);
            assert!(!raw && !shown.contains("\u{1b}[31m"), "{shown:?}");
            assert_eq!(shown.contains('\u{1b}'), colors, "{shown:?}");
        }
    }
}
