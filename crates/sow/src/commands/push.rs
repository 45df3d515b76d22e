//! `sow push`: shares content as `send` does, and runs `sow get` on every host over `ssh`.

use super::send::{self, PushSetup};
use crate::{
    args::{
        push::{PushArgs, PushPlan},
        send::SendArgs,
    },
    exit::{Exit, Failure},
    push::Program,
    report::Report,
};

/// Pushes a path to hosts until all are complete or have failed, or the run is to stop.
///
/// # Errors
/// When the port is unavailable, the path cannot be shared, or a host is not complete in the end.
pub(crate) async fn run(args: PushArgs, report: &Report) -> Result<Exit, Failure> {
    let PushPlan { path, hosts, fleet, ssh, jobs, install, options } = args.plan()?;
    if hosts.is_empty() {
        report.note("every host of that run is complete");
        return Ok(Exit::Done);
    }
    let program = Program::own().await?;
    let setup = PushSetup { hosts, ssh, program, policy: install, options, jobs };
    let send = SendArgs::for_push(path, args.listen, args.up);
    send::push(send, fleet, setup, report).await
}
