//! Whether the parts of a scenario fit together. Each by itself is in range already.

use super::{Action, Event, Misfit, Mode, Network, Scenario, Shape};
use crate::network::NetworkError;

/// The most runs of a scenario.
pub const MAX_RUNS: u64 = 100_000;

/// What the programs of others take for a piece.
const FOREIGN_PIECES: std::ops::RangeInclusive<u32> = 16 << 10..=16 << 20;

impl Scenario {
    /// Whether it can be run. A scenario that was read has been checked; one that was changed
    /// afterwards should be.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self) -> Result<(), Misfit> {
        let runs = self.runs();
        if runs > MAX_RUNS {
            return Err(Misfit::TooManyRuns(runs));
        }
        for &mode in &self.modes {
            self.check_mode(mode)?;
        }
        let most = self.users.iter().copied().max().unwrap_or_default();
        for receiver in 1..=most {
            check_events(receiver, &self.events)?;
        }
        let leavers =
            |users| self.events_for(users).filter(|event| event.action == Action::Leave).count();
        if let Some(&users) = self.users.iter().find(|&&users| leavers(users) >= usize::from(users))
        {
            return Err(Misfit::NobodyStays(users));
        }
        let most_origins = self.origins.iter().copied().max().unwrap_or_default();
        let shape = Shape { origins: most_origins, users: most };
        let parts = self.network.exceptions.iter().map(|exception| exception.part);
        if let Some(part) = parts.into_iter().find(|&part| !shape.includes(part)) {
            return Err(Misfit::NoSuchHost { part, shape });
        }
        Ok(self.check_network()?)
    }

    /// How many runs it has in all.
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

    fn check_mode(&self, mode: Mode) -> Result<(), Misfit> {
        if !mode.takes_many_origins() && !self.origins.contains(&1) {
            return Err(Misfit::ManyOrigins(mode));
        }
        let foreign = matches!(
            mode,
            Mode::Aria2 | Mode::Transmission | Mode::Libtorrent | Mode::LibtorrentSuper
        );
        match self.piece_length {
            Some(bytes)
                if foreign && !(bytes.is_power_of_two() && FOREIGN_PIECES.contains(&bytes)) =>
            {
                Err(Misfit::PieceLength { mode, bytes })
            }
            _ => Ok(()),
        }
    }

    /// Every link that some run has, each by itself: that is cheaper than every run's network, and
    /// no link depends on another.
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

/// Follows one receiver through its events, which are ordered by time.
fn check_events(receiver: u16, events: &[Event]) -> Result<(), Misfit> {
    let wrong = |said| Err(Misfit::Events { receiver, said });
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
