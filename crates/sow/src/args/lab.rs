//! `sow lab …` as it is typed.

pub(crate) mod new;
pub(crate) mod run;

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf};

use clap::{ArgAction, Args, Subcommand, ValueEnum, builder::FalseyValueParser};
use sow_lab::{
    network::{DelayChoice, LabName, Link, Switches, Topology, host_number},
    run::LAB_PREFIX,
};

use crate::{
    exit::Failure,
    quantity::{self, Rate, Span},
};

/// `sow lab`.
#[derive(Debug, Args)]
#[command(after_help = "\
A lab is a star of hosts h1, h2, … round a switch, in network namespaces of this machine. It stays up until it is taken down. \
Needs Linux with iproute2 and util-linux, and root, or a kernel that lets ordinary users make namespaces.

Examples:
  sow lab up --hosts 6 --rate 10mbit --delay 5ms
  sow lab exec h1 -- sow send big.iso
  sow lab shell h2
  sow lab down")]
pub(crate) struct LabArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: LabCommand,
}

/// The commands under `sow lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Build a network: hosts round a switch, every link with a rate and a delay.
    Up(UpArgs),
    /// Run a program on a host, and end with its exit code.
    Exec(ExecArgs),
    /// A shell on a host.
    Shell(ShellArgs),
    /// Show hosts, addresses and links, and what runs there.
    Status(StatusArgs),
    /// Measure what the links really do: rate, round trip, loss.
    Calibrate(CalibrateArgs),
    /// Take a network down, with everything that runs in it.
    Down(DownArgs),
    /// Carry out an experiment: programs that send files over a network that is built for it, side
    /// by side.
    Run(run::RunArgs),
    /// Write a scenario to start from: a commented TOML file that says what an experiment does.
    New(new::NewArgs),
    /// Make tables, plots and a page of what an experiment recorded.
    ///
    /// Writes report.html (everything on one page), report.md, a CSV file for each table, and each
    /// plot as SVG and PNG.
    #[command(after_help = "Example:\n  sow lab report results --out docs/results")]
    Report(ReportArgs),
    /// What runs inside a lab; started by the other commands.
    #[command(hide = true, after_help = "Example:\n  sow lab helper relay lab <task.json")]
    Helper {
        /// What it is for.
        role: String,
        /// The lab that it belongs to, for those who look at the list of processes.
        lab: LabName,
    },
}

/// `sow lab report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The folder that has the records (records.jsonl).
    pub(crate) dir: PathBuf,
    /// Where to put the report [default: beside the records].
    #[arg(short, long, env = "SOW_OUT", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Which lab.
#[derive(Debug, Clone, Args)]
pub(crate) struct Named {
    /// The lab's name; labs of different names do not disturb each other.
    #[arg(long, env = "SOW_NAME", value_name = "NAME", default_value = "lab")]
    pub(crate) name: LabName,
}

/// `sow lab up`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Rates are those of whole Ethernet frames: TCP carries 1,448 of every 1,514 bytes, so 10mbit are 1.196 MB/s of a file. \
A frame from one host to another crosses two links, so with --delay 5ms a round trip takes 20 ms. \
Delay is made by the kernel's netem, or where that is missing by a relay, a process between hosts and switch. \
Names that begin with experiment- are kept for sow lab run.

