//! Simulates hours of churn with a tenth of the hosts misbehaving, beside the same without them,
//! and beside the same without them and with other random choices:
//!
//! ```text
//! cargo run --release -p sow-sim --example churn -- HOURS SEED [RECORDS-FILE]
//! ```
//!
//! Each of the three swarms has a thread. The file gets one JSON line for each sample and each
//! receiver. The process ends with 1 when something does not hold; the command that was given
//! repeats it.

use std::{fs::File, io::Write, thread, time::Duration};

use sow_engine::StateSize;
use sow_sim::churn::{Records, Sample, Swarm, judge_churn, run_churn};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let hours = arguments.first().and_then(|text| text.parse::<f64>().ok());
    let seed = arguments.get(1).and_then(|text| text.parse::<u64>().ok());
    let (Some(hours), Some(seed)) = (hours, seed) else {
        eprintln!("usage: churn HOURS SEED [RECORDS-FILE]");
        std::process::exit(2);
    };
    let out = arguments.get(2).map(|path| match File::create(path) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("{path}: {error}");
            std::process::exit(2);
        }
    });
    let span = Duration::from_secs_f64(hours * 3600.0);
    let out = out.as_ref();
    let (control, second, with) = thread::scope(|scope| {
        let control = scope.spawn(move || run(seed, span, Swarm::Control, out));
        let second = scope.spawn(move || run(seed, span, Swarm::SecondControl, out));
        let with = run(seed, span, Swarm::Hostile, out);
        (control.join(), second.join(), with)
    });
    let (Ok(control), Ok(second)) = (control, second) else { std::process::exit(1) };
    compare("with misbehaving hosts", &with, &control);
    compare("by chance alone", &second, &control);
    let failures = judge_churn(&with, &control, span);
    for failure in &failures {
        println!("{failure}");
    }
    println!("{hours} h, seed {seed}: {} failures", failures.len());
    std::process::exit(i32::from(!failures.is_empty()));
}

/// Says how much longer each receiver took than its counterpart. One that was complete before it
/// was to be killed is not compared with one that was killed.
fn compare(what: &str, swarm: &Records, control: &Records) {
    let pairs = swarm.downloads.iter().zip(&control.downloads);
    let mut ratios: Vec<f64> = pairs
        .filter(|(mine, other)| mine.was_killed == other.was_killed)
        .filter_map(|(mine, other)| Some(mine.took?.as_secs_f64() / other.took?.as_secs_f64()))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let Some(largest) = ratios.last() else { return };
    let at = |part: f64| ratios[((ratios.len() - 1) as f64 * part) as usize];
    let above = ratios.iter().filter(|&&ratio| ratio > 1.5).count();
    println!(
        "{what}: {:.2} times its counterpart's time (median), {:.2} (99 %), {largest:.2} \
         (largest); {above} of {} above 1.5",
        at(0.5),
        at(0.99),
        ratios.len()
    );
}

fn run(seed: u64, span: Duration, swarm: Swarm, out: Option<&File>) -> Records {
    let label = match swarm {
        Swarm::Hostile => "hostile",
        Swarm::Control => "control",
        Swarm::SecondControl => "second control",
    };
    let on_sample = |sample: &Sample| {
        if let Some(out) = out {
            write_line(out, &sample_line(label, sample));
        }
    };
    let records = match run_churn(seed, span, swarm, on_sample) {
        Ok(records) => records,
        Err(failure) => {
            println!("{label}, seed {seed}: {failure}");
            std::process::exit(1);
        }
    };
    let mut seconds: Vec<f64> = Vec::new();
    for (number, download) in records.downloads.iter().enumerate() {
        let took = download.took.map(|took| took.as_secs_f64());
        seconds.extend(took);
        let line = format!(
            "{{\"kind\":\"receiver\",\"swarm\":\"{label}\",\"name\":\"{number}\",\"t\":{},\
             \"killed\":{},\"seconds\":{}}}",
            download.joined.0 / 1_000_000,
            download.was_killed,
            took.map_or("null".to_owned(), |took| format!("{took:.3}")),
        );
        if let Some(out) = out {
            write_line(out, &line);
        }
    }
    seconds.sort_by(f64::total_cmp);
    if let (Some(largest), Some(median)) = (seconds.last(), seconds.get(seconds.len() / 2)) {
        println!(
            "{label}: {} of {} receivers complete, median {median:.1} s, largest {largest:.1} s",
            seconds.len(),
            records.downloads.len()
        );
    }
    records
}

fn sample_line(swarm: &str, sample: &Sample) -> String {
    let size = |size: &StateSize| {
        format!(
            "{{\"connections\":{},\"addresses\":{},\"open_pieces\":{},\"requests\":{},\
             \"uploads\":{}}}",
            size.connections, size.addresses, size.open_pieces, size.requests, size.uploads
        )
    };
    format!(
        "{{\"kind\":\"size\",\"swarm\":\"{swarm}\",\"t\":{},\"receivers\":{},\"hostile\":{},\
         \"origin\":{},\"largest\":{}}}",
        sample.at.0 / 1_000_000,
        sample.receivers,
        sample.hostile,
        size(&sample.origin),
        size(&sample.largest)
    )
}

/// Writes a line at once: two swarms share the file.
fn write_line(mut out: &File, line: &str) {
    if let Err(error) = out.write_all(format!("{line}\n").as_bytes()) {
        eprintln!("the records cannot be written: {error}");
        std::process::exit(2);
    }
}
