//! The world: hosts, the tracker, what happens when. It judges nothing.
//!
//! Time passes in windows. Nothing that a host sends arrives sooner than the shortest path is long,
//! so within a window of that length each host runs alone, on any thread, with its state in the
//! cache. What the hosts sent is carried to the others between two windows, in the order of their
//! numbers. So the number of threads changes nothing.

mod carrying;
mod population;
mod tracking;

use std::{collections::BTreeMap, num::NonZero, thread, time::Duration};

use sow_content::{Bitfield, Geometry, InfoHash};
use sow_engine::{Config, Dialect, Misbehavior, Time};

use self::tracking::Tracker;
use crate::{
    conditions::Conditions,
    faults::{Fault, Faults},
    host::Host,
    host_link::{LinkConfig, Traffic},
    hostile::HostileKind,
    item::HostId,
    shared::{INFO_DICTIONARY, Shared},
};

/// The fewest hosts with something to do in a window for which more than one thread is worth it.
const MIN_HOSTS_FOR_THREADS: usize = 32;

/// The start of a simulated world.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The protocol of all hosts.
    pub dialect: Dialect,
    /// The length of the content, in bytes.
    pub total: u64,
    /// The length of a piece, in bytes.
    pub piece_length: u32,
    /// The link of the origin.
    pub origin: LinkConfig,
    /// The links of the receivers.
    pub receivers: Vec<LinkConfig>,
    /// Receivers have the metadata at the start; else they fetch it from peers.
    pub metadata_known: bool,
    /// The seed of all randomness.
    pub seed: u64,
    /// The faults.
    pub faults: Faults,
    /// The state of the network and the machines.
    pub conditions: Conditions,
    /// Hosts that misbehave, and their links. They are there from the start.
    pub hostile: Vec<(HostileKind, LinkConfig)>,
    /// Messages a second in the floods of misbehaving hosts, on each connection.
    pub flood_rate: u32,
    /// Changes the configuration of each engine, the origin's included, before it starts.
    pub adjust: fn(HostId, &mut Config),
}

/// A simulated world.
#[derive(Debug)]
pub struct World {
    now: Time,
    pub(crate) hosts: Vec<Host>,
    shared: Shared,
    tracker: Tracker,
    /// Places of hosts that left for good.
    vacant: Vec<HostId>,
    /// The number of the next host's address.
    next_address: u32,
    /// Faults that have not happened yet, in order of time.
    faults: Vec<(Time, Fault)>,
    /// A partition: the number of hosts on the origin's side, and when it heals.
    partition: Option<(HostId, Time)>,
    /// Engines that disconnected an honest host as misbehaving.
    pub(crate) wrong_blames: Vec<(HostId, HostId, Misbehavior)>,
    flood_rate: u32,
    threads: usize,
    rng: fastrand::Rng,
}

impl World {
    /// A world at time zero with every host running.
    ///
    /// # Panics
    /// When the scenario has no valid geometry.
    pub fn new(scenario: Scenario) -> Self {
        let geometry = match Geometry::new(scenario.total, u64::from(scenario.piece_length)) {
            Ok(geometry) => geometry,
            Err(error) => panic!("the scenario is impossible: {error}"),
        };
        let info_hash = InfoHash(sow_content::hash::sha1(INFO_DICTIONARY));
        let shared = Shared {
            dialect: scenario.dialect,
            geometry,
            info_hash,
            metadata_known: scenario.metadata_known,
            adjust: scenario.adjust,
            addresses: BTreeMap::new(),
            delays: Vec::new(),
            conditions: scenario.conditions,
            salt: scenario.seed,
        };
        let mut faults = scenario.faults.schedule().to_vec();
        faults.reverse();
        let mut world = Self {
            now: Time(0),
            hosts: Vec::new(),
            shared,
            tracker: Tracker::new(info_hash, scenario.seed),
            vacant: Vec::new(),
            next_address: 0,
            faults,
            partition: None,
            wrong_blames: Vec::new(),
            flood_rate: scenario.flood_rate,
            threads: thread::available_parallelism().map_or(1, NonZero::get),
            rng: fastrand::Rng::with_seed(scenario.seed),
        };
        world.new_host(scenario.origin, Bitfield::full(geometry.pieces()));
        for link in scenario.receivers {
            world.new_host(link, Bitfield::new(geometry.pieces()));
        }
        (0..world.hosts.len()).for_each(|host| world.start_host(host));
        for (kind, link) in scenario.hostile {
            world.add_hostile(kind, link);
        }
        world
    }

