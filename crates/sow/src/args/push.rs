//! The options of `sow push`, and the plan that they describe.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgAction, Args, builder::FalseyValueParser};
use sow_content::untrusted::excerpt;

use super::{
    fleet::FleetPlan,
    groups::{ListenArgs, UpLimitArgs},
};
use crate::{
    exit::Failure,
    fleet::{
        Expectation, ExpectedHosts, HostList, HostTarget, ResultsFile, check_writable,
        hosts_not_complete,
    },
    push::{InstallPolicy, PushHost, SshCommand, split_words},
    quantity::{self, Span},
};

/// `sow push`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("port", |arg| arg.default_value("52000").help(
        "Listen on this port, which the hosts must reach; 0 selects any free port"
    )),
    mut_arg("bind", |arg| arg.help(
        "Listen only on this address, and tell the hosts this one [default: the address from which \
         ssh reaches them]"
    )),
    after_help = "\
Examples:
  sow push big.iso web[01-60]:/srv                into /srv of sixty hosts
  sow push big.iso --hosts hosts.txt -o /srv --results results.csv --retry failed.txt
  sow push big.iso --retry failed.txt             again to those that failed
  sow push big.iso db1 db2 --ssh 'ssh -p 2222 -J gateway'
  sow push photos/ ssh://root@[fd00::7]:2222/srv --install never"
)]
pub(crate) struct PushArgs {
    // Not a doc comment: rustdoc reads square brackets as links.
    #[arg(
        value_name = "PATH|HOST[:DIR]",
        required = true,
        help = "The file or folder, then the hosts: [USER@]HOST[:DIR] or ssh://[USER@]HOST[:PORT]\
                [/DIR], web[01-60] for sixty of them. DIR exists there, and is relative to the \
                user's home, which is the default"
    )]
    words: Vec<OsString>,
    /// Push to the hosts that this file names, too, one a line; # begins a comment.
    #[arg(long, env = "SOW_HOSTS", value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// The folder on hosts that are named without one.
    #[arg(short, long, env = "SOW_OUT", value_name = "DIR")]
    out: Option<String>,
    /// Replace targets that differ.
    #[arg(
        long,
        env = "SOW_OVERWRITE",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    overwrite: bool,
    /// The command that reaches a host, with its options, as a shell would split it. Its
    /// configuration, keys and agent apply; it cannot ask for a password.
    #[arg(long, env = "SOW_SSH", value_name = "COMMAND", default_value = "ssh",
        value_parser = ssh_command)]
    ssh: SshCommand,
    /// How many hosts connect and receive at a time. As many complete ones stay connected and pass
    /// the content on.
    #[arg(short, long, env = "SOW_JOBS", value_name = "N", default_value = "64",
        value_parser = clap::value_parser!(u16).range(1..=4096))]
    jobs: u16,
    /// Whether this program is put into the cache folder of the user on hosts without it.
    #[arg(long, env = "SOW_INSTALL", value_name = "WHEN", default_value = "auto")]
    install: InstallPolicy,
    /// Stop after this time: 90s, 10m, 1h; with code 7 if a host is not complete.
    #[arg(long, env = "SOW_TIMEOUT", value_name = "TIME", value_parser = quantity::time)]
    timeout: Option<Span>,
    /// At the end, write a row for each host to FILE.csv or FILE.json.
    #[arg(long, env = "SOW_RESULTS", value_name = "FILE")]
    results: Option<PathBuf>,
    /// Without other hosts: push to those that this file names, or that are not complete in this
    /// file of results. At the end, write the hosts that are not complete to it (not to results).
    #[arg(long, env = "SOW_RETRY", value_name = "FILE")]
    retry: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) up: UpLimitArgs,
}

/// What `sow push` is to do.
#[derive(Debug, Clone)]
pub(crate) struct PushPlan {
    /// The file or folder.
    pub(crate) path: PathBuf,
    /// The hosts, in the order of the expectation. None are left when `--retry` names the file of a
    /// run whose hosts are all complete.
    pub(crate) hosts: Vec<PushHost>,
    /// Which of them are expected (all), for how long, and what the run leaves.
    pub(crate) fleet: FleetPlan,
    /// The program that reaches them.
    pub(crate) ssh: SshCommand,
    /// How many at a time.
    pub(crate) jobs: usize,
    /// Whether this program is put there.
    pub(crate) install: InstallPolicy,
    /// More options of `sow get`.
    pub(crate) options: Vec<String>,
}

impl PushArgs {
    /// The plan. Reads the hosts, and checks that the files can be written.
    ///
    /// # Errors
    /// When there is no path or no host, a host cannot be understood, or a file cannot be read or
    /// written.
    pub(crate) fn plan(&self) -> Result<PushPlan, Failure> {
        let (path, patterns) = path_and_hosts(&self.words)?;
        let list = self.host_list(&patterns)?;
        let hosts = push_hosts(&list, self.out.as_deref());
        let results = self.results.as_deref().map(ResultsFile::at).transpose()?;
        results.iter().try_for_each(ResultsFile::check)?;
        let missing = self.retry.clone().filter(|path| ResultsFile::at(path).is_err());
        missing.iter().try_for_each(|path| check_writable(path))?;
        let expectation = Expectation::Hosts(ExpectedHosts::new(list));
        let timeout = self.timeout.map(|time| -> Duration { time.0 });
        Ok(PushPlan {
            path,
            hosts,
            fleet: FleetPlan { expectation, timeout, results, missing },
            ssh: self.ssh.clone(),
            jobs: usize::from(self.jobs),
            install: self.install,
            options: self.overwrite.then(|| "--overwrite".to_owned()).into_iter().collect(),
        })
    }

