//! The options of `sow chunk server|client`, and the plans that they describe.

use std::{
    ffi::{OsStr, OsString},
    net::IpAddr,
    ops::RangeInclusive,
    path::Path,
    time::Duration,
};

use clap::{Args, Subcommand};
use sow_content::{
    geometry::MAX_WHOLE_PIECE,
    ticket::{Address, DEFAULT_PORT},
};
use sow_wire::chunk::Spelling;

use super::{
    destination::Destination,
    groups::{
        ConfigurableListenArgs, DownLimitArgs, ExpectArgs, OutputArgs, Seeding, SeedingArgs,
        SpellingArgs, UpLimitArgs,
    },
    served_content::{ServedContent, ServedContentArgs},
};
use crate::{
    config::ConfigIni,
    exit::{Failure, chain},
    quantity::{self, Size},
};

/// The server of a client for which none is named, as in the original program.
const DEFAULT_SERVER: &str = "10.0.0.1";

/// The default port on which clients listen, as in the original program.
const DEFAULT_CLIENT_PORT: u16 = 51000;

/// The number of further ports that a client tries when the first is taken.
const EXTRA_CLIENT_PORTS: u16 = 100;

/// `sow chunk`.
#[derive(Debug, Args)]
#[command(after_help = "\
Chunks have no hashes: only the MD5 of the whole file shows whether it is correct, and that MD5 is \
the server's. No machine is authenticated.

Examples:
  sow chunk server -f big.iso
  sow chunk client -s 10.0.0.1 -o big.iso")]
pub(crate) struct ChunkArgs {
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: ChunkCommand,
}

/// The commands under `sow chunk`.
#[derive(Debug, Subcommand)]
pub(crate) enum ChunkCommand {
    /// Share a file with all clients, and tell each the addresses of the others.
    Server(ChunkServerArgs),
    /// Download the file from servers and other clients, and upload it to other clients.
    Client(ChunkClientArgs),
}

/// `sow chunk server`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("port", |arg| arg
        .help("Listen on this port; 0 selects any free port [default: 52000]")),
    after_help = "\
Chunks have no hashes, only the whole file has an MD5, and no machine is authenticated.

Precedence: the command line, then the environment, then the configuration file (port, ip, \
file_path and file_size in section [Server]).

Examples:
  sow chunk server                         10 MiB of random bytes
  sow p2p server -f big.iso --expect 5     exits with code 0 when five clients have all of it"
)]
pub(crate) struct ChunkServerArgs {
    #[command(flatten)]
    content: ServedContentArgs,
    /// The length of a chunk, from 512 bytes to 64MiB [default: 128KiB; longer for files of more
    /// than 128 MiB].
    #[arg(long, env = "SOW_CHUNK_SIZE", value_name = "SIZE", value_parser = chunk_size)]
    chunk_size: Option<Size>,
    #[command(flatten)]
    spelling: SpellingArgs,
    #[command(flatten)]
    expect: ExpectArgs,
    #[command(flatten)]
    listen: ConfigurableListenArgs,
    #[command(flatten)]
    up: UpLimitArgs,
}

/// `sow chunk client`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("port", |arg| arg
        .help("Listen for peers on this port and no other; 0 selects any free port")),
    after_help = "\
Chunks have no hashes: only the MD5 of the whole file shows whether it is correct, and that MD5 is \
the server's. No machine is authenticated.

Precedence: the command line, then the environment, then the configuration file (port, ip, \
server_ip, server_port and file_path in section [Client]). Without -p, the client tries the port \
of the configuration file or 51000, and then the next 100.

Examples:
  sow chunk client                         from 10.0.0.1 into memory; reports size, time and MD5
  sow p2p client -s 10.0.0.1 -s 10.0.0.2 -sp 52001 -o big.iso"
)]
pub(crate) struct ChunkClientArgs {
    /// A server: HOST or HOST:PORT; repeat for more, some of which may be unreachable [default:
    /// 10.0.0.1].
    #[arg(short, long, env = "SOW_SERVER", value_name = "SERVER", value_delimiter = ',')]
    server: Vec<String>,
    /// The port of servers that are named without one; also -sp [default: 52000].
    #[arg(
        long,
        alias = "server_port",
        env = "SOW_SERVER_PORT",
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    server_port: Option<u16>,
    #[command(flatten)]
    listen: ConfigurableListenArgs,
    #[command(flatten)]
    spelling: SpellingArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    seeding: SeedingArgs,
    #[command(flatten)]
    up: UpLimitArgs,
    #[command(flatten)]
    down: DownLimitArgs,
}

