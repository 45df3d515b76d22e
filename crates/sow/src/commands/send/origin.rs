//! An origin: one port, and the shares behind it, each with its swarm, its page, its entry in the
//! index and its announcements. What follows from the receivers is the monitor's.

use std::sync::{Arc, Mutex, PoisonError};

use sow_content::{Bitfield, Metainfo, ticket::Address};
use sow_engine::Config;
use sow_node::{
    AcceptedDialects, ContentCondition, DownloadSource, JsonTrackerService, Node, NodeOptions,
    Swarm, SwarmContent, SwarmEvent, SwarmOptions, TrackerService, program_file::program_file,
};
use sow_store::{ContentPlan, DiskStore, Store};
use sow_tracker::{JsonLimits, Limits, Mode};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    PushSetup,
    extra_dialects::ExtraDialects,
    file_watch::SharedFiles,
    monitor::{MonitoredContent, OriginMonitor},
};
use crate::{
    advertised_address::advertised_address,
    args::{fleet::FleetPlan, send::SendArgs},
    completion_hook::CompletionHooks,
    engine_config,
    exit::Failure,
    offer::Offer,
    report::Report,
    torrent_file,
    web::{Board, Web},
};

/// A port, and what answers behind it.
pub(super) struct Origin<'a> {
    args: &'a SendArgs,
    node: Node,
    web: Web,
    tracker: TrackerService,
    pub(super) hooks: CompletionHooks,
    /// Taken by the first share: only one can speak them.
    dialects: Mutex<Option<ExtraDialects>>,
    /// Where other machines reach it.
    host: Address,
}

/// A share that is part of its swarm.
pub(super) struct Shared {
    offer: Offer,
    dialects: Option<ExtraDialects>,
    store: Arc<Store>,
    monitor: OriginMonitor,
    board: Arc<Board>,
    swarm: Swarm,
    events: UnboundedReceiver<SwarmEvent>,
}

impl<'a> Origin<'a> {
    /// Listens. Before hashing, which may take long: an unavailable port is reported at once.
    ///
    /// # Errors
    /// When a port is unavailable, or a dialect cannot serve the content.
    pub(super) fn bind(args: &'a SendArgs) -> Result<Self, Failure> {
        let (bind, port, up_limit) = (args.bind(), args.port(), args.up_limit());
        let node = Node::bind(NodeOptions { bind, port, up_limit, ..NodeOptions::default() })?;
        let web = Web::new();
        node.serve_http(web.router(args.host_names()));
        let dialects = ExtraDialects::listen(args, &node)?;
        let host = advertised_address(bind, node.port());
        args.trackers.tracker.iter().for_each(|url| node.trust_tracker(url));
        let tracker = TrackerService::new(Mode::Only([].into()), Limits::default());
        let hooks = CompletionHooks::new(args.on_complete());
        Ok(Self { args, node, web, tracker, hooks, dialects: Mutex::new(Some(dialects)), host })
    }

