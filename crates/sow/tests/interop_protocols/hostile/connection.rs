//! One end of a TCP connection without a protocol, and a server that answers with one. Every wait
//! has a bound. Nothing here knows a protocol.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The bound of a wait for an answer, or for the end of a connection. It is longer than the
/// timeouts of `sow` after which a silent connection is closed.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);

/// A connection of the test to or from a program of `sow`.
pub(super) struct TestConnection {
    stream: TcpStream,
}

impl TestConnection {
    /// Connects to a program on this machine.
    #[track_caller]
    pub(super) fn open(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .unwrap_or_else(|error| panic!("no program accepts on port {port}: {error}"));
        Self::new(stream)
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout can be set");
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("a socket has options");
        Self { stream }
    }

    /// The local port.
    pub(super) fn port(&self) -> u16 {
        self.stream.local_addr().expect("it is connected").port()
    }

    /// Sends bytes; returns whether the other side still accepts them.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one byte at a time with a pause before each, as a slow peer does; returns whether the
    /// other side accepted all of them.
    pub(super) fn trickle(&mut self, bytes: &[u8], pause: Duration) -> bool {
        bytes.iter().all(|byte| {
            thread::sleep(pause);
            self.send(&[*byte])
        })
    }

    /// The bytes of one read. That is one message, because programs send each message in one write.
    /// Empty when the connection ended.
    #[track_caller]
    pub(super) fn message(&mut self) -> Vec<u8> {
        self.read()
            .unwrap_or_else(|| panic!("neither an answer nor an end within {ANSWER_TIMEOUT:?}"))
    }

    /// The bytes of one read as text.
    #[track_caller]
    pub(super) fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.message()).into_owned()
    }

    /// The bytes of one read as text; `request` is named when the test fails.
    #[track_caller]
    pub(super) fn answer(&mut self, request: &str) -> String {
        let answer =
            self.read().unwrap_or_else(|| panic!("neither an answer nor an end after {request:?}"));
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        match self.stream.read(&mut buffer) {
            Ok(length) => buffer.truncate(length),
            Err(error) if is_timeout(&error) => return None,
            Err(_) => buffer.clear(),
        }
        Some(buffer)
    }

    /// Exactly this number of bytes; `None` when the connection ends first.
    pub(super) fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).ok().map(|()| bytes)
    }

    /// Waits for the end of the connection; discards the bytes before it.
    #[track_caller]
    pub(super) fn wait_end(&mut self, cause: &str) {
        let (deadline, mut buffer) = (Instant::now() + ANSWER_TIMEOUT, vec![0; 1 << 16]);
        while Instant::now() < deadline {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => break,
                Err(_) => return,
            }
        }
        panic!("{cause}: the connection is still open after {ANSWER_TIMEOUT:?}");
    }

    /// All bytes until the other side ends the connection.
    #[track_caller]
    pub(super) fn read_to_end(&mut self, cause: &str) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            match self.stream.read(&mut buffer) {
                Ok(length) if length > 0 => all.extend(&buffer[..length]),
                Err(error) if is_timeout(&error) => {
                    panic!("{cause}: the connection is still open after {ANSWER_TIMEOUT:?}")
                }
                Ok(_) | Err(_) => return all,
            }
        }
    }

    /// Keeps the connection open and sends nothing until the other side ends it.
    pub(super) fn stay_silent(&mut self) {
        self.stream.set_read_timeout(None).expect("a timeout can be removed");
        let mut buffer = vec![0; 1 << 16];
        while self.stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
    }
}

/// A server of the test, which programs of `sow` connect to.
pub(super) struct TestServer {
    /// The port on which it listens.
    pub(super) port: u16,
    accepted: Arc<AtomicUsize>,
}

impl TestServer {
    /// Answers every connection on a thread of its own, as long as the test process lives.
    pub(super) fn start(answer: impl Fn(TestConnection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (accepted, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let counted = Arc::clone(&accepted);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                thread::spawn(move || answer(TestConnection::new(stream)));
            }
        });
        Self { port, accepted }
    }

    /// The number of connections that it has accepted.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// Ports of 127.0.0.1 on which no program listens.
pub(super) const UNUSED_PORTS: [u16; 2] = [1, 2];

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
