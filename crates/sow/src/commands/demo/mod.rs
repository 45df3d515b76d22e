//! `sow demo`: a transfer to several receivers on this machine, then a table that compares
//! client/server with peer-to-peer.

mod measurement;
mod process;
mod table;
mod workspace;

use crate::{
    args::demo::DemoArgs,
    exit::{Exit, Failure},
    report::Report,
    stop_signal::StopSignal,
};

use self::{
    measurement::{Measurement, Mode, measure},
    workspace::Workspace,
};

/// Runs the demonstration. In the end its processes are stopped and its folder is removed, also
/// after a failure.
///
/// # Errors
/// When a process fails, or the run is to stop.
pub(crate) async fn run(args: DemoArgs, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let workspace = Workspace::new(args.size, args.rate)?;
    let ended = tokio::select! {
        ended = demonstrate(&workspace, args.receivers, report) => ended,
        () = stop.requested() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    workspace.remove().await;
    ended.map(|()| Exit::Done)
}

async fn demonstrate(
    workspace: &Workspace,
    max_receivers: u32,
    report: &Report,
) -> Result<(), Failure> {
    report.note(workspace.description(max_receivers));
    let first = measure(workspace, Mode::PeerToPeer, max_receivers, report).await?;
    report.note(first.sentence());
    report.note("");
    let mut measurements: Vec<Measurement> = Vec::new();
    for receivers in 1..=max_receivers {
        measurements.push(measure(workspace, Mode::ClientServer, receivers, report).await?);
        if receivers < max_receivers {
            measurements.push(measure(workspace, Mode::PeerToPeer, receivers, report).await?);
        }
    }
    measurements.push(first);
    if !report.is_json() {
        report.out_lines(&table::render(&measurements));
    }
    Ok(())
}
