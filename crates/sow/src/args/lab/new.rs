//! The options of `sow lab new`.

use std::path::PathBuf;

use clap::{Args, builder::PossibleValuesParser};
use sow_lab::scenario;

/// `sow lab new`.
#[derive(Debug, Args)]
#[command(after_help = "\
Writes the scenario of a built-in experiment; its comments explain its values. The comments of \
cs-vs-p2p also explain the keys that all experiments have. half-and-half shows several origins, \
slow-origin shows links that differ, churn shows receivers that join and leave. An existing file \
is never overwritten.

Examples:
  sow lab new my-test
  sow lab new slow-links --from mixed-links
  sow lab new --from engines -o -")]
pub(crate) struct NewArgs {
    /// The name of the scenario: the file is NAME.toml [default: the name of the experiment].
    #[arg(value_name = "NAME", value_parser = scenario_name)]
    pub(crate) name: Option<String>,
    /// The experiment to start from.
    #[arg(
        long,
        env = "SOW_FROM",
        value_name = "EXPERIMENT",
        default_value = "cs-vs-p2p",
        value_parser = PossibleValuesParser::new(scenario::BUILT_IN_NAMES)
    )]
    pub(crate) from: String,
    /// Write to this file; - is standard output.
    #[arg(short, long, env = "SOW_OUT", value_name = "FILE", conflicts_with = "name")]
    pub(crate) out: Option<PathBuf>,
}

impl NewArgs {
    /// The path of the new file.
    pub(crate) fn path(&self) -> PathBuf {
        let name = self.name.as_ref().unwrap_or(&self.from);
        self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.toml")))
    }
}

fn scenario_name(text: &str) -> Result<String, String> {
    let plain = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let length = text.chars().count();
    let is_valid = (1..=64).contains(&length)
        && text.chars().all(|c| plain(c) && !c.is_whitespace())
        && scenario::is_printable(text)
        && !text.starts_with('-');
    if !is_valid {
        return Err("a name has letters, digits, - and _; for a path use --out".to_owned());
    }
    Ok(text.to_owned())
}