    /// The current time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Runs on at most so many threads. The number changes nothing but the time that it takes.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    /// Runs until every running receiver has all pieces and no fault is left, or until `limit`.
    /// Returns whether all that happened before the limit.
    pub fn run(&mut self, limit: Duration) -> bool {
        let end = Time(0) + limit;
        while !self.is_done() {
            if !self.run_window(end) {
                return false;
            }
        }
        true
    }

    /// Runs until `end`; receivers need not be complete.
    pub fn run_until(&mut self, end: Time) {
        while self.run_window(end) {}
        self.now = self.now.max(end);
    }

    /// Runs the next window, if it begins by `limit`.
    fn run_window(&mut self, limit: Time) -> bool {
        let event = self.hosts.iter().filter_map(Host::next_event).min();
        let fault = self.faults.last().map(|(at, _)| *at);
        let Some(next) = event.into_iter().chain(fault).min().filter(|next| *next <= limit) else {
            return false;
        };
        if fault == Some(next)
            && let Some((at, fault)) = self.faults.pop()
        {
            self.now = self.now.max(at);
            self.inject_fault(fault);
            return true;
        }
        let end = next + self.shared.lookahead();
        let end = end.min(limit + Duration::from_micros(1)).min(fault.unwrap_or(end));
        self.run_hosts(end);
        self.now = self.now.max(Time(end.0 - 1));
        self.carry();
        true
    }

    fn run_hosts(&mut self, end: Time) {
        let shared = &self.shared;
        let is_due = |host: &&mut Host| host.next_event().is_some_and(|at| at < end);
        let due = self.hosts.iter_mut().filter(is_due).count();
        if self.threads == 1 || due < MIN_HOSTS_FOR_THREADS {
            self.hosts.iter_mut().for_each(|host| host.run(end, shared));
            return;
        }
        let share = self.hosts.len().div_ceil(self.threads);
        thread::scope(|scope| {
            for hosts in self.hosts.chunks_mut(share) {
                scope.spawn(move || hosts.iter_mut().for_each(|host| host.run(end, shared)));
            }
        });
    }

    /// When the last receiver completed, in seconds; `None` when one has not.
    pub fn last_completion_seconds(&self) -> Option<f64> {
        let times = self.receivers().map(|host| host.completed_at);
        let last = times.collect::<Option<Vec<Time>>>()?.into_iter().max()?;
        Some(last.0 as f64 / 1e6)
    }

    /// When each receiver that has completed did, in seconds, in ascending order.
    pub fn completion_seconds(&self) -> Vec<f64> {
        let mut times: Vec<Time> = self.receivers().filter_map(|host| host.completed_at).collect();
        times.sort_unstable();
        times.into_iter().map(|time| time.0 as f64 / 1e6).collect()
    }

    /// Honest hosts but the origin.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| !host.is_origin && host.hostile.is_none())
    }

    /// What crossed the uplinks of all hosts.
    pub fn traffic(&self) -> Traffic {
        self.hosts.iter().map(|host| host.link.traffic()).fold(Traffic::default(), Traffic::plus)
    }

    /// What crossed the link of one host; 0 is the origin.
    pub fn traffic_of(&self, host: HostId) -> Traffic {
        self.hosts[host].link.traffic()
    }

    /// The bytes of verified pieces that a host has, by the host that sent them.
    pub fn received_from(&self, host: HostId) -> &BTreeMap<HostId, u64> {
        &self.hosts[host].received_from
    }

    /// The length of the content.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.shared.geometry.total()
    }

    /// How many copies of the content the origin uploaded.
    pub fn copies_sent_by_origin(&self) -> f64 {
        self.hosts[0].uploaded as f64 / self.shared.geometry.total() as f64
    }

    /// The bytes that all hosts received and could not use.
    pub fn wasted_bytes(&self) -> u64 {
        self.hosts
            .iter()
            .filter_map(|host| host.engine.as_ref())
            .map(|engine| engine.status(self.now).wasted)
            .sum()
    }

    fn is_done(&self) -> bool {
        let is_complete = |host: &Host| host.completed_at.is_some() || host.engine.is_none();
        self.faults.is_empty() && self.receivers().all(is_complete)
    }
}
