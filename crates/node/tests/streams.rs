//! `raw` and `framed` over loopback: our two ends with each other, and each with strangers that are
//! slow, rude, or gone.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use sow_content::Geometry;
use sow_engine::client_server::{
    Admission, AdmissionLimits, ClientConfig, ClientServerDialect, GiveUp,
};
use sow_node::{
    FetchError, FetchHandle, FetchOptions, FetchedFile, FileServer, FileServerEvent,
    FileServerListener, FileServerOptions, RateLimit, fetch_file,
};
use sow_store::{
    DiskStore, MemoryStore, Placement, SequentialFile, SequentialMemory, SequentialTarget, Store,
    StoreError,
};
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const BOTH: [ClientServerDialect; 2] = [ClientServerDialect::Raw, ClientServerDialect::Framed];

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(length as u64).fill(&mut bytes);
    bytes
}

fn in_memory(bytes: &[u8]) -> Arc<Store> {
    let geometry = Geometry::new(bytes.len() as u64, 1 << 20).unwrap();
    let store = Store::from(MemoryStore::new(geometry));
    for (piece, bytes) in bytes.chunks(1 << 20).enumerate() {
        store.write_piece(piece as u32, &[Bytes::copy_from_slice(bytes)]).unwrap();
    }
    Arc::new(store)
}

/// A server of ours, and how to reach it.
struct Served {
    server: FileServer,
    events: UnboundedReceiver<FileServerEvent>,
    addr: SocketAddr,
}

fn serve(
    framing: ClientServerDialect,
    store: Arc<Store>,
    change: impl FnOnce(&mut FileServerOptions),
) -> Served {
    let mut options = FileServerOptions {
        framing,
        bind: Some(Ipv4Addr::LOCALHOST.into()),
        port: 0,
        up: RateLimit::new(None),
        places: AdmissionLimits::default(),
        stall: Duration::from_secs(20),
    };
    change(&mut options);
    let (server, events) = FileServerListener::bind(options).unwrap().serve(store);
    let addr = (Ipv4Addr::LOCALHOST, server.port()).into();
    Served { server, events, addr }
}

impl Served {
    async fn event(&mut self) -> FileServerEvent {
        timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap()
    }

    /// The next event that is about the end of a transfer.
    async fn end(&mut self) -> FileServerEvent {
        loop {
            match self.event().await {
                FileServerEvent::Accepted { .. } | FileServerEvent::Begins { .. } => {}
                end => return end,
            }
        }
    }
}

/// Fetches with the usual patience, but for what `change` says.
async fn fetch(
    framing: ClientServerDialect,
    addr: SocketAddr,
    store: SequentialTarget,
    change: impl FnOnce(&mut ClientConfig),
) -> Result<FetchedFile, FetchError> {
    let mut settings = ClientConfig::new(framing);
    change(&mut settings);
    let options =
        FetchOptions { addrs: vec![addr], bind: None, down: RateLimit::new(None), settings };
    timeout(PATIENCE, fetch_file(options, store, Arc::default())).await.unwrap()
}

fn file(path: &Path) -> SequentialTarget {
    SequentialTarget::File(SequentialFile::claim(path, false).unwrap())
}

fn memory() -> SequentialTarget {
    SequentialTarget::Memory(SequentialMemory::default())
}

fn bytes_of(fetched: FetchedFile) -> Vec<u8> {
    let SequentialTarget::Memory(memory) = fetched.store else { panic!("not in memory") };
    memory.buffers().collect::<Vec<_>>().concat()
}

