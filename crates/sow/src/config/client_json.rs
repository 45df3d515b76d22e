//! `client_config.json`, the configuration of the original `json-torrent` program: `client_port`,
//! `file_header_size` and `client_listen_max`. Every value is checked here; the file is read by
//! [`super::load`].

use std::path::Path;

use sow_content::json::{JsonError, Object};
use sow_wire::framing::HEAD_LENGTH;

use super::format::ConfigFormat;
use crate::exit::Failure;

/// The largest accepted value of `client_listen_max`.
const MAX_CONNECTIONS: u64 = 65_536;

const KEYS: [&str; 3] = ["client_port", "file_header_size", "client_listen_max"];

const EXAMPLE: &str =
    r#"for example {"client_port": 5555, "file_header_size": 8, "client_listen_max": 50}"#;

/// The values of a configuration file; `None` where a key is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientConfig {
    /// The port to listen on; 0 for any.
    pub(crate) client_port: Option<u16>,
    /// The maximum number of connections.
    pub(crate) client_listen_max: Option<usize>,
    /// A warning for each unknown key.
    warnings: Vec<String>,
}

impl ConfigFormat for ClientConfig {
    const DEFAULT_FILE: &'static str = "client_config.json";

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, Failure> {
        let path = path.display();
        let invalid = |error: JsonError| Failure::usage(format!("{path}: {error}")).tip(EXAMPLE);
        let object = Object::parse(bytes).map_err(invalid)?;
        let number = |key, range| {
            object.get(key).map(|_| object.number(key, range)).transpose().map_err(invalid)
        };
        let port = number("client_port", 0..=u64::from(u16::MAX))?;
        let header = number("file_header_size", 0..=u64::MAX)?;
        let connections = number("client_listen_max", 1..=MAX_CONNECTIONS)?;
        if let Some(header) = header.filter(|&header| header != HEAD_LENGTH as u64) {
            return Err(Failure::usage(format!(
                "{path}: `file_header_size` is {header}, but the length before a frame always has \
                 {HEAD_LENGTH} bytes"
            ))
            .tip("write 8, or omit it"));
        }
        let warnings = object
            .unknown_keys(&KEYS)
            .map(|key| format!("{path}: `{key}` is unknown and is ignored"))
            .collect();
        Ok(Self {
            client_port: port.map(|port| port as u16),
            client_listen_max: connections.map(|count| count as usize),
            warnings,
        })
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
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
    fn every_key_is_read() {
        let config =
            parse(r#"{"client_port": 5556, "file_header_size": 8, "client_listen_max": 50}"#)
                .unwrap();
        assert_eq!((config.client_port, config.client_listen_max), (Some(5556), Some(50)));
        assert!(config.warnings.is_empty());
        assert_eq!(parse("{}"), Ok(ClientConfig::default()));
        let misspelled = parse(r#"{"client_prot": 5556}"#).unwrap();
        assert_eq!(misspelled.warnings, ["c.json: `client_prot` is unknown and is ignored"]);
    }

    #[test]
    fn the_error_names_the_value_that_cannot_be_used() {
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
                "`file_header_size` is 4, but the length before a frame always has 8 bytes",
            ),
            (r#"{"file_header_size": -8}"#, "`file_header_size` is -8"),
            (r#"{"client_listen_max": 0}"#, "`client_listen_max` is 0"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{text}");
            assert!(failure.message().contains(due), "{text}: {failure}");
        }
    }
}
