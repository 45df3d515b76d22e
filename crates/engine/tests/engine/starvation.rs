//! Peers that have everything and deliver nothing, or little, beside one honest peer: the time that
//! an engine needs in spite of them, under a virtual clock.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, InfoHash};
use sow_engine::{
    Config, ConnId, Content, Dialect, Direction, Input, Integrity, Message as AnyMessage, Output,
    PeerHandshake, PeerSource, StoreOutcome, Time,
};
use sow_wire::bittorrent::{BlockRequest, Handshake, Message, PeerId};

use crate::scene::Scene;

const PIECE: u32 = 128 * 1024;
const PIECES: u32 = 160;
const TOTAL: u64 = PIECE as u64 * PIECES as u64;

/// The step of the virtual clock.
const STEP_MICROS: u64 = 5_000;

/// What a peer does that is asked for a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// It delivers this many bytes a second, each block after a delay of so many milliseconds.
    Serves { rate: u64, delay_ms: u64 },
    /// It keeps the connection alive, and delivers nothing.
    Starves,
    /// It rejects every request.
    Rejects,
    /// It delivers nothing, and chokes and unchokes in turn.
    Flaps,
    /// It delivers a block after 10 ms, and then nothing more.
    Vanishes,
}

/// A peer that has everything.
struct Peer {
    conn: ConnId,
    habit: Habit,
    queue: VecDeque<(Time, BlockRequest)>,
    /// The bytes that its link may have sent by now.
    credit: u64,
    is_choking: bool,
    requests: usize,
}

/// One engine that downloads from peers with habits.
struct Swarm {
    scene: Scene,
    peers: Vec<Peer>,
    /// The habits of the peers that the tracker names, each at its [`addr_of`].
    named: Vec<Habit>,
    is_complete: bool,
}

impl Swarm {
    fn new(habits: &[Habit], open_bytes: u64) -> Self {
        let mut swarm = Self::empty(|config| config.open_bytes = open_bytes);
        swarm.connect(habits);
        swarm
    }

    /// A swarm whose peers a tracker names, so that the engine chooses which to dial when.
    fn of_tracker(habits: &[Habit], seed: u64) -> Self {
        let mut swarm = Self::empty(|config| config.seed = seed);
        swarm.named = habits.to_vec();
        let addrs = (0..habits.len()).map(addr_of).collect();
        let (source, dialect) = (PeerSource::Tracker, Dialect::BitTorrent);
        let outputs = swarm.scene.input(Input::PeersFound { source, dialect, addrs });
        swarm.take_in(outputs);
        swarm
    }

    fn empty(adjust: impl FnOnce(&mut Config)) -> Self {
        let content = Content {
            geometry: Geometry::new(TOTAL, PIECE.into()).unwrap(),
            have: Bitfield::new(PIECES),
            metadata: Bytes::from_static(crate::scene::METADATA),
            private: false,
            integrity: Integrity::PieceHashes,
            md5: None,
        };
        let scene = Scene::new(Some(content), adjust);
        Self { scene, peers: Vec::new(), named: Vec::new(), is_complete: false }
    }

    /// Connects peers, and only then carries out what the engine wants of them.
    fn connect(&mut self, habits: &[Habit]) {
        let mut outputs = Vec::new();
        for &habit in habits {
            let conn = self.scene.connect_peer();
            outputs.extend(self.introduce(conn, habit));
        }
        self.take_in(outputs);
    }

    /// The engine dialed a peer that the tracker named.
    fn dialed(&mut self, addr: SocketAddr) -> Vec<Output> {
        let Some(at) = (0..self.named.len()).find(|&at| addr_of(at) == addr) else {
            return Vec::new();
        };
        let (info_hash, peer_id) = (InfoHash([1; 20]), PeerId([at as u8 + 1; 20]));
        let handshake = Handshake { info_hash, peer_id, fast: true, extended: true };
        let handshake = PeerHandshake::BitTorrent(handshake);
        let (conn, mut outputs) = self.scene.connect(addr, Direction::Dialed, handshake);
        outputs.extend(self.introduce(conn, self.named[at]));
        outputs
    }

