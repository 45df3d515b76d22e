//! The program that is put onto hosts without `sow`: this program itself. Hosts that have it pass
//! it on, so that this machine does not send it once for each host.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use sow_content::{
    hash::{hexadecimal, sha256},
    ticket::Address,
};
use sow_node::program_file::{OWN_FILE, PROGRAM_PATH};
use tokio::sync::Notify;

use crate::{
    exit::{Exit, Failure},
    runtime::blocking,
};

/// How many hosts download the program from one that has it at a time.
const PEER_SLOTS: usize = 2;

/// How many hosts receive the program from this machine at a time. Others wait for one that has it:
/// that is as fast, and leaves the link to the content.
const ORIGIN_SLOTS: usize = 4;

/// How many failures end the use of a host as a source: its port may be closed to others.
const MAX_FAILURES: usize = 2;

/// This program as a file.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its size in bytes.
    pub(super) length: u64,
    /// In hexadecimal.
    pub(super) sha256: String,
    /// What `uname -s` and `uname -m` print where it runs.
    pub(super) system: String,
}

impl Program {
    /// Hashes the file of this program.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn own() -> Result<Self, Failure> {
        blocking(|| {
            Self::hash_own().map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot read the file of this program: {error}"))
            })
        })
        .await
    }

    fn hash_own() -> io::Result<Self> {
        let bytes = std::fs::read(OWN_FILE)?;
        let uname = rustix::system::uname();
        let (system, machine) =
            (uname.sysname().to_string_lossy(), uname.machine().to_string_lossy());
        Ok(Self {
            length: bytes.len() as u64,
            sha256: hexadecimal(&sha256(&bytes)),
            system: format!("{system} {machine}"),
        })
    }

    /// The file, for a host that cannot download it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn read(&self) -> io::Result<Vec<u8>> {
        tokio::fs::read(OWN_FILE).await
    }
}

/// Where hosts download the program from.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProgramSources {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    at_origin: usize,
    peers: Vec<Peer>,
}

#[derive(Debug)]
struct Peer {
    url: String,
    in_use: usize,
    failures: usize,
}

/// Permission to receive the program from one source. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct ProgramSlot {
    sources: ProgramSources,
    /// A host that has the program; `None` for this machine.
    pub(super) peer: Option<String>,
}

impl ProgramSources {
    /// A host has the program, and serves it at this address.
    pub(super) fn add(&self, address: &Address) -> String {
        let url = url_at(address);
        let peer = Peer { url: url.clone(), in_use: 0, failures: 0 };
        self.lock(|state| state.peers.push(peer));
        self.inner.changed.notify_waiters();
        url
    }

    /// It does so no more.
    pub(super) fn remove(&self, url: &str) {
        self.lock(|state| state.peers.retain(|peer| peer.url != url));
    }

    /// Waits until a source is free: a host that has the program, or else this machine.
    pub(super) async fn slot(&self) -> ProgramSlot {
        self.wait_for(State::take).await
    }

    /// Waits until this machine can send the program to one more host.
    pub(super) async fn slot_at_origin(&self) -> ProgramSlot {
        self.wait_for(|state| state.take_origin().then_some(None)).await
    }

    async fn wait_for(&self, take: impl Fn(&mut State) -> Option<Option<String>>) -> ProgramSlot {
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(peer) = self.lock(&take) {
                return ProgramSlot { sources: self.clone(), peer };
            }
            changed.await;
        }
    }

    fn lock<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.inner.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn take(&mut self) -> Option<Option<String>> {
        let free = self.peers.iter_mut().filter(|peer| peer.in_use < PEER_SLOTS);
        if let Some(peer) = free.min_by_key(|peer| peer.in_use) {
            peer.in_use += 1;
            return Some(Some(peer.url.clone()));
        }
        self.take_origin().then_some(None)
    }

    fn take_origin(&mut self) -> bool {
        let is_free = self.at_origin < ORIGIN_SLOTS;
        self.at_origin += usize::from(is_free);
        is_free
    }
}

impl ProgramSlot {
    /// The download from this source failed.
    pub(super) fn failed(self) {
        self.sources.lock(|state| {
            let peer = state.peers.iter_mut().find(|peer| Some(&peer.url) == self.peer.as_ref());
            peer.into_iter().for_each(|peer| peer.failures += 1);
            state.peers.retain(|peer| peer.failures < MAX_FAILURES);
        });
    }
}

impl Drop for ProgramSlot {
    fn drop(&mut self) {
        self.sources.lock(|state| match &self.peer {
            Some(url) => {
                let peer = state.peers.iter_mut().find(|peer| peer.url == *url);
                peer.into_iter().for_each(|peer| peer.in_use = peer.in_use.saturating_sub(1));
            }
            None => state.at_origin -= 1,
        });
        self.sources.inner.changed.notify_waiters();
    }
}

/// The URL of the program on a port that serves it.
pub(super) fn url_at(address: &Address) -> String {
    format!("http://{address}{PROGRAM_PATH}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn hosts_that_have_the_program_are_used_before_this_machine() {
        let sources = ProgramSources::default();
        let mut slots = Vec::new();
        for _ in 0..ORIGIN_SLOTS {
            slots.push(sources.slot().await);
        }
        assert!(slots.iter().all(|slot| slot.peer.is_none()));
        let waited = tokio::time::timeout(Duration::from_secs(1), sources.slot()).await;
        assert!(waited.is_err(), "a slot that is not there");

        let waiting = tokio::spawn({
            let sources = sources.clone();
            async move { sources.slot().await }
        });
        tokio::task::yield_now().await;
        let url = sources.add(&Address { host: "fd00::2".to_owned(), port: 7 });
        assert_eq!(waiting.await.unwrap().peer.as_ref(), Some(&url));
        assert!(url.starts_with("http://[fd00::2]:7/"), "{url}");

        for _ in 0..MAX_FAILURES {
            let slot = sources.slot().await;
            assert_eq!(slot.peer.as_ref(), Some(&url));
            slot.failed();
        }
        slots.pop();
        assert!(sources.slot().await.peer.is_none(), "a host that failed is used");
    }
}
