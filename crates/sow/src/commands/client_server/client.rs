//! Receiving a file from a `raw` or `framed` server: `sow raw client`, `sow framed client`, `sow
//! get raw://…` and `sow get framed://…`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use sow_content::{
    hash::{Md5, hexadecimal},
    ticket::Address,
};
use sow_engine::client_server::{ClientConfig, ClientServerDialect, GiveUp};
use sow_node::{
    FetchError, FetchHandle, FetchOptions, FetchStatus, FetchedFile, RateLimit, fetch_file,
};
use sow_store::{
    Placement, SequentialFile, SequentialMemory, SequentialPipe, SequentialTarget, StoreError,
    StoreErrorKind,
};
use tokio::time::{Instant, interval, timeout};

use crate::{
    advertised_address::advertised_address,
    args::client_server::{ClientPlan, StreamTarget},
    exit::{Exit, Failure, chain},
    file_errors, memory_limit,
    name_lookup::look_up,
    origin_index::waiting_text,
    quantity::{Rate, Size, Span},
    report::{Event, Meter, Report},
    runtime::blocking,
    stdout,
    stop_signal::{Interrupted, StopSignal},
    target,
};

/// The interval between two updates of the progress display.
const VIEW_INTERVAL: Duration = Duration::from_millis(250);

/// How long an interrupted transfer may take to remove its partial file.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// After how long it is shown that a server is waited for.
const SHOWN_WAIT: Duration = Duration::from_secs(2);

/// The number of updates for each progress event.
const UPDATES_PER_EVENT: u32 = 4;

/// The number of samples of received bytes from which the rate is computed: two seconds.
const RATE_SAMPLES: usize = 9;

/// What to check when a server cannot be reached.
const UNREACHABLE_TIP: &str =
    "check that the server runs there, the address, and the firewall between";

/// A transfer of one file.
pub(crate) struct Transfer {
    /// The protocol.
    pub(crate) dialect: ClientServerDialect,
    /// The server.
    pub(crate) address: Address,
    /// Where the file goes.
    pub(crate) target: StreamTarget,
    /// The length of the file in bytes, if it is known.
    pub(crate) size: Option<u64>,
    /// The length of the longest acceptable file, in bytes.
    pub(crate) max_size: Option<u64>,
    /// The local address to connect from.
    pub(crate) bind: Option<IpAddr>,
    /// Bytes per second.
    pub(crate) down: RateLimit,
    /// How long a server is waited for that is not there yet; a few seconds if it is not given.
    pub(crate) origin_timeout: Option<Duration>,
}

/// Receives the file of a plan.
///
/// # Errors
/// When the target is not complete in the end.
pub(crate) async fn run(plan: ClientPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let deadline = plan.timeout.map(|timeout| Instant::now() + timeout);
    let address = match plan.host {
        Some(host) => Address { host, port: plan.port },
        None => advertised_address(None, plan.port),
    };
    let transfer = Transfer {
        dialect: plan.dialect,
        address,
        target: plan.target,
        size: plan.size,
        max_size: plan.max_size,
        bind: plan.bind,
        down: RateLimit::new(plan.down_limit),
        origin_timeout: None,
    };
    receive(transfer, &stop, deadline, report).await.map(|()| Exit::Done)
}

