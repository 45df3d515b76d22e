//! The options of `sow raw server|client` and `sow framed server|client`, and the plans that they
//! describe.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use sow_content::ticket::Address;
use sow_engine::client_server::ClientServerDialect;

use super::{
    destination::Destination,
    groups::{BindArgs, DownLimitArgs, ExpectArgs, ListenArgs, OutputArgs, UpLimitArgs},
    served_content::{ServedContent, ServedContentArgs},
    source::{FRAMED_PORT, RAW_PORT},
};
use crate::{
    exit::{Failure, chain},
    quantity::{self, Size},
};

/// `sow raw`.
#[derive(Debug, Args)]
#[command(after_help = "\
The protocol sends no length: without --size, a client cannot distinguish the end of the file from \
a lost connection. It has no check of the content, no resume and no authentication. `sow send` has \
all of these except authentication.

Examples:
  sow raw server -f big.iso
  sow raw client -s 10.0.0.1 -o big.iso")]
pub(crate) struct RawArgs {
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: RawCommand,
}

/// The commands under `sow raw`.
#[derive(Debug, Subcommand)]
pub(crate) enum RawCommand {
    /// Send a file to every client that connects.
    Server(RawServerArgs),
    /// Receive a file.
    Client(RawClientArgs),
}

/// `sow framed`.
#[derive(Debug, Args)]
#[command(after_help = "\
The protocol has no check of the content, no resume and no authentication. `sow send` has all of \
these except authentication.

Examples:
  sow framed server -f big.iso
  sow framed client -s 10.0.0.1 -o big.iso")]
pub(crate) struct FramedArgs {
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: FramedCommand,
}

/// The commands under `sow framed`.
#[derive(Debug, Subcommand)]
pub(crate) enum FramedCommand {
    /// Send a file to every client that connects.
    Server(FramedServerArgs),
    /// Receive a file.
    Client(FramedClientArgs),
}

/// `sow raw server`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("port", |arg| arg.default_value("52000")),
    after_help = "\
The protocol has no length, no check of the content, no resume and no authentication: every client \
that connects gets the file.

Examples:
  sow raw server                          10 MiB of random bytes
  sow raw server -f big.iso --expect 5    exits with code 0 when five clients have taken it"
)]
pub(crate) struct RawServerArgs {
    #[command(flatten)]
    content: ServedContentArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// `sow framed server`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("port", |arg| arg.default_value("6666")),
    after_help = "\
The protocol has no check of the content, no resume and no authentication: every client that \
connects gets the file.

Example:
  sow framed server -f big.iso --expect 5    exits with code 0 when five clients have taken it"
)]
pub(crate) struct FramedServerArgs {
    /// The file to serve.
    #[arg(short, long, env = "SOW_FILE", value_name = "FILE", required = true)]
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// The options of both servers.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("expect", |arg| arg.help(
    "Exit with code 0 when N clients have taken the whole file and closed the connection, with \
     code 7 if stopped before"
)))]
struct ServerArgs {
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    expect: ExpectArgs,
    #[command(flatten)]
    limit: UpLimitArgs,
}

/// `sow raw client`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The protocol has no length: the end of the connection counts as the end of the file. Without \
--size, a lost connection looks the same. The protocol has no check of the content, no resume (an \
interrupted transfer starts again from the first byte) and no authentication.

Examples:
  sow raw client                         from 10.0.0.1 into memory; reports its MD5
  sow raw client -s 10.0.0.1 -o big.iso --size 4GiB")]
pub(crate) struct RawClientArgs {
    /// The server.
    #[arg(short, long, env = "SOW_SERVER", value_name = "HOST", default_value = "10.0.0.1")]
    server: String,
    /// The server's port.
    #[arg(
        short,
        long,
        env = "SOW_PORT",
        default_value_t = RAW_PORT,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    port: u16,
    /// The size of the file, if it is known; any other size is an error.
    #[arg(long, env = "SOW_SIZE", value_name = "SIZE", value_parser = quantity::size)]
    size: Option<Size>,
    #[command(flatten)]
    client: ClientArgs,
}

