//! `sow send --also`: the same file for those who speak `raw` or `framed`, on ports of their own, because there the server
//! speaks first.

use std::{net::IpAddr, sync::Arc};

use sow_engine::cs::Framing;
use sow_node::{Node, StreamListener, StreamServer};
use sow_store::Store;
use tokio::task::JoinSet;

use crate::{
    args::send::{Also, SendArgs},
    commands::client_server::{
        server::{options, ready},
        serving::Served,
    },
    exit::{Exit, Failure},
    reach,
    report::Report,
};

/// The ports beside the main one.
pub(super) struct Beside {
    bind: Option<IpAddr>,
    listeners: Vec<(Framing, StreamListener)>,
}

/// What is served on them. Dropped, it ends.
pub(super) struct Serving {
    _servers: Vec<StreamServer>,
    _telling: JoinSet<()>,
}

impl Beside {
    /// Listens where the command line says so; the node's limit on what leaves holds for all of it together.
    ///
    /// # Errors
    /// When a dialect cannot serve what is shared, or a port is not to be had.
    pub(super) fn listen(args: &SendArgs, node: &Node) -> Result<Self, Failure> {
        let mut listeners = Vec::new();
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
                Also::Raw(port) => (Framing::Raw, port),
                Also::Framed(port) => (Framing::Framed, port),
                Also::Chunk | Also::JsonTorrent => {
                    return Err(Failure::new(
                        Exit::Failed,
                        format!("{} is not served beside BitTorrent", also.name()),
                    ));
                }
            };
            let listener = StreamListener::bind(options(framing, args.bind, port, node.up_limit()))?;
            listeners.push((framing, listener));
        }
        Ok(Self { bind: args.bind, listeners })
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
