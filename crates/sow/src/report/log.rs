//! The log of `-v`: tracing events to standard error, between the progress bars. No log without
//! `-v` or `SOW_LOG`.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use sow_engine::Event;

use super::Report;

/// Starts the log: `-v` for what this program does, `-vv` for details, `-vvv` for its libraries
/// too. `SOW_LOG` sets a filter of its own (`SOW_LOG=sow_engine=trace`).
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
    // It fails when there is one already, which is then the one to use.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Logs what a swarm reports.
pub(crate) fn swarm_event(event: &Event) {
    match event {
        Event::PeerConnected { addr, peer_id, .. } => {
            tracing::info!(%addr, %peer_id, "a peer is there")
        }
        Event::PeerDisconnected { addr, peer_id, reason, .. } => {
            let reason = reason.as_ref().map_or_else(|| "it left".to_owned(), ToString::to_string);
            tracing::info!(%addr, %peer_id, reason, "a peer is gone");
        }
        Event::PeerGivenUp { addr, misbehavior } => {
            tracing::warn!(%addr, %misbehavior, "an address is given up")
        }
        Event::PeerComplete { addr, peer_id } => {
            tracing::info!(%addr, %peer_id, "a peer has everything")
        }
        Event::Metadata(bytes) => {
            tracing::info!(bytes = bytes.len(), "the description of the content is there")
        }
        Event::GeometryLearned { addr, geometry } => {
            let (bytes, chunk) = (geometry.total(), geometry.piece_length());
            tracing::info!(%addr, bytes, chunk, "a server said what it has");
        }
        Event::FileMismatch => {
            tracing::warn!("every chunk was fetched again, and the checksum still does not fit")
        }
        Event::PieceVerified { piece, .. } => {
            tracing::trace!(piece, "a piece is verified and stored")
        }
        Event::PieceCorrupt { piece } => tracing::warn!(piece, "a piece does not verify"),
        Event::IncompleteBuffer { piece } => {
            tracing::error!(piece, "a piece buffer is incomplete; the piece is requested again");
        }
        Event::Banned { addr, piece } => tracing::warn!(%addr, piece, "a peer is banned"),
        Event::RequestRefused { addr, asked, answer } => {
            tracing::info!(%addr, asked, answer, "answered with an ERROR")
        }
        Event::Complete => tracing::info!("everything is verified"),
        Event::TrackerFailed { url, error } => tracing::warn!(url, %error, "a tracker failed"),
        Event::TrackerAnswered { url, peers } => tracing::debug!(url, peers, "a tracker answered"),
    }
}

/// Writes lines where the report writes its own.
struct Lines(Report);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The subscriber escapes what is in its fields; the colours are its own.
        self.0.inner.on_stderr_as_it_is(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
