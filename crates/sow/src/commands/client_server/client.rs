//! `sow raw client` and `sow framed client`, and the same for `sow get raw://…` and `framed://…`.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use sow_content::hash::{Md5, hexadecimal};
use sow_content::ticket::Address;
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
    args::client_server::{ClientPlan, StreamPlace},
    disk,
    exit::{Exit, Failure, chain},
    memory,
    quantity::{Rate, Size, Span},
    reach,
    report::{Event, Meter, Report},
    resolve,
    stop::{Cut, Stop},
    stream, target,
};

/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(250);

/// How long a transfer that was called off may take to tidy up.
const TIDYING: Duration = Duration::from_secs(5);

/// How many looks there are between two that scripts are told of.
const LOOKS_PER_EVENT: u32 = 4;

/// What is to be fetched, and how.
pub(crate) struct Wanted {
    /// What the server says before the file.
    pub(crate) framing: ClientServerDialect,
    /// The server.
    pub(crate) address: Address,
    /// Where the file goes.
    pub(crate) place: StreamPlace,
    /// Its length in bytes, when it is known from elsewhere.
    pub(crate) size: Option<u64>,
    /// The longest file that is taken, in bytes.
    pub(crate) max_size: Option<u64>,
    /// The address to call from.
    pub(crate) bind: Option<IpAddr>,
    /// Bytes per second.
    pub(crate) down: RateLimit,
}

/// Fetches the file that a plan names.
///
/// # Errors
/// When it does not come whole into its place.
pub(crate) async fn run(plan: ClientPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = Stop::listen(report)?;
    let deadline = plan.timeout.map(|timeout| Instant::now() + timeout);
    let address = match plan.host {
        Some(host) => Address { host, port: plan.port },
        None => reach::address_of(None, plan.port),
    };
    let wanted = Wanted {
        framing: plan.framing,
        address,
        place: plan.place,
        size: plan.size,
        max_size: plan.max_size,
        bind: plan.bind,
        down: RateLimit::new(plan.down_limit),
    };
    fetch(wanted, &stop, deadline, report).await.map(|()| Exit::Done)
}

/// Fetches a file into its place, and reports it.
///
/// # Errors
/// When it does not come whole into its place; nothing is left of it then.
pub(crate) async fn fetch(
    wanted: Wanted,
    stop: &Stop,
    deadline: Option<Instant>,
    report: &Report,
) -> Result<(), Failure> {
    let label = format!("{}://{}", wanted.framing, wanted.address);
    let addrs = match stop.bounded(deadline, resolve::look_up(&wanted.address)).await {
        Ok(addrs) => addrs?,
        Err(cut) => return Err(cut_short(cut, &label, &FetchStatus::default())),
    };
    let place = wanted.place.clone();
    let store = crate::blocking(move || open(&place)).await?;
    let default_most =
        if wanted.place == StreamPlace::Memory { memory::half_of_available() } else { u64::MAX };
    let config = ClientConfig {
        size: wanted.size,
        max_size: wanted.max_size.unwrap_or(default_most),
        ..ClientConfig::new(wanted.framing)
    };
    let options = FetchOptions { addrs, bind: wanted.bind, down: wanted.down.clone(), config };
    let watch = Arc::new(FetchHandle::default());
    let fetching = fetch_file(options, store, Arc::clone(&watch));
    tokio::pin!(fetching);
    let mut view = View::new(report, &label);
    let mut looks = interval(LOOK);
    let ended = loop {
        let cut = stop.bounded(deadline, std::future::pending::<()>());
        tokio::select! {
            ended = &mut fetching => break ended,
            Err(cut) = cut => {
                let status = watch.status();
                watch.cancel();
                // It removes what there is of the file, unless whoever reads our standard output
                // has fallen asleep.
                let _ = timeout(TIDYING, fetching).await;
                return Err(cut_short(cut, &label, &status));
            }
            _ = looks.tick() => view.look(&watch.status()),
        }
    };
    let status = watch.status();
    if ended.is_ok() {
        view.look(&status);
    }
    let length_known = status.total.is_some();
    drop(view);
    match ended {
        Ok(fetched) => tell(&wanted, fetched, length_known, report).await,
        Err(error) => Err(failure(error, &wanted, &label)),
    }
}

