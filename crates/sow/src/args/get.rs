//! The options of `sow get`, and the plans that they describe.

use std::{net::IpAddr, time::Duration};

use clap::{ArgAction, Args, builder::FalseyValueParser};
use sow_wire::chunk::Spelling;

use super::{
    destination::{Destination, stdout_conflict},
    groups::{
        ChokingArgs, DownLimitArgs, ListenArgs, OnCompleteArgs, OutputArgs, Seeding, SeedingArgs,
        UpLimitArgs,
    },
    pasted::without_command,
    source::SourceArg,
};
use crate::{exit::Failure, push::PROTOCOL};

/// `sow get`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("out", |arg| arg.help(
        "Write to this file, into this existing folder, or with `-` to standard output (TMPDIR \
         holds the content until then) [default: its name, in the current folder]"
    )),
    mut_arg("overwrite", |arg| arg.help(
        "Replace an existing target that differs; a folder is replaced with everything in it"
    )),
    mut_arg("on_complete", |arg| arg.help(
        "Run this command (sh -c) when a download is complete and in its place; SOW_CONTENT_NAME \
         and SOW_CONTENT_PATH are in its environment. If it fails, the exit code is 1"
    )),
    mut_arg("port", |arg| arg.help("Listen for peers on this port; 0 selects any free port")),
    mut_arg("timeout", |arg| arg.help(
        "Give up if the download is not complete after this time: 90s, 10m, 1h (exit code 3), or \
         the origin does not answer until then (6) [default: no limit, and 60s for the origin]"
    )),
    after_help = "\
Examples:
  sow get 10.0.0.1:52000/6hx2…            the line that `sow send` printed
  sow get 10.0.0.1                        ask that origin what it shares
  sow get big.iso.torrent -o /data/       into an existing folder
  sow get 'magnet:?xt=urn:btih:…' --no-seed --timeout 10m
  sow get 10.0.0.1:52000/6hx2… -o - | tar x
  sow get 10.0.0.1:52000/6hx2… --on-complete 'sha256sum \"$SOW_CONTENT_PATH\"'"
)]
pub(crate) struct GetArgs {
    // Not a doc comment: rustdoc reads square brackets as links.
    #[arg(
        value_name = "WHAT",
        required = true,
        help = "What to download: HOST[:PORT]/HASH (a ticket), HOST[:PORT] (ask the origin what it \
                shares, and trust it), magnet:…, the path or URL of a .torrent; or \
                chunk://HOST[:PORT], raw://HOST[:PORT], framed://HOST[:PORT], which need -o"
    )]
    what: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    seeding: SeedingArgs,
    #[command(flatten)]
    up: UpLimitArgs,
    #[command(flatten)]
    down: DownLimitArgs,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    choking: ChokingArgs,
    #[command(flatten)]
    pub(crate) hook: OnCompleteArgs,
    /// The name by which this machine goes at the origin [default: its host name].
    #[arg(long, env = "SOW_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Download only from the machines that WHAT names, not from other receivers: plain
    /// client/server, for comparison.
    #[arg(
        long,
        env = "SOW_ONLY_ORIGIN",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    only_origin: bool,
    /// Before the target appears, read everything back from the disk and hash it; an existing
    /// target is read from the disk, too.
    #[arg(
        long,
        env = "SOW_VERIFY",
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new()
    )]
    verify: bool,
    /// Set by `sow push`, which reads the events: the version of what both agree on. The run stops
    /// when standard input ends, and the port serves this program to hosts that have none.
    #[arg(
        long,
        env = "SOW_PUSH_PROTOCOL",
        value_name = "N",
        hide = true,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(PROTOCOL))
    )]
    push_protocol: Option<u8>,
}

/// What `sow get` is to do.
#[derive(Debug, Clone)]
pub(crate) struct GetPlan {
    /// What to download, each with the text that named it.
    pub(crate) sources: Vec<(String, SourceArg)>,
    /// Where the content goes.
    pub(crate) destination: Destination,
    /// Replace a target that differs.
    pub(crate) overwrite: bool,
    /// Read the content back from the disk before it becomes the target.
    pub(crate) verify: bool,
    /// How long to serve others after completion.
    pub(crate) seeding: Seeding,
    /// How long the download may take.
    pub(crate) timeout: Option<Duration>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
    /// Bytes per second.
    pub(crate) down_limit: Option<u64>,
    /// The port to listen on; 0 for any.
    pub(crate) port: u16,
    /// The address to listen on; `None` for all.
    pub(crate) bind: Option<IpAddr>,
    /// Choke as in a public swarm.
    pub(crate) tit_for_tat: bool,
    /// Download only from named peers.
    pub(crate) only_origin: bool,
    /// The spelling of `chunk` messages.
    pub(crate) spelling: Spelling,
    /// The name by which this machine goes at the origin.
    pub(crate) name: Option<String>,
    /// Serve a target that exists and is complete, for this long at most.
    pub(crate) seed_whole_for: Option<Duration>,
    /// `sow push` on another machine runs it.
    pub(crate) is_pushed: bool,
}

/// How long to wait for an origin that is not there yet, if the command line does not say so.
const DEFAULT_ORIGIN_TIMEOUT: Duration = Duration::from_secs(60);

impl GetPlan {
    /// How long to wait for an origin that is not there yet.
    pub(crate) fn origin_timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_ORIGIN_TIMEOUT)
    }

    /// How long to serve a target that was complete at the start.
    pub(crate) fn serve_complete_for(&self) -> Duration {
        let given = match self.seeding {
            Seeding::Exactly(time) => time,
            Seeding::WhileNeeded(_) => Duration::ZERO,
        };
        self.seed_whole_for.unwrap_or(given)
    }
}