/// `sow framed client`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The protocol has no check of the content, no resume (an interrupted transfer starts again from the \
first byte) and no authentication.

Examples:
  sow framed client -s 10.0.0.1 -o big.iso
  sow framed client -s 10.0.0.1 -o big.iso --max-size 4GiB")]
pub(crate) struct FramedClientArgs {
    /// The server [default: this machine].
    #[arg(short, long, env = "SOW_SERVER", value_name = "HOST")]
    server: Option<String>,
    /// The server's port.
    #[arg(
        short,
        long,
        env = "SOW_PORT",
        default_value_t = FRAMED_PORT,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    port: u16,
    #[command(flatten)]
    client: ClientArgs,
}

/// The options of both clients.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("bind", |arg| arg.help("Connect from this local address")),
    mut_arg("down_limit", |arg| arg.help("Receive at most at this rate"))
)]
struct ClientArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// Reject a file that is longer than this (exit code 4) [default: the free space of the disk,
    /// or half of the available memory].
    #[arg(long, env = "SOW_MAX_SIZE", value_name = "SIZE", value_parser = quantity::size)]
    max_size: Option<Size>,
    #[command(flatten)]
    limit: DownLimitArgs,
    #[command(flatten)]
    local: BindArgs,
}

/// What a server is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerPlan {
    /// The protocol.
    pub(crate) dialect: ClientServerDialect,
    /// The address to listen on; `None` for all.
    pub(crate) bind: Option<IpAddr>,
    /// The port to listen on; 0 for any.
    pub(crate) port: u16,
    /// What is sent.
    pub(crate) content: ServedContent,
    /// The number of clients to wait for.
    pub(crate) expect: Option<usize>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
}

/// What a client is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientPlan {
    /// The protocol.
    pub(crate) dialect: ClientServerDialect,
    /// The server; `None` for this machine.
    pub(crate) host: Option<String>,
    /// The server's port.
    pub(crate) port: u16,
    /// Where the file goes.
    pub(crate) target: StreamTarget,
    /// The length of the file in bytes, if it is known.
    pub(crate) size: Option<u64>,
    /// The length of the longest acceptable file, in bytes.
    pub(crate) max_size: Option<u64>,
    /// Bytes per second.
    pub(crate) down_limit: Option<u64>,
    /// How long the transfer may take.
    pub(crate) timeout: Option<Duration>,
    /// The local address to connect from.
    pub(crate) bind: Option<IpAddr>,
}

/// Where the bytes of a client/server transfer go, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamTarget {
    /// To memory: only size, time and MD5 are reported.
    Memory,
    /// To standard output.
    Stdout,
    /// Into this file.
    File {
        /// The target.
        path: PathBuf,
        /// Whether an existing target may be replaced.
        overwrite: bool,
    },
}

impl RawServerArgs {
    /// The plan.
    pub(crate) fn plan(self) -> ServerPlan {
        let content = self.content.content().unwrap_or_default();
        self.server.plan(ClientServerDialect::Raw, content)
    }
}

impl FramedServerArgs {
    /// The plan.
    pub(crate) fn plan(self) -> ServerPlan {
        self.server.plan(ClientServerDialect::Framed, ServedContent::File(self.file))
    }
}

impl ServerArgs {
    fn plan(self, dialect: ClientServerDialect, content: ServedContent) -> ServerPlan {
        ServerPlan {
            dialect,
            bind: self.listen.local.bind,
            port: self.listen.port,
            content,
            expect: self.expect.expected(),
            up_limit: self.limit.up_limit(),
        }
    }
}

impl RawClientArgs {
    /// The plan. `is_json`: standard output carries JSON events.
    ///
    /// # Errors
    /// When options contradict each other, or OUT is not a path for a file.
    pub(crate) fn plan(self, is_json: bool) -> Result<ClientPlan, Failure> {
        let plan =
            self.client.plan(ClientServerDialect::Raw, Some(self.server), self.port, is_json)?;
        Ok(ClientPlan { size: self.size.map(|size| size.0), ..plan })
    }
}

