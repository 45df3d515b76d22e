//! The engine: it owns the parts of a swarm, takes inputs, gives outputs and runs the timers. What
//! a session event leads to is in `dispatch`; what is decided is in the parts.

mod dispatch;

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use sow_content::{Bitfield, InfoHash};
use sow_wire::bittorrent::ReceiverReport;

use crate::{
    address_book::Source,
    announcer::{self, Announcer},
    config::{Config, Content, Integrity},
    connections::Connections,
    disconnect::DisconnectReason,
    downloads::Downloads,
    io::{
        Announce, AnnounceError, AnnounceEvent, AnnounceReply, ConnId, Dialect, Event, Input,
        Output, Time,
    },
    metadata_fetch::MetadataFetch,
    relay::Plan,
    status::{PeerStatus, StateSize, Status},
    uploads::Uploads,
};

/// The interval at which silence, stalled requests and the upload slots are checked.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);

/// Peers that a tracker is asked for.
const NUM_WANT: u32 = 50;

/// One swarm's decisions. Inputs go in with [`Engine::handle`] and [`Engine::block_arrived`]; after
/// each of them, outputs are taken out with [`Engine::poll`] until it returns `None`.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    rng: fastrand::Rng,
    content: ContentPhase,
    connections: Connections,
    downloads: Downloads,
    uploads: Uploads,
    /// The parents of the members of our crowd; with super-seeding.
    plan: Option<Plan>,
    announcer: Announcer,
    tracker_incomplete: Option<u32>,
    /// A tracker has answered.
    was_tracked: bool,
    out: VecDeque<Output>,
    next_housekeeping: Time,
    began_at: Time,
    /// Why the content is no longer served.
    withdrawn: Option<String>,
    /// What became of our copy, for peers that collect such reports.
    copy_report: Option<ReceiverReport>,
    is_stopped: bool,
}

/// What is known of the content.
#[derive(Debug)]
enum ContentPhase {
    /// The info dictionary has to come from peers (BEP 9), or the geometry from a server.
    FetchingMetadata(MetadataFetch),
    /// It is here, and [`Input::ContentReady`] is awaited.
    AwaitingStore,
    /// There is a store for it.
    Ready {
        /// The bencoded info dictionary, for peers that ask for it.
        metadata: Bytes,
        /// Peers come from trackers alone (BEP 27).
        is_private: bool,
    },
}

