//! `sow demo`: the main job on this machine alone, then client/server beside peer-to-peer in a
//! table.

mod arena;
mod race;
mod table;

use crate::{
    args::demo::DemoArgs,
    exit::{Exit, Failure},
    report::Report,
    stop::Stop,
};

use self::{
    arena::Arena,
    race::{Mode, Outcome},
};

/// Runs the demonstration. Whatever happens, its processes end and its folder goes.
///
/// # Errors
/// When a process does not do its part, or the run was asked to stop.
pub(crate) async fn run(args: DemoArgs, report: &Report) -> Result<Exit, Failure> {
    let stop = Stop::listen(report)?;
    let arena = Arena::new(args.size, args.rate)?;
    let shown = tokio::select! {
        shown = show(&arena, args.receivers, report) => shown,
        () = stop.asked() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    arena.clear().await;
    shown.map(|()| Exit::Done)
}

async fn show(arena: &Arena, most: u32, report: &Report) -> Result<(), Failure> {
    report.note(arena.description(most));
    let first = race::run(arena, Mode::PeerToPeer, most, report).await?;
    report.note(format_args!("{}\n", first.in_words()));
    let mut outcomes: Vec<Outcome> = Vec::new();
    for receivers in 1..=most {
        outcomes.push(race::run(arena, Mode::ClientServer, receivers, report).await?);
        if receivers < most {
            outcomes.push(race::run(arena, Mode::PeerToPeer, receivers, report).await?);
        }
    }
    outcomes.push(first);
    if !report.is_json() {
        report.out(table::render(&outcomes));
    }
    Ok(())
}
