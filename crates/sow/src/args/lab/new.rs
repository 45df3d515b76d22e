//! `sow lab new` as it is typed.

use std::path::PathBuf;

use clap::{Args, builder::PossibleValuesParser};
use sow_lab::scenario;

/// `sow lab new`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is that of a built-in experiment; its comments say why its figures are what they are. Those of cs-vs-p2p also say what the keys \
mean that all experiments have, half-and-half has several origins, slow-origin links that differ, churn receivers that come and go. \
A file that is there is never overwritten.

Examples:
  sow lab new my-test
  sow lab new slow-links --from mixed-links
  sow lab new --from engines -o -")]
pub(crate) struct NewArgs {
    /// What the scenario is called: the file is NAME.toml [default: as the experiment].
    #[arg(value_name = "NAME", value_parser = scenario_name)]
    pub(crate) name: Option<String>,
    /// The experiment to start from.
    #[arg(long, env = "SOW_FROM", value_name = "EXPERIMENT", default_value = "cs-vs-p2p", value_parser = PossibleValuesParser::new(scenario::BUILT_IN_NAMES))]
    pub(crate) from: String,
    /// Where to put the file; - is standard output.
    #[arg(short, long, env = "SOW_OUT", value_name = "FILE", conflicts_with = "name")]
    pub(crate) out: Option<PathBuf>,
}

impl NewArgs {
    /// Where the file is to go.
    pub(crate) fn path(&self) -> PathBuf {
        let name = self.name.as_ref().unwrap_or(&self.from);
        self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.toml")))
    }
}

fn scenario_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !(1..=64).contains(&text.len()) || !text.chars().all(plain) || text.starts_with('-') {
        return Err("write letters, digits, - and _; for a path use --out".to_owned());
    }
    Ok(text.to_owned())
}
