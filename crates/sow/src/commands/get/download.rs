//! One download: from its source to a complete target, and then the time of serving others.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use sow_content::{Info, Metainfo, Ticket, untrusted::printable};
use sow_engine::{Dialect, Event, PeerSource, PickOrder, Status};
use sow_node::{
    AcceptedDialects, Swarm, SwarmContent, SwarmEvent, SwarmOptions, server_has_digest,
};
use sow_wire::bittorrent::CopyState;
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    time::{Instant, sleep},
};

use super::{
    context::{DownloadContext, interruption},
    lost_origin::LostOrigin,
    origin_contact::OriginContact,
    preparation::{
        CompleteTarget, ContentDescription, PendingDownload, Preparation, complete_content, prepare,
    },
    progress_view::{DownloadView, Waiting, report_already_complete},
};
use crate::{
    advertised_address::advertised_address,
    args::{destination::Destination, get::GetPlan, groups::Seeding, source::SourceArg},
    content_hashing::md5_of_file,
    engine_config,
    exit::{Exit, Failure},
    file_errors,
    name_lookup::{look_up_few, look_up_peers},
    named_peers::NamedPeers,
    protocol_warnings::ProtocolWarnings,
    reachability::{Reachability, unreachable_now, wait_until_unreachable},
    report::{Event as Json, Report, log_swarm_event},
    runtime::blocking,
    stdout_stream::StdoutStream,
    stop_signal::Interrupted,
    swarm_source::SwarmSource,
    target::{self, Target},
    torrent_file,
};

/// The announce interval in `json-torrent`: its tracker does not tell a peer of later peers.
const JSON_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5);

/// How long an origin may take to hear what became of the copy.
const TELL_TIMEOUT: Duration = Duration::from_secs(3);

/// Downloads what a WHAT names; `text` is that WHAT.
///
/// # Errors
/// When the target is not complete in the end.
pub(super) async fn download_source(
    text: &str,
    arg: SourceArg,
    context: &Arc<DownloadContext>,
    report: &Report,
) -> Result<(), Failure> {
    let origin = match &arg {
        SourceArg::Origin(address) => Some(address.clone()),
        _ => None,
    };
    let resolved = async {
        let (bind, timeout) = (context.plan.bind, context.plan.origin_timeout());
        let source = SwarmSource::resolve(arg, bind, timeout, report).await?;
        let addrs = look_up_peers(&source.peers, !source.trackers.is_empty(), report).await?;
        Ok::<_, Failure>((source, addrs))
    };
    let (mut source, addrs) = match context.interruptible(resolved).await {
        Ok(resolved) => resolved?,
        Err(Interrupted::ByTimeout) if let Some(origin) = &origin => {
            return Err(unreachable_now(origin, context.plan.bind).await);
        }
        Err(cause) => return Err(interruption(cause, format!("{text} is not resolved yet"))),
    };
    if context.plan.only_origin {
        source.trackers.clear();
    }
    download_swarm(source, addrs, context, report).await
}

/// Downloads the content of a swarm. `addrs` are the addresses of its named peers.
///
/// # Errors
/// When the target is not complete in the end.
pub(super) async fn download_swarm(
    source: SwarmSource,
    addrs: Vec<SocketAddr>,
    context: &Arc<DownloadContext>,
    report: &Report,
) -> Result<(), Failure> {
    let destination = &context.plan.destination;
    source.metainfo.iter().for_each(|it| torrent_file::report_warnings(it, destination, report));
    let preparation = match source.metainfo.as_ref().map(ContentDescription::from) {
        Some(description) => {
            let preparing = prepare_blocking(context, description, report);
            match context.interruptible(preparing).await {
                Ok(prepared) => Some(prepared),
                Err(cause) => {
                    let state = format!("the download of {} has not started", source.label);
                    return Err(interruption(cause, state));
                }
            }
        }
        None => None,
    };
    // An origin that may be there is told of a complete copy, and of a failure.
    let has_origin = source.dialect == Dialect::BitTorrent
        && !(source.peers.is_empty() && source.trackers.is_empty());
    let content = match &preparation {
        Some(Ok(Preparation::Complete(complete))) => {
            if !has_origin && context.plan.serve_complete_for().is_zero() {
                report_already_complete(report, &complete.path, source.length());
                return Ok(());
            }
            Some(complete.content.clone())
        }
        Some(Ok(Preparation::Pending(pending))) => Some(pending.content.clone()),
        Some(Err(failure)) if !has_origin => return Err(failure.clone()),
        Some(Err(_)) | None => None,
    };
    let options = swarm_options(&source, addrs.clone(), content, &context.plan);
    let (swarm, events) = context.node.join(options)?;
    let link_peers = look_up_few(&source.link_peers).await;
    swarm.add_peers(PeerSource::Link, source.dialect, link_peers);
    let (reachability, _) = watch::channel(Reachability::default());
    let mut download = Download {
        view: DownloadView::new(report, &source.label),
        context,
        report,
        peers: NamedPeers::new(source.dialect, addrs, source.trackers.is_empty()),
        source,
        status: swarm.watch_status(),
        swarm: &swarm,
        events,
        reachability,
        started: Instant::now(),
        lost_origin: LostOrigin::default(),
        contact: OriginContact::new(&swarm, context.plan.name.clone()),
        warnings: ProtocolWarnings::default(),
        last_growth: (0, Instant::now()),
        last_received: (0, Instant::now()),
    };
    let ended = download.run_and_tell(preparation).await;
    drop(download);
    swarm.stop().await;
    ended
}

