//! `sow json-torrent peer` and misbehaving peers: as peers that connect to a seed, and as seeds
//! that a peer connects to.

use std::{path::PathBuf, thread, time::Duration};

use super::{
    connection::{TestConnection, TestServer},
    json_tracker::{ask, frame, tracker},
};
use crate::{shared_file::SharedFile, sow, support::process::Process};

const PIECE: usize = 16 << 10;
const PIECES: usize = 40;
const UNCHOKE: i8 = 1;
const INTERESTED: i8 = 2;
const NOT_INTERESTED: i8 = 3;
const HAVE: i8 = 4;
const BITFIELD: i8 = 5;
const REQUEST: i8 = 6;
const PIECE_ID: i8 = 7;
const SERVER_CLOSE: i8 = 10;

/// A message in its frame.
fn message(id: i8, payload: &[u8]) -> Vec<u8> {
    raw_message(payload.len() as i32 + 1, id, payload)
}

/// A message that claims this length.
fn raw_message(length: i32, id: i8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    frame(&bytes)
}

/// The next message that is no KeepAlive: its id and payload.
fn next(connection: &mut TestConnection) -> Option<(i8, Vec<u8>)> {
    loop {
        let length = u64::from_be_bytes(connection.take(8)?.try_into().expect("eight bytes"));
        assert!(length < 1 << 24, "a frame of {length} bytes");
        let frame = connection.take(length as usize)?;
        let (head, payload) = frame.split_at_checked(5).unwrap_or((&frame, &[]));
        if let [a, b, c, d, id] = head {
            assert_eq!(i32::from_be_bytes([*a, *b, *c, *d]) as usize, payload.len() + 1);
            return Some((*id as i8, payload.to_vec()));
        }
        assert_eq!(frame, [0; 4], "a KeepAlive is nothing but its length");
    }
}

/// A file with a torrent of `sow` and a tracker on this machine.
struct LocalSwarm {
    shared: SharedFile,
    torrent: PathBuf,
    tracker_port: u16,
    _tracker: Process,
}

impl LocalSwarm {
    fn new() -> Self {
        let shared = SharedFile::file(PIECES * PIECE);
        let (tracker, tracker_port) = tracker();
        let torrent = shared.subfolder("torrent").join("A.torrent");
        let line = format!(
            "json-torrent create {} --announce 127.0.0.1 --port {tracker_port} \
             --piece-length {PIECE} -o {}",
            shared.path.display(),
            torrent.display()
        );
        sow::here(&line).wait_success();
        Self { shared, torrent, tracker_port, _tracker: tracker }
    }

    fn peer(&self, out: &str, more: &str) -> Process {
        let line = format!(
            "json-torrent peer {} -p 0 -o {out} --bind 127.0.0.1 --json -v {more}",
            self.torrent.display()
        );
        sow::here(&line)
    }

    fn seed(&self, more: &str) -> (Process, u16) {
        let copy = self.shared.copy("seed");
        let mut seed = self.peer(&copy.display().to_string(), &format!("--seed-for 1h {more}"));
        let port = seed.wait_event("ready")["port"].as_u64().expect("ready has a port");
        (seed, u16::try_from(port).expect("a port"))
    }

    /// An honest peer receives a piece from the seed. Panics name `cause`.
    #[track_caller]
    fn assert_serves(&self, port: u16, cause: &str) {
        let mut peer = TestConnection::open(port);
        // Both sides send it at once and wait for nothing; `sow` recognizes the protocol by it.
        peer.send(&message(BITFIELD, &[0; PIECES]));
        assert_eq!(next(&mut peer), Some((BITFIELD, vec![1; PIECES])), "after {cause}");
        peer.send(&message(INTERESTED, &[]));
        loop {
            match next(&mut peer) {
                Some((UNCHOKE, _)) => break,
                Some(_) => {}
                None => panic!("disconnected before UnChoke, after {cause}"),
            }
        }
        let index = 3_i32;
        peer.send(&message(REQUEST, &index.to_be_bytes()));
        let (id, payload) = next(&mut peer)
            .unwrap_or_else(|| panic!("disconnected instead of served, after {cause}"));
        assert_eq!((id, &payload[..4]), (PIECE_ID, &index.to_be_bytes()[..]), "after {cause}");
        assert!(
            &payload[4..] == self.shared.part(3 * PIECE, PIECE),
            "the bytes differ, after {cause}"
        );
    }
}

