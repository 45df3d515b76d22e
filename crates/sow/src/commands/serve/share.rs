//! One share of a service. While no peer wants it, it has no swarm, no task and no open file; a
//! peer that asks for it starts its swarm, which ends when it has had no peers for some time.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sow_content::{Bitfield, InfoHash, Metainfo, ticket::Address};
use sow_node::{
    AcceptedDialects, ContentCondition, DownloadSource, Node, SwarmContent, SwarmOptions,
    TrackerService,
};
use sow_store::{ContentPlan, SharedStore, StoreError};
use sow_wire::bittorrent::PeerId;
use tokio::{sync::watch, time::Instant};

use crate::{
    commands::send::{
        ContentLost, MonitoredContent, OriginMonitor, SharedFiles, SharesView, WatchedContent,
    },
    completion_hook::CompletionHooks,
    engine_config,
    exit::{Exit, Failure, chain},
    offer::Offer,
    report::Report,
    runtime::blocking,
    stop_signal::StopSignal,
    web::Web,
};

/// How long a swarm without peers stays.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// What all shares have in common.
pub(super) struct Surroundings {
    pub(super) node: Arc<Node>,
    pub(super) web: Web,
    pub(super) tracker: TrackerService,
    /// Where other machines reach the port.
    pub(super) host: Address,
    pub(super) view: Arc<SharesView>,
    /// What runs when a receiver is complete.
    pub(super) hooks: CompletionHooks,
    pub(super) report: Report,
    pub(super) stop: StopSignal,
}

/// One share.
pub(super) struct Share {
    pub(super) offer: Offer,
    path: PathBuf,
    plan: Arc<ContentPlan>,
    store: SharedStore,
    condition: ContentCondition,
    peer_id: PeerId,
    /// `None` while its swarm runs.
    monitor: Option<Box<OriginMonitor>>,
    lost: watch::Sender<Option<ContentLost>>,
    /// A peer asked for it while its swarm was ending.
    is_wanted_again: bool,
    /// Peers that ask for it are rejected, until it is confirmed.
    is_retracted: bool,
}

/// The end of a run of a swarm.
pub(super) struct SwarmEnd {
    pub(super) info_hash: InfoHash,
    peer_id: PeerId,
    monitor: Box<OriginMonitor>,
    /// Why it could not be run; `None` when it had no peers any more, or its content was lost.
    pub(super) failure: Option<Failure>,
}

impl Share {
    /// Begins to share content.
    pub(super) fn begin(around: &Surroundings, plan: ContentPlan, metainfo: Metainfo) -> Self {
        let offer = Offer::new(metainfo, &around.host, &[]);
        let is_name_taken = around.web.has_name(plan.name());
        let offer = if is_name_taken { offer.under_its_info_hash() } else { offer };
        let info = Arc::new(offer.metainfo.info.clone());
        let (hash, path) = (offer.info_hash(), plan.path().to_owned());
        let store = SharedStore::on_demand(Arc::clone(&info), plan.clone());
        let condition = ContentCondition::default();
        let (served, state) = (store.clone(), condition.clone());
        let limit = around.node.up_limit();
        let download = DownloadSource::new(Arc::clone(&info), hash, served, state, limit);
        let download = if is_name_taken { download.under_its_info_hash() } else { download };
        let entry = offer.index_entry(None, download.clone());
        let share = offer.share_info(None, condition.clone(), download);
        let board = around.web.add(share, entry);
        let (lost, is_lost) = watch::channel(None);
        let report = around.report.for_part(&path.to_string_lossy());
        let name = info.name.clone();
        let content = WatchedContent { name, path: path.clone(), lost: is_lost };
        let monitor = OriginMonitor::new(
            &report,
            MonitoredContent::Watched(content),
            info.geometry,
            None.into(),
            Some(around.tracker.clone()),
        );
        let hook_content = offer.hook_content(&path);
        let monitor = monitor
            .shown_among(around.view.add())
            .shown_on(board)
            .with_hooks(around.hooks.clone(), hook_content);
        let share = Self {
            offer,
            path,
            plan: Arc::new(plan),
            store,
            condition,
            peer_id: engine_config::random_peer_id(),
            monitor: Some(Box::new(monitor)),
            lost,
            is_wanted_again: false,
            is_retracted: false,
        };
        share.offer_to_peers(around);
        share
    }

    /// From now on peers that ask for it get it.
    fn offer_to_peers(&self, around: &Surroundings) {
        let hash = self.offer.info_hash();
        let own = ([127, 0, 0, 1], self.offer.ticket.port).into();
        around.tracker.keep(hash, Some((own, self.peer_id)));
        around.node.offer(hash);
    }

    /// The path of its files.
    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Whether its swarm runs.
    pub(super) fn is_active(&self) -> bool {
        self.monitor.is_none()
    }

