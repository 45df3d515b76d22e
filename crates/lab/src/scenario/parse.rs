//! Parses the text of a TOML file into a scenario. Single values are read by `values`.

use std::{fs::File, io::Read as _, path::Path, time::Duration};

use toml::Spanned;

use super::{
    Action, Content, Event, FileSpec, HostSelector, LinkException, MAX_REPEAT, MAX_SIMULATED_USERS,
    MAX_USERS, Mode, Network, Scenario, ScenarioError, Shape,
    toml_tables::{EventTable, FileTable, Leaf, LinkTable, NetworkTable, ScenarioTable},
    values::{Values, is_printable, shortened},
};
use crate::network::{Link, Topology};

/// The limit of a scenario's text in bytes.
const MAX_TEXT_BYTES: u64 = 1 << 20;
const MAX_FILES: usize = 100;
const MAX_EVENTS: usize = 10_000;
const MAX_FILE_BYTES: u64 = 1 << 40;
/// Piece lengths in bytes. The minimum is below the 3,000 that json-torrent uses by default; the
/// maximum is common in BitTorrent.
const PIECE_LENGTHS: std::ops::RangeInclusive<u64> = 1024..=16 << 20;
const DAY: Duration = Duration::from_secs(86_400);
const DEFAULT_REPEAT: u64 = 3;
/// The limit of the names of scenarios and files.
const MAX_NAME_CHARS: usize = 64;

/// Reads a scenario's file.
///
/// # Errors
/// When it cannot be read or is no valid scenario; the error has the position and the cause.
pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
    read_up_to(path, MAX_USERS)
}

/// As [`read`], for a scenario that is simulated: it may have [`MAX_SIMULATED_USERS`] receivers.
///
/// # Errors
/// As [`read`].
pub fn read_simulated(path: &Path) -> Result<Scenario, ScenarioError> {
    read_up_to(path, MAX_SIMULATED_USERS)
}

