//! The task that owns an engine. It hands the engine what happens, runs its timers, and drains its
//! outputs (`outputs`). No decision is made here.

mod outputs;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use sow_engine::{
    ConnId, Content, Direction, Engine, Input, Integrity, PeerSource, StoreOutcome, Time,
};
use sow_store::{StoreError, StoreErrorKind};
use sow_wire::chunk::Spelling;
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    connection::{
        Connection,
        block_reader::{BlockReader, Received},
        codec::{CodecLimits, Decoder},
        liveness::{expect_acknowledgements, lost_addresses},
        writer::{CodecOptions, is_content_lost},
    },
    context::NodeContext,
    options::CLOSE_TIMEOUT,
    swarm::{
        events::{DriverEvent, EventSender, NewConnection},
        file_digest::FileDigest,
        handle::{Command, SwarmContent, SwarmEvent, SwarmHandle, SwarmOptions},
        piece_buffers::PieceBuffers,
    },
    tracker_client::AnnounceIdentity,
};

/// How often the status is published while it has a receiver.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

/// The time from the first unsynced write to the next sync of the store.
const SYNC_DELAY: Duration = Duration::from_secs(5);

/// How often the addresses of this machine are compared with those of the connections.
const ADDRESS_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The time limit for the last announces and the pieces that are being written.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How many events are handled between two looks at commands and timers.
const EVENT_BATCH: usize = 64;

/// The state of one swarm's task.
pub(crate) struct Driver {
    node: Arc<NodeContext>,
    identity: AnnounceIdentity,
    /// The addresses that the user named.
    named: BTreeSet<SocketAddr>,
    engine: Engine,
    codec_limits: CodecLimits,
    spelling: Spelling,
    digest: FileDigest,
    content: Option<SwarmContent>,
    connections: BTreeMap<ConnId, Connection>,
    /// Connections whose outbox is full or closed.
    broken: VecDeque<ConnId>,
    buffers: PieceBuffers,
    event_sender: EventSender,
    events: mpsc::Receiver<DriverEvent>,
    handle: SwarmHandle,
    /// The readers and writers of connections.
    connection_tasks: JoinSet<()>,
    /// Dials and announces. They are aborted when the swarm stops.
    background_tasks: JoinSet<()>,
    /// The announces of `stopped`.
    stop_announces: JoinSet<()>,
    /// How many pieces are with the hash pool.
    pieces_in_pool: usize,
    next_status: Instant,
    next_address_check: Instant,
    /// When the store is synced next; `None` if nothing was written since the last time.
    next_sync: Option<Instant>,
    is_syncing: bool,
}

impl Driver {
    pub(crate) fn new(
        node: Arc<NodeContext>,
        options: SwarmOptions,
        (event_sender, events): (EventSender, mpsc::Receiver<DriverEvent>),
        handle: SwarmHandle,
    ) -> Self {
        let SwarmOptions { info_hash, content, mut config, peers, .. } = options;
        config.max_peers = config.max_peers.min(node.places.peers);
        let (now, spelling) = (node.clock.now(), config.chunk.spelling);
        let geometry = content.as_ref().map(|content| content.info.geometry);
        let codec_limits = CodecLimits::new(config.max_block, geometry);
        let identity = AnnounceIdentity {
            info_hash,
            peer_id: config.peer_id,
            port: config.listen_port,
            key: node.key,
        };
        let mut engine = Engine::new(config, info_hash, content.as_ref().map(engine_content), now);
        let named = peers.iter().map(|(addr, _)| *addr).collect();
        for (addr, dialect) in peers {
            engine.handle(
                now,
                Input::PeersFound { source: PeerSource::Named, dialect, addrs: vec![addr] },
            );
        }
        Self {
            node,
            identity,
            named,
            engine,
            codec_limits,
            spelling,
            digest: FileDigest::default(),
            content,
            connections: BTreeMap::new(),
            broken: VecDeque::new(),
            buffers: PieceBuffers::default(),
            event_sender,
            events,
            handle,
            connection_tasks: JoinSet::new(),
            background_tasks: JoinSet::new(),
            stop_announces: JoinSet::new(),
            pieces_in_pool: 0,
            next_status: Instant::now(),
            next_address_check: Instant::now() + ADDRESS_CHECK_INTERVAL,
            next_sync: None,
            is_syncing: false,
        }
    }

