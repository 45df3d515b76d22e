//! Measures the processor time of a transfer over the loopback: an origin and some receivers, each
//! with a runtime of its own. The files are in the folder `SOW_BENCH_DIR` (default `/dev/shm`),
//! which should be in memory.
//!
//! `cargo bench -p sow-node --bench transfer -- [MiB] [RECEIVERS] [MAX_BLOCK] [ROUNDS]`. Repeat it
//! and take the best result: memory that a virtual machine touches for the first time costs more.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use sow_content::{Bitfield, Info, Metainfo, geometry::piece_length_for};
use sow_engine::{Config, Dialect, Event, PeerSource};
use sow_node::{AcceptedDialects, Node, NodeOptions, SwarmContent, SwarmEvent, SwarmOptions};
use sow_store::{DiskStore, ReceiveOptions, Store, hash_content, scan};
use sow_wire::bittorrent::PeerId;

fn main() {
    // `cargo test` starts this program too.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let (mib, receivers) = (number(0, 512), number(1, 1));
    let (max_block, rounds) = (number(2, 128 << 10) as u32, number(3, 3));
    let folder = std::env::var_os("SOW_BENCH_DIR").map_or("/dev/shm".into(), PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("a folder for the files");
    let path = folder.path().join("original");
    write_random(&path, mib << 20);
    let metainfo = describe(&path);
    println!("{mib} MiB to {receivers} receivers, blocks of at most {max_block} bytes");
    for _ in 0..rounds {
        let Measured { seconds, cpu } =
            transfer(&path, &metainfo, receivers, max_block, folder.path());
        let gib = mib as f64 * receivers as f64 / 1024.0;
        println!("{:8.1} MiB/s in all  {:6.3} CPU s per GiB", gib * 1024.0 / seconds, cpu / gib);
    }
}

struct Measured {
    seconds: f64,
    cpu: f64,
}

fn transfer(
    path: &Path,
    metainfo: &Metainfo,
    receivers: u64,
    max_block: u32,
    folder: &Path,
) -> Measured {
    let (port, ports) = mpsc::channel();
    let (done, completions) = mpsc::channel();
    let mut ends = Vec::new();
    let mut spawn = |target: Option<PathBuf>, peers: Vec<SocketAddr>, number: u8| {
        let (path, metainfo) = (path.to_owned(), metainfo.clone());
        let (port, done) = (port.clone(), done.clone());
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let content = content(&metainfo, &path, target.as_deref());
            runtime
                .block_on(member(&metainfo, content, peers, max_block, number, port, done, ended));
        });
        ends.push((end, thread));
    };
    spawn(None, vec![], 0);
    let origin = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.recv().expect("a port")));
    let targets: Vec<PathBuf> = (0..receivers).map(|n| folder.join(format!("copy {n}"))).collect();
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut peers = vec![origin];
    for (n, target) in targets.iter().enumerate() {
        spawn(Some(target.clone()), peers.clone(), n as u8 + 1);
        peers.push((Ipv4Addr::LOCALHOST, ports.recv().expect("a port")).into());
    }
    (0..receivers).for_each(|_| completions.recv().expect("a completion"));
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_time() - cpu);
    for (end, thread) in ends {
        drop(end);
        thread.join().expect("a member that ends");
    }
    targets.iter().for_each(|target| fs::remove_file(target).expect("a copy"));
    Measured { seconds, cpu: cpu.as_secs_f64() }
}

#[allow(clippy::too_many_arguments, reason = "one call")]
async fn member(
    metainfo: &Metainfo,
    content: SwarmContent,
    peers: Vec<SocketAddr>,
    max_block: u32,
    number: u8,
    port: mpsc::Sender<u16>,
    done: mpsc::Sender<()>,
    ended: tokio::sync::oneshot::Receiver<()>,
) {
    let bind = Some(Ipv4Addr::LOCALHOST.into());
    let node = Node::bind(NodeOptions { bind, ..NodeOptions::default() }).expect("a port");
    port.send(node.port()).expect("a receiver");
    let mut peer_id = PeerId(*b"-SW0100-benchbenchbe");
    peer_id.0[19] = number;
    let mut config = Config::new(peer_id, 0, number.into());
    config.max_block = max_block;
    config.spread = content.have.is_full();
    let info_hash = metainfo.info_hash;
    let options = SwarmOptions {
        info_hash,
        content: Some(content),
        config,
        accepts: AcceptedDialects::BITTORRENT,
        peers: vec![],
    };
    let (swarm, mut events) = node.join(options).expect("a new swarm");
    swarm.add_peers(PeerSource::Named, Dialect::BitTorrent, peers);
    if number > 0 {
        while !matches!(events.recv().await, Some(SwarmEvent::Engine(Event::Complete)) | None) {}
        swarm.finish().await.expect("a copy in place");
        done.send(()).expect("a receiver");
    }
    drop(events);
    let _ = tokio::time::timeout(Duration::from_secs(600), ended).await;
    swarm.stop().await;
}

fn content(metainfo: &Metainfo, path: &Path, target: Option<&Path>) -> SwarmContent {
    let Metainfo { info, info_bytes, info_hash, .. } = metainfo;
    let (store, have) = match target {
        None => {
            let store = DiskStore::serve(info, path).expect("the original");
            (Store::from(store), Bitfield::full(info.geometry.pieces()))
        }
        Some(target) => {
            let options = ReceiveOptions::default();
            let (store, have) =
                DiskStore::receive(info, *info_hash, target, &options).expect("a store");
            (Store::from(store), have)
        }
    };
    let (info, metadata) = (Arc::new(info.clone()), info_bytes.clone());
    SwarmContent { info, metadata, store: Arc::new(store), have, md5: None }
}

fn describe(path: &Path) -> Metainfo {
    let plan = scan(path).expect("the original");
    let length = piece_length_for(plan.total());
    let hashes = hash_content(&plan, length, 0, &|_| {}, &AtomicBool::new(false)).expect("hashes");
    let geometry = sow_content::Geometry::new(plan.total(), length.into()).expect("a geometry");
    let info = Info::from_parts(plan.name(), geometry, plan.files().clone(), hashes, false);
    Metainfo::new(info.expect("an info dictionary"))
}

fn write_random(path: &Path, length: u64) {
    let mut bytes = vec![0; 1 << 20];
    let (mut rng, mut file) =
        (fastrand::Rng::with_seed(1), fs::File::create(path).expect("the original"));
    for _ in 0..length >> 20 {
        rng.fill(&mut bytes);
        std::io::Write::write_all(&mut file, &bytes).expect("room for the original");
    }
}

/// The processor time that this process has used, over all threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
