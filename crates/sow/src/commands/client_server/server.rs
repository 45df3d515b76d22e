//! `sow raw server` and `sow framed server`.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sow_content::Geometry;
use sow_content::hash::hexadecimal;
use sow_engine::client_server::{AdmissionLimits, ClientServerDialect};
use sow_node::{FileServer, FileServerEvent, FileServerListener, FileServerOptions, RateLimit};
use sow_store::{DiskStore, Store};
use tokio::{sync::mpsc::UnboundedReceiver, time::interval};

use super::serving::Served;
use crate::{
    args::client_server::{ServerPlan, Source},
    exit::{Exit, Failure},
    quantity::Size,
    random_bytes::random_bytes,
    reach,
    report::{Event, Report},
    stop::Stop,
};

/// How long a client may take nothing.
const STALL: Duration = Duration::from_secs(60);

/// How often scripts are told of progress.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// The pieces that random bytes are kept in, in bytes.
const RANDOM_PIECE: u64 = 1 << 20;

/// Serves until enough clients have everything, or until it is stopped.
///
/// # Errors
/// When the file cannot be served, the port is not to be had, or too few clients have it in the
/// end.
pub(crate) async fn run(plan: ServerPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = Stop::listen(report)?;
    let source = plan.source.clone();
    let up = RateLimit::new(plan.up_limit);
    let listener = FileServerListener::bind(options(plan.framing, plan.bind, plan.port, up))?;
    let (store, label) = crate::blocking(move || open(&source)).await?;
    let (server, events) = listener.serve(Arc::clone(&store));
    report.dated(format_args!("server is bonded to port {}", server.port()));
    report.dated(format_args!("serving {label}"));
    let address = reach::address_of(plan.bind, server.port());
    if !report.is_json() {
        report.out(format_args!(
            "sow {} client -s {} -p {}",
            plan.framing, address.host, address.port
        ));
    }
    report.event(&ready(plan.framing, &address));
    Serving {
        plan,
        report,
        served: Served::new(report, store.geometry().total()),
        server,
        started: Instant::now(),
    }
    .run(events, &stop)
    .await
}

/// The settings of a server.
pub(crate) fn options(
    framing: ClientServerDialect,
    bind: Option<std::net::IpAddr>,
    port: u16,
    up: RateLimit,
) -> FileServerOptions {
    let admission = AdmissionLimits::default();
    FileServerOptions { dialect: framing, bind, port, up, admission, stall: STALL }
}

/// The event that says where it is served.
pub(crate) fn ready(
    framing: ClientServerDialect,
    address: &sow_content::ticket::Address,
) -> Event<'static> {
    Event::Ready {
        ticket: Some(format!("{framing}://{address}")),
        magnet: None,
        torrent: None,
        port: address.port,
    }
}

/// What is sent, and what to call it.
fn open(source: &Source) -> Result<(Arc<Store>, String), Failure> {
    let (store, label) = match source {
        Source::File(path) => {
            let store = Store::from(DiskStore::serve_file(path)?);
            let size = Size(store.geometry().total());
            (store, format!("{} ({size})", path.display()))
        }
        Source::Random(length) => {
            let (store, md5) = random_bytes(*length, |total| {
                Geometry::new(total, RANDOM_PIECE)
                    .map_err(|error| Failure::usage(crate::exit::chain(&error)))
            })?;
            (store, format!("{} of random bytes, MD5 {}", Size(*length), hexadecimal(&md5)))
        }
    };
    Ok((Arc::new(store), label))
}

/// A server that is running.
struct Serving<'a> {
    plan: ServerPlan,
    report: &'a Report,
    served: Served,
    server: FileServer,
    started: Instant,
}

impl Serving<'_> {
    async fn run(
        mut self,
        mut events: UnboundedReceiver<FileServerEvent>,
        stop: &Stop,
    ) -> Result<Exit, Failure> {
        let mut looks = interval(JSON_EVERY);
        let mut before = 0;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.served.note(&event),
                    None => return Err(Failure::new(Exit::Failed, "serving ended without a reason (see -v)")),
                },
                _ = looks.tick() => {
                    let sent = self.server.sent();
                    self.progress(sent, sent - before);
                    before = sent;
                }
                () = stop.asked() => {
                    let sent = self.server.sent();
                    self.progress(sent, sent - before);
                    return self.stopped();
                }
            }
            if self.plan.expect.is_some_and(|expected| self.served.complete() >= expected) {
                self.done();
                return Ok(Exit::Done);
            }
        }
    }

    fn progress(&self, sent: u64, last_second: u64) {
        self.report.event(&Event::Progress {
            bytes: sent,
            total: None,
            rate_down: 0,
            rate_up: last_second,
            peers: self.served.present().len(),
            sent: None,
        });
    }

    fn done(&self) {
        self.say_averages();
        let path = match &self.plan.source {
            Source::File(path) => path.as_path(),
            Source::Random(_) => Path::new(""),
        };
        self.report.event(&Event::Complete {
            path: &path.to_string_lossy(),
            bytes: self.server.sent(),
            seconds: (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            resumed_bytes: 0,
            from: BTreeMap::new(),
        });
    }

    fn stopped(&self) -> Result<Exit, Failure> {
        self.say_averages();
        let complete = self.served.complete();
        let Some(expected) = self.plan.expect else { return Ok(Exit::Interrupted) };
        let present: Vec<_> = self.served.present().iter().map(ToString::to_string).collect();
        let present = if present.is_empty() {
            String::new()
        } else {
            format!("; not complete: {}", present.join(", "))
        };
        Err(Failure::new(
            Exit::Incomplete,
            format!("stopped when {complete} of {expected} clients had taken everything{present}"),
        )
        .tip("what breaks off starts over: this protocol cannot go on from where it was"))
    }

    fn say_averages(&self) {
        if let Some(averages) = self.served.averages() {
            self.report.dated(averages);
        }
    }
}
