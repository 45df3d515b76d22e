//! One download, from what the user named to the moment when nobody needs us any more.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sow_content::{Metainfo, Ticket, path::printable};
use sow_engine::{Event, PickOrder, Status};
use sow_node::{Swarm, SwarmContent, SwarmEvent, SwarmOptions};
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    time::{Instant, sleep},
};

use super::{
    Run,
    fetched::Fetched,
    opening::{Fetch, Opening, open},
};
use crate::{
    args::get::Destination,
    contact::{Contact, out_of_reach},
    disk,
    exit::{Exit, Failure, chain},
    quantity::{Rate, Size, Span},
    reach,
    report::{Event as Json, Meter, percent},
    resolve::{self, Source},
    settings,
    stream::Stream,
    torrent_file,
    what::What,
};

/// How often scripts are told of progress.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// How long nothing may come, after a peer has sent what does not verify, until it is plain that nothing will.
const HOPELESS: Duration = Duration::from_secs(15);

/// Runs one download to its end.
///
/// # Errors
/// When it does not end with the content in place.
pub(super) async fn run((text, what): (String, What), run: Arc<Run>) -> Result<(), Failure> {
    let resolved = async {
        let source = resolve::resolve(what, run.plan.bind, &run.report).await?;
        let mut addrs = Vec::new();
        for peer in &source.peers {
            addrs.extend(resolve::look_up(peer).await?);
        }
        Ok((source, addrs))
    };
    let (mut source, addrs) = run.bounded(resolved, || format!("nothing of {text} is there yet")).await?;
    if run.plan.only_origin {
        source.trackers.clear();
    }
    let opening = match source.metainfo.clone() {
        Some(metainfo) => Some(opened(&run, metainfo).await?),
        None => None,
    };
    let content = match &opening {
        Some(Opening::Done(path)) => return there_already(&run, path, &source),
        Some(Opening::Fetch(fetch)) => Some(fetch.content.clone()),
        None => None,
    };
    let order =
        if run.plan.destination == Destination::Stdout { PickOrder::InOrder } else { PickOrder::RarestFirst };
    let mut config = settings::receiver(source.trackers.clone(), order);
    if run.plan.only_origin {
        config.max_dialed = addrs.len();
    }
    let options = SwarmOptions { info_hash: source.info_hash, content, config, peers: addrs };
    let (swarm, events) = run.node.join(options)?;
    let status = swarm.status();
    let (contact, _) = watch::channel(Contact::default());
    let mut download = Download {
        meter: run.report.meter(source.label.clone()),
        run: &run,
        source,
        swarm: &swarm,
        events,
        status,
        contact,
        fetched: Fetched::default(),
        last_json: None,
        started: Instant::now(),
        corrupt: None,
        grown: (0, Instant::now()),
    };
    let ended = download.run_to_end(opening).await;
    drop(download);
    swarm.stop().await;
    ended
}

async fn opened(run: &Arc<Run>, metainfo: Metainfo) -> Result<Opening, Failure> {
    let run = Arc::clone(run);
    crate::blocking(move || open(&run, &metainfo)).await
}

/// The target was there before: said in the same words as a download that took no time.
fn there_already(run: &Run, path: &std::path::Path, source: &Source) -> Result<(), Failure> {
    let bytes = source.metainfo.as_ref().map_or(0, |metainfo| metainfo.info.geometry.total());
    run.report.note(format_args!("{} is there already and verified: {}", path.display(), Size(bytes)));
    run.report.event(&Json::Complete {
        path: &path.to_string_lossy(),
        bytes,
        seconds: 0.0,
        resumed_bytes: bytes,
        from: Default::default(),
    });
    Ok(())
}

/// A download that has joined its swarm.
struct Download<'a> {
    run: &'a Arc<Run>,
    source: Source,
    swarm: &'a Swarm,
    events: UnboundedReceiver<SwarmEvent>,
    status: watch::Receiver<Status>,
    contact: watch::Sender<Contact>,
    meter: Meter,
    fetched: Fetched,
    last_json: Option<Instant>,
    started: Instant,
    /// A peer was banned over a piece.
    corrupt: Option<(std::net::SocketAddr, u32)>,
    /// How many bytes there were when there were more than before, and when that was.
    grown: (u64, Instant),
}

