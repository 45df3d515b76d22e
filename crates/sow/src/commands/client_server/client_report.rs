//! The report of a `raw` or `framed` server about its clients: the log lines of the original `raw`
//! server, the events of `--json`, and the averages in the end. Used by `sow raw server`, `sow
//! framed server` and `sow send --also`.

use std::{net::SocketAddr, time::Duration};

use sow_engine::client_server::Admission;
use sow_node::FileServerEvent;

use crate::{
    quantity::{Rate, Size},
    report::{Event, ReceiverState, Report},
};

/// The clients of one server.
pub(crate) struct ClientReport {
    report: Report,
    /// The length of the file in bytes.
    length: u64,
    /// The duration of each complete transfer.
    took: Vec<Duration>,
    /// The clients that are being served.
    active: Vec<SocketAddr>,
}

impl ClientReport {
    pub(crate) fn new(report: &Report, length: u64) -> Self {
        Self { report: report.clone(), length, took: Vec::new(), active: Vec::new() }
    }

    /// The number of clients that have taken the whole file and closed the connection.
    pub(crate) fn complete_count(&self) -> usize {
        self.took.len()
    }

    /// The clients that are being served now.
    pub(crate) fn active(&self) -> &[SocketAddr] {
        &self.active
    }

    /// Reports an event of the server.
    pub(crate) fn on_event(&mut self, event: &FileServerEvent) {
        let report = self.report.clone();
        match event {
            FileServerEvent::Accepted { addr, admission } => {
                report.timestamped(format_args!("accept connection from {addr}"));
                match admission {
                    Admission::Serve => {}
                    Admission::Wait => report.timestamped(format_args!("{addr} is waiting")),
                    Admission::Refuse => report.timestamped_warning(format_args!(
                        "{addr} is rejected: too many clients are waiting"
                    )),
                }
            }
            FileServerEvent::Started { addr } => {
                self.active.push(*addr);
                report.timestamped(format_args!("{addr} begin downloading file"));
                self.emit_receiver(addr, 0, ReceiverState::Connected);
            }
            FileServerEvent::Finished { addr, duration, is_closed } => {
                self.active.retain(|one| one != addr);
                report.timestamped(format_args!("{addr} finished downloading"));
                report.timestamped(format_args!("time used: {:.2} sec", duration.as_secs_f64()));
                if *is_closed {
                    self.took.push(*duration);
                    self.emit_receiver(addr, self.length, ReceiverState::Complete);
                } else {
                    report.timestamped_warning(format_args!(
                        "{addr} has not closed the connection: it may not have received the whole \
                         file"
                    ));
                    self.emit_receiver(addr, self.length, ReceiverState::Gone);
                }
            }
            FileServerEvent::Failed { addr, sent, reason } => {
                self.active.retain(|one| one != addr);
                report.timestamped_warning(format_args!(
                    "{addr} was disconnected after {}: {reason}",
                    Size(*sent)
                ));
                self.emit_receiver(addr, *sent, ReceiverState::Gone);
            }
        }
    }

    /// The averages of complete transfers, as the original server reports them.
    pub(crate) fn averages(&self) -> Option<String> {
        let count = u32::try_from(self.took.len()).ok().filter(|count| *count > 0)?;
        let average = self.took.iter().sum::<Duration>().as_secs_f64() / f64::from(count);
        let rate = Rate((self.length as f64 / average.max(1e-6)) as u64);
        let clients = if count == 1 { "1 client".to_owned() } else { format!("{count} clients") };
        Some(format!("average of {clients}: {average:.2} sec, {rate}"))
    }

    fn emit_receiver(&self, addr: &SocketAddr, bytes: u64, state: ReceiverState) {
        // These clients have no name.
        let peer = addr.to_string();
        let (id, name, peer) = (&*peer, &*peer, &*peer);
        self.report.event(&Event::Receiver { id, name, peer, bytes, state, error: None });
    }
}
