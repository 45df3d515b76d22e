//! `config.ini`, the configuration of the original `chunk` program: sections `[Server]` and
//! `[Client]`. Every value is checked here; the file is read by [`super::load`].

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use configparser::ini::{Ini, IniDefault};
use sow_content::{ticket::Address, untrusted::printable};

use super::format::ConfigFormat;
use crate::{exit::Failure, quantity};

/// The maximum number of servers in `server_ip`.
const MAX_SERVERS: usize = 64;

/// The maximum number of characters of a value in a message.
const MAX_SHOWN_CHARS: usize = 80;

/// The sections and their keys, in lower case: like Python's `configparser`, this program compares
/// keys, and also section names, without regard to case.
const KEYS: [(&str, &[&str]); 2] = [
    ("server", &["port", "ip", "file_path", "file_size"]),
    ("client", &["port", "ip", "server_ip", "server_port", "file_path"]),
];

const LISTENING_PORT: &str = "a number from 0 to 65535, 0 for any free port";
const LOCAL_ADDRESS: &str = "an IP address of this machine, or 0.0.0.0";
const SERVERS: &str = "hosts or IP addresses, up to 64, with commas or spaces between them";
const SERVER_PORT: &str = "a number from 1 to 65535";
const FILE_PATH: &str = "a path";
const FILE_SIZE: &str = "a number of bytes, or for example 10MiB";

/// The values of a configuration file; `None` where a key is absent or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfigIni {
    /// `[Server]`.
    pub(crate) server: ServerSection,
    /// `[Client]`.
    pub(crate) client: ClientSection,
    /// A warning for each unknown section and key.
    warnings: Vec<String>,
}

/// The section of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerSection {
    /// The port to listen on; 0 for any.
    pub(crate) port: Option<u16>,
    /// The address to listen on; never `0.0.0.0`, which means all addresses.
    pub(crate) ip: Option<IpAddr>,
    /// The file to share.
    pub(crate) file_path: Option<PathBuf>,
    /// The number of random bytes to share without a file.
    pub(crate) file_size: Option<u64>,
}

/// The section of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientSection {
    /// The first port to try to listen on; 0 for any.
    pub(crate) port: Option<u16>,
    /// The address to listen on, as [`ServerSection::ip`].
    pub(crate) ip: Option<IpAddr>,
    /// The servers: hosts, with or without a port.
    pub(crate) server_ip: Vec<String>,
    /// The port of servers without one.
    pub(crate) server_port: Option<u16>,
    /// Where the file goes.
    pub(crate) file_path: Option<PathBuf>,
}

impl ConfigFormat for ConfigIni {
    const DEFAULT_FILE: &'static str = "config.ini";

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, Failure> {
        let text = str::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))?;
        // Some editors write a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        if let Some((line, key)) = first_duplicate(text) {
            return Err(Failure::usage(format!(
                "{}: line {line}: {} is a duplicate",
                path.display(),
                shown(&printable(&key))
            ))
            .tip("remove one of the two lines"));
        }
        let mut ini = Ini::new_from_defaults(syntax());
        ini.read(text.to_owned()).map_err(|error| {
            Failure::usage(format!("{}: {}", path.display(), printable(&error)))
                .tip("a configuration has lines like `port = 52000` below [Server] or [Client]")
        })?;
        let server = Section { ini: &ini, path, name: "Server" };
        let client = Section { ini: &ini, path, name: "Client" };
        Ok(Self {
            server: ServerSection {
                port: server.value("port", LISTENING_PORT, listening_port)?,
                ip: server.value("ip", LOCAL_ADDRESS, address)?.filter(|ip| !ip.is_unspecified()),
                file_path: server.value("file_path", FILE_PATH, file_path)?,
                file_size: server.value("file_size", FILE_SIZE, file_size)?,
            },
            client: ClientSection {
                port: client.value("port", LISTENING_PORT, listening_port)?,
                ip: client.value("ip", LOCAL_ADDRESS, address)?.filter(|ip| !ip.is_unspecified()),
                server_ip: client.value("server_ip", SERVERS, servers)?.unwrap_or_default(),
                server_port: client.value("server_port", SERVER_PORT, server_port)?,
                file_path: client.value("file_path", FILE_PATH, file_path)?,
            },
            warnings: warnings(&ini, path),
        })
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The syntax of Python's `configparser`: comments are lines of their own, so that `#` and `;` can
/// be part of a path.
fn syntax() -> IniDefault {
    let mut syntax = IniDefault::default();
    syntax.case_sensitive = false;
    syntax.multiline = false;
    syntax.enable_inline_comments = false;
    syntax.comment_symbols = vec!['#', ';'];
    syntax.delimiters = vec!['=', ':'];
    syntax
}

