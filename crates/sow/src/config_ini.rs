//! `config.ini` as document 1 has it (section 2.4.1): the sections `[Server]` and `[Client]`, read
//! with bounds, every value checked. What goes before it and what after it is decided where plans
//! are made.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use configparser::ini::{Ini, IniDefault};
use sow_content::{path::printable, ticket::Address};

use crate::{disk, exit::Failure, quantity};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "config.ini";

/// The longest file that is read, in bytes.
const MAX_FILE: usize = 64 * 1024;

/// How many servers `server_ip` may name.
const MAX_SERVERS: usize = 64;

/// How a section's or a key's name is compared: in lower case, as Python's `configparser` does with
/// keys.
const KEYS: [(&str, &[&str]); 2] = [
    ("server", &["port", "ip", "file_path", "file_size"]),
    ("client", &["port", "ip", "server_ip", "server_port", "file_path"]),
];

/// What a configuration file says. What it leaves open, or leaves empty, is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfigIni {
    /// `[Server]`.
    pub(crate) server: ServerSection,
    /// `[Client]`.
    pub(crate) client: ClientSection,
    /// What people should be told of it: sections and keys that mean nothing.
    pub(crate) warnings: Vec<String>,
}

/// The section of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerSection {
    /// The port to listen on; 0 for any.
    pub(crate) port: Option<u16>,
    /// The address to listen on; never `0.0.0.0`, which is all of them.
    pub(crate) ip: Option<IpAddr>,
    /// The file to share.
    pub(crate) file_path: Option<PathBuf>,
    /// How many random bytes to share without a file.
    pub(crate) file_size: Option<u64>,
}

/// The section of the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientSection {
    /// The first port to try to listen on; 0 for any.
    pub(crate) port: Option<u16>,
    /// The address to listen on, as [`ServerSection::ip`].
    pub(crate) ip: Option<IpAddr>,
    /// The servers: hosts, each with a port or without.
    pub(crate) server_ip: Vec<String>,
    /// The port of those without.
    pub(crate) server_port: Option<u16>,
    /// Where the file goes.
    pub(crate) file_path: Option<PathBuf>,
}

impl ConfigIni {
    /// Reads the file that was named, which must be there, or else `config.ini` in this folder,
    /// which need not.
    ///
    /// # Errors
    /// When it cannot be read, or something in it cannot be used: the error names file, section,
    /// key and value.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).is_file() => Path::new(DEFAULT_FILE),
            None => return Ok(Self::default()),
        };
        let bytes = disk::read_bounded(path, MAX_FILE)?;
        if bytes.len() > MAX_FILE {
            return Err(Failure::usage(format!(
                "{} has over {MAX_FILE} bytes, which no configuration has",
                path.display()
            ))
            .tip("name the right one with --config"));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("{} is no text (UTF-8)", path.display())))?;
        Self::parse(&text, path)
    }

    /// Reads the text of a configuration; `from` is where it is from.
    ///
    /// # Errors
    /// As [`ConfigIni::load`].
    pub(crate) fn parse(text: &str, from: &Path) -> Result<Self, Failure> {
        // Some editors put a mark before the first byte.
        let text = text.trim_start_matches('\u{feff}');
        if let Some((line, key)) = repeated(text) {
            let shown: String = printable(&key).chars().take(80).collect();
            return Err(Failure::usage(format!(
                "{}: line {line}: {shown} is there twice",
                from.display()
            ))
            .tip("leave one of them away"));
        }
        let mut ini = Ini::new_from_defaults(rules());
        ini.read(text.to_owned()).map_err(|error| {
            Failure::usage(format!("{}: {}", from.display(), printable(&error)))
                .tip("a configuration has lines like `port = 52000` below [Server] or [Client]")
        })?;
        let server = Section { ini: &ini, from, name: "Server" };
        let client = Section { ini: &ini, from, name: "Client" };
        Ok(Self {
            server: ServerSection {
                port: server.value("port", LISTENING, listening_port)?,
                ip: server.value("ip", ADDRESS, address)?.filter(|ip| !ip.is_unspecified()),
                file_path: server.value("file_path", "a path", path)?,
                file_size: server.value(
                    "file_size",
                    "a number of bytes, or for example 10MiB",
                    size,
                )?,
            },
            client: ClientSection {
                port: client.value("port", LISTENING, listening_port)?,
                ip: client.value("ip", ADDRESS, address)?.filter(|ip| !ip.is_unspecified()),
                server_ip: client.value("server_ip", SERVERS, servers)?.unwrap_or_default(),
                server_port: client.value(
                    "server_port",
                    "a number from 1 to 65535",
                    server_port,
                )?,
                file_path: client.value("file_path", "a path", path)?,
            },
            warnings: warnings(&ini, from),
        })
    }
}

const LISTENING: &str = "a number from 0 to 65535, 0 for any free port";
const ADDRESS: &str = "an IP address of this machine, or 0.0.0.0";
const SERVERS: &str = "hosts or IP addresses, up to 64, with commas or spaces between them";

/// As Python's `configparser` reads: comments have lines of their own, so that `#` and `;` may
/// stand in a path.
fn rules() -> IniDefault {
    let mut rules = IniDefault::default();
    rules.case_sensitive = false;
    rules.multiline = false;
    rules.enable_inline_comments = false;
    rules.comment_symbols = vec!['#', ';'];
    rules.delimiters = vec!['=', ':'];
    rules
}

/// The first key that its section has already, and its line: which of two is meant is anybody's
/// guess, as Python's `configparser` finds.
fn repeated(text: &str) -> Option<(usize, String)> {
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

struct Section<'a> {
    ini: &'a Ini,
    from: &'a Path,
    name: &'a str,
}

