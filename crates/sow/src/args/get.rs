//! `sow get` as it is typed, and as it is meant.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, builder::FalseyValueParser};
use sow_wire::chunk::Spelling;

use crate::{
    exit::Failure,
    quantity::{self, Rate, Span},
    what::What,
};

/// `sow get`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  sow get 10.0.0.1:52000/6hx2…            the line that `sow send` printed
  sow get 10.0.0.1                        ask that origin what it has
  sow get big.iso.torrent -o /data/       into a folder that exists
  sow get 'magnet:?xt=urn:btih:…' --no-seed --timeout 10m
  sow get 10.0.0.1:52000/6hx2… -o - | tar x")]
pub(crate) struct GetArgs {
    // Not a doc comment: square brackets would be links there.
    #[arg(
        value_name = "WHAT",
        required = true,
        help = "What to fetch: HOST[:PORT]/HASH (a ticket), HOST[:PORT] (ask the origin what it has, and trust it), \
                magnet:…, the path or URL of a .torrent; or chunk://HOST[:PORT], raw://HOST[:PORT], framed://HOST[:PORT], which need -o"
    )]
    pub(crate) what: Vec<String>,
    /// Where it goes: a file name, a folder that exists, or `-` for standard output (it gathers in
    /// TMPDIR then) [default: its name, here].
    #[arg(short, long, env = "SOW_OUT", value_name = "OUT")]
    pub(crate) out: Option<PathBuf>,
    /// Replace a target that is there and differs; a folder is replaced whole, with whatever else
    /// is in it.
    #[arg(long, env = "SOW_OVERWRITE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) overwrite: bool,
    /// When complete, serve those who still need it for at most this long.
    #[arg(long, env = "SOW_SEED_FOR", value_name = "TIME", default_value = "10m", value_parser = quantity::time)]
    pub(crate) seed_for: Span,
    /// Exit as soon as it is complete; the same as --seed-for 0.
    #[arg(long, env = "SOW_NO_SEED", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), overrides_with = "seed_for")]
    pub(crate) no_seed: bool,
    /// Give up (exit code 3) when it is not complete after this long: 90s, 10m, 1h.
    #[arg(long, env = "SOW_TIMEOUT", value_name = "TIME", value_parser = quantity::time)]
    pub(crate) timeout: Option<Span>,
    /// Send at most this fast, to all peers together: 10mbit, 1.2MB/s, 5MiB/s.
    #[arg(long, env = "SOW_UP_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    pub(crate) up_limit: Option<Rate>,
    /// Receive at most this fast, from all peers together.
    #[arg(long, env = "SOW_DOWN_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    pub(crate) down_limit: Option<Rate>,
    /// Listen on this port for peers; 0 takes any free one.
    #[arg(short, long, env = "SOW_PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Listen on this address alone.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
    /// Share uploads as among strangers on the Internet: four peers at a time, by what they send
    /// (BEP 3).
    #[arg(long, env = "SOW_TIT_FOR_TAT", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) tit_for_tat: bool,
    /// Take from the machines that WHAT names alone, not from other receivers: plain client/server,
    /// for comparison.
    #[arg(long, env = "SOW_ONLY_ORIGIN", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) only_origin: bool,
}

/// Where the bytes go, as far as the command line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Under its own name into this folder, which exists.
    Folder(PathBuf),
    /// Exactly here; nothing, or a file, is there now.
    Path(PathBuf),
    /// To standard output.
    Stdout,
    /// It is kept in memory, and only reported on.
    Memory,
}

/// What `sow get` is to do.
#[derive(Debug, Clone)]
pub(crate) struct GetPlan {
    /// What to fetch, each with the text that named it.
    pub(crate) what: Vec<(String, What)>,
    /// Where it goes.
    pub(crate) destination: Destination,
    /// Replace what differs.
    pub(crate) overwrite: bool,
    /// How long to serve others at most after completion.
    pub(crate) seed_for: Duration,
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
    /// Share uploads as among strangers.
    pub(crate) tit_for_tat: bool,
    /// Take from named peers alone.
    pub(crate) only_origin: bool,
    /// How document 1's P2P is spelled.
    pub(crate) spelling: Spelling,
    /// A target that is there and whole is served, for this long at most.
    pub(crate) seed_whole_for: Option<Duration>,
}

