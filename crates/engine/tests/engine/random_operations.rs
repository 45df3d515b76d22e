//! Random operations against one engine: nothing that a peer can send breaks it.

use std::net::SocketAddr;

use bytes::Bytes;
use sow_content::Bitfield;
use sow_engine::{
    Choking, Dialect, Input, Message as AnyMessage, Output, PeerSource, StoreOutcome,
};
use sow_wire::bittorrent::{
    CopyId, CopyState, ExtensionHandshake, Message, MetadataMessage, Parent, ReceiverReport,
    RelayMessage,
};

use crate::{
    bittorrent::{PIECE, PIECES, UNIT, content, extended, range},
    scene::{METADATA, Scene},
};

#[test]
fn no_sequence_of_operations_breaks_the_engine() {
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let have = match seed % 3 {
            0 => Some(Bitfield::new(PIECES)),
            1 => Some(Bitfield::full(PIECES)),
            _ => None,
        };
        let mut scene = Scene::new(have.map(|have| content(have, false)), |config| {
            config.spread = seed % 2 == 0;
            config.choking = if seed % 5 == 0 { Choking::TitForTat } else { Choking::Cooperative };
            config.relays = seed % 4 < 2;
            config.seed = seed;
        });
        let mut conns = vec![scene.connect_peer()];
        let mut outstanding = Vec::new();
        for _ in 0..300 {
            let conn = conns[rng.usize(..conns.len())];
            let outputs = match rng.u8(..12) {
                0 => {
                    conns.push(match rng.bool() {
                        true => scene.connect_peer(),
                        false => scene.connect_named(),
                    });
                    Vec::new()
                }
                1 => scene.input(Input::Closed { conn }),
                2 => scene.tick(rng.u64(1..3000)),
                3 if !outstanding.is_empty() => {
                    let (conn, request) = outstanding.swap_remove(rng.usize(..outstanding.len()));
                    scene.deliver(conn, request).1
                }
                4 => {
                    let outcome = match rng.u8(..3) {
                        0 => StoreOutcome::Verified { digests: vec![[0; 20]; 2] },
                        1 => StoreOutcome::Corrupt { digests: vec![[rng.u8(..); 20]; 2] },
                        _ => StoreOutcome::Failed,
                    };
                    // Answers that were not asked for do not matter either, as long as the piece
                    // exists.
                    scene.input(Input::Stored { piece: rng.u32(..PIECES), outcome })
                }
                5 => scene.input(Input::PeersFound {
                    dialect: Dialect::BitTorrent,
                    source: PeerSource::Pex,
                    addrs: vec![SocketAddr::from(([10, 1, 1, rng.u8(..)], rng.u16(..)))],
                }),
                _ => {
                    let message = any_message(&mut rng);
                    scene.message(conn, message)
                }
            };
            for output in &outputs {
                if let Output::Send {
                    conn,
                    message: AnyMessage::BitTorrent(Message::Request(request)),
                } = output
                {
                    outstanding.push((*conn, *request));
                }
            }
        }
    }
}

fn any_message(rng: &mut fastrand::Rng) -> Message {
    let index =
        |rng: &mut fastrand::Rng| if rng.u8(..20) == 0 { rng.u32(..) } else { rng.u32(..PIECES) };
    let block = |rng: &mut fastrand::Rng| {
        let lengths = [UNIT, PIECE, 1, 0, u32::MAX];
        range(
            index(rng),
            [0, UNIT][rng.usize(..2)],
            lengths[rng.usize(..8).min(4).saturating_sub(rng.usize(..4))],
        )
    };
    match rng.u8(..20) {
        0 => Message::KeepAlive,
        1 => Message::Choke,
        2 | 3 => Message::Unchoke,
        4 => Message::Interested,
        5 => Message::NotInterested,
        6 => Message::Have(index(rng)),
        7 => Message::Bitfield((0..2).map(|_| rng.u8(..) & 0xc0).collect::<Vec<u8>>().into()),
        8 | 9 => Message::Request(block(rng)),
        10 => Message::Cancel(block(rng)),
        11 => Message::HaveAll,
        12 => Message::HaveNone,
        13 => Message::Reject(block(rng)),
        14 => Message::AllowedFast(index(rng)),
        15 => Message::Suggest(index(rng)),
        16 => {
            let handshake = ExtensionHandshake {
                ut_metadata: Some(rng.u8(..)),
                ut_pex: Some(rng.u8(..)),
                sow_withdraw: Some(rng.u8(..)),
                sow_receiver: Some(rng.u8(..)),
                sow_relay: Some(rng.u8(..)),
                joins_relay: rng.bool(),
                listen_port: Some(rng.u16(..)),
                metadata_size: Some(rng.u32(..100_000)),
                max_block: Some(rng.u32(..)),
                request_queue: Some(rng.u32(..)),
                ..ExtensionHandshake::default()
            };
            extended(0, handshake.encode())
        }
        17 => {
            let states = [CopyState::Fetching, CopyState::Complete, CopyState::failed("full")];
            let state = states[rng.usize(..3)].clone();
            let report = ReceiverReport::new(CopyId([rng.u8(..2); 20]), "web01", state);
            extended(4, report.encode())
        }
        18 => extended(5, any_relay_message(rng).encode()),
        _ => {
            let piece = rng.u32(..3);
            let data = Bytes::from_static(METADATA);
            let total_size = METADATA.len() as u32;
            extended(1, MetadataMessage::Data { piece, total_size, data }.encode())
        }
    }
}

fn any_relay_message(rng: &mut fastrand::Rng) -> RelayMessage {
    if rng.bool() {
        return RelayMessage::Orphaned { stripe: rng.u8(..4), is_at_fault: rng.bool() };
    }
    let parent = |rng: &mut fastrand::Rng| match rng.u8(..4) {
        0 => Parent::Unassigned,
        1 => Parent::Peer(SocketAddr::from(([10, 0, 0, rng.u8(..4)], 52000))),
        _ => Parent::Sender,
    };
    RelayMessage::Parents((0..rng.u8(1..5)).map(|_| parent(rng)).collect())
}
