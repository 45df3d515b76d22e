//! The shares of one run, which end together: when the receivers of all are complete, or the run is
//! to stop; and the files that the run leaves.

use std::collections::BTreeSet;

use tokio::sync::watch;

use super::fleet_report::FleetReport;
use crate::{exit::Failure, fleet::write_missing_hosts};

/// Which shares of a run lack receivers. Clones share the state.
#[derive(Debug, Clone)]
pub(super) struct ShareGroup(watch::Sender<BTreeSet<usize>>);

/// One share of a group.
#[derive(Debug)]
pub(super) struct GroupMember {
    group: ShareGroup,
    index: usize,
}

impl ShareGroup {
    /// A group of so many shares, which all lack receivers.
    pub(super) fn new(count: usize) -> Self {
        Self(watch::Sender::new((0..count).collect()))
    }

    /// The share with this index.
    pub(super) fn member(&self, index: usize) -> GroupMember {
        GroupMember { group: self.clone(), index }
    }
}

impl GroupMember {
    /// The only share of a run.
    pub(super) fn alone() -> Self {
        ShareGroup::new(1).member(0)
    }

    /// Takes note of whether all receivers of this share are complete. Returns whether those of all
    /// shares are.
    pub(super) fn is_group_done(&self, is_done: bool) -> bool {
        self.group.0.send_if_modified(|missing| match is_done {
            true => missing.remove(&self.index),
            false => missing.insert(self.index),
        });
        self.group.0.borrow().is_empty()
    }

    /// The content of this share is lost: the others do not wait for it.
    pub(super) fn leave(&self) {
        self.group.0.send_if_modified(|missing| missing.remove(&self.index));
    }

    /// Returns when the receivers of all shares are complete.
    pub(super) async fn group_done(&self) {
        let mut changes = self.group.0.subscribe();
        if changes.wait_for(BTreeSet::is_empty).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Writes the files that the command line asks for, with the receivers of all shares.
///
/// # Errors
/// When one of them cannot be written.
pub(super) fn write_files(fleets: &[&FleetReport]) -> Result<(), Failure> {
    let Some(plan) = fleets.first().map(|fleet| fleet.plan()) else { return Ok(()) };
    let all: Vec<_> = fleets.iter().map(|fleet| (fleet.name(), fleet.rows())).collect();
    if let Some(results) = &plan.results {
        results.write(&all)?;
    }
    if let Some(path) = &plan.missing {
        let mut hosts = Vec::new();
        for (_, rows) in &all {
            for host in plan.expectation.missing_hosts(rows) {
                if !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
        }
        write_missing_hosts(path, &hosts)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_group_is_done_when_all_of_its_shares_are_at_the_same_time() {
        let group = ShareGroup::new(2);
        let (first, second) = (group.member(0), group.member(1));
        assert!(!first.is_group_done(true) && !second.is_group_done(false));
        assert!(!first.is_group_done(false), "a receiver began anew");
        assert!(!second.is_group_done(true));
        assert!(first.is_group_done(true));
        second.group_done().await;
        assert!(!second.is_group_done(false));
        second.leave();
        assert!(first.is_group_done(true), "what is lost is not waited for");
        assert!(GroupMember::alone().is_group_done(true));
    }
}
