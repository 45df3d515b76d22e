//! `sow send`: hashes, shares, and shows who has how much.

mod also;
mod watching;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use sow_content::{
    Bitfield, Metainfo, Ticket,
    json_torrent::{HashForm, JsonTorrent},
    metainfo::Files,
    percent,
};
use sow_node::{
    JsonTrackerService, Node, NodeOptions, SwarmContent, SwarmOptions, TrackerService,
    index::{SharedContent, index},
};
use sow_store::{ContentPlan, DiskStore, Store};
use sow_tracker::{JsonLimits, Limits, Mode};

use self::also::Beside;
pub(crate) use self::watching::{Watch, Watched};
use crate::{
    args::send::SendArgs,
    exit::{Exit, Failure},
    hashing::{self, Wishes},
    quantity::Size,
    reach,
    report::{Event, Report},
    settings,
    stop::Stop,
    torrent_file,
};

/// Shares a path until enough receivers have it, or until it is stopped.
///
/// # Errors
/// When the port is not to be had, the path cannot be shared, or too few receivers have it in the
/// end.
pub(crate) async fn run(args: SendArgs, report: &Report) -> Result<Exit, Failure> {
    let stop = Stop::listen(report)?;
    // Before hashing: whether the port is to be had should be known at once, not after an hour.
    let node = Node::bind(NodeOptions {
        bind: args.bind,
        port: args.port,
        up_limit: args.up_limit.map(|rate| rate.0),
        ..NodeOptions::default()
    })?;
    node.serve_http(index(Vec::new()));
    let beside = Beside::listen(&args, &node)?;
    let host = reach::address_of(args.bind, node.port());
    let (plan, metainfo) = hashed(&args, report, &stop).await?;
    let offer = Offer::new(&args, metainfo, host.clone());
    if let Some(file) = &args.torrent {
        let path =
            file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.torrent", plan.name())));
        torrent_file::write(&path, &offer.metainfo, false)?;
        report.note(format_args!("wrote {}", path.display()));
    }
    let store = DiskStore::serve(&offer.metainfo.info, plan.path())?;
    let info_hash = offer.metainfo.info_hash;
    let tracker = TrackerService::new(Mode::Only([info_hash].into()), Limits::default());
    let json_torrent = beside.json_torrent(&offer.metainfo.info, &host);
    node.serve_http(index(vec![offer.listed(json_torrent.as_ref())]).merge(tracker.router()));
    if json_torrent.is_some() {
        let service = JsonTrackerService::new(JsonLimits::default());
        tokio::spawn(service.clone().probe(args.bind));
        node.serve_json_tracker(service);
    }
    let store = Arc::new(Store::from(store));
    let content = SwarmContent {
        info: Arc::new(offer.metainfo.info.clone()),
        metadata: offer.metainfo.info_bytes.clone(),
        store: Arc::clone(&store),
        have: Bitfield::full(offer.metainfo.info.geometry.pieces()),
        md5: None,
    };
    let mut config =
        settings::origin(offer.metainfo.trackers.clone(), settings::choking(args.tit_for_tat));
    beside.adjust(&mut config, &host);
    let (swarm, events) = node.join(SwarmOptions {
        info_hash,
        content: Some(content),
        config,
        accepts: beside.answers(),
        peers: Vec::new(),
    })?;
    offer.announce(node.port(), report);
    beside.announce(&host, &offer.metainfo.info.name, report);
    let _beside = beside.serve(&store, report);
    let watched = Watched::Files(Arc::new(plan));
    let watch =
        Watch::new(report, watched, offer.metainfo.info.geometry, args.expect, Some(tracker));
    let ended = watch.run(&swarm, events, &stop).await;
    swarm.stop().await;
    ended
}

async fn hashed(
    args: &SendArgs,
    report: &Report,
    stop: &Stop,
) -> Result<(ContentPlan, Metainfo), Failure> {
    let (path, report, stop) = (args.path.clone(), report.clone(), stop.clone());
    let hashed =
        crate::blocking(move || hashing::metainfo_of(&path, Wishes::default(), &report, &stop))
            .await;
    match (hashed, args.expect) {
        (Err(failure), Some(_)) if failure.exit() == Exit::Interrupted => {
            Err(Failure::new(Exit::Incomplete, "stopped while hashing: nobody has got anything"))
        }
        (hashed, _) => hashed,
    }
}

/// What is shared, and under which names.
struct Offer {
    metainfo: Metainfo,
    ticket: Ticket,
    magnet: String,
    /// Where the .torrent file can be downloaded.
    url: String,
}

impl Offer {
    fn new(args: &SendArgs, mut metainfo: Metainfo, host: sow_content::ticket::Address) -> Self {
        let ours = format!("http://{host}/announce");
        metainfo.trackers = std::iter::once(ours)
            .chain(args.tracker.iter().cloned())
            .map(|url| vec![url])
            .collect();
        let mut magnet = torrent_file::magnet_of(&metainfo);
        magnet.peers = vec![host.to_string()];
        let mut url = format!("http://{host}/");
        percent::encode_into(&mut url, metainfo.info.name.as_bytes(), b"");
        url.push_str(".torrent");
        let ticket = Ticket { host: host.host, port: host.port, info_hash: metainfo.info_hash };
        Self { metainfo, ticket, magnet: magnet.to_string(), url }
    }

    /// Its entry in the index that the node serves.
    fn listed(&self, json_torrent: Option<&JsonTorrent>) -> SharedContent {
        let info = &self.metainfo.info;
        SharedContent {
            name: info.name.clone(),
            info_hash: self.metainfo.info_hash,
            length: info.geometry.total(),
            files: match &info.files {
                Files::Single => 1,
                Files::Multi(entries) => entries.len(),
            },
            ticket: self.ticket.to_string(),
            magnet: self.magnet.clone(),
            torrent: Bytes::from(self.metainfo.encode()),
            json_torrent: json_torrent.map(|torrent| Bytes::from(torrent.encode(HashForm::Python))),
        }
    }

    /// Tells people and scripts how to get it.
    fn announce(&self, port: u16, report: &Report) {
        let geometry = &self.metainfo.info.geometry;
        report.note(format_args!(
            "sharing {}: {} in {} pieces. On every other machine run:",
            self.metainfo.info.name,
            Size(geometry.total()),
            geometry.pieces()
        ));
        if !report.is_json() {
            report.out(format_args!("sow get {}", self.ticket));
        }
        report.note(format_args!(
            "or, with any BitTorrent program:\n  {}\n  {}",
            self.magnet, self.url
        ));
        report.event(&Event::Ready {
            ticket: Some(self.ticket.to_string()),
            magnet: Some(self.magnet.clone()),
            torrent: Some(self.url.clone()),
            port,
        });
    }
}
