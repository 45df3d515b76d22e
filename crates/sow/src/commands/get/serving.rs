//! Serving a complete download to others: for a given time, or while a peer needs it.

use std::time::Duration;

use sow_content::untrusted::printable;
use sow_node::SwarmEvent;
use tokio::time::{Instant, sleep};

use super::download::{Download, report_event};
use crate::{exit::Failure, quantity::Span};

/// The longest time to seed: longer than any run; `sleep` cannot take `Duration::MAX`.
const MAX_SEED_TIME: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Download<'_> {
    /// Serves the complete target, needed or not, until the run is to stop or the time is over.
    pub(super) async fn serve_for(&mut self, time: Duration) -> Result<(), Failure> {
        if time.is_zero() {
            return Ok(());
        }
        if time < MAX_SEED_TIME {
            self.report.note(format_args!("serving it for {}", Span(time)));
        } else {
            self.report.note("serving it until this is stopped");
        }
        let end = sleep(time.min(MAX_SEED_TIME));
        tokio::pin!(end);
        let mut is_outage = false;
        loop {
            tokio::select! {
                event = self.events.recv() => {
                    self.handle_event(event)?;
                    self.report_tracker_outage(&mut is_outage);
                }
                Ok(()) = self.status.changed() => {
                    let status = self.status.borrow_and_update().clone();
                    self.view.show_seeding(&status);
                }
                () = &mut end => break,
                () = self.context.stop.requested() => break,
            }
        }
        self.view.on_served(&self.swarm.current_status().await);
        Ok(())
    }

    /// Warns when all trackers fail, and reports when one answers again.
    fn report_tracker_outage(&self, is_outage: &mut bool) {
        let errors = self.reachability.borrow().tracker_errors(&self.source);
        match errors {
            Some(errors) if !*is_outage => {
                let errors = printable(&errors);
                self.report.warn(format_args!(
                    "no tracker answers, so peers cannot find this machine ({errors}); retrying"
                ));
            }
            None if *is_outage => {
                self.report.note("a tracker answers: peers can find this machine")
            }
            _ => return,
        }
        *is_outage = !*is_outage;
    }

    /// Serves peers that still need the content, for at most a time.
    pub(super) async fn serve_others(&mut self, time: Duration) {
        let until = Instant::now() + time;
        let context = self.context;
        let served = async {
            let mut idle_updates = 0;
            // There are four status updates a second. A peer that has just become complete may be
            // counted as such only in the second update.
            while idle_updates < 2 && self.status.changed().await.is_ok() {
                while let Ok(event) = self.events.try_recv() {
                    if let SwarmEvent::Engine(event) = event {
                        report_event(self.report, &mut self.warnings, &event);
                        self.contact.on_event(&event);
                    }
                }
                let status = self.status.borrow_and_update().clone();
                idle_updates = if status.others_need { 0 } else { idle_updates + 1 };
                self.view.show_serving(&status, until.saturating_duration_since(Instant::now()));
            }
        };
        tokio::select! {
            () = served => {}
            () = sleep(time) => {}
            // The download is complete, so this is not an interruption.
            () = context.stop.requested() => {}
        }
        self.view.on_served(&self.swarm.current_status().await);
    }
}
