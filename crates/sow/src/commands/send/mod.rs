//! `sow send`: hashes content, shares it, and shows the receivers.

mod extra_dialects;
mod file_watch;
mod fleet_report;
mod monitor;
mod pushed_hosts;

use std::{net::IpAddr, sync::Arc};

use axum::Router;
use bytes::Bytes;
use sow_content::{
    Bitfield, InfoHash, Metainfo, Ticket,
    json_torrent::{HashForm, JsonTorrent},
    metainfo::Files,
    percent,
    ticket::Address,
};
use sow_node::{
    ContentCondition, DownloadSource, JsonTrackerService, Node, NodeOptions, SwarmContent,
    SwarmOptions, TrackerService, index::SharedContent, program_file::program_file,
};
use sow_store::{ContentPlan, DiskStore, Store};
use sow_tracker::{JsonLimits, Limits, Mode};

use self::{extra_dialects::ExtraDialects, pushed_hosts::PushedHosts};
pub(crate) use self::{
    file_watch::SharedFiles,
    monitor::{MonitoredContent, OriginMonitor},
};
use crate::{
    advertised_address::advertised_address,
    args::{fleet::FleetPlan, send::SendArgs},
    content_hashing::{HashOptions, metainfo_of},
    engine_config,
    exit::{Exit, Failure},
    name_lookup::look_up_names,
    push::{
        HostPlan, InstallPolicy, OriginAddresses, Program, ProgramSources, PushFleet, PushHost,
        SshCommand,
    },
    quantity::Size,
    report::{Event, Report},
    runtime::blocking,
    stop_signal::StopSignal,
    torrent_file,
    web::{ShareInfo, Web},
};

/// Shares a path until the expected number of receivers is complete, or the run is to stop.
///
/// # Errors
/// When the port is unavailable, the path cannot be shared, or too few receivers are complete in
/// the end.
pub(crate) async fn run(args: SendArgs, report: &Report) -> Result<Exit, Failure> {
    let fleet = args.fleet.plan()?;
    share(args, fleet, None, report).await
}

/// What `sow push` does beside sharing.
pub(crate) struct PushSetup {
    /// The hosts of the fleet's plan, in its order.
    pub(crate) hosts: Vec<PushHost>,
    pub(crate) ssh: SshCommand,
    pub(crate) program: Program,
    pub(crate) policy: InstallPolicy,
    /// More options of `sow get`.
    pub(crate) options: Vec<String>,
    /// How many hosts at a time.
    pub(crate) jobs: usize,
}

/// Shares a path, and runs `sow get` on hosts, until all are complete or have failed, or the run is
/// to stop.
///
/// # Errors
/// When the port is unavailable, the path cannot be shared, or a host is not complete in the end.
pub(crate) async fn push(
    args: SendArgs,
    fleet: FleetPlan,
    setup: PushSetup,
    report: &Report,
) -> Result<Exit, Failure> {
    share(args, fleet, Some(setup), report).await
}