/// Receives a file into its target, and reports it.
///
/// # Errors
/// When the target is not complete in the end; the partial file is removed.
pub(crate) async fn receive(
    transfer: Transfer,
    stop: &StopSignal,
    deadline: Option<Instant>,
    report: &Report,
) -> Result<(), Failure> {
    let label = format!("{}://{}", transfer.dialect, transfer.address);
    let addrs = match stop.interruptible(deadline, look_up(&transfer.address)).await {
        Ok(addrs) => addrs?,
        Err(cause) => return Err(interruption(cause, &label, &FetchStatus::default())),
    };
    let target = transfer.target.clone();
    let store = blocking(move || open(&target)).await?;
    let handle = Arc::new(FetchHandle::default());
    let fetching = fetch_file(fetch_options(&transfer, addrs), store, Arc::clone(&handle));
    tokio::pin!(fetching);
    let mut view = TransferView::new(report, &label);
    let mut ticks = interval(VIEW_INTERVAL);
    let ended = loop {
        let interrupted = stop.interruptible(deadline, std::future::pending::<()>());
        tokio::select! {
            ended = &mut fetching => break ended,
            Err(cause) = interrupted => {
                let status = handle.status();
                handle.cancel();
                // The transfer removes its partial file, unless it is blocked by a reader of
                // standard output that does not read.
                let _ = timeout(CLEANUP_TIMEOUT, fetching).await;
                let is_unreached = status.attempts == 0 && cause == Interrupted::ByTimeout;
                return Err(match transfer.origin_timeout.filter(|_| is_unreached) {
                    Some(_) => unreachable(&label, &status),
                    None => interruption(cause, &label, &status),
                });
            }
            _ = ticks.tick() => view.update(&handle.status()),
        }
    };
    let status = handle.status();
    if ended.is_ok() {
        view.update(&status);
    }
    let length_known = status.total.is_some();
    drop(view);
    match ended {
        Ok(fetched) => report_complete(&transfer, fetched, length_known, report).await,
        Err(error) => Err(fetch_failure(error, &transfer, &label)),
    }
}

fn fetch_options(transfer: &Transfer, addrs: Vec<SocketAddr>) -> FetchOptions {
    let default_max_size = match transfer.target {
        StreamTarget::Memory => memory_limit::half_of_available(),
        StreamTarget::Stdout | StreamTarget::File { .. } => u64::MAX,
    };
    let usual = ClientConfig::new(transfer.dialect);
    let config = ClientConfig {
        size: transfer.size,
        max_size: transfer.max_size.unwrap_or(default_max_size),
        connect_timeout: transfer.origin_timeout.unwrap_or(usual.connect_timeout),
        ..usual
    };
    FetchOptions { addrs, bind: transfer.bind, down: transfer.down.clone(), config }
}

fn open(target: &StreamTarget) -> Result<SequentialTarget, Failure> {
    Ok(match target {
        StreamTarget::Memory => SequentialTarget::Memory(SequentialMemory::default()),
        StreamTarget::Stdout => {
            SequentialTarget::Pipe(SequentialPipe::new(std::io::stdout(), "standard output"))
        }
        StreamTarget::File { path, overwrite } => {
            SequentialTarget::File(SequentialFile::claim(path, *overwrite)?)
        }
    })
}

/// Reports a file that was received.
async fn report_complete(
    transfer: &Transfer,
    fetched: FetchedFile,
    length_known: bool,
    report: &Report,
) -> Result<(), Failure> {
    let FetchedFile { target: store, placement: placed, bytes, server: from, duration: took } =
        fetched;
    let seconds = took.as_secs_f64();
    let rate = Rate((bytes as f64 / seconds.max(1e-6)) as u64);
    let md5 = match store {
        SequentialTarget::Memory(memory) => Some(blocking(move || Ok(md5_of(&memory))).await?),
        SequentialTarget::File(_) | SequentialTarget::Pipe(_) => None,
    };
    let path = match (&transfer.target, &placed) {
        (StreamTarget::File { path, .. }, _) => Some(path.to_string_lossy()),
        (StreamTarget::Stdout, _) => Some("-".into()),
        (StreamTarget::Memory, _) => None,
    };
    report.event(&Event::StreamComplete {
        path: path.as_deref(),
        bytes,
        seconds: (seconds * 1000.0).round() / 1000.0,
        resumed_bytes: 0,
        from: BTreeMap::from([(from.to_string(), bytes)]),
        length_known,
        md5: md5.as_deref(),
    });
    match (&md5, &placed) {
        (Some(md5), _) if !report.is_json() => {
            report.out(format_args!("size: {bytes} bytes ({})", Size(bytes)));
            report.out(format_args!("time used: {seconds:.2} sec"));
            report.out(format_args!("rate: {rate}"));
            report.out(format_args!("MD5: {md5}"));
        }
        (_, placed) => {
            let name = path.as_deref().filter(|path| *path != "-").unwrap_or("file");
            if matches!(placed, Placement::Identical(_)) {
                report.note(format_args!("{name} exists already, with the same {}", Size(bytes)));
            } else {
                report.note(format_args!("{name}: {} in {} ({rate})", Size(bytes), Span(took)));
                report.note(format_args!("time used: {seconds:.2} sec"));
            }
        }
    }
    report.note(limits_of_protocol(length_known));
    Ok(())
}

