//! How a driver carries out the outputs of its engine: dials, messages, blocks, pieces to store,
//! announces. The order and the choice of them are the engine's.

use std::sync::Arc;

use sow_content::Block;
use sow_engine::{
    Announce, AnnounceEvent, ConnId, DisconnectReason, Event, Input, Output, StoreMode,
    StoreOutcome,
};
use tokio::time::Instant;

use super::Driver;
use crate::{
    connection::writer::Outgoing,
    dialer::dial,
    swarm::{
        events::DriverEvent,
        handle::SwarmEvent,
        piece_writer::{CompletePiece, PieceTask},
    },
};

impl Driver {
    /// Carries out every output of the engine.
    pub(super) fn drain_outputs(&mut self) {
        loop {
            while let Some(output) = self.engine.poll() {
                self.handle_output(output);
            }
            let Some(conn) = self.broken.pop_front() else { return };
            if self.connections.remove(&conn).is_some() {
                self.engine.handle(self.node.clock.now(), Input::Closed { conn });
            }
        }
    }

    fn handle_output(&mut self, output: Output) {
        match output {
            Output::Dial { addr, dialect } => {
                let (node, events) = (Arc::clone(&self.node), self.event_sender.clone());
                let info_hash = self.identity.info_hash;
                self.background_tasks
                    .spawn(async move { dial(&node, addr, dialect, info_hash, events).await });
            }
            Output::Send { conn, message } => self.send(conn, Outgoing::Message(message)),
            Output::SendBlock { conn, block } => self.send_block(conn, block),
            Output::Disconnect { conn, reason } => self.disconnect(conn, &reason),
            Output::Store { piece, mode, length } => self.store_piece(piece, mode, length),
            Output::DigestFile => {
                self.digest.request_whole();
                self.advance_digest();
            }
            Output::DiscardBlocks { piece } => self.buffers.discard(piece),
            Output::Announce { url, announce } => self.announce(url, announce),
            Output::Event(event) => {
                if event == Event::Complete {
                    self.buffers.clear();
                    self.node.slabs.clear();
                    self.next_status = Instant::now();
                }
                self.report(SwarmEvent::Engine(event));
            }
        }
    }

    fn send(&mut self, conn: ConnId, outgoing: Outgoing) {
        if self.connections.get(&conn).is_some_and(|connection| !connection.push(outgoing)) {
            self.broken.push_back(conn);
        }
    }

    fn send_block(&mut self, conn: ConnId, block: Block) {
        if let Some(content) = &self.content {
            let store = Arc::clone(&content.store);
            self.send(conn, Outgoing::Block(block, store));
        }
    }

    fn disconnect(&mut self, conn: ConnId, reason: &DisconnectReason) {
        tracing::debug!(%conn, %reason, "disconnecting a peer");
        let Some(connection) = self.connections.remove(&conn) else { return };
        if *reason == DisconnectReason::ShuttingDown {
            connection.close();
        } else if reason.is_answered() {
            // The last message says what is wrong, so it must arrive.
            connection.close_within_timeout(&mut self.connection_tasks);
        }
    }

