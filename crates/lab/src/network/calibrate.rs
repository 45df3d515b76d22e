//! Measures the links of a lab and compares them with what was requested. The measuring processes
//! are in `probe`.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, BufReader, Write as _},
    process::{Child, ChildStdout},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    DelayMethod, Lab, LabName, NetworkError, Topology,
    address::ipv4,
    probe::{ListenTask, Listening, MeasureTask, Received, Sent, read_message},
    processes, shaping,
};

/// The accepted error of a path's rate, as a share of the rate.
const RATE_TOLERANCE: f64 = 0.02;
/// The accepted error of a path's round trip.
const ROUND_TRIP_TOLERANCE_US: u64 = 1000;
/// The limit of attempts for each path. On a busy machine the receiver may be scheduled too late;
/// then the path is measured again, and the figures of all attempts are kept.
const MAX_ATTEMPTS: usize = 3;
/// The limit of measured paths, both directions counted.
const MAX_PATHS: usize = 8;
/// The time that the sender may keep sending after the measured window.
const SEND_MARGIN: Duration = Duration::from_secs(10);
/// The frames of a measured window, so that one frame more or less does not matter.
const WINDOW_FRAMES: f64 = 400.0;

/// The measured properties of a lab's links.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The name of the lab.
    pub lab: LabName,
    /// The kernel's release.
    pub kernel: String,
    /// The number of processors.
    pub processors: usize,
    /// TCP's congestion control on the hosts.
    pub congestion_control: String,
    /// How frames are delayed.
    pub delay_method: DelayMethod,
    /// The limit of the queue in front of a link, in microseconds.
    pub queue_us: u64,
    /// The measured paths.
    pub paths: Vec<PathCalibration>,
}

/// The measured properties of the path from one host to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathCalibration {
    /// The host that sent.
    pub from: String,
    /// The host that received.
    pub to: String,
    /// The requested rate in bits per second of whole Ethernet frames.
    pub wanted_rate: u64,
    /// The measured rate, at the receiving interface under one TCP connection.
    pub rate: f64,
    /// The payload in bits per second that this connection delivered.
    pub payload_rate: f64,
    /// The requested round trip in microseconds.
    pub wanted_round_trip_us: u64,
    /// The median of the round trips measured on the idle path.
    pub round_trip_us: u64,
    /// The shortest round trip.
    pub least_round_trip_us: u64,
    /// The longest round trip.
    pub greatest_round_trip_us: u64,
    /// The number of pings.
    pub pings: u32,
    /// The number of lost pings.
    pub lost: u32,
    /// The share of TCP's segments that were retransmitted because the queue was full.
    pub retransmitted: f64,
    /// The rate and the round trip of each attempt; the fields above have the best one.
    pub tries: Vec<(f64, u64)>,
}

impl Calibration {
    /// Whether every path [is good](PathCalibration::is_good).
    pub fn is_good(&self) -> bool {
        self.paths.iter().all(PathCalibration::is_good)
    }
}

impl PathCalibration {
    /// Whether the path is within 2 % of its rate and 1 ms of its round trip, and loses no ping
    /// while it is idle.
    pub fn is_good(&self) -> bool {
        self.rate_error().abs() <= RATE_TOLERANCE
            && self.round_trip_us.abs_diff(self.wanted_round_trip_us) <= ROUND_TRIP_TOLERANCE_US
            && self.lost == 0
    }

    /// The deviation from the requested rate, as a share of it.
    pub fn rate_error(&self) -> f64 {
        self.rate / self.wanted_rate as f64 - 1.0
    }

    /// The largest deviation in units of its tolerance: up to 1 is accepted.
    fn deviation(&self) -> f64 {
        let delay = self.round_trip_us.abs_diff(self.wanted_round_trip_us) as f64;
        let loss = if self.lost == 0 { 0.0 } else { 2.0 };
        (self.rate_error().abs() / RATE_TOLERANCE)
            .max(delay / ROUND_TRIP_TOLERANCE_US as f64)
            .max(loss)
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delayed = match self.delay_method {
            DelayMethod::None => "no delay",
            DelayMethod::Netem => "delayed by netem",
            DelayMethod::Relay => "delayed by a relay",
        };
        writeln!(
            f,
            "kernel {}, {} processors, {}, queues of {} ms, {delayed}",
            self.kernel,
            self.processors,
            self.congestion_control,
            self.queue_us / 1000
        )?;
        for path in &self.paths {
            let verdict = if path.is_good() { "good" } else { "OFF" };
            writeln!(
                f,
                "{} to {}: {:.3} of {:.3} Mbit/s ({:+.2} %), payload {:.3}; \
                 round trip {:.2} ms of {:.2} ({:.2} to {:.2}); {} of {} pings lost; \
                 {:.2} % retransmitted; {verdict}",
                path.from,
                path.to,
                path.rate / 1e6,
                path.wanted_rate as f64 / 1e6,
                path.rate_error() * 100.0,
                path.payload_rate / 1e6,
                path.round_trip_us as f64 / 1e3,
                path.wanted_round_trip_us as f64 / 1e3,
                path.least_round_trip_us as f64 / 1e3,
                path.greatest_round_trip_us as f64 / 1e3,
                path.lost,
                path.pings,
                path.retransmitted * 100.0,
            )?;
        }
        Ok(())
    }
}

