//! One download, from what the user named to the moment when nobody needs us any more.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use sow_content::{Metainfo, Ticket, path::printable};
use sow_engine::{Dialect, Event, PickOrder, Status};
use sow_node::{
    AcceptedDialects, Swarm, SwarmContent, SwarmEvent, SwarmOptions, server_has_digest,
};
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    time::{Instant, sleep},
};

use super::{
    Run, cut_short,
    opening::{Fetch, Opening, Subject, open},
    view::{View, there_already},
};
use crate::{
    args::get::Destination,
    contact::{Contact, out_of_reach},
    disk,
    exit::{Exit, Failure, chain},
    hashing,
    offenders::Offenders,
    quantity::Span,
    reach,
    report::{Event as Json, Report, log_swarm_event},
    resolve::{self, Source},
    servers::Servers,
    settings,
    stream::Stream,
    target::{self, Target},
    torrent_file,
    what::What,
};

/// How often document 2's tracker is asked for peers while there is none.
const JSON_ANNOUNCE: Duration = Duration::from_secs(5);

/// Longer than anything runs; a longer sleep cannot be.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How long nothing may come, after a peer has sent what does not verify, until it is plain that
/// nothing will.
const HOPELESS: Duration = Duration::from_secs(15);

/// Runs one download to its end.
///
/// # Errors
/// When it does not end with the content in place.
pub(super) async fn run(
    text: &str,
    what: What,
    run: &Arc<Run>,
    report: &Report,
) -> Result<(), Failure> {
    let resolved = async {
        let source = resolve::resolve(what, run.plan.bind, report).await?;
        let mut addrs = Vec::new();
        for peer in &source.peers {
            addrs.extend(resolve::look_up(peer).await?);
        }
        Ok::<_, Failure>((source, addrs))
    };
    let (mut source, addrs) = match run.bounded(resolved).await {
        Ok(resolved) => resolved?,
        Err(cut) => return Err(cut_short(cut, format!("nothing is known yet of {text}"))),
    };
    if run.plan.only_origin {
        source.trackers.clear();
    }
    fetch(source, addrs, run, report).await
}

/// Fetches from a source, beginning with those at `addrs`.
///
/// # Errors
/// When it does not end with the content in place.
pub(super) async fn fetch(
    source: Source,
    addrs: Vec<SocketAddr>,
    run: &Arc<Run>,
    report: &Report,
) -> Result<(), Failure> {
    let opening = match source.metainfo.as_ref().map(Subject::from) {
        Some(subject) => match run.bounded(opened(run, subject, report)).await {
            Ok(opening) => Some(opening?),
            Err(cut) => return Err(cut_short(cut, format!("{} was not begun", source.label))),
        },
        None => None,
    };
    let content = match &opening {
        Some(Opening::Done(path)) => {
            there_already(report, path, source.length());
            return Ok(());
        }
        Some(Opening::Fetch(fetch)) => Some(fetch.content.clone()),
        Some(Opening::Seed(content)) => Some(SwarmContent::clone(content)),
        None => None,
    };
    let order = if run.plan.destination == Destination::Stdout {
        PickOrder::InOrder
    } else {
        PickOrder::RarestFirst
    };
    let mut config =
        settings::receiver(source.trackers.clone(), order, settings::choking(run.plan.tit_for_tat));
    if run.plan.only_origin {
        config.max_dialed = addrs.len();
    }
    config.chunk.spelling = run.plan.spelling;
    if source.dialect == Dialect::JsonTorrent {
        // Its tracker tells nobody of those who come later.
        config.announce_at_least = JSON_ANNOUNCE;
    }
    let accepts = match source.dialect {
        Dialect::BitTorrent => AcceptedDialects::BITTORRENT,
        Dialect::Chunk => AcceptedDialects::CHUNK,
        Dialect::JsonTorrent => AcceptedDialects::JSON_TORRENT,
    };
    let servers = Servers::new(source.dialect, addrs.clone(), source.trackers.is_empty());
    let peers = addrs.into_iter().map(|addr| (addr, source.dialect)).collect();
    let options = SwarmOptions { info_hash: source.info_hash, content, config, accepts, peers };
    let (swarm, events) = run.node.join(options)?;
    let status = swarm.watch_status();
    let (contact, _) = watch::channel(Contact::default());
    let mut download = Download {
        view: View::new(report, &source.label),
        run,
        report,
        source,
        servers,
        swarm: &swarm,
        events,
        status,
        contact,
        started: Instant::now(),
        corrupt: None,
        offenders: Offenders::default(),
        grown: (0, Instant::now()),
    };
    let ended = download.run_to_end(opening).await;
    drop(download);
    swarm.stop().await;
    ended
}