#[test]
fn a_peer_that_violates_the_protocol_is_disconnected() {
    let swarm = LocalSwarm::new();
    let (mut seed, port) = swarm.seed("");
    let nothing = message(BITFIELD, &[0; PIECES]);
    let twice = [nothing.clone(), nothing.clone()].concat();
    let after_bitfield = |bytes: Vec<u8>| [nothing.clone(), bytes].concat();
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("a Bitfield too short", message(BITFIELD, &[0; PIECES - 1])),
        ("a Bitfield too long", message(BITFIELD, &[0; PIECES + 1])),
        ("an empty Bitfield", message(BITFIELD, &[])),
        ("a Bitfield of neither 0 nor 1", message(BITFIELD, &[2; PIECES])),
        ("a second Bitfield", twice),
        ("a frame of 2^63 bytes", (1_u64 << 63).to_be_bytes().to_vec()),
        ("a frame of 2^64 - 1 bytes", u64::MAX.to_be_bytes().to_vec()),
        ("a frame of 1 TiB", (1_u64 << 40).to_be_bytes().to_vec()),
        ("a message longer than its frame", after_bitfield(raw_message(100, INTERESTED, &[]))),
        ("a message of negative length", after_bitfield(raw_message(-1, INTERESTED, &[]))),
        ("a message of length i32::MIN", after_bitfield(raw_message(i32::MIN, REQUEST, &[0; 4]))),
        ("a frame too short for a length", after_bitfield(frame(&[0, 0]))),
        ("id 55", after_bitfield(message(55, &[]))),
        ("id -1", after_bitfield(message(-1, &[]))),
        (
            "Have of a piece beyond the end",
            after_bitfield(message(HAVE, &(PIECES as i32).to_be_bytes())),
        ),
        ("Have of a negative piece", after_bitfield(message(HAVE, &(-1_i32).to_be_bytes()))),
        ("a short Have", after_bitfield(message(HAVE, &[0]))),
        ("a short Request", after_bitfield(message(REQUEST, &[0; 3]))),
        ("a Piece without an index", after_bitfield(message(PIECE_ID, &[0; 2]))),
        ("ServerClose", after_bitfield(message(SERVER_CLOSE, &[]))),
        ("ServerClose of length 0", after_bitfield(raw_message(0, SERVER_CLOSE, &[]))),
    ];
    thread::scope(|scope| {
        for (violation, bytes) in &bad {
            scope.spawn(move || {
                let mut connection = TestConnection::open(port);
                connection.send(bytes);
                connection.wait_end(violation);
            });
        }
    });
    swarm.assert_serves(port, "all of these");
    for cause in [
        "a bitfield that does not fit the content",
        "a second bitfield",
        "a piece index that does not exist",
        "a malformed message: ",
        "it says that it stops",
    ] {
        seed.wait_line(&["peer disconnected", "127.0.0.1:", cause]);
    }
    let warned = seed.lines().iter().filter(|line| line.starts_with("warning: ")).count();
    assert_eq!(warned, 1, "one line for one address");
    assert!(seed.is_running(), "the seed ended");
}

/// The piece that a valid request names in [`first_piece`].
const VALID: i32 = 7;

fn request(index: i32) -> Vec<u8> {
    message(REQUEST, &index.to_be_bytes())
}

/// The first piece that the seed sends to a peer that sends `bytes`, and then becomes interested
/// and requests the piece [`VALID`]; `None` when the seed ends the connection. The seed answers in
/// order: when it sends [`VALID`] first, it ignored every request before that.
fn first_piece(port: u16, bytes: &[u8]) -> Option<i32> {
    let mut peer = TestConnection::open(port);
    peer.send(bytes);
    peer.send(&message(INTERESTED, &[]));
    let mut has_requested = false;
    loop {
        match next(&mut peer)? {
            (UNCHOKE, _) if !has_requested => {
                has_requested = true;
                peer.send(&request(VALID));
            }
            (PIECE_ID, payload) => {
                let index = payload.first_chunk().expect("a piece has an index");
                return Some(i32::from_be_bytes(*index));
            }
            _ => {}
        }
    }
}

