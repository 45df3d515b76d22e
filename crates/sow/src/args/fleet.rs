//! Which receivers a command waits for, for how long, and the files that tell what became of them.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::groups::ExpectArgs;
use crate::{
    exit::Failure,
    fleet::{Expectation, ExpectedHosts, HostList, ResultsFile, check_writable},
    quantity::{self, Span},
};

/// The options of a command that waits for receivers.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FleetArgs {
    #[command(flatten)]
    expect: ExpectArgs,
    /// Expect the hosts that this file names, one a line: web01, web[01-60].example.org,
    /// 10.0.0.7. Exit with code 0 as soon as each holds a verified whole copy.
    #[arg(long, env = "SOW_HOSTS", value_name = "FILE", conflicts_with = "expect")]
    hosts: Option<PathBuf>,
    /// Stop after this time: 90s, 10m, 1h; with code 7 if an expected receiver is not complete.
    #[arg(long, env = "SOW_TIMEOUT", value_name = "TIME", value_parser = quantity::time)]
    timeout: Option<Span>,
    /// At the end, write a row for each receiver and each expected host to FILE.csv or FILE.json.
    #[arg(long, env = "SOW_RESULTS", value_name = "FILE")]
    results: Option<PathBuf>,
    /// At the end, write the hosts that are not complete to this file, for --hosts of the next run.
    #[arg(long, env = "SOW_MISSING", value_name = "FILE")]
    missing: Option<PathBuf>,
}

/// Which receivers a run waits for, and what it leaves.
#[derive(Debug, Clone)]
pub(crate) struct FleetPlan {
    /// The receivers that are expected.
    pub(crate) expectation: Expectation,
    /// How long to wait for them.
    pub(crate) timeout: Option<Duration>,
    /// Where the results go.
    pub(crate) results: Option<ResultsFile>,
    /// Where the hosts for the next try go.
    pub(crate) missing: Option<PathBuf>,
}

impl From<Option<usize>> for FleetPlan {
    /// Waits for this number of receivers.
    fn from(count: Option<usize>) -> Self {
        Self { expectation: count.into(), timeout: None, results: None, missing: None }
    }
}

impl FleetArgs {
    /// The plan. Reads the hosts, and checks that the files can be written.
    ///
    /// # Errors
    /// When the hosts cannot be read, or a file cannot be written.
    pub(crate) fn plan(&self) -> Result<FleetPlan, Failure> {
        let expectation = match &self.hosts {
            Some(path) => Expectation::Hosts(ExpectedHosts::new(HostList::read(path)?)),
            None => self.expect.expected().into(),
        };
        let results = self.results.as_deref().map(ResultsFile::at).transpose()?;
        results.iter().try_for_each(ResultsFile::check)?;
        self.missing.iter().try_for_each(|path| check_writable(path))?;
        let timeout = self.timeout.map(|time| time.0);
        Ok(FleetPlan { expectation, timeout, results, missing: self.missing.clone() })
    }
}