impl GetArgs {
    /// `--no-seed`.
    pub(super) fn no_seed(&mut self) -> &mut bool {
        &mut self.seeding.no_seed
    }

    /// The plan. `is_json`: standard output carries JSON events.
    ///
    /// # Errors
    /// When a WHAT has no known form, or options contradict each other.
    pub(crate) fn plan(self, is_json: bool) -> Result<GetPlan, Failure> {
        let sources = without_command(self.what)?
            .into_iter()
            .map(|text| SourceArg::parse(&text).map(|source| (text, source)))
            .collect::<Result<Vec<_>, _>>()?;
        let timeout = self.output.timeout();
        let destination = Destination::of_named(self.output.out)?;
        check(&sources, &destination, is_json, self.only_origin)?;
        Ok(GetPlan {
            sources,
            destination,
            overwrite: self.output.overwrite,
            verify: self.verify,
            seeding: self.seeding.seeding(),
            timeout,
            up_limit: self.up.up_limit(),
            down_limit: self.down.down_limit(),
            port: self.listen.port,
            bind: self.listen.local.bind,
            tit_for_tat: self.choking.tit_for_tat,
            only_origin: self.only_origin,
            spelling: Spelling::Documented,
            name: self.name,
            seed_whole_for: None,
            is_pushed: self.push_protocol.is_some(),
        })
    }
}

/// Checks that the sources can go to the destination.
fn check(
    sources: &[(String, SourceArg)],
    destination: &Destination,
    is_json: bool,
    only_origin: bool,
) -> Result<(), Failure> {
    match (destination, sources.len()) {
        (Destination::Stdout, 2..) => {
            return Err(Failure::usage("only one download can go to standard output")
                .tip("name one WHAT, or a folder with -o"));
        }
        (Destination::Path(path), count @ 2..) => {
            return Err(Failure::usage(format!(
                "{count} downloads cannot all go to {}",
                path.display()
            ))
            .tip("name an existing folder with -o"));
        }
        (Destination::Stdout, _) if is_json => return Err(stdout_conflict()),
        _ => {}
    }
    let unnamed = sources.iter().find(|(_, source)| !source.has_name());
    if let (Some((text, _)), Destination::Folder(_)) = (unnamed, destination) {
        return Err(Failure::usage(format!("{text} does not tell the name of the file"))
            .tip("name the file with -o, or - for standard output"));
    }
    if only_origin && sources.iter().any(|(_, source)| !source.names_peers()) {
        return Err(Failure::usage("--only-origin needs a WHAT that names a machine")
            .tip("use a ticket, HOST[:PORT], or a magnet link with x.pe"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Cli, Command},
        exit::Exit,
    };

    const TICKET: &str = "10.0.0.1:52000/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn plan(line: &[&str], is_json: bool) -> Result<GetPlan, Failure> {
        let words = ["sow", "get"].iter().chain(line);
        let Command::Get(args) = Cli::try_parse_from(words).unwrap().command else {
            unreachable!()
        };
        args.plan(is_json)
    }

    #[test]
    fn the_destination_is_a_folder_a_path_or_standard_output() {
        let here = Destination::Folder(".".into());
        assert_eq!(plan(&[TICKET], false).unwrap().destination, here);
        assert_eq!(
            plan(&[TICKET, "-o", "/"], false).unwrap().destination,
            Destination::Folder("/".into())
        );
        assert_eq!(plan(&[TICKET, "-o", "-"], false).unwrap().destination, Destination::Stdout);
        assert_eq!(
            plan(&[TICKET, "-o", "x.iso"], false).unwrap().destination,
            Destination::Path("x.iso".into())
        );
    }

    #[test]
    fn a_pasted_command_line_is_understood() {
        let due = plan(&[TICKET], false).unwrap().sources;
        assert_eq!(plan(&["sow", "get", TICKET], false).unwrap().sources, due);
        assert_eq!(plan(&["sow", "get", TICKET, "-o", "-"], false).unwrap().sources, due);
        let quoted = plan(&[&format!("$ sow get {TICKET}")], false).unwrap().sources;
        assert_eq!(quoted, due);
    }

    #[test]
    fn contradictory_options_are_rejected() {
        for line in [
            &[TICKET, TICKET, "-o", "-"][..],
            &[TICKET, TICKET, "-o", "x.iso"],
            &[TICKET, "-o", "/no/such/folder/x.iso"],
            &[TICKET, "-o", "no-such-folder/"],
            &["raw://10.0.0.1"],
            &["framed://10.0.0.1", "-o", "/"],
            &["magnet:?xt=urn:btih:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "--only-origin"],
        ] {
            assert_eq!(plan(line, false).unwrap_err().exit(), Exit::Usage, "{line:?}");
        }
        assert!(plan(&[TICKET, "-o", "-"], true).is_err());
    }

    #[test]
    fn seeding_lasts_exactly_as_long_as_the_command_line_says() {
        let seeding = |line: &[&str]| plan(line, false).unwrap().seeding;
        let (never, default) = (Duration::ZERO, Duration::from_secs(600));
        assert_eq!(seeding(&[TICKET]), Seeding::WhileNeeded(default));
        assert_eq!(seeding(&[TICKET, "--no-seed"]), Seeding::WhileNeeded(never));
        let five = Seeding::Exactly(Duration::from_secs(5));
        assert_eq!(seeding(&[TICKET, "--seed-for", "5s"]), five);
    }
}