/// Measures the paths between the first two hosts, and between the first host and one host of each
/// other kind of link.
pub(super) fn calibrate(lab: &Lab) -> Result<Calibration, NetworkError> {
    let topology = lab.topology();
    let mut congestion_control = String::new();
    let mut paths = Vec::new();
    for (from, to) in paths_to_measure(topology) {
        let mut attempts = Vec::new();
        while attempts.len() < MAX_ATTEMPTS {
            let (path, algorithm) = measure(lab, from, to)?;
            congestion_control = algorithm;
            let is_good = path.is_good();
            attempts.push(path);
            if is_good {
                break;
            }
        }
        paths.extend(best_of(attempts));
    }
    Ok(Calibration {
        lab: topology.name.clone(),
        kernel: kernel_release(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        congestion_control,
        delay_method: lab.delay_method(),
        queue_us: topology.queue_us,
        paths,
    })
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The attempt with the smallest deviation, with the figures of all attempts.
fn best_of(attempts: Vec<PathCalibration>) -> Option<PathCalibration> {
    let tries = attempts.iter().map(|path| (path.rate, path.round_trip_us)).collect();
    let best = attempts.into_iter().min_by(|a, b| a.deviation().total_cmp(&b.deviation()))?;
    Some(PathCalibration { tries, ..best })
}

/// The paths to measure as pairs of host numbers, sender first.
fn paths_to_measure(topology: &Topology) -> Vec<(usize, usize)> {
    let kind = |host: usize| {
        let link = topology.links[host - 1];
        (link.up, link.down, link.delay_us, topology.switch_of(host))
    };
    let mut known: BTreeSet<_> = [kind(1)].into();
    let hosts = 2..=topology.links.len();
    // The second host always, then each host whose link differs from all before.
    let others = hosts.filter(|host| known.insert(kind(*host)) || *host == 2);
    others.flat_map(|host| [(1, host), (host, 1)]).take(MAX_PATHS).collect()
}

/// Measures one path. The second value is the sender's congestion control.
fn measure(lab: &Lab, from: usize, to: usize) -> Result<(PathCalibration, String), NetworkError> {
    let topology = lab.topology();
    let rate = topology.path_rate(from, to);
    let round_trip_us = topology.round_trip_us(from, to);
    let (warm_up, window) = spans(rate, round_trip_us);
    let failed = |error: io::Error| NetworkError::Calibration {
        path: format!("h{from} to h{to}"),
        message: error.to_string(),
    };

    let mut receiver =
        Probe::start(lab, to, "listen", &ListenTask { address: ipv4(to).into(), warm_up, window })?;
    let listening: Listening = receiver.read_message().map_err(failed)?;
    let task = MeasureTask {
        to: listening,
        send: warm_up + window + SEND_MARGIN,
        ping_timeout: Duration::from_micros(round_trip_us * 2) + Duration::from_secs(1),
    };
    let mut sender = Probe::start(lab, from, "measure", &task)?;
    let received: Received = receiver.read_message().map_err(failed)?;
    drop(receiver);
    let sent: Sent = sender.read_message().map_err(failed)?;

    let mut times = sent.round_trips_us;
    times.sort_unstable();
    let time = |index: usize| times.get(index).copied().unwrap_or(u64::MAX);
    let answered = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let path = PathCalibration {
        from: format!("h{from}"),
        to: format!("h{to}"),
        wanted_rate: rate,
        rate: received.wire_bytes as f64 * 8.0 / received.seconds,
        payload_rate: received.payload_bytes as f64 * 8.0 / received.seconds,
        wanted_round_trip_us: round_trip_us,
        round_trip_us: time(times.len() / 2),
        least_round_trip_us: time(0),
        greatest_round_trip_us: time(times.len().saturating_sub(1)),
        pings: answered + sent.lost,
        lost: sent.lost,
        retransmitted: sent.retransmitted as f64 / sent.segments.max(1) as f64,
        tries: Vec::new(),
    };
    Ok((path, sent.congestion_control))
}

/// The warm-up time of a connection, and the window in which it is measured.
fn spans(rate: u64, round_trip_us: u64) -> (Duration, Duration) {
    let warm_up = Duration::from_millis(500) + Duration::from_micros(round_trip_us * 10);
    let frame_bits = shaping::FRAME_BYTES as f64 * 8.0;
    let frames = Duration::from_secs_f64(WINDOW_FRAMES * frame_bits / rate as f64);
    let several_trips = Duration::from_micros(round_trip_us * 20);
    (warm_up, frames.max(several_trips).clamp(Duration::from_secs(1), Duration::from_secs(6)))
}

/// A probe on a host. Its process is killed when this is dropped.
struct Probe {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Probe {
    fn start(
        lab: &Lab,
        host: usize,
        role: &str,
        task: &impl Serialize,
    ) -> Result<Self, NetworkError> {
        let mut child = lab.start_probe(host, role)?;
        let task =
            serde_json::to_vec(task).map_err(|error| NetworkError::step("calibration", error))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A probe that ended early is noticed when its message is read.
            let _ = stdin.write_all(&task);
        }
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self { child, stdout })
    }

    fn read_message<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<T> {
        match &mut self.stdout {
            Some(stdout) => read_message(stdout),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        processes::kill(self.child.id());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Link, Switches},
        *,
    };

    const LINK: Link = Link { up: 10_000_000, down: 10_000_000, delay_us: 5000 };

    fn path(rate: f64, round_trip_us: u64, lost: u32) -> PathCalibration {
        PathCalibration {
            from: "h1".to_owned(),
            to: "h2".to_owned(),
            wanted_rate: 10_000_000,
            rate,
            payload_rate: rate * 0.956,
            wanted_round_trip_us: 20_000,
            round_trip_us,
            least_round_trip_us: round_trip_us,
            greatest_round_trip_us: round_trip_us,
            pings: 40,
            lost,
            retransmitted: 0.0,
            tries: Vec::new(),
        }
    }

    #[test]
    fn a_path_is_good_within_two_percent_and_a_millisecond() {
        assert!(path(9.81e6, 20_990, 0).is_good());
        assert!(path(10.19e6, 19_010, 0).is_good());
        assert!(!path(9.79e6, 20_000, 0).is_good());
        assert!(!path(10.21e6, 20_000, 0).is_good());
        assert!(!path(10e6, 21_001, 0).is_good());
        assert!(!path(10e6, 20_000, 1).is_good());
    }

    #[test]
    fn the_best_attempt_counts_and_all_are_kept() {
        let best =
            best_of(vec![path(9e6, 20_000, 0), path(9.9e6, 20_100, 0), path(10e6, 20_000, 3)])
                .unwrap();
        assert_eq!(best.round_trip_us, 20_100);
        assert_eq!(best.tries, [(9e6, 20_000), (9.9e6, 20_100), (10e6, 20_000)]);
        assert!(best_of(Vec::new()).is_none());
    }

    #[test]
    fn every_kind_of_link_is_measured_both_ways() {
        let mut topology = Topology::star("lab".parse().unwrap(), 6, LINK);
        assert_eq!(paths_to_measure(&topology), [(1, 2), (2, 1)]);
        topology.links[3].up = 1_000_000;
        assert_eq!(paths_to_measure(&topology), [(1, 2), (2, 1), (1, 4), (4, 1)]);
        topology.switches = Switches::Two { trunk: 5_000_000 };
        assert_eq!(paths_to_measure(&topology), [(1, 2), (2, 1), (1, 4), (4, 1), (1, 5), (5, 1)]);
        topology.links.truncate(1);
        assert_eq!(paths_to_measure(&topology), []);
    }

    #[test]
    fn slow_links_are_measured_for_longer() {
        assert_eq!(spans(10_000_000, 20_000).1, Duration::from_secs(1));
        assert!(spans(1_000_000, 0).1 > Duration::from_secs(4));
        assert_eq!(spans(16_000, 0).1, Duration::from_secs(6));
    }

    #[test]
    fn the_text_marks_a_path_that_is_off() {
        let calibration = Calibration {
            lab: "lab".parse().unwrap(),
            kernel: "6.1".to_owned(),
            processors: 2,
            congestion_control: "cubic".to_owned(),
            delay_method: DelayMethod::Relay,
            queue_us: 100_000,
            paths: vec![path(9.95e6, 20_400, 0), path(9e6, 20_000, 0)],
        };
        let text = calibration.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("cubic") && lines[0].contains("relay"), "{text}");
        assert!(
            lines[1].contains("9.950 of 10.000 Mbit/s (-0.50 %)") && lines[1].ends_with("good"),
            "{text}"
        );
        assert!(lines[2].ends_with("OFF"), "{text}");
        assert!(!calibration.is_good());
        let json = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), calibration);
    }
}