/// What `sow chunk server` is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkServerPlan {
    /// The address to listen on; `None` for all.
    pub(crate) bind: Option<IpAddr>,
    /// The port to listen on; 0 for any.
    pub(crate) port: u16,
    /// What is shared.
    pub(crate) content: ServedContent,
    /// The length of a chunk in bytes, if it is configured.
    pub(crate) chunk_size: Option<u32>,
    /// The spelling of messages that are sent.
    pub(crate) spelling: Spelling,
    /// The number of clients to wait for.
    pub(crate) expect: Option<usize>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
}

/// What `sow chunk client` is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkClientPlan {
    /// The servers, at least one; some may be unreachable.
    pub(crate) servers: Vec<Address>,
    /// The address to listen on; `None` for all.
    pub(crate) bind: Option<IpAddr>,
    /// The ports to try to listen on, in this order; only 0 for any.
    pub(crate) ports: RangeInclusive<u16>,
    /// Where the file goes; never a folder, as the protocol does not send its name.
    pub(crate) destination: Destination,
    /// Replace a target that differs.
    pub(crate) overwrite: bool,
    /// The spelling of messages that are sent.
    pub(crate) spelling: Spelling,
    /// How long to serve others after completion.
    pub(crate) seeding: Seeding,
    /// How long the download may take.
    pub(crate) timeout: Option<Duration>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
    /// Bytes per second.
    pub(crate) down_limit: Option<u64>,
}

impl ChunkArgs {
    /// `--no-seed`, if the command has it.
    pub(super) fn no_seed(&mut self) -> Option<&mut bool> {
        match &mut self.command {
            ChunkCommand::Client(client) => Some(&mut client.seeding.no_seed),
            ChunkCommand::Server(_) => None,
        }
    }
}

impl ChunkCommand {
    /// The configuration file that the command line names.
    pub(crate) fn config(&self) -> Option<&Path> {
        match self {
            Self::Server(server) => server.listen.config.as_deref(),
            Self::Client(client) => client.listen.config.as_deref(),
        }
    }
}

impl ChunkServerArgs {
    /// The plan. Precedence: command line, environment, configuration file, defaults.
    pub(crate) fn plan(self, config: ConfigIni) -> ChunkServerPlan {
        let section = config.server;
        let configured = match section.file_path {
            Some(path) => Some(ServedContent::File(path)),
            None => section.file_size.map(ServedContent::Random),
        };
        ChunkServerPlan {
            bind: self.listen.local.bind.or(section.ip),
            port: self.listen.port.or(section.port).unwrap_or(DEFAULT_PORT),
            content: self.content.content().or(configured).unwrap_or_default(),
            // The option's parser has checked the range.
            chunk_size: self
                .chunk_size
                .map(|size| u32::try_from(size.0).unwrap_or(MAX_WHOLE_PIECE)),
            spelling: self.spelling.spelling(),
            expect: self.expect.expected(),
            up_limit: self.up.up_limit(),
        }
    }
}