Examples:
  sow lab up --hosts 6 --rate 10mbit --delay 5ms
  sow lab up --hosts 4 --rate 100mbit --up h1=2mbit --delay-of h4=50ms
  sow lab up --hosts 10 --switches 2 --trunk 5mbit --name slow-trunk")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) named: Named,
    /// How many hosts there are: h1, h2, …
    #[arg(long, env = "SOW_HOSTS", value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) hosts: u16,
    /// The rate of every link, each way.
    #[arg(long, env = "SOW_RATE", value_name = "RATE", default_value = "10mbit", value_parser = quantity::rate)]
    pub(crate) rate: Rate,
    /// How long a frame is under way on a link, each way.
    #[arg(long, env = "SOW_DELAY", value_name = "TIME", default_value = "0", value_parser = quantity::short_time)]
    pub(crate) delay: Span,
    /// What one host can send, for example h1=2mbit; can be given several times.
    #[arg(long, env = "SOW_UP", value_name = "HOST=RATE", value_delimiter = ',', value_parser = host_rate)]
    pub(crate) up: Vec<(usize, Rate)>,
    /// What one host can receive, for example h3=2mbit; can be given several times.
    #[arg(long, env = "SOW_DOWN_RATE", value_name = "HOST=RATE", value_delimiter = ',', value_parser = host_rate)]
    pub(crate) down_rate: Vec<(usize, Rate)>,
    /// The delay of one host's link, for example h3=50ms; can be given several times.
    #[arg(long, env = "SOW_DELAY_OF", value_name = "HOST=TIME", value_delimiter = ',', value_parser = host_time)]
    pub(crate) delay_of: Vec<(usize, Span)>,
    /// 2: half of the hosts on each of two switches.
    #[arg(long, env = "SOW_SWITCHES", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) switches: u8,
    /// The rate of the line between two switches, each way [default: --rate].
    #[arg(long, env = "SOW_TRUNK", value_name = "RATE", value_parser = quantity::rate)]
    pub(crate) trunk: Option<Rate>,
    /// The longest queue in front of a link, as the time that it takes to drain.
    #[arg(long, env = "SOW_QUEUE", value_name = "TIME", default_value = "100ms", value_parser = quantity::short_time)]
    pub(crate) queue: Span,
    /// TCP's congestion control on every host.
    #[arg(long, env = "SOW_CONGESTION_CONTROL", value_name = "NAME", default_value = "cubic")]
    pub(crate) congestion_control: String,
    /// Who delays frames.
    #[arg(long, env = "SOW_DELAY_BY", value_name = "WHO", default_value = "auto")]
    pub(crate) delay_by: DelayBy,
    /// Measure the links when they are built.
    #[arg(long, env = "SOW_CALIBRATE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) calibrate: bool,
}

/// Who delays frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DelayBy {
    /// The kernel where it can, else the relay.
    Auto,
    /// The kernel.
    Netem,
    /// A process of ours.
    Relay,
}

/// `sow lab exec`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  sow lab exec h2 -- ping -c 3 10.0.0.1")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) named: Named,
    /// The host: h1, h2, …
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// The program and its arguments.
    #[arg(
        value_name = "CMD",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<OsString>,
}

/// `sow lab shell`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  sow lab shell h2")]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) named: Named,
    /// The host: h1, h2, …
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
}

/// `sow lab status`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  sow lab status
  sow lab status --name slow-trunk --json")]
pub(crate) struct StatusArgs {
    /// Show this lab alone.
    #[arg(long, env = "SOW_NAME", value_name = "NAME")]
    pub(crate) name: Option<LabName>,
}

/// `sow lab calibrate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Ends with 1 when a path is off by more than 2 % of its rate or 1 ms of its round trip.

Example:
  sow lab calibrate")]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    pub(crate) named: Named,
}

/// `sow lab down`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Also cleans up after a lab that was not built to its end.

Examples:
  sow lab down
  sow lab down --all")]
pub(crate) struct DownArgs {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Take down every lab of this user.
    #[arg(long, env = "SOW_ALL", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) all: bool,
}

impl UpArgs {
    /// The network that is meant.
    ///
    /// # Errors
    /// When the name is kept for experiments, a host is named that is not there, or a figure is out
    /// of range.
    pub(crate) fn topology(&self) -> Result<Topology, Failure> {
        if self.named.name.as_str().starts_with(LAB_PREFIX) {
            return Err(Failure::usage(format!(
                "labs of `sow lab run` have names that begin with {LAB_PREFIX}"
            ))
            .tip("choose another --name"));
        }
        let rate = bits(self.rate);
        let link = Link { up: rate, down: rate, delay_us: micros(self.delay) };
        let mut topology = Topology::star(self.named.name.clone(), usize::from(self.hosts), link);
        once("--up", &self.up)?;
        once("--down-rate", &self.down_rate)?;
        once("--delay-of", &self.delay_of)?;
        for (host, rate) in &self.up {
            link_of(&mut topology, *host)?.up = bits(*rate);
        }
        for (host, rate) in &self.down_rate {
            link_of(&mut topology, *host)?.down = bits(*rate);
        }
        for (host, delay) in &self.delay_of {
            link_of(&mut topology, *host)?.delay_us = micros(*delay);
        }
        topology.switches = match (self.switches, self.trunk) {
            (2, trunk) => Switches::Two { trunk: trunk.map_or(rate, bits) },
            (_, None) => Switches::One,
            (_, Some(_)) => {
                return Err(Failure::usage("--trunk is the line between two switches")
                    .tip("add --switches 2"));
            }
        };
        topology.queue_us = micros(self.queue);
        topology.congestion_control.clone_from(&self.congestion_control);
        topology.delay_by = match self.delay_by {
            DelayBy::Auto => DelayChoice::Auto,
            DelayBy::Netem => DelayChoice::Netem,
            DelayBy::Relay => DelayChoice::Relay,
        };
        topology.check().map_err(Failure::usage)?;
        Ok(topology)
    }
}

