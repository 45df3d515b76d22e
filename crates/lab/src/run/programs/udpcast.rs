//! The adapter of udpcast: one sender and a receiver on every host, by multicast. The sender waits
//! until all receivers have connected, sends at the rate of the slowest link, and sends again what
//! a receiver reports as lost.

use std::{fs, path::PathBuf};

use super::{
    Adapter, CommandLine, ProgramContext, ProgramError, ProgramInfo, ReceiverProgram, TestHost,
    installed, multicast,
};
use crate::{record::Missing, scenario::Mode};

/// The interface of every host.
const INTERFACE: [&str; 2] = ["--interface", "eth0"];
/// The file's bytes in a packet, the default and the maximum of udpcast.
const BLOCK_BYTES: u64 = 1456;
/// The part of a link's rate that may be used. udpcast does not count the 14 bytes of the Ethernet
/// header beside the 1,500 bytes of a packet.
const RATE_PART: f64 = 0.99;
/// The interval at which the sender looks whether all receivers have connected. Its default of 2 s
/// would be a part of every measured time.
const HELLO_INTERVAL_MS: &str = "200";
/// The time that a receiver stays after its last byte. Its default of 0.5 s would be measured, too.
const EXIT_WAIT_MS: &str = "1";
/// What the sender prints when it can be reached.
const READY_TEXT: &str = "UDP sender for";

/// udpcast in one run.
#[derive(Debug, Default)]
pub(super) struct Udpcast {
    log: PathBuf,
}

/// The version of udpcast, and how it is set up.
pub(super) fn program_info(mode: Mode) -> Result<ProgramInfo, Missing> {
    installed::find(mode, [("udp-sender", "udpcast"), ("udp-receiver", "udpcast")])?;
    Ok(ProgramInfo {
        // Neither program has an option that prints its version.
        version: Some(match installed::package_version("udpcast") {
            Some(version) => format!("udpcast {version}"),
            None => "udpcast".to_owned(),
        }),
        note: Some(
            "udpcast: multicast that the switch floods; at most 99 % of the rate of the slowest \
             link; full duplex; the sender waits for all receivers and looks for them every 0.2 s \
             instead of every 2 s; receivers exit at once instead of after 0.5 s; no forward error \
             correction, as lost packets are sent again."
                .to_owned(),
        ),
    })
}

impl Adapter for Udpcast {
    fn start_origins(&mut self, context: &ProgramContext<'_>) -> Result<(), ProgramError> {
        let host = multicast::only_origin(context, "udpcast")?;
        let rate = multicast::slowest_rate(context, host)? * RATE_PART;
        self.log = context.work.join("udp-sender.log");
        let line = CommandLine::new(installed::path_of("udp-sender"))
            .args(INTERFACE)
            .args(["--min-receivers", &context.receivers.len().to_string()])
            .args(["--nokbd", "--full-duplex"])
            .args(["--rexmit-hello-interval", HELLO_INTERVAL_MS])
            .args(["--max-bitrate", &format!("{}k", (rate / 1e3).floor())])
            // One receiver, too, is sent to by multicast.
            .args(["--nopointopoint", "--file"])
            .arg(context.content);
        let sender = context.start_finite(host, &line, &self.log)?;
        let is_ready = || fs::read_to_string(&self.log).ok().filter(|log| log.contains(READY_TEXT));
        context.wait_for(&sender, "ready", is_ready).map(drop)
    }

    fn prepare_receiver(
        &mut self,
        context: &ProgramContext<'_>,
        index: usize,
    ) -> Result<ReceiverProgram, ProgramError> {
        let host: &TestHost = &context.receivers[index];
        let copy = host.folder.join(context.file_name());
        let line = CommandLine::new(installed::path_of("udp-receiver"))
            .args(INTERFACE)
            .args(["--nosync", "--nokbd", "--exit-wait", EXIT_WAIT_MS, "--file"])
            .arg(&copy);
        let process = context.start_held(host, &line)?;
        Ok(ReceiverProgram::with_clean_exit(process, copy, context.origins[0].address.to_string()))
    }

    fn payload_sent(&mut self, _context: &ProgramContext<'_>) -> Vec<Option<u64>> {
        vec![fs::read_to_string(&self.log).ok().and_then(|log| bytes_sent(&log))]
    }
}

/// The bytes of the file in the sender's last line of progress, with those that were sent again:
/// `bytes=  9 784 320  re-xmits=0000005 (  0.0%) slice=0112 -   0`.
fn bytes_sent(log: &str) -> Option<u64> {
    let line = log.rsplit(['\r', '\n']).find(|line| line.trim_start().starts_with("bytes="))?;
    let (bytes, rest) = line.split_once("bytes=")?.1.split_once("re-xmits=")?;
    let digits = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    // Above 10 GB, the number has a letter for its unit; it is not exact then.
    let bytes: u64 = digits(bytes).parse().ok()?;
    let again: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(bytes + again * BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_progress_has_the_bytes_that_were_sent() {
        let log = "Udp-sender 20120424\nStarting transfer: 00000009\n\
                   bytes=  9 784 320  re-xmits=0000000 (  0.0%) slice=0112 -   0\r\
                   bytes= 10 000 000  re-xmits=0000005 (  0.0%) slice=0112 -   0\r\
                   Transfer complete.\n";
        assert_eq!(bytes_sent(log), Some(10_000_000 + 5 * 1456));
        assert_eq!(bytes_sent("Udp-sender 20120424\n"), None);
        assert_eq!(bytes_sent("bytes= 12.5G re-xmits=0"), None);
    }
}
