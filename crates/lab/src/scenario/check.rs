//! Checks that the values of a scenario fit together. That each value is in range is checked when
//! it is read.

use super::{Action, Event, Mode, Network, Scenario, ScenarioConflict, Shape};
use crate::{network::NetworkError, record::Model};

/// The limit of runs of a scenario.
pub const MAX_RUNS: u64 = 100_000;

/// The piece lengths that BitTorrent programs of others accept.
const FOREIGN_PIECE_LENGTHS: std::ops::RangeInclusive<u32> = 16 << 10..=16 << 20;

impl Scenario {
    /// Checks that the scenario can be run. Reading a scenario checks it; a scenario that is
    /// changed afterwards has to be checked again.
    ///
    /// # Errors
    /// The first conflict.
    pub fn check(&self) -> Result<(), ScenarioConflict> {
        let runs = self.runs();
        if runs > MAX_RUNS {
            return Err(ScenarioConflict::TooManyRuns(runs));
        }
        for &mode in &self.modes {
            self.check_mode(mode)?;
        }
        let max_users = self.users.iter().copied().max().unwrap_or_default();
        for receiver in 1..=max_users {
            check_events(receiver, &self.events)?;
        }
        let leavers =
            |users| self.events_for(users).filter(|event| event.action == Action::Leave).count();
        if let Some(&users) = self.users.iter().find(|&&users| leavers(users) >= usize::from(users))
        {
            return Err(ScenarioConflict::NoReceiverStays(users));
        }
        let max_origins = self.origins.iter().copied().max().unwrap_or_default();
        let shape = Shape { origins: max_origins, users: max_users };
        let mut selectors = self.network.exceptions.iter().map(|exception| exception.hosts);
        if let Some(hosts) = selectors.find(|&hosts| !shape.includes(hosts)) {
            return Err(ScenarioConflict::NoSuchHost { hosts, shape });
        }
        Ok(self.check_network()?)
    }

    /// The number of its runs.
    pub fn runs(&self) -> u64 {
        [
            self.users.len(),
            self.origins.len(),
            self.modes.len(),
            self.files.len(),
            usize::from(self.repeat),
        ]
        .into_iter()
        .fold(1, |runs, count| runs * count as u64)
    }

    fn check_mode(&self, mode: Mode) -> Result<(), ScenarioConflict> {
        if !mode.takes_many_origins() && !self.origins.contains(&1) {
            return Err(ScenarioConflict::ManyOrigins(mode));
        }
        if mode.model() == Model::Multicast
            && self.events.iter().any(|event| event.action == Action::Start)
        {
            return Err(ScenarioConflict::LateMulticast(mode));
        }
        let is_foreign = matches!(
            mode,
            Mode::Aria2 | Mode::Transmission | Mode::Libtorrent | Mode::LibtorrentSuper
        );
        match self.piece_length {
            Some(bytes)
                if is_foreign
                    && !(bytes.is_power_of_two() && FOREIGN_PIECE_LENGTHS.contains(&bytes)) =>
            {
                Err(ScenarioConflict::PieceLength { mode, bytes })
            }
            _ => Ok(()),
        }
    }

    /// Checks every link that some run has. Links do not depend on each other, so it is not
    /// necessary to build every run's network.
    fn check_network(&self) -> Result<(), NetworkError> {
        let network = &self.network;
        let plain = Network { exceptions: Vec::new(), ..network.clone() };
        let one = Shape { origins: 1, users: 0 };
        let links = network.exceptions.iter().map(|exception| exception.apply(network.link));
        for link in std::iter::once(network.link).chain(links) {
            Network { link, ..plain.clone() }.topology("check".parse()?, one).check()?;
        }
        Ok(())
    }
}

/// Checks the events of one receiver, which are ordered by time.
fn check_events(receiver: u16, events: &[Event]) -> Result<(), ScenarioConflict> {
    let wrong = |reason| Err(ScenarioConflict::Events { receiver, reason });
    let (mut running, mut gone, mut first) = (true, false, true);
    let mut last = None;
    for event in events.iter().filter(|event| event.receiver == receiver) {
        if gone {
            return wrong(
                "nothing can happen after \"leave\"; write \"kill\" if it is to come back",
            );
        }
        if last.replace(event.at) == Some(event.at) {
            return wrong("two events at the same time have no order; move one of them");
        }
        match (event.action, running) {
            (Action::Start, true) if !first => {
                return wrong("\"start\" while it runs; \"kill\" it before");
            }
            (Action::Start, _) => running = true,
            (Action::Kill, true) => running = false,
            (Action::Leave, true) => gone = true,
            (_, false) => {
                return wrong("\"kill\" or \"leave\" while it does not run; \"start\" it before");
            }
        }
        first = false;
    }
    if !running && !gone {
        return wrong("\"kill\" without a later \"start\"; write \"leave\" if it is to stay away");
    }
    Ok(())
}