async fn share(
    args: SendArgs,
    fleet: FleetPlan,
    setup: Option<PushSetup>,
    report: &Report,
) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    // Before hashing, which may take long: an unavailable port is reported at once.
    let node = bind_node(&args)?;
    let web = Web::new();
    node.serve_http(web.router(Vec::new(), args.host_names()));
    let dialects = ExtraDialects::listen(&args, &node)?;
    let host = advertised_address(args.bind(), node.port());
    // What is pushed to says its name, which may be one that only ssh knows.
    let unknown = if setup.is_some() { Vec::new() } else { fleet.expectation.host_names() };
    let lookup = tokio::spawn(look_up_names(unknown));
    let (plan, metainfo) = hash_path(&args, &fleet, report, &stop).await?;
    let offer = Offer::new(&args, metainfo, host.clone());
    let info = offer.metainfo.info.clone();
    if let Some(path) = args.torrent_path(plan.name()) {
        torrent_file::write(&path, &offer.metainfo, false)?;
        report.note(format_args!("wrote {}", path.display()));
    }
    let store = Arc::new(Store::from(DiskStore::serve(&info, plan.path())?));
    let shared = Arc::new(info.clone());
    let condition = ContentCondition::default();
    let hash = offer.metainfo.info_hash;
    let (served, state) = (Arc::clone(&store), condition.clone());
    let download = DownloadSource::new(Arc::clone(&shared), hash, served, state, node.up_limit());
    let board =
        web.add(offer.share(fleet.expectation.count(), condition.clone(), download.clone()));
    let json_torrent = dialects.json_torrent(&info, &host);
    let entry = offer.index_entry(json_torrent.as_ref(), download);
    let router = web.router(vec![entry], args.host_names());
    let router = if setup.is_some() { router.merge(program_file()) } else { router };
    let tracker = serve_trackers(&node, &args, router, hash, json_torrent.is_some());
    let content = SwarmContent {
        info: Arc::clone(&shared),
        metadata: offer.metainfo.info_bytes.clone(),
        store: Arc::clone(&store),
        have: Bitfield::full(info.geometry.pieces()),
        md5: None,
    };
    let choking = engine_config::choking(args.tit_for_tat());
    let mut config = engine_config::for_origin(offer.metainfo.trackers.clone(), choking);
    dialects.configure(&mut config, &host);
    args.trackers.tracker.iter().for_each(|url| node.trust_tracker(url));
    let (accepts, content) = (dialects.accepted(), Some(content));
    let (swarm, events) =
        node.join(SwarmOptions { info_hash: hash, content, config, accepts, peers: Vec::new() })?;
    offer.announce(node.port(), setup.as_ref(), report);
    dialects.print_commands(&host, &info.name, report);
    let servers = dialects.serve(&store, report);
    let files = SharedFiles { plan: Arc::new(plan), store, info: shared, md5: None, condition };
    let content = MonitoredContent::Files(files);
    let monitor = OriginMonitor::new(report, content, info.geometry, fleet, Some(tracker));
    let monitor = match setup {
        Some(setup) => {
            let origin = offer.reached_at(args.bind(), host);
            monitor.pushing(setup.start(origin, info.geometry.total()))
        }
        None => monitor.with_command(format!("sow get {}", offer.ticket)),
    };
    let ended =
        monitor.beside(servers).awaiting(lookup).shown_on(board).run(&swarm, events, &stop).await;
    swarm.stop().await;
    ended
}

fn bind_node(args: &SendArgs) -> Result<Node, Failure> {
    let (bind, port, up_limit) = (args.bind(), args.port(), args.up_limit());
    Ok(Node::bind(NodeOptions { bind, port, up_limit, ..NodeOptions::default() })?)
}

/// Serves `router` and the trackers on the node's port. Returns the BitTorrent tracker.
fn serve_trackers(
    node: &Node,
    args: &SendArgs,
    router: Router,
    info_hash: InfoHash,
    serves_json_torrent: bool,
) -> TrackerService {
    let tracker = TrackerService::new(Mode::Only([info_hash].into()), Limits::default());
    node.serve_http(router.merge(tracker.router()));
    if serves_json_torrent {
        let service = JsonTrackerService::new(JsonLimits::default());
        tokio::spawn(service.clone().probe(args.bind()));
        node.serve_json_tracker(service);
    }
    tracker
}

async fn hash_path(
    args: &SendArgs,
    fleet: &FleetPlan,
    report: &Report,
    stop: &StopSignal,
) -> Result<(ContentPlan, Metainfo), Failure> {
    let (path, report, stop) = (args.path.clone(), report.clone(), stop.clone());
    let hashed = blocking(move || metainfo_of(&path, HashOptions::default(), &report, &stop)).await;
    match (hashed, fleet.expectation.is_some()) {
        (Err(failure), true) if failure.exit() == Exit::Interrupted => Err(Failure::new(
            Exit::Incomplete,
            "stopped while hashing: no receiver has any of the content",
        )),
        (hashed, _) => hashed,
    }
}

impl PushSetup {
    /// Begins to connect to the hosts.
    fn start(self, origin: OriginAddresses, total: u64) -> (PushFleet, PushedHosts) {
        let Self { hosts, ssh, program, policy, options, jobs } = self;
        let known = PushedHosts::new(&hosts, total);
        let sources = ProgramSources::default();
        let plan = HostPlan { ssh, program, sources, policy, origin, options };
        (PushFleet::start(hosts, plan, jobs), known)
    }
}

