//! Whose request for a whole piece is answered next, when one peer requests many at a time.

use sow_content::{Bitfield, Block, Geometry};
use sow_engine::{ConnId, Content, Direction, Input, Integrity, Output};
use sow_wire::chunk::Message as Chunk;

use crate::{chunk, scene::Scene};

/// Three pieces of this length are with the sockets at a time.
const PIECE: u32 = 64 * 1024;

/// A server, a client that requests many pieces at a time, and one that requests one.
fn server() -> (Scene, ConnId, ConnId) {
    // So many pieces that no client is sent as much as there is.
    let geometry = Geometry::new(64 * u64::from(PIECE), u64::from(PIECE)).unwrap();
    let content = chunk::content(Bitfield::full(64), Integrity::FileDigest);
    let content = Content { geometry, ..content };
    let mut scene = Scene::new(Some(content), |config| config.chunk.server = true);
    let [greedy, modest] = [2, 3].map(|host| {
        let (conn, _) = scene.connect_chunk(Direction::Accepted, host);
        scene.chunk(conn, Chunk::Hello { port: 51000 });
        conn
    });
    (scene, greedy, modest)
}

/// The peers that pieces are sent to after the requests of a client, and once a piece has left.
fn receivers(scene: &mut Scene, conn: ConnId, ids: &[i64], left: (ConnId, u32)) -> Vec<ConnId> {
    let request = |id: &i64| scene.chunk(conn, Chunk::Request(*id));
    let mut outputs: Vec<Output> = ids.iter().flat_map(request).collect();
    let block = Block { piece: left.1, offset: 0, length: PIECE };
    outputs.extend(scene.input(Input::BlockSent { conn: left.0, block }));
    let receiver = |output| match output {
        Output::SendBlock { conn, .. } => Some(conn),
        _ => None,
    };
    outputs.into_iter().filter_map(receiver).collect()
}

#[test]
fn one_that_requests_many_pieces_does_not_always_have_the_one_with_the_fewest_copies() {
    let (mut scene, greedy, modest) = server();
    for id in [0, 1, 2, 0, 3] {
        scene.chunk(greedy, Chunk::Request(id));
    }
    assert_eq!(receivers(&mut scene, modest, &[1], (greedy, 0)), [modest]);
}

#[test]
fn one_that_requests_a_piece_again_has_not_begun_it() {
    let (mut scene, greedy, modest) = server();
    for id in [0; 5] {
        scene.chunk(greedy, Chunk::Request(id));
    }
    assert_eq!(receivers(&mut scene, modest, &[1], (greedy, 0)), [modest]);
}

#[test]
fn one_that_requests_many_pieces_and_is_served_is_not_overdue() {
    let (mut scene, greedy, modest) = server();
    for id in [0; 40] {
        scene.chunk(greedy, Chunk::Request(id));
    }
    for _ in 0..12 {
        scene.wait(50);
        assert_eq!(receivers(&mut scene, greedy, &[], (greedy, 0)), [greedy]);
    }
    assert_eq!(receivers(&mut scene, modest, &[1], (greedy, 0)).first(), Some(&modest));
}
