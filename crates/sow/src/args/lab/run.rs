//! The options of `sow lab run`, and the scenario that they describe.

use std::path::{Path, PathBuf};

use clap::Args;
use sow_lab::{
    run::MAX_JOBS,
    scenario::{
        self, BUILT_IN_NAMES, MAX_REPEAT, MAX_SIMULATED_USERS, Mode, Scenario, ScenarioError,
        counts_up_to,
    },
};

use super::experiment::ExperimentParser;

/// `sow lab run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("\
EXPERIMENT is one of {}, or a file like those (sow lab new writes one).

Every run starts new processes on a network that is built for the experiment and measured first. \
Copies are compared with the original byte by byte. The folder gets the measurements as JSON lines \
(records.jsonl) and a report, as by `sow lab report`. After an interruption, the same command \
continues with the next run. Exits with code 0 if every run ended with correct copies, else with 1.

Examples:
  sow lab run smoke
  sow lab run cs-vs-p2p --users 1-5 --repeat 1
  sow lab run engines --modes sow,libtorrent,aria2 --users 5,20 --out results
  sow lab run my-experiment.toml --jobs 2
  sow lab run engines --simulate --users 20,200,1000", BUILT_IN_NAMES.join(", ")))]
pub(crate) struct RunArgs {
    /// The name of an experiment, or a scenario file.
    #[arg(
        value_name = "EXPERIMENT|FILE.toml",
        value_parser = ExperimentParser,
        hide_possible_values = true
    )]
    experiment: String,
    /// The number of receivers, one run for each number: 5, 1-5, 1,5,20 [default: from the
    /// experiment].
    #[arg(long, env = "SOW_USERS", value_name = "N", value_parser = numbers)]
    users: Option<Numbers>,
    /// How many times each run is made [default: from the experiment].
    #[arg(
        long,
        env = "SOW_REPEAT",
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_REPEAT))
    )]
    repeat: Option<u16>,
    /// The modes to compare, in the order of the tables [default: from the experiment].
    #[arg(long, env = "SOW_MODES", value_name = "MODE", value_delimiter = ',')]
    modes: Vec<Mode>,
    /// The seed of the random files [default: from the experiment].
    #[arg(long, env = "SOW_SEED", value_name = "NUMBER")]
    seed: Option<u64>,
    /// The number of labs that run at the same time. With too few processors for all of them, the
    /// measurements are wrong.
    #[arg(
        long,
        env = "SOW_JOBS",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_JOBS))
    )]
    pub(crate) jobs: u16,
    /// Simulate the runs of sow, chunk and json-torrent instead of measuring them: the same
    /// records and report, without a network or privileges, for up to 10,000 receivers.
    #[arg(long, env = "SOW_SIMULATE")]
    pub(crate) simulate: bool,
    /// The folder for records and report [default: ./NAME-results, ./NAME-simulated with
    /// --simulate].
    #[arg(short, long, env = "SOW_OUT", value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Numbers of receivers.
#[derive(Debug, Clone)]
struct Numbers(Vec<u16>);

impl RunArgs {
    /// The scenario, with the values of options in place of its own.
    ///
    /// # Errors
    /// When there is no such scenario, or it is invalid.
    pub(crate) fn scenario(&self) -> Result<Scenario, ScenarioError> {
        let mut scenario = match BUILT_IN_NAMES.contains(&&*self.experiment) {
            true => scenario::built_in(&self.experiment)?,
            // A text with the form of a path is a path; any other text is an unknown name.
            false if self.is_path() && self.simulate => {
                scenario::read_simulated(Path::new(&self.experiment))?
            }
            false if self.is_path() => scenario::read(Path::new(&self.experiment))?,
            false => scenario::built_in(&self.experiment)?,
        };
        if let Some(Numbers(users)) = &self.users {
            scenario.users.clone_from(users);
        }
        if !self.modes.is_empty() {
            let mut modes = self.modes.clone();
            let mut seen = std::collections::BTreeSet::new();
            modes.retain(|mode| seen.insert(*mode));
            scenario.modes = modes;
        }
        scenario.repeat = self.repeat.unwrap_or(scenario.repeat);
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        Ok(scenario)
    }

    fn is_path(&self) -> bool {
        self.experiment.contains(['/', '.']) || Path::new(&self.experiment).exists()
    }

    /// The folder for records and report.
    pub(crate) fn out(&self, scenario: &Scenario) -> PathBuf {
        let kind = if self.simulate { "simulated" } else { "results" };
        self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}-{kind}", scenario.name)))
    }
}

fn numbers(text: &str) -> Result<Numbers, String> {
    counts_up_to(MAX_SIMULATED_USERS, text).map(Numbers).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{
        Cli, Command,
        lab::{LabArgs, LabCommand},
    };

    fn run(words: &[&str]) -> Result<(Scenario, PathBuf), String> {
        let line = ["sow", "lab", "run"].iter().chain(words);
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        let Command::Lab(LabArgs { command: LabCommand::Run(args) }) = cli.command else {
            panic!("not lab run")
        };
        let scenario = args.scenario().map_err(|error| error.to_string())?;
        let out = args.out(&scenario);
        Ok((scenario, out))
    }

    #[test]
    fn options_have_precedence_over_the_scenario() {
        let (scenario, out) = run(&["smoke"]).unwrap();
        assert_eq!(out, Path::new("smoke-results"));
        let line = [
            "smoke",
            "--users",
            "1,3-4",
            "--repeat",
            "7",
            "--modes",
            "swarm,raw,swarm",
            "--seed",
            "9",
            "-o",
            "x",
        ];
        let (typed, out) = run(&line).unwrap();
        assert_eq!(out, Path::new("x"));
        assert_eq!((typed.users, typed.repeat, typed.seed), (vec![1, 3, 4], 7, 9));
        assert_eq!(typed.modes, [Mode::Swarm, Mode::Raw]);
        assert_eq!((typed.files, typed.network), (scenario.files, scenario.network));
    }

    #[test]
    fn an_invalid_value_is_named() {
        for (line, said) in [
            (&["smok"][..], "smok"),
            (&["no/such.toml"], "no/such.toml"),
            (&["smoke", "--users", "0"], "from 1 to"),
            (&["smoke", "--users", "5-1"], "from 1 to"),
            (&["smoke", "--modes", "swram"], "no mode `swram`"),
            (&["smoke", "--repeat", "0"], "1..="),
            (&["smoke", "--jobs", "33"], "1..=32"),
        ] {
            let error = run(line).unwrap_err();
            assert!(error.contains(said), "{line:?}: {error}");
        }
    }
}