/// The first key that is a duplicate in its section, and its line. Python's `configparser` rejects
/// duplicates too.
fn first_duplicate(text: &str) -> Option<(usize, String)> {
    let mut known = HashSet::new();
    let mut section = String::new();
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').trim().to_lowercase();
            continue;
        }
        let key = line.split(['=', ':']).next().unwrap_or_default().trim().to_lowercase();
        if !known.insert((section.clone(), key.clone())) {
            return Some((number, format!("[{section}] {key}")));
        }
    }
    None
}

/// One section of a file.
struct Section<'a> {
    ini: &'a Ini,
    path: &'a Path,
    name: &'a str,
}

impl Section<'_> {
    /// The value of a key; `None` if it is absent or empty. `parse` returns `None` for a value that
    /// is not what `expected` describes.
    fn value<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.ini.get(self.name, key).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        parse(&text).map(Some).ok_or_else(|| {
            Failure::usage(format!(
                "{}: [{}] {key} = {}: expected {expected}",
                self.path.display(),
                self.name,
                shown(&text)
            ))
        })
    }
}

/// The beginning of a value, for a message.
fn shown(value: &str) -> String {
    value.chars().take(MAX_SHOWN_CHARS).collect()
}

/// A warning for each unknown section and each unknown key.
fn warnings(ini: &Ini, path: &Path) -> Vec<String> {
    let path = path.display();
    let of_section =
        |(section, entries): (&String, &_)| match KEYS.iter().find(|(name, _)| name == section) {
            None if section == "default" => {
                vec![format!("{path}: the lines above the first section are ignored")]
            }
            None => vec![format!("{path}: the section [{section}] is unknown and is ignored")],
            Some((_, known)) => unknown(entries, known)
                .map(|key| format!("{path}: [{section}] {key} is unknown and is ignored"))
                .collect(),
        };
    let mut warnings: Vec<_> = ini.get_map_ref().iter().flat_map(of_section).collect();
    warnings.sort_unstable();
    warnings
}

fn unknown<'a>(
    entries: &'a HashMap<String, Option<String>>,
    known: &'a [&str],
) -> impl Iterator<Item = &'a String> {
    entries.keys().filter(|key| !known.contains(&key.as_str()))
}

fn listening_port(text: &str) -> Option<u16> {
    text.parse().ok()
}

fn server_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn file_path(text: &str) -> Option<PathBuf> {
    (!text.contains('\0')).then(|| text.into())
}

fn file_size(text: &str) -> Option<u64> {
    quantity::size(text).ok().map(|size| size.0)
}