    /// Hands a complete piece to the hash pool. A buffer that is not exactly the piece is not
    /// hashed: the mismatch would look like a corrupt piece, and ban an honest peer.
    fn store_piece(&mut self, piece: u32, mode: StoreMode, length: u32) {
        let taken = self.buffers.take_complete(piece, length);
        let Some(content) = &self.content else { return };
        let bytes = match taken {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(piece, length, %error, "the buffer is not exactly the piece");
                let outcome = StoreOutcome::IncompleteBuffer;
                let now = self.node.clock.now();
                return self.engine.handle(now, Input::Stored { piece, outcome });
            }
        };
        let task = match mode {
            StoreMode::Verify { digests } => {
                let Some(&hash) = content.info.piece_hashes.get(piece as usize) else { return };
                PieceTask::Verify { hash, digests }
            }
            StoreMode::WriteUnverified => {
                self.digest.keep_piece(piece, &bytes, content.store.geometry());
                PieceTask::Write
            }
            StoreMode::WriteIfDifferent => PieceTask::WriteIfDifferent,
        };
        let complete = CompletePiece { piece, bytes, task };
        let events = self.event_sender.clone();
        let report = move |verdict, error| {
            // A swarm that has ended needs no result.
            let _ = events.blocking_send(DriverEvent::PieceStored { piece, verdict, error });
        };
        self.node.hash_pool.store(complete, Arc::clone(&content.store), report);
        self.pieces_in_pool += 1;
    }

    fn announce(&mut self, url: String, announce: Announce) {
        let (node, events) = (Arc::clone(&self.node), self.event_sender.clone());
        let identity = self.identity;
        let is_last = announce.event == AnnounceEvent::Stopped;
        let work = async move {
            let reply = node.trackers.announce(&url, &identity, &announce).await;
            // A swarm that has ended needs no answer.
            let _ = events.send(DriverEvent::Announced { url, reply }).await;
        };
        if is_last {
            self.stop_announces.spawn(work);
        } else {
            self.background_tasks.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use sow_content::{Bitfield, Geometry, Info, Metainfo, hash::sha1, metainfo::Files};
    use sow_engine::{Config, Status};
    use sow_store::{MemoryStore, Store};
    use sow_wire::bittorrent::{BlockRequest, PeerId};
    use tokio::{
        sync::{mpsc, watch},
        time::timeout,
    };

    use super::*;
    use crate::{
        context::NodeContext,
        options::NodeOptions,
        swarm::{
            events::event_queue,
            handle::{AcceptedDialects, SwarmContent, SwarmHandle, SwarmOptions},
        },
    };

    const PIECE_LENGTH: u32 = 32768;
    const VERIFY: StoreMode = StoreMode::Verify { digests: false };

    /// A driver that fetches one piece of zeros.
    fn driver() -> Driver {
        let geometry = Geometry::new(PIECE_LENGTH.into(), PIECE_LENGTH.into()).unwrap();
        let hashes = vec![sha1(&[0; PIECE_LENGTH as usize])];
        let info = Info::from_parts("zeros", geometry, Files::Single, hashes, false).unwrap();
        let Metainfo { info, info_bytes: metadata, info_hash, .. } = Metainfo::new(info);
        let options = SwarmOptions {
            info_hash,
            content: Some(SwarmContent {
                info: Arc::new(info),
                metadata,
                store: Arc::new(Store::from(MemoryStore::new(geometry))),
                have: Bitfield::new(1),
                md5: None,
            }),
            config: Config::new(PeerId([1; 20]), 0, 1),
            accepts: AcceptedDialects::BITTORRENT,
            peers: Vec::new(),
        };
        let handle = SwarmHandle {
            commands: mpsc::unbounded_channel().1,
            status: watch::Sender::new(Status::default()),
            reports: mpsc::unbounded_channel().0,
        };
        let node = Arc::new(NodeContext::new(NodeOptions::default(), 1));
        Driver::new(node, options, event_queue(), handle)
    }

    fn keep(driver: &mut Driver, offset: u32, length: u32) {
        let request = BlockRequest { piece: 0, offset, length };
        let payload = vec![Bytes::from(vec![0; length as usize])];
        driver.buffers.insert(request, payload, Block { piece: 0, offset, length });
    }

    #[tokio::test]
    async fn only_a_buffer_that_is_exactly_the_piece_is_hashed() {
        let mut driver = driver();
        driver.store_piece(0, VERIFY, PIECE_LENGTH);
        keep(&mut driver, 16384, 16384);
        driver.store_piece(0, VERIFY, PIECE_LENGTH);
        keep(&mut driver, 0, 16384);
        driver.store_piece(0, VERIFY, PIECE_LENGTH);
        assert_eq!(driver.pieces_in_pool, 0, "an incomplete piece is not hashed");

        keep(&mut driver, 0, 16384);
        keep(&mut driver, 16384, 16384);
        driver.store_piece(0, VERIFY, PIECE_LENGTH);
        assert_eq!(driver.pieces_in_pool, 1);
        let stored = timeout(Duration::from_secs(20), driver.events.recv()).await.unwrap();
        let Some(DriverEvent::PieceStored { verdict, .. }) = stored else { panic!("{stored:?}") };
        assert_eq!(verdict, StoreOutcome::Verified { digests: Vec::new() });
    }
}