impl Engine {
    /// An engine for one swarm. Without `content` the metadata is fetched from peers first.
    pub fn new(config: Config, info_hash: InfoHash, content: Option<Content>, now: Time) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let announcer = Announcer::new(&config.trackers, now, &mut rng);
        let mut engine = Self {
            connections: Connections::new(&config),
            downloads: Downloads::new(&config, &mut rng),
            uploads: Uploads::new(now, &config),
            content: ContentPhase::FetchingMetadata(MetadataFetch::new(info_hash)),
            config,
            rng,
            plan: None,
            announcer,
            tracker_incomplete: None,
            was_tracked: false,
            out: VecDeque::new(),
            next_housekeeping: now,
            began_at: now,
            withdrawn: None,
            copy_report: None,
            is_stopped: false,
        };
        if let Some(content) = content {
            engine.begin_content(now, content);
            engine.finish_content(now);
        }
        engine.announce(now);
        engine
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.is_stopped {
            return;
        }
        match input {
            Input::Connected { conn, addr, direction, handshake } => {
                self.on_connected(now, conn, addr, direction, handshake);
            }
            Input::DialFailed { addr } => {
                self.connections.on_dial_failed(now, addr);
                self.dial(now);
            }
            Input::DialedOurselves { addr } => {
                self.connections.on_dialed_ourselves(addr);
                self.dial(now);
            }
            Input::Closed { conn } => self.on_peer_gone(now, conn, None),
            Input::ReadFailed { conn, reason } => self.on_read_failed(now, conn, reason),
            Input::Message { conn, message } => self.on_message(now, conn, message),
            Input::BlockSent { conn, block } => self.on_block_sent(now, conn, block),
            Input::Stored { piece, outcome } => self.on_stored(now, piece, outcome),
            Input::PeersFound { source, dialect, addrs } => {
                self.on_peers_found(now, &Source::of_input(source), dialect, addrs);
            }
            Input::DigestProgress { bytes } => self.on_digest_progress(now, bytes),
            Input::FileDigest { md5 } => self.on_file_digest(now, md5),
            Input::Announced { url, reply } => self.on_announced(now, url, reply),
            Input::ContentReady(content) => self.on_content_ready(now, *content),
            Input::Withdraw { reason } => self.withdraw(now, reason),
            Input::ReportCopy(report) => self.report_copy(now, report),
            Input::Tick => self.on_tick(now),
            Input::Stop => self.stop(now),
        }
    }

    /// The next output, oldest first. `None`: there is none until the next input.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_wake(&self) -> Option<Time> {
        if self.is_stopped {
            return None;
        }
        let housekeeping = (!self.connections.is_empty()).then_some(self.next_housekeeping);
        let dial = self.connections.next_dial_due().filter(|_| self.withdrawn.is_none());
        let due = [housekeeping, dial, self.announcer.next_due()];
        due.into_iter().flatten().min()
    }

    /// The pieces that are verified and stored; `None` before the metadata is known.
    pub fn have(&self) -> Option<&Bitfield> {
        self.is_content_ready().then(|| self.downloads.have())
    }

    /// The state of the swarm, for people.
    pub fn status(&self, now: Time) -> Status {
        let (down, up) = (self.downloads.rate(), self.uploads.rate());
        let geometry = self.downloads.geometry();
        let peers: Vec<PeerStatus> = self
            .connections
            .iter()
            .filter(|connection| connection.is_identified())
            .map(|connection| {
                let conn = connection.conn();
                let (down, up) = (self.downloads.peer_rate(conn), self.uploads.peer_rate(conn));
                PeerStatus::new(now, connection, down, up)
            })
            .collect();
        Status {
            have: self.downloads.have().count(),
            pieces: geometry.pieces(),
            bytes_verified: geometry.total() - self.downloads.missing_bytes(),
            bytes_pending: self.downloads.pending_bytes(),
            unavailable: self.downloads.unavailable_pieces(),
            bytes_total: geometry.total(),
            downloaded: down.total(),
            uploaded: up.total(),
            wasted: self.downloads.wasted_bytes(),
            rate_down: down.per_second(now),
            rate_up: up.per_second(now),
            others_need: peers.iter().any(|peer| !peer.complete && !peer.upload_only),
            peers,
            unverified: !self.downloads.is_verified(),
            md5: self.downloads.verified_md5(),
            tracker_incomplete: self.tracker_incomplete,
        }
    }

    /// How much is held at the moment, for tests of its bounds.
    pub fn state_size(&self) -> StateSize {
        StateSize {
            connections: self.connections.iter().count(),
            addresses: self.connections.remembered(),
            open_pieces: self.downloads.open_pieces(),
            requests: self.downloads.outstanding_requests(),
            uploads: self.uploads.queued_requests(),
        }
    }

    /// Since when the oldest request waits that is neither answered nor given up. For tests.
    pub fn waits_since(&self) -> Option<Time> {
        self.downloads.waits_since()
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn is_content_ready(&self) -> bool {
        matches!(self.content, ContentPhase::Ready { .. })
    }

    /// Whether the content is known, complete and verified.
    fn is_complete(&self) -> bool {
        self.is_content_ready() && self.downloads.is_complete()
    }

    /// Whether the content is known and pieces are missing, or not verified.
    fn is_downloading(&self, now: Time) -> bool {
        self.is_content_ready() && self.downloads.complete_for(now).is_none()
    }

    fn begin_content(&mut self, now: Time, content: Content) {
        let Content { geometry, have, metadata, private: is_private, integrity, md5 } = content;
        let needs_verification = integrity == Integrity::FileDigest && !self.config.chunk.server;
        let is_super_seeding = self.config.spread && have.is_full() && !needs_verification;
        let (pieces, piece_length) = (geometry.pieces(), geometry.piece_length());
        self.uploads.begin(pieces, piece_length, is_super_seeding, &mut self.rng);
        self.downloads.begin(now, geometry, have, integrity, md5, &mut self.rng);
        self.content = ContentPhase::Ready { metadata, is_private };
        self.plan = (is_super_seeding && self.config.relays).then(Plan::new);
    }

    /// The content is known: what peers said before can be checked, and they are told what is here.
    fn on_content_ready(&mut self, now: Time, content: Content) {
        if self.is_content_ready() {
            return;
        }
        let is_private = content.private;
        self.begin_content(now, content);
        if is_private {
            self.leave_exchanged_peers(now);
        }
        for conn in self.connections.ids() {
            self.begin_content_on(now, conn);
        }
        self.finish_content(now);
        self.announce(now);
    }

    /// What is complete from the start, or has to be verified as a whole, awaits no piece. An empty
    /// file is always complete.
    fn finish_content(&mut self, now: Time) {
        if self.is_complete() {
            self.event(Event::Complete);
        }
        self.begin_digest(now);
    }

    fn on_peers_found(
        &mut self,
        now: Time,
        source: &Source,
        dialect: Dialect,
        addrs: Vec<std::net::SocketAddr>,
    ) {
        for addr in addrs {
            self.connections.add_address(now, addr, source, dialect);
        }
        self.dial(now);
    }

    /// Dials addresses while connections are allowed.
    fn dial(&mut self, now: Time) {
        self.connections.limit_dials(self.needs_few_peers(now));
        while self.withdrawn.is_none()
            && let Some((addr, dialect)) = self.connections.next_dial(now, &mut self.rng)
        {
            self.out.push_back(Output::Dial { addr, dialect });
        }
    }

    /// Announces to every tracker that is due.
    fn announce(&mut self, now: Time) {
        for (url, event) in self.announcer.due(now) {
            let announce = self.announce_numbers(event);
            self.out.push_back(Output::Announce { url, announce });
        }
    }

    fn announce_numbers(&self, event: AnnounceEvent) -> Announce {
        Announce {
            event,
            uploaded: self.uploads.rate().total(),
            downloaded: self.downloads.rate().total(),
            left: match self.is_content_ready() {
                true => self.downloads.missing_bytes(),
                false => u64::MAX,
            },
            numwant: if event == AnnounceEvent::Stopped { 0 } else { NUM_WANT },
        }
    }

    fn on_announced(
        &mut self,
        now: Time,
        url: String,
        reply: Result<AnnounceReply, AnnounceError>,
    ) {
        // A swarm that has peers, or needs none, announces as seldom as the tracker wants.
        let needs_peers = self.connections.is_empty() && !self.is_complete();
        let max_interval = if needs_peers { self.config.announce_at_least } else { Duration::MAX };
        match &reply {
            Ok(reply) => {
                let intervals = (reply.interval, reply.min_interval.unwrap_or_default());
                self.announcer.on_answer(now, &url, Some(intervals), max_interval);
            }
            Err(error) if error.is_permanent() => self.announcer.remove(&url),
            Err(_) => self.announcer.on_answer(now, &url, None, max_interval),
        }
        match reply {
            Ok(reply) => {
                let source = Source::tracker(self.announcer.number_of(&url), reply.from);
                self.tracker_incomplete = reply.incomplete.or(self.tracker_incomplete);
                let peers = reply.peers.len();
                let dialect = announcer::dialect_of(&url);
                // In json-torrent a new peer dials those that are there. A peer that has
                // everything need not dial later ones.
                let is_first = !std::mem::replace(&mut self.was_tracked, true);
                let dials = dialect == Dialect::BitTorrent || is_first || !self.is_complete();
                for addr in reply.peers.into_iter().filter(|_| dials) {
                    self.connections.add_address(now, addr, &source, dialect);
                }
                self.event(Event::TrackerAnswered { url, warning: reply.warning, peers });
                self.dial(now);
            }
            Err(error) => self.event(Event::TrackerFailed { url, error }),
        }
        self.announce(now);
    }

    /// With no peer left and something missing, the trackers are asked earlier than they want.
    fn seek_peers(&mut self, now: Time) {
        if self.connections.is_empty() && !self.is_complete() {
            self.announcer.hurry(now + self.config.announce_at_least);
        }
    }

    /// Everything is verified.
    fn on_complete(&mut self, now: Time) {
        self.announcer.on_complete(now);
        self.announce(now);
        self.event(Event::Complete);
    }

    fn on_tick(&mut self, now: Time) {
        if now >= self.next_housekeeping {
            self.next_housekeeping = now + HOUSEKEEPING_INTERVAL;
            self.check_connections(now);
            self.check_downloads(now);
            match self.uploads.next_choke_round(now) {
                Some(draw) => self.rechoke_tit_for_tat(now, draw),
                None => self.uploads.give_idle_slots(now, &mut self.connections, &mut self.out),
            }
            self.rechoke_cooperative(now);
            self.run_chunk_sessions(now);
            self.send_blocks(now);
        }
        self.announce(now);
        self.dial(now);
    }

    fn stop(&mut self, now: Time) {
        for url in self.announcer.stop() {
            let announce = self.announce_numbers(AnnounceEvent::Stopped);
            self.out.push_back(Output::Announce { url, announce });
        }
        let conns: Vec<ConnId> = self.connections.ids();
        for conn in conns {
            self.disconnect(now, conn, DisconnectReason::ShuttingDown);
        }
        self.is_stopped = true;
    }
}
