//! Transmission: its daemon, controlled by `transmission-remote`.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    content::{Content, Torrent},
    support::{
        process::{Process, require},
        test_network::TestNetwork,
        wait_until,
    },
};

/// The port on which it listens.
pub(crate) const PORT: u16 = 51_413;

/// A running daemon with one torrent.
pub(crate) struct Transmission<'a> {
    network: &'a TestNetwork,
    host: u8,
    control: String,
    /// The process.
    pub(crate) process: Process,
}

/// Starts a download. `source` is a .torrent file or a magnet link.
pub(crate) fn download<'a>(
    network: &'a TestNetwork,
    host: u8,
    content: &Content,
    source: &str,
    folder: &Path,
) -> Transmission<'a> {
    let daemon = Transmission::start(network, host, content);
    daemon.remote(&["--add", source, "--download-dir", &folder.display().to_string()]);
    daemon
}

/// Serves complete content; returns when the daemon has verified it.
pub(crate) fn seed<'a>(
    network: &'a TestNetwork,
    host: u8,
    content: &Content,
    torrent: &Torrent,
) -> Transmission<'a> {
    let torrent = torrent.path.display().to_string();
    let mut daemon = download(network, host, content, &torrent, content.parent());
    daemon.remote(&["--torrent", "all", "--verify"]);
    daemon.wait_complete();
    daemon
}

impl<'a> Transmission<'a> {
    /// Waits until it has verified everything.
    pub(crate) fn wait_complete(&mut self) {
        wait_until("Transmission is complete", || {
            assert!(self.process.is_running(), "transmission-daemon ended");
            let report = self.remote(&["--torrent", "all", "--info"]);
            report.iter().any(|line| line.trim() == "Percent Done: 100%")
                && report
                    .iter()
                    .any(|line| line.contains("State: Idle") || line.contains("State: Seeding"))
        });
    }

    fn start(network: &'a TestNetwork, host: u8, content: &Content) -> Self {
        require("transmission-daemon", "transmission-daemon");
        require("transmission-remote", "transmission-cli");
        let address = network.address(host).to_string();
        let settings = content.subfolder(&format!("transmission{host}"));
        fs::write(settings.join("settings.json"), settings_json(&address))
            .expect("settings can be written");
        let folder = settings.display().to_string();
        let command =
            ["transmission-daemon", "--foreground", "--log-info", "--config-dir", &folder];
        let process = network.start(host, "transmission-daemon", &command);
        let daemon = Self { network, host, control: format!("{address}:9091"), process };
        wait_until("transmission-daemon answers", || {
            daemon.try_remote(&["--session-info"]).is_some()
        });
        daemon
    }

    /// The output of `transmission-remote`; fails the test when that fails.
    fn remote(&self, arguments: &[&str]) -> Vec<String> {
        self.try_remote(arguments)
            .unwrap_or_else(|| panic!("transmission-remote {arguments:?} failed"))
    }

    fn try_remote(&self, arguments: &[&str]) -> Option<Vec<String>> {
        let mut command = vec!["transmission-remote", &self.control];
        command.extend(arguments);
        let mut remote = self.network.start(self.host, "transmission-remote", &command);
        let succeeded = remote.wait_exit().success();
        succeeded.then(|| remote.lines())
    }
}

fn settings_json(address: &str) -> String {
    json!({
        "bind-address-ipv4": address,
        "rpc-bind-address": address,
        "rpc-port": 9091,
        "rpc-whitelist-enabled": false,
        "rpc-host-whitelist-enabled": false,
        "peer-port": PORT,
        "dht-enabled": false,
        "lpd-enabled": false,
        "utp-enabled": false,
        "pex-enabled": true,
        "port-forwarding-enabled": false,
        "encryption": 1,
        "cache-size-mb": 0,
        "preallocation": 0,
        "start-added-torrents": true,
        "trash-original-torrent-files": false,
    })
    .to_string()
}
