//! The configuration of `sow serve`, in TOML. Every value is checked here; an unknown key is an
//! error, because it is most likely a wrong one. `docs/serve.md` describes the keys.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use sow_node::HostName;

use super::MAX_CONFIG_SIZE;
use crate::{exit::Failure, file_reading::read_at_most, quantity};

/// The values of a configuration file; `None` where a key is absent. Paths are absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServeConfig {
    /// Files and folders to share.
    pub(crate) paths: Vec<PathBuf>,
    /// Folders whose entries are shared.
    pub(crate) watch: Vec<PathBuf>,
    /// The folder for what was hashed.
    pub(crate) state: Option<PathBuf>,
    /// How long a file must be unchanged before it is hashed.
    pub(crate) settle: Option<Duration>,
    /// The command that runs when a receiver is complete.
    pub(crate) on_complete: Option<String>,
    /// The port to listen on; 0 for any.
    pub(crate) port: Option<u16>,
    /// The address to listen on.
    pub(crate) bind: Option<IpAddr>,
    /// Bytes per second.
    pub(crate) up_limit: Option<u64>,
    /// The names at which this machine is reached beside those that it knows.
    pub(crate) host_names: Vec<HostName>,
}

/// The keys as they are typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Keys {
    paths: Vec<PathBuf>,
    watch: Vec<PathBuf>,
    state: Option<PathBuf>,
    settle: Option<String>,
    on_complete: Option<String>,
    port: Option<u16>,
    bind: Option<IpAddr>,
    up_limit: Option<String>,
    host_names: Vec<String>,
}

impl ServeConfig {
    /// Reads a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// When it cannot be read, or a line of it cannot be understood.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read_at_most(path, MAX_CONFIG_SIZE)?;
        let invalid = |what: String| Failure::usage(format!("{}{what}", path.display()));
        if bytes.len() > MAX_CONFIG_SIZE {
            return Err(invalid(format!(" has over {MAX_CONFIG_SIZE} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| invalid(" is not UTF-8".to_owned()))?;
        let keys: Keys = toml::from_str(&text).map_err(|error| {
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            invalid(match error.span() {
                Some(at) => {
                    let line = 1 + text[..at.start].matches('\n').count();
                    format!(", line {line}: {message}")
                }
                None => format!(": {message}"),
            })
            .tip("docs/serve.md describes the keys")
        })?;
        let folder = std::path::absolute(path).map_err(|error| invalid(format!(": {error}")))?;
        let folder = folder.parent().unwrap_or(Path::new("/"));
        let settle = keys.settle.as_deref().map(quantity::time).transpose();
        let settle = settle.map_err(|error| invalid(format!(": settle: {error}")))?;
        let up_limit = keys.up_limit.as_deref().map(quantity::rate).transpose();
        let up_limit = up_limit.map_err(|error| invalid(format!(": up_limit: {error}")))?;
        let host_names = keys.host_names.iter().map(|name| {
            name.parse().map_err(|error| invalid(format!(": host_names: {name}: {error}")))
        });
        let joined = |paths: Vec<PathBuf>| paths.iter().map(|path| folder.join(path)).collect();
        Ok(Self {
            paths: joined(keys.paths),
            watch: joined(keys.watch),
            state: keys.state.map(|path| folder.join(path)),
            settle: settle.map(|span| span.0),
            on_complete: keys.on_complete,
            port: keys.port,
            bind: keys.bind,
            up_limit: up_limit.map(|rate| rate.0),
            host_names: host_names.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn read(text: &str) -> Result<ServeConfig, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.toml");
        std::fs::write(&path, text).unwrap();
        ServeConfig::read(&path)
    }

    #[test]
    fn every_key_is_read() {
        let config = read(
            "paths = [\"/a\"]\nwatch = [\"/w\"]\nstate = \"/s\"\nsettle = \"5s\"\n\
             on_complete = \"true\"\nport = 52001\n\
             bind = \"10.0.0.1\"\nup_limit = \"100mbit\"\nhost_names = [\"files.example.org\"]\n",
        )
        .unwrap();
        assert_eq!(
            (&config.paths[..], &config.watch[..]),
            (&["/a".into()][..], &["/w".into()][..])
        );
        assert_eq!((config.port, config.bind), (Some(52_001), Some([10, 0, 0, 1].into())));
        assert_eq!(config.settle, Some(Duration::from_secs(5)));
        assert_eq!(config.on_complete.as_deref(), Some("true"));
        assert_eq!((config.up_limit, config.host_names.len()), (Some(12_500_000), 1));
        assert_eq!(read("").unwrap(), ServeConfig::default());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, words) in [
            ("port = 1\nprot = 2\n", &["line 2", "prot"][..]),
            ("\n\npaths = \"/a\"\n", &["line 3", "sequence"]),
            ("port = 70000\n", &["line 1"]),
            ("port = \n", &["line 1"]),
            ("bind = \"x\"\n", &["line 1", "IP address"]),
            ("settle = \"soon\"\n", &["settle"]),
            ("up_limit = \"fast\"\n", &["up_limit"]),
            ("host_names = [\"a b\"]\n", &["host_names", "a b"]),
        ] {
            let failure = read(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{text}");
            for word in words {
                assert!(failure.message().contains(word), "{text}: {failure}");
            }
        }
        let missing = ServeConfig::read(Path::new("/no/such.toml")).unwrap_err();
        assert_eq!(missing.exit(), Exit::Failed);
    }
}
