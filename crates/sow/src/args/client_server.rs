//! `sow raw server|client` and `sow framed server|client` as they are typed, and as they are meant.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Subcommand, builder::FalseyValueParser};
use sow_content::ticket::Address;
use sow_engine::client_server::ClientServerDialect;

use super::get::{Destination, destination};
use crate::{
    exit::Failure,
    quantity::{self, Rate, Size, Span},
    what::{DOCUMENT_1_PORT, FRAMED_PORT},
};

/// `sow raw`.
#[derive(Debug, Args)]
#[command(after_help = "\
No length (a client cannot tell the end of the file from a server that has gone, unless --size says it), no check of what \
came, no resume, no authentication: `sow send` has all but the last.

Examples:
  sow raw server -f big.iso
  sow raw client -s 10.0.0.1 -o big.iso")]
pub(crate) struct RawArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: RawCommand,
}

/// The commands under `sow raw`.
#[derive(Debug, Subcommand)]
pub(crate) enum RawCommand {
    /// Send a file to everyone who calls.
    Server(RawServerArgs),
    /// Receive a file.
    Client(RawClientArgs),
}

/// `sow framed`.
#[derive(Debug, Args)]
#[command(after_help = "\
No check of what came, no resume, no authentication: `sow send` has all but the last.

Examples:
  sow framed server -f big.iso
  sow framed client -s 10.0.0.1 -o big.iso")]
pub(crate) struct FramedArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: FramedCommand,
}

/// The commands under `sow framed`.
#[derive(Debug, Subcommand)]
pub(crate) enum FramedCommand {
    /// Send a file to everyone who calls.
    Server(FramedServerArgs),
    /// Receive a file.
    Client(FramedClientArgs),
}

/// `sow raw server`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The protocol has no length, no check, no resume and no authentication: whoever calls gets the file.

Examples:
  sow raw server                          10 MiB of random bytes
  sow raw server -f big.iso --expect 5    ends with exit code 0 when five clients have taken it")]
pub(crate) struct RawServerArgs {
    /// Listen on this port; 0 takes any free one.
    #[arg(short, long, env = "SOW_PORT", default_value_t = DOCUMENT_1_PORT)]
    port: u16,
    /// The file [default: random bytes].
    #[arg(short, long, env = "SOW_FILE", value_name = "FILE")]
    file: Option<PathBuf>,
    /// How many random bytes, when there is no FILE.
    #[arg(
        long,
        env = "SOW_SIZE",
        value_name = "SIZE",
        default_value = "10MiB",
        value_parser = quantity::size,
        conflicts_with = "file"
    )]
    size: Size,
    #[command(flatten)]
    common: ServerArgs,
}

/// `sow framed server`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The protocol has no check, no resume and no authentication: whoever calls gets the file.

Example:
  sow framed server -f big.iso --expect 5    ends with exit code 0 when five clients have taken it")]
pub(crate) struct FramedServerArgs {
    /// Listen on this port; 0 takes any free one.
    #[arg(short, long, env = "SOW_PORT", default_value_t = FRAMED_PORT)]
    port: u16,
    /// The file.
    #[arg(short, long, env = "SOW_FILE", value_name = "FILE", required = true)]
    file: PathBuf,
    #[command(flatten)]
    common: ServerArgs,
}

/// What both servers are told.
#[derive(Debug, Clone, Args)]
struct ServerArgs {
    /// Listen on this address alone.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    bind: Option<IpAddr>,
    /// End with exit code 0 when N clients have taken everything and closed the connection, with 7
    /// when stopped before.
    #[arg(short = 'n', long, env = "SOW_EXPECT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    expect: Option<u32>,
    /// Send at most this fast, to all clients together: 10mbit, 1.2MB/s, 5MiB/s.
    #[arg(long, env = "SOW_UP_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    up_limit: Option<Rate>,
}

/// `sow raw client`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The protocol has no length: the end of the connection is the end of the file, and a server that has gone looks the same, \
unless --size says how long the file is. It has no check, no resume (what breaks off starts over) and no authentication.

Examples:
  sow raw client                         from 10.0.0.1 into memory; reports its MD5
  sow raw client -s 10.0.0.1 -o big.iso --size 4GiB")]
pub(crate) struct RawClientArgs {
    /// The server.
    #[arg(short, long, env = "SOW_SERVER", value_name = "HOST", default_value = "10.0.0.1")]
    server: String,
    /// The server's port.
    #[arg(short, long, env = "SOW_PORT", default_value_t = DOCUMENT_1_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// How long the file is, when that is known from elsewhere; another length is an error.
    #[arg(long, env = "SOW_SIZE", value_name = "SIZE", value_parser = quantity::size)]
    size: Option<Size>,
    #[command(flatten)]
    common: ClientArgs,
}

