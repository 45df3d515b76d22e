//! `sow json-torrent peer` and strangers: as peers that call a seed, and as seeds that a peer
//! calls.

use std::{path::PathBuf, thread, time::Duration};

use super::{
    json_tracker::{ask, frame, tracker},
    stranger::{Listener, Stranger, free_port},
};
use crate::{process::Process, shared::Shared, sow};

const PIECE: usize = 16 << 10;
const PIECES: usize = 40;
const UNCHOKE: i8 = 1;
const INTERESTED: i8 = 2;
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
fn next(stranger: &mut Stranger) -> Option<(i8, Vec<u8>)> {
    loop {
        let length = u64::from_be_bytes(stranger.take(8)?.try_into().expect("eight bytes"));
        assert!(length < 1 << 24, "a frame of {length} bytes");
        let frame = stranger.take(length as usize)?;
        let (head, payload) = frame.split_at_checked(5).unwrap_or((&frame, &[]));
        if let [a, b, c, d, id] = head {
            assert_eq!(i32::from_be_bytes([*a, *b, *c, *d]) as usize, payload.len() + 1);
            return Some((*id as i8, payload.to_vec()));
        }
        assert_eq!(frame, [0; 4], "a KeepAlive is nothing but its length");
    }
}

/// The file with a torrent of `sow` and a tracker, all on this machine.
struct Network {
    shared: Shared,
    torrent: PathBuf,
    tracker_port: u16,
    _tracker: Process,
}

impl Network {
    fn new() -> Self {
        let shared = Shared::file(PIECES * PIECE);
        let (tracker, tracker_port) = tracker();
        let torrent = shared.room("torrent").join("A.torrent");
        let line = format!(
            "json-torrent create {} --announce 127.0.0.1 --port {tracker_port} --piece-length {PIECE} -o {}",
            shared.path.display(),
            torrent.display()
        );
        sow::here(&line).wait_success();
        Self { shared, torrent, tracker_port, _tracker: tracker }
    }

    fn peer(&self, out: &str, more: &str) -> (Process, u16) {
        let port = free_port();
        let line = format!(
            "json-torrent peer {} -p {port} -o {out} --bind 127.0.0.1 --json -v {more}",
            self.torrent.display()
        );
        (sow::here(&line), port)
    }

    fn seed(&self, more: &str) -> (Process, u16) {
        let copy = self.shared.copy("seed");
        let (mut seed, port) =
            self.peer(&copy.display().to_string(), &format!("--seed-for 1h {more}"));
        seed.wait_event("ready");
        (seed, port)
    }

    /// What an honest peer gets from a seed, message by message.
    #[track_caller]
    fn assert_serves(&self, port: u16, what: &str) {
        let mut peer = Stranger::call(port);
        // Both sides send it at once; nobody need wait for the other's, and sow learns from it what
        // is spoken.
        peer.send(&message(BITFIELD, &[0; PIECES]));
        assert_eq!(next(&mut peer), Some((BITFIELD, vec![1; PIECES])), "after {what}");
        peer.send(&message(INTERESTED, &[]));
        loop {
            match next(&mut peer) {
                Some((UNCHOKE, _)) => break,
                Some(_) => {}
                None => panic!("dropped before UnChoke, after {what}"),
            }
        }
        let index = 3_i32;
        peer.send(&message(REQUEST, &index.to_be_bytes()));
        let (id, payload) =
            next(&mut peer).unwrap_or_else(|| panic!("dropped instead of served, after {what}"));
        assert_eq!((id, &payload[..4]), (PIECE_ID, &index.to_be_bytes()[..]), "after {what}");
        assert!(
            &payload[4..] == self.shared.part(3 * PIECE, PIECE),
            "the bytes differ, after {what}"
        );
    }
}

#[test]
fn what_breaks_the_rules_ends_its_own_connection() {
    let network = Network::new();
    let (mut seed, port) = network.seed("");
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
        for (what, bytes) in &bad {
            scope.spawn(move || {
                let mut stranger = Stranger::call(port);
                stranger.send(bytes);
                stranger.wait_end(what);
            });
        }
    });
    network.assert_serves(port, "all of these");
    for cause in [
        "a bitfield that does not fit the content",
        "a second bitfield",
        "a piece index that does not exist",
        "what it sent cannot be understood: ",
        "it says that it ends",
    ] {
        seed.wait_line(&["peer disconnected", "127.0.0.1:", cause]);
    }
    let warned = seed.lines().iter().filter(|line| line.starts_with("warning: ")).count();
    assert_eq!(warned, 1, "one line for one address");
    assert!(seed.runs(), "the seed ended");
}

