//! `sow chunk server|client` as it is typed, and as it is meant.

use std::{
    ffi::{OsStr, OsString},
    net::IpAddr,
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use clap::{ArgAction, Args, Subcommand, ValueEnum, builder::FalseyValueParser};
use sow_content::{
    geometry::MAX_PIECE_LENGTH,
    ticket::{Address, DEFAULT_PORT},
};
use sow_wire::chunk::Spelling;

use super::{
    client_server::Source,
    get::{Destination, destination},
};
use crate::{
    config_ini::ConfigIni,
    exit::{Failure, chain},
    quantity::{self, Rate, Size, Span},
};

/// The server that is meant when none is named (document 1, section 2.4.2).
const DEFAULT_SERVER: &str = "10.0.0.1";

/// The port that clients listen on when nothing says otherwise (document 1, section 2.4.2).
const DEFAULT_CLIENT_PORT: u16 = 51000;

/// How many more ports a client tries when that one is taken.
const MORE_PORTS: u16 = 100;

/// How much a server without a file makes up, in bytes.
const RANDOM_BYTES: u64 = 10 << 20;

/// `sow chunk`.
#[derive(Debug, Args)]
#[command(after_help = "\
Chunks have no hashes: only the MD5 at the end tells whether the file is right, and the server is believed. Nobody is \
authenticated.

Examples:
  sow chunk server -f big.iso
  sow chunk client -s 10.0.0.1 -o big.iso")]
pub(crate) struct ChunkArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ChunkCommand,
}

/// The commands under `sow chunk`.
#[derive(Debug, Subcommand)]
pub(crate) enum ChunkCommand {
    /// Share a file with all clients, and tell them of each other.
    Server(ChunkServerArgs),
    /// Fetch the file from servers and other clients, and pass it on.
    Client(ChunkClientArgs),
}

/// `sow chunk server`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Chunks have no hashes, only the file has its MD5, and nobody is authenticated.

The command line goes before the environment, and that before the configuration: port, ip, file_path and file_size below \
[Server].

Examples:
  sow chunk server                         10 MiB of random bytes
  sow p2p server -f big.iso --expect 5     ends with exit code 0 when five clients have all of it")]
pub(crate) struct ChunkServerArgs {
    /// Listen on this port; 0 takes any free one [default: 52000].
    #[arg(short, long, env = "SOW_PORT")]
    port: Option<u16>,
    /// The file to share [default: random bytes].
    #[arg(short, long, env = "SOW_FILE", value_name = "FILE")]
    file: Option<PathBuf>,
    /// How many random bytes to share, without a file [default: 10MiB].
    #[arg(long, env = "SOW_SIZE", value_name = "SIZE", conflicts_with = "file", value_parser = quantity::size)]
    size: Option<Size>,
    /// The length of a chunk, from 512 bytes to 64MiB [default: 128KiB; more for files of more than
    /// 128 MiB].
    #[arg(long, env = "SOW_CHUNK_SIZE", value_name = "SIZE", value_parser = chunk_size)]
    chunk_size: Option<Size>,
    /// How messages are spelled that are sent: as the document has it, or as its original programs
    /// understand it.
    #[arg(long, env = "SOW_COMPAT", value_name = "SPELLING", default_value = "documented")]
    compat: Compat,
    /// The configuration [default: config.ini in the current folder, when it is there].
    #[arg(long, env = "SOW_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// End with exit code 0 as soon as N clients hold verified whole copies, with 7 when stopped
    /// before.
    #[arg(short = 'n', long, env = "SOW_EXPECT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    expect: Option<u32>,
    /// Listen on this address alone.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    bind: Option<IpAddr>,
    /// Send at most this fast, to all clients together: 10mbit, 1.2MB/s, 5MiB/s.
    #[arg(long, env = "SOW_UP_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    up_limit: Option<Rate>,
}

/// `sow chunk client`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Chunks have no hashes: only the MD5 at the end tells whether the file is right, and the server is believed. Nobody is \
authenticated.

The command line goes before the environment, and that before the configuration: port, ip, server_ip, server_port and \
file_path below [Client]. Without -p, the port of the configuration or 51000 is tried, and the 100 after it.

Examples:
  sow chunk client                         from 10.0.0.1 into memory; reports size, time and MD5
  sow p2p client -s 10.0.0.1 -s 10.0.0.2 -sp 52001 -o big.iso")]
