//! A tracker in Python, independent of `sow`.

use crate::{
    content::{INTEROP, PYTHON},
    support::{process::Process, test_network::TestNetwork},
};

const PORT: u16 = 6969;

/// A running tracker.
pub(crate) struct Tracker {
    /// The announce URL.
    pub(crate) url: String,
    process: Process,
}

impl Tracker {
    /// Starts one on a host.
    pub(crate) fn start(network: &TestNetwork, host: u8) -> Self {
        let address = network.address(host).to_string();
        let script = format!("{INTEROP}/tracker.py");
        let command = [PYTHON, &script, "--listen", &address, "--port", &PORT.to_string()];
        let mut process = network.start(host, "tracker", &command);
        process.wait_event("listening");
        Self { url: format!("http://{address}:{PORT}/announce"), process }
    }

    /// Waits for the first announce of a host.
    pub(crate) fn wait_announce(&mut self, network: &TestNetwork, host: u8) {
        let address = format!("{}:", network.address(host));
        self.process.wait_for(&format!("announce of host {host}"), |lines| {
            lines
                .iter()
                .any(|line| line.contains("announce") && line.contains(&address))
                .then_some(())
        });
    }
}