    /// A peer asks for it. Returns what runs its swarm, if it does not run.
    pub(super) fn activate(
        &mut self,
        around: &Surroundings,
    ) -> Option<impl Future<Output = SwarmEnd> + Send + 'static> {
        let Some(monitor) = self.monitor.take() else {
            self.is_wanted_again = true;
            return None;
        };
        let run = SwarmRun {
            info_hash: self.offer.info_hash(),
            metainfo: self.offer.metainfo.clone(),
            store: self.store.clone(),
            peer_id: self.peer_id,
            monitor,
            node: Arc::clone(&around.node),
            stop: around.stop.clone(),
        };
        Some(run.run())
    }

    /// Whether it is its swarm that has ended, and not that of a share with the same content that
    /// was withdrawn.
    pub(super) fn is_of(&self, end: &SwarmEnd) -> bool {
        end.peer_id == self.peer_id
    }

    /// Its swarm has ended. Returns whether a peer has asked for it since.
    pub(super) fn on_swarm_ended(&mut self, end: SwarmEnd) -> bool {
        self.monitor = Some(end.monitor);
        std::mem::take(&mut self.is_wanted_again)
    }

    /// The files are what was hashed: a look says so that began at this time.
    pub(super) fn confirm(&mut self, around: &Surroundings, began: Instant) {
        self.condition.confirm(began);
        if std::mem::take(&mut self.is_retracted) {
            around.node.offer(self.offer.info_hash());
        }
    }

    /// New peers do not get it until it is confirmed.
    pub(super) fn retract(&mut self, around: &Surroundings) {
        self.is_retracted = true;
        around.node.retract(self.offer.info_hash());
    }

    /// The files look different. New peers and downloads wait until that is known; while its swarm
    /// runs, the returned check says whether its peers still get what was hashed.
    pub(super) fn suspect(
        &mut self,
        around: &Surroundings,
    ) -> Option<impl Future<Output = bool> + Send + 'static> {
        self.condition.check();
        self.retract(around);
        if !self.is_active() {
            return None;
        }
        let (store, plan) = (self.store.clone(), Arc::clone(&self.plan));
        let (info, condition) = (self.offer.metainfo.info.clone(), self.condition.clone());
        Some(async move {
            let checked = blocking(move || {
                // Its swarm holds it open.
                let store = store.open()?;
                let files = SharedFiles { plan, store, info: info.into(), md5: None, condition };
                Ok::<bool, Failure>(files.is_right()?)
            });
            checked.await.unwrap_or(false)
        })
    }

    /// It was hashed again, and is what it was. Its files are as they are in `plan`.
    pub(super) fn renew(&mut self, around: &Surroundings, plan: ContentPlan) {
        self.store.renew(plan.clone());
        self.plan = Arc::new(plan);
        self.confirm(around, Instant::now());
    }

    /// It is shared no more. Peers of its swarm are told what happened to it.
    pub(super) fn withdraw(self, around: &Surroundings, lost: ContentLost) {
        let hash = self.offer.info_hash();
        around.node.retract(hash);
        around.tracker.forget(hash);
        around.web.remove(hash);
        self.condition.withdraw(lost.reason.clone());
        self.lost.send_replace(Some(lost));
    }
}

/// What a run of a swarm needs.
struct SwarmRun {
    info_hash: InfoHash,
    metainfo: Metainfo,
    store: SharedStore,
    peer_id: PeerId,
    monitor: Box<OriginMonitor>,
    node: Arc<Node>,
    stop: StopSignal,
}

impl SwarmRun {
    async fn run(mut self) -> SwarmEnd {
        let failure = self.follow().await.err();
        SwarmEnd {
            info_hash: self.info_hash,
            peer_id: self.peer_id,
            monitor: self.monitor,
            failure,
        }
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        let store = self.store.clone();
        let opened = blocking(move || {
            store.open().map_err(|error: StoreError| Failure::new(Exit::Failed, chain(&error)))
        });
        let store = opened.await?;
        let info = &self.metainfo.info;
        let content = SwarmContent {
            info: Arc::new(info.clone()),
            metadata: self.metainfo.info_bytes.clone(),
            store,
            have: Bitfield::full(info.geometry.pieces()),
            md5: None,
        };
        // The tracker of this port lists it without an announce.
        let mut config = engine_config::for_origin(Vec::new(), engine_config::choking(false));
        config.peer_id = self.peer_id;
        let (swarm, events) = self.node.join(SwarmOptions {
            info_hash: self.info_hash,
            content: Some(content),
            config,
            accepts: AcceptedDialects::BITTORRENT,
            peers: Vec::new(),
        })?;
        let ended = self.monitor.follow_while_used(IDLE_TIME, &swarm, events, &self.stop).await;
        swarm.stop().await;
        // The owner has said why it is lost.
        ended.map(drop).or(Ok(()))
    }
}
