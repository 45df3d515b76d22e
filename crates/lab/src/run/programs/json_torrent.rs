//! `sow json-torrent`: document 2's P2P. The tracker runs beside the first origin.

use std::{path::PathBuf, sync::Arc};

use super::{
    CommandLine, Held, Place, Process, Program, ProgramError, Receiver, Stage,
    swarm::{seeding, sent_by},
};

const TRACKER_PORT: &str = "52004";
const SEED_PORT: &str = "52005";

/// A tracker, peers that have the file, and peers that want it.
#[derive(Debug, Default)]
pub(super) struct JsonTorrent {
    seeds: Vec<Arc<Process>>,
    torrent: PathBuf,
}

impl JsonTorrent {
    fn create(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError> {
        let first = &stage.origins[0];
        self.torrent = stage.work.join("json.torrent");
        let mut line = CommandLine::new(stage.sow)
            .args(["json-torrent", "create"])
            .arg(stage.content)
            .args(["--announce", &first.address.to_string(), "--port", TRACKER_PORT, "-q", "-o"])
            .arg(&self.torrent);
        if let Some(bytes) = stage.piece_length {
            line = line.args(["--piece-length", &bytes.to_string()]);
        }
        stage.run(first, &line)
    }

    fn peer(&self, stage: &Stage<'_>, place: &Place) -> CommandLine {
        CommandLine::new(stage.sow)
            .args(["json-torrent", "peer"])
            .arg(&self.torrent)
            .args(["--bind", &place.address.to_string()])
    }
}

impl Program for JsonTorrent {
    fn start_origins(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError> {
        self.create(stage)?;
        let first = &stage.origins[0];
        let tracker = CommandLine::new(stage.sow)
            .args(["json-torrent", "tracker", "-p", TRACKER_PORT])
            .args(["--bind", &first.address.to_string(), "--json"]);
        let tracker = stage.start(first, &tracker)?;
        stage.wait_for_event(&tracker, "ready")?;
        for place in &stage.origins {
            let seed =
                self.peer(stage, place).args(["-p", SEED_PORT, "--json", "-o"]).arg(stage.content);
            let seed = stage.start(place, &seed)?;
            stage.wait_for_event(&seed, "ready")?;
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
        let copy = place.folder.join(stage.file_name());
        let line = self.peer(stage, place).args(["-p", "0", "-o"]).arg(&copy).args(seeding(stage));
        Held::prepare(stage, place, &line, copy)
    }

    fn payload_sent(&mut self, _stage: &Stage<'_>) -> Vec<Option<u64>> {
        sent_by(&self.seeds)
    }
}
