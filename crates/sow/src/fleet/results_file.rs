//! The files that a run leaves for scripts: a row for each receiver as CSV or JSON, and the list of
//! hosts for the next try.

use std::{
    borrow::Cow,
    fs::Permissions,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::Receiver;
use crate::{exit::Failure, file_errors, report::ReceiverState};

/// The columns of the CSV form, which are the keys of the JSON form.
const COLUMNS: &str = "name,address,state,bytes,seconds,rate,error,id,host,share";

/// A file of results, to be written at the end of a run.
#[derive(Debug, Clone)]
pub(crate) struct ResultsFile {
    path: PathBuf,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
}

/// One row.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    address: String,
    state: ReceiverState,
    bytes: u64,
    seconds: Option<f64>,
    rate: Option<u64>,
    error: Option<String>,
    id: &'a str,
    host: Option<&'a str>,
    share: &'a str,
}

/// The receivers of one share, each with the host of a list that it stands for.
pub(crate) type ShareRows<'a> = Vec<(Receiver, Option<&'a str>)>;

impl ResultsFile {
    /// The file at a path, whose ending names its format.
    ///
    /// # Errors
    /// When the ending names no format.
    pub(crate) fn at(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        let format = match extension.as_deref().and_then(|extension| extension.to_str()) {
            Some("csv") => Format::Csv,
            Some("json") => Format::Json,
            _ => {
                let message = format!("{}: its ending names no format", path.display());
                return Err(Failure::usage(message).tip("results are FILE.csv or FILE.json"));
            }
        };
        Ok(Self { path: path.to_owned(), format })
    }

    /// Checks, before the work begins, that the file can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        check_writable(&self.path)
    }

    /// Writes a row for each receiver of each share, which has a name. An existing file is
    /// replaced.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, shares: &[(&str, ShareRows<'_>)]) -> Result<(), Failure> {
        let rows = shares.iter().flat_map(|(share, rows)| {
            rows.iter().map(|(receiver, host)| Row::new(receiver, *host, share))
        });
        let text = match self.format {
            Format::Csv => csv(rows),
            Format::Json => {
                let rows: Vec<Row<'_>> = rows.collect();
                let json =
                    serde_json::to_string_pretty(&rows).expect("numbers and texts become JSON");
                json + "\n"
            }
        };
        replace(&self.path, text.as_bytes())
    }
}

/// Checks, before the work begins, that a file can be written.
///
/// # Errors
/// When it cannot.
pub(crate) fn check_writable(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::usage(format!("{} is a folder; name a file", path.display())));
    }
    let folder = folder_of(path);
    tempfile::Builder::new()
        .prefix(".sow-")
        .tempfile_in(folder)
        .map(|_| ())
        .map_err(|error| file_errors::cannot_write(path, &error))
}

/// Writes the hosts that are missing, one a line, as the next run reads them.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_missing_hosts(path: &Path, hosts: &[Cow<'_, str>]) -> Result<(), Failure> {
    let text: String = hosts.iter().map(|host| format!("{host}\n")).collect();
    replace(path, text.as_bytes())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces a file by one rename, so that a reader never sees a part of it.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| file_errors::cannot_write(path, error);
    let mut file = tempfile::Builder::new()
        .prefix(".sow-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder_of(path))
        .map_err(|error| failed(&error))?;
    file.write_all(bytes).map_err(|error| failed(&error))?;
    file.persist(path).map(|_| ()).map_err(|error| failed(&error.error))
}

impl<'a> Row<'a> {
    fn new(receiver: &'a Receiver, host: Option<&'a str>, share: &'a str) -> Self {
        Self {
            name: &receiver.name,
            address: receiver.peer(),
            state: receiver.state,
            bytes: receiver.bytes,
            seconds: receiver.seconds().map(|seconds| (seconds * 1000.0).round() / 1000.0),
            rate: receiver.mean_rate(),
            error: (!receiver.is_complete()).then(|| receiver.shortfall()),
            id: &receiver.id,
            host,
            share,
        }
    }

    fn fields(&self) -> [String; 10] {
        let or_empty = |text: Option<String>| text.unwrap_or_default();
        [
            self.name.to_owned(),
            self.address.clone(),
            self.state.name().to_owned(),
            self.bytes.to_string(),
            or_empty(self.seconds.map(|seconds| seconds.to_string())),
            or_empty(self.rate.map(|rate| rate.to_string())),
            or_empty(self.error.clone()),
            self.id.to_owned(),
            self.host.unwrap_or_default().to_owned(),
            self.share.to_owned(),
        ]
    }
}

/// The rows as CSV (RFC 4180) with newlines as everywhere on this system.
fn csv<'a>(rows: impl Iterator<Item = Row<'a>>) -> String {
    let mut text = format!("{COLUMNS}\n");
    for row in rows {
        let fields: Vec<String> = row.fields().iter().map(|field| csv_field(field)).collect();
        text.push_str(&fields.join(","));
        text.push('\n');
    }
    text
}

/// One field. A name from another machine must not be a formula to a spreadsheet, which it is by
/// its first character.
fn csv_field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', '"', '\n', '\r']) || is_formula {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exit::Exit;

    fn rows() -> Vec<(Receiver, Option<&'static str>)> {
        let complete = Receiver {
            id: "ab".to_owned(),
            addr: Some(([10, 0, 0, 1], 6881).into()),
            state: ReceiverState::Complete,
            bytes: 1000,
            first_seen: Some(Duration::from_secs(1)),
            last_seen: Some(Duration::from_secs(9)),
            finished: Some(Duration::from_millis(3500)),
            ..Receiver::missing("web01", 1000)
        };
        let gone = Receiver {
            state: ReceiverState::Gone,
            bytes: 500,
            ..Receiver::missing("=\"1+1\"", 1000)
        };
        vec![(complete, Some("web01")), (gone, None), (Receiver::missing("web03", 1000), None)]
    }

    #[test]
    fn the_ending_of_the_file_names_its_format() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str| {
            let path = folder.path().join(name);
            let file = ResultsFile::at(&path).unwrap();
            file.check().unwrap();
            file.write(&[("big.iso", rows())]).unwrap();
            std::fs::read_to_string(path).unwrap()
        };
        assert_eq!(
            written("a.CSV"),
            "name,address,state,bytes,seconds,rate,error,id,host,share\n\
             web01,10.0.0.1:6881,complete,1000,2.5,400,,ab,web01,big.iso\n\
             \"'=\"\"1+1\"\"\",,gone,500,,,\"50.0 %, disconnected\",,,big.iso\n\
             web03,,missing,0,,,not connected,,,big.iso\n"
        );
        let json: serde_json::Value = serde_json::from_str(&written("a.json")).unwrap();
        assert_eq!(json[0]["seconds"], 2.5);
        assert_eq!(json[1]["error"], "50.0 %, disconnected");
        assert_eq!(json[2]["state"], "missing");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(ResultsFile::at(Path::new("a.txt")).unwrap_err().exit(), Exit::Usage);
        let nowhere = ResultsFile::at(Path::new("/no/such/a.csv")).unwrap();
        assert!(nowhere.check().is_err());
    }
}