impl ChunkClientArgs {
    /// The plan. Precedence: command line, environment, configuration file, defaults.
    /// `is_json`: standard output carries JSON events.
    ///
    /// # Errors
    /// When a server is not a host, options contradict each other, or OUT is not a path for a
    /// file.
    pub(crate) fn plan(self, config: ConfigIni, is_json: bool) -> Result<ChunkClientPlan, Failure> {
        let section = config.client;
        let server_port = self.server_port.or(section.server_port).unwrap_or(DEFAULT_PORT);
        let mut servers = if self.server.is_empty() { section.server_ip } else { self.server };
        if servers.is_empty() {
            servers.push(DEFAULT_SERVER.to_owned());
        }
        let address = |text: &String| {
            Address::parse_or(text, server_port)
                .map_err(|error| Failure::usage(chain(&error)).tip("a server is HOST or HOST:PORT"))
        };
        let timeout = self.output.timeout();
        let out = self.output.out.or(section.file_path);
        Ok(ChunkClientPlan {
            servers: servers.iter().map(address).collect::<Result<_, _>>()?,
            bind: self.listen.local.bind.or(section.ip),
            ports: match (self.listen.port, section.port.unwrap_or(DEFAULT_CLIENT_PORT)) {
                (Some(port), _) | (None, port @ 0) => port..=port,
                (None, port) => port..=port.saturating_add(EXTRA_CLIENT_PORTS),
            },
            destination: Destination::of_unnamed(out, "chunk", is_json)?,
            overwrite: self.output.overwrite,
            spelling: self.spelling.spelling(),
            seeding: self.seeding.seeding(),
            timeout,
            up_limit: self.up.up_limit(),
            down_limit: self.down.down_limit(),
        })
    }
}

/// The command line with `-sp`, the original program's option of two letters, replaced by
/// `--server-port`; only in calls of `sow chunk client`.
pub(super) fn expand_server_port(line: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut line: Vec<_> = line.into_iter().collect();
    let mut words = line
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, word)| !word.as_encoded_bytes().starts_with(b"-"));
    let group = words.next().is_some_and(|(_, word)| word == "chunk" || word == "p2p");
    let Some((client, _)) = words.next().filter(|(_, word)| group && *word == "client") else {
        return line;
    };
    for word in line.iter_mut().skip(client + 1).take_while(|word| word.as_os_str() != "--") {
        if let Some(rest) = word.to_str().and_then(|word| word.strip_prefix("-sp"))
            && (rest.is_empty() || rest.starts_with('='))
        {
            *word = [OsStr::new("--server-port"), OsStr::new(rest)].into_iter().collect();
        }
    }
    line
}

