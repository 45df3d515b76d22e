//! The task that owns an engine: gives it what happens, carries out what it decides. No decision is
//! made here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use sow_content::Block;
use sow_engine::{
    AnnounceEvent, ConnId, Content, DisconnectReason, Engine, Event, Input, Integrity, Output,
    PeerSource, StoreMode, StoreOutcome, Time,
};
use sow_store::StoreError;
use sow_wire::chunk::Spelling;
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    assembly::Assemblies,
    connection::{Connection, FAREWELL},
    disk::{WholePiece, Work},
    inbox::{Connected, Inbox, Letter},
    intake::{Intake, Received},
    node::Shared,
    swarm::{Command, Reins, SwarmContent, SwarmEvent, SwarmOptions},
    tongue::{Bounds, Ear},
    tracker_client::AnnounceIdentity,
    whole_digest::WholeDigest,
    writer::{Outgoing, Speech},
};

/// How often the picture for people is renewed while somebody looks.
const LOOK: Duration = Duration::from_millis(250);

/// How long a piece may be verified before the disk is waited for.
const SYNC: Duration = Duration::from_secs(5);

/// How long a farewell to the trackers may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How many letters are taken at a time.
const MANY: usize = 64;

/// What one swarm's task works with.
pub(crate) struct Driver {
    node: Arc<Shared>,
    announcer: AnnounceIdentity,
    engine: Engine,
    bounds: Bounds,
    spelling: Spelling,
    digest: WholeDigest,
    content: Option<SwarmContent>,
    connections: BTreeMap<ConnId, Connection>,
    /// Connections that cannot take what they are sent.
    broken: VecDeque<ConnId>,
    assemblies: Assemblies,
    inbox: Inbox,
    letters: mpsc::Receiver<Letter>,
    reins: Reins,
    /// The tasks of connections.
    tasks: JoinSet<()>,
    /// Dials and announces: what is called off at the end.
    errands: JoinSet<()>,
    /// Announces that say goodbye.
    farewells: JoinSet<()>,
    /// Pieces that are with the workers.
    storing: usize,
    next_look: Instant,
    /// Verified pieces wait for the disk until then.
    next_sync: Option<Instant>,
    syncing: bool,
}

impl Driver {
    pub(crate) fn new(
        node: Arc<Shared>,
        options: SwarmOptions,
        (inbox, letters): (Inbox, mpsc::Receiver<Letter>),
        reins: Reins,
    ) -> Self {
        let SwarmOptions { info_hash, content, config, peers, .. } = options;
        let (now, spelling) = (node.clock.now(), config.chunk.spelling);
        let bounds =
            Bounds::new(config.max_block, content.as_ref().map(|content| content.info.geometry));
        let announcer = AnnounceIdentity {
            info_hash,
            peer_id: config.peer_id,
            port: config.listen_port,
            key: node.key,
        };
        let mut engine = Engine::new(config, info_hash, content.as_ref().map(engine_content), now);
        for (addr, dialect) in peers {
            engine.handle(
                now,
                Input::PeersFound { source: PeerSource::Named, dialect, addrs: vec![addr] },
            );
        }
        Self {
            node,
            announcer,
            engine,
            bounds,
            spelling,
            digest: WholeDigest::default(),
            content,
            connections: BTreeMap::new(),
            broken: VecDeque::new(),
            assemblies: Assemblies::default(),
            inbox,
            letters,
            reins,
            tasks: JoinSet::new(),
            errands: JoinSet::new(),
            farewells: JoinSet::new(),
            storing: 0,
            next_look: Instant::now(),
            next_sync: None,
            syncing: false,
        }
    }

