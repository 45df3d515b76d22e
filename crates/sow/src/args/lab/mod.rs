//! The options of `sow lab …`, and the network that they describe.

pub(crate) mod crowds;
mod experiment;
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
A lab is a star of hosts h1, h2, … around a switch, in network namespaces of this machine. It \
stays up until `sow lab down`. It needs Linux with iproute2 and util-linux, and either root or a \
kernel that lets ordinary users create namespaces.

Examples:
  sow lab up --hosts 6 --rate 10mbit --delay 5ms
  sow lab exec h1 -- sow send big.iso
  sow lab shell h2
  sow lab down")]
pub(crate) struct LabArgs {
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: LabCommand,
}

/// The commands under `sow lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Build a network: hosts around a switch, every link with a rate and a delay.
    Up(UpArgs),
    /// Run a program on a host, and exit with its exit code.
    Exec(ExecArgs),
    /// Start a shell on a host.
    Shell(ShellArgs),
    /// Show hosts, addresses, links, and the processes on each host.
    Status(StatusArgs),
    /// Measure the links: rate, round-trip time, loss.
    Calibrate(CalibrateArgs),
    /// Take a network down, and end all processes in it.
    Down(DownArgs),
    /// Run an experiment: programs that send files over a network that is built for it, compared
    /// with each other.
    Run(run::RunArgs),
    /// Write a scenario to start from: a commented TOML file that describes an experiment.
    New(new::NewArgs),
    /// Make tables, plots and a page from the records of an experiment.
    ///
    /// Writes report.html (all results on one page), report.md, a CSV file for each table, and each
    /// plot as SVG and PNG.
    #[command(after_help = "Example:\n  sow lab report results --out docs/results")]
    Report(ReportArgs),
    /// Plot the distance from the bound against the number of receivers, from the records of any
    /// number of experiments.
    Crowds(crowds::CrowdsArgs),
    /// A helper process inside a lab; started by the other commands.
    #[command(hide = true, after_help = "Example:\n  sow lab helper relay lab <task.json")]
    Helper {
        /// The role of the helper.
        role: String,
        /// The lab that it belongs to; shown in lists of processes.
        lab: LabName,
    },
}

/// `sow lab report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The folder of the records (records.jsonl).
    pub(crate) dir: PathBuf,
    /// The folder for the report [default: the folder of the records].
    #[arg(short, long, env = "SOW_OUT", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// The lab that a command works on.
#[derive(Debug, Clone, Args)]
pub(crate) struct LabNameArgs {
    /// The lab's name; labs of different names do not disturb each other.
    #[arg(long, env = "SOW_NAME", value_name = "NAME", default_value = "lab")]
    pub(crate) name: LabName,
}

/// `sow lab up`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Rates count whole Ethernet frames: TCP carries 1,448 of every 1,514 bytes, so 10mbit transfers a \
file at 1.196 MB/s. A frame from one host to another crosses two links, so with --delay 5ms a \
round trip takes 20 ms. The kernel's netem delays frames; if it is missing, a relay does so, a \
process between hosts and switch. Names that begin with experiment- are reserved for sow lab run.

Examples:
  sow lab up --hosts 6 --rate 10mbit --delay 5ms
  sow lab up --hosts 4 --rate 100mbit --up h1=2mbit --delay-of h4=50ms
  sow lab up --hosts 10 --switches 2 --trunk 5mbit --name slow-trunk")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) lab: LabNameArgs,
    /// The number of hosts: h1, h2, …
    #[arg(
        long,
        env = "SOW_HOSTS",
        value_name = "N",
        default_value_t = 6,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub(crate) hosts: u16,
    /// The rate of every link, in each direction.
    #[arg(
        long,
        env = "SOW_RATE",
        value_name = "RATE",
        default_value = "10mbit",
        value_parser = quantity::rate
    )]
    pub(crate) rate: Rate,
    /// The delay of every link, in each direction.
    #[arg(
        long,
        env = "SOW_DELAY",
        value_name = "TIME",
        default_value = "0",
        value_parser = quantity::short_time
    )]
    pub(crate) delay: Span,
    /// The rate at which one host can send, for example h1=2mbit; repeat for more hosts.
    #[arg(
        long,
        env = "SOW_UP",
        value_name = "HOST=RATE",
        value_delimiter = ',',
        value_parser = host_rate
    )]
    pub(crate) up: Vec<(usize, Rate)>,
    /// The rate at which one host can receive, for example h3=2mbit; repeat for more hosts.
    #[arg(
        long,
        env = "SOW_DOWN_RATE",
        value_name = "HOST=RATE",
        value_delimiter = ',',
        value_parser = host_rate
    )]
    pub(crate) down_rate: Vec<(usize, Rate)>,
    /// The delay of one host's link, for example h3=50ms; repeat for more hosts.
    #[arg(
        long,
        env = "SOW_DELAY_OF",
        value_name = "HOST=TIME",
        value_delimiter = ',',
        value_parser = host_time
    )]
    pub(crate) delay_of: Vec<(usize, Span)>,
    /// The number of switches; with 2, each has half of the hosts.
    #[arg(
        long,
        env = "SOW_SWITCHES",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=2)
    )]
    pub(crate) switches: u8,
    /// The rate of the link between two switches, in each direction [default: --rate].
    #[arg(long, env = "SOW_TRUNK", value_name = "RATE", value_parser = quantity::rate)]
    pub(crate) trunk: Option<Rate>,
    /// The maximum queue in front of a link, as the time that it takes to drain.
    #[arg(
        long,
        env = "SOW_QUEUE",
        value_name = "TIME",
        default_value = "100ms",
        value_parser = quantity::short_time
    )]
    pub(crate) queue: Span,
    /// TCP's congestion control on every host.
    #[arg(long, env = "SOW_CONGESTION_CONTROL", value_name = "NAME", default_value = "cubic")]
    pub(crate) congestion_control: String,
    /// The method that delays frames.
    #[arg(long, env = "SOW_DELAY_BY", value_name = "WHO", default_value = "auto")]
    pub(crate) delay_by: DelayBy,
    /// Measure the links after they are built.
    #[arg(
        long,
        env = "SOW_CALIBRATE",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    pub(crate) calibrate: bool,
}

