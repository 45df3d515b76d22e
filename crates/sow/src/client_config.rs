//! Document 2's client configuration: a JSON file with `client_port`, `file_header_size` and
//! `client_listen_max`. What goes before it and what after it is decided where plans are made.

use std::path::Path;

use sow_content::json::{JsonError, Object};
use sow_wire::framing::HEAD_LENGTH;

use crate::{disk, exit::Failure};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "client_config.json";

/// The longest file that is read, in bytes.
const MAX_FILE: usize = 64 * 1024;

/// The most connections that can be asked for.
const MAX_CONNECTIONS: u64 = 65_536;

const KEYS: [&str; 3] = ["client_port", "file_header_size", "client_listen_max"];

/// What a configuration file says. What it leaves open is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientConfig {
    /// The port to listen on; 0 for any.
    pub(crate) client_port: Option<u16>,
    /// The most connections at a time.
    pub(crate) client_listen_max: Option<usize>,
    /// What people should be told of it: keys that mean nothing.
    pub(crate) warnings: Vec<String>,
}

impl ClientConfig {
    /// Reads the file that was named, which must be there, or else `client_config.json` in this
    /// folder, which need not.
    ///
    /// # Errors
    /// When it cannot be read, or something in it cannot be used: the error names file, field and
    /// value.
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
        Self::parse(&bytes, path)
    }

    fn parse(bytes: &[u8], from: &Path) -> Result<Self, Failure> {
        let wrong = |error: JsonError| {
            Failure::usage(format!("{}: {error}", from.display()))
                .tip(r#"for example {"client_port": 5555, "file_header_size": 8, "client_listen_max": 50}"#)
        };
        let object = Object::parse(bytes).map_err(wrong)?;
        let number = |key, range| {
            object.get(key).map(|_| object.number(key, range)).transpose().map_err(wrong)
        };
        let port = number("client_port", 0..=u64::from(u16::MAX))?;
        let header = number("file_header_size", 0..=u64::MAX)?;
        let connections = number("client_listen_max", 1..=MAX_CONNECTIONS)?;
        if let Some(header) = header.filter(|&header| header != HEAD_LENGTH as u64) {
            return Err(Failure::usage(format!(
                "{}: `file_header_size` is {header}, but the length before a frame has {HEAD_LENGTH} bytes and no other number",
                from.display()
            ))
            .tip("write 8, or leave it away"));
        }
        let others = object
            .unknown_keys(&KEYS)
            .map(|key| format!("{}: `{key}` means nothing here", from.display()));
        Ok(Self {
            client_port: port.map(|port| port as u16),
            client_listen_max: connections.map(|count| count as usize),
            warnings: others.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn parse(text: &str) -> Result<ClientConfig, Failure> {
        ClientConfig::parse(text.as_bytes(), Path::new("c.json"))
    }

    #[test]
    fn every_key_of_the_document_is_read() {
        let config =
            parse(r#"{"client_port": 5556, "file_header_size": 8, "client_listen_max": 50}"#)
                .unwrap();
        assert_eq!((config.client_port, config.client_listen_max), (Some(5556), Some(50)));
        assert!(config.warnings.is_empty());
        assert_eq!(parse("{}"), Ok(ClientConfig::default()));
        let odd = parse(r#"{"client_prot": 5556}"#).unwrap();
        assert_eq!(odd.warnings, ["c.json: `client_prot` means nothing here"]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, due) in [
            ("", "c.json: not a JSON object"),
            ("[5555]", "c.json: not a JSON object"),
            (
                r#"{"client_port": 65536}"#,
                "c.json: `client_port` is 65536; expected a whole number from 0 to 65535",
            ),
            (r#"{"client_port": "5555"}"#, "`client_port` is \"5555\""),
            (r#"{"client_port": 1, "client_port": 2}"#, "`client_port` appears twice"),
            (
                r#"{"file_header_size": 4}"#,
                "`file_header_size` is 4, but the length before a frame has 8 bytes",
            ),
            (r#"{"file_header_size": -8}"#, "`file_header_size` is -8"),
            (r#"{"client_listen_max": 0}"#, "`client_listen_max` is 0"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{text}");
            assert!(failure.message().contains(due), "{text}: {failure}");
        }
    }

    #[test]
    fn a_file_that_is_named_must_be_there() {
        assert_eq!(
            ClientConfig::load(Some(Path::new("/no/such.json"))).unwrap_err().exit(),
            Exit::Failed
        );
    }
}
