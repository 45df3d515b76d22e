//! The two ends of a measurement, each a process on a host. They find out; what it means is decided
//! in `calibrate`.
//!
//! The rate is taken from the receiving interface's counter, not from what TCP delivers: after a
//! loss, that comes in lumps.

use std::{
    fs,
    io::{self, BufRead as _, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// For a sender that never comes, in seconds; its pings come first.
const PATIENCE: Duration = Duration::from_secs(60);
/// How closely the moment of a frame's arrival is watched.
const LOOK: Duration = Duration::from_micros(200);
/// No more pings than this, and no longer.
const PINGS: u32 = 40;
const PING_SPAN: Duration = Duration::from_secs(2);
const LEAST_PINGS: u32 = 5;

/// What the receiving end is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ListenTask {
    /// Its own address.
    pub(super) address: IpAddr,
    /// After the sender has connected, so long it is not measured.
    pub(super) warm_up: Duration,
    /// So long it is.
    pub(super) window: Duration,
}

/// Where the receiving end is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Listening {
    pub(super) tcp: SocketAddr,
    pub(super) udp: SocketAddr,
}

/// What the receiving end has found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Received {
    /// How long was measured.
    pub(super) seconds: f64,
    /// What came in at the interface.
    pub(super) wire_bytes: u64,
    /// What TCP delivered.
    pub(super) payload_bytes: u64,
}

/// What the sending end is to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct MeasureTask {
    pub(super) to: Listening,
    /// For how long to send at most.
    pub(super) send: Duration,
    /// After so long a ping is lost.
    pub(super) ping_patience: Duration,
}

/// What the sending end has found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Round trips in microseconds, in the order they were made.
    pub(super) round_trips_us: Vec<u64>,
    /// Pings that were not answered.
    pub(super) lost: u32,
    /// TCP segments sent.
    pub(super) segments: u64,
    /// And of these a second time.
    pub(super) retransmitted: u64,
    /// As the host has it.
    pub(super) congestion_control: String,
}

/// The receiving end: says where it is, answers pings, and counts what one connection brings.
pub(super) fn listen(task: &ListenTask) -> io::Result<()> {
    let tcp = TcpListener::bind((task.address, 0))?;
    let udp = UdpSocket::bind((task.address, 0))?;
    say(&Listening { tcp: tcp.local_addr()?, udp: udp.local_addr()? })?;
    thread::spawn(move || echo(&udp));
    give_up_after(PATIENCE + task.warm_up + task.window);
    let (stream, _) = tcp.accept()?;
    let payload = Arc::new(AtomicU64::new(0));
    thread::spawn({
        let payload = Arc::clone(&payload);
        move || swallow(stream, &payload)
    });
    thread::sleep(task.warm_up);
    let (began, wire, delivered) = next_arrival(&payload)?;
    thread::sleep(task.window);
    let (ended, wire_after, delivered_after) = next_arrival(&payload)?;
    say(&Received {
        seconds: (ended - began).as_secs_f64(),
        wire_bytes: wire_after - wire,
        payload_bytes: delivered_after - delivered,
    })
}

/// The sending end: pings, then sends until the other end has seen enough.
pub(super) fn measure(task: &MeasureTask) -> io::Result<()> {
    let (round_trips_us, lost) = ping(task.to.udp, task.ping_patience)?;
    let before = segments()?;
    let mut stream = TcpStream::connect_timeout(&task.to.tcp, Duration::from_secs(10))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let zeros = [0; 16 << 10];
    let began = Instant::now();
    // The other end resets the connection when it is done.
    while began.elapsed() < task.send && stream.write(&zeros).is_ok() {}
    let after = segments()?;
    say(&Sent {
        round_trips_us,
        lost,
        segments: after.0 - before.0,
        retransmitted: after.1 - before.1,
        congestion_control: congestion_control()?,
    })
}

fn congestion_control() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?.trim().to_owned())
}

/// Round trips in microseconds, and how many pings were lost. The first one finds the way, and is
/// not counted.
fn ping(to: SocketAddr, patience: Duration) -> io::Result<(Vec<u64>, u32)> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    let (mut times, mut lost) = (Vec::new(), 0);
    let began = Instant::now();
    for number in 0..=PINGS {
        if number > LEAST_PINGS && began.elapsed() > PING_SPAN {
            break;
        }
        let sent = Instant::now();
        socket.send(&number.to_be_bytes())?;
        match answered(&socket, number, sent + patience) {
            _ if number == 0 => {}
            Some(at) => times.push(u64::try_from((at - sent).as_micros()).unwrap_or(u64::MAX)),
            None => lost += 1,
        }
    }
    Ok((times, lost))
}

/// When the answer to a ping came; `None` when it did not in time. Late answers to others are
/// passed over.
fn answered(socket: &UdpSocket, number: u32, deadline: Instant) -> Option<Instant> {
    loop {
        let left =
            deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        socket.set_read_timeout(Some(left)).ok()?;
        let mut answer = [0; 4];
        if socket.recv(&mut answer).is_ok() && u32::from_be_bytes(answer) == number {
            return Some(Instant::now());
        }
    }
}

fn echo(socket: &UdpSocket) {
    let mut message = [0; 64];
    while let Ok((length, from)) = socket.recv_from(&mut message) {
        let _ = socket.send_to(&message[..length], from);
    }
}

fn swallow(mut stream: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Waits for a frame, and says when it came and what the counters are then.
fn next_arrival(payload: &AtomicU64) -> io::Result<(Instant, u64, u64)> {
    let before = received_bytes()?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let now = received_bytes()?;
        if now != before {
            return Ok((Instant::now(), now, payload.load(Ordering::Relaxed)));
        }
        thread::sleep(LOOK);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "nothing comes in"))
}

fn received_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "this host has no eth0"))
}

/// TCP segments that this host has sent, and how many of them again.
fn segments() -> io::Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let value = |wanted: &str| {
        let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
        pairs.find(|(name, _)| *name == wanted).and_then(|(_, value)| value.parse().ok())
    };
    let both = value("OutSegs").zip(value("RetransSegs"));
    both.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "/proc/net/snmp has no TCP segments")
    })
}

/// Ends this process when it was forgotten.
fn give_up_after(time: Duration) {
    thread::spawn(move || {
        thread::sleep(time);
        std::process::exit(1);
    });
}

fn say(what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush())
}

/// Reads one line that the other process [`say`]s.
pub(super) fn hear<T: serde::de::DeserializeOwned>(from: &mut impl io::BufRead) -> io::Result<T> {
    let mut line = String::new();
    from.take(1 << 16).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a probe ended early"));
    }
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_answered_or_lost() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || echo(&server));
        let (times, lost) = ping(address, Duration::from_secs(5)).unwrap();
        assert_eq!((times.len(), lost), (40, 0));

        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (times, lost) = ping(silent.local_addr().unwrap(), Duration::from_millis(2)).unwrap();
        assert_eq!((times.len(), lost), (0, 40));
    }

    #[test]
    fn what_a_probe_says_is_heard() {
        let mut said = &b"{\"seconds\":1.5,\"wire_bytes\":3,\"payload_bytes\":2}\n"[..];
        let heard: Received = hear(&mut said).unwrap();
        assert_eq!((heard.seconds, heard.wire_bytes, heard.payload_bytes), (1.5, 3, 2));
        assert_eq!(hear::<Received>(&mut said).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(hear::<Received>(&mut &b"nonsense\n"[..]).is_err());
    }

    #[test]
    fn the_kernel_counts_segments() {
        let (sent, again) = segments().unwrap();
        assert!(again <= sent, "{again} of {sent}");
    }
}
