//! A tracker that is not `sow`'s own.

use crate::{
    content::{INTEROP, PYTHON},
    process::Process,
    world::World,
};

const PORT: u16 = 6969;

/// A running tracker.
pub(crate) struct Tracker {
    /// Where to announce.
    pub(crate) url: String,
    process: Process,
}

impl Tracker {
    /// Starts one on a host.
    pub(crate) fn start(world: &World, host: u8) -> Self {
        let address = world.address(host).to_string();
        let script = format!("{INTEROP}/tracker.py");
        let command = [PYTHON, &script, "--listen", &address, "--port", &PORT.to_string()];
        let mut process = world.start(host, "tracker", &command);
        process.wait_event("listening");
        Self { url: format!("http://{address}:{PORT}/announce"), process }
    }

    /// Waits for the first announce of a host.
    pub(crate) fn wait_announce(&mut self, world: &World, host: u8) {
        let address = format!("{}:", world.address(host));
        self.process.wait_for(&format!("announce of host {host}"), |lines| {
            lines
                .iter()
                .any(|line| line.contains("announce") && line.contains(&address))
                .then_some(())
        });
    }
}
