//! A flash crowd over equal links, in figures: `crowd N SIZE RATE DELAY [SEED] [OPTION...]`, for
//! example `crowd 1000 10MB 10mbit 5ms`. RATE is that of each link on the wire, both ways; DELAY is
//! the one-way delay of each link, two of which make a path. A violation of what must hold ends it
//! with the command that repeats it.
//!
//! Options: `--json`; `--lost=N` and `--blocked=N`, how many of a thousand first packets are lost,
//! and of a thousand pairs of receivers cannot connect; `--disk=RATE`; `--queue=TIME` of each
//! downlink; `--threads=N`; `--relay`: the origin plans which receiver fetches what of which.

use std::{
    fs,
    time::{Duration, Instant},
};

use sow_content::geometry::piece_length_for;
use sow_engine::Dialect;
use sow_sim::{Conditions, Faults, LinkConfig, Scenario, Violation, World};

/// Simulated time after which a crowd counts as stuck, as a multiple of the bound.
const MAX_DISTANCE: f64 = 20.0;

/// The greatest time of a receiver in percent of the median.
const MAX_PERCENT_OF_MEDIAN: u32 = 130;

/// The greatest share of messages on the links and of duplicates, in percent.
const MAX_CONTROL: f64 = 10.0;
const MAX_DUPLICATES: f64 = 10.0;

/// What was asked for.
struct Crowd {
    receivers: usize,
    size: u64,
    link: LinkConfig,
    seed: u64,
    conditions: Conditions,
    threads: Option<usize>,
    as_json: bool,
    relays: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(crowd) = parse(&arguments) else {
        eprintln!("usage: crowd N SIZE RATE DELAY [SEED] [OPTION...]");
        std::process::exit(2);
    };
    let began = Instant::now();
    let bound = bound(&crowd);
    let mut world = World::new(Scenario {
        dialect: Dialect::BitTorrent,
        total: crowd.size,
        piece_length: piece_length_for(crowd.size),
        origin: crowd.link,
        receivers: vec![crowd.link; crowd.receivers],
        metadata_known: false,
        seed: crowd.seed,
        faults: Faults::default(),
        conditions: crowd.conditions.clone(),
        hostile: Vec::new(),
        flood_rate: 0,
        adjust: if crowd.relays { |_, config| config.relays = true } else { |_, _| {} },
    });
    crowd.threads.into_iter().for_each(|threads| world.set_threads(threads));
    world.run(Duration::from_secs_f64(30.0 + MAX_DISTANCE * bound));
    let wall = began.elapsed().as_secs_f64();
    print_figures(&crowd, &world, bound, wall);
    if let Err(violation) = check(&world) {
        let again = arguments.join(" ");
        eprintln!("{violation}; again: cargo run --release -p sow-sim --example crowd -- {again}");
        std::process::exit(1);
    }
}

/// What must hold in every crowd.
fn check(world: &World) -> Result<(), Violation> {
    world.check_complete()?;
    world.check_no_piece_stored_twice()?;
    world.check_bans(&[])?;
    world.check_blames()?;
    world.check_sizes()?;
    world.check_requests()?;
    world.check_fairness(MAX_PERCENT_OF_MEDIAN)?;
    world.check_traffic(MAX_CONTROL, MAX_DUPLICATES)
}

fn parse(arguments: &[String]) -> Option<Crowd> {
    let (options, plain): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|argument| argument.starts_with("--"));
    if !(4..=5).contains(&plain.len()) {
        return None;
    }
    let rate = sow_quantity::rate(plain[2]).ok()?.0;
    let delay = sow_quantity::short_time(plain[3]).ok()?.0;
    let mut crowd = Crowd {
        receivers: plain[0].parse().ok()?,
        size: sow_quantity::size(plain[1]).ok()?.0,
        link: LinkConfig { upload_rate: rate, download_rate: rate, delay },
        seed: plain.get(4).map_or(Some(1), |seed| seed.parse().ok())?,
        conditions: Conditions::default(),
        threads: None,
        as_json: false,
        relays: false,
    };
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "--json" => crowd.as_json = true,
            "--relay" => crowd.relays = true,
            "--lost" => crowd.conditions.lost_dials_per_mille = value.parse().ok()?,
            "--blocked" => crowd.conditions.blocked_pairs_per_mille = value.parse().ok()?,
            "--disk" => crowd.conditions.disk_rate = Some(sow_quantity::rate(value).ok()?.0),
            "--queue" => crowd.conditions.queue = sow_quantity::short_time(value).ok()?.0,
            "--threads" => crowd.threads = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(crowd)
}

/// The lower bound of Kumar and Ross, `max(F/us, F/d, N F/(us + sum of u))`, in seconds.
fn bound(crowd: &Crowd) -> f64 {
    let one_copy = crowd.size as f64 / LinkConfig::payload_rate(crowd.link.upload_rate);
    let receivers = crowd.receivers as f64;
    one_copy.max(receivers * one_copy / (1.0 + receivers))
}

fn print_figures(crowd: &Crowd, world: &World, bound: f64, wall: f64) {
    let times = world.completion_seconds();
    let at = |share: f64| {
        let place = (times.len() as f64 * share).ceil() as usize;
        times.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    let wanted = crowd.receivers as f64 * crowd.size as f64;
    let traffic = world.traffic();
    let figures = [
        ("distance", at(1.0) / bound),
        ("last", at(1.0)),
        ("bound", bound),
        ("mean", times.iter().sum::<f64>() / times.len().max(1) as f64),
        ("p50", at(0.5)),
        ("p99_9", at(0.999)),
        ("p99_9_per_p50", at(0.999) / at(0.5)),
        ("origin_sent", world.copies_sent_by_origin()),
        ("origin_wire", world.traffic_of(0).wire as f64 / crowd.size as f64),
        ("duplicates_percent", 100.0 * world.wasted_bytes() as f64 / wanted),
        ("control_percent", 100.0 * traffic.control as f64 / traffic.wire as f64),
        ("acks_percent", 100.0 * traffic.acks as f64 / traffic.wire as f64),
        ("resent_percent", 100.0 * traffic.resent as f64 / traffic.wire as f64),
        ("wire_per_wanted", traffic.wire as f64 / wanted),
        ("completed", times.len() as f64),
        ("wall_seconds", wall),
        ("cpu_seconds", cpu_seconds()),
        ("memory_mib", peak_memory_mib()),
        ("cpu_ms_per_receiver", cpu_seconds() * 1000.0 / crowd.receivers as f64),
        ("memory_kib_per_receiver", peak_memory_mib() * 1024.0 / crowd.receivers as f64),
    ];
    if crowd.as_json {
        let fields: Vec<String> =
            figures.iter().map(|(name, figure)| format!("\"{name}\":{figure:.4}")).collect();
        println!("{{\"n\":{},\"seed\":{},{}}}", crowd.receivers, crowd.seed, fields.join(","));
    } else {
        figures.iter().for_each(|(name, figure)| println!("{name:20} {figure:10.4}"));
    }
}

/// The processor time of this process in user mode, as the kernel says, in its usual hundredths of
/// a second; 0 where it does not.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(11));
    ticks.and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0) / 100.0
}

/// The most memory that this process had, as the kernel says; 0 where it does not.
fn peak_memory_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
