//! What the links of a lab really do, beside what was asked for.

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
    probe::{ListenTask, Listening, MeasureTask, Received, Sent, hear},
    processes, shaping,
};

/// The share of the rate, and the microseconds of a round trip, that a path may be off.
const RATE_TOLERANCE: f64 = 0.02;
const ROUND_TRIP_TOLERANCE_US: u64 = 1000;
/// On a busy machine the receiver may not have had its turn; then it is measured again, and all
/// figures are kept.
const TRIES: usize = 3;
/// Paths beyond the first two: one each way for every other kind of link, up to so many.
const MAX_PATHS: usize = 8;

/// What the links of a lab do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Which lab.
    pub lab: LabName,
    /// The kernel's release.
    pub kernel: String,
    /// How many processors there are.
    pub processors: usize,
    /// TCP's congestion control, as the hosts have it.
    pub congestion_control: String,
    /// How frames are delayed.
    pub delay_method: DelayMethod,
    /// The longest queue in front of a link, in microseconds.
    pub queue_us: u64,
    /// The paths that were measured.
    pub paths: Vec<PathCalibration>,
}

/// What a path from one host to another does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathCalibration {
    /// The host that sent.
    pub from: String,
    /// The host that received.
    pub to: String,
    /// Bits per second, in whole Ethernet frames, that were asked for.
    pub wanted_rate: u64,
    /// The same, measured at the receiving interface under one TCP connection.
    pub rate: f64,
    /// Bits per second that this connection delivered meanwhile.
    pub payload_rate: f64,
    /// Microseconds there and back that were asked for.
    pub wanted_round_trip_us: u64,
    /// The same, measured on the idle path: the median,
    pub round_trip_us: u64,
    /// the shortest,
    pub least_round_trip_us: u64,
    /// and the longest.
    pub greatest_round_trip_us: u64,
    /// How many pings there were.
    pub pings: u32,
    /// How many of them were lost.
    pub lost: u32,
    /// The share of TCP's segments that it sent again: what its own haste lost in the queue.
    pub retransmitted: f64,
    /// The rate and the round trip of each try; the nearest is above.
    pub tries: Vec<(f64, u64)>,
}

impl Calibration {
    /// Whether every path is within 2 % of its rate and 1 ms of its round trip, and loses nothing.
    pub fn is_good(&self) -> bool {
        self.paths.iter().all(PathCalibration::is_good)
    }
}

impl PathCalibration {
    /// Whether it is within 2 % of its rate and 1 ms of its round trip, and loses nothing when it
    /// is idle.
    pub fn is_good(&self) -> bool {
        self.rate_error().abs() <= RATE_TOLERANCE
            && self.round_trip_us.abs_diff(self.wanted_round_trip_us) <= ROUND_TRIP_TOLERANCE_US
            && self.lost == 0
    }

    /// How much faster it is than was asked for, as a share.
    pub fn rate_error(&self) -> f64 {
        self.rate / self.wanted_rate as f64 - 1.0
    }

