//! One end of a TCP connection without a protocol: what a stranger sends and what comes back, with
//! a bound on every wait; and listening as a stranger that others call.

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

/// How long an answer or an end may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(25);

/// A connection.
pub(super) struct Stranger {
    stream: TcpStream,
}

impl Stranger {
    /// Calls a program on this machine.
    #[track_caller]
    pub(super) fn call(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .unwrap_or_else(|error| panic!("nobody accepts on port {port}: {error}"));
        Self::new(stream)
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("a socket has options");
        Self { stream }
    }

    /// Our own port.
    pub(super) fn port(&self) -> u16 {
        self.stream.local_addr().expect("it is connected").port()
    }

    /// Sends; whether the other side still takes it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one byte at a time, with a pause after each; whether the other side took all of them.
    pub(super) fn trickle(&mut self, bytes: &[u8], pause: Duration) -> bool {
        bytes.iter().all(|byte| {
            thread::sleep(pause);
            self.send(&[*byte])
        })
    }

    /// What one read brings: a message, since programs send each in one write. Empty when the
    /// connection ended.
    #[track_caller]
    pub(super) fn message(&mut self) -> Vec<u8> {
        self.read().unwrap_or_else(|| panic!("neither an answer nor an end within {PATIENCE:?}"))
    }

    /// The same as text.
    #[track_caller]
    pub(super) fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.message()).into_owned()
    }

    /// The same, when it is the answer to `what`.
    #[track_caller]
    pub(super) fn answer(&mut self, what: &str) -> String {
        let answer =
            self.read().unwrap_or_else(|| panic!("neither an answer nor an end after {what:?}"));
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

    /// Exactly so many bytes, if they come.
    pub(super) fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).ok().map(|()| bytes)
    }

    /// Waits for the end of the connection; what came before it is dropped.
    #[track_caller]
    pub(super) fn wait_end(&mut self, what: &str) {
        let (deadline, mut buffer) = (Instant::now() + PATIENCE, vec![0; 1 << 16]);
        while Instant::now() < deadline {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => break,
                Err(_) => return,
            }
        }
        panic!("{what}: the connection is still open after {PATIENCE:?}");
    }

    /// What comes within a short time, and whether the connection is still open then.
    pub(super) fn within(&mut self, patience: Duration) -> (Vec<u8>, bool) {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        let is_open = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(length) => all.extend(&buffer[..length]),
                Err(error) => break is_timeout(&error),
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        (all, is_open)
    }
}

/// A stranger that waits for calls.
pub(super) struct Listener {
    /// Where it listens.
    pub(super) port: u16,
    calls: Arc<AtomicUsize>,
}

impl Listener {
    /// Answers every call on a thread of its own, as long as the test's process lives.
    pub(super) fn start(answer: impl Fn(Stranger) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (calls, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let counted = Arc::clone(&calls);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                thread::spawn(move || answer(Stranger::new(stream)));
            }
        });
        Self { port, calls }
    }

    /// How often it was called.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// A port of 127.0.0.1 that nobody uses, below those that connections get.
pub(super) fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (std::process::id() as usize * 64 + step) % 12_000;
        let port = u16::try_from(port).expect("it is below 32,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