pub(crate) struct ChunkClientArgs {
    /// A server: HOST or HOST:PORT; repeat for more, any of which may be down [default: 10.0.0.1].
    #[arg(short, long, env = "SOW_SERVER", value_name = "SERVER", value_delimiter = ',')]
    server: Vec<String>,
    /// The port of servers that are named without one; also -sp [default: 52000].
    #[arg(long, alias = "server_port", env = "SOW_SERVER_PORT", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    server_port: Option<u16>,
    /// Listen on this port for peers, and on no other; 0 takes any free one.
    #[arg(short, long, env = "SOW_PORT")]
    port: Option<u16>,
    /// Where it goes: a file name, or `-` for standard output [default: memory].
    #[arg(short, long, env = "SOW_OUT", value_name = "OUT")]
    out: Option<PathBuf>,
    /// The configuration [default: config.ini in the current folder, when it is there].
    #[arg(long, env = "SOW_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How messages are spelled that are sent: as the document has it, or as its original programs
    /// understand it.
    #[arg(long, env = "SOW_COMPAT", value_name = "SPELLING", default_value = "documented")]
    compat: Compat,
    /// Replace a target that is there and differs.
    #[arg(long, env = "SOW_OVERWRITE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    overwrite: bool,
    /// When complete, serve those who still need it for at most this long.
    #[arg(long, env = "SOW_SEED_FOR", value_name = "TIME", default_value = "10m", value_parser = quantity::time)]
    seed_for: Span,
    /// Exit as soon as it is complete; the same as --seed-for 0.
    #[arg(long, env = "SOW_NO_SEED", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), overrides_with = "seed_for")]
    no_seed: bool,
    /// Give up (exit code 3) when it is not complete after this long: 90s, 10m, 1h.
    #[arg(long, env = "SOW_TIMEOUT", value_name = "TIME", value_parser = quantity::time)]
    timeout: Option<Span>,
    /// Send at most this fast, to all peers together: 10mbit, 1.2MB/s, 5MiB/s.
    #[arg(long, env = "SOW_UP_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    up_limit: Option<Rate>,
    /// Receive at most this fast, from all peers together.
    #[arg(long, env = "SOW_DOWN_LIMIT", value_name = "RATE", value_parser = quantity::rate)]
    down_limit: Option<Rate>,
    /// Listen on this address alone.
    #[arg(long, env = "SOW_BIND", value_name = "ADDR")]
    bind: Option<IpAddr>,
}

/// How messages are spelled that are sent; both are always understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compat {
    Documented,
    Original,
}

/// What `sow chunk server` is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkServerPlan {
    /// The address to listen on; `None` for all.
    pub(crate) bind: Option<IpAddr>,
    /// The port to listen on; 0 for any.
    pub(crate) port: u16,
    /// What is shared.
    pub(crate) source: Source,
    /// The length of a chunk, in bytes, where somebody says it.
    pub(crate) chunk_size: Option<u32>,
    /// How messages are spelled that are sent.
    pub(crate) spelling: Spelling,
    /// How many clients are waited for.
    pub(crate) expect: Option<u32>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
}

/// What `sow chunk client` is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkClientPlan {
    /// The servers, one at least; any of them may be down.
    pub(crate) servers: Vec<Address>,
    /// The address to listen on; `None` for all.
    pub(crate) bind: Option<IpAddr>,
    /// The ports to try to listen on, in this order; 0 alone for any.
    pub(crate) ports: RangeInclusive<u16>,
    /// Where the file goes; never a folder, as the protocol does not tell its name.
    pub(crate) destination: Destination,
    /// Replace what differs.
    pub(crate) overwrite: bool,
    /// How messages are spelled that are sent.
    pub(crate) spelling: Spelling,
    /// How long to serve others at most after completion.
    pub(crate) seed_for: Duration,
    /// How long the download may take.
    pub(crate) timeout: Option<Duration>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
    /// Bytes per second.
    pub(crate) down_limit: Option<u64>,
}

impl ChunkArgs {
    /// `--no-seed`, where the command has it.
    pub(super) fn no_seed(&mut self) -> Option<&mut bool> {
        match &mut self.command {
            ChunkCommand::Client(client) => Some(&mut client.no_seed),
            ChunkCommand::Server(_) => None,
        }
    }
}

impl ChunkServerArgs {
    /// What is meant: the command line before the environment, that before the configuration, that
    /// before the defaults.
    pub(crate) fn plan(self, config: ConfigIni) -> ChunkServerPlan {
        let section = config.server;
        let size = self.size.map(|size| size.0);
        // A size that was typed asks for random bytes, whatever file the configuration names.
        let file = self.file.or(section.file_path.filter(|_| size.is_none()));
        let size = size.or(section.file_size).unwrap_or(RANDOM_BYTES);
        ChunkServerPlan {
            bind: self.bind.or(section.ip),
            port: self.port.or(section.port).unwrap_or(DEFAULT_PORT),
            source: file.map_or(Source::Random(size), Source::File),
            // Checked where it was typed.
            chunk_size: self
                .chunk_size
                .map(|size| u32::try_from(size.0).unwrap_or(MAX_PIECE_LENGTH)),
            spelling: self.compat.into(),
            expect: self.expect,
            up_limit: self.up_limit.map(|rate| rate.0),
        }
    }
}

