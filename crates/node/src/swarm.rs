//! A swarm as its owner sees it: what it is made of, what it reports, what it can be told. The work
//! is in `driver`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use bytes::Bytes;
use sow_content::{Bitfield, InfoHash, metainfo::Info};
use sow_engine::{Config, Dialect, Event, PeerSource, Status};
use sow_store::{Store, StoreError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// What a swarm is made of.
#[derive(Debug)]
pub struct SwarmOptions {
    /// Which swarm.
    pub info_hash: InfoHash,
    /// The content; `None` to have its metadata fetched from peers first (BEP 9).
    pub content: Option<SwarmContent>,
    /// The engine's settings. Its `listen_port` is set by the node.
    pub config: Config,
    /// What callers may speak.
    pub answers: AcceptedDialects,
    /// Peers that the user named, and what they speak.
    pub peers: Vec<(SocketAddr, Dialect)>,
}

/// What those who call a swarm may speak. Only in BitTorrent do they say which swarm they want: of
/// the other dialects, a node answers in one swarm at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedDialects {
    /// BitTorrent.
    pub bittorrent: bool,
    /// Document 1's P2P.
    pub chunk: bool,
    /// Document 2's P2P.
    pub json_torrent: bool,
}

impl AcceptedDialects {
    /// BitTorrent and nothing else.
    pub const BITTORRENT: Self = Self { bittorrent: true, chunk: false, json_torrent: false };
    /// Document 1's P2P and nothing else.
    pub const CHUNK: Self = Self { bittorrent: false, chunk: true, json_torrent: false };
    /// Document 2's P2P and nothing else.
    pub const JSON_TORRENT: Self = Self { bittorrent: false, chunk: false, json_torrent: true };
}

/// Content, and where its bytes are or are to be.
#[derive(Debug, Clone)]
pub struct SwarmContent {
    /// The metadata, read. Without hashes of pieces, the sum of the whole has to prove what comes.
    pub info: Arc<Info>,
    /// The same as it travels: the bencoded info dictionary. Empty when there is none.
    pub metadata: Bytes,
    /// Where the bytes are.
    pub store: Arc<Store>,
    /// The pieces that are verified and in the store.
    pub have: Bitfield,
    /// The MD5 of the whole (document 1), where it is known; else it is taken when somebody wants
    /// to know.
    pub md5: Option<[u8; 16]>,
}

/// Something that happens in a swarm.
#[derive(Debug, Clone)]
pub enum SwarmEvent {
    /// What the engine reports.
    Engine(Event),
    /// The store failed. After a failed write no more is fetched.
    StoreFailed(Arc<StoreError>),
}

/// A swarm that a node takes part in. Dropped, it is left as by [`Swarm::stop`], but not waited
/// for.
#[derive(Debug)]
pub struct Swarm {
    info_hash: InfoHash,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Sender<Status>,
    task: JoinHandle<()>,
}

/// What a swarm's owner tells it.
#[derive(Debug)]
pub(crate) enum Command {
    Peers(PeerSource, Dialect, Vec<SocketAddr>),
    Content(Box<SwarmContent>),
    Finish(oneshot::Sender<Result<Option<PathBuf>, StoreError>>),
    /// Somebody watches the status.
    Look,
    LookNow(oneshot::Sender<Status>),
}

/// The driver's ends of what joins it to a [`Swarm`].
#[derive(Debug)]
pub(crate) struct Reins {
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) events: mpsc::UnboundedSender<SwarmEvent>,
}

impl Swarm {
    /// A swarm whose driver is started by `start`, and what it will report. Events wait without
    /// bound: read them, or drop the receiver.
    pub(crate) fn new(
        info_hash: InfoHash,
        start: impl FnOnce(Reins) -> JoinHandle<()>,
    ) -> (Self, mpsc::UnboundedReceiver<SwarmEvent>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (events, reported) = mpsc::unbounded_channel();
        let status = watch::Sender::new(Status::default());
        let task = start(Reins { commands: receiver, status: status.clone(), events });
        (Self { info_hash, commands, status, task }, reported)
    }

    /// Which swarm it is.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// How far it is: renewed four times a second for as long as somebody holds a receiver.
    pub fn status(&self) -> watch::Receiver<Status> {
        let receiver = self.status.subscribe();
        self.tell(Command::Look);
        receiver
    }

    /// How far it is at this moment; as it was at the end, once it has ended.
    pub async fn look(&self) -> Status {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::LookNow(reply));
        match answer.await {
            Ok(status) => status,
            Err(_) => self.status.borrow().clone(),
        }
    }

    /// Names peers to call, and what they speak.
    pub fn add_peers(&self, source: PeerSource, dialect: Dialect, addrs: Vec<SocketAddr>) {
        self.tell(Command::Peers(source, dialect, addrs));
    }

    /// The answer to [`Event::Metadata`] and [`Event::GeometryLearned`]: the content can be fetched
    /// now.
    pub fn content_ready(&self, content: SwarmContent) {
        self.tell(Command::Content(Box::new(content)));
    }

    /// Puts the complete content in place ([`Store::finish`]), on a thread that may wait. Where it
    /// is; `None` when it has no name, or the swarm has no content or has ended.
    ///
    /// # Errors
    /// As [`Store::finish`].
    pub async fn finish(&self) -> Result<Option<PathBuf>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Finish(reply));
        answer.await.unwrap_or(Ok(None))
    }

    /// Says goodbye to trackers and peers and ends, within about two seconds.
    pub async fn stop(self) {
        let Self { commands, task, .. } = self;
        drop(commands);
        // The task ends by itself; that it may have panicked was logged by the runtime.
        let _ = task.await;
    }

    fn tell(&self, command: Command) {
        // A swarm that has ended does nothing more.
        let _ = self.commands.send(command);
    }
}