    /// What a peer says first: that it has everything, and accepts requests.
    fn introduce(&mut self, conn: ConnId, habit: Habit) -> Vec<Output> {
        self.peers.push(Peer {
            conn,
            habit,
            queue: VecDeque::new(),
            credit: 0,
            is_choking: false,
            requests: 0,
        });
        let mut outputs = self.scene.message(conn, Message::HaveAll);
        outputs.extend(self.scene.message(conn, Message::Unchoke));
        outputs
    }

    fn seconds(&self) -> f64 {
        self.scene.now.0 as f64 / 1e6
    }

    /// Lets time pass.
    fn wait(&mut self, seconds: f64) {
        let until = self.scene.now.0 + (seconds * 1e6) as u64;
        while self.scene.now.0 < until {
            self.step();
        }
    }

    /// Carries out what the engine wants, until it wants nothing more.
    fn take_in(&mut self, outputs: Vec<Output>) {
        let mut outputs = VecDeque::from(outputs);
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Send { conn, message: AnyMessage::BitTorrent(message) } => {
                    outputs.extend(self.answer(conn, message));
                }
                Output::Dial { addr, .. } => outputs.extend(self.dialed(addr)),
                Output::Store { piece, .. } => {
                    let outcome = StoreOutcome::Verified { digests: Vec::new() };
                    outputs.extend(self.scene.input(Input::Stored { piece, outcome }));
                }
                Output::Event(sow_engine::Event::Complete) => self.is_complete = true,
                _ => {}
            }
        }
    }

    fn answer(&mut self, conn: ConnId, message: Message) -> Vec<Output> {
        let now = self.scene.now;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.conn == conn) else {
            return Vec::new();
        };
        match message {
            Message::Request(request) => {
                peer.requests += 1;
                if peer.habit == Habit::Rejects {
                    return self.scene.message(conn, Message::Reject(request));
                }
                peer.queue.push_back((now, request));
            }
            Message::Cancel(request) => peer.queue.retain(|(_, queued)| *queued != request),
            _ => {}
        }
        Vec::new()
    }

    /// A step of the clock: what each peer delivers in it.
    fn step(&mut self) {
        let until = Time(self.scene.now.0 + STEP_MICROS);
        for at in 0..self.peers.len() {
            let peer = &mut self.peers[at];
            let conn = peer.conn;
            match peer.habit {
                Habit::Serves { rate, delay_ms } => {
                    peer.credit += rate * STEP_MICROS / 1_000_000;
                    let delay = Duration::from_millis(delay_ms);
                    let mut due = Vec::new();
                    while let Some(&(asked, request)) = peer.queue.front()
                        && peer.credit >= u64::from(request.length)
                        && until.since(asked) >= delay
                    {
                        peer.credit -= u64::from(request.length);
                        peer.queue.pop_front();
                        due.push(request);
                    }
                    if peer.queue.is_empty() {
                        peer.credit = peer.credit.min(rate / 100);
                    }
                    for request in due {
                        let now = self.scene.now;
                        self.scene.engine.block_arrived(now, conn, request);
                        let outputs = self.scene.outputs();
                        self.take_in(outputs);
                    }
                }
                Habit::Flaps if until.0 % 1_500_000 < STEP_MICROS => {
                    peer.is_choking = !peer.is_choking;
                    let message = if peer.is_choking { Message::Choke } else { Message::Unchoke };
                    let outputs = self.scene.message(conn, message);
                    self.take_in(outputs);
                }
                Habit::Vanishes => {
                    let due = Duration::from_millis(10);
                    let first = peer.queue.front().copied();
                    if let Some((asked, request)) = first.filter(|_| peer.credit == 0)
                        && until.since(asked) >= due
                    {
                        peer.credit = 1;
                        self.scene.engine.block_arrived(self.scene.now, conn, request);
                        let outputs = self.scene.outputs();
                        self.take_in(outputs);
                    }
                }
                Habit::Starves if until.0 % 1_500_000 < STEP_MICROS => {
                    let outputs = self.scene.message(conn, Message::KeepAlive);
                    self.take_in(outputs);
                }
                Habit::Starves | Habit::Flaps | Habit::Rejects => {}
            }
        }
        self.scene.now = self.scene.now.max(until);
        let now = self.scene.now;
        if self.scene.engine.next_wake().is_some_and(|wake| wake <= now) {
            self.scene.engine.handle(now, Input::Tick);
        }
        let outputs = self.scene.outputs();
        self.take_in(outputs);
    }

    /// The seconds until everything is here.
    fn run(&mut self, limit: f64) -> f64 {
        while !self.is_complete {
            self.step();
            let seconds = self.seconds();
            assert!(seconds < limit, "not complete after {limit} s");
        }
        self.seconds()
    }

    fn wasted(&self) -> u64 {
        self.scene.engine.status(self.scene.now).wasted
    }
}