fn open(place: &StreamPlace) -> Result<SequentialTarget, Failure> {
    Ok(match place {
        StreamPlace::Memory => SequentialTarget::Memory(SequentialMemory::default()),
        StreamPlace::Stdout => {
            SequentialTarget::Pipe(SequentialPipe::new(std::io::stdout(), "standard output"))
        }
        StreamPlace::File { path, overwrite } => {
            SequentialTarget::File(SequentialFile::claim(path, *overwrite)?)
        }
    })
}

/// Reports a file that has come.
async fn tell(
    wanted: &Wanted,
    fetched: FetchedFile,
    length_known: bool,
    report: &Report,
) -> Result<(), Failure> {
    let FetchedFile { target: store, placement: placed, bytes, server: from, duration: took } =
        fetched;
    let seconds = took.as_secs_f64();
    let rate = Rate((bytes as f64 / seconds.max(1e-6)) as u64);
    let md5 = match store {
        SequentialTarget::Memory(memory) => {
            Some(crate::blocking(move || Ok(md5_of(&memory))).await?)
        }
        SequentialTarget::File(_) | SequentialTarget::Pipe(_) => None,
    };
    let path = match (&wanted.place, &placed) {
        (StreamPlace::File { path, .. }, _) => Some(path.to_string_lossy()),
        (StreamPlace::Stdout, _) => Some("-".into()),
        (StreamPlace::Memory, _) => None,
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
                report.note(format_args!("{name} is there already, with the same {}", Size(bytes)));
            } else {
                report.note(format_args!("{name}: {} in {} ({rate})", Size(bytes), Span(took)));
                report.note(format_args!("time used: {seconds:.2} sec"));
            }
        }
    }
    report.note(promise(length_known));
    Ok(())
}

/// What the result does not say, in words.
fn promise(length_known: bool) -> &'static str {
    if length_known {
        "its length is right; its bytes were not checked, since this protocol has no check"
    } else {
        "length unknown to this protocol: the end of the connection was taken for the end of the file"
    }
}

fn md5_of(memory: &SequentialMemory) -> String {
    let mut digest = Md5::new();
    memory.runs().for_each(|run| digest.update(run));
    hexadecimal(&digest.finish())
}

fn failure(error: FetchError, wanted: &Wanted, label: &str) -> Failure {
    match error {
        FetchError::GaveUp { reason, .. } => {
            let failure = |exit| Failure::new(exit, format!("{label}: {}", chain(&error)));
            match reason {
                GiveUp::OutOfReach => failure(Exit::Unreachable)
                    .tip("check that the server runs there, the address, and the firewall between"),
                GiveUp::BrokenOff { .. } => failure(Exit::Unfinished)
                    .tip("run the same line again; this protocol starts over from the first byte"),
                GiveUp::WrongSize { .. } => {
                    failure(Exit::Unverified).tip("check --size, and the file at the server")
                }
                GiveUp::TooLong { .. }
                    if wanted.max_size.is_none()
                        && wanted.size.is_none()
                        && wanted.place == StreamPlace::Memory =>
                {
                    failure(Exit::Unverified).tip("name a file with -o, or allow more memory with --max-size")
                }
                GiveUp::TooLong { .. } if wanted.size.is_some() => {
                    failure(Exit::Unverified).tip("check --size, and the file at the server")
                }
                GiveUp::TooLong { .. } if wanted.max_size.is_some() => {
                    failure(Exit::Unverified).tip("check --max-size, and the file at the server")
                }
                GiveUp::TooLong { .. } => failure(Exit::Unverified).tip("check the file at the server"),
            }
        }
        FetchError::Store(StoreError::TargetExists { path }) => match &wanted.place {
            StreamPlace::File { path, .. } => target::differs(path),
            StreamPlace::Memory | StreamPlace::Stdout => target::differs(&path),
        },
        FetchError::Store(StoreError::Io { source, .. }) if wanted.place == StreamPlace::Stdout => {
            stream::closed(&source)
        }
        FetchError::Store(error) if error.kind() == StoreErrorKind::DiskFull => {
            Failure::new(disk::exit_of(error.kind()), chain(&error))
                .tip("make room, or choose another place, and run the same line again; it starts over from the first byte")
        }
        FetchError::Store(error) => disk::failing(&error),
        FetchError::Cancelled => Failure::new(Exit::Interrupted, "interrupted"),
    }
}

