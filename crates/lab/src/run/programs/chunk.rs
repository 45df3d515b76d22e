//! `sow chunk`: document 1's P2P, in chunks of the size that its server chooses by itself.

use std::sync::Arc;

use super::{
    CommandLine, Held, Process, Program, ProgramError, Receiver, Stage,
    swarm::{seeding, sent_by},
};

const PORT: &str = "52003";

/// Servers that have the file, and clients that know all of them.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    servers: Vec<Arc<Process>>,
}

impl Program for Chunk {
    fn start_origins(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError> {
        for place in &stage.origins {
            let line = CommandLine::new(stage.sow)
                .args(["chunk", "server", "-f"])
                .arg(stage.content)
                .args(["-p", PORT, "--bind", &place.address.to_string(), "--json"]);
            let server = stage.start(place, &line)?;
            stage.wait_for_event(&server, "ready")?;
            self.servers.push(server);
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
        let servers =
            stage.origins.iter().flat_map(|origin| ["-s".to_owned(), origin.address.to_string()]);
        let line = CommandLine::new(stage.sow)
            .args(["chunk", "client"])
            .args(servers)
            .args(["-sp", PORT, "--bind", &place.address.to_string(), "-o"])
            .arg(&copy)
            .args(seeding(stage));
        Held::prepare(stage, place, &line, copy)
    }

    fn payload_sent(&mut self, _stage: &Stage<'_>) -> Vec<Option<u64>> {
        sent_by(&self.servers)
    }
}