/// What the protocol does not guarantee.
fn limits_of_protocol(length_known: bool) -> &'static str {
    if length_known {
        "the length is correct; the content was not checked, as this protocol has no check"
    } else {
        "this protocol sends no length: the end of the connection counts as the end of the file"
    }
}

fn md5_of(memory: &SequentialMemory) -> String {
    let mut digest = Md5::new();
    memory.buffers().for_each(|buffer| digest.update(buffer));
    hexadecimal(&digest.finish())
}

fn fetch_failure(error: FetchError, transfer: &Transfer, label: &str) -> Failure {
    match error {
        FetchError::GaveUp { reason, .. } => {
            let (exit, tip) = exit_and_tip(&reason, transfer);
            Failure::new(exit, format!("{label}: {}", chain(&error))).tip(tip)
        }
        FetchError::Store(StoreError::TargetExists { path }) => match &transfer.target {
            StreamTarget::File { path, .. } => target::exists_and_differs(path),
            StreamTarget::Memory | StreamTarget::Stdout => target::exists_and_differs(&path),
        },
        FetchError::Store(StoreError::Io { source, .. })
            if transfer.target == StreamTarget::Stdout =>
        {
            stdout::failure(&source)
        }
        FetchError::Store(error) if error.kind() == StoreErrorKind::DiskFull => {
            Failure::new(file_errors::exit_of(error.kind()), chain(&error)).tip(
                "make room or choose another disk, and run the same command again; the transfer \
                 starts again from the first byte",
            )
        }
        FetchError::Store(error) => file_errors::store_failure(&error),
        FetchError::Cancelled => Failure::new(Exit::Interrupted, "interrupted"),
    }
}

fn exit_and_tip(reason: &GiveUp, transfer: &Transfer) -> (Exit, &'static str) {
    match reason {
        GiveUp::OutOfReach => (Exit::Unreachable, UNREACHABLE_TIP),
        GiveUp::BrokenOff { .. } => (
            Exit::Unfinished,
            "run the same command again; the transfer starts again from the first byte",
        ),
        GiveUp::WrongSize { .. } => (Exit::Unverified, "check --size, and the file at the server"),
        GiveUp::TooLong { .. } => (
            Exit::Unverified,
            match transfer {
                Transfer { size: Some(_), .. } => "check --size, and the file at the server",
                Transfer { max_size: Some(_), .. } => {
                    "check --max-size, and the file at the server"
                }
                Transfer { target: StreamTarget::Memory, .. } => {
                    "name a file with -o, or allow more memory with --max-size"
                }
                _ => "check the file at the server",
            },
        ),
    }
}

/// The failure because a server did not answer within the time of `--timeout`.
fn unreachable(label: &str, status: &FetchStatus) -> Failure {
    let reason = status.last_error.as_deref().unwrap_or("no answer");
    Failure::new(Exit::Unreachable, format!("{label}: {reason}")).tip(UNREACHABLE_TIP)
}