fn cut_short(cut: Cut, label: &str, status: &FetchStatus) -> Failure {
    let how_far = match (status.attempts, status.total) {
        (0, _) => format!("{label} has not answered"),
        (_, Some(total)) => {
            format!("{} of {} had come from {label}", Size(status.received), Size(total))
        }
        (_, None) => format!("{} had come from {label}", Size(status.received)),
    };
    let tip =
        "this protocol cannot go on from there: the same line starts over from the first byte";
    match cut {
        Cut::Interrupted => {
            Failure::new(Exit::Interrupted, format!("interrupted: {how_far}")).tip(tip)
        }
        Cut::TooLate => Failure::new(Exit::Unfinished, format!("out of time: {how_far}")).tip(tip),
    }
}

/// A transfer as it is shown.
struct View<'a> {
    report: &'a Report,
    label: &'a str,
    meter: Meter,
    looks: u32,
    /// What had come at the last looks, the newest last.
    samples: Vec<(Instant, u64)>,
    begun: u32,
    broken: u32,
}

impl<'a> View<'a> {
    fn new(report: &'a Report, label: &'a str) -> Self {
        Self {
            report,
            label,
            meter: report.meter(label),
            looks: 0,
            samples: Vec::new(),
            begun: 0,
            broken: 0,
        }
    }

    fn look(&mut self, status: &FetchStatus) {
        self.tell_interruptions(status);
        self.samples.push((Instant::now(), status.received));
        if self.samples.len() > 9 {
            self.samples.remove(0);
        }
        let rate = self.rate();
        let text = || match (status.attempts, status.total) {
            (0, _) => "calling the server".to_owned(),
            (_, _) if !status.is_connected && status.interruptions > 0 => {
                format!("lost the server after {}; calling it again", Size(status.received))
            }
            (_, Some(total)) => {
                format!("{} of {}  down {}", Size(status.received), Size(total), Rate(rate))
            }
            (_, None) => {
                format!("{}, nobody knows of how much  down {}", Size(status.received), Rate(rate))
            }
        };
        match status.total {
            Some(total) => self.meter.set(status.received, total, text),
            None => self.meter.set_of_unknown(text),
        }
        if self.looks.is_multiple_of(LOOKS_PER_EVENT) {
            self.report.event(&Event::Progress {
                bytes: status.received,
                total: status.total,
                rate_down: rate,
                rate_up: 0,
                peers: usize::from(status.is_connected),
                sent: None,
            });
        }
        self.looks += 1;
    }

    /// Says at once that the server is lost, and later that it is there again.
    fn tell_interruptions(&mut self, status: &FetchStatus) {
        if status.interruptions > self.broken {
            let why = status.last_interruption.as_deref().unwrap_or("the connection was lost");
            self.report.warn(format_args!("{}: {why}; calling it again", self.label));
            self.broken = status.interruptions;
        }
        if status.attempts > self.begun {
            if self.begun > 0 {
                self.report.note(format_args!(
                    "{}: connected again; starting over from the first byte",
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
    fn how_far_it_was_is_said() {
        let mut status = FetchStatus::default();
        let text = |status: &FetchStatus| {
            cut_short(Cut::TooLate, "raw://h:1", status).message().to_owned()
        };
        assert_eq!(text(&status), "out of time: raw://h:1 has not answered");
        (status.attempts, status.received) = (1, 3 << 20);
        assert_eq!(text(&status), "out of time: 3.0 MiB had come from raw://h:1");
        status.total = Some(4 << 20);
        assert_eq!(text(&status), "out of time: 3.0 MiB of 4.0 MiB had come from raw://h:1");
    }
}
