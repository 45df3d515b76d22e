//! `sow raw server` and `sow framed server`.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sow_content::{Geometry, hash::hexadecimal, ticket::Address};
use sow_engine::client_server::{AdmissionLimits, ClientServerDialect};
use sow_node::{FileServer, FileServerEvent, FileServerListener, FileServerOptions, RateLimit};
use sow_store::{DiskStore, Store};
use tokio::{sync::mpsc::UnboundedReceiver, time::interval};

use super::client_report::ClientReport;
use crate::{
    advertised_address::advertised_address,
    args::{client_server::ServerPlan, served_content::ServedContent},
    exit::{Exit, Failure, chain},
    quantity::Size,
    random_content::random_content,
    report::{Event, Report},
    runtime::blocking,
    stop_signal::StopSignal,
};

/// How long a client may read nothing before it is disconnected.
const CLIENT_STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The interval between two progress events.
const PROGRESS_EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// The length of a piece of random content, in bytes.
const RANDOM_PIECE_LENGTH: u64 = 1 << 20;

/// Serves until the expected number of clients has the whole file, or the run is to stop.
///
/// # Errors
/// When the file cannot be served, the port is unavailable, or too few clients have the file in the
/// end.
pub(crate) async fn run(plan: ServerPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let content = plan.content.clone();
    let up = RateLimit::new(plan.up_limit);
    let listener = FileServerListener::bind(options(plan.dialect, plan.bind, plan.port, up))?;
    let (store, label) = blocking(move || open(&content)).await?;
    let (server, events) = listener.serve(Arc::clone(&store));
    report.timestamped(format_args!("server is bonded to port {}", server.port()));
    report.timestamped(format_args!("serving {label}"));
    let address = advertised_address(plan.bind, server.port());
    if !report.is_json() {
        report.out(format_args!(
            "sow {} client -s {} -p {}",
            plan.dialect, address.host, address.port
        ));
    }
    report.event(&ready_event(plan.dialect, &address));
    Serving {
        plan,
        report,
        clients: ClientReport::new(report, store.geometry().total()),
        server,
        started: Instant::now(),
    }
    .run(events, &stop)
    .await
}

/// The options of a server.
pub(crate) fn options(
    dialect: ClientServerDialect,
    bind: Option<IpAddr>,
    port: u16,
    up: RateLimit,
) -> FileServerOptions {
    FileServerOptions {
        dialect,
        bind,
        port,
        up,
        admission: AdmissionLimits::default(),
        stall: CLIENT_STALL_TIMEOUT,
    }
}

/// The event with the address of a server.
pub(crate) fn ready_event(dialect: ClientServerDialect, address: &Address) -> Event<'static> {
    Event::Ready {
        ticket: Some(format!("{dialect}://{address}")),
        magnet: None,
        torrent: None,
        port: address.port,
    }
}

/// The store with the content, and its description for the log.
fn open(content: &ServedContent) -> Result<(Arc<Store>, String), Failure> {
    let (store, label) = match content {
        ServedContent::File(path) => {
            let store = Store::from(DiskStore::serve_file(path)?);
            let size = Size(store.geometry().total());
            (store, format!("{} ({size})", path.display()))
        }
        ServedContent::Random(length) => {
            let (store, md5) = random_content(*length, |total| {
                Geometry::new(total, RANDOM_PIECE_LENGTH)
                    .map_err(|error| Failure::usage(chain(&error)))
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
    clients: ClientReport,
    server: FileServer,
    started: Instant,
}

impl Serving<'_> {
    async fn run(
        mut self,
        mut events: UnboundedReceiver<FileServerEvent>,
        stop: &StopSignal,
    ) -> Result<Exit, Failure> {
        let mut ticks = interval(PROGRESS_EVENT_INTERVAL);
        let mut before = 0;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.clients.on_event(&event),
                    None => {
                        let message = "serving ended without a reason (see -v)";
                        return Err(Failure::new(Exit::Failed, message));
                    }
                },
                _ = ticks.tick() => {
                    let sent = self.server.sent();
                    self.emit_progress(sent, sent - before);
                    before = sent;
                }
                () = stop.requested() => {
                    let sent = self.server.sent();
                    self.emit_progress(sent, sent - before);
                    return self.end_stopped();
                }
            }
            if self.plan.expect.is_some_and(|expected| self.clients.complete_count() >= expected) {
                self.report_done();
                return Ok(Exit::Done);
            }
        }
    }

    fn emit_progress(&self, sent: u64, last_second: u64) {
        self.report.event(&Event::Progress {
            bytes: sent,
            total: None,
            rate_down: 0,
            rate_up: last_second,
            peers: self.clients.active().len(),
            sent: None,
        });
    }

    fn report_done(&self) {
        self.report_averages();
        let path = match &self.plan.content {
            ServedContent::File(path) => path.as_path(),
            ServedContent::Random(_) => Path::new(""),
        };
        self.report.event(&Event::Complete {
            path: &path.to_string_lossy(),
            bytes: self.server.sent(),
            seconds: (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            resumed_bytes: 0,
            from: BTreeMap::new(),
        });
    }

    fn end_stopped(&self) -> Result<Exit, Failure> {
        self.report_averages();
        let complete = self.clients.complete_count();
        let Some(expected) = self.plan.expect else { return Ok(Exit::Interrupted) };
        let active: Vec<_> = self.clients.active().iter().map(ToString::to_string).collect();
        let active = if active.is_empty() {
            String::new()
        } else {
            format!("; not complete: {}", active.join(", "))
        };
        Err(Failure::new(
            Exit::Incomplete,
            format!(
                "stopped when {complete} of {expected} clients had taken the whole file{active}"
            ),
        )
        .tip(
            "this protocol has no resume: an interrupted transfer starts again from the first byte",
        ))
    }

    fn report_averages(&self) {
        if let Some(averages) = self.clients.averages() {
            self.report.timestamped(averages);
        }
    }
}
