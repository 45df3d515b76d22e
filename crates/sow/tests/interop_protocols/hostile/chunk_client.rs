//! `sow chunk client` and misbehaving programs: its server, a peer that connects to it, and peers
//! that it connects to.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::connection::{TestConnection, TestServer, UNUSED_PORTS};
use crate::{
    shared_file::{MIB, SharedFile},
    sow,
    support::process::Process,
};

const CHUNK: usize = 128 << 10;

fn server(shared: &SharedFile, limit: &str) -> (Process, u16) {
    let line = format!(
        "chunk server -p 0 -f {} --up-limit {limit} --bind 127.0.0.1 --json -v",
        shared.path.display()
    );
    let mut server = sow::here(&line);
    let port = ready_port(&mut server);
    (server, port)
}

/// A client of a server on this machine.
fn client(server_port: u16, out: &Path, more: &str) -> Process {
    let line = format!(
        "chunk client -s 127.0.0.1 -sp {server_port} -p 0 -o {} --bind 127.0.0.1 --json -v {more}",
        out.display()
    );
    sow::here(&line)
}

/// Waits until a server or client accepts connections; returns its port.
fn ready_port(process: &mut Process) -> u16 {
    let port = process.wait_event("ready")["port"].as_u64().expect("ready has a port");
    u16::try_from(port).expect("a port")
}

/// A peer that is connected to a client, and says that it listens on a port.
#[track_caller]
fn join(client_port: u16, listening: u16) -> TestConnection {
    let mut peer = TestConnection::open(client_port);
    peer.send(format!("CHEL {listening}\r\n").as_bytes());
    assert_eq!(peer.text(), "PHEL\r\n");
    peer
}

/// The bytes that are still to come of a message DATA of which `received` has come.
fn missing_bytes(received: &[u8]) -> usize {
    let head_length = received.windows(2).position(|pair| pair == b"\r\n").expect("a head") + 2;
    let head = String::from_utf8_lossy(&received[..head_length]);
    let length = head.split_whitespace().nth(2).and_then(|length| length.parse::<usize>().ok());
    head_length + length.expect("DATA has a length") - received.len()
}