    /// Runs the swarm until its owner ends it.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(EVENT_BATCH);
        let alarm = sleep_until(Instant::now());
        tokio::pin!(alarm);
        self.drain_outputs();
        loop {
            // An alarm that fires too early costs less than one that is reset each time.
            let due = self.next_due();
            let sleeps = due.is_some();
            if let Some(due) = due
                && (alarm.is_elapsed() || due < alarm.deadline())
            {
                alarm.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                command = self.handle.commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => break,
                },
                _ = self.events.recv_many(&mut batch, EVENT_BATCH) => {
                    batch.drain(..).for_each(|event| self.handle_event(event));
                }
                () = &mut alarm, if sleeps => {}
            }
            self.run_timers();
        }
        self.shut_down().await;
    }

    /// When a timer is due next.
    fn next_due(&self) -> Option<Instant> {
        let engine = self.engine.next_wake().map(|time| self.node.clock.instant(time));
        let status = self.is_watched().then_some(self.next_status);
        let sync = if self.is_syncing { None } else { self.next_sync };
        let addresses = (!self.connections.is_empty()).then_some(self.next_address_check);
        [engine, status, sync, addresses].into_iter().flatten().min()
    }

    /// Does what has become due, and reaps tasks that have ended.
    fn run_timers(&mut self) {
        let now = self.node.clock.now();
        if self.engine.next_wake().is_some_and(|due| due <= now) {
            self.engine.handle(now, Input::Tick);
            self.drain_outputs();
        }
        let instant = self.node.clock.instant(now);
        if self.is_watched() && instant >= self.next_status {
            self.publish_status(now);
            self.next_status = instant + STATUS_INTERVAL;
        }
        if instant >= self.next_address_check {
            self.close_connections_without_address();
            self.next_address_check = instant + ADDRESS_CHECK_INTERVAL;
        }
        if !self.is_syncing && self.next_sync.is_some_and(|due| due <= instant) {
            self.sync_store();
        }
        while self.connection_tasks.try_join_next().is_some() {}
        while self.background_tasks.try_join_next().is_some() {}
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::AddPeers(source, dialect, addrs) => {
                self.handle_input(Input::PeersFound { source, dialect, addrs })
            }
            Command::ContentReady(content) => self.set_content(*content),
            Command::Finish(reply) => {
                if let Some(content) = &self.content {
                    let store = Arc::clone(&content.store);
                    // The caller may have dropped its receiver.
                    spawn_blocking(move || _ = reply.send(store.finish()));
                }
            }
            Command::GetStatus(reply) => {
                // The caller may have dropped its receiver.
                let _ = reply.send(self.engine.status(self.node.clock.now()));
            }
            Command::Withdraw(reason) => self.handle_input(Input::Withdraw { reason }),
            Command::ReportCopy(report) => self.handle_input(Input::ReportCopy(report)),
            Command::PublishStatus => self.next_status = Instant::now(),
        }
    }

    fn set_content(&mut self, content: SwarmContent) {
        let ready = engine_content(&content);
        self.codec_limits.set_geometry(ready.geometry);
        let is_verified_by_digest = ready.integrity == Integrity::FileDigest;
        self.content = Some(content);
        self.handle_input(Input::ContentReady(Box::new(ready)));
        if is_verified_by_digest {
            // An earlier run may have left pieces that the digest can cover now.
            self.advance_digest();
        }
    }

    fn handle_event(&mut self, event: DriverEvent) {
        match event {
            DriverEvent::Connected(connection) => self.on_connected(*connection),
            DriverEvent::DialFailed(addr) => self.handle_input(Input::DialFailed { addr }),
            DriverEvent::DialedOurselves(addr) => {
                self.handle_input(Input::DialedOurselves { addr })
            }
            DriverEvent::Received(conn, batch) => self.on_received(conn, batch),
            DriverEvent::ReadEnded(conn, reason) => {
                tracing::debug!(%conn, %reason, "nothing more is read from a peer");
                match reason.fault() {
                    // The engine disconnects the peer, after its dialect's answer if it has one.
                    Some(reason) => self.handle_input(Input::ReadFailed { conn, reason }),
                    None => self.close(conn),
                }
            }
            DriverEvent::BlockSent(conn, block) => {
                self.handle_input(Input::BlockSent { conn, block })
            }
            DriverEvent::BlockReadFailed(conn, error) => {
                self.report(SwarmEvent::StoreFailed(Arc::clone(&error)));
                match is_content_lost(&error) {
                    true => {
                        self.handle_input(Input::Withdraw { reason: withdrawal_reason(&error) })
                    }
                    false => self.close(conn),
                }
            }
            DriverEvent::PieceStored { piece, verdict, error } => {
                self.on_stored(piece, verdict, error)
            }
            DriverEvent::DigestAdvanced(step) => {
                let failed = self.digest.finish_step(*step);
                self.report_failure(failed);
                self.handle_input(Input::DigestProgress { bytes: self.digest.end() });
                self.advance_digest();
            }
            DriverEvent::StoreSynced(result) => {
                self.is_syncing = false;
                self.report_failure(result.err());
            }
            DriverEvent::Announced { url, reply } => {
                self.handle_input(Input::Announced { url, reply })
            }
        }
    }

    fn on_connected(&mut self, new: NewConnection) {
        let NewConnection { stream, addr, direction, introduction, first, permit } = new;
        let conn = self.node.next_conn();
        if direction == Direction::Dialed && self.named.contains(&addr) {
            expect_acknowledgements(&stream);
        }
        let dialect = introduction.dialect();
        let blocks = BlockReader::new(
            Decoder::new(dialect, direction, &self.codec_limits),
            &first,
            Arc::clone(&self.node.slabs),
        );
        let codec = CodecOptions { dialect, spelling: self.spelling };
        let codec = (codec, blocks, self.codec_limits.clone());
        let connection = Connection::open(
            conn,
            stream,
            permit,
            codec,
            &self.node,
            &self.event_sender,
            &mut self.connection_tasks,
        );
        self.connections.insert(conn, connection);
        self.handle_input(Input::Connected { conn, addr, direction, handshake: introduction });
    }

    fn on_received(&mut self, conn: ConnId, batch: Vec<Received>) {
        let now = self.node.clock.now();
        for received in batch {
            // The engine may have disconnected the peer because of an earlier message.
            if !self.connections.contains_key(&conn) {
                return;
            }
            match received {
                Received::Message(message) => {
                    self.engine.handle(now, Input::Message { conn, message })
                }
                Received::Block(request, payload) => {
                    if let Some(kept) = self.engine.block_arrived(now, conn, request) {
                        self.buffers.insert(request, payload, kept);
                    }
                }
            }
            self.drain_outputs();
        }
    }

    fn on_stored(&mut self, piece: u32, verdict: StoreOutcome, error: Option<StoreError>) {
        self.pieces_in_pool -= 1;
        let is_written = matches!(
            verdict,
            StoreOutcome::Verified { .. } | StoreOutcome::WrittenUnverified { .. }
        );
        if is_written && self.next_sync.is_none() {
            self.next_sync = Some(Instant::now() + SYNC_DELAY);
        }
        if verdict == (StoreOutcome::WrittenUnverified { differed: true }) {
            self.digest.reset();
        }
        self.report_failure(error);
        self.handle_input(Input::Stored { piece, outcome: verdict });
        if self.is_verified_by_digest() {
            self.advance_digest();
        }
    }

    /// Closes the connections from addresses that this machine no longer has, so that peers are
    /// dialed from the new one at once.
    fn close_connections_without_address(&mut self) {
        let lost = lost_addresses(self.connections.values().filter_map(Connection::local));
        if lost.is_empty() {
            return;
        }
        tracing::info!(?lost, "an address of this machine is gone");
        let is_dead = |connection: &Connection| {
            connection.local().is_some_and(|local| lost.contains(&local.ip()))
        };
        let dead = self.connections.iter().filter(|(_, connection)| is_dead(connection));
        for conn in dead.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.close(conn);
        }
    }

    fn close(&mut self, conn: ConnId) {
        if self.connections.remove(&conn).is_some() {
            self.handle_input(Input::Closed { conn });
        }
    }

    fn handle_input(&mut self, input: Input) {
        self.engine.handle(self.node.clock.now(), input);
        self.drain_outputs();
    }

    /// Whether the content has no piece hashes, so that only its digest verifies it.
    fn is_verified_by_digest(&self) -> bool {
        self.content.as_ref().is_some_and(|content| !content.info.has_hashes())
    }

    /// Hands the digest of the whole content to the engine if it is wanted and computed, or else
    /// computes more of it.
    fn advance_digest(&mut self) {
        let (Some(content), Some(have)) = (&self.content, self.engine.have()) else { return };
        if let Some(md5) = self.digest.take_whole(&content.store) {
            return self.handle_input(Input::FileDigest { md5 });
        }
        let events = self.event_sender.clone();
        self.digest.advance(have, &content.store, move |step| {
            // A swarm that has ended needs no result.
            let _ = events.blocking_send(DriverEvent::DigestAdvanced(Box::new(step)));
        });
    }

    /// Syncs the store on a blocking thread.
    fn sync_store(&mut self) {
        self.next_sync = None;
        let Some(content) = &self.content else { return };
        self.is_syncing = true;
        let (store, events) = (Arc::clone(&content.store), self.event_sender.clone());
        spawn_blocking(move || {
            let synced = store.sync();
            // The receiver of the event may open the same target at once.
            drop(store);
            // A swarm that has ended needs no result.
            let _ = events.blocking_send(DriverEvent::StoreSynced(synced));
        });
    }

    fn is_watched(&self) -> bool {
        self.handle.status.receiver_count() > 0
    }

    fn publish_status(&self, now: Time) {
        self.handle.status.send_replace(self.engine.status(now));
    }

    fn report(&self, event: SwarmEvent) {
        // The owner may have dropped its receiver.
        let _ = self.handle.reports.send(event);
    }

    fn report_failure(&self, error: Option<StoreError>) {
        if let Some(error) = error {
            tracing::warn!(%error, "the store failed");
            self.report(SwarmEvent::StoreFailed(Arc::new(error)));
        }
    }

    /// Announces `stopped`, closes the connections, and waits a limited time for that and for
    /// pieces that are being written.
    async fn shut_down(mut self) {
        self.node.remove_routes(self.identity.info_hash, &self.event_sender);
        self.background_tasks.abort_all();
        self.handle_input(Input::Stop);
        self.connections.clear();
        let (close_timeout, shutdown_timeout) = (sleep(CLOSE_TIMEOUT), sleep(SHUTDOWN_TIMEOUT));
        tokio::pin!(close_timeout, shutdown_timeout);
        while !(self.connection_tasks.is_empty()
            && self.stop_announces.is_empty()
            && self.pieces_in_pool == 0
            && !self.is_syncing)
        {
            tokio::select! {
                // The queue is drained, so that no producer blocks on it.
                event = self.events.recv() => {
                    self.pieces_in_pool -=
                        usize::from(matches!(event, Some(DriverEvent::PieceStored { .. })));
                    self.is_syncing &= !matches!(event, Some(DriverEvent::StoreSynced(_)));
                }
                _ = self.connection_tasks.join_next(), if !self.connection_tasks.is_empty() => {}
                _ = self.stop_announces.join_next(), if !self.stop_announces.is_empty() => {}
                () = &mut close_timeout, if !close_timeout.is_elapsed() => {
                    self.connection_tasks.abort_all();
                }
                () = &mut shutdown_timeout => break,
            }
        }
        self.publish_status(self.node.clock.now());
    }
}

/// What peers are told of a file that is no longer what it was: its name, but not where it is.
fn withdrawal_reason(error: &StoreError) -> String {
    let path = match error {
        StoreError::Changed { path, .. } | StoreError::Io { path, .. } => Some(path),
        _ => None,
    };
    let name = path.and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    let change = match error.kind() {
        StoreErrorKind::Missing => "was removed",
        _ => "was changed",
    };
    format!("{} {change} while it was shared", name.as_deref().unwrap_or("a file"))
}

fn engine_content(content: &SwarmContent) -> Content {
    Content {
        geometry: content.info.geometry,
        have: content.have.clone(),
        metadata: content.metadata.clone(),
        private: content.info.private,
        md5: content.md5,
        integrity: if content.info.has_hashes() {
            Integrity::PieceHashes
        } else {
            Integrity::FileDigest
        },
    }
}