    /// Shares content. `is_pushed`: hosts are told by `ssh` to download it, and may need this
    /// program.
    ///
    /// # Errors
    /// When the files or the `.torrent` cannot be opened or written.
    pub(super) fn share(
        &self,
        plan: ContentPlan,
        metainfo: Metainfo,
        fleet: FleetPlan,
        is_pushed: bool,
        report: &Report,
    ) -> Result<Shared, Failure> {
        let offer = Offer::new(metainfo, &self.host, &self.args.trackers.tracker);
        let is_name_taken = self.web.has_name(plan.name());
        let offer = if is_name_taken { offer.under_its_info_hash() } else { offer };
        let info = Arc::new(offer.metainfo.info.clone());
        if let Some(path) = self.args.torrent_path(plan.name()) {
            torrent_file::write(&path, &offer.metainfo, false)?;
            report.note(format_args!("wrote {}", path.display()));
        }
        let store = Arc::new(Store::from(DiskStore::serve(&info, plan.path())?));
        let condition = ContentCondition::default();
        let hash = offer.info_hash();
        let (served, state) = (Arc::clone(&store), condition.clone());
        let limit = self.node.up_limit();
        let download = DownloadSource::new(Arc::clone(&info), hash, served, state, limit);
        let download = if is_name_taken { download.under_its_info_hash() } else { download };
        let dialects = self.dialects.lock().unwrap_or_else(PoisonError::into_inner).take();
        let json_torrent = dialects.as_ref().and_then(|it| it.json_torrent(&info, &self.host));
        let entry = offer.index_entry(json_torrent.as_ref(), download.clone());
        let count = fleet.expectation.count();
        let board = self.web.add(offer.share_info(count, condition.clone(), download), entry);
        self.tracker.keep(hash, None);
        self.serve_requests(is_pushed, json_torrent.is_some());
        let content = SwarmContent {
            info: Arc::clone(&info),
            metadata: offer.metainfo.info_bytes.clone(),
            store: Arc::clone(&store),
            have: Bitfield::full(info.geometry.pieces()),
            md5: None,
        };
        let (config, accepts) = self.swarm_config(&offer, dialects.as_ref());
        let (swarm, events) = self.node.join(SwarmOptions {
            info_hash: hash,
            content: Some(content),
            config,
            accepts,
            peers: Vec::new(),
        })?;
        let geometry = info.geometry;
        let hook_content = offer.hook_content(plan.path());
        let files = SharedFiles {
            plan: Arc::new(plan),
            store: Arc::clone(&store),
            info,
            md5: None,
            condition,
        };
        let content = MonitoredContent::Files(files);
        let tracker = Some(self.tracker.clone());
        let monitor = OriginMonitor::new(report, content, geometry, fleet, tracker)
            .with_hooks(self.hooks.clone(), hook_content);
        Ok(Shared { offer, dialects, store, monitor, board, swarm, events })
    }

    /// Serves the page, the content and the trackers on the node's port.
    fn serve_requests(&self, is_pushed: bool, serves_json_torrent: bool) {
        let router = self.web.router(self.args.host_names());
        let router = if is_pushed { router.merge(program_file()) } else { router };
        self.node.serve_http(router.merge(self.tracker.router()));
        if serves_json_torrent {
            let service = JsonTrackerService::new(JsonLimits::default());
            tokio::spawn(service.clone().probe(self.args.bind()));
            self.node.serve_json_tracker(service);
        }
    }

    /// The settings of a swarm, and the dialects in which peers may connect to it.
    fn swarm_config(
        &self,
        offer: &Offer,
        dialects: Option<&ExtraDialects>,
    ) -> (Config, AcceptedDialects) {
        let choking = engine_config::choking(self.args.tit_for_tat());
        let mut config = engine_config::for_origin(offer.metainfo.trackers.clone(), choking);
        let Some(dialects) = dialects else { return (config, AcceptedDialects::BITTORRENT) };
        dialects.configure(&mut config, &self.host);
        (config, dialects.accepted())
    }

    /// Prints how to download the content, or begins to push it. Returns what follows the swarm.
    pub(super) fn start(
        &self,
        shared: Shared,
        setup: Option<PushSetup>,
        report: &Report,
    ) -> (OriginMonitor, Swarm, UnboundedReceiver<SwarmEvent>) {
        let Shared { offer, dialects, store, monitor, board, swarm, events } = shared;
        announce(&offer, setup.as_ref(), report);
        let info = &offer.metainfo.info;
        let monitor = match dialects {
            Some(dialects) => {
                dialects.print_commands(&self.host, &info.name, report);
                monitor.beside(dialects.serve(&store, report))
            }
            None => monitor,
        };
        let monitor = match setup {
            Some(setup) => {
                let origin = offer.reached_at(self.args.bind(), self.host.clone());
                monitor.pushing(setup.start(origin, info.geometry.total()))
            }
            None => monitor.with_command(offer.command()),
        };
        (monitor.shown_on(board), swarm, events)
    }
}

/// Prints how to download the content, or where it is pushed to, and emits the event.
fn announce(offer: &Offer, setup: Option<&PushSetup>, report: &Report) {
    let (name, size) = (&offer.metainfo.info.name, offer.size_text());
    if let Some(setup) = setup {
        let hosts = setup.hosts.len();
        let noun = if hosts == 1 { "host" } else { "hosts" };
        report.note(format_args!("pushing {name} to {hosts} {noun}: {size}"));
        report.note(format_args!("other machines can run: {}", offer.command()));
    } else {
        report.note(format_args!("sharing {name}: {size}. On every other machine run:"));
        if !report.is_json() {
            report.out(offer.command());
        }
        offer.note_links(report);
    }
    report.event(&offer.ready_event());
}