impl GetArgs {
    /// What is meant. `json` is whether standard output belongs to JSON events.
    ///
    /// # Errors
    /// When a WHAT is of no known form, or the flags do not go together.
    pub(crate) fn plan(self, json: bool) -> Result<GetPlan, Failure> {
        let what = self
            .what
            .iter()
            .map(|text| What::parse(text).map(|what| (text.clone(), what)))
            .collect::<Result<Vec<_>, _>>()?;
        let destination = destination(self.out)?;
        match (&destination, what.len()) {
            (Destination::Stdout, 2..) => {
                return Err(Failure::usage("only one download can go to standard output")
                    .tip("name one WHAT, or a folder with -o"));
            }
            (Destination::Path(path), 2..) => {
                return Err(Failure::usage(format!(
                    "{} downloads cannot all go to {}",
                    what.len(),
                    path.display()
                ))
                .tip("name a folder that exists with -o"));
            }
            (Destination::Stdout, _) if json => {
                return Err(Failure::usage("--json and -o - both want standard output")
                    .tip("write to a file, or leave --json away"));
            }
            _ => {}
        }
        let nameless = what
            .iter()
            .find(|(_, what)| matches!(what, What::Raw(_) | What::Framed(_) | What::Chunk(_)));
        if let (Some((text, _)), Destination::Folder(_)) = (nameless, &destination) {
            return Err(Failure::usage(format!("{text} does not tell the name of the file"))
                .tip("name the file with -o, or - for standard output"));
        }
        if self.only_origin && what.iter().any(|(_, what)| !what.names_peers()) {
            return Err(Failure::usage("--only-origin needs a WHAT that names a machine")
                .tip("use a ticket, HOST[:PORT], or a magnet link with x.pe"));
        }
        Ok(GetPlan {
            what,
            destination,
            overwrite: self.overwrite,
            seed_for: if self.no_seed { Duration::ZERO } else { self.seed_for.0 },
            timeout: self.timeout.map(|span| span.0),
            up_limit: self.up_limit.map(|rate| rate.0),
            down_limit: self.down_limit.map(|rate| rate.0),
            port: self.port,
            bind: self.bind,
            tit_for_tat: self.tit_for_tat,
            only_origin: self.only_origin,
            spelling: Spelling::Documented,
            seed_whole_for: None,
        })
    }
}

/// Where `-o` says that the bytes go.
///
/// # Errors
/// When it names a folder that does not exist.
pub(super) fn destination(out: Option<PathBuf>) -> Result<Destination, Failure> {
    let Some(path) = out else { return Ok(Destination::Folder(PathBuf::from("."))) };
    if path.as_os_str() == "-" {
        return Ok(Destination::Stdout);
    }
    if path.is_dir() {
        return Ok(Destination::Folder(path));
    }
    let missing = if path.as_os_str().to_string_lossy().ends_with('/') {
        Some(path.as_path())
    } else {
        path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir())
    };
    match missing {
        Some(folder) => {
            Err(Failure::usage(format!("the folder {} does not exist", folder.display()))
                .tip(format!("mkdir -p '{}'", folder.display())))
        }
        None => Ok(Destination::Path(path)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    const TICKET: &str = "10.0.0.1:52000/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn plan(line: &[&str], json: bool) -> Result<GetPlan, Failure> {
        let words = ["sow", "get"].iter().chain(line);
        let Command::Get(args) = Cli::try_parse_from(words).unwrap().command else {
            unreachable!()
        };
        args.plan(json)
    }

    #[test]
    fn the_destination_is_a_folder_a_path_or_standard_output() {
        let here = Destination::Folder(PathBuf::from("."));
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
    fn what_does_not_go_together_is_refused() {
        for line in [
            &[TICKET, TICKET, "-o", "-"][..],
            &[TICKET, TICKET, "-o", "x.iso"],
            &[TICKET, "-o", "/no/such/folder/x.iso"],
            &[TICKET, "-o", "no-such-folder/"],
            &["raw://10.0.0.1"],
            &["framed://10.0.0.1", "-o", "/"],
            &["magnet:?xt=urn:btih:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "--only-origin"],
        ] {
            assert_eq!(plan(line, false).unwrap_err().exit(), crate::exit::Exit::Usage, "{line:?}");
        }
        assert!(plan(&[TICKET, "-o", "-"], true).is_err());
    }

    #[test]
    fn the_last_word_on_seeding_wins() {
        assert_eq!(plan(&[TICKET], false).unwrap().seed_for, Duration::from_secs(600));
        assert_eq!(plan(&[TICKET, "--no-seed"], false).unwrap().seed_for, Duration::ZERO);
        assert_eq!(
            plan(&[TICKET, "--seed-for", "5s"], false).unwrap().seed_for,
            Duration::from_secs(5)
        );
    }
}