/// Where the tracker's peers are, each on a host of its own.
fn addr_of(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, at as u8 + 1], 52000))
}

const FAST: Habit = Habit::Serves { rate: 10_000_000, delay_ms: 1 };
const OPEN_BYTES: u64 = 48 << 20;
/// Fewer units than many peers are asked for at first.
const FEW_OPEN_BYTES: u64 = 2 << 20;
const TWO_OPEN_PIECES: u64 = 0;

/// The seconds beside peers with a habit, which connect before and after the honest one.
fn seconds_beside(count: usize, habit: Habit, honest: Habit, open_bytes: u64) -> f64 {
    let mut habits = vec![habit; count / 2];
    habits.push(honest);
    habits.extend(vec![habit; count - count / 2]);
    Swarm::new(&habits, open_bytes).run(300.0)
}

fn check_beside(habit: Habit, honest: Habit, open_bytes: u64) {
    let alone = Swarm::new(&[honest], open_bytes).run(300.0);
    // So few open pieces that fifty peers hold all of them.
    let most = match open_bytes {
        TWO_OPEN_PIECES => 4,
        FEW_OPEN_BYTES => 20,
        _ => 50,
    };
    for count in [1, 2, 4, 20, 50].into_iter().filter(|&count| count <= most) {
        let beside = seconds_beside(count, habit, honest, open_bytes);
        println!("{habit:?}, {count}: {beside:.2} s, alone {alone:.2} s");
        assert!(
            beside <= 1.3 * alone + 3.0,
            "{count} peers, {habit:?}: {beside:.2} s, {alone:.2} s alone"
        );
    }
}

#[test]
fn peers_that_deliver_nothing_cost_little_time() {
    check_beside(Habit::Starves, FAST, OPEN_BYTES);
}

#[test]
fn peers_that_deliver_nothing_cost_little_time_on_a_long_way() {
    let far = Habit::Serves { rate: 10_000_000, delay_ms: 100 };
    check_beside(Habit::Starves, far, OPEN_BYTES);
}

#[test]
fn peers_that_deliver_nothing_hold_no_open_pieces() {
    check_beside(Habit::Starves, FAST, FEW_OPEN_BYTES);
}

#[test]
fn an_honest_peer_that_comes_late_delivers_what_its_link_carries() {
    let alone = Swarm::new(&[FAST], OPEN_BYTES).run(300.0);
    for count in [30, 50] {
        for (late, after) in [(0.5, 0), (2.3, 21), (3.0, 0), (10.0, 21)] {
            let mut swarm = Swarm::new(&vec![Habit::Starves; count], OPEN_BYTES);
            swarm.wait(late);
            swarm.connect(&[FAST]);
            swarm.connect(&vec![Habit::Starves; after]);
            let begun = swarm.seconds();
            let seconds = swarm.run(300.0) - begun;
            println!("{count} peers, {late} s, {after} more: {seconds:.2} s, alone {alone:.2} s");
            assert!(seconds <= 1.3 * alone + 1.0, "{seconds:.2} s, {alone:.2} s alone");
        }
    }
}

