//! From the text of a TOML file to a scenario.

use std::{fs::File, io::Read as _, path::Path, time::Duration};

use toml::Spanned;

use super::{
    Action, Content, Event, FileSpec, HostPart, LinkException, MAX_REPEAT, MAX_USERS, Mode,
    Network, Scenario, ScenarioError, Shape,
    format::{EventTable, FileTable, Leaf, LinkTable, NetworkTable, ScenarioTable},
    values::{Values, short},
};
use crate::network::{Link, Topology};

/// The longest file of a scenario, in bytes.
const MAX_TEXT: u64 = 1 << 20;
const MAX_FILES: usize = 100;
const MAX_EVENTS: usize = 10_000;
const MAX_FILE_BYTES: u64 = 1 << 40;
/// In bytes. The least is below the 3,000 that document 2 uses; the most is BitTorrent's usual.
const PIECES: std::ops::RangeInclusive<u64> = 1024..=16 << 20;
const DAY: Duration = Duration::from_secs(86_400);
const DEFAULT_REPEAT: u64 = 3;

/// Reads a scenario's file.
///
/// # Errors
/// When it cannot be read or is no scenario; the error says where and why.
pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
    let failed = |source| ScenarioError::Read { path: path.to_owned(), source };
    let refused = |said: &str| failed(std::io::Error::other(said.to_owned()));
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(refused("is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TEXT + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(refused("is longer than 1 MiB, which no scenario is"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refused("is not UTF-8 text"))?;
    Scenario::parse(&text, path)
}

impl Scenario {
    /// Reads a scenario from the text of its file. `path` is what errors call it; its stem is the
    /// scenario's name, and paths in the text are relative to its folder. It is not opened.
    ///
    /// # Errors
    /// The first thing that is wrong, where it is, and what to write.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScenarioError> {
        let values = Values { path, text };
        let table: ScenarioTable = toml::from_str(text).map_err(|error| ScenarioError::Syntax {
            path: path.to_owned(),
            line: values.line(error.span().map_or(0, |span| span.start)),
            said: error.message().to_owned(),
        })?;
        let scenario = values.scenario(table)?;
        scenario
            .check()
            .map_err(|source| ScenarioError::Together { path: path.to_owned(), source })?;
        Ok(scenario)
    }
}

impl Values<'_> {
    fn scenario(&self, table: ScenarioTable) -> Result<Scenario, ScenarioError> {
        let users = self.counts("users", &table.users)?;
        let origins = table.origins.map_or(Ok(vec![1]), |leaf| self.counts("origins", &leaf))?;
        let most = |counts: &[u16]| counts.last().copied().unwrap_or_default();
        let (most_users, most_origins) = (most(&users), most(&origins));
        let number = |key, leaf: Option<Leaf>, range, otherwise| {
            leaf.map_or(Ok(otherwise), |leaf| self.number(key, &leaf, range))
        };
        let repeat = number("repeat", table.repeat, 1..=u64::from(MAX_REPEAT), DEFAULT_REPEAT)?;
        let piece_length =
            table.piece_length.map(|leaf| self.size("piece-length", &leaf, PIECES)).transpose()?;
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
            network: self.network(table.network, most_origins, most_users)?,
            files: self.files(table.files)?,
            events: self.events(table.events, most_users)?,
        })
    }

    fn modes(&self, list: &Spanned<Vec<Leaf>>) -> Result<Vec<Mode>, ScenarioError> {
        let mut modes = Vec::new();
        for leaf in list.get_ref() {
            let wrong = |said: String| self.wrong(leaf.span().start, "modes", said);
            let name = self.text("modes", leaf, "swarm")?;
            let mode: Mode =
                name.parse().map_err(|error: super::UnknownMode| wrong(error.to_string()))?;
            if modes.contains(&mode) {
                return Err(wrong(format!("`{mode}` stands here twice; once is enough")));
            }
            modes.push(mode);
        }
        if modes.is_empty() {
            return Err(self.wrong(
                list.span().start,
                "modes",
                "is empty; name one at least, such as \"swarm\"",
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
        let micros = |key, leaf: Option<Leaf>, otherwise| {
            leaf.map_or(Ok(otherwise), |leaf| self.micros(key, &leaf))
        };
        let algorithm = table.congestion_control.as_ref();
        let algorithm = algorithm
            .map_or(Ok("cubic"), |leaf| self.text("network.congestion-control", leaf, "cubic"))?;
        let mut exceptions = Vec::new();
        for (part, link) in table.hosts {
            let key = format!("network.hosts.{}", short(part.get_ref()));
            let wrong = |said: String| self.wrong(part.span().start, &key, said);
            let part = host_part(part.get_ref()).ok_or_else(|| {
                wrong("is no host; write origins, receivers, origin1, receiver1 or h1".to_owned())
            })?;
            if !(Shape { origins, users }).includes(part) {
                return Err(wrong(format!(
                    "there is none; there are at most {origins} origins and {users} receivers"
                )));
            }
            exceptions.push(self.exception(part, &key, &link)?);
        }
        exceptions.sort_by_key(|exception| exception.part);
        Ok(Network {
            link: Link { up: rate, down: rate, delay_us: micros("network.delay", table.delay, 0)? },
            queue_us: micros("network.queue", table.queue, Topology::QUEUE_US)?,
            congestion_control: algorithm.to_owned(),
            trunk: table.trunk.map(|leaf| self.rate("network.trunk", &leaf)).transpose()?,
            exceptions,
        })
    }

    fn exception(
        &self,
        part: HostPart,
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
            part,
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
                let said = format!("`{}` is the name of two files; each needs its own", file.name);
                return Err(self.wrong(start, "file.name", said));
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
                let place = self.word("file.kind", kind, &[("random", 0), ("text", 1)])?;
                kinds[place].1.clone()
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
        if !is_plain(&name) {
            let at = table.name.as_ref().map_or(start, |leaf| leaf.span().start);
            let said = "has to be 1 to 64 letters, digits, `.`, `-` and `_`, and begin with a letter or digit";
            return Err(self.wrong(at, "file.name", format!("{:?} {said}", short(&name))));
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

/// What results are called: the stem of the file, as far as it is fit for a path.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = stem.chars().take(64).map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        name
    } else {
        format!("scenario{name}")
    }
}

/// Whether a name is fit to be one of a file on a disk and in a URL.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=64).contains(&name.len())
        && name.chars().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn host_part(text: &str) -> Option<HostPart> {
    let number = |digits: &str| {
        let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|&number: &u16| plain && number <= 2 * MAX_USERS)
    };
    match text {
        "origins" => Some(HostPart::Origins),
        "receivers" => Some(HostPart::Receivers),
        _ => {
            let numbered = |prefix| text.strip_prefix(prefix).and_then(number);
            numbered("origin")
                .map(HostPart::Origin)
                .or_else(|| numbered("receiver").map(HostPart::Receiver))
                .or_else(|| numbered("h").map(HostPart::Host))
        }
    }
}
