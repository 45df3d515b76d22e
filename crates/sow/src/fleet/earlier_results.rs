//! Reads the file of results of an earlier run: which hosts were not complete.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Deserialize;

use crate::{exit::Failure, file_reading::read_at_most};

/// The limit of a file of results, in bytes: a kilobyte for each of ten thousand hosts.
const MAX_LENGTH: usize = 16 << 20;

/// What is read of a row. The name in it is what a receiver says of itself, so only the host that
/// the earlier run was given counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    state: String,
    host: Option<String>,
    share: Option<String>,
}

/// The hosts in a file of results without a complete row, in its order.
///
/// # Errors
/// When it cannot be read, or is not a file of results.
pub(crate) fn hosts_not_complete(path: &Path) -> Result<Vec<String>, Failure> {
    let bytes = read_at_most(path, MAX_LENGTH)?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_LENGTH);
    let text = text.unwrap_or_default();
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let rows = if is_json { serde_json::from_str(&text).ok() } else { rows_of_csv(&text) };
    let rows: Vec<Row> = rows.ok_or_else(|| {
        Failure::usage(format!("{} is not a file of results", path.display()))
            .tip("--retry takes what --results or --retry of an earlier run has written")
    })?;
    let host = |row: &Row| row.host.clone().filter(|host| !host.is_empty());
    let copy = |row: &Row| Some((host(row)?, row.share.clone().unwrap_or_default()));
    let complete: BTreeSet<(String, String)> =
        rows.iter().filter(|row| row.state == "complete").filter_map(copy).collect();
    let mut seen = BTreeSet::new();
    let others = rows.iter().filter(|row| row.state != "complete");
    let hosts: Vec<String> = others
        .clone()
        .filter_map(copy)
        .filter(|copy| !complete.contains(copy))
        .map(|(host, _)| host)
        .filter(|host| seen.insert(host.clone()))
        .collect();
    if hosts.is_empty() && others.into_iter().any(|row| host(row).is_none()) {
        return Err(Failure::usage(format!("{} names no hosts", path.display()))
            .tip("it is of a run without a list of hosts; name them"));
    }
    Ok(hosts)
}

fn rows_of_csv(text: &str) -> Option<Vec<Row>> {
    let mut records = records_of_csv(text).into_iter();
    let header = records.next()?;
    let columns: BTreeMap<&str, usize> =
        header.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let state = *columns.get("state")?;
    let (host, share) = (columns.get("host").copied(), columns.get("share").copied());
    let field = |record: &[String], at: usize| record.get(at).cloned().unwrap_or_default();
    let row = |record: Vec<String>| Row {
        state: field(&record, state),
        host: host.map(|at| field(&record, at)),
        share: share.map(|at| field(&record, at)),
    };
    Some(records.map(row).collect())
}

/// The records of a CSV file (RFC 4180).
fn records_of_csv(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => record.push(std::mem::take(&mut field)),
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            c => field.push(c),
        }
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_a_complete_row_are_those_to_try_again() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            hosts_not_complete(&path)
        };
        let csv = "name,address,state,error,host\r\na,,complete,,a\n\
            x,,failed,\"no \"\"room\"\",\nat all\",b:/srv\na,,gone,,a\nc,,missing,,c";
        assert_eq!(read("r.csv", csv).unwrap(), ["b:/srv", "c"]);
        let json = r#"[{"name":"a","state":"gone","host":"a"},{"name":"b","state":"complete"}]"#;
        assert_eq!(read("r.json", json).unwrap(), ["a"]);
        let csv = "state,host,share\ncomplete,a,x\ngone,a,y\ncomplete,b,x\ngone,b,x\n";
        assert_eq!(read("r.csv", csv).unwrap(), ["a"], "each share is a copy of its own");
        // A receiver that no list had: its name is what it says.
        let json = r#"[{"name":"root@db1:/","state":"gone","host":null},{"name":"my laptop"}]"#;
        assert!(read("r.json", json).is_err());
        assert!(read("r.csv", "name,state,host\ndb1,gone,\n").is_err());
        assert_eq!(read("r.csv", "name,state,host\ndb1,complete,db1\n").unwrap(), [""; 0]);
        for bad in ["", "host\nweb01\n", "web01"] {
            assert!(read("r.csv", bad).is_err(), "{bad}");
        }
        assert!(read("r.json", "{").is_err());
        assert!(hosts_not_complete(folder.path()).is_err());
    }
}