    /// Runs the swarm until its owner ends it.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(MANY);
        let alarm = sleep_until(Instant::now());
        tokio::pin!(alarm);
        self.carry_out();
        loop {
            // An alarm that rings too early costs less than setting it anew each time.
            let due = self.next_due();
            let sleeps = due.is_some();
            if let Some(due) = due
                && (alarm.is_elapsed() || due < alarm.deadline())
            {
                alarm.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                command = self.reins.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                _ = self.letters.recv_many(&mut batch, MANY) => {
                    batch.drain(..).for_each(|letter| self.open(letter));
                }
                () = &mut alarm, if sleeps => {}
            }
            self.keep_time();
        }
        self.end().await;
    }

    /// When there is something to do without being told.
    fn next_due(&self) -> Option<Instant> {
        let engine = self.engine.next_wake().map(|time| self.node.clock.instant(time));
        let look = self.is_watched().then_some(self.next_look);
        let sync = if self.syncing { None } else { self.next_sync };
        [engine, look, sync].into_iter().flatten().min()
    }

    /// Does what has become due.
    fn keep_time(&mut self) {
        let now = self.node.clock.now();
        if self.engine.next_wake().is_some_and(|due| due <= now) {
            self.engine.handle(now, Input::Tick);
            self.carry_out();
        }
        let instant = self.node.clock.instant(now);
        if self.is_watched() && instant >= self.next_look {
            self.look(now);
            self.next_look = instant + LOOK;
        }
        if !self.syncing && self.next_sync.is_some_and(|due| due <= instant) {
            self.sync();
        }
        while self.tasks.try_join_next().is_some() {}
        while self.errands.try_join_next().is_some() {}
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Peers(source, dialect, addrs) => {
                self.tell(Input::PeersFound { source, dialect, addrs })
            }
            Command::Content(content) => {
                let ready = engine_content(&content);
                self.bounds.learn(ready.geometry);
                let sums = ready.proof == Integrity::FileDigest;
                self.content = Some(*content);
                self.tell(Input::ContentReady(Box::new(ready)));
                if sums {
                    // What an earlier run left may be worth a beginning.
                    self.sum_up();
                }
            }
            Command::Finish(reply) => {
                if let Some(content) = &self.content {
                    let store = Arc::clone(&content.store);
                    // Who asked may have lost interest.
                    spawn_blocking(move || _ = reply.send(store.finish()));
                }
            }
            Command::LookNow(reply) => {
                // Who asked may have lost interest.
                let _ = reply.send(self.engine.status(self.node.clock.now()));
            }
            Command::Look => self.next_look = Instant::now(),
        }
    }

    fn open(&mut self, letter: Letter) {
        match letter {
            Letter::Connected(connected) => self.connected(*connected),
            Letter::DialFailed(addr) => self.tell(Input::DialFailed { addr }),
            Letter::DialedOurselves(addr) => self.tell(Input::DialedOurselves { addr }),
            Letter::Received(conn, batch) => self.received(conn, batch),
            Letter::Closed(conn, ending) => {
                tracing::debug!(%conn, %ending, "a peer has gone");
                match ending.fault() {
                    // The engine drops it, and says why.
                    Some(reason) => self.tell(Input::ReadFailed { conn, reason }),
                    None => self.close(conn),
                }
            }
            Letter::BlockSent(conn, block) => self.tell(Input::BlockSent { conn, block }),
            Letter::Unreadable(conn, error) => {
                self.report(SwarmEvent::StoreFailed(error));
                self.close(conn);
            }
            Letter::Stored { piece, verdict, error } => self.stored(piece, verdict, error),
            Letter::Digested(digested) => {
                let failed = self.digest.finished(*digested);
                self.report_failure(failed);
                self.tell(Input::DigestProgress { bytes: self.digest.end() });
                self.sum_up();
            }
            Letter::Synced(result) => {
                self.syncing = false;
                self.report_failure(result.err());
            }
            Letter::Announced { url, reply } => self.tell(Input::Announced { url, reply }),
        }
    }

    fn connected(&mut self, connected: Connected) {
        let Connected { stream, addr, direction, introduction, first, permit } = connected;
        let conn = self.node.next_conn();
        let dialect = introduction.dialect();
        let intake = Intake::new(
            Ear::new(dialect, direction, &self.bounds),
            &first,
            Arc::clone(&self.node.slabs),
        );
        let speech = (Speech { dialect, spelling: self.spelling }, intake);
        let connection = Connection::open(
            conn,
            stream,
            permit,
            speech,
            &self.node,
            &self.inbox,
            &mut self.tasks,
        );
        self.connections.insert(conn, connection);
        self.tell(Input::Connected { conn, addr, direction, introduction });
    }

    fn received(&mut self, conn: ConnId, batch: Vec<Received>) {
        let now = self.node.clock.now();
        for received in batch {
            // The engine may have dropped the peer over what came before.
            if !self.connections.contains_key(&conn) {
                return;
            }
            match received {
                Received::Message(message) => {
                    self.engine.handle(now, Input::Message { conn, message })
                }
                Received::Block(request, payload) => {
                    if let Some(kept) = self.engine.block_arrived(now, conn, request) {
                        self.assemblies.keep(request, payload, kept);
                    }
                }
            }
            self.carry_out();
        }
    }

    fn close(&mut self, conn: ConnId) {
        if self.connections.remove(&conn).is_some() {
            self.tell(Input::Closed { conn });
        }
    }

    fn stored(&mut self, piece: u32, verdict: StoreOutcome, error: Option<StoreError>) {
        self.storing -= 1;
        let written = matches!(
            verdict,
            StoreOutcome::Verified { .. } | StoreOutcome::WrittenUnverified { .. }
        );
        if written && self.next_sync.is_none() {
            self.next_sync = Some(Instant::now() + SYNC);
        }
        if verdict == (StoreOutcome::WrittenUnverified { differed: true }) {
            self.digest.reset();
        }
        self.report_failure(error);
        self.tell(Input::Stored { piece, verdict });
        if self.is_summed_up() {
            self.sum_up();
        }
    }

    fn tell(&mut self, input: Input) {
        self.engine.handle(self.node.clock.now(), input);
        self.carry_out();
    }

    /// Carries out all that the engine wants done.
    fn carry_out(&mut self) {
        loop {
            while let Some(output) = self.engine.poll() {
                self.carry_out_one(output);
            }
            let Some(conn) = self.broken.pop_front() else { return };
            if self.connections.remove(&conn).is_some() {
                self.engine.handle(self.node.clock.now(), Input::Closed { conn });
            }
        }
    }

    fn carry_out_one(&mut self, output: Output) {
        match output {
            Output::Dial { addr, dialect } => {
                let (node, inbox) = (Arc::clone(&self.node), self.inbox.clone());
                let info_hash = self.announcer.info_hash;
                self.errands.spawn(async move { node.dial(addr, dialect, info_hash, inbox).await });
            }
            Output::Send { conn, message } => self.push(conn, Outgoing::Message(message)),
            Output::SendBlock { conn, block } => self.send_block(conn, block),
            Output::Disconnect { conn, reason } => {
                tracing::debug!(%conn, %reason, "dropping a peer");
                match self.connections.remove(&conn) {
                    Some(connection) if reason == DisconnectReason::ShuttingDown => {
                        connection.leave()
                    }
                    // What is wrong was said in the last message.
                    Some(connection) if reason.is_answered() => {
                        connection.leave_soon(&mut self.tasks)
                    }
                    _ => {}
                }
            }
            Output::Store { piece, mode, .. } => self.store(piece, mode),
            Output::DigestFile => {
                self.digest.want();
                self.sum_up();
            }
            Output::DiscardBlocks { piece } => drop(self.assemblies.take(piece)),
            Output::Announce { url, announce } => self.announce(url, announce),
            Output::Event(event) => {
                if event == Event::Complete {
                    self.assemblies.clear();
                    self.node.slabs.clear();
                    self.next_look = Instant::now();
                }
                self.report(SwarmEvent::Engine(event));
            }
        }
    }

    fn push(&mut self, conn: ConnId, outgoing: Outgoing) {
        if self.connections.get(&conn).is_some_and(|connection| !connection.push(outgoing)) {
            self.broken.push_back(conn);
        }
    }

    fn send_block(&mut self, conn: ConnId, block: Block) {
        if let Some(content) = &self.content {
            let store = Arc::clone(&content.store);
            self.push(conn, Outgoing::Block(block, store));
        }
    }

    fn store(&mut self, piece: u32, storing: StoreMode) {
        let bytes = self.assemblies.take(piece);
        let Some(content) = &self.content else { return };
        let work = match storing {
            StoreMode::Verify { digests } => {
                let Some(&hash) = content.info.piece_hashes.get(piece as usize) else { return };
                Work::Verify { hash, digests }
            }
            StoreMode::WriteUnverified => {
                self.digest.keep(piece, &bytes, content.store.geometry());
                Work::Keep
            }
            StoreMode::WriteIfDifferent => Work::Correct,
        };
        let whole = WholePiece { piece, bytes, work };
        self.node.workers.store(whole, Arc::clone(&content.store), self.inbox.clone());
        self.storing += 1;
    }

    /// Whether the sum of the whole is what proves that it is right.
    fn is_summed_up(&self) -> bool {
        self.content.as_ref().is_some_and(|content| !content.info.has_hashes())
    }

    /// Goes on with the sum of the whole, and hands it over when it is wanted and done.
    fn sum_up(&mut self) {
        let (Some(content), Some(have)) = (&self.content, self.engine.have()) else { return };
        if let Some(md5) = self.digest.take(&content.store) {
            return self.tell(Input::FileDigest { md5 });
        }
        self.digest.advance(have, &content.store, &self.inbox);
    }

    fn announce(&mut self, url: String, announce: sow_engine::Announce) {
        let (node, inbox, announcer) = (Arc::clone(&self.node), self.inbox.clone(), self.announcer);
        let last = announce.event == AnnounceEvent::Stopped;
        let work = async move {
            let reply = node.trackers.announce(&url, &announcer, &announce).await;
            // A swarm that is gone has no use for the answer.
            let _ = inbox.send(Letter::Announced { url, reply }).await;
        };
        if last {
            self.farewells.spawn(work)
        } else {
            self.errands.spawn(work)
        };
    }

    /// Waits for the disk, on a thread that may.
    fn sync(&mut self) {
        self.next_sync = None;
        let Some(content) = &self.content else { return };
        self.syncing = true;
        let (store, inbox) = (Arc::clone(&content.store), self.inbox.clone());
        spawn_blocking(move || {
            let synced = store.sync();
            // Whoever hears of it may want to open the same target at once.
            drop(store);
            // A swarm that is gone has no use for the answer.
            let _ = inbox.blocking_send(Letter::Synced(synced));
        });
    }

    fn is_watched(&self) -> bool {
        self.reins.status.receiver_count() > 0
    }

    fn look(&self, now: Time) {
        self.reins.status.send_replace(self.engine.status(now));
    }

    fn report(&self, event: SwarmEvent) {
        // Nobody has to listen.
        let _ = self.reins.events.send(event);
    }

    fn report_failure(&self, error: Option<StoreError>) {
        if let Some(error) = error {
            tracing::warn!(%error, "the store failed");
            self.report(SwarmEvent::StoreFailed(Arc::new(error)));
        }
    }

    /// Says goodbye, and waits a little for that to arrive and for pieces that are being written.
    async fn end(mut self) {
        self.node.forget(self.announcer.info_hash, &self.inbox);
        self.errands.abort_all();
        self.tell(Input::Stop);
        self.connections.clear();
        let (cut_off, last) = (sleep(FAREWELL), sleep(LAST_WORDS));
        tokio::pin!(cut_off, last);
        while !(self.tasks.is_empty()
            && self.farewells.is_empty()
            && self.storing == 0
            && !self.syncing)
        {
            tokio::select! {
                // Letters are taken, so that nobody waits to hand one in.
                letter = self.letters.recv() => {
                    self.storing -= usize::from(matches!(letter, Some(Letter::Stored { .. })));
                    self.syncing &= !matches!(letter, Some(Letter::Synced(_)));
                }
                _ = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                _ = self.farewells.join_next(), if !self.farewells.is_empty() => {}
                () = &mut cut_off, if !cut_off.is_elapsed() => self.tasks.abort_all(),
                () = &mut last => break,
            }
        }
        self.look(self.node.clock.now());
    }
}

fn engine_content(content: &SwarmContent) -> Content {
    Content {
        geometry: content.info.geometry,
        have: content.have.clone(),
        metadata: content.metadata.clone(),
        private: content.info.private,
        md5: content.md5,
        proof: if content.info.has_hashes() {
            Integrity::PieceHashes
        } else {
            Integrity::FileDigest
        },
    }
}
