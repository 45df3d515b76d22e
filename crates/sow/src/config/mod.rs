//! Configuration files: those of the commands `chunk` and `json-torrent`, with one reader for both
//! formats, and the TOML of `serve`.
//! A configuration has lower precedence than the command line and the environment; that is decided
//! in [`crate::args`], where plans are made.

mod client_json;
mod format;
mod ini;
mod serve_toml;

use std::path::Path;

pub(crate) use self::{
    client_json::ClientConfig, format::ConfigFormat, ini::ConfigIni, serve_toml::ServeConfig,
};
use crate::{exit::Failure, file_reading::read_at_most, report::Report};

/// The maximum size of a configuration file, in bytes.
const MAX_CONFIG_SIZE: usize = 64 * 1024;

/// Reads a configuration and reports its warnings. A `named` file must exist; the default file in
/// the current folder need not.
///
/// # Errors
/// When the file cannot be read, is too long, or cannot be used.
pub(crate) fn load<F: ConfigFormat>(named: Option<&Path>, report: &Report) -> Result<F, Failure> {
    let config: F = read(named)?;
    config.warnings().iter().for_each(|warning| report.warn(warning));
    Ok(config)
}

fn read<F: ConfigFormat>(named: Option<&Path>) -> Result<F, Failure> {
    let default = Path::new(F::DEFAULT_FILE);
    let Some(path) = named.or_else(|| default.is_file().then_some(default)) else {
        return Ok(F::default());
    };
    let bytes = read_at_most(path, MAX_CONFIG_SIZE)?;
    if bytes.len() > MAX_CONFIG_SIZE {
        return Err(Failure::usage(format!(
            "{} has over {MAX_CONFIG_SIZE} bytes, too many for a configuration file",
            path.display()
        ))
        .tip("name the configuration file with --config"));
    }
    F::parse(&bytes, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_named_ini_file_must_exist_and_be_short_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.ini");
        let load = || read::<ConfigIni>(Some(&path));
        assert_eq!(load().unwrap_err().exit(), Exit::Failed);
        std::fs::write(&path, "[Server]\nport = 1\n").unwrap();
        assert_eq!(load().unwrap().server.port, Some(1));
        std::fs::write(&path, b"[Server]\nfile_path = \xff\n").unwrap();
        assert_eq!(load().unwrap_err().exit(), Exit::Usage);
        std::fs::write(&path, "#".repeat(MAX_CONFIG_SIZE + 1)).unwrap();
        let failure = load().unwrap_err();
        assert!(
            failure.exit() == Exit::Usage
                && failure.message().contains("other.ini has over 65536 bytes")
        );
    }

    #[test]
    fn a_named_json_file_must_exist() {
        assert_eq!(
            read::<ClientConfig>(Some(Path::new("/no/such.json"))).unwrap_err().exit(),
            Exit::Failed
        );
    }
}