/// A stranger's server: each caller in turn gets what `answer` does with it.
fn stranger(callers: usize, answer: impl Fn(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for number in 0..callers {
            let Ok((stream, _)) = listener.accept() else { return };
            answer(number, stream);
        }
    });
    addr
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_length_arrives_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for framing in BOTH {
        for length in [0, 1, 7, 1023, 65_537, 1 << 20, (1 << 20) + 1, 20_000_001] {
            let bytes = noise(length);
            let source = folder.path().join("source");
            fs::write(&source, &bytes).unwrap();
            let on_disk = Arc::new(Store::from(DiskStore::serve_file(&source).unwrap()));
            for store in [on_disk, in_memory(&bytes)] {
                let mut served = serve(framing, store, |_| {});
                let target = folder.path().join(format!("{framing}-{length}"));
                let fetched = fetch(framing, served.addr, file(&target), |_| {}).await.unwrap();
                assert_eq!((fetched.bytes, fetched.from), (length as u64, served.addr));
                assert!(fs::read(&target).unwrap() == bytes, "{framing}: {length} bytes differ");
                fs::remove_file(&target).unwrap();
                let fetched = fetch(framing, served.addr, memory(), |_| {}).await.unwrap();
                assert_eq!(fetched.placed, Placement::Unnamed);
                assert!(bytes_of(fetched) == bytes, "{framing}: {length} bytes differ");
                for _ in 0..2 {
                    let end = served.end().await;
                    assert!(
                        matches!(end, FileServerEvent::Finished { closed: true, .. }),
                        "{end:?}"
                    );
                }
                assert_eq!(served.server.sent(), 2 * length as u64);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_its_length_and_its_bytes() {
    let bytes = noise(100_000);
    for framing in BOTH {
        let served = serve(framing, in_memory(&bytes), |_| {});
        let mut stream = TcpStream::connect(served.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Whoever talks to a server that does not listen still gets everything.
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        let head = if framing == ClientServerDialect::Framed {
            &[0, 0, 0, 0, 0, 1, 0x86, 0xa0][..]
        } else {
            &[]
        };
        assert!(got == [head, &bytes].concat(), "{framing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_is_waited_for() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let addr = (Ipv4Addr::LOCALHOST, port).into();
    let fetching = tokio::spawn(fetch(ClientServerDialect::Raw, addr, memory(), |_| {}));
    tokio::time::sleep(Duration::from_millis(700)).await;
    let _served =
        serve(ClientServerDialect::Raw, in_memory(&noise(500)), |options| options.port = port);
    assert!(bytes_of(fetching.await.unwrap().unwrap()) == noise(500));

    let since = Instant::now();
    let settings =
        |settings: &mut ClientConfig| settings.connect_timeout = Duration::from_millis(500);
    let nobody = (Ipv4Addr::LOCALHOST, 1).into();
    let error = fetch(ClientServerDialect::Raw, nobody, memory(), settings).await.unwrap_err();
    assert!(matches!(error, FetchError::GaveUp { reason: GiveUp::OutOfReach, .. }), "{error}");
    assert!(
        error.to_string().contains("refused") && since.elapsed() < Duration::from_secs(5),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    // Twice it ends too early, then it does not.
    let addr = stranger(3, |number, mut stream| {
        stream.write_all(&10_u64.to_be_bytes()).unwrap();
        stream.write_all(if number < 2 { b"XXXXXXXXX" } else { b"0123456789" }).unwrap();
    });
    let target = folder.path().join("x");
    let fetched = fetch(ClientServerDialect::Framed, addr, file(&target), |_| {}).await.unwrap();
    assert_eq!((fs::read(&target).unwrap(), fetched.bytes), (b"0123456789".to_vec(), 10));

    // A reset is no end, although nothing but the length tells a raw client of one.
    let addr = stranger(2, |number, mut stream| {
        if number == 0 {
            stream.write_all(b"wrong").unwrap();
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        } else {
            stream.write_all(b"right").unwrap();
        }
    });
    assert_eq!(
        bytes_of(fetch(ClientServerDialect::Raw, addr, memory(), |_| {}).await.unwrap()),
        b"right"
    );

    let addr =
        stranger(9, |_, mut stream| stream.write_all(&[0, 0, 0, 0, 0, 0, 0, 9, 1, 2]).unwrap());
    let target = folder.path().join("y");
    let error =
        fetch(ClientServerDialect::Framed, addr, file(&target), |settings| settings.restarts = 2)
            .await
            .unwrap_err();
    let broken = GiveUp::BrokenOff { begun: 3 };
    assert!(matches!(error, FetchError::GaveUp { reason, .. } if reason == broken), "{error}");
    assert!(error.to_string().contains("too early"), "{error}");
    fs::remove_file(folder.path().join("x")).unwrap();
    assert!(is_empty(folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_cannot_be_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("x");
    for length in [1_u64 << 63, u64::MAX] {
        let addr =
            stranger(1, move |_, mut stream| stream.write_all(&length.to_be_bytes()).unwrap());
        let error =
            fetch(ClientServerDialect::Framed, addr, file(&target), |_| {}).await.unwrap_err();
        let FetchError::GaveUp { reason: GiveUp::TooLong { announced, .. }, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(announced, Some(length));
    }
    let addr = stranger(1, |_, mut stream| stream.write_all(&(1_u64 << 62).to_be_bytes()).unwrap());
    let error = fetch(ClientServerDialect::Framed, addr, file(&target), |_| {}).await.unwrap_err();
    assert!(matches!(error, FetchError::Store(StoreError::NoSpace { .. })), "{error}");
    // A raw file is as long as it is: what is too much is noticed on the way.
    let served = serve(ClientServerDialect::Raw, in_memory(&noise(3_000_000)), |_| {});
    for change in
        [(|settings| settings.max_size = 2_999_999) as fn(&mut ClientConfig), |settings| {
            settings.size = Some(1_000_000)
        }]
    {
        let error =
            fetch(ClientServerDialect::Raw, served.addr, file(&target), change).await.unwrap_err();
        assert!(
            matches!(
                error,
                FetchError::GaveUp { reason: GiveUp::TooLong { announced: None, .. }, .. }
            ),
            "{error}"
        );
    }
    let short = |settings: &mut ClientConfig| settings.size = Some(3_000_001);
    let error =
        fetch(ClientServerDialect::Raw, served.addr, file(&target), short).await.unwrap_err();
    let wrong = GiveUp::WrongSize { expected: 3_000_001, came: 3_000_000 };
    assert!(matches!(error, FetchError::GaveUp { reason, .. } if reason == wrong), "{error}");
    assert!(is_empty(folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_a_byte_now_and_then_have_an_end() {
    for framing in BOTH {
        let silent = stranger(1, |_, stream| {
            thread::sleep(PATIENCE);
            drop(stream);
        });
        let trickling = stranger(1, |_, mut stream| {
            let head = 1_000_000_u64.to_be_bytes();
            for byte in head.into_iter().chain(std::iter::repeat(7)) {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        for addr in [silent, trickling] {
            let since = Instant::now();
            let hasty = |settings: &mut ClientConfig| {
                (settings.stall_timeout, settings.restarts) = (Duration::from_millis(600), 0);
            };
            let error = fetch(framing, addr, memory(), hasty).await.unwrap_err();
            assert!(error.to_string().contains("hardly anything"), "{error}");
            assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn called_off_it_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("x");
    let slow = RateLimit::new(Some(200_000));
    let served =
        serve(ClientServerDialect::Raw, in_memory(&noise(20_000_000)), |options| options.up = slow);
    let watch = Arc::new(FetchHandle::default());
    let settings = ClientConfig::new(ClientServerDialect::Raw);
    let options =
        FetchOptions { addrs: vec![served.addr], bind: None, down: RateLimit::new(None), settings };
    let fetching = tokio::spawn(fetch_file(options, file(&target), Arc::clone(&watch)));
    while watch.status().received == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(matches!(SequentialFile::claim(&target, false), Err(StoreError::Locked { .. })));
    watch.cancel();
    let ended = timeout(Duration::from_secs(5), fetching).await.unwrap().unwrap();
    assert!(matches!(ended, Err(FetchError::Cancelled)), "{ended:?}");
    assert!(is_empty(folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_are_kept() {
    for (up, down) in [(Some(4_000_000), None), (None, Some(4_000_000))] {
        let served = serve(ClientServerDialect::Framed, in_memory(&noise(2_000_000)), |options| {
            options.up = RateLimit::new(up)
        });
        let settings = ClientConfig::new(ClientServerDialect::Framed);
        let options = FetchOptions {
            addrs: vec![served.addr],
            bind: None,
            down: RateLimit::new(down),
            settings,
        };
        let since = Instant::now();
        let fetched = fetch_file(options, memory(), Arc::default()).await.unwrap();
        let seconds = since.elapsed().as_secs_f64();
        assert!(bytes_of(fetched) == noise(2_000_000));
        assert!((0.42..10.0).contains(&seconds), "2 MB at 4 MB/s took {seconds} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_costs_itself_alone() {
    let bytes = noise(20_000_000);
    let stall = Duration::from_millis(500);
    let mut served =
        serve(ClientServerDialect::Raw, in_memory(&bytes), |options| options.stall = stall);
    let mut idle = TcpStream::connect(served.addr).unwrap();
    let fetched = fetch(ClientServerDialect::Raw, served.addr, memory(), |_| {}).await.unwrap();
    assert!(bytes_of(fetched) == bytes);
    let ends = [served.end().await, served.end().await];
    let failed = ends.iter().find_map(|end| match end {
        FileServerEvent::Failed { addr, sent, reason } => Some((*addr, *sent, reason.clone())),
        _ => None,
    });
    let (addr, sent, reason) = failed.unwrap();
    assert!(addr == idle.local_addr().unwrap() && sent < bytes.len() as u64, "{addr}: {sent}");
    assert!(reason.contains("takes nothing"), "{reason}");
    // What it reads now does not look like a file that has ended.
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    let error = idle.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_the_connection_open_is_not_waited_for_for_ever() {
    let stall = Duration::from_millis(300);
    let mut served =
        serve(ClientServerDialect::Framed, in_memory(&noise(10)), |options| options.stall = stall);
    let mut stream = TcpStream::connect(served.addr).unwrap();
    stream.read_exact(&mut [0; 18]).unwrap();
    let end = served.end().await;
    assert!(matches!(end, FileServerEvent::Finished { closed: false, .. }), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_does_not_look_like_the_end_of_the_file() {
    let places = AdmissionLimits { served: 1, waiting: 1 };
    let mut served = serve(ClientServerDialect::Raw, in_memory(&noise(20_000_000)), |options| {
        options.places = places
    });
    let call = || {
        let stream = TcpStream::connect(served.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let (mut first, waiting) = (call(), call());
    first.read_exact(&mut [0; 1000]).unwrap();
    while !matches!(
        served.event().await,
        FileServerEvent::Accepted { admission: Admission::Wait, .. }
    ) {}
    drop(served);
    for mut stream in [first, waiting] {
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_shorter_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    // More than the sockets hold, so that the client has begun when the server breaks off.
    fs::write(&source, noise(24_000_000)).unwrap();
    let store = Arc::new(Store::from(DiskStore::serve_file(&source).unwrap()));
    fs::File::options().write(true).open(&source).unwrap().set_len(20_000_000).unwrap();
    let mut served = serve(ClientServerDialect::Raw, store, |_| {});
    let once = |settings: &mut ClientConfig| settings.restarts = 0;
    let error = fetch(ClientServerDialect::Raw, served.addr, memory(), once).await.unwrap_err();
    assert!(
        matches!(error, FetchError::GaveUp { reason: GiveUp::BrokenOff { begun: 1 }, .. }),
        "{error}"
    );
    let FileServerEvent::Failed { reason, .. } = served.end().await else {
        panic!("it did not fail")
    };
    assert!(reason.contains("shorter"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_served_waited_for_and_refused() {
    let bytes = noise(20_000_000);
    let places = AdmissionLimits { served: 1, waiting: 1 };
    let mut served =
        serve(ClientServerDialect::Raw, in_memory(&bytes), |options| options.places = places);
    let mut callers = Vec::new();
    for expected in [Admission::Serve, Admission::Wait, Admission::Refuse] {
        let stream = TcpStream::connect(served.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let addr = stream.local_addr().unwrap();
        callers.push(stream);
        loop {
            match served.event().await {
                FileServerEvent::Accepted { addr: named, admission } => {
                    assert_eq!((named, admission), (addr, expected));
                    break;
                }
                FileServerEvent::Begins { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let error = callers[2].read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let reading = thread::spawn(move || {
        callers.truncate(2);
        callers
            .into_iter()
            .map(|mut stream| {
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                got
            })
            .collect::<Vec<_>>()
    });
    for _ in 0..2 {
        let end = served.end().await;
        assert!(matches!(end, FileServerEvent::Finished { closed: true, .. }), "{end:?}");
    }
    assert!(reading.join().unwrap().iter().all(|got| *got == bytes));
}