/// Servers, separated by commas, spaces or tabs.
fn servers(text: &str) -> Option<Vec<String>> {
    let hosts = text.split([',', ' ', '\t']).filter(|host| !host.is_empty());
    let hosts: Vec<_> = hosts.take(MAX_SERVERS + 1).map(str::to_owned).collect();
    let good = hosts.iter().all(|host| host.parse::<Address>().is_ok());
    (good && (1..=MAX_SERVERS).contains(&hosts.len())).then_some(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn parse(text: &str) -> Result<ConfigIni, Failure> {
        ConfigIni::parse(text.as_bytes(), Path::new("config.ini"))
    }

    #[test]
    fn every_key_is_read() {
        let text = "\u{feff}# for the laboratory
[Server]
port = 52001
ip = 0.0.0.0
file_path = my files/a;b#c.iso
FILE_SIZE : 10MiB
; and the other side
[client]
port=51001
ip=10.0.0.2
server_ip = 10.0.0.1, 10.0.0.9:7 [fd00::1]:8
server_port=52001
file_path=out.iso
";
        let config = parse(text).unwrap();
        let server = ServerSection {
            port: Some(52001),
            ip: None,
            file_path: Some("my files/a;b#c.iso".into()),
            file_size: Some(10 << 20),
        };
        let client = ClientSection {
            port: Some(51001),
            ip: Some("10.0.0.2".parse().unwrap()),
            server_ip: ["10.0.0.1", "10.0.0.9:7", "[fd00::1]:8"].map(str::to_owned).to_vec(),
            server_port: Some(52001),
            file_path: Some("out.iso".into()),
        };
        assert_eq!(config, ConfigIni { server, client, warnings: vec![] });
    }

    #[test]
    fn an_empty_value_counts_as_absent() {
        let text = "[Server]\nport=\nip\nfile_path =  \nfile_size=\n[Client]\nserver_ip=\n";
        assert_eq!(parse(text), Ok(ConfigIni::default()));
        assert_eq!(parse(""), Ok(ConfigIni::default()));
    }

    #[test]
    fn the_error_names_the_value_that_cannot_be_used() {
        for (text, due) in [
            (
                "[Server]\nport = 65536",
                "config.ini: [Server] port = 65536: expected a number from 0 to 65535",
            ),
            ("[Server]\nport = -1", "[Server] port = -1"),
            (
                "[Server]\nport = 52000 ; the usual one",
                "[Server] port = 52000 ; the usual one: expected a number",
            ),
            ("[Server]\nip = here", "[Server] ip = here: expected an IP address"),
            ("[Server]\nfile_size = big", "[Server] file_size = big: expected a number of bytes"),
            ("[Server]\nfile_path = a\0b", "[Server] file_path = a"),
            ("[Client]\nport = x", "[Client] port = x"),
            ("[Client]\nip = 10.0.0.256", "[Client] ip = 10.0.0.256"),
            (
                "[Client]\nserver_ip = a,b c!",
                "[Client] server_ip = a,b c!: expected hosts or IP addresses",
            ),
            ("[Client]\nserver_ip = ,", "[Client] server_ip = ,"),
            (
                "[Client]\nserver_port = 0",
                "[Client] server_port = 0: expected a number from 1 to 65535",
            ),
            ("[Server\nport = 1", "config.ini: line 1"),
            ("[Server]\n= 1", "config.ini: line 2"),
            (
                "[Server]\nport = 1\n[Client]\nport = 2\n[server]\n# port\nPORT: 3",
                "line 7: [server] port is a duplicate",
            ),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{text}");
            assert!(failure.message().contains(due), "{text}: {failure}");
        }
        let many = format!("[Client]\nserver_ip = {}", "a ".repeat(MAX_SERVERS + 1));
        assert!(parse(&many).unwrap_err().message().len() < 300);
    }

    /// A few bytes of a valid file are replaced, inserted or removed.
    #[test]
    fn a_mutated_file_is_parsed_or_rejected_with_a_short_message() {
        const VALID: &str = "\
            [Server]\nport=7\nip=::1\nfile_path=a\nfile_size=5\n\
            [Client]\nport=8\nip=10.0.0.4\nserver_ip=h1 [::1]:9, 10.0.0.2\nserver_port=10\n\
            file_path=\u{e9}\n#c\n;d\n";
        const SPECIAL: &[u8] = b"[]=:;#\n\r\t \0%\"\\90-.,/\xc3\xff";
        let mut random = fastrand::Rng::with_seed(3);
        let mut rejected = 0;
        for _ in 0..20_000 {
            let mut bytes = VALID.as_bytes().to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = SPECIAL[random.usize(..SPECIAL.len())],
                    1 => bytes.insert(at, SPECIAL[random.usize(..SPECIAL.len())]),
                    _ => {
                        bytes.remove(at);
                    }
                }
            }
            match parse(&String::from_utf8_lossy(&bytes)) {
                Ok(config) => {
                    assert_ne!(config.client.server_port, Some(0));
                    assert!(
                        config.client.server_ip.iter().all(|host| host.parse::<Address>().is_ok())
                    );
                }
                Err(failure) => {
                    rejected += 1;
                    assert!(
                        failure.exit() == Exit::Usage && failure.message().len() < 400,
                        "{failure}"
                    );
                }
            }
        }
        assert!((2000..18_000).contains(&rejected), "{rejected}");
    }

    #[test]
    fn unknown_sections_and_keys_get_warnings() {
        let config = parse("port = 1\n[Server]\nprot = 52001\n[Other]\nx = 1\n").unwrap();
        assert_eq!(config.server, ServerSection::default());
        assert_eq!(
            config.warnings,
            [
                "config.ini: [server] prot is unknown and is ignored",
                "config.ini: the lines above the first section are ignored",
                "config.ini: the section [other] is unknown and is ignored"
            ]
        );
    }
}
