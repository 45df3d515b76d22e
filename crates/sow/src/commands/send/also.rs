//! `sow send --also`: the same file in other dialects. `raw` and `framed` have ports of their own,
//! because there the server speaks first; `chunk` and `json-torrent` are told apart by first bytes
//! on the main one.

use std::{net::IpAddr, sync::Arc};

use sow_content::{Info, json_torrent::JsonTorrent, percent, ticket::Address};
use sow_engine::{Config, JSON_TRACKER, client_server::ClientServerDialect};
use sow_node::{AcceptedDialects, FileServer, FileServerListener, Node};
use sow_store::Store;
use tokio::task::JoinSet;

use crate::{
    args::send::{Also, SendArgs},
    commands::client_server::{
        server::{options, ready},
        serving::Served,
    },
    exit::Failure,
    reach,
    report::Report,
};

/// The ports beside the main one.
pub(super) struct Beside {
    bind: Option<IpAddr>,
    listeners: Vec<(ClientServerDialect, FileServerListener)>,
    chunk: bool,
    json_torrent: bool,
}

/// What is served on them. Dropped, it ends.
pub(super) struct Serving {
    _servers: Vec<FileServer>,
    _telling: JoinSet<()>,
}

impl Beside {
    /// Listens where the command line says so; the node's limit on what leaves holds for all of it
    /// together.
    ///
    /// # Errors
    /// When a dialect cannot serve what is shared, or a port is not to be had.
    pub(super) fn listen(args: &SendArgs, node: &Node) -> Result<Self, Failure> {
        let (mut listeners, mut chunk, mut json_torrent) = (Vec::new(), false, false);
        for also in args.also()? {
            if args.path.is_dir() {
                return Err(Failure::usage(format!(
                    "{} is a folder; {} serves one file",
                    args.path.display(),
                    also.name()
                ))
                .tip("pack it into one file (tar), or leave --also away"));
            }
            let (framing, port) = match *also {
                Also::Raw(port) => (ClientServerDialect::Raw, port),
                Also::Framed(port) => (ClientServerDialect::Framed, port),
                Also::Chunk => {
                    chunk = true;
                    continue;
                }
                Also::JsonTorrent => {
                    json_torrent = true;
                    continue;
                }
            };
            let listener =
                FileServerListener::bind(options(framing, args.bind, port, node.up_limit()))?;
            listeners.push((framing, listener));
        }
        Ok(Self { bind: args.bind, listeners, chunk, json_torrent })
    }

    /// What callers of the main port may speak.
    pub(super) fn answers(&self) -> AcceptedDialects {
        AcceptedDialects { bittorrent: true, chunk: self.chunk, json_torrent: self.json_torrent }
    }

    /// Has the engine be the server of document 1's P2P, and announce to our own tracker of
    /// document 2.
    pub(super) fn adjust(&self, config: &mut Config, host: &Address) {
        config.chunk.server = self.chunk;
        if self.json_torrent {
            config.trackers.push(vec![format!("{JSON_TRACKER}{host}")]);
        }
    }

    /// Document 2's torrent of what is shared, when that is spoken; its tracker is ours, on the
    /// main port.
    pub(super) fn json_torrent(&self, info: &Info, host: &Address) -> Option<JsonTorrent> {
        self.json_torrent.then(|| JsonTorrent {
            announce: host.host.clone(),
            port: host.port,
            comment: String::new(),
            file_name: info.name.clone(),
            geometry: info.geometry,
            piece_hashes: info.piece_hashes.clone(),
        })
    }

    /// Tells how the main port is used in other dialects.
    pub(super) fn announce(&self, host: &Address, name: &str, report: &Report) {
        if self.chunk {
            report.note(format_args!(
                "or, with no check but the MD5 of the whole:\n  sow get chunk://{host} -o OUT"
            ));
        }
        if self.json_torrent {
            let mut url = format!("http://{host}/");
            url.extend(percent::encode(name.as_bytes(), percent::COMPONENT));
            report.note(format_args!(
                "or, by document 2's torrent and tracker:\n  sow get {url}.json.torrent"
            ));
        }
    }

    /// Serves from now on, and tells of it.
    pub(super) fn serve(self, store: &Arc<Store>, report: &Report) -> Serving {
        let (mut servers, mut telling) = (Vec::new(), JoinSet::new());
        for (framing, listener) in self.listeners {
            let address = reach::address_of(self.bind, listener.port());
            let (server, mut events) = listener.serve(Arc::clone(store));
            report.note(format_args!(
                "or, without any check of what comes:\n  sow get {framing}://{address} -o OUT"
            ));
            report.event(&ready(framing, &address));
            let mut served = Served::new(report, store.geometry().total());
            telling.spawn(async move {
                while let Some(event) = events.recv().await {
                    served.note(&event);
                }
            });
            servers.push(server);
        }
        Serving { _servers: servers, _telling: telling }
    }
}
