//! One engine and scripted peers: the scene of every test in this folder.

use std::net::SocketAddr;

use sow_content::{Block, InfoHash};
use sow_engine::{
    Config, ConnId, Content, Dialect, Direction, DisconnectReason, Engine, Input, Message, Output,
    PeerHandshake, PeerSource, Time,
};
use sow_wire::bittorrent::{BlockRequest, PeerId};

/// The info dictionary of the swarm.
pub(crate) const METADATA: &[u8] = b"an info dictionary";

/// The port on which the engine accepts connections.
pub(crate) const LISTEN_PORT: u16 = 51000;

/// The time that passes with each input, in microseconds.
const INPUT_MICROS: u64 = 1000;

/// An engine, its time, and the next connection's number.
pub(crate) struct Scene {
    pub(crate) engine: Engine,
    pub(crate) now: Time,
    connections: u64,
}

impl Scene {
    pub(crate) fn new(content: Option<Content>, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(PeerId([0; 20]), LISTEN_PORT, 5);
        adjust(&mut config);
        let info_hash = InfoHash(sow_content::hash::sha1(METADATA));
        let mut engine = Engine::new(config, info_hash, content, Time(0));
        while engine.poll().is_some() {}
        Self { engine, now: Time(0), connections: 0 }
    }

    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.engine.poll()).collect()
    }

    pub(crate) fn input(&mut self, input: Input) -> Vec<Output> {
        self.now = Time(self.now.0 + INPUT_MICROS);
        self.engine.handle(self.now, input);
        self.outputs()
    }

    /// One tick after a time.
    pub(crate) fn tick(&mut self, ms: u64) -> Vec<Output> {
        self.now = Time(self.now.0 + ms * 1000);
        self.engine.handle(self.now, Input::Tick);
        self.outputs()
    }

    /// A time with a tick every 50 ms.
    pub(crate) fn wait(&mut self, ms: u64) -> Vec<Output> {
        (0..ms.div_ceil(50)).flat_map(|_| self.tick(50)).collect()
    }

    /// The number that the next connection has.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections + 1
    }

    /// A connection is open; what the engine does then.
    pub(crate) fn connect(
        &mut self,
        addr: SocketAddr,
        direction: Direction,
        handshake: PeerHandshake,
    ) -> (ConnId, Vec<Output>) {
        self.connections += 1;
        let conn = ConnId(self.connections);
        let outputs = self.input(Input::Connected { conn, addr, direction, handshake });
        (conn, outputs)
    }

    /// A connection to or from a host; the user named host 1.
    pub(crate) fn connect_host(
        &mut self,
        host: u8,
        direction: Direction,
        handshake: PeerHandshake,
    ) -> (ConnId, Vec<Output>) {
        let port = match direction {
            Direction::Dialed => 52000,
            Direction::Accepted => 40000 + self.next_connection() as u16,
        };
        let addr = SocketAddr::from(([10, 0, 0, host], port));
        if direction == Direction::Dialed {
            let source = if host == 1 { PeerSource::Named } else { PeerSource::Tracker };
            self.find(source, handshake.dialect(), addr);
        }
        self.connect(addr, direction, handshake)
    }

    /// An address of a peer is found.
    pub(crate) fn find(
        &mut self,
        source: PeerSource,
        dialect: Dialect,
        addr: SocketAddr,
    ) -> Vec<Output> {
        self.input(Input::PeersFound { source, dialect, addrs: vec![addr] })
    }

    /// A message of the peer.
    pub(crate) fn message(&mut self, conn: ConnId, message: impl Into<Message>) -> Vec<Output> {
        self.input(Input::Message { conn, message: message.into() })
    }

    /// A block arrives; what of it is kept, and what the engine does then.
    pub(crate) fn deliver(
        &mut self,
        conn: ConnId,
        request: BlockRequest,
    ) -> (Option<Block>, Vec<Output>) {
        self.now = Time(self.now.0 + INPUT_MICROS);
        let kept = self.engine.block_arrived(self.now, conn, request);
        (kept, self.outputs())
    }
}

/// The reason for which a connection was closed.
pub(crate) fn disconnect_reason(conn: ConnId, outputs: &[Output]) -> Option<DisconnectReason> {
    outputs.iter().find_map(|output| match output {
        Output::Disconnect { conn: which, reason } if *which == conn => Some(reason.clone()),
        _ => None,
    })
}

/// The messages that were sent on a connection.
pub(crate) fn sent(conn: ConnId, outputs: &[Output]) -> Vec<Message> {
    let messages = outputs.iter().filter_map(|output| match output {
        Output::Send { conn: to, message } if *to == conn => Some(message.clone()),
        _ => None,
    });
    messages.collect()
}

/// How many blocks were handed to the sockets.
pub(crate) fn sent_blocks(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::SendBlock { .. })).count()
}