impl Download<'_> {
    async fn run_to_end(&mut self, opening: Option<Opening>) -> Result<(), Failure> {
        let (run, status, source) = (self.run, self.status.clone(), self.source.clone());
        let reach = out_of_reach(&source, run.plan.bind, self.contact.subscribe());
        let fetched = async {
            // Whoever has everything needs nobody.
            let whole = matches!(&opening, Some(Opening::Fetch(fetch)) if fetch.content.have.is_full());
            tokio::select! {
                fetched = self.fetch(opening) => fetched,
                failure = reach, if !whole => Err(failure),
            }
        };
        let is_complete = run.bounded(fetched, || how_far(&status.borrow(), &source)).await?;
        if is_complete && !run.plan.seed_for.is_zero() {
            self.serve_on().await;
        }
        Ok(())
    }

    /// Fetches the content and puts it in place. False when it was there already.
    async fn fetch(&mut self, opening: Option<Opening>) -> Result<bool, Failure> {
        let opening = match opening {
            Some(opening) => opening,
            None => {
                let metainfo = self.metadata().await?;
                self.source.label = printable(&metainfo.info.name).into();
                self.source.metainfo = Some(metainfo.clone());
                self.meter = self.run.report.meter(self.source.label.clone());
                let opening = opened(self.run, metainfo).await?;
                if let Opening::Fetch(fetch) = &opening {
                    self.swarm.content_ready(fetch.content.clone());
                }
                opening
            }
        };
        match opening {
            Opening::Done(path) => there_already(self.run, &path, &self.source).map(|()| false),
            Opening::Fetch(fetch) => {
                self.announce_ready();
                self.pieces(&fetch).await?;
                self.put_in_place(&fetch).await.map(|()| true)
            }
        }
    }

    /// Waits for the description of the content (BEP 9).
    async fn metadata(&mut self) -> Result<Metainfo, Failure> {
        loop {
            tokio::select! {
                event = self.events.recv() => {
                    if let Some(Event::Metadata(bytes)) = self.note(event)? {
                        return Metainfo::from_info_bytes(bytes).map_err(|error| {
                            Failure::new(Exit::Failed, format!("{} cannot be used: {}", self.source.label, chain(&error)))
                        });
                    }
                }
                Ok(()) = self.status.changed() => self.show()?,
            }
        }
    }

    /// Waits until every piece is verified, and passed on where it is streamed.
    async fn pieces(&mut self, fetch: &Fetch) -> Result<(), Failure> {
        let SwarmContent { have, store, .. } = &fetch.content;
        let mut stream = fetch.is_stream.then(|| Stream::start(Arc::clone(store)));
        let mut is_whole = have.is_full();
        while !is_whole {
            let copying = async {
                match &mut stream {
                    Some(stream) => stream.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => match self.note(event)? {
                    Some(Event::PieceVerified { piece }) => {
                        if let Some(stream) = &mut stream {
                            stream.verified(piece);
                        }
                    }
                    Some(Event::Complete) => is_whole = true,
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
        match &mut stream {
            Some(stream) => stream.ended().await,
            None => Ok(()),
        }
    }

    async fn put_in_place(&mut self, fetch: &Fetch) -> Result<(), Failure> {
        let placed = self.swarm.finish().await?;
        let seconds = self.started.elapsed().as_secs_f64();
        // A last look, at those who sent the last bytes.
        self.fetched.observe(&self.status.borrow_and_update().peers);
        let bytes = fetch.content.info.geometry.total();
        let path = if fetch.is_stream { PathBuf::from("-") } else { placed.unwrap_or_default() };
        let report = &self.run.report;
        report.event(&Json::Progress {
            bytes,
            total: Some(bytes),
            rate_down: 0,
            rate_up: 0,
            peers: self.status.borrow().peers.len(),
        });
        report.event(&Json::Complete {
            path: &path.to_string_lossy(),
            bytes,
            seconds: (seconds * 1000.0).round() / 1000.0,
            resumed_bytes: fetch.resumed,
            from: self.fetched.by_address(),
        });
        let rate = Rate(((bytes - fetch.resumed) as f64 / seconds.max(0.001)) as u64);
        let took = Span(self.started.elapsed());
        let name = if fetch.is_stream { self.source.label.clone() } else { path.display().to_string() };
        report.note(format_args!("{name}: {} verified in {took} ({rate})", Size(bytes)));
        Ok(())
    }

    /// Serves those who still need something, for as long as that was agreed to.
    async fn serve_on(&mut self) {
        let until = Instant::now() + self.run.plan.seed_for;
        let run = self.run;
        let served = async {
            let mut idle_looks = 0;
            // The picture is renewed four times a second: who has just said that he is complete is seen so at the second.
            while idle_looks < 2 && self.status.changed().await.is_ok() {
                while self.events.try_recv().is_ok() {}
                let status = self.status.borrow_and_update().clone();
                idle_looks = if status.others_need { 0 } else { idle_looks + 1 };
                self.fetched.observe(&status.peers);
                self.tell_scripts(&status);
                let left = Span(Duration::from_secs(until.duration_since(Instant::now()).as_secs()));
                self.meter.set(1, 1, || {
                    format!(
                        "complete; serving {}  up {}  (at most {left} more)",
                        needy(&status),
                        Rate(status.rate_up)
                    )
                });
            }
        };
        tokio::select! {
            () = served => {}
            () = sleep(run.plan.seed_for) => {}
            // It is complete: to stop serving is not to be interrupted.
            () = run.stop.asked() => {}
        }
    }

    /// Takes in what the swarm reports; what the engine says is returned.
    fn note(&mut self, event: Option<SwarmEvent>) -> Result<Option<Event>, Failure> {
        let event = match event {
            Some(SwarmEvent::Engine(event)) => event,
            Some(SwarmEvent::StoreFailed(error)) => return Err(disk::failing(&error)),
            None => return Err(Failure::new(Exit::Failed, "the download ended without a reason (see -v)")),
        };
        tracing::debug!(?event, "the swarm reports");
        Contact::note(&self.contact, &event);
        if let Event::Banned { addr, piece } = event {
            self.run
                .report
                .warn(format_args!("{addr} sent data that does not verify and is not asked any more"));
            self.corrupt = Some((addr, piece));
        }
        Ok(Some(event))
    }

    /// Shows how far it is. An error when it is plain that it will not go on.
    fn show(&mut self) -> Result<(), Failure> {
        let status = self.status.borrow_and_update().clone();
        self.fetched.observe(&status.peers);
        self.tell_scripts(&status);
        self.meter.set(status.bytes_verified, status.bytes_total.max(1), || in_words(&status));
        if status.bytes_verified > self.grown.0 {
            self.grown = (status.bytes_verified, Instant::now());
        }
        match self.corrupt {
            Some((addr, piece))
                if self.grown.1.elapsed() > HOPELESS && !status.peers.iter().any(|p| p.complete) =>
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

    fn tell_scripts(&mut self, status: &Status) {
        if self.last_json.is_none_or(|last| last.elapsed() >= JSON_EVERY) {
            self.last_json = Some(Instant::now());
            self.run.report.event(&Json::Progress {
                bytes: status.bytes_verified,
                total: (status.pieces > 0).then_some(status.bytes_total),
                rate_down: status.rate_down,
                rate_up: status.rate_up,
                peers: status.peers.len(),
            });
        }
    }

    /// Tells scripts that others can fetch from here too.
    fn announce_ready(&self) {
        let Some(metainfo) = &self.source.metainfo else { return };
        let port = self.run.node.port();
        let address = reach::address_of(self.run.plan.bind, port);
        let mut magnet = torrent_file::magnet_of(metainfo);
        magnet.trackers = self.source.trackers.concat();
        magnet.peers = vec![address.to_string()];
        let ticket = Ticket { host: address.host, port, info_hash: metainfo.info_hash };
        self.run.report.event(&Json::Ready {
            ticket: Some(ticket.to_string()),
            magnet: Some(magnet.to_string()),
            torrent: None,
            port,
        });
    }
}

/// How far a download is, for the last line of one that does not end.
fn how_far(status: &Status, source: &Source) -> String {
    if status.bytes_total == 0 {
        return format!("nobody has told yet what {} is", source.label);
    }
    let done = percent(status.bytes_verified, status.bytes_total);
    format!("{done} of {} is there and verified", Size(status.bytes_total))
}

fn in_words(status: &Status) -> String {
    if status.bytes_total == 0 {
        return match status.peers.len() {
            0 => "looking for peers".to_owned(),
            count => format!("asking {count} peers what it is"),
        };
    }
    let left = status.bytes_total - status.bytes_verified;
    let time = match left.checked_div(status.rate_down) {
        Some(seconds) if status.rate_down > 0 => format!("  {} left", Span(Duration::from_secs(seconds))),
        _ => String::new(),
    };
    let peers = match status.peers.len() {
        0 => "no peers: waiting for one".to_owned(),
        1 => "1 peer".to_owned(),
        count => format!("{count} peers"),
    };
    format!(
        "{} of {}  down {}  up {}  {peers}{time}",
        Size(status.bytes_verified),
        Size(status.bytes_total),
        Rate(status.rate_down),
        Rate(status.rate_up)
    )
}

fn needy(status: &Status) -> String {
    let count = status.peers.iter().filter(|peer| !peer.complete).count();
    if count == 1 { "1 peer".to_owned() } else { format!("{count} peers") }
}
