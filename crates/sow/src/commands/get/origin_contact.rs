//! What a download tells its origin: which copy it makes, and what became of it. The engine decides
//! which peers are told.

use sow_engine::Event;
use sow_node::Swarm;
use sow_wire::bittorrent::{CopyId, CopyState, ReceiverReport};

use crate::{
    copy_identity::{copy_id, host_name},
    target::Target,
};

/// The copy of one download, and what its origin knows of it.
pub(super) struct OriginContact<'a> {
    swarm: &'a Swarm,
    /// The name by which this machine goes.
    name: String,
    copy: Option<CopyId>,
    /// The state that was reported last.
    state: CopyState,
    /// An origin knows that state.
    is_told: bool,
    /// An origin collects reports.
    is_collected: bool,
}

impl<'a> OriginContact<'a> {
    /// Nothing is told before the target is known.
    pub(super) fn new(swarm: &'a Swarm, name: Option<String>) -> Self {
        Self {
            swarm,
            name: name.unwrap_or_else(host_name),
            copy: None,
            state: CopyState::Fetching,
            is_told: false,
            is_collected: false,
        }
    }

    /// The target is known: origins are told which copy it is.
    pub(super) fn introduce(&mut self, target: &Target) {
        self.copy = Some(copy_id(target, &self.name));
        self.report(CopyState::Fetching);
    }

    /// Origins are told of this state, if the copy is known.
    pub(super) fn report(&mut self, state: CopyState) {
        let Some(copy) = self.copy else { return };
        self.is_told = false;
        self.state = state.clone();
        self.swarm.report_copy(ReceiverReport::new(copy, &self.name, state));
    }

    /// Takes note of an event of the swarm.
    pub(super) fn on_event(&mut self, event: &Event) {
        if let Event::CopyReported { state, .. } = event {
            self.is_collected = true;
            self.is_told |= *state == self.state;
        }
    }

    /// Whether an origin knows the state, or there is none to tell.
    pub(super) fn is_told(&self) -> bool {
        self.is_told || self.copy.is_none()
    }

    /// Whether an origin has shown that it collects reports.
    pub(super) fn is_collected(&self) -> bool {
        self.is_collected
    }
}
