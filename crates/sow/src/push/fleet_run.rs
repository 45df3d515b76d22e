//! All hosts of a run at once: a limited number at a time, each until it is complete, and then as a
//! source for the others until the run ends.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    host_failure::HostFailure,
    host_run::{HostEvent, HostPlan, run_host},
};
use crate::fleet::HostTarget;

/// How long the end of all connections is waited for.
const END_TIME: Duration = Duration::from_secs(6);

/// A host to push to, and the name under which it introduces itself to the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushHost {
    pub(crate) target: HostTarget,
    pub(crate) name: String,
}

/// What happens to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FleetEvent {
    /// It reports something.
    Host(HostEvent),
    /// Its connection has ended, as it should or not.
    Ended(Result<(), HostFailure>),
}

/// The connections to all hosts.
#[derive(Debug)]
pub(crate) struct PushFleet {
    /// What happens to the hosts, each by its index.
    pub(crate) events: mpsc::UnboundedReceiver<(usize, FleetEvent)>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What the hosts of a run share.
struct Shared {
    plan: Arc<HostPlan>,
    /// Permission to connect, which a host has until it is complete.
    places: Arc<Semaphore>,
    /// The complete hosts that are still connected, as many as may connect at a time.
    seeds: Mutex<VecDeque<watch::Sender<bool>>>,
    max_seeds: usize,
    events: mpsc::UnboundedSender<(usize, FleetEvent)>,
    stop: watch::Receiver<bool>,
}

impl PushFleet {
    /// Begins with `jobs` hosts at a time.
    pub(crate) fn start(hosts: Vec<PushHost>, plan: HostPlan, jobs: usize) -> Self {
        let (event_sender, events) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            plan: Arc::new(plan),
            places: Arc::new(Semaphore::new(jobs)),
            seeds: Mutex::default(),
            max_seeds: jobs,
            events: event_sender,
            stop: stopped,
        });
        let mut tasks = JoinSet::new();
        for (index, host) in hosts.into_iter().enumerate() {
            tasks.spawn(run_in_turn(index, host, Arc::clone(&shared)));
        }
        Self { events, stop, tasks }
    }

    /// Ends all connections, and with them what runs on the hosts.
    pub(crate) async fn end(mut self) {
        let _ = self.stop.send(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(END_TIME, ended).await;
    }
}

/// Waits for a place, and runs a host.
async fn run_in_turn(index: usize, host: PushHost, shared: Arc<Shared>) {
    let place = tokio::select! {
        place = Arc::clone(&shared.places).acquire_owned() => place.ok(),
        () = is_true(shared.stop.clone()) => return,
    };
    let (leave, left) = watch::channel(false);
    let mine = Mutex::new((place, Some(leave)));
    let report = |event: HostEvent| {
        if event == HostEvent::Complete {
            let (place, leave) = &mut *mine.lock().unwrap_or_else(PoisonError::into_inner);
            shared.on_complete(place.take(), leave.take());
        }
        shared.send(index, FleetEvent::Host(event));
    };
    let stop = async {
        tokio::select! {
            () = is_true(shared.stop.clone()) => {}
            () = is_true(left) => {}
        }
    };
    let ended = run_host(&host.target, &host.name, &shared.plan, report, stop).await;
    shared.send(index, FleetEvent::Ended(ended));
}

impl Shared {
    /// A host needs its place no more. It stays as a source; the one that was complete first leaves
    /// when there are too many.
    fn on_complete(&self, place: Option<OwnedSemaphorePermit>, leave: Option<watch::Sender<bool>>) {
        drop(place);
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        seeds.extend(leave);
        if seeds.len() > self.max_seeds
            && let Some(first) = seeds.pop_front()
        {
            let _ = first.send(true);
        }
    }

    fn send(&self, index: usize, event: FleetEvent) {
        // At the end of the run there is no receiver.
        let _ = self.events.send((index, event));
    }
}

/// Returns when the value is true; never when it can become so no more.
async fn is_true(mut value: watch::Receiver<bool>) {
    if value.wait_for(|value| *value).await.is_err() {
        std::future::pending::<()>().await;
    }
}