/// The content that is shared, and its names.
struct Offer {
    metainfo: Metainfo,
    ticket: Ticket,
    magnet: String,
    /// The URL of the .torrent file.
    url: String,
}

impl Offer {
    fn new(args: &SendArgs, mut metainfo: Metainfo, host: Address) -> Self {
        let own_tracker = format!("http://{host}/announce");
        metainfo.trackers = std::iter::once(own_tracker)
            .chain(args.trackers.tracker.iter().cloned())
            .map(|url| vec![url])
            .collect();
        let mut magnet = torrent_file::magnet_of(&metainfo);
        magnet.peers = vec![host.to_string()];
        let mut url = format!("http://{host}/");
        url.extend(percent::encode(metainfo.info.name.as_bytes(), percent::COMPONENT));
        url.push_str(".torrent");
        let ticket = Ticket { host: host.host, port: host.port, info_hash: metainfo.info_hash };
        Self { metainfo, ticket, magnet: magnet.to_string(), url }
    }

    /// The entry in the index that the node serves.
    fn index_entry(
        &self,
        json_torrent: Option<&JsonTorrent>,
        download: DownloadSource,
    ) -> SharedContent {
        let info = &self.metainfo.info;
        SharedContent {
            name: info.name.clone(),
            info_hash: self.metainfo.info_hash,
            length: info.geometry.total(),
            files: self.file_count(),
            ticket: self.ticket.to_string(),
            magnet: self.magnet.clone(),
            torrent: Bytes::from(self.metainfo.encode()),
            json_torrent: json_torrent.map(|torrent| Bytes::from(torrent.encode(HashForm::Python))),
            download: Some(download),
        }
    }

    /// What the live page says about it.
    fn share(
        &self,
        expected: Option<usize>,
        condition: ContentCondition,
        download: DownloadSource,
    ) -> ShareInfo {
        let info = &self.metainfo.info;
        ShareInfo {
            name: info.name.clone(),
            info_hash: self.metainfo.info_hash,
            length: info.geometry.total(),
            pieces: info.geometry.pieces(),
            files: self.file_count(),
            is_folder: info.files != Files::Single,
            ticket: self.ticket.to_string(),
            magnet: self.magnet.clone(),
            expected,
            condition,
            download,
        }
    }

    fn file_count(&self) -> usize {
        match &self.metainfo.info.files {
            Files::Single => 1,
            Files::Multi(entries) => entries.iter().filter(|entry| !entry.padding).count(),
        }
    }

    /// Where hosts that are pushed to find it.
    fn reached_at(&self, bind: Option<IpAddr>, advertised: Address) -> OriginAddresses {
        OriginAddresses { bind, advertised, magnet: torrent_file::magnet_of(&self.metainfo) }
    }

    /// Prints how to download the content, or where it is pushed to, and emits the event.
    fn announce(&self, port: u16, setup: Option<&PushSetup>, report: &Report) {
        let geometry = &self.metainfo.info.geometry;
        let name = &self.metainfo.info.name;
        let size = format!("{} in {} pieces", Size(geometry.total()), geometry.pieces());
        if let Some(setup) = setup {
            let hosts = setup.hosts.len();
            let noun = if hosts == 1 { "host" } else { "hosts" };
            report.note(format_args!("pushing {name} to {hosts} {noun}: {size}"));
            report.note(format_args!("other machines can run: sow get {}", self.ticket));
        } else {
            report.note(format_args!("sharing {name}: {size}. On every other machine run:"));
            if !report.is_json() {
                report.out(format_args!("sow get {}", self.ticket));
            }
            report.note("or, with any BitTorrent program:");
            report.note(format_args!("  {}", self.magnet));
            report.note(format_args!("  {}", self.url));
        }
        report.event(&Event::Ready {
            ticket: Some(self.ticket.to_string()),
            magnet: Some(self.magnet.clone()),
            torrent: Some(self.url.clone()),
            port,
        });
    }
}