/// The failure of an interrupted transfer.
fn interruption(cause: Interrupted, label: &str, status: &FetchStatus) -> Failure {
    let state = match (status.attempts, status.total) {
        (0, _) => format!("{label} has not answered"),
        (_, Some(total)) => {
            format!("{} of {} received from {label}", Size(status.received), Size(total))
        }
        (_, None) => format!("{} received from {label}", Size(status.received)),
    };
    let failure = match cause {
        Interrupted::BySignal => Failure::new(Exit::Interrupted, format!("interrupted: {state}")),
        Interrupted::ByTimeout => Failure::new(Exit::Unfinished, format!("timeout: {state}")),
    };
    failure.tip("this protocol has no resume: the same command starts again from the first byte")
}

/// The progress display of a transfer.
struct TransferView<'a> {
    report: &'a Report,
    label: &'a str,
    meter: Meter,
    started: Instant,
    updates: u32,
    /// The received bytes at the last updates, the newest last.
    samples: Vec<(Instant, u64)>,
    begun: u32,
    broken: u32,
}

impl<'a> TransferView<'a> {
    fn new(report: &'a Report, label: &'a str) -> Self {
        Self {
            report,
            label,
            meter: report.meter(label),
            started: Instant::now(),
            updates: 0,
            samples: Vec::new(),
            begun: 0,
            broken: 0,
        }
    }

    fn update(&mut self, status: &FetchStatus) {
        self.report_interruptions(status);
        self.samples.push((Instant::now(), status.received));
        if self.samples.len() > RATE_SAMPLES {
            self.samples.remove(0);
        }
        let rate = self.rate();
        let since = self.started.elapsed();
        let text = || match (status.attempts, status.total) {
            (0, _) if since >= SHOWN_WAIT => waiting_text("the server", since),
            (0, _) => "connecting to the server".to_owned(),
            (_, _) if !status.is_connected && status.interruptions > 0 => {
                format!("lost the connection after {}; reconnecting", Size(status.received))
            }
            (_, Some(total)) => {
                format!("{} of {}  down {}", Size(status.received), Size(total), Rate(rate))
            }
            (_, None) => {
                format!("{} of unknown size  down {}", Size(status.received), Rate(rate))
            }
        };
        match status.total {
            Some(total) => self.meter.set(status.received, total, text),
            None => self.meter.set_without_total(text),
        }
        if self.updates.is_multiple_of(UPDATES_PER_EVENT) {
            self.report.event(&Event::Progress {
                bytes: status.received,
                total: status.total,
                rate_down: rate,
                rate_up: 0,
                peers: usize::from(status.is_connected),
                sent: None,
            });
        }
        self.updates += 1;
    }

    /// Warns when the connection is lost, and reports when it is restored.
    fn report_interruptions(&mut self, status: &FetchStatus) {
        if status.interruptions > self.broken {
            let reason = status.last_interruption.as_deref().unwrap_or("the connection was lost");
            self.report.warn(format_args!("{}: {reason}; reconnecting", self.label));
            self.broken = status.interruptions;
        }
        if status.attempts > self.begun {
            if self.begun > 0 {
                self.report.note(format_args!(
                    "{}: connected again; starting from the first byte",
                    self.label
                ));
            }
            self.begun = status.attempts;
            self.samples.clear();
        }
    }

    /// Bytes per second over the last two seconds.
    fn rate(&self) -> u64 {
        let (Some((then, before)), Some((now, after))) =
            (self.samples.first(), self.samples.last())
        else {
            return 0;
        };
        let seconds = now.duration_since(*then).as_secs_f64();
        if seconds > 0.0 { (after.saturating_sub(*before) as f64 / seconds) as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_tells_how_much_was_received() {
        let mut status = FetchStatus::default();
        let text = |status: &FetchStatus| {
            interruption(Interrupted::ByTimeout, "raw://h:1", status).message().to_owned()
        };
        assert_eq!(text(&status), "timeout: raw://h:1 has not answered");
        (status.attempts, status.received) = (1, 3 << 20);
        assert_eq!(text(&status), "timeout: 3.0 MiB received from raw://h:1");
        status.total = Some(4 << 20);
        assert_eq!(text(&status), "timeout: 3.0 MiB of 4.0 MiB received from raw://h:1");
    }
}