    /// Smaller is nearer to what was asked for; 1 is at the border.
    fn distance(&self) -> f64 {
        let late = self.round_trip_us.abs_diff(self.wanted_round_trip_us) as f64;
        let lost = if self.lost == 0 { 0.0 } else { 2.0 };
        (self.rate_error().abs() / RATE_TOLERANCE)
            .max(late / ROUND_TRIP_TOLERANCE_US as f64)
            .max(lost)
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
                "{} to {}: {:.3} of {:.3} Mbit/s ({:+.2} %), payload {:.3}; there and back {:.2} ms of {:.2} \
                 ({:.2} to {:.2}); {} of {} pings lost; {:.2} % sent again; {verdict}",
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

/// Measures the paths that tell most: between the first two hosts, and to one of each other kind.
pub(super) fn calibrate(lab: &Lab) -> Result<Calibration, NetworkError> {
    let topology = lab.topology();
    let mut congestion_control = String::new();
    let mut paths = Vec::new();
    for (from, to) in paths_of(topology) {
        let mut tries = Vec::new();
        while tries.len() < TRIES {
            let (path, host_says) = measure(lab, from, to)?;
            congestion_control = host_says;
            let good = path.is_good();
            tries.push(path);
            if good {
                break;
            }
        }
        paths.extend(nearest(tries));
    }
    Ok(Calibration {
        lab: topology.name.clone(),
        kernel: kernel(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        congestion_control,
        delay_method: lab.delay_method(),
        queue_us: topology.queue_us,
        paths,
    })
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The try that is nearest to what was asked for, with the figures of all.
fn nearest(tries: Vec<PathCalibration>) -> Option<PathCalibration> {
    let all = tries.iter().map(|path| (path.rate, path.round_trip_us)).collect();
    let nearest = tries.into_iter().min_by(|a, b| a.distance().total_cmp(&b.distance()))?;
    Some(PathCalibration { tries: all, ..nearest })
}

/// Which paths are measured: host numbers, from and to.
fn paths_of(topology: &Topology) -> Vec<(usize, usize)> {
    let kind = |host: usize| {
        let link = topology.links[host - 1];
        (link.up, link.down, link.delay_us, topology.switch_of(host))
    };
    let mut known: BTreeSet<_> = [kind(1)].into();
    let hosts = 2..=topology.links.len();
    // The first two, whatever they are; then whoever differs from all before.
    let others = hosts.filter(|host| known.insert(kind(*host)) || *host == 2);
    others.flat_map(|host| [(1, host), (host, 1)]).take(MAX_PATHS).collect()
}

/// Measures one path, and says what congestion control its sender has.
fn measure(lab: &Lab, from: usize, to: usize) -> Result<(PathCalibration, String), NetworkError> {
    let topology = lab.topology();
    let rate = topology.path_rate(from, to);
    let round_trip_us = topology.round_trip_us(from, to);
    let (warm_up, window) = spans(rate, round_trip_us);
    let failed = |error: io::Error| NetworkError::Calibration {
        path: format!("h{from} to h{to}"),
        said: error.to_string(),
    };

    let mut receiver =
        Probe::start(lab, to, "listen", &ListenTask { address: ipv4(to).into(), warm_up, window })?;
    let listening: Listening = receiver.hear().map_err(failed)?;
    let slow = Duration::from_micros(round_trip_us * 2) + Duration::from_secs(1);
    let task = MeasureTask {
        to: listening,
        send: warm_up + window + Duration::from_secs(10),
        ping_patience: slow,
    };
    let mut sender = Probe::start(lab, from, "measure", &task)?;
    let received: Received = receiver.hear().map_err(failed)?;
    drop(receiver);
    let sent: Sent = sender.hear().map_err(failed)?;

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

/// How long a connection gets to find its pace, and how long it is then measured: long enough that
/// one frame more or less does not matter.
fn spans(rate: u64, round_trip_us: u64) -> (Duration, Duration) {
    let warm_up = Duration::from_millis(500) + Duration::from_micros(round_trip_us * 10);
    let frames = Duration::from_secs_f64(400.0 * shaping::FRAME as f64 * 8.0 / rate as f64);
    let several_trips = Duration::from_micros(round_trip_us * 20);
    (warm_up, frames.max(several_trips).clamp(Duration::from_secs(1), Duration::from_secs(6)))
}

/// A probe on a host. It is ended when this is dropped.
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
            // If it ended early, it has nothing to say, which is noticed.
            let _ = stdin.write_all(&task);
        }
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self { child, stdout })
    }

    fn hear<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<T> {
        match &mut self.stdout {
            Some(stdout) => hear(stdout),
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
    fn the_nearest_try_counts_and_all_are_kept() {
        let best =
            nearest(vec![path(9e6, 20_000, 0), path(9.9e6, 20_100, 0), path(10e6, 20_000, 3)])
                .unwrap();
        assert_eq!(best.round_trip_us, 20_100);
        assert_eq!(best.tries, [(9e6, 20_000), (9.9e6, 20_100), (10e6, 20_000)]);
        assert!(nearest(Vec::new()).is_none());
    }

    #[test]
    fn every_kind_of_link_is_measured_both_ways() {
        let mut topology = Topology::star("lab".parse().unwrap(), 6, LINK);
        assert_eq!(paths_of(&topology), [(1, 2), (2, 1)]);
        topology.links[3].up = 1_000_000;
        assert_eq!(paths_of(&topology), [(1, 2), (2, 1), (1, 4), (4, 1)]);
        topology.switches = Switches::Two { trunk: 5_000_000 };
        assert_eq!(paths_of(&topology), [(1, 2), (2, 1), (1, 4), (4, 1), (1, 5), (5, 1)]);
        topology.links.truncate(1);
        assert_eq!(paths_of(&topology), []);
    }

    #[test]
    fn slow_links_are_measured_for_longer() {
        assert_eq!(spans(10_000_000, 20_000).1, Duration::from_secs(1));
        assert!(spans(1_000_000, 0).1 > Duration::from_secs(4));
        assert_eq!(spans(16_000, 0).1, Duration::from_secs(6));
    }

    #[test]
    fn the_text_says_what_is_off() {
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