/// How a swarm is joined.
fn swarm_options(
    source: &SwarmSource,
    addrs: Vec<SocketAddr>,
    content: Option<SwarmContent>,
    plan: &GetPlan,
) -> SwarmOptions {
    let order = if plan.destination == Destination::Stdout {
        PickOrder::InOrder
    } else {
        PickOrder::RarestFirst
    };
    let choking = engine_config::choking(plan.tit_for_tat);
    let mut config = engine_config::for_receiver(source.trackers.clone(), order, choking);
    if plan.only_origin {
        config.max_dialed = addrs.len();
    }
    config.chunk.spelling = plan.spelling;
    if source.dialect == Dialect::JsonTorrent {
        config.announce_at_least = JSON_ANNOUNCE_INTERVAL;
    }
    let accepts = match source.dialect {
        Dialect::BitTorrent => AcceptedDialects::BITTORRENT,
        Dialect::Chunk => AcceptedDialects::CHUNK,
        Dialect::JsonTorrent => AcceptedDialects::JSON_TORRENT,
    };
    let peers = addrs.into_iter().map(|addr| (addr, source.dialect)).collect();
    SwarmOptions { info_hash: source.info_hash, content, config, accepts, peers }
}

async fn prepare_blocking(
    context: &Arc<DownloadContext>,
    description: ContentDescription,
    report: &Report,
) -> Result<Preparation, Failure> {
    let (context, report) = (Arc::clone(context), report.clone());
    blocking(move || prepare(&context, &description, &report)).await
}

/// How a target became complete.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Completion {
    /// By this download.
    Downloaded,
    /// It was complete before.
    AlreadyComplete,
}

/// A download that has joined its swarm.
pub(super) struct Download<'a> {
    pub(super) context: &'a Arc<DownloadContext>,
    pub(super) report: &'a Report,
    pub(super) source: SwarmSource,
    peers: NamedPeers,
    pub(super) swarm: &'a Swarm,
    pub(super) events: UnboundedReceiver<SwarmEvent>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) reachability: watch::Sender<Reachability>,
    pub(super) view: DownloadView,
    started: Instant,
    lost_origin: LostOrigin,
    pub(super) contact: OriginContact<'a>,
    pub(super) warnings: ProtocolWarnings,
    /// The number of verified bytes when it last grew, and that time.
    last_growth: (u64, Instant),
    /// The number of bytes that were received when it last grew, and that time.
    last_received: (u64, Instant),
}