/// The method that delays frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DelayBy {
    /// The kernel if it can, else the relay.
    Auto,
    /// The kernel's netem.
    Netem,
    /// A process of this program.
    Relay,
}

/// `sow lab exec`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  sow lab exec h2 -- ping -c 3 10.0.0.1")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) lab: LabNameArgs,
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
    pub(crate) lab: LabNameArgs,
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
    /// Show only this lab.
    #[arg(long, env = "SOW_NAME", value_name = "NAME")]
    pub(crate) name: Option<LabName>,
}

/// `sow lab calibrate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Exits with code 1 if a path deviates by more than 2 % of its rate or 1 ms of its round-trip time.

Example:
  sow lab calibrate")]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    pub(crate) lab: LabNameArgs,
}

/// `sow lab down`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Also removes the remains of a lab that was built only in part.

Examples:
  sow lab down
  sow lab down --all")]
pub(crate) struct DownArgs {
    #[command(flatten)]
    pub(crate) lab: LabNameArgs,
    /// Take down every lab of this user.
    #[arg(
        long,
        env = "SOW_ALL",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    pub(crate) all: bool,
}

impl UpArgs {
    /// The network that the options describe.
    ///
    /// # Errors
    /// When the name is reserved for experiments, a named host does not exist, or a value is out of
    /// range.
    pub(crate) fn topology(&self) -> Result<Topology, Failure> {
        if self.lab.name.as_str().starts_with(LAB_PREFIX) {
            return Err(Failure::usage(format!(
                "names that begin with {LAB_PREFIX} are reserved for labs of `sow lab run`"
            ))
            .tip("choose another --name"));
        }
        let rate = bits(self.rate);
        let link = Link { up: rate, down: rate, delay_us: micros(self.delay) };
        let mut topology = Topology::star(self.lab.name.clone(), usize::from(self.hosts), link);
        reject_duplicates("--up", &self.up)?;
        reject_duplicates("--down-rate", &self.down_rate)?;
        reject_duplicates("--delay-of", &self.delay_of)?;
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
                return Err(Failure::usage("--trunk is the rate of the link between two switches")
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

/// Rejects two values for the same host.
fn reject_duplicates<T>(option: &str, given: &[(usize, T)]) -> Result<(), Failure> {
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
        Failure::usage(format!("there is no h{host}: the lab has {hosts} hosts")).tip("see --hosts")
    })
}

fn bits(rate: Rate) -> u64 {
    rate.0.saturating_mul(8)
}

fn micros(span: Span) -> u64 {
    u64::try_from(span.0.as_micros()).unwrap_or(u64::MAX)
}

fn host_rate(text: &str) -> Result<(usize, Rate), String> {
    host_value(text, "h3=2mbit", |value| quantity::rate(value).map_err(|error| error.to_string()))
}

fn host_time(text: &str) -> Result<(usize, Span), String> {
    host_value(text, "h3=50ms", |value| {
        quantity::short_time(value).map_err(|error| error.to_string())
    })
}

fn host_value<T>(
    text: &str,
    example: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<(usize, T), String> {
    let parts = text.split_once('=').and_then(|(host, value)| Some((host_number(host)?, value)));
    let (host, value) = parts.ok_or_else(|| format!("write for example {example}"))?;
    Ok((host, parse(value)?))
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
    fn options_describe_a_star() {
        let topology =
            up("--hosts 4 --rate 10mbit --delay 5ms --up h1=2mbit,h2=3mbit --up h3=1mbit \
             --down-rate h4=80kbit --delay-of h2=50ms --queue 50ms --congestion-control reno \
             --name a-b")
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
    fn two_switches_have_a_trunk() {
        assert_eq!(up("--switches 2").unwrap().switches, Switches::Two { trunk: 10_000_000 });
        assert_eq!(
            up("--switches 2 --trunk 5mbit").unwrap().switches,
            Switches::Two { trunk: 5_000_000 }
        );
        assert!(up("--trunk 5mbit").unwrap_err().contains("two switches"));
    }

    #[test]
    fn an_invalid_value_is_named() {
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