/// `sow framed client`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The protocol has no check, no resume (what breaks off starts over) and no authentication.

Examples:
  sow framed client -s 10.0.0.1 -o big.iso
  sow framed client -s 10.0.0.1 -o big.iso --max-size 4GiB")]
pub(crate) struct FramedClientArgs {
    /// The server [default: this machine].
    #[arg(short, long, env = "SOW_SERVER", value_name = "HOST")]
    server: Option<String>,
    /// The server's port.
    #[arg(short, long, env = "SOW_PORT", default_value_t = FRAMED_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    #[command(flatten)]
    common: ClientArgs,
}

/// What both clients are told.
#[derive(Debug, Clone, Args)]
struct ClientArgs {
    /// Where it goes: a file name, or `-` for standard output [default: memory].
    #[arg(short, long, env = "SOW_OUT", value_name = "OUT")]
    out: Option<PathBuf>,
    /// Take no longer file (exit code 4) [default: as much as the disk, or half of the memory, has
    /// room for].
    #[arg(long, env = "SOW_MAX_SIZE", value_name = "SIZE", value_parser = quantity::size)]
    max_size: Option<Size>,
    /// Replace a target that is there and differs.
    #[arg(long, env = "SOW_OVERWRITE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    overwrite: bool,
    /// Give up (exit code 3) when it is not complete after this long: 90s, 10m, 1h.
    #[arg(long, env = "SOW_TIMEOUT", value_name = "TIME", value_parser = quantity::time)]
    timeout: Option<Span>,
    /// Receive at most this fast.
    #[arg(long, env = "SOW_DOWN_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    down_limit: Option<Rate>,
    /// Call from this address.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    bind: Option<IpAddr>,
}

/// What a server is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerPlan {
    /// What is said before the file.
    pub(crate) framing: ClientServerDialect,
    /// The address to listen on; `None` for all.
    pub(crate) bind: Option<IpAddr>,
    /// The port to listen on; 0 for any.
    pub(crate) port: u16,
    /// What is sent.
    pub(crate) source: Source,
    /// How many clients are waited for.
    pub(crate) expect: Option<usize>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// So many random bytes.
    Random(u64),
}

/// What a client is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientPlan {
    /// What the server says before the file.
    pub(crate) framing: ClientServerDialect,
    /// The server; `None` for this machine.
    pub(crate) host: Option<String>,
    /// Its port.
    pub(crate) port: u16,
    /// Where the file goes.
    pub(crate) place: StreamPlace,
    /// Its length in bytes, when it is known.
    pub(crate) size: Option<u64>,
    /// The longest file that is taken, in bytes.
    pub(crate) max_size: Option<u64>,
    /// Bytes per second.
    pub(crate) down_limit: Option<u64>,
    /// How long it may take.
    pub(crate) timeout: Option<Duration>,
    /// The address to call from.
    pub(crate) bind: Option<IpAddr>,
}

/// Where a stream goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamPlace {
    /// It is kept in memory, and only reported on.
    Memory,
    /// To standard output.
    Stdout,
    /// Into this file.
    File {
        /// The target.
        path: PathBuf,
        /// What is there may be replaced.
        overwrite: bool,
    },
}

impl RawServerArgs {
    /// What is meant.
    pub(crate) fn plan(self) -> ServerPlan {
        let source = self.file.map_or(Source::Random(self.size.0), Source::File);
        self.common.plan(ClientServerDialect::Raw, self.port, source)
    }
}

impl FramedServerArgs {
    /// What is meant.
    pub(crate) fn plan(self) -> ServerPlan {
        self.common.plan(ClientServerDialect::Framed, self.port, Source::File(self.file))
    }
}

impl ServerArgs {
    fn plan(self, framing: ClientServerDialect, port: u16, source: Source) -> ServerPlan {
        ServerPlan {
            framing,
            bind: self.bind,
            port,
            source,
            expect: self.expect.map(|count| count as usize),
            up_limit: self.up_limit.map(|rate| rate.0),
        }
    }
}

impl RawClientArgs {
    /// What is meant. `json` is whether standard output belongs to JSON events.
    ///
    /// # Errors
    /// When the flags do not go together, or OUT is no place for a file.
    pub(crate) fn plan(self, json: bool) -> Result<ClientPlan, Failure> {
        self.common.plan(ClientServerDialect::Raw, Some(self.server), self.port, self.size, json)
    }
}

