//! When file descriptors run out, the node waits and goes on. In a program of its own: the limit is
//! the process's.

mod stage;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stage::{config, file, loopback};
use tokio::{net::TcpStream, time::sleep};

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_descriptors_passes() {
    let original = file(1_000_000, 32768);
    let origin = original.origin(loopback(), config(1));
    let mut receiver = original.receiver(loopback(), config(2), vec![]);
    let limit = getrlimit(Resource::Nofile);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 20), ..limit }).unwrap();
    let mut callers = Vec::new();
    while let Ok(caller) = TcpStream::connect(origin.addr()).await {
        callers.push(caller);
        assert!(callers.len() < 100, "descriptors that do not run out");
    }
    assert!(!callers.is_empty());
    // The node's own end of each call has to be opened too: by now it cannot.
    sleep(Duration::from_millis(300)).await;
    drop(callers);
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