impl FramedClientArgs {
    /// The plan. `is_json`: standard output carries JSON events.
    ///
    /// # Errors
    /// When options contradict each other, or OUT is not a path for a file.
    pub(crate) fn plan(self, is_json: bool) -> Result<ClientPlan, Failure> {
        self.client.plan(ClientServerDialect::Framed, self.server, self.port, is_json)
    }
}

impl ClientArgs {
    fn plan(
        self,
        dialect: ClientServerDialect,
        server: Option<String>,
        port: u16,
        is_json: bool,
    ) -> Result<ClientPlan, Failure> {
        let timeout = self.output.timeout();
        let overwrite = self.output.overwrite;
        let destination = Destination::of_unnamed(self.output.out, &dialect.to_string(), is_json)?;
        Ok(ClientPlan {
            dialect,
            host: server.map(|host| host_without_port(&host)).transpose()?,
            port,
            target: StreamTarget::new(destination, overwrite),
            size: None,
            max_size: self.max_size.map(|size| size.0),
            down_limit: self.limit.down_limit(),
            timeout,
            bind: self.local.bind,
        })
    }
}

impl StreamTarget {
    /// The target at a destination, which is not a folder: the protocols send no file name.
    pub(crate) fn new(destination: Destination, overwrite: bool) -> Self {
        match destination {
            Destination::Memory => Self::Memory,
            Destination::Stdout => Self::Stdout,
            Destination::Path(path) | Destination::Folder(path) => Self::File { path, overwrite },
        }
    }
}

/// Checks a host; its port has an option of its own.
fn host_without_port(text: &str) -> Result<String, Failure> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match Address::parse_or(text, 1) {
        Ok(address) if address.host == bare => Ok(address.host),
        Ok(address) => Err(Failure::usage(format!("`{text}` is a host with a port"))
            .tip(format!("-s {} -p {}", address.host, address.port))),
        Err(error) => Err(Failure::usage(chain(&error)).tip("-s takes a name or an IP address")),
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

    fn client(line: &[&str], is_json: bool) -> Result<ClientPlan, Failure> {
        match Cli::try_parse_from(["sow"].iter().chain(line)).unwrap().command {
            Command::Raw(RawArgs { command: RawCommand::Client(args) }) => args.plan(is_json),
            Command::Framed(FramedArgs { command: FramedCommand::Client(args) }) => {
                args.plan(is_json)
            }
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
    fn the_defaults_are_those_of_the_original_programs() {
        let plan = server(&["cs", "server"]);
        assert_eq!(
            (plan.dialect, plan.port, plan.content),
            (ClientServerDialect::Raw, 52000, ServedContent::Random(10 << 20))
        );
        let plan = server(&["framed", "server", "-f", "a"]);
        assert_eq!(
            (plan.dialect, plan.port, plan.content),
            (ClientServerDialect::Framed, 6666, ServedContent::File("a".into()))
        );
        let plan = client(&["raw", "client"], false).unwrap();
        assert_eq!(
            (plan.host.as_deref(), plan.port, plan.target),
            (Some("10.0.0.1"), 52000, StreamTarget::Memory)
        );
        let plan = client(&["framed", "client", "-o", "-"], false).unwrap();
        assert_eq!((plan.host, plan.port, plan.target), (None, 6666, StreamTarget::Stdout));
    }

    #[test]
    fn contradictory_options_are_rejected() {
        for (line, is_json) in [
            (&["raw", "client", "-o", "/"][..], false),
            (&["raw", "client", "-o", "-"], true),
            (&["raw", "client", "-s", "10.0.0.1:7"], false),
            (&["framed", "client", "-s", "a b"], false),
        ] {
            assert_eq!(client(line, is_json).unwrap_err().exit(), Exit::Usage, "{line:?}");
        }
        assert!(Cli::try_parse_from(["sow", "framed", "server"]).is_err());
        assert_eq!(
            client(&["raw", "client", "-s", "[::1]"], false).unwrap().host.as_deref(),
            Some("::1")
        );
    }
}
