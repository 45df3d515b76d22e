//! libtorrent through its Python binding (`interop/libtorrent_peer.py`), with the settings that
//! suit a flash crowd. Every host is told of every other one, so that nobody waits for a tracker;
//! the start of the interpreter does not count.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use rustix::process::Signal;

use super::{
    CommandLine, Facts, Place, Process, Program, ProgramError, Receiver, Stage,
    held::from_of,
    installed::{self, PYTHON},
    torrent::{self, LIBTORRENT_PEER},
};
use crate::{record::Missing, scenario::Mode};

const PORT: u16 = 6881;

/// Sessions that have the file, and sessions that want it.
#[derive(Debug)]
pub(super) struct Libtorrent {
    super_seeding: bool,
    seeds: Vec<Arc<Process>>,
    torrent: PathBuf,
}

/// Whether the binding is installed.
pub(super) fn look(mode: Mode) -> Result<Facts, Missing> {
    let python = Path::new(PYTHON);
    let version =
        installed::version(python, &["-c", "import libtorrent; print(libtorrent.__version__)"]);
    let version = version
        .ok_or_else(|| installed::missing(mode, "libtorrent for Python", "python3-libtorrent"))?;
    Ok(Facts {
        version: Some(format!("libtorrent {version}")),
        note: Some(
            "libtorrent: choke rounds of 1 s, 3 upload slots, pieces announced 0.5 s ahead, 20 requests in flight, every host told of \
             every other; the start of its Python does not count."
                .to_owned(),
        ),
    })
}

impl Libtorrent {
    pub(super) fn new(super_seeding: bool) -> Self {
        Self { super_seeding, seeds: Vec::new(), torrent: PathBuf::new() }
    }

    fn session(&self, stage: &Stage<'_>, place: &Place, save: &Path) -> CommandLine {
        CommandLine::new(PYTHON)
            .arg(stage.work.join(LIBTORRENT_PEER.0))
            .arg("--torrent")
            .arg(&self.torrent)
            .args(["--listen", &place.address.to_string(), "--port", &PORT.to_string()])
            .args(["--preset", "flash-crowd", "--save"])
            .arg(save)
    }
}

impl Program for Libtorrent {
    fn start_origins(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError> {
        torrent::script(stage, LIBTORRENT_PEER)?;
        self.torrent = torrent::create(stage, None)?;
        let folder = stage.content.parent().unwrap_or(Path::new("/"));
        for place in &stage.origins {
            let more =
                if self.super_seeding { &["--seed", "--super-seed"][..] } else { &["--seed"] };
            let seed = stage.start(place, &self.session(stage, place, folder).args(more))?;
            stage.wait_for_event(&seed, "listening")?;
            self.seeds.push(seed);
        }
        Ok(())
    }

    fn prepare_receiver(
        &mut self,
        stage: &Stage<'_>,
        index: usize,
    ) -> Result<Box<dyn Receiver>, ProgramError> {
        let place = &stage.receivers[index];
        let others = stage.places().filter(|other| *other != place);
        let connect =
            others.flat_map(|other| ["--connect".to_owned(), format!("{}:{PORT}", other.address)]);
        let line = self.session(stage, place, &place.folder).arg("--wait").args(connect);
        let process = stage.start(place, &line)?;
        stage.wait_for_event(&process, "listening")?;
        Ok(Box::new(Session { process, copy: place.folder.join(stage.file_name()) }))
    }

    fn payload_sent(&mut self, _stage: &Stage<'_>) -> Vec<Option<u64>> {
        Process::end_in_order(&self.seeds, Signal::TERM);
        self.seeds.iter().map(|seed| seed.latest("stopped")?["uploaded"].as_u64()).collect()
    }
}

/// A session that waits for a word.
#[derive(Debug)]
struct Session {
    process: Arc<Process>,
    copy: PathBuf,
}

impl Receiver for Session {
    fn go(&mut self) -> Result<(), ProgramError> {
        Stage::release(&self.process)
    }

    fn process(&self) -> &Arc<Process> {
        &self.process
    }

    fn copy(&self) -> &Path {
        &self.copy
    }

    fn completed(&self) -> Option<Instant> {
        self.process.event_time("complete")
    }

    fn from(&self) -> BTreeMap<String, u64> {
        from_of(&self.process)
    }
}
