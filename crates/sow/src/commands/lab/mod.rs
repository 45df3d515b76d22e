//! `sow lab up|exec|shell|status|calibrate|down`: the network of a lab. Experiments, scenarios and
//! reports have files of their own.

mod new;
mod report;
mod run;
mod simulation;

use std::{env, ffi::OsString, os::unix::process::CommandExt as _};

use sow_lab::network::{
    self, Calibration, DelayMethod, Lab, LabName, LabStatus, Link, NetworkError, Switches,
    Topology, run_helper,
};

use crate::{
    args::lab::{LabCommand, UpArgs},
    exit::{Exit, Failure},
    own_program::own_program,
    report::{Event, Report},
    runtime::{blocking, run_async},
    stop_signal::StopSignal,
};

/// Runs one of the commands.
///
/// # Errors
/// When the command fails.
pub(crate) fn run(command: LabCommand, report: &Report) -> Result<Exit, Failure> {
    match command {
        LabCommand::Up(args) => run_async(up(args, report)),
        LabCommand::Exec(args) => exec(&args.lab.name, &args.host, args.command),
        LabCommand::Shell(args) => {
            report.note(format_args!("starting a shell on {}; `exit` ends it", args.host));
            let shell = env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
            exec(&args.lab.name, &args.host, vec![shell])
        }
        LabCommand::Status(args) => status(args.name, report),
        LabCommand::Calibrate(args) => {
            let calibration = Lab::open(&args.lab.name, &own_program()?)?.calibrate()?;
            report_calibration(&calibration, report);
            Ok(if calibration.is_good() { Exit::Done } else { Exit::Failed })
        }
        LabCommand::Down(args) => down(&args.lab.name, args.all, report),
        LabCommand::Run(args) => run_async(run::run(args, report)),
        LabCommand::New(args) => new::run(&args, report),
        LabCommand::Crowds(args) => report::crowds(&args, report),
        LabCommand::Report(args) => report::run(&args.dir, args.out.as_deref(), report),
        LabCommand::Helper { role, lab: _ } => match run_helper(&role) {
            Ok(()) => Ok(Exit::Done),
            Err(error) => Err(Failure::new(Exit::Failed, error)),
        },
    }
}

async fn up(args: UpArgs, report: &Report) -> Result<Exit, Failure> {
    let topology = args.topology()?;
    let stop = StopSignal::listen(report)?;
    let report = report.clone();
    blocking(move || {
        let lab = match Lab::up(&topology, &own_program()?, stop.flag()) {
            // Ctrl-C also ends the processes that build the lab.
            Err(_) if stop.flag().load(std::sync::atomic::Ordering::Relaxed) => {
                return Ok(Exit::Interrupted);
            }
            built => built?,
        };
        if report.is_json() {
            report.event(&Event::Lab(&lab.status()));
        } else {
            describe(&topology, lab.delay_method()).iter().for_each(|line| report.out(line));
        }
        if args.calibrate {
            report_calibration(&lab.calibrate()?, &report);
        }
        lab.keep();
        Ok(Exit::Done)
    })
    .await
}

/// Replaces this process with the program, so that signals and the exit code are the program's.
fn exec(name: &LabName, host: &str, command: Vec<OsString>) -> Result<Exit, Failure> {
    let mut words = command.into_iter();
    let Some(program) = words.next() else {
        return Err(Failure::usage("no program is named"));
    };
    let lab = Lab::open(name, &own_program()?)?;
    let error = lab.foreground_command(host, program)?.args(words).exec();
    Err(Failure::new(Exit::Failed, format!("nsenter (package util-linux): {error}")))
}

