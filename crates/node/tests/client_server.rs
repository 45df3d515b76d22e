//! `raw` and `framed` over the loopback: our client with our server, and each with peers that are
//! slow, misbehave, or are gone.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use sow_content::Geometry;
use sow_engine::client_server::{
    Admission, AdmissionLimits, ClientConfig, ClientServerDialect, GiveUp,
};
use sow_node::{
    FetchError, FetchHandle, FetchOptions, FetchStatus, FetchedFile, FileServer, FileServerEvent,
    FileServerListener, FileServerOptions, RateLimit, fetch_file,
};
use sow_store::{
    DiskStore, MemoryStore, Placement, SequentialFile, SequentialMemory, SequentialTarget, Store,
    StoreError,
};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep, timeout},
};

/// The bound of every wait.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
const BOTH_DIALECTS: [ClientServerDialect; 2] =
    [ClientServerDialect::Raw, ClientServerDialect::Framed];

fn random_bytes(length: usize) -> Vec<u8> {
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

/// A server of this crate, and how to reach it.
struct Served {
    server: FileServer,
    events: UnboundedReceiver<FileServerEvent>,
    addr: SocketAddr,
}

fn serve(
    dialect: ClientServerDialect,
    store: Arc<Store>,
    change: impl FnOnce(&mut FileServerOptions),
) -> Served {
    let mut options = FileServerOptions {
        dialect,
        bind: Some(Ipv4Addr::LOCALHOST.into()),
        port: 0,
        up: RateLimit::new(None),
        admission: AdmissionLimits::default(),
        stall: Duration::from_secs(20),
    };
    change(&mut options);
    let (server, events) = FileServerListener::bind(options).unwrap().serve(store);
    let addr = (Ipv4Addr::LOCALHOST, server.port()).into();
    Served { server, events, addr }
}

impl Served {
    async fn event(&mut self) -> FileServerEvent {
        timeout(TEST_TIMEOUT, self.events.recv()).await.unwrap().unwrap()
    }

    /// The next event that is about the end of a transfer.
    async fn end(&mut self) -> FileServerEvent {
        loop {
            match self.event().await {
                FileServerEvent::Accepted { .. } | FileServerEvent::Started { .. } => {}
                end => return end,
            }
        }
    }
}

fn options(config: ClientConfig, addr: SocketAddr, down: Option<u64>) -> FetchOptions {
    FetchOptions { addrs: vec![addr], bind: None, down: RateLimit::new(down), config }
}

/// Fetches with the default configuration, except for what `change` does.
async fn fetch(
    dialect: ClientServerDialect,
    addr: SocketAddr,
    target: SequentialTarget,
    change: impl FnOnce(&mut ClientConfig),
) -> Result<FetchedFile, FetchError> {
    let mut config = ClientConfig::new(dialect);
    change(&mut config);
    let fetching = fetch_file(options(config, addr, None), target, Arc::default());
    timeout(TEST_TIMEOUT, fetching).await.unwrap()
}

/// Waits until the status of a fetch meets a condition.
async fn wait_for_status(handle: &FetchHandle, condition: impl Fn(&FetchStatus) -> bool) {
    let waiting = async {
        while !condition(&handle.status()) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TEST_TIMEOUT, waiting).await.expect("the status in time");
}

fn file(path: &Path) -> SequentialTarget {
    SequentialTarget::File(SequentialFile::claim(path, false).unwrap())
}

fn memory() -> SequentialTarget {
    SequentialTarget::Memory(SequentialMemory::default())
}

fn bytes_of(fetched: FetchedFile) -> Vec<u8> {
    let SequentialTarget::Memory(memory) = fetched.target else { panic!("not in memory") };
    memory.buffers().collect::<Vec<_>>().concat()
}

/// A server that is not of this crate: `answer` serves each connection in turn.
fn other_server(
    connections: usize,
    answer: impl Fn(usize, TcpStream) + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for number in 0..connections {
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
async fn files_of_every_length_arrive_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    for dialect in BOTH_DIALECTS {
        for length in [0, 1, 7, 1023, 65_537, 1 << 20, (1 << 20) + 1, 20_000_001] {
            let bytes = random_bytes(length);
            let source = folder.path().join("source");
            fs::write(&source, &bytes).unwrap();
            let on_disk = Arc::new(Store::from(DiskStore::serve_file(&source).unwrap()));
            for store in [on_disk, in_memory(&bytes)] {
                let mut served = serve(dialect, store, |_| {});
                let target = folder.path().join(format!("{dialect}-{length}"));
                let fetched = fetch(dialect, served.addr, file(&target), |_| {}).await.unwrap();
                assert_eq!((fetched.bytes, fetched.server), (length as u64, served.addr));
                assert!(fs::read(&target).unwrap() == bytes, "{dialect}: {length} bytes differ");
                fs::remove_file(&target).unwrap();
                let fetched = fetch(dialect, served.addr, memory(), |_| {}).await.unwrap();
                assert_eq!(fetched.placement, Placement::Unnamed);
                assert!(bytes_of(fetched) == bytes, "{dialect}: {length} bytes differ");
                for _ in 0..2 {
                    let end = served.end().await;
                    assert!(
                        matches!(end, FileServerEvent::Finished { is_closed: true, .. }),
                        "{end:?}"
                    );
                }
                assert_eq!(served.server.sent(), 2 * length as u64);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_the_length_and_the_bytes() {
    let bytes = random_bytes(100_000);
    for dialect in BOTH_DIALECTS {
        let served = serve(dialect, in_memory(&bytes), |_| {});
        let mut stream = TcpStream::connect(served.addr).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        // The server ignores what a client sends.
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        let head = if dialect == ClientServerDialect::Framed {
            &[0, 0, 0, 0, 0, 1, 0x86, 0xa0][..]
        } else {
            &[]
        };
        assert!(got == [head, &bytes].concat(), "{dialect}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_late_is_waited_for() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = ClientConfig {
        connect_timeout: TEST_TIMEOUT,
        ..ClientConfig::new(ClientServerDialect::Raw)
    };
    let handle = Arc::new(FetchHandle::default());
    let options = options(config, (Ipv4Addr::LOCALHOST, port).into(), None);
    let fetching = tokio::spawn(fetch_file(options, memory(), Arc::clone(&handle)));
    // The first connection is refused.
    wait_for_status(&handle, |status| status.last_error.is_some()).await;
    let _served = serve(ClientServerDialect::Raw, in_memory(&random_bytes(500)), |options| {
        options.port = port
    });
    let fetched = timeout(TEST_TIMEOUT, fetching).await.unwrap().unwrap().unwrap();
    assert!(bytes_of(fetched) == random_bytes(500));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_starts_is_given_up_after_the_connect_timeout() {
    let start = Instant::now();
    let config = ClientConfig {
        connect_timeout: Duration::from_secs(600),
        ..ClientConfig::new(ClientServerDialect::Raw)
    };
    let options = options(config, (Ipv4Addr::LOCALHOST, 1).into(), None);
    let error = fetch_file(options, memory(), Arc::default()).await.unwrap_err();
    assert!(matches!(error, FetchError::GaveUp { reason: GiveUp::OutOfReach, .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    // The clock of this test moves only while the client waits.
    let waited = start.elapsed();
    assert!((590..620).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_breaks_off_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    // The stream ends too early twice, and then in good order.
    let addr = other_server(3, |number, mut stream| {
        stream.write_all(&10_u64.to_be_bytes()).unwrap();
        stream.write_all(if number < 2 { b"XXXXXXXXX" } else { b"0123456789" }).unwrap();
    });
    let target = folder.path().join("x");
    let fetched = fetch(ClientServerDialect::Framed, addr, file(&target), |_| {}).await.unwrap();
    assert_eq!((fs::read(&target).unwrap(), fetched.bytes), (b"0123456789".to_vec(), 10));

    // A reset is not the end of a file, although a raw client does not know the length.
    let addr = other_server(2, |number, mut stream| {
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
        other_server(9, |_, mut stream| stream.write_all(&[0, 0, 0, 0, 0, 0, 0, 9, 1, 2]).unwrap());
    let target = folder.path().join("y");
    let error =
        fetch(ClientServerDialect::Framed, addr, file(&target), |config| config.restarts = 2)
            .await
            .unwrap_err();
    let broken = GiveUp::BrokenOff { begun: 3 };
    assert!(matches!(error, FetchError::GaveUp { reason, .. } if reason == broken), "{error}");
    assert!(error.to_string().contains("too early"), "{error}");
    fs::remove_file(folder.path().join("x")).unwrap();
    assert!(is_empty(folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_lengths_are_refused_before_a_file_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("x");
    for length in [1_u64 << 63, u64::MAX] {
        let addr =
            other_server(1, move |_, mut stream| stream.write_all(&length.to_be_bytes()).unwrap());
        let error =
            fetch(ClientServerDialect::Framed, addr, file(&target), |_| {}).await.unwrap_err();
        let FetchError::GaveUp { reason: GiveUp::TooLong { announced, .. }, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(announced, Some(length));
    }
    let addr =
        other_server(1, |_, mut stream| stream.write_all(&(1_u64 << 62).to_be_bytes()).unwrap());
    let error = fetch(ClientServerDialect::Framed, addr, file(&target), |_| {}).await.unwrap_err();
    assert!(matches!(error, FetchError::Store(StoreError::NoSpace { .. })), "{error}");
    // The length of a raw file is unknown, so the limit is noticed on the way.
    let served = serve(ClientServerDialect::Raw, in_memory(&random_bytes(3_000_000)), |_| {});
    for change in [(|config| config.max_size = 2_999_999) as fn(&mut ClientConfig), |config| {
        config.size = Some(1_000_000)
    }] {
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
    let short = |config: &mut ClientConfig| config.size = Some(3_000_001);
    let error =
        fetch(ClientServerDialect::Raw, served.addr, file(&target), short).await.unwrap_err();
    let wrong = GiveUp::WrongSize { expected: 3_000_001, came: 3_000_000 };
    assert!(matches!(error, FetchError::GaveUp { reason, .. } if reason == wrong), "{error}");
    assert!(is_empty(folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_and_a_trickling_one_are_given_up() {
    for dialect in BOTH_DIALECTS {
        let (end_sender, end) = std::sync::mpsc::channel::<()>();
        let silent = other_server(1, move |_, stream| {
            // The stream stays open until the end of this iteration.
            let _ = end.recv();
            drop(stream);
        });
        let trickling = other_server(1, |_, mut stream| {
            let head = 1_000_000_u64.to_be_bytes();
            for byte in head.into_iter().chain(std::iter::repeat(7)) {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                // The pace of the trickle.
                thread::sleep(Duration::from_millis(50));
            }
        });
        for addr in [silent, trickling] {
            let config = |config: &mut ClientConfig| {
                (config.stall_timeout, config.restarts) = (Duration::from_millis(600), 0);
            };
            let error = fetch(dialect, addr, memory(), config).await.unwrap_err();
            assert!(error.to_string().contains("hardly anything"), "{error}");
        }
        drop(end_sender);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_fetch_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("x");
    let slow = RateLimit::new(Some(200_000));
    let served = serve(ClientServerDialect::Raw, in_memory(&random_bytes(20_000_000)), |options| {
        options.up = slow
    });
    let handle = Arc::new(FetchHandle::default());
    let options = options(ClientConfig::new(ClientServerDialect::Raw), served.addr, None);
    let fetching = tokio::spawn(fetch_file(options, file(&target), Arc::clone(&handle)));
    wait_for_status(&handle, |status| status.received > 0).await;
    assert!(matches!(SequentialFile::claim(&target, false), Err(StoreError::Locked { .. })));
    handle.cancel();
    let ended = timeout(TEST_TIMEOUT, fetching).await.unwrap().unwrap();
    assert!(matches!(ended, Err(FetchError::Cancelled)), "{ended:?}");
    assert!(is_empty(folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_limits_are_kept() {
    for (up, down) in [(Some(4_000_000), None), (None, Some(4_000_000))] {
        let bytes = random_bytes(2_000_000);
        let served = serve(ClientServerDialect::Framed, in_memory(&bytes), |options| {
            options.up = RateLimit::new(up)
        });
        let config = ClientConfig::new(ClientServerDialect::Framed);
        let start = Instant::now();
        let fetching = fetch_file(options(config, served.addr, down), memory(), Arc::default());
        let fetched = timeout(TEST_TIMEOUT, fetching).await.unwrap().unwrap();
        // That no more is lost to the limit than necessary is tested in `throttle`.
        let took = start.elapsed();
        assert!(bytes_of(fetched) == bytes);
        assert!(took >= Duration::from_millis(420), "2 MB at 4 MB/s took {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_harms_no_other() {
    let bytes = random_bytes(20_000_000);
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
    // What it reads now does not look like the end of a file.
    idle.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let error = idle.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_keeps_the_connection_open_is_given_up() {
    let stall = Duration::from_millis(300);
    let mut served = serve(ClientServerDialect::Framed, in_memory(&random_bytes(10)), |options| {
        options.stall = stall
    });
    let mut stream = TcpStream::connect(served.addr).unwrap();
    stream.read_exact(&mut [0; 18]).unwrap();
    let end = served.end().await;
    assert!(matches!(end, FileServerEvent::Finished { is_closed: false, .. }), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_does_not_look_like_the_end_of_the_file() {
    let admission = AdmissionLimits { served: 1, waiting: 1 };
    let mut served =
        serve(ClientServerDialect::Raw, in_memory(&random_bytes(20_000_000)), |options| {
            options.admission = admission
        });
    let connect = || {
        let stream = TcpStream::connect(served.addr).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream
    };
    let (mut first, waiting) = (connect(), connect());
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
    // More than the sockets hold, so that the client is receiving when the server breaks off.
    fs::write(&source, random_bytes(24_000_000)).unwrap();
    let store = Arc::new(Store::from(DiskStore::serve_file(&source).unwrap()));
    fs::File::options().write(true).open(&source).unwrap().set_len(20_000_000).unwrap();
    let mut served = serve(ClientServerDialect::Raw, store, |_| {});
    let once = |config: &mut ClientConfig| config.restarts = 0;
    let error = fetch(ClientServerDialect::Raw, served.addr, memory(), once).await.unwrap_err();
    assert!(
        matches!(error, FetchError::GaveUp { reason: GiveUp::BrokenOff { begun: 1 }, .. }),
        "{error}"
    );
    let FileServerEvent::Failed { reason, .. } = served.end().await else {
        panic!("it did not fail")
    };
    assert!(reason.contains("changed"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_served_or_wait_or_are_refused_by_the_limits() {
    let bytes = random_bytes(20_000_000);
    let admission = AdmissionLimits { served: 1, waiting: 1 };
    let mut served =
        serve(ClientServerDialect::Raw, in_memory(&bytes), |options| options.admission = admission);
    let mut clients = Vec::new();
    for expected in [Admission::Serve, Admission::Wait, Admission::Refuse] {
        let stream = TcpStream::connect(served.addr).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let addr = stream.local_addr().unwrap();
        clients.push(stream);
        loop {
            match served.event().await {
                FileServerEvent::Accepted { addr: named, admission } => {
                    assert_eq!((named, admission), (addr, expected));
                    break;
                }
                FileServerEvent::Started { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let error = clients[2].read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let reading = thread::spawn(move || {
        clients.truncate(2);
        clients
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
        assert!(matches!(end, FileServerEvent::Finished { is_closed: true, .. }), "{end:?}");
    }
    assert!(reading.join().unwrap().iter().all(|got| *got == bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_take_nothing_make_room_for_one_that_waits() {
    let bytes = random_bytes(20_000_000);
    for up in [None, Some(100_000_000)] {
        let served = serve(ClientServerDialect::Raw, in_memory(&bytes), |options| {
            options.admission = AdmissionLimits { served: 4, waiting: 8 };
            options.stall = Duration::from_secs(6);
            options.up = RateLimit::new(up);
        });
        let _holding: Vec<_> = (0..8).map(|_| TcpStream::connect(served.addr).unwrap()).collect();
        let started = Instant::now();
        let fetched = fetch(ClientServerDialect::Raw, served.addr, memory(), |_| {}).await.unwrap();
        assert!(bytes_of(fetched) == bytes, "what arrived differs");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
