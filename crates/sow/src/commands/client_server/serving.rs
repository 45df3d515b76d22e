//! What a `raw` or `framed` server tells of its clients: document 1's log lines, the events of
//! `--json`, and the averages in the end. Used by the servers' own commands and by `sow send
//! --also`.

use std::{net::SocketAddr, time::Duration};

use sow_engine::client_server::Admission;
use sow_node::FileServerEvent;

use crate::{
    quantity::{Rate, Size},
    report::{Event, ReceiverState, Report},
};

/// The clients of one server, as far as they were served.
pub(crate) struct Served {
    report: Report,
    /// Of the file, in bytes.
    length: u64,
    /// How long each client took that has everything.
    took: Vec<Duration>,
    /// Those who are being served.
    present: Vec<SocketAddr>,
}

impl Served {
    pub(crate) fn new(report: &Report, length: u64) -> Self {
        Self { report: report.clone(), length, took: Vec::new(), present: Vec::new() }
    }

    /// How many clients have taken everything and closed the connection.
    pub(crate) fn complete(&self) -> usize {
        self.took.len()
    }

    /// Those who are being served now.
    pub(crate) fn present(&self) -> &[SocketAddr] {
        &self.present
    }

    /// Takes in what the server reports, and says it.
    pub(crate) fn note(&mut self, event: &FileServerEvent) {
        let report = self.report.clone();
        match event {
            FileServerEvent::Accepted { addr, admission } => {
                report.dated(format_args!("accept connection from {addr}"));
                match admission {
                    Admission::Serve => {}
                    Admission::Wait => report.dated(format_args!("{addr} waits for its turn")),
                    Admission::Refuse => report
                        .dated_warning(format_args!("{addr} is refused: too many wait already")),
                }
            }
            FileServerEvent::Started { addr } => {
                self.present.push(*addr);
                report.dated(format_args!("{addr} begin downloading file"));
                self.tell(addr, 0, ReceiverState::Connected);
            }
            FileServerEvent::Finished { addr, duration, is_closed } => {
                self.present.retain(|one| one != addr);
                report.dated(format_args!("{addr} finished downloading"));
                report.dated(format_args!("time used: {:.2} sec", duration.as_secs_f64()));
                if *is_closed {
                    self.took.push(*duration);
                    self.tell(addr, self.length, ReceiverState::Complete);
                } else {
                    report.dated_warning(format_args!(
                        "{addr} has not closed the connection: it may not have received everything"
                    ));
                    self.tell(addr, self.length, ReceiverState::Gone);
                }
            }
            FileServerEvent::Failed { addr, sent, reason } => {
                self.present.retain(|one| one != addr);
                report.dated_warning(format_args!(
                    "{addr} broke off after {}: {reason}",
                    Size(*sent)
                ));
                self.tell(addr, *sent, ReceiverState::Gone);
            }
        }
    }

    /// The averages of those who have everything, as document 1 has them.
    pub(crate) fn averages(&self) -> Option<String> {
        let count = u32::try_from(self.took.len()).ok().filter(|count| *count > 0)?;
        let average = self.took.iter().sum::<Duration>().as_secs_f64() / f64::from(count);
        let rate = Rate((self.length as f64 / average.max(1e-6)) as u64);
        let clients = if count == 1 { "1 client".to_owned() } else { format!("{count} clients") };
        Some(format!("average of {clients}: {average:.2} sec, {rate}"))
    }

    fn tell(&self, addr: &SocketAddr, bytes: u64, state: ReceiverState) {
        self.report.event(&Event::Receiver { peer: &addr.to_string(), bytes, state });
    }
}