/// Of two figures for the same thing, one must be a mistake.
fn once<T>(option: &str, given: &[(usize, T)]) -> Result<(), Failure> {
    let mut hosts = BTreeSet::new();
    match given.iter().find(|(host, _)| !hosts.insert(*host)) {
        Some((host, _)) => Err(Failure::usage(format!("{option} is given twice for h{host}"))),
        None => Ok(()),
    }
}

fn link_of(topology: &mut Topology, host: usize) -> Result<&mut Link, Failure> {
    let hosts = topology.links.len();
    let link = topology.links.get_mut(host - 1);
    link.ok_or_else(|| {
        Failure::usage(format!("there are {hosts} hosts, and no h{host}")).tip("see --hosts")
    })
}

fn bits(rate: Rate) -> u64 {
    rate.0.saturating_mul(8)
}

fn micros(span: Span) -> u64 {
    u64::try_from(span.0.as_micros()).unwrap_or(u64::MAX)
}

fn host_rate(text: &str) -> Result<(usize, Rate), String> {
    of_host(text, "h3=2mbit", |value| quantity::rate(value).map_err(|error| error.to_string()))
}

fn host_time(text: &str) -> Result<(usize, Span), String> {
    of_host(text, "h3=50ms", |value| quantity::short_time(value).map_err(|error| error.to_string()))
}

fn of_host<T>(
    text: &str,
    example: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<(usize, T), String> {
    let parts = text.split_once('=').and_then(|(host, value)| Some((host_number(host)?, value)));
    let (host, value) = parts.ok_or_else(|| format!("write for example {example}"))?;
    Ok((host, read(value)?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn up(words: &str) -> Result<Topology, String> {
        let line = ["sow", "lab", "up"].into_iter().chain(words.split_ascii_whitespace());
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        let Command::Lab(LabArgs { command: LabCommand::Up(up) }) = cli.command else {
            panic!("not lab up")
        };
        up.topology().map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn a_star_as_it_is_typed() {
        let topology = up(
            "--hosts 4 --rate 10mbit --delay 5ms --up h1=2mbit,h2=3mbit --up h3=1mbit --down-rate h4=80kbit \
             --delay-of h2=50ms --queue 50ms --congestion-control reno --name a-b",
        )
        .unwrap();
        let figures: Vec<_> =
            topology.links.iter().map(|link| (link.up, link.down, link.delay_us)).collect();
        assert_eq!(
            figures,
            [
                (2_000_000, 10_000_000, 5000),
                (3_000_000, 10_000_000, 50_000),
                (1_000_000, 10_000_000, 5000),
                (10_000_000, 80_000, 5000)
            ]
        );
        assert_eq!(topology.name.as_str(), "a-b");
        assert_eq!((topology.queue_us, &*topology.congestion_control), (50_000, "reno"));
        assert_eq!(topology.switches, Switches::One);
    }

    #[test]
    fn two_switches_share_a_trunk() {
        assert_eq!(up("--switches 2").unwrap().switches, Switches::Two { trunk: 10_000_000 });
        assert_eq!(
            up("--switches 2 --trunk 5mbit").unwrap().switches,
            Switches::Two { trunk: 5_000_000 }
        );
        assert!(up("--trunk 5mbit").unwrap_err().contains("two switches"));
    }

    #[test]
    fn wrong_figures_are_named() {
        for (words, said) in [
            ("--hosts 0", "1..=1000"),
            ("--hosts 2 --up h3=1mbit", "no h3"),
            ("--up h0=1mbit", "h3=2mbit"),
            ("--up 1mbit", "h3=2mbit"),
            ("--up h1=fast", "does not begin with a number"),
            ("--delay-of h1=5mbit", "unit of time"),
            ("--rate 1bit", "out of range"),
            ("--rate 8bit", "16 kbit/s"),
            ("--delay 11s", "10 s"),
            ("--delay 5", "5ms"),
            ("--delay-of h1=5", "5ms"),
            ("--queue 100", "100ms"),
            ("--rate 10", "10mbit"),
            ("--up h1=2mbit --up h2=1mbit,h1=3mbit", "--up is given twice for h1"),
            ("--delay-of h3=2ms,h3=3ms", "--delay-of is given twice for h3"),
            ("--name Lab", "no name for a lab"),
            ("--name experiment-1", "labs of `sow lab run`"),
            ("--congestion-control a/b", "no congestion control"),
        ] {
            let error = up(words).unwrap_err();
            assert!(error.contains(said), "{words}: {error}");
        }
    }
}
