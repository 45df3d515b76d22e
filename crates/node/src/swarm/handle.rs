//! A swarm as its owner sees it: what it is made of, what it reports, and the commands it takes.
//! The work is in `driver`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use bytes::Bytes;
use sow_content::{Bitfield, InfoHash, metainfo::Info};
use sow_engine::{Config, Dialect, Event, PeerSource, Status};
use sow_store::{Store, StoreError};
use sow_wire::bittorrent::ReceiverReport;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// What a swarm is made of.
#[derive(Debug)]
pub struct SwarmOptions {
    /// The swarm's info-hash.
    pub info_hash: InfoHash,
    /// The content; `None` to fetch its metadata from peers first (BEP 9).
    pub content: Option<SwarmContent>,
    /// The engine's settings. Its `listen_port` is set by the node.
    pub config: Config,
    /// The dialects in which peers may connect.
    pub accepts: AcceptedDialects,
    /// Peers that the user named, and the dialect of each.
    pub peers: Vec<(SocketAddr, Dialect)>,
}

/// The dialects in which peers may connect to a swarm. Only a BitTorrent handshake names the swarm
/// that it is for, so at most one swarm of a node accepts each of the other dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedDialects {
    /// BitTorrent.
    pub bittorrent: bool,
    /// `chunk`.
    pub chunk: bool,
    /// `json-torrent`.
    pub json_torrent: bool,
}

impl AcceptedDialects {
    /// Only BitTorrent.
    pub const BITTORRENT: Self = Self { bittorrent: true, chunk: false, json_torrent: false };
    /// Only `chunk`.
    pub const CHUNK: Self = Self { bittorrent: false, chunk: true, json_torrent: false };
    /// Only `json-torrent`.
    pub const JSON_TORRENT: Self = Self { bittorrent: false, chunk: false, json_torrent: true };
}

/// The content of a swarm, and the store that holds its bytes.
#[derive(Debug, Clone)]
pub struct SwarmContent {
    /// The metadata, decoded. If it has no piece hashes, only a digest of the whole file can verify
    /// the content.
    pub info: Arc<Info>,
    /// The metadata as bytes: the bencoded info dictionary. Empty if there is none.
    pub metadata: Bytes,
    /// Where the bytes are stored.
    pub store: Arc<Store>,
    /// The pieces that are verified and in the store.
    pub have: Bitfield,
    /// The MD5 of the whole file (`chunk`), if it is known. Otherwise it is computed when a peer
    /// asks for it.
    pub md5: Option<[u8; 16]>,
}

/// What a swarm reports to its owner.
#[derive(Debug, Clone)]
pub enum SwarmEvent {
    /// An event of the engine.
    Engine(Event),
    /// The store failed. After a failed write nothing more is fetched.
    StoreFailed(Arc<StoreError>),
}

/// A swarm that a node takes part in. Dropping it leaves the swarm as [`Swarm::stop`] does, without
/// waiting for the end.
#[derive(Debug)]
pub struct Swarm {
    info_hash: InfoHash,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Sender<Status>,
    task: JoinHandle<()>,
}

/// A command of a swarm's owner to its driver.
#[derive(Debug)]
pub(crate) enum Command {
    AddPeers(PeerSource, Dialect, Vec<SocketAddr>),
    ContentReady(Box<SwarmContent>),
    Withdraw(String),
    ReportCopy(ReceiverReport),
    Finish(oneshot::Sender<Result<Option<PathBuf>, StoreError>>),
    /// The status has a new receiver: publish it at once.
    PublishStatus,
    GetStatus(oneshot::Sender<Status>),
}

/// The driver's ends of the channels that join it to a [`Swarm`].
#[derive(Debug)]
pub(crate) struct SwarmHandle {
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) reports: mpsc::UnboundedSender<SwarmEvent>,
}

impl Swarm {
    /// A swarm whose driver is started by `start`, and its events. The channel of events is not
    /// bounded: read it, or drop the receiver.
    pub(crate) fn new(
        info_hash: InfoHash,
        start: impl FnOnce(SwarmHandle) -> JoinHandle<()>,
    ) -> (Self, mpsc::UnboundedReceiver<SwarmEvent>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let status = watch::Sender::new(Status::default());
        let task = start(SwarmHandle { commands: receiver, status: status.clone(), reports });
        (Self { info_hash, commands, status, task }, reported)
    }

    /// The swarm's info-hash.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// The status, which is published four times a second as long as a receiver exists.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        let receiver = self.status.subscribe();
        self.send(Command::PublishStatus);
        receiver
    }

    /// The status at this moment, or the last one if the swarm has ended.
    pub async fn current_status(&self) -> Status {
        let (reply, answer) = oneshot::channel();
        self.send(Command::GetStatus(reply));
        match answer.await {
            Ok(status) => status,
            Err(_) => self.status.borrow().clone(),
        }
    }

    /// Adds peers to connect to, and their dialect.
    pub fn add_peers(&self, source: PeerSource, dialect: Dialect, addrs: Vec<SocketAddr>) {
        self.send(Command::AddPeers(source, dialect, addrs));
    }

    /// Answers [`Event::Metadata`] and [`Event::GeometryLearned`]: from now on the content can be
    /// fetched.
    pub fn content_ready(&self, content: SwarmContent) {
        self.send(Command::ContentReady(Box::new(content)));
    }

    /// The content is no longer right. Nothing is served from now on, and connected peers and those
    /// that connect later are told the reason, a short text for people.
    pub fn withdraw(&self, reason: String) {
        self.send(Command::Withdraw(reason));
    }

    /// This is what became of our copy: origins that collect the reports of receivers are told,
    /// those that are connected later too ([`Event::CopyReported`]).
    pub fn report_copy(&self, report: ReceiverReport) {
        self.send(Command::ReportCopy(report));
    }

    /// Puts the complete content in its final place ([`Store::finish`]), on a blocking thread.
    /// Returns its path; `None` if it has no path, or if the swarm has no content or has ended.
    ///
    /// # Errors
    /// As [`Store::finish`].
    pub async fn finish(&self) -> Result<Option<PathBuf>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Finish(reply));
        answer.await.unwrap_or(Ok(None))
    }

    /// Takes leave of trackers and peers, then ends, within about two seconds.
    pub async fn stop(self) {
        let Self { commands, task, .. } = self;
        drop(commands);
        // The task ends by itself. If it has panicked, the runtime has logged that.
        let _ = task.await;
    }

    fn send(&self, command: Command) {
        // A swarm that has ended takes no commands.
        let _ = self.commands.send(command);
    }
}
