//! Trackers that aim `sow get` at other machines or services, and trackers that are merely odd:
//! what the first reach, and what is shown of the second. The tracker is a few lines of Rust here.

mod support;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use support::{noise_file, run, text};

/// An HTTP server on loopback, and the first lines of the requests that it got.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]);
                let line = head.lines().next().unwrap_or_default().to_owned();
                let _ = stream.write_all(&answer(&line));
                seen.lock().unwrap().push(line);
            }
        });
        Self { port, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A tracker's answer that names these peers.
fn peers(addrs: &[SocketAddrV4]) -> Vec<u8> {
    let compact: Vec<u8> = addrs
        .iter()
        .flat_map(|addr| [&addr.ip().octets()[..], &addr.port().to_be_bytes()].concat())
        .collect();
    let head = format!("d8:intervali5e5:peers{}:", compact.len());
    ok(&[head.as_bytes(), &compact, b"e"].concat())
}

/// A machine that listens on `ports` ports, and how many connections it got.
fn victim(ip: [u8; 4], ports: usize) -> (Vec<SocketAddrV4>, Arc<AtomicUsize>) {
    let connections = Arc::<AtomicUsize>::default();
    let listen = |_| {
        let listener = TcpListener::bind(SocketAddr::from((ip, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            listener.incoming().for_each(|_| _ = counter.fetch_add(1, Ordering::Relaxed))
        });
        SocketAddrV4::new(ip.into(), port)
    };
    ((0..ports).map(listen).collect(), connections)
}

fn torrent(folder: &Path, trackers: &[String]) -> PathBuf {
    let file = noise_file(folder, "file", 50_000);
    let torrent = folder.join("file.torrent");
    let mut args = vec!["torrent", "create", text(&file), "-o", text(&torrent)];
    trackers.iter().for_each(|url| args.extend(["--tracker", url]));
    run(args).expect(0);
    torrent
}

fn get(folder: &Path, source: &str, timeout: &str) -> support::Ended {
    let output = folder.join("copy");
    run(["get", "--port", "0", "--no-seed", "--timeout", timeout, "-o", text(&output), source])
}

#[test]
fn a_tracker_cannot_aim_a_crowd_at_one_machine() {
    let place = tempfile::tempdir().unwrap();
    let (open_ports, connections) = victim([127, 0, 0, 77], 100);
    // Nothing is to be found on ports of the system.
    let services = (1..1024).map(|port| SocketAddrV4::new([127, 0, 0, 77].into(), port));
    let named: Vec<_> = open_ports.into_iter().chain(services).collect();
    let tracker = Server::start(move |_| peers(&named));
    let torrent = torrent(place.path(), &[tracker.url("/announce")]);
    get(place.path(), text(&torrent), "4s").expect(3);
    let count = connections.load(Ordering::Relaxed);
    assert!((1..=12).contains(&count), "{count} connections");
}

#[test]
fn no_service_of_this_machine_is_reached_by_tracker_urls_and_redirects() {
    let place = tempfile::tempdir().unwrap();
    let internal = Server::start(|_| ok(b"ok"));
    let target = internal.url("/admin/reboot?yes=1");
    let redirect = move |_: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into()
    };
    let redirecting = Server::start(redirect);
    let trackers = [redirecting.url("/announce"), internal.url("/admin/delete?x=1&y=")];
    let torrent = torrent(place.path(), &trackers);
    get(place.path(), text(&torrent), "2s").expect(3).says(&["is not asked"]);
    get(place.path(), &format!("127.0.0.1:{}", redirecting.port), "9s").expect(1);
    get(place.path(), &redirecting.url("/file.torrent"), "9s").expect(1).says(&["redirect"]);
    assert_eq!(internal.requests(), Vec::<String>::new());
    assert!(redirecting.requests().len() >= 3);
}

#[test]
fn a_tracker_says_why_it_refuses() {
    let place = tempfile::tempdir().unwrap();
    let tracker = Server::start(|_| ok(b"d14:failure reason14:not registerede"));
    let torrent = torrent(place.path(), &[tracker.url("/announce")]);
    for timeout in ["2s", "30s"] {
        let ended = get(place.path(), text(&torrent), timeout).says(&["not registered"]);
        assert!(!ended.stderr.contains("check that"), "{}", ended.stderr);
    }
}

#[test]
fn a_tracker_that_cannot_be_asked_costs_a_warning() {
    let place = tempfile::tempdir().unwrap();
    let warning = b"d8:intervali5e5:peers0:15:warning message9:full moone";
    let tracker = Server::start(|_| ok(warning));
    let hash = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let good = tracker.url("/announce");
    let link = format!("magnet:?xt=urn:btih:{hash}&tr=gopher://old/&tr=http://[bad&tr={good}");
    let ended = get(place.path(), &link, "3s").expect(3);
    let ended =
        ended.says(&["gopher://old/ is not asked", "http://[bad is not asked", "full moon"]);
    assert_eq!(ended.stderr.matches("full moon").count(), 1, "{}", ended.stderr);
}
