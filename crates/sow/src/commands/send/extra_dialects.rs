//! `sow send --also`: the same file in other dialects. `raw` and `framed` need ports of their own,
//! because there the server sends first. The node recognizes `chunk` and `json-torrent` on the main
//! port by the first bytes of a connection.

use std::{net::IpAddr, sync::Arc};

use sow_content::{Info, json_torrent::JsonTorrent, percent, ticket::Address};
use sow_engine::{Config, JSON_TRACKER, client_server::ClientServerDialect};
use sow_node::{AcceptedDialects, FileServer, FileServerListener, Node};
use sow_store::Store;
use tokio::task::JoinSet;

use crate::{
    advertised_address::advertised_address,
    args::send::{ExtraDialect, SendArgs},
    commands::client_server::{
        client_report::ClientReport,
        server::{options, ready_event},
    },
    exit::Failure,
    report::Report,
};

/// The dialects beside BitTorrent, and their listeners.
pub(super) struct ExtraDialects {
    bind: Option<IpAddr>,
    listeners: Vec<(ClientServerDialect, FileServerListener)>,
    chunk: bool,
    json_torrent: bool,
}

/// Running servers of extra dialects. They end when this is dropped.
pub(super) struct ExtraServers {
    _servers: Vec<FileServer>,
    _reports: JoinSet<()>,
}

impl ExtraDialects {
    /// Listens as the command line says. The node's upload limit applies to all dialects together.
    ///
    /// # Errors
    /// When a dialect cannot serve the content, or a port is unavailable.
    pub(super) fn listen(args: &SendArgs, node: &Node) -> Result<Self, Failure> {
        let (mut listeners, mut chunk, mut json_torrent) = (Vec::new(), false, false);
        for dialect in args.extra_dialects()? {
            if let Some(folder) = args.paths.iter().find(|path| path.is_dir()) {
                return Err(Failure::usage(format!(
                    "{} is a folder; {} serves one file",
                    folder.display(),
                    dialect.name()
                ))
                .tip("pack it into one file (tar), or omit --also"));
            }
            let (dialect, port) = match *dialect {
                ExtraDialect::Raw(port) => (ClientServerDialect::Raw, port),
                ExtraDialect::Framed(port) => (ClientServerDialect::Framed, port),
                ExtraDialect::Chunk => {
                    chunk = true;
                    continue;
                }
                ExtraDialect::JsonTorrent => {
                    json_torrent = true;
                    continue;
                }
            };
            let listener =
                FileServerListener::bind(options(dialect, args.bind(), port, node.up_limit()))?;
            listeners.push((dialect, listener));
        }
        Ok(Self { bind: args.bind(), listeners, chunk, json_torrent })
    }

    /// The dialects that the main port accepts.
    pub(super) fn accepted(&self) -> AcceptedDialects {
        AcceptedDialects { bittorrent: true, chunk: self.chunk, json_torrent: self.json_torrent }
    }

    /// Makes the engine a `chunk` server, and lets it announce to the origin's own `json-torrent`
    /// tracker.
    pub(super) fn configure(&self, config: &mut Config, host: &Address) {
        config.chunk.server = self.chunk;
        if self.json_torrent {
            config.trackers.push(vec![format!("{JSON_TRACKER}{host}")]);
        }
    }

    /// The JSON torrent of the content, if `json-torrent` is served. Its tracker is on the main
    /// port.
    pub(super) fn json_torrent(&self, info: &Info, host: &Address) -> Option<JsonTorrent> {
        self.json_torrent.then(|| JsonTorrent {
            announce: host.host.clone(),
            port: host.port,
            comment: String::new(),
            file_name: info.name.clone(),
            geometry: info.geometry,
            piece_hashes: info.piece_hashes.clone(),
            warnings: Vec::new(),
        })
    }

    /// Prints the commands that download in `chunk` and `json-torrent`.
    pub(super) fn print_commands(&self, host: &Address, name: &str, report: &Report) {
        if self.chunk {
            report.note("or, with chunk, which verifies only the whole file:");
            report.note(format_args!("  sow get chunk://{host} -o OUT"));
        }
        if self.json_torrent {
            let mut url = format!("http://{host}/");
            url.extend(percent::encode(name.as_bytes(), percent::COMPONENT));
            report.note("or, with json-torrent:");
            report.note(format_args!("  sow get {url}.json.torrent"));
        }
    }

    /// Starts to serve, and prints the commands that download in `raw` and `framed`.
    pub(super) fn serve(self, store: &Arc<Store>, report: &Report) -> ExtraServers {
        let (mut servers, mut reports) = (Vec::new(), JoinSet::new());
        for (dialect, listener) in self.listeners {
            let address = advertised_address(self.bind, listener.port());
            let (server, mut events) = listener.serve(Arc::clone(store));
            report.note(format_args!("or, with {dialect}, which verifies nothing:"));
            report.note(format_args!("  sow get {dialect}://{address} -o OUT"));
            report.event(&ready_event(dialect, &address));
            let mut clients = ClientReport::new(report, store.geometry().total());
            reports.spawn(async move {
                while let Some(event) = events.recv().await {
                    clients.on_event(&event);
                }
            });
            servers.push(server);
        }
        ExtraServers { _servers: servers, _reports: reports }
    }
}
