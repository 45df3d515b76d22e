//! `sow chunk client` and strangers: as its server, as a peer that calls it, and as peers that it
//! calls.

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

use super::stranger::{Listener, Stranger, free_port};
use crate::{
    process::Process,
    shared::{MIB, Shared},
    sow,
};

const CHUNK: usize = 128 << 10;

fn server(shared: &Shared, limit: &str) -> (Process, u16) {
    let line = format!(
        "chunk server -p 0 -f {} --up-limit {limit} --bind 127.0.0.1 --json -v",
        shared.path.display()
    );
    let mut server = sow::here(&line);
    let port = server.wait_event("ready")["port"].as_u64().expect("ready has a port");
    (server, u16::try_from(port).expect("a port"))
}

/// A client of a server on this machine, and where it listens.
fn client(server_port: u16, out: &Path, more: &str) -> (Process, u16) {
    let port = free_port();
    let line = format!(
        "chunk client -s 127.0.0.1 -sp {server_port} -p {port} -o {} --bind 127.0.0.1 --json -v {more}",
        out.display()
    );
    (sow::here(&line), port)
}

fn listed(peer: &mut Stranger) -> Vec<u64> {
    peer.send(b"CLREQ\r\n");
    let answer = peer.text();
    let body = answer.strip_prefix("CLRSP\r\n").unwrap_or_else(|| panic!("no list: {answer:?}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn a_peer_is_answered_with_the_errors_of_the_document() {
    let shared = Shared::file(16 * CHUNK);
    let (_server, server_port) = server(&shared, "250KB/s");
    let out = shared.out("copy");
    let (mut client, port) =
        client(server_port, &out, "--timeout 50s --compat documented --no-seed");
    client.wait_event("ready");
    let mut peer = Stranger::call(port);
    // Nobody listens there: a peer need not be reachable.
    peer.send(format!("CHEL {}\r\n", free_port()).as_bytes());
    assert_eq!(peer.text(), "PHEL\r\n");
    for beyond in ["99999", "-1"] {
        peer.send(format!("DREQ {beyond}\r\n").as_bytes());
        let answer = peer.text();
        assert!(answer.starts_with("ERROR OFFSET_OVERFLOW\r\n"), "to DREQ {beyond}: {answer:?}");
    }
    let here = listed(&mut peer);
    // What is not listed may still have come when it is asked for, so several are tried.
    let refused = (0..16).filter(|chunk| !here.contains(chunk)).any(|chunk| {
        peer.send(format!("DREQ {chunk}\r\n").as_bytes());
        let answer = peer.message();
        if answer.starts_with(b"DATA ") {
            peer.within(Duration::from_millis(200));
        }
        answer.starts_with(b"ERROR CHUNK_UNDOWNLOADED\r\n")
    });
    assert!(refused, "chunks that are not there were never refused");
    peer.send(b"NONSENSE\r\n");
    let answer = peer.text();
    assert!(answer.starts_with("ERROR UNKNOWN_COMMAND\r\n"), "{answer:?}");
    peer.wait_end("after an unknown command");
    client.wait_success();
    shared.assert_copied_to(&out);
}

/// An original takes an ERROR for a chunk that came, and a list that does not fit into one recv
/// ends it.
#[test]
fn an_original_gets_short_lists_and_no_errors() {
    let shared = Shared::file(600 * 4096);
    let line = format!(
        "chunk server -p 0 -f {} --chunk-size 4096 --up-limit 500KB/s --bind 127.0.0.1 --json -v",
        shared.path.display()
    );
    let mut server = sow::here(&line);
    let server_port =
        server.wait_event("ready")["port"].as_u64().and_then(|port| port.try_into().ok());
    let out = shared.out("copy");
    let (mut client, port) = client(
        server_port.expect("a port"),
        &out,
        "--timeout 50s --compat original --seed-for 60s",
    );
    client.wait_event("ready");
    let mut peer = Stranger::call(port);
    peer.send(format!("CHEL {}\r\n", free_port()).as_bytes());
    assert_eq!(peer.text(), "PHEL\r\n");
    peer.send(b"CLREQ\r\n");
    let (_, here) = original_list(&peer.text());
    let missing = (0..600).find(|chunk| !here.contains(chunk)).expect("it is not complete yet");
    let mut asking = Stranger::call(port);
    asking.send(format!("CHEL {}\r\n", free_port()).as_bytes());
    asking.text();
    asking.send(format!("DREQ {}\r\n", missing).as_bytes());
    let (answer, _) = asking.within(Duration::from_secs(5));
    assert!(!answer.starts_with(b"ERROR"), "{:?}", String::from_utf8_lossy(&answer));
    client.wait_event("complete");
    peer.send(b"CLREQ\r\n");
    let list = peer.text();
    assert!(list.len() <= 1024, "a list of {} bytes", list.len());
    let (count, here) = original_list(&list);
    assert_eq!(count, here.len());
    assert!(count > 100, "only {count} chunks are listed");
}

/// The count and the chunks of an original's list.
fn original_list(message: &str) -> (usize, Vec<u64>) {
    let (head, body) = message.split_once("\r\n").expect("a head and a body");
    let count = head.strip_prefix("CLRES ").and_then(|count| count.parse().ok());
    let here = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    (count.unwrap_or_else(|| panic!("no list of an original: {head}")), here)
}

#[test]
fn what_it_lists_it_serves() {
    let shared = Shared::file(8 * CHUNK);
    let (_server, server_port) = server(&shared, "500KB/s");
    let out = shared.out("copy");
    let (mut client, port) = client(server_port, &out, "--compat documented --seed-for 60s");
    client.wait_event("ready");
    // Somebody who has nothing keeps it from leaving.
    let mut peer = Stranger::call(port);
    peer.send(format!("CHEL {}\r\n", free_port()).as_bytes());
    assert_eq!(peer.text(), "PHEL\r\n");
    client.wait_event("complete");
    assert_eq!(listed(&mut peer), (0..8).collect::<Vec<_>>());
    for chunk in 0..8 {
        peer.send(format!("DREQ {chunk}\r\n").as_bytes());
        let head = format!("DATA {} {CHUNK}\r\n", chunk * CHUNK);
        let data = peer.take(head.len() + CHUNK).expect("it sends what it lists");
        assert!(
            data.starts_with(head.as_bytes()),
            "{:?}",
            String::from_utf8_lossy(&data[..head.len()])
        );
        assert!(&data[head.len()..] == shared.part(chunk * CHUNK, CHUNK), "chunk {chunk} differs");
    }
}

/// What a peer says instead of what it should.
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
    /// Lists every chunk, and says nothing when it is asked for one.
    fn default() -> Self {
        Self {
            name: "silent when asked",
            welcome: b"PHEL\r\n".into(),
            list: b"CLRSP\r\n[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]".into(),
            data: |_| Vec::new(),
            ends: false,
        }
    }
}

impl Peer {
    /// Answers every message of a connection. A message is what one read brings.
    fn answer(&self, mut stranger: Stranger) {
        loop {
            let message = stranger.message();
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
            if !stranger.send(&answer) || (self.ends && text.starts_with("DREQ")) {
                return;
            }
        }
    }
}

fn bad_peers() -> Vec<Peer> {
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
fn bad_peers_do_not_keep_it_from_the_file() {
    let shared = Shared::file(16 * CHUNK);
    let (_server, server_port) = server(&shared, "1MB/s");
    let peers: Vec<_> = bad_peers()
        .into_iter()
        .map(|peer| {
            let name = peer.name;
            let listener = Listener::start(move |stranger| peer.answer(stranger));
            let mut member = Stranger::call(server_port);
            member.send(format!("CHEL {}\r\n", listener.port).as_bytes());
            assert!(member.text().starts_with("SHEL "));
            (name, listener, member)
        })
        .collect();
    // One that calls the client by itself and then sends a byte from time to time.
    let out = shared.out("copy");
    let (mut client, port) = client(server_port, &out, "--timeout 50s --no-seed");
    client.wait_event("ready");
    let mut slow = Stranger::call(port);
    thread::spawn(move || slow.trickle(b"CHEL 51000\r\nCLREQ\r\n", Duration::from_secs(1)));
    client.wait_event("complete");
    client.wait_success();
    shared.assert_copied_to(&out);
    for (name, listener, _) in &peers {
        assert!(listener.calls() > 0, "the peer `{name}` was never called");
    }
}

/// When the sum does not fit, the client fetches again from the server what others sent, however
/// long one answer takes.
#[test]
fn a_server_that_is_slow_when_it_matters() {
    let shared = Arc::new(Shared::file(16 * CHUNK));
    let (md5, has_checked) = (shared.md5(), AtomicBool::new(false));
    let was_slow = Arc::new(AtomicBool::new(false));
    let liar = Peer {
        data: |chunk| {
            let mut bytes = format!("DATA {} {CHUNK}\r\n", chunk * CHUNK).into_bytes();
            bytes.resize(bytes.len() + CHUNK, 0);
            bytes
        },
        ..Peer::default()
    };
    let liar = Listener::start(move |stranger| liar.answer(stranger));
    let file = Arc::clone(&shared);
    let honest = Listener::start(move |mut client| {
        while let Some((op, argument)) = words(&client.message()) {
            thread::sleep(Duration::from_millis(200));
            client.send(&match op.as_str() {
                "CHEL" => b"PHEL\r\n".to_vec(),
                "CLREQ" => Peer::default().list,
                _ => data(&file, &argument),
            });
        }
    });
    let peers = format!("[[\"127.0.0.1\",{}],[\"127.0.0.1\",{}]]", liar.port, honest.port);
    let (file, slow) = (Arc::clone(&shared), Arc::clone(&was_slow));
    let server = Listener::start(move |mut client| {
        while let Some((op, argument)) = words(&client.message()) {
            let answer = match op.as_str() {
                "CHEL" => format!("SHEL {} {CHUNK}\r\n{peers}", file.size()).into_bytes(),
                "CHECK" if argument == md5 => format!("CHECK {md5}\r\n").into_bytes(),
                "CHECK" => {
                    has_checked.store(true, Ordering::Relaxed);
                    b"ERROR CHECKSUM_NOT_FIT\r\n".to_vec()
                }
                _ => {
                    let is_slow =
                        has_checked.load(Ordering::Relaxed) && !slow.swap(true, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(if is_slow { 12_000 } else { 200 }));
                    data(&file, &argument)
                }
            };
            client.send(&answer);
        }
    });
    let out = shared.out("copy");
    let (mut client, _) = client(server.port, &out, "--timeout 40s --no-seed");
    client.wait_event("complete");
    client.wait_success();
    shared.assert_copied_to(&out);
    assert!(was_slow.load(Ordering::Relaxed), "nothing was fetched again");
}

/// A right answer to DREQ.
fn data(file: &Shared, chunk: &str) -> Vec<u8> {
    let offset = chunk.parse::<usize>().unwrap_or(0) * CHUNK;
    [format!("DATA {offset} {CHUNK}\r\n").as_bytes(), file.part(offset, CHUNK)].concat()
}

/// OP and first argument; none when the connection has ended.
fn words(message: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(message);
    let mut words = text.split_whitespace();
    Some((words.next()?.to_owned(), words.next().unwrap_or_default().to_owned()))
}

/// A server that answers CHEL with this, and DREQ with nothing.
fn ends_without_a_file(welcome: &[u8]) {
    let answer = welcome.to_vec();
    let server = Listener::start(move |mut stranger| {
        while !stranger.message().is_empty() {
            stranger.send(&answer);
        }
    });
    let shared = Shared::file(1);
    let out = shared.out("copy");
    let (mut client, _) = client(server.port, &out, "--timeout 3s --no-seed");
    let status = client.wait_exit();
    let said = String::from_utf8_lossy(welcome).chars().take(60).collect::<String>();
    assert!(
        status.code().is_some_and(|code| code != 0),
        "{status} with a server that says {said:?}"
    );
    assert!(fs::metadata(&out).is_err(), "a file from a server that says {said:?}");
}

#[test]
fn a_bad_server_gives_no_file() {
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
        let tests: Vec<_> = welcomes
            .into_iter()
            .map(|welcome| scope.spawn(|| ends_without_a_file(welcome)))
            .collect();
        for test in tests {
            test.join().expect("every bad server gives no file");
        }
    });
}