fn listed(peer: &mut TestConnection) -> Vec<u64> {
    peer.send(b"CLREQ\r\n");
    let answer = peer.text();
    let body = answer.strip_prefix("CLRSP\r\n").unwrap_or_else(|| panic!("no list: {answer:?}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn a_peer_is_answered_with_the_errors_of_the_protocol() {
    let shared = SharedFile::file(16 * CHUNK);
    let (_server, server_port) = server(&shared, "250KB/s");
    let out = shared.out("copy");
    let mut client = client(server_port, &out, "--timeout 100s --compat documented --no-seed");
    // A peer need not be reachable.
    let mut peer = join(ready_port(&mut client), UNUSED_PORTS[0]);
    for beyond in ["99999", "-1"] {
        peer.send(format!("DREQ {beyond}\r\n").as_bytes());
        let answer = peer.text();
        assert!(answer.starts_with("ERROR OFFSET_OVERFLOW\r\n"), "to DREQ {beyond}: {answer:?}");
    }
    let here = listed(&mut peer);
    // A chunk that is not in the list may arrive before the request for it, so several are tried.
    let is_rejected = (0..16).filter(|chunk| !here.contains(chunk)).any(|chunk| {
        peer.send(format!("DREQ {chunk}\r\n").as_bytes());
        let answer = peer.message();
        if answer.starts_with(b"DATA ") {
            peer.take(missing_bytes(&answer)).expect("the whole chunk");
        }
        answer.starts_with(b"ERROR CHUNK_UNDOWNLOADED\r\n")
    });
    assert!(is_rejected, "no request of a missing chunk was rejected");
    peer.send(b"NONSENSE\r\n");
    let answer = peer.text();
    assert!(answer.starts_with("ERROR UNKNOWN_COMMAND\r\n"), "{answer:?}");
    peer.wait_end("after an unknown command");
    client.wait_success();
    shared.assert_copied_to(&out);
}

/// The original program takes an ERROR for a received chunk, and ends when a list does not fit into
/// one call of `recv`.
#[test]
fn the_original_program_gets_short_lists_and_no_errors() {
    let shared = SharedFile::file(600 * 4096);
    let line = format!(
        "chunk server -p 0 -f {} --chunk-size 4096 --up-limit 250KB/s --bind 127.0.0.1 --json -v",
        shared.path.display()
    );
    let mut server = sow::here(&line);
    let out = shared.out("copy");
    let options = "--timeout 100s --compat original --seed-for 60s";
    let mut client = client(ready_port(&mut server), &out, options);
    let port = ready_port(&mut client);
    let mut peer = join(port, UNUSED_PORTS[0]);
    peer.send(b"CLREQ\r\n");
    let (_, here) = original_list(&peer.text());
    let missing = (0..600).find(|chunk| !here.contains(chunk)).expect("it is not complete yet");
    let mut requester = join(port, UNUSED_PORTS[1]);
    requester.send(format!("DREQ {missing}\r\n").as_bytes());
    // The connection ends, or the chunk has arrived meanwhile.
    let answer = requester.message();
    assert!(!answer.starts_with(b"ERROR"), "{:?}", String::from_utf8_lossy(&answer));
    client.wait_event("complete");
    peer.send(b"CLREQ\r\n");
    let list = peer.text();
    assert!(list.len() <= 1024, "a list of {} bytes", list.len());
    let (count, here) = original_list(&list);
    assert_eq!(count, here.len());
    assert!(count > 100, "only {count} chunks are listed");
}

/// The count and the chunks of a list in the spelling of the original program.
fn original_list(message: &str) -> (usize, Vec<u64>) {
    let (head, body) = message.split_once("\r\n").expect("a head and a body");
    let count = head.strip_prefix("CLRES ").and_then(|count| count.parse().ok());
    let here = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    (count.unwrap_or_else(|| panic!("not a list: {head}")), here)
}

#[test]
fn a_client_serves_the_chunks_that_it_lists() {
    let shared = SharedFile::file(8 * CHUNK);
    let (_server, server_port) = server(&shared, "500KB/s");
    let out = shared.out("copy");
    let mut client = client(server_port, &out, "--compat documented --seed-for 60s");
    // A connected peer that has nothing keeps the client running.
    let mut peer = join(ready_port(&mut client), UNUSED_PORTS[0]);
    client.wait_event("complete");
    assert_eq!(listed(&mut peer), (0..8).collect::<Vec<_>>());
    for chunk in 0..8 {
        peer.send(format!("DREQ {chunk}\r\n").as_bytes());
        let head = format!("DATA {} {CHUNK}\r\n", chunk * CHUNK);
        let data = peer.take(head.len() + CHUNK).expect("the client sends a chunk that it lists");
        assert!(
            data.starts_with(head.as_bytes()),
            "{:?}",
            String::from_utf8_lossy(&data[..head.len()])
        );
        assert!(&data[head.len()..] == shared.part(chunk * CHUNK, CHUNK), "chunk {chunk} differs");
    }
}

/// A misbehaving peer: its answers instead of the right ones.
struct Peer {
    name: &'static str,
    welcome: Vec<u8>,
    list: Vec<u8>,
    /// The answer to a DREQ for this chunk.
    data: fn(usize) -> Vec<u8>,
    /// Ends the connection after an answer to a DREQ.
    ends: bool,
}

impl Default for Peer {
    /// Lists every chunk, and sends nothing when one is requested.
    fn default() -> Self {
        Self {
            name: "silent after a request",
            welcome: b"PHEL\r\n".into(),
            list: b"CLRSP\r\n[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]".into(),
            data: |_| Vec::new(),
            ends: false,
        }
    }
}

impl Peer {
    /// Answers every message of a connection.
    fn answer(&self, mut connection: TestConnection) {
        loop {
            let message = connection.message();
            let text = String::from_utf8_lossy(&message);
            let answer = match text.split_whitespace().next() {
                Some("CHEL") => self.welcome.clone(),
                Some("CLREQ") => self.list.clone(),
                Some("DREQ") => {
                    let chunk =
                        text.split_whitespace().nth(1).and_then(|id| id.parse().ok()).unwrap_or(0);
                    (self.data)(chunk)
                }
                Some(_) => continue,
                None => return,
            };
            if !connection.send(&answer) || (self.ends && text.starts_with("DREQ")) {
                return;
            }
        }
    }
}

fn misbehaving_peers() -> Vec<Peer> {
    fn deep(op: &str) -> Vec<u8> {
        format!("{op}\r\n{}", "[".repeat(2 * MIB)).into_bytes()
    }
    let data = |name, data| Peer { name, data, ..Peer::default() };
    vec![
        Peer::default(),
        Peer { name: "no PHEL", welcome: Vec::new(), ..Peer::default() },
        Peer { name: "SHEL for PHEL", welcome: b"SHEL 1 1\r\n[]".into(), ..Peer::default() },
        Peer { name: "PHEL for ever", welcome: b"PHEL\r\n".repeat(500_000), ..Peer::default() },
        Peer { name: "deep list", list: deep("CLRSP"), ..Peer::default() },
        Peer { name: "deep list of an original", list: deep("CLRES 16"), ..Peer::default() },
        Peer {
            name: "impossible list",
            list: b"CLRSP\r\n[-1,99999999999,\"x\",null,{}]".into(),
            ..Peer::default()
        },
        Peer { name: "no list", list: b"CLRSP\r\n{\"a\":1}".into(), ..Peer::default() },
        Peer {
            name: "ERROR to everything",
            list: b"ERROR UNKNOWN_COMMAND\r\nwhy".into(),
            ..Peer::default()
        },
        data("negative size", |chunk| format!("DATA {} -5\r\n", chunk * CHUNK).into_bytes()),
        data("negative offset", |_| format!("DATA -131072 {CHUNK}\r\n").into_bytes()),
        data("huge size", |chunk| {
            format!("DATA {} 9223372036854775807\r\n", chunk * CHUNK).into_bytes()
        }),
        data("another chunk", |chunk| {
            let mut bytes = format!("DATA {} {CHUNK}\r\n", (chunk ^ 1) * CHUNK).into_bytes();
            bytes.resize(bytes.len() + CHUNK, 0);
            bytes
        }),
        data("more than asked", |chunk| {
            let mut bytes = format!("DATA {} {}\r\n", chunk * CHUNK, 2 * CHUNK).into_bytes();
            bytes.resize(bytes.len() + 2 * CHUNK, 0);
            bytes
        }),
        data("no such chunk", |_| b"ERROR CHUNK_UNDOWNLOADED\r\n".into()),
        data("garbage", |_| vec![0xa5; MIB]),
        Peer {
            name: "half a chunk",
            data: |chunk| {
                let mut bytes = format!("DATA {} {CHUNK}\r\n", chunk * CHUNK).into_bytes();
                bytes.resize(bytes.len() + CHUNK / 2, 0);
                bytes
            },
            ends: true,
            ..Peer::default()
        },
    ]
}

#[test]
fn a_client_completes_despite_misbehaving_peers() {
    let shared = SharedFile::file(16 * CHUNK);
    // Slow enough that the client connects to every peer before it is complete.
    let (_server, server_port) = server(&shared, "300KB/s");
    let peers: Vec<_> = misbehaving_peers()
        .into_iter()
        .map(|peer| {
            let name = peer.name;
            let listener = TestServer::start(move |connection| peer.answer(connection));
            let mut member = TestConnection::open(server_port);
            member.send(format!("CHEL {}\r\n", listener.port).as_bytes());
            assert!(member.text().starts_with("SHEL "));
            (name, listener, member)
        })
        .collect();
    let out = shared.out("copy");
    let mut client = client(server_port, &out, "--timeout 100s --no-seed");
    // One more peer connects to the client and then sends one byte a second.
    let mut slow = TestConnection::open(ready_port(&mut client));
    thread::spawn(move || slow.trickle(b"CHEL 51000\r\nCLREQ\r\n", Duration::from_secs(1)));
    client.wait_event("complete");
    client.wait_success();
    shared.assert_copied_to(&out);
    for (name, listener, _) in &peers {
        assert!(listener.accepted() > 0, "the client never connected to the peer `{name}`");
    }
}

/// The time that an answer of the programs in the next test takes: the download is in progress
/// while its parts happen.
const ANSWER_DELAY: Duration = Duration::from_millis(200);
/// Longer than the client waits for a chunk before it requests it from another peer.
const LONG_ANSWER_DELAY: Duration = Duration::from_secs(12);

/// A peer that has everything; every chunk of it is corrupt.
fn corrupt_peer() -> TestServer {
    let peer = Peer {
        data: |chunk| {
            let mut bytes = format!("DATA {} {CHUNK}\r\n", chunk * CHUNK).into_bytes();
            bytes.resize(bytes.len() + CHUNK, 0);
            bytes
        },
        ..Peer::default()
    };
    TestServer::start(move |connection| peer.answer(connection))
}

/// A peer that has everything.
fn honest_peer(file: Arc<SharedFile>) -> TestServer {
    TestServer::start(move |mut client| {
        while let Some((op, argument)) = words(&client.message()) {
            thread::sleep(ANSWER_DELAY);
            client.send(&match op.as_str() {
                "CHEL" => b"PHEL\r\n".to_vec(),
                "CLREQ" => Peer::default().list,
                _ => data(&file, &argument),
            });
        }
    })
}

/// A server that knows `peers`. It takes long to answer the first request after it has rejected the
/// checksum of the file, and then sets `was_slow`.
fn slow_server(file: Arc<SharedFile>, peers: String, was_slow: Arc<AtomicBool>) -> TestServer {
    let (md5, has_checked) = (file.md5(), AtomicBool::new(false));
    TestServer::start(move |mut client| {
        while let Some((op, argument)) = words(&client.message()) {
            let answer = match op.as_str() {
                "CHEL" => format!("SHEL {} {CHUNK}\r\n{peers}", file.size()).into_bytes(),
                "CHECK" if argument == md5 => format!("CHECK {md5}\r\n").into_bytes(),
                "CHECK" => {
                    has_checked.store(true, Ordering::Relaxed);
                    b"ERROR CHECKSUM_NOT_FIT\r\n".to_vec()
                }
                _ => {
                    let is_first = has_checked.load(Ordering::Relaxed)
                        && !was_slow.swap(true, Ordering::Relaxed);
                    thread::sleep(if is_first { LONG_ANSWER_DELAY } else { ANSWER_DELAY });
                    data(&file, &argument)
                }
            };
            client.send(&answer);
        }
    })
}

/// When the checksum of the file does not match, the client fetches the chunks of other peers again
/// from the server, even when one answer takes long.
#[test]
fn a_slow_server_replaces_corrupt_chunks() {
    let shared = Arc::new(SharedFile::file(16 * CHUNK));
    let was_slow = Arc::new(AtomicBool::new(false));
    let (corrupt, honest) = (corrupt_peer(), honest_peer(Arc::clone(&shared)));
    let peers = format!("[[\"127.0.0.1\",{}],[\"127.0.0.1\",{}]]", corrupt.port, honest.port);
    let server = slow_server(Arc::clone(&shared), peers, Arc::clone(&was_slow));
    let out = shared.out("copy");
    let mut client = client(server.port, &out, "--timeout 100s --no-seed");
    client.wait_event("complete");
    client.wait_success();
    shared.assert_copied_to(&out);
    assert!(was_slow.load(Ordering::Relaxed), "nothing was fetched again");
}

/// The right answer to DREQ.
fn data(file: &SharedFile, chunk: &str) -> Vec<u8> {
    let offset = chunk.parse::<usize>().unwrap_or(0) * CHUNK;
    [format!("DATA {offset} {CHUNK}\r\n").as_bytes(), file.part(offset, CHUNK)].concat()
}

/// OP and first argument; `None` when the connection has ended.
fn words(message: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(message);
    let mut words = text.split_whitespace();
    Some((words.next()?.to_owned(), words.next().unwrap_or_default().to_owned()))
}

/// A client of a server that sends `welcome` after every message fails and has no file.
fn assert_no_file(welcome: &[u8]) {
    let answer = welcome.to_vec();
    let server = TestServer::start(move |mut connection| {
        while !connection.message().is_empty() {
            connection.send(&answer);
        }
    });
    let shared = SharedFile::file(1);
    let out = shared.out("copy");
    let mut client = client(server.port, &out, "--timeout 3s --no-seed");
    let status = client.wait_exit();
    let sent = String::from_utf8_lossy(welcome).chars().take(60).collect::<String>();
    assert!(
        status.code().is_some_and(|code| code != 0),
        "{status} with a server that sends {sent:?}"
    );
    assert!(fs::metadata(&out).is_err(), "a file from a server that sends {sent:?}");
}

#[test]
fn a_server_with_a_malformed_welcome_gives_no_file() {
    let deep = format!("SHEL 10 10\r\n{}", "[".repeat(2 * MIB));
    let welcomes: Vec<&[u8]> = vec![
        b"SHEL -1 131072\r\n[]",
        b"SHEL 9223372036854775807 131072\r\n[]",
        b"SHEL 9223372036854775807 1\r\n[]",
        b"SHEL 18446744073709551615 18446744073709551615\r\n[]",
        b"SHEL 1048576 0\r\n[]",
        b"SHEL 1048576 -131072\r\n[]",
        b"SHEL x y\r\n[]",
        b"SHEL 10\r\n[]",
        b"SHEL 10 10\r\n{\"a\":1}",
        b"SHEL 10 10\r\n[[\"999.0.0.1\",1],[\"127.0.0.1\",99999],5]",
        b"SHEL 10 10\r\n[",
        b"ERROR UNKNOWN_COMMAND\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        deep.as_bytes(),
        b"",
    ];
    thread::scope(|scope| {
        let tests: Vec<_> =
            welcomes.into_iter().map(|welcome| scope.spawn(|| assert_no_file(welcome))).collect();
        for test in tests {
            test.join().expect("no client has a file");
        }
    });
}