impl ChunkClientArgs {
    /// What is meant: the command line before the environment, that before the configuration, that
    /// before the defaults. `json` is whether standard output belongs to JSON events.
    ///
    /// # Errors
    /// When a server is no host, the flags do not go together, or OUT is no place for a file.
    pub(crate) fn plan(self, config: ConfigIni, json: bool) -> Result<ChunkClientPlan, Failure> {
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
        Ok(ChunkClientPlan {
            servers: servers.iter().map(address).collect::<Result<_, _>>()?,
            bind: self.bind.or(section.ip),
            ports: match (self.port, section.port.unwrap_or(DEFAULT_CLIENT_PORT)) {
                (Some(port), _) | (None, port @ 0) => port..=port,
                (None, port) => port..=port.saturating_add(MORE_PORTS),
            },
            destination: nameless(self.out.or(section.file_path), json)?,
            overwrite: self.overwrite,
            spelling: self.compat.into(),
            seed_for: if self.no_seed { Duration::ZERO } else { self.seed_for.0 },
            timeout: self.timeout.map(|span| span.0),
            up_limit: self.up_limit.map(|rate| rate.0),
            down_limit: self.down_limit.map(|rate| rate.0),
        })
    }
}

impl From<Compat> for Spelling {
    fn from(compat: Compat) -> Self {
        match compat {
            Compat::Documented => Self::Documented,
            Compat::Original => Self::Original,
        }
    }
}

/// The command line with `-sp`, which is really two letters in document 1, written as
/// `--server-port`; only where `sow chunk client` is called.
pub(super) fn spelled_out(line: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
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

/// Where the file goes: to memory when nobody says it, and never to a folder, as its name is not
/// told.
fn nameless(out: Option<PathBuf>, json: bool) -> Result<Destination, Failure> {
    match out.map_or(Ok(Destination::Memory), |out| destination(Some(out)))? {
        Destination::Stdout if json => {
            Err(Failure::usage("--json and -o - both want standard output")
                .tip("write to a file, or leave --json away"))
        }
        Destination::Folder(folder) => Err(Failure::usage(format!(
            "{} is a folder, and the protocol does not tell the file's name",
            folder.display()
        ))
        .tip("name the file with -o")),
        place => Ok(place),
    }
}

fn chunk_size(text: &str) -> Result<Size, String> {
    let size = quantity::size(text).map_err(|error| error.to_string())?;
    match (512..=u64::from(MAX_PIECE_LENGTH)).contains(&size.0) {
        true => Ok(size),
        false => Err("the length of a chunk is between 512 bytes and 64MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::{
        args::{Cli, Command},
        exit::Exit,
    };

    const CONFIG: &str = "[Server]\nport=7\nip=10.0.0.3\nfile_path=a.iso\nfile_size=5\n\
                          [Client]\nport=8\nip=10.0.0.4\nserver_ip=h1 h2:9\nserver_port=10\nfile_path=b.iso\n";

    fn config() -> ConfigIni {
        ConfigIni::parse(CONFIG, Path::new("config.ini")).unwrap()
    }

    fn command(line: &[&str]) -> ChunkCommand {
        let line = spelled_out(["sow"].iter().chain(line).map(OsString::from));
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
    fn the_documents_defaults() {
        let plan = server(&["chunk", "server"], ConfigIni::default());
        assert_eq!((plan.port, plan.bind, plan.source), (52000, None, Source::Random(10 << 20)));
        assert_eq!((plan.chunk_size, plan.spelling), (None, Spelling::Documented));
        let plan = client(&["p2p", "client"], ConfigIni::default()).unwrap();
        assert_eq!((servers(&plan).as_str(), plan.ports), ("10.0.0.1:52000", 51000..=51100));
        assert_eq!(
            (plan.destination, plan.seed_for),
            (Destination::Memory, Duration::from_secs(600))
        );
    }

    #[test]
    fn the_configuration_goes_before_the_defaults() {
        let plan = server(&["p2p", "server"], config());
        assert_eq!((plan.port, plan.bind), (7, Some("10.0.0.3".parse().unwrap())));
        assert_eq!(plan.source, Source::File("a.iso".into()));
        let plan = client(&["chunk", "client"], config()).unwrap();
        assert_eq!((servers(&plan).as_str(), &plan.ports), ("h1:10 h2:9", &(8..=108)));
        assert_eq!(plan.bind, Some("10.0.0.4".parse().unwrap()));
        assert_eq!((plan.destination, plan.overwrite), (Destination::Path("b.iso".into()), false));
        let high = ConfigIni::parse("[Client]\nport=65500", Path::new("x")).unwrap();
        assert_eq!(client(&["chunk", "client"], high).unwrap().ports, 65500..=65535);
        let any = ConfigIni::parse("[Client]\nport=0", Path::new("x")).unwrap();
        assert_eq!(client(&["chunk", "client"], any).unwrap().ports, 0..=0);
    }

    #[test]
    fn the_command_line_goes_before_the_configuration() {
        let line =
            ["chunk", "server", "-p", "70", "-f", "c.iso", "--bind", "::1", "--compat", "original"];
        let plan = server(&line, config());
        assert_eq!((plan.port, plan.bind), (70, Some("::1".parse().unwrap())));
        assert_eq!(
            (plan.source, plan.spelling),
            (Source::File("c.iso".into()), Spelling::Original)
        );
        assert_eq!(
            server(&["chunk", "server", "--size", "1KiB"], config()).source,
            Source::Random(1024)
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
    fn two_letters_after_one_dash_are_understood_where_they_are_due() {
        let rewritten = |line: &str| {
            let line = spelled_out(line.split(' ').map(OsString::from));
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
    fn what_does_not_go_together_is_refused() {
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
