//! The options of `sow serve`, and the plan that they make together with a configuration file.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use sow_node::{HostName, HostNames};

use super::groups::{ConfigurableListenArgs, OnCompleteArgs, UpLimitArgs};
use crate::{
    config::ServeConfig,
    exit::Failure,
    quantity::{self, Span},
};

/// The port of an origin that is not told another one.
const DEFAULT_PORT: u16 = 52_000;

/// How long a file must be unchanged before it is hashed.
const DEFAULT_SETTLE: Duration = Duration::from_secs(2);

/// `sow serve`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("port", |arg| arg.help(
        "Listen on this port for peers, the tracker and the page; 0 selects any free port \
         [default: 52000]"
    )),
    mut_arg("bind", |arg| arg.help("Listen only on this address, and put it into the tickets")),
    mut_arg("config", |arg| arg.help(
        "Read paths, folders and options from this TOML file too; again on SIGHUP"
    )),
    after_help = "\
Examples:
  sow serve big.iso photos/               until it is stopped; prints a line for each
  sow serve --watch /srv/outbox           also what appears in that folder later
  sow serve --config /etc/sow/serve.toml --state /var/lib/sow
  systemctl enable --now sow              the same as a service, from the Debian package"
)]
pub(crate) struct ServeArgs {
    /// A file or folder to share. One that is not there is shared when it appears.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Share each file and each folder in this folder, also what appears later; repeat for more.
    /// Names that begin with a dot are left out.
    #[arg(long, env = "SOW_WATCH", value_name = "DIR")]
    watch: Vec<PathBuf>,
    /// Remember here what was hashed, so that a restart shares it at once [default:
    /// ~/.local/state/sow].
    #[arg(long, env = "SOW_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Hash a file when it has not changed for this time [default: 2s].
    #[arg(long, env = "SOW_SETTLE", value_name = "TIME", value_parser = quantity::time)]
    settle: Option<Span>,
    #[command(flatten)]
    listen: ConfigurableListenArgs,
    #[command(flatten)]
    up: UpLimitArgs,
    #[command(flatten)]
    hook: OnCompleteArgs,
    /// Another name or address at which this machine is reached, for requests over HTTP; repeat for
    /// more. Its addresses and its own name are known.
    #[arg(long, env = "SOW_HOST_NAME", value_name = "NAME", value_delimiter = ',')]
    host_name: Vec<HostName>,
}

/// What is shared, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServePlan {
    /// Files and folders, as absolute paths.
    pub(crate) paths: Vec<PathBuf>,
    /// Folders whose entries are shared, as absolute paths.
    pub(crate) watch: Vec<PathBuf>,
    /// How long a file must be unchanged before it is hashed.
    pub(crate) settle: Duration,
    /// The command that runs when a receiver is complete.
    pub(crate) on_complete: Option<String>,
    /// What is read once, at the start.
    pub(crate) fixed: FixedPlan,
}

/// The part of a plan that a reload does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixedPlan {
    /// The folder for what was hashed; `None` for the default.
    pub(crate) state: Option<PathBuf>,
    /// The port to listen on; 0 for any.
    pub(crate) port: u16,
    /// The address to listen on; `None` for all.
    pub(crate) bind: Option<IpAddr>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
    /// The names at which this machine is reached beside those that it knows.
    pub(crate) host_names: Vec<HostName>,
}

impl FixedPlan {
    /// The same, for the node.
    pub(crate) fn host_names(&self) -> HostNames {
        self.host_names.iter().cloned().collect()
    }
}

impl ServeArgs {
    /// The plan: the command line has precedence over the configuration, and lists are joined.
    /// Reads the configuration, also when it is made again on a reload.
    ///
    /// # Errors
    /// When the configuration cannot be read or understood, or nothing is named.
    pub(crate) fn plan(&self) -> Result<ServePlan, Failure> {
        let file = self.listen.config.as_deref();
        let config = file.map(ServeConfig::read).transpose()?;
        let is_configured = config.is_some();
        let config = config.unwrap_or_default();
        let here = |paths: &[PathBuf]| -> Result<Vec<PathBuf>, Failure> {
            paths.iter().map(|path| absolute(path)).collect()
        };
        let (mut paths, mut watch) = (here(&self.paths)?, here(&self.watch)?);
        paths.extend(config.paths);
        watch.extend(config.watch);
        if paths.is_empty() && watch.is_empty() && !is_configured {
            return Err(Failure::usage("there is nothing to share")
                .tip("name a file or a folder, a folder with --watch, or a --config"));
        }
        let state = self.state.as_deref().map(absolute).transpose()?;
        let host_names = self.host_name.iter().cloned().chain(config.host_names).collect();
        let settle = self.settle.map(|settle| settle.0).or(config.settle);
        Ok(ServePlan {
            paths,
            watch,
            settle: settle.unwrap_or(DEFAULT_SETTLE),
            on_complete: self.hook.on_complete.clone().or(config.on_complete),
            fixed: FixedPlan {
                state: state.or(config.state),
                port: self.listen.port.or(config.port).unwrap_or(DEFAULT_PORT),
                bind: self.listen.local.bind.or(config.bind),
                up_limit: self.up.up_limit().or(config.up_limit),
                host_names,
            },
        })
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Cli, Command},
        exit::Exit,
    };

    fn plan(words: &[&str]) -> Result<ServePlan, Failure> {
        let cli = Cli::try_parse_from(["sow", "serve"].iter().chain(words)).unwrap();
        let Command::Serve(args) = cli.command else { unreachable!() };
        args.plan()
    }

    #[test]
    fn the_command_line_has_precedence_and_lists_are_joined() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serve.toml");
        std::fs::write(&file, "paths = [\"a\", \"/b\"]\nport = 7\nsettle = \"1m\"\n").unwrap();
        let config = ["--config", file.to_str().unwrap()];
        let all = plan(&[&["/c", "--port", "9"], &config[..]].concat()).unwrap();
        assert_eq!(all.paths, [Path::new("/c"), &folder.path().join("a"), Path::new("/b")]);
        assert_eq!((all.fixed.port, all.settle), (9, Duration::from_secs(60)));
        std::fs::write(&file, "").unwrap();
        let empty = plan(&config).unwrap();
        assert!(empty.paths.is_empty() && empty.fixed.port == DEFAULT_PORT);
        assert_eq!(plan(&[]).unwrap_err().exit(), Exit::Usage);
        assert!(plan(&["x"]).unwrap().paths[0].is_absolute());
    }
}
