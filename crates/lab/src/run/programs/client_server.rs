//! `sow raw` and `sow framed`: client/server that checks nothing.

use std::sync::Arc;

use super::{CommandLine, Held, Process, Program, ProgramError, Receiver, Stage, swarm::sent_by};

const PORT: &str = "52001";

/// A server, and clients that come and go.
#[derive(Debug)]
pub(super) struct ClientServer {
    command: &'static str,
    servers: Vec<Arc<Process>>,
}

impl ClientServer {
    /// Document 1's.
    pub(super) fn raw() -> Self {
        Self { command: "raw", servers: Vec::new() }
    }

    /// Document 2's.
    pub(super) fn framed() -> Self {
        Self { command: "framed", servers: Vec::new() }
    }
}

impl Program for ClientServer {
    fn start_origins(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError> {
        for place in &stage.origins {
            let line = CommandLine::new(stage.sow)
                .args([self.command, "server", "-f"])
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
        // With several origins, receivers take turns: neither protocol takes from two.
        let origin = &stage.origins[index % stage.origins.len()];
        let line = CommandLine::new(stage.sow)
            .args([self.command, "client", "-s", &origin.address.to_string(), "-p", PORT, "-o"])
            .arg(&copy)
            .arg("--json");
        Held::prepare(stage, place, &line, copy)
    }

    fn payload_sent(&mut self, _stage: &Stage<'_>) -> Vec<Option<u64>> {
        sent_by(&self.servers)
    }
}
