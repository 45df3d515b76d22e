//! The log of `-v`: tracing events on standard error, above the progress bars. Without `-v` and
//! `SOW_LOG` there is no log.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

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
        // The subscriber has escaped the values of fields.
        self.0.inner.write_stderr_unescaped(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
