//! When file descriptors run out, the node waits and continues. In a test program of its own,
//! because the limit is the process's.

mod swarm_members;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use swarm_members::{TEST_TIMEOUT, config, file, loopback};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tracing::{Event, Level, Metadata, Subscriber, field::Visit, span};

/// Counts the warnings that a connection could not be accepted.
#[derive(Default)]
struct FailedAccepts(Arc<AtomicUsize>);

impl Subscriber for FailedAccepts {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct IsFailedAccept(bool);
        impl Visit for IsFailedAccept {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn fmt::Debug) {
                self.0 |= format!("{value:?}").contains("cannot accept a connection");
            }
        }
        let mut visitor = IsFailedAccept(false);
        event.record(&mut visitor);
        self.0.fetch_add(usize::from(visitor.0), Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_recovers_when_descriptors_ran_out() {
    let failed_accepts = FailedAccepts::default();
    let failures = Arc::clone(&failed_accepts.0);
    tracing::subscriber::set_global_default(failed_accepts).unwrap();
    let original = file(1_000_000, 32768);
    let origin = original.origin(loopback(), config(1));
    let mut receiver = original.receiver(loopback(), config(2), vec![]);
    let limit = getrlimit(Resource::Nofile);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 20), ..limit }).unwrap();
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(origin.addr()).await {
        clients.push(client);
        assert!(clients.len() < 100, "descriptors do not run out");
    }
    assert!(!clients.is_empty());
    // The node needs a descriptor for its own end of each connection, and has none left.
    let failing = async {
        while failures.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TEST_TIMEOUT, failing).await.expect("an accept that fails");
    drop(clients);
    setrlimit(Resource::Nofile, limit).unwrap();
    receiver.swarm.add_peers(
        sow_engine::PeerSource::Named,
        sow_engine::Dialect::BitTorrent,
        vec![origin.addr()],
    );
    receiver.complete().await;
    original.assert_same(&receiver.target);
    receiver.stop().await;
    origin.stop().await;
}
