//! The two ends of a measurement, each a process on a host. They only measure; `calibrate` decides
//! what the figures mean.
//!
//! The rate is taken from the counter of the receiving interface, not from what TCP delivers: after
//! a loss, TCP delivers in bursts.

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

/// The time to wait for the sender, which pings before it connects.
const SENDER_TIMEOUT: Duration = Duration::from_secs(60);
/// The timeout of the sender's connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of one write of the sender.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// The time to wait for a frame at either end of the measured window.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval at which the interface counter is polled for a frame.
const COUNTER_POLL_INTERVAL: Duration = Duration::from_micros(200);
/// The limit of pings.
const MAX_PINGS: u32 = 40;
/// The time after which no further ping is sent, once there were [`MIN_PINGS`].
const PING_SPAN: Duration = Duration::from_secs(2);
/// The minimum of pings, however long they take.
const MIN_PINGS: u32 = 5;

/// The task of the receiving end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ListenTask {
    /// The address to listen on.
    pub(super) address: IpAddr,
    /// The time between the sender's connection and the measurement.
    pub(super) warm_up: Duration,
    /// The duration of the measurement.
    pub(super) window: Duration,
}

/// The addresses of the receiving end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Listening {
    pub(super) tcp: SocketAddr,
    pub(super) udp: SocketAddr,
}

/// The result of the receiving end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Received {
    /// The measured time.
    pub(super) seconds: f64,
    /// The bytes that arrived at the interface.
    pub(super) wire_bytes: u64,
    /// The bytes that TCP delivered.
    pub(super) payload_bytes: u64,
}

/// The task of the sending end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct MeasureTask {
    pub(super) to: Listening,
    /// The limit of the time to send.
    pub(super) send: Duration,
    /// The time after which a ping counts as lost.
    pub(super) ping_timeout: Duration,
}

/// The result of the sending end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Round trips in microseconds, in the order of the pings.
    pub(super) round_trips_us: Vec<u64>,
    /// Pings without an answer.
    pub(super) lost: u32,
    /// TCP segments sent.
    pub(super) segments: u64,
    /// TCP segments sent again.
    pub(super) retransmitted: u64,
    /// The host's congestion control.
    pub(super) congestion_control: String,
}

/// The receiving end: prints its addresses, answers pings, and counts the bytes of one connection.
pub(super) fn listen(task: &ListenTask) -> io::Result<()> {
    let tcp = TcpListener::bind((task.address, 0))?;
    let udp = UdpSocket::bind((task.address, 0))?;
    write_message(&Listening { tcp: tcp.local_addr()?, udp: udp.local_addr()? })?;
    thread::spawn(move || echo_pings(&udp));
    exit_after(SENDER_TIMEOUT + task.warm_up + task.window);
    let (stream, _) = tcp.accept()?;
    let payload = Arc::new(AtomicU64::new(0));
    thread::spawn({
        let payload = Arc::clone(&payload);
        move || count_bytes(stream, &payload)
    });
    thread::sleep(task.warm_up);
    let (started, wire, delivered) = next_arrival(&payload)?;
    thread::sleep(task.window);
    let (ended, wire_after, delivered_after) = next_arrival(&payload)?;
    write_message(&Received {
        seconds: (ended - started).as_secs_f64(),
        wire_bytes: wire_after - wire,
        payload_bytes: delivered_after - delivered,
    })
}

/// The sending end: pings, then sends until the other end closes the connection.
pub(super) fn measure(task: &MeasureTask) -> io::Result<()> {
    let (round_trips_us, lost) = ping(task.to.udp, task.ping_timeout)?;
    let before = segments_sent()?;
    let mut stream = TcpStream::connect_timeout(&task.to.tcp, CONNECT_TIMEOUT)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let zeros = [0; 16 << 10];
    let started = Instant::now();
    // The receiving end resets the connection when its measurement is complete.
    while started.elapsed() < task.send && stream.write(&zeros).is_ok() {}
    let after = segments_sent()?;
    write_message(&Sent {
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

/// Round trips in microseconds, and the number of lost pings. The first ping resolves addresses and
/// does not count.
fn ping(to: SocketAddr, timeout: Duration) -> io::Result<(Vec<u64>, u32)> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    let (mut times, mut lost) = (Vec::new(), 0);
    let started = Instant::now();
    for number in 0..=MAX_PINGS {
        if number > MIN_PINGS && started.elapsed() > PING_SPAN {
            break;
        }
        let sent = Instant::now();
        socket.send(&number.to_be_bytes())?;
        match wait_for_answer(&socket, number, sent + timeout) {
            _ if number == 0 => {}
            Some(at) => times.push(u64::try_from((at - sent).as_micros()).unwrap_or(u64::MAX)),
            None => lost += 1,
        }
    }
    Ok((times, lost))
}

/// The time of the answer to a ping; `None` when there is none before the deadline. Late answers to
/// earlier pings are ignored.
fn wait_for_answer(socket: &UdpSocket, number: u32, deadline: Instant) -> Option<Instant> {
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

fn echo_pings(socket: &UdpSocket) {
    let mut message = [0; 64];
    while let Ok((length, from)) = socket.recv_from(&mut message) {
        let _ = socket.send_to(&message[..length], from);
    }
}

fn count_bytes(mut stream: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Waits for the next frame. Returns the time of its arrival, and the bytes on the wire and the
/// payload bytes so far.
fn next_arrival(payload: &AtomicU64) -> io::Result<(Instant, u64, u64)> {
    let before = received_bytes()?;
    let deadline = Instant::now() + FRAME_TIMEOUT;
    while Instant::now() < deadline {
        let now = received_bytes()?;
        if now != before {
            return Ok((Instant::now(), now, payload.load(Ordering::Relaxed)));
        }
        thread::sleep(COUNTER_POLL_INTERVAL);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no frames arrive"))
}

fn received_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "this host has no eth0"))
}

/// The TCP segments that this host has sent, and the retransmissions among them.
fn segments_sent() -> io::Result<(u64, u64)> {
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

/// Ends this process after a time, in case the other processes of the measurement are gone.
fn exit_after(time: Duration) {
    thread::spawn(move || {
        thread::sleep(time);
        std::process::exit(1);
    });
}

/// Writes a message as a line of JSON on standard output.
fn write_message(message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush())
}

/// Reads one message of a probe.
pub(super) fn read_message<T: serde::de::DeserializeOwned>(
    from: &mut impl io::BufRead,
) -> io::Result<T> {
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
        thread::spawn(move || echo_pings(&server));
        let (times, lost) = ping(address, Duration::from_secs(5)).unwrap();
        assert_eq!((times.len(), lost), (40, 0));

        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (times, lost) = ping(silent.local_addr().unwrap(), Duration::from_millis(2)).unwrap();
        assert_eq!((times.len(), lost), (0, 40));
    }

    #[test]
    fn a_message_of_a_probe_is_read() {
        let mut output = &b"{\"seconds\":1.5,\"wire_bytes\":3,\"payload_bytes\":2}\n"[..];
        let message: Received = read_message(&mut output).unwrap();
        assert_eq!((message.seconds, message.wire_bytes, message.payload_bytes), (1.5, 3, 2));
        let end = read_message::<Received>(&mut output).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        assert!(read_message::<Received>(&mut &b"nonsense\n"[..]).is_err());
    }

    #[test]
    fn the_kernel_counts_segments() {
        let (sent, again) = segments_sent().unwrap();
        assert!(again <= sent, "{again} of {sent}");
    }
}