fn read_up_to(path: &Path, max_users: u16) -> Result<Scenario, ScenarioError> {
    let failed = |source| ScenarioError::Read { path: path.to_owned(), source };
    let refused = |reason: &str| failed(std::io::Error::other(reason.to_owned()));
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(refused("is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(refused("is longer than 1 MiB, the limit of a scenario"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refused("is not UTF-8 text"))?;
    parse(&text, path, max_users)
}

impl Scenario {
    /// Parses a scenario from the text of its file. `path` is used in errors; its stem is the
    /// scenario's name, and paths in the text are relative to its folder. It is not opened.
    ///
    /// # Errors
    /// The first error, its position, and what to write.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScenarioError> {
        parse(text, path, MAX_USERS)
    }
}

fn parse(text: &str, path: &Path, max_users: u16) -> Result<Scenario, ScenarioError> {
    let values = Values { path, text, max_users };
    let table: ScenarioTable = toml::from_str(text).map_err(|error| ScenarioError::Syntax {
        path: path.to_owned(),
        line: values.line(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let scenario = values.scenario(table)?;
    scenario.check().map_err(|source| ScenarioError::Conflict { path: path.to_owned(), source })?;
    Ok(scenario)
}

impl Values<'_> {
    fn scenario(&self, table: ScenarioTable) -> Result<Scenario, ScenarioError> {
        let users = self.counts("users", &table.users, self.max_users)?;
        let origins =
            table.origins.map_or(Ok(vec![1]), |leaf| self.counts("origins", &leaf, MAX_USERS))?;
        let max = |counts: &[u16]| counts.last().copied().unwrap_or_default();
        let (max_users, max_origins) = (max(&users), max(&origins));
        let number = |key, leaf: Option<Leaf>, range, default| {
            leaf.map_or(Ok(default), |leaf| self.number(key, &leaf, range))
        };
        let repeat = number("repeat", table.repeat, 1..=u64::from(MAX_REPEAT), DEFAULT_REPEAT)?;
        let piece_length =
            table.piece_length.map(|leaf| self.size("piece-length", &leaf, PIECE_LENGTHS));
        let piece_length = piece_length.transpose()?;
        let limits = Duration::from_secs(1)..=7 * DAY;
        Ok(Scenario {
            name: name_of(self.path),
            title: self.sentence("title", &table.title)?,
            users,
            origins,
            modes: self.modes(&table.modes)?,
            repeat: repeat as u16,
            piece_length: piece_length.map(|bytes| bytes as u32),
            seed: number("seed", table.seed, 0..=i64::MAX as u64, 1)?,
            limit: table.limit.map(|leaf| self.time("limit", &leaf, limits)).transpose()?,
            network: self.network(table.network, max_origins, max_users)?,
            files: self.files(table.files)?,
            events: self.events(table.events, max_users)?,
            labels: self.labels(table.labels)?,
        })
    }

    fn modes(&self, list: &Spanned<Vec<Leaf>>) -> Result<Vec<Mode>, ScenarioError> {
        let mut modes = Vec::new();
        for leaf in list.get_ref() {
            let wrong = |reason: String| self.wrong(leaf.span().start, "modes", reason);
            let name = self.text("modes", leaf, "sow")?;
            let mode: Mode =
                name.parse().map_err(|error: super::UnknownMode| wrong(error.to_string()))?;
            if modes.contains(&mode) {
                return Err(wrong(format!("`{mode}` is named twice; name it once")));
            }
            modes.push(mode);
        }
        if modes.is_empty() {
            return Err(self.wrong(
                list.span().start,
                "modes",
                "is empty; name at least one, such as \"sow\"",
            ));
        }
        Ok(modes)
    }

    fn network(
        &self,
        table: NetworkTable,
        origins: u16,
        users: u16,
    ) -> Result<Network, ScenarioError> {
        let rate = self.rate("network.rate", &table.rate)?;
        let micros = |key, leaf: Option<Leaf>, default| {
            leaf.map_or(Ok(default), |leaf| self.micros(key, &leaf))
        };
        let algorithm = table.congestion_control.as_ref();
        let algorithm = algorithm
            .map_or(Ok("cubic"), |leaf| self.text("network.congestion-control", leaf, "cubic"))?;
        let mut exceptions = Vec::new();
        for (name, link) in table.hosts {
            let key = format!("network.hosts.{}", shortened(name.get_ref()));
            let wrong = |reason: String| self.wrong(name.span().start, &key, reason);
            let hosts = parse_selector(name.get_ref()).ok_or_else(|| {
                wrong("is no host; write origins, receivers, origin1, receiver1 or h1".to_owned())
            })?;
            if !(Shape { origins, users }).includes(hosts) {
                return Err(wrong(format!(
                    "there is none; there are at most {origins} origins and {users} receivers"
                )));
            }
            exceptions.push(self.exception(hosts, &key, &link)?);
        }
        exceptions.sort_by_key(|exception| exception.hosts);
        Ok(Network {
            link: Link { up: rate, down: rate, delay_us: micros("network.delay", table.delay, 0)? },
            queue_us: micros("network.queue", table.queue, Topology::DEFAULT_QUEUE_US)?,
            congestion_control: algorithm.to_owned(),
            trunk: table.trunk.map(|leaf| self.rate("network.trunk", &leaf)).transpose()?,
            exceptions,
        })
    }

    fn exception(
        &self,
        hosts: HostSelector,
        key: &str,
        table: &LinkTable,
    ) -> Result<LinkException, ScenarioError> {
        let rate = |name: &str, leaf: &Option<Leaf>| {
            leaf.as_ref().map(|leaf| self.rate(&format!("{key}.{name}"), leaf)).transpose()
        };
        let both = rate("rate", &table.rate)?;
        let delay = table
            .delay
            .as_ref()
            .map(|leaf| self.micros(&format!("{key}.delay"), leaf))
            .transpose()?;
        Ok(LinkException {
            hosts,
            up: rate("up", &table.up)?.or(both),
            down: rate("down", &table.down)?.or(both),
            delay_us: delay,
        })
    }

    fn files(&self, tables: Vec<Spanned<FileTable>>) -> Result<Vec<FileSpec>, ScenarioError> {
        if !(1..=MAX_FILES).contains(&tables.len()) {
            return Err(self.wrong(
                0,
                "file",
                format!("there are {}; write 1 to {MAX_FILES} [[file]]", tables.len()),
            ));
        }
        let mut files: Vec<FileSpec> = Vec::new();
        for table in tables {
            let start = table.span().start;
            let file = self.file(start, table.into_inner())?;
            if files.iter().any(|other| other.name == file.name) {
                let reason =
                    format!("`{}` is the name of two files; each needs its own", file.name);
                return Err(self.wrong(start, "file.name", reason));
            }
            files.push(file);
        }
        Ok(files)
    }

    fn file(&self, start: usize, table: FileTable) -> Result<FileSpec, ScenarioError> {
        let content = match (&table.path, &table.size, &table.kind) {
            (Some(path), None, None) => {
                let folder = self.path.parent().unwrap_or(Path::new(""));
                Content::Path(folder.join(self.text("file.path", path, "big.iso")?))
            }
            (None, Some(size), Some(kind)) => {
                let bytes = self.size("file.size", size, 1..=MAX_FILE_BYTES)?;
                let kinds =
                    [("random", Content::Random { bytes }), ("text", Content::Text { bytes })];
                let index = self.word("file.kind", kind, &[("random", 0), ("text", 1)])?;
                kinds[index].1.clone()
            }
            _ => return Err(self.wrong(start, "file", "needs `size` and `kind`, or `path` alone")),
        };
        let name = match (&table.name, &content) {
            (Some(leaf), _) => self.text("file.name", leaf, "random-10MiB")?.to_owned(),
            (None, Content::Path(path)) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
            (None, _) => {
                return Err(self.wrong(start, "file", "needs a `name`, such as \"random-10MiB\""));
            }
        };
        let length = name.chars().count();
        if !(1..=MAX_NAME_CHARS).contains(&length) || !is_printable(&name) || name.contains('/') {
            let at = table.name.as_ref().map_or(start, |leaf| leaf.span().start);
            let rule = "has to be one line of 1 to 64 characters without `/`";
            return Err(self.wrong(at, "file.name", format!("{:?} {rule}", shortened(&name))));
        }
        Ok(FileSpec { name, content })
    }

    fn events(&self, tables: Vec<EventTable>, users: u16) -> Result<Vec<Event>, ScenarioError> {
        if tables.len() > MAX_EVENTS {
            return Err(self.wrong(
                0,
                "event",
                format!("there are {}; at most {MAX_EVENTS}", tables.len()),
            ));
        }
        let actions = [("leave", Action::Leave), ("kill", Action::Kill), ("start", Action::Start)];
        let mut events = Vec::new();
        for table in tables {
            events.push(Event {
                at: self.time("event.at", &table.at, Duration::from_millis(1)..=DAY)?,
                receiver: self.number("event.receiver", &table.receiver, 1..=u64::from(users))?
                    as u16,
                action: self.word("event.do", &table.action, &actions)?,
            });
        }
        events.sort_by_key(|event| event.at);
        Ok(events)
    }
}

/// The name of results: the stem of the file, with invalid characters replaced.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let is_plain = |c: char| match c {
        _ if c.is_ascii() => c.is_ascii_alphanumeric() || c == '-' || c == '_',
        _ => !c.is_whitespace() && is_printable(c.encode_utf8(&mut [0; 4])),
    };
    let plain = |c: char| if is_plain(c) { c } else { '-' };
    let name: String = stem.chars().take(MAX_NAME_CHARS).map(plain).collect();
    if name.starts_with(|c: char| !c.is_ascii() || c.is_ascii_alphanumeric()) {
        name
    } else {
        format!("scenario{name}")
    }
}

fn parse_selector(text: &str) -> Option<HostSelector> {
    let number = |digits: &str| {
        let is_plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .parse()
            .ok()
            .filter(|&number: &u16| is_plain && number <= MAX_USERS + MAX_SIMULATED_USERS)
    };
    match text {
        "origins" => Some(HostSelector::Origins),
        "receivers" => Some(HostSelector::Receivers),
        _ => {
            let numbered = |prefix| text.strip_prefix(prefix).and_then(number);
            numbered("origin")
                .map(HostSelector::Origin)
                .or_else(|| numbered("receiver").map(HostSelector::Receiver))
                .or_else(|| numbered("h").map(HostSelector::Host))
        }
    }
}