#[test]
fn a_piece_is_sent_only_for_a_valid_request() {
    let swarm = LocalSwarm::new();
    let (_seed, port) = swarm.seed("");
    let (nothing, interested) = (message(BITFIELD, &[0; PIECES]), message(INTERESTED, &[]));
    let not_interested = message(NOT_INTERESTED, &[]);
    let valid = [nothing.clone(), interested.clone(), request(0)].concat();
    assert_eq!(first_piece(port, &valid), Some(0), "the seed does not serve");
    let after_interested =
        |bytes: &[u8]| [nothing.clone(), interested.clone(), bytes.to_vec()].concat();
    let invalid = [
        ("Request before UnChoke", [nothing.clone(), request(0)].concat()),
        ("Request before Bitfield", [request(0), nothing.clone()].concat()),
        ("Request beyond the end", after_interested(&request(PIECES as i32))),
        ("Request of a negative piece", after_interested(&request(-1))),
        ("Request of i32::MIN", after_interested(&request(i32::MIN))),
        ("Request after UnInterested", after_interested(&[not_interested, request(0)].concat())),
    ];
    for (cause, bytes) in invalid {
        let piece = first_piece(port, &bytes);
        assert!(matches!(piece, None | Some(VALID)), "piece {piece:?} came for {cause}");
        swarm.assert_serves(port, cause);
    }
}

#[test]
fn silent_slow_and_greedy_peers_do_not_delay_others() {
    let swarm = LocalSwarm::new();
    let (_seed, port) = swarm.seed("");
    let _silent: Vec<_> = (0..50).map(|_| TestConnection::open(port)).collect();
    let mut greedy = TestConnection::open(port);
    let many = message(REQUEST, &[0; 4]).repeat(5000);
    greedy.send(&[message(BITFIELD, &[0; PIECES]), message(INTERESTED, &[]), many].concat());
    swarm.assert_serves(port, "silence and greed");
    let mut slow = TestConnection::open(port);
    slow.send(&message(BITFIELD, &[0; PIECES]));
    assert_eq!(next(&mut slow).map(|(id, _)| id), Some(BITFIELD));
    assert!(slow.trickle(&message(INTERESTED, &[]), Duration::from_millis(100)));
    while next(&mut slow).expect("it is still served").0 != UNCHOKE {}
}

/// A seed that answers every Request with `answer`.
fn bad_seed(answer: impl Fn(i32) -> Vec<u8> + Send + Sync + 'static) -> TestServer {
    TestServer::start(move |mut connection| {
        connection.send(&message(BITFIELD, &[1; PIECES]));
        while let Some((id, payload)) = next(&mut connection) {
            let answer = match id {
                INTERESTED => message(UNCHOKE, &[]),
                REQUEST => answer(i32::from_be_bytes(payload.try_into().unwrap_or_default())),
                _ => continue,
            };
            if !connection.send(&answer) {
                return;
            }
        }
    })
}

fn piece(index: i32, length: usize) -> Vec<u8> {
    let mut payload = index.to_be_bytes().to_vec();
    payload.resize(4 + length, 9);
    message(PIECE_ID, &payload)
}

#[test]
fn a_peer_completes_despite_misbehaving_seeds() {
    let swarm = LocalSwarm::new();
    // Slow enough that the peer connects to every other seed before it is complete.
    let (_seed, _) = swarm.seed("--up-limit 100KB/s");
    let seeds = [
        ("silent", TestServer::start(|mut connection| connection.stay_silent())),
        ("silent when asked", bad_seed(|_| Vec::new())),
        ("corrupt", bad_seed(|index| piece(index, PIECE))),
        ("another piece", bad_seed(|index| piece((index + 1) % PIECES as i32, PIECE))),
        ("a piece beyond the end", bad_seed(|_| piece(PIECES as i32, PIECE))),
        ("a negative piece", bad_seed(|_| piece(-1, PIECE))),
        ("a long piece", bad_seed(|index| piece(index, PIECE + 1))),
        ("a short piece", bad_seed(|index| piece(index, PIECE - 1))),
        ("an empty piece", bad_seed(|index| piece(index, 0))),
        ("a frame without end", bad_seed(|_| (1_u64 << 62).to_be_bytes().to_vec())),
        ("another Bitfield", bad_seed(|_| message(BITFIELD, &[1; PIECES]))),
        (
            "the whole list of ids",
            bad_seed(|_| (-128..=127).flat_map(|id| message(id, &[])).collect()),
        ),
        (
            "a byte from time to time",
            TestServer::start(|mut connection| {
                connection.trickle(&message(BITFIELD, &[1; PIECES]), Duration::from_secs(1));
            }),
        ),
    ];
    for (name, seed) in &seeds {
        assert_eq!(ask(swarm.tracker_port, seed.port, "started")["error_code"], 0, "{name}");
    }
    let out = swarm.shared.out("copy");
    let mut peer = swarm.peer(&out.display().to_string(), "--timeout 100s --no-seed");
    peer.wait_event("complete");
    peer.wait_success();
    swarm.shared.assert_copied_to(&out);
    for (name, seed) in &seeds {
        assert!(seed.accepted() > 0, "the peer never connected to the seed `{name}`");
    }
}