impl Download<'_> {
    /// Downloads and serves the content, and tells the origin how that ends.
    async fn run_and_tell(
        &mut self,
        preparation: Option<Result<Preparation, Failure>>,
    ) -> Result<(), Failure> {
        if let Some(info) = self.source.metainfo.as_ref().map(|metainfo| metainfo.info.clone()) {
            self.introduce(&info);
        }
        let (ended, is_early) = match preparation {
            Some(Err(failure)) => (Err(failure), true),
            Some(Ok(preparation)) => (self.run_to_end(Some(preparation)).await, false),
            None => (self.run_to_end(None).await, false),
        };
        // An interrupted download is continued, and what is out of reach cannot be told.
        if let Err(failure) = &ended
            && !matches!(failure.exit(), Exit::Interrupted | Exit::Unreachable)
        {
            self.contact.report(CopyState::failed(failure.message()));
            if is_early || self.contact.is_collected() {
                self.wait_until_told().await;
            }
        }
        ended
    }

    async fn run_to_end(&mut self, preparation: Option<Preparation>) -> Result<(), Failure> {
        let (context, source) = (self.context, self.source.clone());
        let plan = &context.plan;
        let state = self.reachability.subscribe();
        let unreachable = wait_until_unreachable(&source, plan.bind, plan.origin_timeout(), state);
        let completion = async {
            // A complete target needs no peers.
            let is_complete = match &preparation {
                Some(Preparation::Pending(pending)) => is_complete(&pending.content),
                Some(Preparation::Complete(_)) => true,
                None => false,
            };
            tokio::select! {
                completion = self.complete_target(preparation) => completion,
                failure = unreachable, if !is_complete => Err(failure),
            }
        };
        let completion = match context.interruptible(completion).await {
            Ok(completion) => completion?,
            Err(cause) => {
                let failure = interruption(cause, self.view.progress_text(&self.status.borrow()));
                let state = self.reachability.borrow().clone();
                let unreached = match cause {
                    Interrupted::ByTimeout => state.failure_at_timeout(&source, plan.bind).await,
                    Interrupted::BySignal => None,
                };
                return Err(unreached.unwrap_or_else(|| state.explain(failure)));
            }
        };
        self.contact.report(CopyState::Complete);
        match (completion, plan.seeding) {
            (Completion::AlreadyComplete, _) => self.serve_for(plan.serve_complete_for()).await?,
            (Completion::Downloaded, Seeding::Exactly(time)) => self.serve_for(time).await?,
            (Completion::Downloaded, Seeding::WhileNeeded(Duration::ZERO)) => {}
            (Completion::Downloaded, Seeding::WhileNeeded(time)) => self.serve_others(time).await,
        }
        if completion == Completion::AlreadyComplete || self.contact.is_collected() {
            self.wait_until_told().await;
        }
        Ok(())
    }

    /// Waits, for a few seconds at most, until an origin knows what became of the copy.
    async fn wait_until_told(&mut self) {
        let (contact, events) = (&mut self.contact, &mut self.events);
        let told = async {
            while !contact.is_told() {
                match events.recv().await {
                    Some(SwarmEvent::Engine(event)) => contact.on_event(&event),
                    Some(SwarmEvent::StoreFailed(_)) => {}
                    None => return,
                }
            }
        };
        tokio::select! {
            () = told => {}
            () = sleep(TELL_TIMEOUT) => {}
            () = self.context.stop.requested() => {}
        }
    }

    /// Tells origins which copy this is.
    fn introduce(&mut self, info: &Info) {
        if self.source.dialect == Dialect::BitTorrent {
            // A folder that cannot go to standard output fails, and that is told, too.
            let target = target::target_of(&self.context.plan.destination, info);
            self.contact.introduce(&target.unwrap_or(Target::Stdout));
        }
    }

    /// Downloads the content into the target, unless the target is complete.
    async fn complete_target(
        &mut self,
        preparation: Option<Preparation>,
    ) -> Result<Completion, Failure> {
        let preparation = match preparation {
            Some(preparation) => preparation,
            None => {
                let description = self.receive_description().await?;
                self.introduce(&description.info);
                let preparation = match self.existing_target(&description).await? {
                    Some(complete) => Preparation::Complete(Box::new(complete)),
                    None => prepare_blocking(self.context, description, self.report).await?,
                };
                self.swarm.content_ready(match &preparation {
                    Preparation::Pending(pending) => pending.content.clone(),
                    Preparation::Complete(complete) => complete.content.clone(),
                });
                preparation
            }
        };
        match preparation {
            Preparation::Complete(complete) => {
                if !self.context.plan.serve_complete_for().is_zero() {
                    self.emit_ready();
                }
                let total = complete.content.info.geometry.total();
                report_already_complete(self.report, &complete.path, total);
                Ok(Completion::AlreadyComplete)
            }
            Preparation::Pending(pending) => {
                self.emit_ready();
                self.receive_pieces(&pending).await?;
                self.finish(&pending).await.map(|()| Completion::Downloaded)
            }
        }
    }

    /// Waits for the description of the content: metadata from peers (BEP 9), or the announcement
    /// of a `chunk` server.
    async fn receive_description(&mut self) -> Result<ContentDescription, Failure> {
        loop {
            tokio::select! {
                event = self.events.recv() => match self.handle_event(event)? {
                    Some(Event::Metadata(bytes)) => {
                        let label = &self.source.label;
                        let unusable = format_args!("{label} cannot be used");
                        let metainfo = Metainfo::from_info_bytes(bytes)
                            .map_err(|error| torrent_file::unusable(&error, unusable))?;
                        let destination = &self.context.plan.destination;
                        torrent_file::report_warnings(&metainfo, destination, self.report);
                        let description = ContentDescription::from(&metainfo);
                        self.source.label = printable(&metainfo.info.name).into();
                        self.source.metainfo = Some(metainfo);
                        self.view.rename(&self.source.label);
                        return Ok(description);
                    }
                    Some(Event::GeometryLearned { geometry, .. }) => {
                        let destination = &self.context.plan.destination;
                        return Ok(ContentDescription::without_hashes(destination, geometry));
                    }
                    _ => {}
                },
                Ok(()) = self.status.changed() => self.update_progress()?,
            }
        }
    }

    /// An existing target without piece hashes, if a server confirms its MD5.
    async fn existing_target(
        &self,
        description: &ContentDescription,
    ) -> Result<Option<CompleteTarget>, Failure> {
        let (info, plan) = (&description.info, &self.context.plan);
        let Target::Path(path) = target::target_of(&plan.destination, info)? else {
            return Ok(None);
        };
        let size = std::fs::metadata(&path).map(|file| file.is_file().then_some(file.len()));
        if info.has_hashes() || size.is_err() || plan.overwrite {
            return Ok(None);
        }
        if size.ok().flatten() != Some(info.geometry.total()) {
            return Err(target::exists_and_differs(&path));
        }
        let (context, report) = (Arc::clone(self.context), self.report.clone());
        let file = path.clone();
        let md5 = blocking(move || md5_of_file(&file, &report, &context.stop)).await?;
        for server in self.peers.addrs() {
            match server_has_digest(*server, plan.bind, self.context.node.port(), md5).await {
                Some(true) => {
                    let content = complete_content(description, &path, Some(md5))?;
                    return Ok(Some(CompleteTarget { path, content }));
                }
                Some(false) => return Err(target::exists_and_differs(&path)),
                None => {}
            }
        }
        let path = path.display();
        Err(Failure::new(
            Exit::Differs,
            format!("{path} exists, and no server has confirmed its MD5"),
        )
        .tip("replace it with --overwrite, or choose another name with -o"))
    }

    /// Waits until every piece is verified, and written if the target is standard output.
    async fn receive_pieces(&mut self, pending: &PendingDownload) -> Result<(), Failure> {
        let SwarmContent { info, store, .. } = &pending.content;
        let is_stdout = pending.target == Target::Stdout;
        let mut stream =
            (is_stdout && info.has_hashes()).then(|| StdoutStream::start(Arc::clone(store)));
        let mut is_complete = is_complete(&pending.content);
        while !is_complete {
            let copying = async {
                match &mut stream {
                    Some(stream) => stream.finished().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => match self.handle_event(event)? {
                    Some(Event::PieceVerified { piece, .. }) => {
                        if let Some(stream) = &mut stream {
                            stream.on_piece_verified(piece);
                        }
                    }
                    Some(Event::Complete) => is_complete = true,
                    Some(Event::FileMismatch) => return Err(self.checksum_failure()),
                    _ => {}
                },
                Ok(()) = self.status.changed() => self.update_progress()?,
                copied = copying => {
                    copied?;
                    // Everything is written, so everything is verified.
                    stream = None;
                    is_complete = true;
                }
            }
        }
        if is_stdout && !info.has_hashes() {
            // Pieces without hashes are written only after the whole file is verified.
            let mut stream = StdoutStream::start(Arc::clone(store));
            (0..info.geometry.pieces()).for_each(|piece| stream.on_piece_verified(piece));
            return stream.finished().await;
        }
        match &mut stream {
            Some(stream) => stream.finished().await,
            None => Ok(()),
        }
    }

    fn checksum_failure(&self) -> Failure {
        let label = &self.source.label;
        let message = format!("the file from {label} does not have the MD5 that the server sent");
        let tip = if self.peers.addrs().len() > 1 {
            "the servers may have different files, or a file has changed since its server was \
             started: compare `md5sum` there"
        } else {
            "the file may have changed since the server was started: start the server again"
        };
        Failure::new(Exit::Unverified, message).tip(tip)
    }

    /// Moves the complete content to its target, and reports it.
    async fn finish(&mut self, pending: &PendingDownload) -> Result<(), Failure> {
        let status = self.swarm.current_status().await;
        self.view.update_peers(&status);
        // A peer that sent the last bytes may have disconnected before the first status update that
        // would contain it.
        while let Ok(event) = self.events.try_recv() {
            self.handle_event(Some(event))?;
        }
        let placed = self.swarm.finish().await?;
        let target = placed.map_or_else(|| pending.target.clone(), Target::Path);
        let bytes = pending.content.info.geometry.total();
        let took = self.started.elapsed();
        self.view.on_complete(&status, &target, bytes, pending.resumed, took);
        let content = target.hook_content(&pending.content.info, self.source.info_hash);
        self.context.hooks.run(&content, None, self.report);
        Ok(())
    }

    /// Handles an event of the swarm, and returns the engine's part of it.
    pub(super) fn handle_event(
        &mut self,
        event: Option<SwarmEvent>,
    ) -> Result<Option<Event>, Failure> {
        let event = match event {
            Some(SwarmEvent::Engine(event)) => event,
            Some(SwarmEvent::StoreFailed(error)) => {
                return Err(file_errors::store_failure(&error));
            }
            None => {
                return Err(Failure::new(
                    Exit::Failed,
                    "the download ended without a reason (see -v)",
                ));
            }
        };
        report_event(self.report, &mut self.warnings, &event);
        self.peers.on_event(&event).into_iter().for_each(|warning| self.report.warn(warning));
        self.lost_origin.on_event(&event, self.report);
        self.contact.on_event(&event);
        Reachability::on_event(&self.reachability, self.source.dialect, &event);
        match event {
            // Blocks of a peer that has disconnected may still be on their way to the disk.
            Event::PeerDisconnected { conn, addr, listen_addr, downloaded, .. }
                if downloaded > 0 =>
            {
                self.view.set_peer_address(conn, listen_addr.unwrap_or(addr));
            }
            Event::PieceVerified { ref from, .. } => {
                from.iter().for_each(|&(conn, bytes)| self.view.add_bytes(conn, bytes));
            }
            _ => {}
        }
        Ok(Some(event))
    }

    /// Shows the progress. Fails if the download can no longer complete.
    fn update_progress(&mut self) -> Result<(), Failure> {
        let status = self.status.borrow_and_update().clone();
        if status.downloaded > self.last_received.0 {
            self.last_received = (status.downloaded, Instant::now());
        }
        let waiting = if !self.reachability.borrow().is_reached && !self.source.peers.is_empty() {
            Waiting::ForOrigin(self.source.origin_name(), self.started.elapsed())
        } else {
            Waiting::ForBytes(self.last_received.1.elapsed())
        };
        self.view.show_progress(&status, &waiting);
        if status.bytes_verified > self.last_growth.0 {
            self.last_growth = (status.bytes_verified, Instant::now());
        }
        let idle = self.last_growth.1.elapsed();
        // Before the swarm is reached, the diagnosis of its reachability is more precise.
        if self.reachability.borrow().is_reached
            && let Some(failure) = self.peers.exhausted(&status, idle)
        {
            return Err(failure);
        }
        let lost = &self.lost_origin;
        lost.failure(&status, self.source.dialect, self.peers.addrs(), idle).map_or(Ok(()), Err)
    }

    /// Emits the event that others can download from here.
    fn emit_ready(&self) {
        let port = self.context.node.port();
        let Some(metainfo) =
            self.source.metainfo.as_ref().filter(|_| self.source.dialect == Dialect::BitTorrent)
        else {
            self.report.event(&Json::Ready { ticket: None, magnet: None, torrent: None, port });
            return;
        };
        let address = advertised_address(self.context.plan.bind, port);
        let mut magnet = torrent_file::magnet_of(metainfo);
        magnet.trackers = self.source.trackers.concat();
        magnet.peers = vec![address.to_string()];
        let ticket = Ticket { host: address.host, port, info_hash: metainfo.info_hash };
        self.report.event(&Json::Ready {
            ticket: Some(ticket.to_string()),
            magnet: Some(magnet.to_string()),
            torrent: None,
            port,
        });
    }
}

/// Logs an event of the engine, and prints the warning that it gives rise to.
pub(super) fn report_event(report: &Report, warnings: &mut ProtocolWarnings, event: &Event) {
    log_swarm_event(event);
    warnings.on_event(event).into_iter().for_each(|warning| report.warn(warning));
}

/// Whether all pieces are stored and verified.
fn is_complete(content: &SwarmContent) -> bool {
    content.have.is_full() && content.info.has_hashes()
}