fn chunk_size(text: &str) -> Result<Size, String> {
    let size = quantity::size(text).map_err(|error| error.to_string())?;
    match (512..=u64::from(MAX_WHOLE_PIECE)).contains(&size.0) {
        true => Ok(size),
        false => Err("the length of a chunk is between 512 bytes and 64MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Cli, Command},
        config::ConfigFormat as _,
        exit::Exit,
    };

    const CONFIG: &str = "\
        [Server]\nport=7\nip=10.0.0.3\nfile_path=a.iso\nfile_size=5\n\
        [Client]\nport=8\nip=10.0.0.4\nserver_ip=h1 h2:9\nserver_port=10\nfile_path=b.iso\n";

    fn ini(text: &str) -> ConfigIni {
        ConfigIni::parse(text.as_bytes(), Path::new("config.ini")).unwrap()
    }

    fn config() -> ConfigIni {
        ini(CONFIG)
    }

    fn command(line: &[&str]) -> ChunkCommand {
        let line = expand_server_port(["sow"].iter().chain(line).map(OsString::from));
        let Command::Chunk(args) = Cli::try_parse_from(line).unwrap().command else {
            unreachable!()
        };
        args.command
    }

    fn server(line: &[&str], config: ConfigIni) -> ChunkServerPlan {
        let ChunkCommand::Server(args) = command(line) else { unreachable!() };
        args.plan(config)
    }

    fn client(line: &[&str], config: ConfigIni) -> Result<ChunkClientPlan, Failure> {
        let ChunkCommand::Client(args) = command(line) else { unreachable!() };
        args.plan(config, false)
    }

    fn servers(plan: &ChunkClientPlan) -> String {
        plan.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_defaults_are_those_of_the_original_program() {
        let plan = server(&["chunk", "server"], ConfigIni::default());
        assert_eq!(
            (plan.port, plan.bind, plan.content),
            (52000, None, ServedContent::Random(10 << 20))
        );
        assert_eq!((plan.chunk_size, plan.spelling), (None, Spelling::Documented));
        let plan = client(&["p2p", "client"], ConfigIni::default()).unwrap();
        assert_eq!((servers(&plan).as_str(), plan.ports), ("10.0.0.1:52000", 51000..=51100));
        assert_eq!(
            (plan.destination, plan.seeding),
            (Destination::Memory, Seeding::WhileNeeded(Duration::from_secs(600)))
        );
    }

    #[test]
    fn the_configuration_has_precedence_over_the_defaults() {
        let plan = server(&["p2p", "server"], config());
        assert_eq!((plan.port, plan.bind), (7, Some("10.0.0.3".parse().unwrap())));
        assert_eq!(plan.content, ServedContent::File("a.iso".into()));
        let plan = client(&["chunk", "client"], config()).unwrap();
        assert_eq!((servers(&plan).as_str(), &plan.ports), ("h1:10 h2:9", &(8..=108)));
        assert_eq!(plan.bind, Some("10.0.0.4".parse().unwrap()));
        assert_eq!((plan.destination, plan.overwrite), (Destination::Path("b.iso".into()), false));
        let high = ini("[Client]\nport=65500");
        assert_eq!(client(&["chunk", "client"], high).unwrap().ports, 65500..=65535);
        let any = ini("[Client]\nport=0");
        assert_eq!(client(&["chunk", "client"], any).unwrap().ports, 0..=0);
    }

    #[test]
    fn the_command_line_has_precedence_over_the_configuration() {
        let line =
            ["chunk", "server", "-p", "70", "-f", "c.iso", "--bind", "::1", "--compat", "original"];
        let plan = server(&line, config());
        assert_eq!((plan.port, plan.bind), (70, Some("::1".parse().unwrap())));
        assert_eq!(
            (plan.content, plan.spelling),
            (ServedContent::File("c.iso".into()), Spelling::Original)
        );
        assert_eq!(
            server(&["chunk", "server", "--size", "1KiB"], config()).content,
            ServedContent::Random(1024)
        );
        let line = [
            "chunk",
            "client",
            "-s",
            "a",
            "-s",
            "b:3,[::1]",
            "-sp",
            "4",
            "-p",
            "5",
            "-o",
            "d",
            "--overwrite",
        ];
        let plan = client(&line, config()).unwrap();
        assert_eq!((servers(&plan).as_str(), plan.ports), ("a:4 b:3 [::1]:4", 5..=5));
        assert_eq!((plan.destination, plan.overwrite), (Destination::Path("d".into()), true));
    }

    #[test]
    fn the_option_sp_is_expanded_only_for_the_chunk_client() {
        let rewritten = |line: &str| {
            let line = expand_server_port(line.split(' ').map(OsString::from));
            line.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (line, due) in [
            ("sow chunk client -sp 1", "sow chunk client --server-port 1"),
            (
                "sow -v p2p --json client -s a -sp=1",
                "sow -v p2p --json client -s a --server-port=1",
            ),
            ("sow chunk client -spare -- -sp", "sow chunk client -spare -- -sp"),
            ("sow chunk server -sp 1", "sow chunk server -sp 1"),
            ("sow raw client -sp 1", "sow raw client -sp 1"),
            ("sow client chunk -sp 1", "sow client chunk -sp 1"),
            ("sow", "sow"),
        ] {
            assert_eq!(rewritten(line), due);
        }
        let alias =
            client(&["chunk", "client", "--server_port", "6"], ConfigIni::default()).unwrap();
        assert_eq!(servers(&alias), "10.0.0.1:6");
    }

    #[test]
    fn contradictory_options_are_rejected() {
        for line in
            [&["-s", "a b"][..], &["-s", "a:99999"], &["-o", "/"], &["-o", "/no/such/folder/x"]]
        {
            let line: Vec<_> = ["chunk", "client"].iter().chain(line).copied().collect();
            assert_eq!(
                client(&line, ConfigIni::default()).unwrap_err().exit(),
                Exit::Usage,
                "{line:?}"
            );
        }
        let parsed =
            |line: &[&str]| Cli::try_parse_from(["sow", "chunk"].iter().chain(line)).is_ok();
        assert!(!parsed(&["server", "-f", "a", "--size", "1"]));
        assert!(
            !parsed(&["server", "--chunk-size", "100"]) && !parsed(&["client", "--compat", "both"])
        );
    }
}
