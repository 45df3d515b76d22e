//! The members of a swarm in one process, for tests: content in a folder of its own, an origin that
//! has it, and receivers that fetch it. No test is in here.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod scripted_peer;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use sow_content::{Bitfield, Geometry, Info, Metainfo};
use sow_engine::{Config, Event};
use sow_node::{Node, NodeOptions, Swarm, SwarmContent, SwarmEvent, SwarmOptions};
use sow_store::{DiskStore, ReceiveOptions, Store, hash_content, scan};
use sow_wire::bittorrent::PeerId;
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

/// The bound of every wait in a test.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) type Events = mpsc::UnboundedReceiver<SwarmEvent>;

/// Content on the disk.
pub(crate) struct Original {
    pub(crate) folder: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) metainfo: Metainfo,
}

/// A member of a swarm.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) swarm: Swarm,
    pub(crate) events: Events,
    pub(crate) target: PathBuf,
}

pub(crate) fn random_bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// A file of `length` bytes.
pub(crate) fn file(length: usize, piece_length: u32) -> Original {
    tree(&[("content.bin", random_bytes(length, 7))], piece_length)
}

/// Files with these paths. A single file that is in no folder is the content itself.
pub(crate) fn tree(files: &[(&str, Vec<u8>)], piece_length: u32) -> Original {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let top = Path::new(files[0].0).components().next().unwrap();
    let path = folder.path().join(top);
    let plan = scan(&path).unwrap();
    let hashes = hash_content(&plan, piece_length, 2, &|_| {}, &AtomicBool::new(false)).unwrap();
    let geometry = Geometry::new(plan.total(), piece_length.into()).unwrap();
    let info =
        Info::from_parts(plan.name(), geometry, plan.files().clone(), hashes, false).unwrap();
    Original { folder, path, metainfo: Metainfo::new(info) }
}

pub(crate) fn config(number: u8) -> Config {
    let mut peer_id = PeerId(*b"-SW0100-testtesttest");
    peer_id.0[19] = number;
    Config::new(peer_id, 0, number.into())
}

pub(crate) fn loopback() -> NodeOptions {
    NodeOptions { bind: Some(Ipv4Addr::LOCALHOST.into()), ..NodeOptions::default() }
}

impl Original {
    pub(crate) fn info(&self) -> &Info {
        &self.metainfo.info
    }

    /// A receiver gets everything from a member.
    pub(crate) async fn transfer_from(&self, origin: &Member) {
        let mut receiver = self.receiver(loopback(), config(2), vec![origin.addr()]);
        receiver.complete().await;
        self.assert_same(&receiver.target);
        receiver.stop().await;
    }

    fn content(&self, store: Store, have: Bitfield) -> SwarmContent {
        let Metainfo { info, info_bytes, .. } = &self.metainfo;
        let (info, metadata) = (Arc::new(info.clone()), info_bytes.clone());
        SwarmContent { info, metadata, store: Arc::new(store), have, md5: None }
    }

    /// A member that has everything.
    pub(crate) fn origin(&self, options: NodeOptions, config: Config) -> Member {
        let store = DiskStore::serve(self.info(), &self.path).unwrap();
        let content = self.content(store.into(), Bitfield::full(self.info().geometry.pieces()));
        self.member(options, config, Some(content), vec![], self.path.clone())
    }

    /// A member that has the metadata and no content.
    pub(crate) fn receiver(
        &self,
        options: NodeOptions,
        config: Config,
        peers: Vec<SocketAddr>,
    ) -> Member {
        let target = self.target(config.peer_id);
        let content = self.receiving(&target);
        self.member(options, config, Some(content), peers, target)
    }

    /// A member that has neither metadata nor content.
    pub(crate) fn receiver_without_metadata(
        &self,
        options: NodeOptions,
        config: Config,
        peers: Vec<SocketAddr>,
    ) -> Member {
        let target = self.target(config.peer_id);
        self.member(options, config, None, peers, target)
    }

    pub(crate) fn receiving(&self, target: &Path) -> SwarmContent {
        let options = ReceiveOptions::default();
        let (store, have) =
            DiskStore::receive(self.info(), self.metainfo.info_hash, target, &options).unwrap();
        self.content(store.into(), have)
    }

    fn target(&self, peer_id: PeerId) -> PathBuf {
        self.folder.path().join(format!("copy {}", peer_id.0[19]))
    }

    fn member(
        &self,
        options: NodeOptions,
        config: Config,
        content: Option<SwarmContent>,
        peers: Vec<SocketAddr>,
        target: PathBuf,
    ) -> Member {
        let node = Node::bind(options).unwrap();
        let info_hash = self.metainfo.info_hash;
        let (swarm, events) = node
            .join(SwarmOptions {
                info_hash,
                content,
                config,
                accepts: sow_node::AcceptedDialects::BITTORRENT,
                peers: peers
                    .into_iter()
                    .map(|addr| (addr, sow_engine::Dialect::BitTorrent))
                    .collect(),
            })
            .unwrap();
        Member { node, swarm, events, target }
    }

    /// Asserts that a copy is the same, file by file.
    pub(crate) fn assert_same(&self, copy: &Path) {
        for span in self.info().file_spans() {
            let (mut ours, mut theirs) = (self.path.clone(), copy.to_owned());
            if let Some(path) = span.path {
                ours.push(path.as_path());
                theirs.push(path.as_path());
            }
            assert!(
                fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(),
                "{} differs",
                theirs.display()
            );
        }
    }
}

impl Member {
    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.node.port()).into()
    }

    /// The next event for which `pick` has something.
    pub(crate) async fn wait_for<T>(
        &mut self,
        mut pick: impl FnMut(&SwarmEvent) -> Option<T>,
    ) -> T {
        let waiting = async {
            loop {
                let event = self.events.recv().await.expect("the swarm has ended");
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
        };
        timeout(TEST_TIMEOUT, waiting).await.expect("the event in time")
    }

    /// Waits until the content is complete, and puts it in place.
    pub(crate) async fn complete(&mut self) {
        self.wait_for(|event| matches!(event, SwarmEvent::Engine(Event::Complete)).then_some(()))
            .await;
        let place = self.swarm.finish().await.unwrap();
        assert_eq!(place.as_deref(), Some(&*self.target));
    }

    /// Stops the swarm, which must end in time.
    pub(crate) async fn stop(self) {
        timeout(TEST_TIMEOUT, self.swarm.stop()).await.expect("the end in time");
    }
}
