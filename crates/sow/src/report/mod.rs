//! What a run shows while it lasts: notes and progress on standard error, the ticket line or JSON
//! events on standard output. It shows what it is given; it decides nothing.

mod dated;
mod json;
mod log;
mod meter;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::Instant,
};

use indicatif::{MultiProgress, ProgressDrawTarget};
use sow_content::path::printable;
use tokio::sync::Notify;

pub(crate) use self::{
    json::{Event, ReceiverState},
    log::{start as start_log, swarm_event as log_swarm_event},
    meter::{Meter, percent},
};
use crate::{args::Output, exit::Failure};

/// The voice of one run. Clones speak with the same voice.
#[derive(Clone)]
pub(crate) struct Report {
    inner: Arc<Inner>,
    /// Which of several downloads it speaks of.
    what: Option<Arc<str>>,
}

struct Inner {
    started: Instant,
    json: bool,
    quiet: bool,
    view: View,
    reader_gone: Notify,
}

/// How progress is shown.
enum View {
    /// Bars that are drawn over, on a terminal.
    Bars(MultiProgress),
    /// A line every few seconds.
    Lines,
    /// Not at all.
    Nothing,
}

impl Report {
    /// The voice that the flags and the terminal ask for.
    pub(crate) fn new(output: &Output) -> Self {
        let drawable = io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let view = match (output.quiet || output.json, drawable) {
            (true, _) => View::Nothing,
            (false, true) => {
                View::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)))
            }
            (false, false) => View::Lines,
        };
        let inner = Inner {
            started: Instant::now(),
            json: output.json,
            quiet: output.quiet,
            view,
            reader_gone: Notify::new(),
        };
        Self { inner: Arc::new(inner), what: None }
    }

    /// The same voice, speaking of one of several downloads: its events carry `what` too.
    pub(crate) fn about(&self, what: &str) -> Self {
        Self { inner: Arc::clone(&self.inner), what: Some(what.into()) }
    }

    /// Whether standard output belongs to JSON events.
    pub(crate) fn is_json(&self) -> bool {
        self.inner.json
    }

    /// Whether progress is drawn over itself on a terminal.
    pub(crate) fn is_drawn(&self) -> bool {
        matches!(self.inner.view, View::Bars(_))
    }

    /// Seconds since the run began.
    pub(crate) fn seconds(&self) -> f64 {
        self.inner.started.elapsed().as_secs_f64()
    }

    /// A line for people. Nothing with `-q`.
    pub(crate) fn note(&self, text: impl fmt::Display) {
        if !self.inner.quiet {
            self.inner.on_stderr(format_args!("{text}\n"));
        }
    }

    /// A line about something that may need a hand. Also with `-q`.
    pub(crate) fn warn(&self, text: impl fmt::Display) {
        self.inner.on_stderr(format_args!("warning: {text}\n"));
    }

    /// The end of what cannot be done: the text for people, and the `error` event for scripts.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.inner.on_stderr(format_args!("{failure}\n"));
        self.event(&Event::Error { code: failure.exit().code(), message: failure.message() });
    }

    /// An event for scripts; nothing without `--json`.
    pub(crate) fn event(&self, event: &Event<'_>) {
        if self.inner.json {
            self.out(json::line(self.seconds(), self.what.as_deref(), event));
        }
    }

    /// A result on standard output, as it is; a newline follows it.
    pub(crate) fn out(&self, text: impl fmt::Display) {
        let mut stdout = io::stdout().lock();
        if writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_err() {
            self.inner.reader_gone.notify_one();
        }
    }

    /// Returns when whoever read our standard output has closed it.
    pub(crate) async fn reader_gone(&self) {
        self.inner.reader_gone.notified().await;
    }

    /// Progress of something: a bar on a terminal, a line every few seconds elsewhere.
    pub(crate) fn meter(&self, label: impl Into<String>) -> Meter {
        match &self.inner.view {
            View::Bars(bars) => Meter::bar(bars, label.into()),
            View::Lines => Meter::lines(self.clone(), label.into()),
            View::Nothing => Meter::nothing(),
        }
    }

    /// A detail under a [`Report::meter`]: on a terminal alone.
    pub(crate) fn row(&self, label: impl Into<String>) -> Meter {
        match &self.inner.view {
            View::Bars(bars) => Meter::bar(bars, label.into()),
            View::Lines | View::Nothing => Meter::nothing(),
        }
    }
}

impl Inner {
    /// Writes lines for people between the bars. Names and reasons come from strangers: what would
    /// steer the terminal is escaped.
    fn on_stderr(&self, text: fmt::Arguments<'_>) {
        let text = text.to_string();
        let lines: Vec<_> = text.split('\n').map(printable).collect();
        self.on_stderr_as_it_is(lines.join("\n").as_bytes());
    }

    /// Writes between the bars. That standard error is closed is no reason to stop.
    fn on_stderr_as_it_is(&self, bytes: &[u8]) {
        let write = || {
            let _ = io::stderr().lock().write_all(bytes);
        };
        match &self.view {
            View::Bars(bars) => bars.suspend(write),
            View::Lines | View::Nothing => write(),
        }
    }
}
