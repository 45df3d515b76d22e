//! Where several shares are shown together: each puts its state here, and all are drawn at once, a
//! few times a second. How they look is [`crate::fleet::shares`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    fleet::{ShareSummary, shares},
    report::{Meter, Panel, Report},
};

/// The minimum interval between two drawings.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// The states of all shares of one run.
pub(crate) struct SharesView {
    kind: Kind,
    started: Instant,
    state: Mutex<State>,
}

enum Kind {
    /// As many shares as fit on a terminal.
    Panel(Panel),
    /// A line every few seconds, or nothing.
    Meter(Meter),
}

#[derive(Default)]
struct State {
    shares: BTreeMap<usize, ShareSummary>,
    /// The number of shares that were ever added.
    added: usize,
    drawn: Option<Instant>,
}

/// The place of one share among all.
pub(crate) struct SharesDisplay {
    view: Arc<SharesView>,
    index: usize,
}

impl SharesView {
    /// No shares yet.
    pub(crate) fn new(report: &Report) -> Arc<Self> {
        let kind = match report.panel() {
            Some(panel) => Kind::Panel(panel),
            None => Kind::Meter(report.meter("sharing")),
        };
        Arc::new(Self { kind, started: Instant::now(), state: Mutex::default() })
    }

    /// A place for another share.
    pub(crate) fn add(self: &Arc<Self>) -> Arc<SharesDisplay> {
        let mut state = self.lock();
        let index = state.added;
        state.added += 1;
        state.shares.insert(index, ShareSummary::default());
        Arc::new(SharesDisplay { view: Arc::clone(self), index })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, all: &[ShareSummary]) {
        let elapsed = self.started.elapsed();
        match &self.kind {
            Kind::Panel(panel) => panel.show(&shares::lines(all, elapsed, Panel::size())),
            Kind::Meter(meter) => {
                let (done, total) = all.iter().fold((0u64, 0u64), |(done, total), share| {
                    let (of_done, of_total) = share.progress;
                    (done.saturating_add(of_done), total.saturating_add(of_total))
                });
                meter.set(done, total, || shares::totals(all, elapsed).join(", "));
            }
        }
    }
}

impl SharesDisplay {
    /// Shows the state of this share.
    pub(super) fn show(&self, summary: ShareSummary) {
        let mut state = self.view.lock();
        state.shares.insert(self.index, summary);
        if state.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_INTERVAL) {
            state.drawn = Some(Instant::now());
            let all: Vec<ShareSummary> = state.shares.values().cloned().collect();
            self.view.draw(&all);
        }
    }
}

impl Drop for SharesDisplay {
    fn drop(&mut self) {
        self.view.lock().shares.remove(&self.index);
    }
}
