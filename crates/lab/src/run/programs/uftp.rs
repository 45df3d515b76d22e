//! The adapter of UFTP: a daemon on every host that wants the file, and a server that announces it
//! by multicast until all of them have registered. It sends at the rate of the slowest link, and
//! sends again what a daemon reports as lost.

use super::{
    Adapter, CommandLine, ProgramContext, ProgramError, ProgramInfo, ReceiverProgram, TestHost,
    completion_hook::{HookOutput, completion_hook},
    context::write_file,
    installed, multicast,
};
use crate::{record::Missing, scenario::Mode};

/// The file's bytes in a packet: with UFTP's header of 28 bytes, that of UDP and that of IP they
/// are 1,500.
const BLOCK_BYTES: &str = "1444";
/// The part of a link's rate that may be used. UFTP counts 1,472 of the 1,514 bytes of a frame, and
/// its own messages need a little.
const RATE_PART: f64 = 0.96;
/// The round trip that is assumed at first, at least and at most, in seconds. The server announces
/// the file at this interval; its default of 0.5 s would be a part of every measured time.
const ROUND_TRIPS: &str = "0.2:0.01:15";
/// How often a message is sent before a daemon counts as gone: the maximum.
const ROBUSTNESS: &str = "50";

/// UFTP in one run.
#[derive(Debug, Default)]
pub(super) struct Uftp;

/// The version of UFTP, and how it is set up.
pub(super) fn program_info(mode: Mode) -> Result<ProgramInfo, Missing> {
    installed::find(mode, [("uftp", "uftp"), ("uftpd", "uftp")])?;
    Ok(ProgramInfo {
        version: Some(match installed::package_version("uftp") {
            Some(version) => format!("uftp {version}"),
            None => "uftp".to_owned(),
        }),
        note: Some(
            "uftp: multicast that the switch floods; 96 % of the rate of the slowest link; 1,444 \
             bytes of the file in a packet; announced every 0.2 s until all daemons have \
             registered; neither encryption nor congestion control."
                .to_owned(),
        ),
    })
}

/// The id of a host: its address in hexadecimal.
fn id(host: &TestHost) -> String {
    format!("0x{:08X}", u32::from(host.address))
}

impl Adapter for Uftp {
    fn start_origins(&mut self, context: &ProgramContext<'_>) -> Result<(), ProgramError> {
        let host = multicast::only_origin(context, "uftp")?;
        let rate = multicast::slowest_rate(context, host)? * RATE_PART;
        let clients: Vec<String> = context.receivers.iter().map(id).collect();
        let list = context.work.join("uftp-hosts");
        write_file(&list, &(clients.join("\n") + "\n"))?;
        let line = CommandLine::new(installed::path_of("uftp"))
            .args(["-I", "eth0", "-U", &id(host)])
            .args(["-R", &format!("{}", (rate / 1e3).floor()), "-b", BLOCK_BYTES])
            .args(["-r", ROUND_TRIPS, "-s", ROBUSTNESS, "-H"])
            .arg(format!("@{}", list.display()))
            .arg(context.content);
        context.start_finite(host, &line, &context.work.join("uftp.log")).map(drop)
    }

    fn prepare_receiver(
        &mut self,
        context: &ProgramContext<'_>,
        index: usize,
    ) -> Result<ReceiverProgram, ProgramError> {
        let host = &context.receivers[index];
        let line = CommandLine::new(installed::path_of("uftpd"))
            .args(["-d", "-t", "-I", "eth0", "-U", &id(host), "-D"])
            .arg(&host.folder)
            .arg("-s")
            // The daemon closes the outputs of its commands.
            .arg(completion_hook(context, HookOutput::ErrorOfParent)?);
        let process = context.start_held(host, &line)?;
        Ok(ReceiverProgram::with_event(process, host.folder.join(context.file_name())))
    }

    /// The server does not say how often it sent a packet.
    fn payload_sent(&mut self, context: &ProgramContext<'_>) -> Vec<Option<u64>> {
        vec![None; context.origins.len()]
    }
}