impl FramedClientArgs {
    /// What is meant. `json` is whether standard output belongs to JSON events.
    ///
    /// # Errors
    /// When the flags do not go together, or OUT is no place for a file.
    pub(crate) fn plan(self, json: bool) -> Result<ClientPlan, Failure> {
        self.common.plan(ClientServerDialect::Framed, self.server, self.port, None, json)
    }
}

impl ClientArgs {
    fn plan(
        self,
        framing: ClientServerDialect,
        server: Option<String>,
        port: u16,
        size: Option<Size>,
        json: bool,
    ) -> Result<ClientPlan, Failure> {
        let place = match self.out.map(|out| destination(Some(out))).transpose()? {
            None | Some(Destination::Memory) => StreamPlace::Memory,
            Some(Destination::Stdout) if json => {
                return Err(Failure::usage("--json and -o - both want standard output")
                    .tip("write to a file, or leave --json away"));
            }
            Some(Destination::Stdout) => StreamPlace::Stdout,
            Some(Destination::Path(path)) => StreamPlace::File { path, overwrite: self.overwrite },
            Some(Destination::Folder(folder)) => {
                return Err(Failure::usage(format!(
                    "{} is a folder, and {framing} does not tell the file's name",
                    folder.display()
                ))
                .tip("name the file with -o"));
            }
        };
        Ok(ClientPlan {
            framing,
            host: server.map(|host| host_alone(&host)).transpose()?,
            port,
            place,
            size: size.map(|size| size.0),
            max_size: self.max_size.map(|size| size.0),
            down_limit: self.down_limit.map(|rate| rate.0),
            timeout: self.timeout.map(|span| span.0),
            bind: self.bind,
        })
    }
}

/// A host without a port, which has a flag of its own.
fn host_alone(text: &str) -> Result<String, Failure> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match Address::parse_or(text, 1) {
        Ok(address) if address.host == bare => Ok(address.host),
        Ok(address) => Err(Failure::usage(format!("`{text}` is a host with a port"))
            .tip(format!("-s {} -p {}", address.host, address.port))),
        Err(error) => {
            Err(Failure::usage(crate::exit::chain(&error)).tip("-s takes a name or an IP address"))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Cli, Command},
        exit::Exit,
    };

    fn client(line: &[&str], json: bool) -> Result<ClientPlan, Failure> {
        match Cli::try_parse_from(["sow"].iter().chain(line)).unwrap().command {
            Command::Raw(RawArgs { command: RawCommand::Client(args) }) => args.plan(json),
            Command::Framed(FramedArgs { command: FramedCommand::Client(args) }) => args.plan(json),
            _ => unreachable!(),
        }
    }

    fn server(line: &[&str]) -> ServerPlan {
        match Cli::try_parse_from(["sow"].iter().chain(line)).unwrap().command {
            Command::Raw(RawArgs { command: RawCommand::Server(args) }) => args.plan(),
            Command::Framed(FramedArgs { command: FramedCommand::Server(args) }) => args.plan(),
            _ => unreachable!(),
        }
    }

    #[test]
    fn the_documents_defaults() {
        let plan = server(&["cs", "server"]);
        assert_eq!(
            (plan.framing, plan.port, plan.source),
            (ClientServerDialect::Raw, 52000, Source::Random(10 << 20))
        );
        let plan = server(&["framed", "server", "-f", "a"]);
        assert_eq!(
            (plan.framing, plan.port, plan.source),
            (ClientServerDialect::Framed, 6666, Source::File("a".into()))
        );
        let plan = client(&["raw", "client"], false).unwrap();
        assert_eq!(
            (plan.host.as_deref(), plan.port, plan.place),
            (Some("10.0.0.1"), 52000, StreamPlace::Memory)
        );
        let plan = client(&["framed", "client", "-o", "-"], false).unwrap();
        assert_eq!((plan.host, plan.port, plan.place), (None, 6666, StreamPlace::Stdout));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (line, json) in [
            (&["raw", "client", "-o", "/"][..], false),
            (&["raw", "client", "-o", "-"], true),
            (&["raw", "client", "-s", "10.0.0.1:7"], false),
            (&["framed", "client", "-s", "a b"], false),
        ] {
            assert_eq!(client(line, json).unwrap_err().exit(), Exit::Usage, "{line:?}");
        }
        assert!(Cli::try_parse_from(["sow", "framed", "server"]).is_err());
        assert_eq!(
            client(&["raw", "client", "-s", "[::1]"], false).unwrap().host.as_deref(),
            Some("::1")
        );
    }
}
