//! The output of a run: notes and progress on standard error, results or JSON events on standard
//! output. Nothing is decided here.
//!
//! Names, reasons and comments come from other machines, so every text is escaped here, as
//! [`Untrusted`] does it, on its way to either output. A text is one line; what has several lines
//! says so with its method.

mod json_events;
mod log;
mod meter;
mod panel;
mod read_progress;
pub(crate) mod terminal_text;
mod timestamped;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{Arc, OnceLock},
    time::Instant,
};

use indicatif::{MultiProgress, ProgressDrawTarget};
use sow_content::untrusted::Untrusted;
use tokio::sync::Notify;

pub(crate) use self::{
    json_events::{Event, ReceiverState, ShareState},
    log::{start as start_log, swarm_event as log_swarm_event},
    meter::{Meter, percent},
    panel::Panel,
};
use crate::{args::groups::ReportArgs, exit::Failure, stdout};

/// The output of one run. Clones share it.
#[derive(Clone)]
pub(crate) struct Report {
    inner: Arc<Inner>,
    /// The WHAT of one of several downloads, or the PATH of one of several shares, for its events.
    what: Option<Arc<str>>,
}

struct Inner {
    started: Instant,
    json: bool,
    quiet: bool,
    view: View,
    /// Standard output was closed or cannot be written to.
    stdout_ended: Notify,
    /// The first failed write to standard output; a closed pipe is none.
    stdout_failure: OnceLock<Failure>,
}

/// How progress is displayed.
enum View {
    /// Bars on a terminal.
    Bars(MultiProgress),
    /// A line every few seconds.
    Lines,
    /// Not at all.
    Nothing,
}

impl Report {
    /// The output that the options and the terminal call for.
    pub(crate) fn new(args: &ReportArgs) -> Self {
        let drawable = io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let view = match (args.quiet || args.json, drawable) {
            (true, _) => View::Nothing,
            (false, true) => {
                View::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)))
            }
            (false, false) => View::Lines,
        };
        let inner = Inner {
            started: Instant::now(),
            json: args.json,
            quiet: args.quiet,
            view,
            stdout_ended: Notify::new(),
            stdout_failure: OnceLock::new(),
        };
        Self { inner: Arc::new(inner), what: None }
    }

    /// The same output for one of several downloads or shares: its events have the field `what`
    /// too.
    pub(crate) fn for_part(&self, what: &str) -> Self {
        Self { inner: Arc::clone(&self.inner), what: Some(what.into()) }
    }

    /// Whether standard output carries JSON events.
    pub(crate) fn is_json(&self) -> bool {
        self.inner.json
    }

    /// Seconds since the start of the run.
    pub(crate) fn seconds(&self) -> f64 {
        self.inner.started.elapsed().as_secs_f64()
    }

    /// A line on standard error. Omitted with `-q`.
    pub(crate) fn note(&self, line: impl fmt::Display) {
        if !self.inner.quiet {
            self.inner.write_stderr(format_args!("{}\n", Untrusted(line)));
        }
    }

    /// A warning. Printed also with `-q`.
    pub(crate) fn warn(&self, line: impl fmt::Display) {
        self.inner.write_stderr(format_args!("warning: {}\n", Untrusted(line)));
    }

    /// A failure: its text, and the `error` event for scripts.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.inner.write_stderr(format_args!("{failure}\n"));
        self.event(&Event::Error {
            code: failure.exit().code(),
            message: &failure.whole_message(),
        });
    }

    /// An event for scripts. Omitted without `--json`.
    pub(crate) fn event(&self, event: &Event<'_>) {
        if self.inner.json {
            self.out_json(&json_events::line(self.seconds(), self.what.as_deref(), event));
        }
    }

    /// A line on standard output: a result.
    pub(crate) fn out(&self, line: impl fmt::Display) {
        self.write_stdout(Untrusted(line));
    }

    /// A result of several lines. The newlines are the caller's own, who has escaped the foreign
    /// text in the lines; the rest is escaped here.
    pub(crate) fn out_lines(&self, text: &str) {
        text.trim_end().split('\n').for_each(|line| self.out(line));
    }

    /// A result in JSON. Its strings are escaped by JSON, except for the characters beyond ASCII.
    pub(crate) fn out_json(&self, json: &str) {
        self.write_stdout(json_events::ascii_controls(json));
    }

    /// A text of this program itself, which contains nothing from elsewhere, as it is.
    pub(crate) fn out_own_text(&self, text: &str) {
        self.write_stdout(text.trim_end());
    }

    /// Text on standard output, followed by a newline.
    fn write_stdout(&self, text: impl fmt::Display) {
        if let Err(error) = stdout::try_write(format!("{text}\n").as_bytes()) {
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.inner.stdout_failure.get_or_init(|| stdout::failure(&error));
            }
            self.inner.stdout_ended.notify_one();
        }
    }

    /// Returns when standard output is closed or cannot be written to.
    pub(crate) async fn stdout_ended(&self) {
        self.inner.stdout_ended.notified().await;
    }

    /// Why results could not be written to standard output. A reader that has closed it is no
    /// failure.
    pub(crate) fn stdout_failure(&self) -> Option<Failure> {
        self.inner.stdout_failure.get().cloned()
    }

    /// A progress display: a bar on a terminal, a line every few seconds elsewhere.
    pub(crate) fn meter(&self, label: impl Into<String>) -> Meter {
        match &self.inner.view {
            View::Bars(bars) => Meter::bar(Panel::new(bars), label.into()),
            View::Lines => Meter::lines(self.clone(), label.into()),
            View::Nothing => Meter::nothing(),
        }
    }

    /// A detail below a [`Report::meter`]: a bar on a terminal, nothing elsewhere.
    pub(crate) fn row(&self, label: impl Into<String>) -> Meter {
        match &self.inner.view {
            View::Bars(bars) => Meter::bar(Panel::new(bars), label.into()),
            View::Lines | View::Nothing => Meter::nothing(),
        }
    }

    /// Lines at the bottom of the terminal; `None` where none can be replaced.
    pub(crate) fn panel(&self) -> Option<Panel> {
        match &self.inner.view {
            View::Bars(bars) => Some(Panel::new(bars)),
            View::Lines | View::Nothing => None,
        }
    }
}

impl Inner {
    /// Writes lines, already escaped, above the bars. A closed standard error is ignored.
    fn write_stderr(&self, text: fmt::Arguments<'_>) {
        let text = text.to_string();
        let write = || {
            let _ = io::stderr().lock().write_all(text.as_bytes());
        };
        match &self.view {
            View::Bars(bars) => bars.suspend(write),
            View::Lines | View::Nothing => write(),
        }
    }
}