async fn opened(run: &Arc<Run>, subject: Subject, report: &Report) -> Result<Opening, Failure> {
    let (run, report) = (Arc::clone(run), report.clone());
    crate::blocking(move || open(&run, &subject, &report)).await
}

/// How a download has ended.
enum Ended {
    /// It came, and is in place.
    Fetched,
    /// It was in place.
    There,
    /// It was in place, and is to be served.
    Seed,
}

/// A download that has joined its swarm.
struct Download<'a> {
    run: &'a Arc<Run>,
    report: &'a Report,
    source: Source,
    /// The machines that were named.
    servers: Servers,
    swarm: &'a Swarm,
    events: UnboundedReceiver<SwarmEvent>,
    status: watch::Receiver<Status>,
    contact: watch::Sender<Contact>,
    view: View,
    started: Instant,
    /// A peer was banned over a piece.
    corrupt: Option<(SocketAddr, u32)>,
    offenders: Offenders,
    /// How many bytes there were when there were more than before, and when that was.
    grown: (u64, Instant),
}

impl Download<'_> {
    async fn run_to_end(&mut self, opening: Option<Opening>) -> Result<(), Failure> {
        let (run, source) = (self.run, self.source.clone());
        let reach = out_of_reach(&source, run.plan.bind, self.contact.subscribe());
        let fetched = async {
            // Whoever has everything needs nobody.
            let whole = match &opening {
                Some(Opening::Fetch(fetch)) => is_whole(&fetch.content),
                Some(Opening::Seed(_)) => true,
                _ => false,
            };
            tokio::select! {
                fetched = self.fetch(opening) => fetched,
                failure = reach, if !whole => Err(failure),
            }
        };
        let ended = match run.bounded(fetched).await {
            Ok(fetched) => fetched?,
            Err(cut) => return Err(cut_short(cut, self.view.how_far(&self.status.borrow()))),
        };
        match ended {
            Ended::Fetched if !run.plan.seed_for.is_zero() => self.serve_on().await,
            Ended::Fetched | Ended::There => {}
            Ended::Seed => self.seed().await?,
        }
        Ok(())
    }

    /// Fetches the content and puts it in place, unless it is there.
    async fn fetch(&mut self, opening: Option<Opening>) -> Result<Ended, Failure> {
        let opening = match opening {
            Some(opening) => opening,
            None => {
                let subject = self.description().await?;
                if let Some(path) = self.existing(&subject).await? {
                    there_already(self.report, &path, subject.info.geometry.total());
                    return Ok(Ended::There);
                }
                let opening = opened(self.run, subject, self.report).await?;
                if let Opening::Fetch(fetch) = &opening {
                    self.swarm.content_ready(fetch.content.clone());
                }
                opening
            }
        };
        match opening {
            Opening::Done(path) => {
                there_already(self.report, &path, self.source.length());
                Ok(Ended::There)
            }
            Opening::Fetch(fetch) => {
                self.announce_ready();
                self.pieces(&fetch).await?;
                self.put_in_place(&fetch).await.map(|()| Ended::Fetched)
            }
            Opening::Seed(content) => {
                self.announce_ready();
                if let Target::Path(path) =
                    target::target_of(&self.run.plan.destination, &content.info)?
                {
                    there_already(self.report, &path, content.info.geometry.total());
                }
                Ok(Ended::Seed)
            }
        }
    }

    /// Waits for the description of the content: from peers (BEP 9), or by a server's first answer
    /// (document 1).
    async fn description(&mut self) -> Result<Subject, Failure> {
        loop {
            tokio::select! {
                event = self.events.recv() => match self.note(event)? {
                    Some(Event::Metadata(bytes)) => {
                        let metainfo = Metainfo::from_info_bytes(bytes).map_err(|error| {
                            Failure::new(Exit::Failed, format!("{} cannot be used: {}", self.source.label, chain(&error)))
                        })?;
                        let subject = Subject::from(&metainfo);
                        self.source.label = printable(&metainfo.info.name).into();
                        self.source.metainfo = Some(metainfo);
                        self.view.rename(&self.source.label);
                        return Ok(subject);
                    }
                    Some(Event::GeometryLearned { geometry, .. }) => {
                        return Ok(Subject::without_hashes(&self.run.plan.destination, geometry));
                    }
                    _ => {}
                },
                Ok(()) = self.status.changed() => self.show()?,
            }
        }
    }

    /// A target that is there although nobody knows its hashes: where it is, when a server says
    /// that it is the same.
    async fn existing(&self, subject: &Subject) -> Result<Option<PathBuf>, Failure> {
        let Target::Path(path) = target::target_of(&self.run.plan.destination, &subject.info)?
        else {
            return Ok(None);
        };
        let there = std::fs::metadata(&path).map(|there| there.is_file().then_some(there.len()));
        if subject.info.has_hashes() || there.is_err() || self.run.plan.overwrite {
            return Ok(None);
        }
        if there.ok().flatten() != Some(subject.info.geometry.total()) {
            return Err(target::differs(&path));
        }
        let (run, report, file) = (Arc::clone(self.run), self.report.clone(), path.clone());
        let md5 = crate::blocking(move || hashing::md5_of(&file, &report, &run.stop)).await?;
        for server in self.servers.all() {
            match server_has_digest(*server, self.run.plan.bind, self.run.node.port(), md5).await {
                Some(true) => return Ok(Some(path)),
                Some(false) => return Err(target::differs(&path)),
                None => {}
            }
        }
        let path = path.display();
        Err(Failure::new(
            Exit::Differs,
            format!("{path} exists, and no server could tell whether it is the same"),
        )
        .tip("replace it with --overwrite, or choose another name with -o"))
    }

    /// Serves what was there until it is stopped, or for as long as was agreed to.
    async fn seed(&mut self) -> Result<(), Failure> {
        let time = self.run.plan.seed_whole_for.unwrap_or_default();
        if time < FOREVER {
            self.report.note(format_args!("serving it for {}", Span(time)));
        } else {
            self.report.note("serving it until this is stopped");
        }
        let end = sleep(time.min(FOREVER));
        tokio::pin!(end);
        let mut is_hidden = false;
        loop {
            tokio::select! {
                event = self.events.recv() => {
                    self.note(event)?;
                    self.tell_if_hidden(&mut is_hidden);
                }
                Ok(()) = self.status.changed() => {
                    let status = self.status.borrow_and_update().clone();
                    self.view.seeding(&status);
                }
                () = &mut end => break,
                () = self.run.stop.asked() => break,
            }
        }
        self.view.served(&self.swarm.current_status().await);
        Ok(())
    }

    /// Says that nobody can find what is served here, and that they can again.
    fn tell_if_hidden(&self, is_hidden: &mut bool) {
        let why = self.contact.borrow().no_tracker_answers(&self.source);
        match why {
            Some(why) if !*is_hidden => {
                let why = printable(&why);
                self.report.warn(format_args!(
                    "no tracker answers, so nobody finds this machine ({why}); asking again"
                ));
            }
            None if *is_hidden => {
                self.report.note("a tracker answers: this machine can be found now")
            }
            _ => return,
        }
        *is_hidden = !*is_hidden;
    }

    /// Waits until every piece is verified, and passed on where it is streamed.
    async fn pieces(&mut self, fetch: &Fetch) -> Result<(), Failure> {
        let SwarmContent { info, store, .. } = &fetch.content;
        // What cannot be told to be right piece by piece is passed on when the whole is.
        let is_stream = fetch.target == Target::Stdout;
        let mut stream = (is_stream && info.has_hashes()).then(|| Stream::start(Arc::clone(store)));
        let mut is_whole = is_whole(&fetch.content);
        while !is_whole {
            let copying = async {
                match &mut stream {
                    Some(stream) => stream.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => match self.note(event)? {
                    Some(Event::PieceVerified { piece, .. }) => {
                        if let Some(stream) = &mut stream {
                            stream.verified(piece);
                        }
                    }
                    Some(Event::Complete) => is_whole = true,
                    Some(Event::FileMismatch) => return Err(self.unprovable()),
                    _ => {}
                },
                Ok(()) = self.status.changed() => self.show()?,
                copied = copying => {
                    copied?;
                    // Everything is copied, so everything is there.
                    stream = None;
                    is_whole = true;
                }
            }
        }
        if is_stream && !info.has_hashes() {
            let mut late = Stream::start(Arc::clone(store));
            (0..info.geometry.pieces()).for_each(|piece| late.verified(piece));
            return late.ended().await;
        }
        match &mut stream {
            Some(stream) => stream.ended().await,
            None => Ok(()),
        }
    }

    fn unprovable(&self) -> Failure {
        let label = &self.source.label;
        let message = format!("what {label} sends does not have the checksum that it names");
        let tip = if self.servers.all().len() > 1 {
            "the servers may not have the same file, or it changed since one was started: compare `md5sum` there"
        } else {
            "the file there may have changed since the server was started: start the server again"
        };
        Failure::new(Exit::Unverified, message).tip(tip)
    }

    async fn put_in_place(&mut self, fetch: &Fetch) -> Result<(), Failure> {
        let status = self.swarm.current_status().await;
        self.view.observe(&status);
        // Who sent the last bytes may have left before he was in any picture.
        while let Ok(event) = self.events.try_recv() {
            self.note(Some(event))?;
        }
        let placed = self.swarm.finish().await?;
        let target = placed.map_or_else(|| fetch.target.clone(), Target::Path);
        let bytes = fetch.content.info.geometry.total();
        self.view.complete(&status, &target, bytes, fetch.resumed, self.started.elapsed());
        Ok(())
    }

    /// Serves those who still need something, for as long as that was agreed to.
    async fn serve_on(&mut self) {
        let until = Instant::now() + self.run.plan.seed_for;
        let run = self.run;
        let served = async {
            let mut idle_looks = 0;
            // The picture is renewed four times a second: who has just said that he is complete is
            // seen so at the second.
            while idle_looks < 2 && self.status.changed().await.is_ok() {
                while let Ok(event) = self.events.try_recv() {
                    if let SwarmEvent::Engine(event) = event {
                        hear(self.report, &mut self.offenders, &event);
                    }
                }
                let status = self.status.borrow_and_update().clone();
                idle_looks = if status.others_need { 0 } else { idle_looks + 1 };
                self.view.serving(&status, until.saturating_duration_since(Instant::now()));
            }
        };
        tokio::select! {
            () = served => {}
            () = sleep(run.plan.seed_for) => {}
            // It is complete: to stop serving is not to be interrupted.
            () = run.stop.asked() => {}
        }
        self.view.served(&self.swarm.current_status().await);
    }

    /// Takes in what the swarm reports; what the engine says is returned.
    fn note(&mut self, event: Option<SwarmEvent>) -> Result<Option<Event>, Failure> {
        let event = match event {
            Some(SwarmEvent::Engine(event)) => event,
            Some(SwarmEvent::StoreFailed(error)) => return Err(disk::failing(&error)),
            None => {
                return Err(Failure::new(
                    Exit::Failed,
                    "the download ended without a reason (see -v)",
                ));
            }
        };
        hear(self.report, &mut self.offenders, &event);
        self.servers.note(&event).into_iter().for_each(|warning| self.report.warn(warning));
        Contact::note(&self.contact, self.source.dialect, &event);
        match event {
            // What came last may still be on its way to the disk.
            Event::PeerDisconnected { conn, addr, listen_addr, downloaded, .. }
                if downloaded > 0 =>
            {
                self.view.name(conn, listen_addr.unwrap_or(addr));
            }
            Event::PieceVerified { ref from, .. } => {
                from.iter().for_each(|&(conn, bytes)| self.view.came(conn, bytes));
            }
            Event::Banned { addr, piece } => {
                let what =
                    format_args!("{addr} sent data that does not verify and is not asked any more");
                self.report.warn(what);
                self.corrupt = Some((addr, piece));
            }
            _ => {}
        }
        Ok(Some(event))
    }

    /// Shows how far it is. An error when it is plain that it will not go on.
    fn show(&mut self) -> Result<(), Failure> {
        let status = self.status.borrow_and_update().clone();
        self.view.progress(&status);
        if status.bytes_verified > self.grown.0 {
            self.grown = (status.bytes_verified, Instant::now());
        }
        // Before there was any contact, whoever watches for that knows better what is wrong.
        if self.contact.borrow().is_made
            && let Some(failure) = self.servers.hopeless(&status, self.grown.1.elapsed())
        {
            return Err(failure);
        }
        match self.corrupt {
            // Without hashes it is the server that everything comes from in the end.
            Some((addr, piece))
                if self.source.dialect != Dialect::Chunk
                    && self.grown.1.elapsed() > HOPELESS
                    && !status.peers.iter().any(|p| p.complete) =>
            {
                Err(Failure::new(
                    Exit::Unverified,
                    format!("piece {piece} from {addr} does not verify, and nobody else has it"),
                )
                .tip(
                    "the file at the origin may have changed since it was hashed: run `sow send` there again",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Tells scripts that others can fetch from here too.
    fn announce_ready(&self) {
        let port = self.run.node.port();
        let Some(metainfo) =
            self.source.metainfo.as_ref().filter(|_| self.source.dialect == Dialect::BitTorrent)
        else {
            self.report.event(&Json::Ready { ticket: None, magnet: None, torrent: None, port });
            return;
        };
        let address = reach::address_of(self.run.plan.bind, port);
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

/// Says what happened, to whom it may concern.
fn hear(report: &Report, offenders: &mut Offenders, event: &Event) {
    log_swarm_event(event);
    offenders.warning(event).into_iter().for_each(|warning| report.warn(warning));
}

/// Whether all is there, and known to be right.
fn is_whole(content: &SwarmContent) -> bool {
    content.have.is_full() && content.info.has_hashes()
}