impl Section<'_> {
    /// The value of a key as `read` takes it; `None` when it is not there, or empty.
    fn value<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.ini.get(self.name, key).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        read(&text).map(Some).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Failure::usage(format!(
                "{}: [{}] {key} = {shown}: {wanted} belongs there",
                self.from.display(),
                self.name
            ))
        })
    }
}

/// A line for each section and each key that nothing is known of.
fn warnings(ini: &Ini, from: &Path) -> Vec<String> {
    let from = from.display();
    let of_section =
        |(section, entries): (&String, &_)| match KEYS.iter().find(|(name, _)| name == section) {
            None if section == "default" => {
                vec![format!("{from}: what stands above the first section means nothing")]
            }
            None => vec![format!("{from}: the section [{section}] means nothing here")],
            Some((_, known)) => unknown(entries, known)
                .map(|key| format!("{from}: [{section}] {key} means nothing here"))
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

fn path(text: &str) -> Option<PathBuf> {
    (!text.contains('\0')).then(|| text.into())
}

fn size(text: &str) -> Option<u64> {
    quantity::size(text).ok().map(|size| size.0)
}

/// Several servers: the document's last sentence of section 2.1 speaks of several trackers.
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
        ConfigIni::parse(text, Path::new("config.ini"))
    }

    #[test]
    fn every_key_of_the_document_is_read() {
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
    fn what_is_empty_is_not_said() {
        let text = "[Server]\nport=\nip\nfile_path =  \nfile_size=\n[Client]\nserver_ip=\n";
        assert_eq!(parse(text), Ok(ConfigIni::default()));
        assert_eq!(parse(""), Ok(ConfigIni::default()));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, due) in [
            (
                "[Server]\nport = 65536",
                "config.ini: [Server] port = 65536: a number from 0 to 65535",
            ),
            ("[Server]\nport = -1", "[Server] port = -1"),
            (
                "[Server]\nport = 52000 ; the usual one",
                "[Server] port = 52000 ; the usual one: a number",
            ),
            ("[Server]\nip = here", "[Server] ip = here: an IP address"),
            ("[Server]\nfile_size = big", "[Server] file_size = big: a number of bytes"),
            ("[Server]\nfile_path = a\0b", "[Server] file_path = a"),
            ("[Client]\nport = x", "[Client] port = x"),
            ("[Client]\nip = 10.0.0.256", "[Client] ip = 10.0.0.256"),
            ("[Client]\nserver_ip = a,b c!", "[Client] server_ip = a,b c!: hosts or IP addresses"),
            ("[Client]\nserver_ip = ,", "[Client] server_ip = ,"),
            ("[Client]\nserver_port = 0", "[Client] server_port = 0: a number from 1 to 65535"),
            ("[Server\nport = 1", "config.ini: line 1"),
            ("[Server]\n= 1", "config.ini: line 2"),
            (
                "[Server]\nport = 1\n[Client]\nport = 2\n[server]\n# port\nPORT: 3",
                "line 7: [server] port is there twice",
            ),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{text}");
            assert!(failure.message().contains(due), "{text}: {failure}");
        }
        let many = format!("[Client]\nserver_ip = {}", "a ".repeat(MAX_SERVERS + 1));
        assert!(parse(&many).unwrap_err().message().len() < 300);
    }

    /// A good configuration with a few bytes changed, doubled or cut out: it is read, or refused in
    /// a short line.
    #[test]
    fn no_text_does_harm() {
        const GOOD: &str = "[Server]\nport=7\nip=::1\nfile_path=a\nfile_size=5\n[Client]\nport=8\nip=10.0.0.4\n\
                            server_ip=h1 [::1]:9, 10.0.0.2\nserver_port=10\nfile_path=\u{e9}\n#c\n;d\n";
        const ODD: &[u8] = b"[]=:;#\n\r\t \0%\"\\90-.,/\xc3\xff";
        let mut random = fastrand::Rng::with_seed(3);
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut bytes = GOOD.as_bytes().to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = ODD[random.usize(..ODD.len())],
                    1 => bytes.insert(at, ODD[random.usize(..ODD.len())]),
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
                    refused += 1;
                    assert!(
                        failure.exit() == Exit::Usage && failure.message().len() < 400,
                        "{failure}"
                    );
                }
            }
        }
        assert!((2000..18_000).contains(&refused), "{refused}");
    }

    #[test]
    fn what_means_nothing_is_warned_of() {
        let config = parse("port = 1\n[Server]\nprot = 52001\n[Other]\nx = 1\n").unwrap();
        assert_eq!(config.server, ServerSection::default());
        assert_eq!(
            config.warnings,
            [
                "config.ini: [server] prot means nothing here",
                "config.ini: the section [other] means nothing here",
                "config.ini: what stands above the first section means nothing"
            ]
        );
    }

    #[test]
    fn a_file_is_there_and_short_and_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.ini");
        let load = || ConfigIni::load(Some(&path));
        assert_eq!(load().unwrap_err().exit(), Exit::Failed);
        std::fs::write(&path, "[Server]\nport = 1\n").unwrap();
        assert_eq!(load().unwrap().server.port, Some(1));
        std::fs::write(&path, b"[Server]\nfile_path = \xff\n").unwrap();
        assert_eq!(load().unwrap_err().exit(), Exit::Usage);
        std::fs::write(&path, "#".repeat(MAX_FILE + 1)).unwrap();
        let failure = load().unwrap_err();
        assert!(
            failure.exit() == Exit::Usage
                && failure.message().contains("other.ini has over 65536 bytes")
        );
    }
}