fn status(name: Option<LabName>, report: &Report) -> Result<Exit, Failure> {
    let names = match name {
        Some(name) => vec![name],
        None => network::names()?,
    };
    if names.is_empty() {
        report.note("no lab is up");
    }
    for name in &names {
        let status = match LabStatus::of(name) {
            Ok(status) => status,
            Err(error @ (NetworkError::Broken(_) | NetworkError::Busy(_))) if names.len() > 1 => {
                report.warn(Failure::from(error).message());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if report.is_json() {
            report.event(&Event::Lab(&status));
        } else {
            lines_of(&status).iter().for_each(|line| report.out(line));
        }
    }
    Ok(Exit::Done)
}

fn down(name: &LabName, all: bool, report: &Report) -> Result<Exit, Failure> {
    let names = if all { network::names()? } else { vec![name.clone()] };
    for name in &names {
        let existed = network::down(name)?;
        report.note(if existed {
            format!("the lab {name} is down")
        } else {
            format!("there is no lab {name}")
        });
    }
    if names.is_empty() {
        report.note("no lab is up");
    }
    Ok(Exit::Done)
}

fn report_calibration(calibration: &Calibration, report: &Report) {
    if report.is_json() {
        report.event(&Event::Calibration(calibration));
    } else {
        report.out_lines(&calibration.to_string());
    }
}

/// The description of a new lab, and the commands to use it.
fn describe(topology: &Topology, delay: DelayMethod) -> Vec<String> {
    let name = &topology.name;
    let hosts = topology.links.len();
    let switches = match topology.switches {
        Switches::One => "around a switch".to_owned(),
        Switches::Two { trunk } => {
            let first = (1..=hosts).filter(|&host| topology.switch_of(host) == 1).count();
            let (one, other) = (span(1, first), span(first + 1, hosts));
            format!(
                "on two switches with {} between them: {one} on one, {other} on the other",
                rate(trunk)
            )
        }
    };
    let first = topology.links[0];
    let mut lines = vec![
        format!("lab {name}: {hosts} {} {switches}", if hosts == 1 { "host" } else { "hosts" }),
        format!("  h1     10.0.0.1  fd00:10::1  {}", link_text(&first)),
    ];
    let same = topology.links.iter().all(|link| *link == first);
    if same && hosts > 1 {
        lines[1] = format!(
            "  h1 to h{hosts}, 10.0.0.1 and on, fd00:10::1 and on: each {}",
            link_text(&first)
        );
    } else {
        let others = topology.links.iter().enumerate().skip(1).filter(|(_, link)| **link != first);
        lines
            .extend(others.map(|(index, link)| format!("  h{:<5} {}", index + 1, link_text(link))));
    }
    lines.push(format!(
        "  {}; congestion control {}",
        method_text(delay),
        topology.congestion_control
    ));
    let named = if name.as_str() == "lab" { String::new() } else { format!(" --name {name}") };
    lines.push(format!(
        "run `sow lab exec{named} h1 -- CMD` or `sow lab shell{named} h1`; \
         `sow lab down{named}` takes it down"
    ));
    lines
}

fn lines_of(status: &LabStatus) -> Vec<String> {
    let state = match (status.whole, status.busy) {
        (true, _) => "",
        (false, true) => "; a command is building it or taking it down",
        (false, false) => "; INCOMPLETE: take it down",
    };
    let is_delayed = status.hosts.iter().any(|host| host.link.delay_us > 0);
    let method = match status.delay_method {
        // The lab was built only in part.
        DelayMethod::None if is_delayed => "delay not set up",
        method => method_text(method),
    };
    let mut lines = vec![format!(
        "lab {}: {method}; congestion control {}{state}",
        status.name, status.congestion_control
    )];
    for host in &status.hosts {
        let switch = match status.switches {
            Switches::One => String::new(),
            Switches::Two { .. } => format!(", on switch {}", host.switch),
        };
        lines.push(format!(
            "  {:<5} {:<12} {:<13} {}{switch}",
            host.name,
            host.ipv4,
            host.ipv6,
            link_text(&host.link)
        ));
        lines.extend(
            host.processes
                .iter()
                .map(|process| format!("        {:>7} {}", process.pid, process.command)),
        );
    }
    lines
}

/// A range of hosts.
fn span(first: usize, last: usize) -> String {
    match last.checked_sub(first) {
        None => "none".to_owned(),
        Some(0) => format!("h{first}"),
        Some(_) => format!("h{first} to h{last}"),
    }
}

fn link_text(link: &Link) -> String {
    let rates = if link.up == link.down {
        format!("{} both ways", rate(link.up))
    } else {
        format!("{} up, {} down", rate(link.up), rate(link.down))
    };
    match link.delay_us {
        0 => format!("{rates}, no delay"),
        delay => format!("{rates}, {} ms", delay as f64 / 1000.0),
    }
}

/// A rate in the form of an option: 10mbit.
fn rate(bits: u64) -> String {
    match bits {
        1_000_000.. => format!("{}mbit", bits as f64 / 1e6),
        _ => format!("{}kbit", bits as f64 / 1e3),
    }
}

fn method_text(delay: DelayMethod) -> &'static str {
    match delay {
        DelayMethod::None => "no delay",
        DelayMethod::Netem => "delay by the kernel's netem",
        DelayMethod::Relay => "delay by a relay process",
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        let exit = match &error {
            NetworkError::Name(_) | NetworkError::Topology(_) | NetworkError::NoSuchHost { .. } => {
                Exit::Usage
            }
            NetworkError::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        };
        let tip = match &error {
            NetworkError::AlreadyUp(name) | NetworkError::Broken(name) => {
                Some(format!("sow lab down --name {name}"))
            }
            NetworkError::NoSuchLab(name) => Some(format!("sow lab up --name {name}")),
            NetworkError::NotPermitted(_) => Some("run it as root: sudo sow lab …".to_owned()),
            NetworkError::Busy(name) => {
                Some(format!("wait until it ends; sow lab status --name {name}"))
            }
            _ => None,
        };
        let failure = Failure::new(exit, error);
        match tip {
            Some(tip) => failure.tip(tip),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link { up: 10_000_000, down: 10_000_000, delay_us: 5000 };

    #[test]
    fn a_new_lab_is_described_with_the_commands_to_use_it() {
        let mut topology = Topology::star("demo".parse().unwrap(), 3, LINK);
        assert_eq!(
            describe(&topology, DelayMethod::Relay),
            [
                "lab demo: 3 hosts around a switch",
                "  h1 to h3, 10.0.0.1 and on, fd00:10::1 and on: each 10mbit both ways, 5 ms",
                "  delay by a relay process; congestion control cubic",
                "run `sow lab exec --name demo h1 -- CMD` or `sow lab shell --name demo h1`; \
                 `sow lab down --name demo` takes it down",
            ]
        );
        topology.links[2] = Link { up: 64_000, down: 2_500_000, delay_us: 0 };
        topology.switches = Switches::Two { trunk: 5_000_000 };
        let lines = describe(&topology, DelayMethod::None);
        assert_eq!(
            lines[0],
            "lab demo: 3 hosts on two switches with 5mbit between them: h1 to h2 on one, h3 on the \
             other"
        );
        assert_eq!(lines[2], "  h3     64kbit up, 2.5mbit down, no delay");
    }
}