#[test]
fn peers_that_deliver_nothing_keep_no_honest_one_from_being_dialed() {
    let alone = Swarm::of_tracker(&[FAST], 1).run(300.0);
    for count in [30, 50, 100] {
        let mut habits = vec![Habit::Starves; count];
        habits.push(FAST);
        for seed in 0..10 {
            let seconds = Swarm::of_tracker(&habits, seed).run(300.0);
            println!("{count} peers, seed {seed}: {seconds:.2} s, alone {alone:.2} s");
            assert!(seconds <= 1.3 * alone + 3.0, "{seconds:.2} s, {alone:.2} s alone");
        }
    }
}

#[test]
fn peers_that_reject_everything_cost_little_time_and_are_asked_seldom() {
    check_beside(Habit::Rejects, FAST, OPEN_BYTES);
    let mut swarm = Swarm::new(&[Habit::Rejects, Habit::Rejects, FAST], OPEN_BYTES);
    swarm.run(60.0);
    assert!(swarm.peers[..2].iter().all(|peer| peer.requests <= 30));
}

#[test]
fn peers_that_choke_and_unchoke_in_turn_cost_little_time() {
    check_beside(Habit::Flaps, FAST, OPEN_BYTES);
}

#[test]
fn peers_that_deliver_a_block_every_few_seconds_cost_little_time() {
    check_beside(Habit::Serves { rate: 4_000, delay_ms: 0 }, FAST, OPEN_BYTES);
    check_beside(Habit::Serves { rate: 4_000, delay_ms: 0 }, FAST, FEW_OPEN_BYTES);
}

#[test]
fn slow_peers_that_hold_all_open_pieces_keep_no_honest_one_from_being_tried() {
    check_beside(Habit::Serves { rate: 4_000, delay_ms: 0 }, FAST, TWO_OPEN_PIECES);
    check_beside(Habit::Serves { rate: 1_000_000, delay_ms: 5_000 }, FAST, TWO_OPEN_PIECES);
}

#[test]
fn peers_that_vanish_cost_little_time() {
    check_beside(Habit::Vanishes, FAST, OPEN_BYTES);
    check_beside(Habit::Vanishes, FAST, TWO_OPEN_PIECES);
}

#[test]
fn slow_honest_peers_deliver_what_their_links_carry() {
    // An uplink of 1 Mbit/s with a queue of 3 s, beside one of 4 Mbit/s.
    let slow = Habit::Serves { rate: 125_000, delay_ms: 3_000 };
    let other = Habit::Serves { rate: 500_000, delay_ms: 20 };
    let alone = Swarm::new(&[other], OPEN_BYTES).run(300.0);
    let mut swarm = Swarm::new(&[slow, slow, slow, slow, other], OPEN_BYTES);
    let seconds = swarm.run(300.0);
    println!("{seconds:.2} s, {alone:.2} s alone, {} bytes wasted", swarm.wasted());
    assert!(seconds < 0.7 * alone, "{seconds:.2} s, {alone:.2} s without the slow peers");
    assert!(swarm.wasted() < TOTAL / 50, "{} bytes", swarm.wasted());
}

#[test]
fn a_peer_that_is_alone_is_waited_for_and_nothing_is_wasted() {
    let slow = Habit::Serves { rate: 500_000, delay_ms: 14_000 };
    let mut swarm = Swarm::new(&[slow], OPEN_BYTES);
    swarm.run(300.0);
    assert_eq!(swarm.wasted(), 0);
}
