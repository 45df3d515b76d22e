//! `sow send` and `sow get`: the product itself, with nothing but its defaults.

use std::sync::Arc;

use rustix::process::Signal;

use super::{CommandLine, Held, Process, Program, ProgramError, Receiver, Stage};

/// An origin and receivers that have its ticket.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    origins: Vec<Arc<Process>>,
    ticket: String,
}

impl Program for Swarm {
    fn start_origins(&mut self, stage: &Stage<'_>) -> Result<(), ProgramError> {
        // Each has the file and a tracker of its own; the later ones announce themselves to the
        // first one's.
        let tracker = format!("http://{}:52000/announce", stage.origins[0].address);
        for place in &stage.origins {
            let mut line = CommandLine::new(stage.sow).arg("send").arg(stage.content).args([
                "--bind",
                &place.address.to_string(),
                "--json",
            ]);
            if !self.origins.is_empty() {
                line = line.args(["--tracker", &tracker]);
            }
            let origin = stage.start(place, &line)?;
            let ready = stage.wait_for_event(&origin, "ready")?;
            if self.origins.is_empty() {
                let ticket = ready["ticket"].as_str().ok_or_else(|| no_ticket(&origin))?;
                self.ticket = ticket.to_owned();
            }
            self.origins.push(origin);
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
        let line = CommandLine::new(stage.sow)
            .args(["get", &self.ticket, "-o"])
            .arg(&copy)
            .args(seeding(stage));
        Held::prepare(stage, place, &line, copy)
    }

    fn payload_sent(&mut self, _stage: &Stage<'_>) -> Vec<Option<u64>> {
        sent_by(&self.origins)
    }
}

/// What makes a receiver of ours serve until the run is over, and speak of it.
pub(super) fn seeding(stage: &Stage<'_>) -> [String; 3] {
    ["--seed-for".to_owned(), format!("{}s", stage.limit.as_secs() + 1), "--json".to_owned()]
}

/// The payload that each of our senders says it has sent, in the end.
pub(super) fn sent_by(senders: &[Arc<Process>]) -> Vec<Option<u64>> {
    Process::end_in_order(senders, Signal::TERM);
    let last_word = |sender: &Arc<Process>| {
        let progress = sender.latest("progress")?;
        // `send` and the servers count in bytes what they sent, a peer what it has.
        progress.get("sent").unwrap_or(&progress["bytes"]).as_u64()
    };
    senders.iter().map(last_word).collect()
}

fn no_ticket(origin: &Process) -> ProgramError {
    ProgramError::Senseless {
        program: origin.name().to_owned(),
        said: "no ticket in `ready`".to_owned(),
    }
}