    /// All hosts, each once.
    fn host_list(&self, patterns: &[String]) -> Result<HostList, Failure> {
        let typed = HostList::from_patterns(patterns).map_err(Failure::usage)?;
        let list = match (&self.hosts, &self.retry) {
            (Some(path), _) => typed.and(&HostList::read(path)?).map_err(Failure::usage)?,
            // There may be none left to try again.
            (None, Some(path)) if patterns.is_empty() => return hosts_to_retry(path),
            _ => typed,
        };
        match list.hosts().is_empty() {
            true => Err(Failure::usage("no host is named")
                .tip("sow push big.iso web01:/srv web02:/srv, or --hosts FILE")),
            false => Ok(list),
        }
    }
}

/// The hosts in a file of results that are not complete, or else those in a list of hosts.
fn hosts_to_retry(path: &Path) -> Result<HostList, Failure> {
    match ResultsFile::at(path) {
        Ok(_) => HostList::from_names(&hosts_not_complete(path)?).map_err(Failure::usage),
        Err(_) => HostList::read_or_empty(path),
    }
}

/// The path, and the patterns of hosts after it.
fn path_and_hosts(words: &[OsString]) -> Result<(PathBuf, Vec<String>), Failure> {
    let Some((first, rest)) = words.split_first() else {
        return Err(Failure::usage("no file is named"));
    };
    let path = PathBuf::from(first);
    if !path.exists() {
        return Err(Failure::usage(format!("{} does not exist", path.display()))
            .tip("the first word is the file or folder, those after it are hosts"));
    }
    let host = |word: &OsString| {
        let text = word.to_str().ok_or_else(|| {
            Failure::usage(format!("`{}` is not a host", excerpt(&word.to_string_lossy())))
        })?;
        match Path::new(text).is_file() && text.contains(['/', '.']) && !text.contains(':') {
            true => Err(Failure::usage(format!("{text} is a file, and only one can be pushed"))
                .tip("put the files into a folder, and push that; or write HOST: for a host")),
            false => Ok(text.to_owned()),
        }
    };
    Ok((path, rest.iter().map(host).collect::<Result<_, _>>()?))
}

/// The hosts with their folders, and the names under which they introduce themselves: the name of
/// the host where that is unique.
fn push_hosts(list: &HostList, folder: Option<&str>) -> Vec<PushHost> {
    let targets = list.hosts();
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for target in targets {
        *counts.entry(target.host.to_lowercase()).or_default() += 1;
    }
    let with_name = |mut target: HostTarget| {
        let is_unique = counts.get(&target.host.to_lowercase()) == Some(&1);
        let name = if is_unique { target.host.clone() } else { target.text.clone() };
        target.folder = target.folder.or_else(|| folder.map(str::to_owned));
        PushHost { target, name }
    };
    targets.iter().cloned().map(with_name).collect()
}

fn ssh_command(text: &str) -> Result<SshCommand, String> {
    split_words(text).map(SshCommand::new)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Cli, Command},
        exit::Exit,
    };

    fn plan(line: &[&str]) -> Result<PushPlan, Failure> {
        let words = ["sow", "push"].iter().chain(line);
        let Command::Push(args) = Cli::try_parse_from(words).unwrap().command else {
            unreachable!()
        };
        args.plan()
    }

    fn names(plan: &PushPlan) -> Vec<(&str, Option<&str>)> {
        plan.hosts.iter().map(|host| (&*host.name, host.target.folder.as_deref())).collect()
    }

    #[test]
    fn hosts_have_unique_names_and_folders() {
        let plan = plan(&["/dev", "a[1-2]:/x", "b", "c:/x", "me@c:/y", "b", "-o", "z"]).unwrap();
        let due = [
            ("a1", Some("/x")),
            ("a2", Some("/x")),
            ("b", Some("z")),
            ("c:/x", Some("/x")),
            ("me@c:/y", Some("/y")),
        ];
        assert_eq!(names(&plan), due);
    }

    #[test]
    fn hosts_come_from_the_command_line_and_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let hosts = file("hosts", "b # two\nc\n");
        let results = file(
            "r.csv",
            "name,address,state,bytes,seconds,rate,error,id,host\n\
            a,1.2.3.4:5,complete,1,1,1,,ab,a\nx,,failed,0,,,\"no \"\"space\"\", here\",,b:/srv\n",
        );
        let both = plan(&["/dev", "a", "b", "--hosts", &hosts]).unwrap();
        assert_eq!(names(&both), [("a", None), ("b", None), ("c", None)]);
        let again = plan(&["/dev", "--retry", &hosts]).unwrap();
        assert_eq!((names(&again).len(), again.fleet.missing.is_some()), (2, true));
        let again = plan(&["/dev", "--retry", &results]).unwrap();
        assert_eq!(
            (names(&again), again.fleet.missing.is_none()),
            (vec![("b", Some("/srv"))], true)
        );
    }

    #[test]
    fn a_line_without_a_file_or_a_host_is_wrong() {
        for line in [
            &["/no/such/file", "a"][..],
            &["/dev"],
            &["/dev", "-x"],
            &["/dev", "a[1-"],
            &["/dev", "/etc/passwd"],
            &["/dev", "--hosts", "/no/such/file"],
        ] {
            let words = ["sow", "push"].iter().chain(line);
            let Ok(cli) = Cli::try_parse_from(words) else { continue };
            let Command::Push(args) = cli.command else { unreachable!() };
            let exit = args.plan().unwrap_err().exit();
            assert!(exit == Exit::Usage || line.contains(&"--hosts"), "{line:?}");
        }
    }
}