/// Whether a stranger that sends this gets a piece; it may be dropped or ignored.
fn gets_a_piece(port: u16, bytes: &[u8]) -> bool {
    let mut stranger = Stranger::call(port);
    stranger.send(bytes);
    stranger.within(Duration::from_millis(1500)).0.len() >= PIECE
}

#[test]
fn a_piece_comes_only_when_it_is_due() {
    let network = Network::new();
    let (_seed, port) = network.seed("");
    let (nothing, interested) = (message(BITFIELD, &[0; PIECES]), message(INTERESTED, &[]));
    let request = |index: i32| message(REQUEST, &index.to_be_bytes());
    assert!(
        gets_a_piece(port, &[nothing.clone(), interested.clone(), request(0)].concat()),
        "it serves"
    );
    let undue = [
        ("Request before UnChoke", [nothing.clone(), request(0)].concat()),
        ("Request before Bitfield", request(0)),
        (
            "Request beyond the end",
            [nothing.clone(), interested.clone(), request(PIECES as i32)].concat(),
        ),
        (
            "Request of a negative piece",
            [nothing.clone(), interested.clone(), request(-1)].concat(),
        ),
        ("Request of i32::MIN", [nothing.clone(), interested.clone(), request(i32::MIN)].concat()),
        (
            "Request after UnInterested",
            [nothing.clone(), interested.clone(), message(3, &[]), request(0)].concat(),
        ),
    ];
    for (what, bytes) in undue {
        assert!(!gets_a_piece(port, &bytes), "a piece came for {what}");
        network.assert_serves(port, what);
    }
}

#[test]
fn silence_and_trickles_keep_nobody_waiting() {
    let network = Network::new();
    let (_seed, port) = network.seed("");
    let _silent: Vec<_> = (0..50).map(|_| Stranger::call(port)).collect();
    let mut greedy = Stranger::call(port);
    let many = message(REQUEST, &[0; 4]).repeat(5000);
    greedy.send(&[message(BITFIELD, &[0; PIECES]), message(INTERESTED, &[]), many].concat());
    network.assert_serves(port, "silence and greed");
    let mut slow = Stranger::call(port);
    slow.send(&message(BITFIELD, &[0; PIECES]));
    assert_eq!(next(&mut slow).map(|(id, _)| id), Some(BITFIELD));
    assert!(slow.trickle(&message(INTERESTED, &[]), Duration::from_millis(100)));
    while next(&mut slow).expect("it is still served").0 != UNCHOKE {}
}

/// A seed that answers every Request with this.
fn bad_seed(answer: impl Fn(i32) -> Vec<u8> + Send + Sync + 'static) -> Listener {
    Listener::start(move |mut stranger| {
        stranger.send(&message(BITFIELD, &[1; PIECES]));
        while let Some((id, payload)) = next(&mut stranger) {
            let answer = match id {
                INTERESTED => message(UNCHOKE, &[]),
                REQUEST => answer(i32::from_be_bytes(payload.try_into().unwrap_or_default())),
                _ => continue,
            };
            if !stranger.send(&answer) {
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
fn bad_seeds_do_not_keep_it_from_the_file() {
    let network = Network::new();
    let (_seed, _) = network.seed("--up-limit 300KB/s");
    let seeds = [
        ("silent", Listener::start(|mut stranger| drop(stranger.within(Duration::from_secs(60))))),
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
            Listener::start(|mut stranger| {
                stranger.trickle(&message(BITFIELD, &[1; PIECES]), Duration::from_secs(1));
            }),
        ),
    ];
    for (what, seed) in &seeds {
        assert_eq!(ask(network.tracker_port, seed.port, "started")["error_code"], 0, "{what}");
    }
    let out = network.shared.out("copy");
    let (mut peer, _) = network.peer(&out.display().to_string(), "--timeout 50s --no-seed");
    peer.wait_event("complete");
    peer.wait_success();
    network.shared.assert_copied_to(&out);
    for (what, seed) in &seeds {
        assert!(seed.calls() > 0, "the seed `{what}` was never called");
    }
}
