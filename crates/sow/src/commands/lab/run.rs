//! `sow lab run`: runs an experiment, reports its progress, and prints its table in the end.

use std::time::Duration;

use sow_lab::{
    record::{Missing, Run},
    report,
    run::{self, LedgerError, Outcome, Plan, Progress, RunError, Setup},
    scenario::{MAX_SIMULATED_USERS, MAX_USERS, Scenario, ScenarioError},
};

use super::{report::failure_of, simulation::Worlds};
use crate::{
    args::lab::run::RunArgs,
    exit::{Exit, Failure, chain},
    own_program::own_program,
    quantity::Span,
    report::{Event, Report},
    runtime::blocking,
    stop_signal::StopSignal,
};

/// Runs an experiment and writes its report.
///
/// # Errors
/// When the experiment cannot start or continue. A failed run is not an error, but changes the exit
/// code.
pub(crate) async fn run(args: RunArgs, report: &Report) -> Result<Exit, Failure> {
    let scenario = args.scenario()?;
    check_possible(&scenario, args.simulate)?;
    let stop = StopSignal::listen(report)?;
    let setup = Setup {
        sow: own_program()?,
        version: format!("sow {}", env!("CARGO_PKG_VERSION")),
        command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        out: args.out(&scenario),
        jobs: args.jobs,
    };
    let is_simulated = args.simulate;
    let report = report.clone();
    blocking(move || {
        let mut reporter = ProgressReporter { report: &report, is_simulated, done: 0, all: 0 };
        let mut on_progress = |progress: Progress<'_>| reporter.on_progress(&progress);
        let outcome = match is_simulated {
            true => run::simulate(&scenario, &setup, &Worlds, stop.flag(), &mut on_progress)?,
            false => run::run(&scenario, &setup, stop.flag(), &mut on_progress)?,
        };
        write_report(&setup, outcome, &report)
    })
    .await
}

/// Whether the runs of a scenario can be measured, or else simulated.
fn check_possible(scenario: &Scenario, is_simulated: bool) -> Result<(), Failure> {
    let too_many = scenario.users.iter().find(|users| **users > MAX_USERS);
    if let Some(users) = too_many.filter(|_| !is_simulated) {
        let text = format!("a lab has at most {MAX_USERS} receivers, not {users}");
        return Err(Failure::new(Exit::Usage, text)
            .tip(format!("--simulate takes up to {MAX_SIMULATED_USERS}")));
    }
    if is_simulated && !scenario.modes.iter().any(|mode| run::can_simulate(*mode)) {
        let modes: Vec<&str> = scenario.modes.iter().map(|mode| mode.name()).collect();
        let text = format!("no mode of this experiment has a simulation: {}", modes.join(", "));
        return Err(Failure::new(Exit::Usage, text)
            .tip("choose sow, chunk or json-torrent with --modes, or leave --simulate out"));
    }
    Ok(())
}

/// Writes the report of all records, and returns how the experiment ended.
fn write_report(setup: &Setup, outcome: Outcome, report: &Report) -> Result<Exit, Failure> {
    let written = report::write(&setup.out, &setup.out).map_err(|error| failure_of(&error))?;
    if report.is_json() {
        let files: Vec<_> = written.files.iter().map(|file| file.to_string_lossy()).collect();
        report.event(&Event::Outcome { outcome: &outcome, files: &files });
    } else {
        report.out_lines(&written.main);
    }
    if let Some(hint) = &written.font_hint {
        report.warn(hint);
    }
    if let Some(page) = written.files.first() {
        report.note(format_args!("report: {}", page.display()));
    }
    let Outcome { incomplete, failed, left, missing, .. } = outcome;
    if left > 0 {
        report.note(format_args!("{} left; run the same command again to continue", runs(left)));
        return Ok(Exit::Interrupted);
    }
    if failed + incomplete > 0 {
        let text = format!(
            "{} failed, and {incomplete} ended with a receiver without a correct copy",
            runs(failed)
        );
        let again = match failed {
            0 => "",
            _ => "; the same command repeats the failed runs",
        };
        return Err(Failure::new(Exit::Failed, text)
            .tip(format!("the report names them under \"Not measured\"{again}")));
    }
    if written.runs == 0 && missing > 0 {
        return Err(Failure::new(
            Exit::Failed,
            "nothing was measured: none of the required programs is installed",
        )
        .tip("install one of them, or choose others with --modes"));
    }
    Ok(Exit::Done)
}

/// Reports the progress of an experiment.
struct ProgressReporter<'a> {
    report: &'a Report,
    is_simulated: bool,
    done: usize,
    all: usize,
}

impl ProgressReporter<'_> {
    fn on_progress(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Planned(plan) => self.planned(plan),
            Progress::Missing(missing) => self.missing(missing),
            Progress::Calibrated(calibration) => {
                self.report.event(&Event::Calibration(calibration));
                // A note is one line: newlines in it are escaped.
                calibration.to_string().lines().for_each(|line| self.report.note(line));
                if !calibration.is_good() {
                    self.report.warn(
                        "the links do not have their configured rates and delays; the machine may \
                         be too busy",
                    );
                }
            }
            Progress::Finished { run, bound } => self.made(run, *bound),
            Progress::Cost { users, wall, memory } => self.cost(*users, *wall, *memory),
            Progress::Failed(failure) => {
                self.done += 1;
                self.report.event(&Event::Failure(failure));
                let label = self.label(&failure.mode, failure.users, &failure.file);
                self.report.warn(format_args!("{label}  failed: {}", failure.message));
            }
        }
    }

    fn planned(&mut self, plan: &Plan) {
        self.all = plan.tasks.len();
        self.report.event(&Event::Plan {
            runs: self.all,
            done: plan.done,
            expected_seconds: plan.expected.as_secs(),
        });
        let before = if plan.done > 0 {
            format!(" ({} are done already)", plan.done)
        } else {
            String::new()
        };
        let minutes = Duration::from_secs(plan.expected.as_secs().max(1));
        self.report.note(format_args!("{}{before}, about {}", runs(self.all), Span(minutes)));
    }

    fn missing(&self, missing: &Missing) {
        self.report.event(&Event::Missing(missing));
        let mode = report::mode_name(&missing.mode);
        let hint = missing.hint.as_deref().unwrap_or_default();
        if self.is_simulated {
            return self.report.warn(format_args!("{mode} is skipped: {hint}"));
        }
        let hint = if hint.is_empty() { String::new() } else { format!(": {hint}") };
        let program = &missing.program;
        self.report.warn(format_args!("{mode} is skipped: {program} is not installed{hint}"));
    }

    fn made(&mut self, run: &Run, bound: Option<f64>) {
        self.done += 1;
        self.report.event(&Event::Run(run));
        let label = self.label(&run.mode, run.users, &run.file.name);
        let staying = run.staying().count();
        let seconds: Vec<f64> = run.staying().filter_map(|receiver| receiver.seconds()).collect();
        if seconds.len() < staying {
            let error =
                run.staying().find_map(|receiver| receiver.error.as_deref()).unwrap_or("no copy");
            let late = staying - seconds.len();
            self.report.warn(format_args!(
                "{label}  {late} of {staying} receivers without a correct copy: {error}"
            ));
            return;
        }
        let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
        let last = run.last_seconds().unwrap_or_default();
        let distance =
            bound.map(|bound| format!("  {:.3} × bound", last / bound)).unwrap_or_default();
        self.report.note(format_args!("{label}  mean {mean:6.2} s  last {last:6.2} s{distance}"));
    }

    /// What a simulated run cost this machine, from which that of a larger one follows.
    fn cost(&self, users: u16, wall: Duration, memory: Option<u64>) {
        let millis = wall.as_secs_f64() * 1000.0 / f64::from(users);
        let mut text =
            format!("simulated in {:.1} s, {millis:.1} ms a receiver", wall.as_secs_f64());
        if let Some(bytes) = memory {
            let each = bytes / 1024 / u64::from(users);
            text += &format!("; {} MiB at most, {each} KiB a receiver", bytes >> 20);
        }
        self.report.note(text);
    }

    fn label(&self, mode: &str, users: u32, file: &str) -> String {
        let mode = report::mode_name(mode);
        let noun = if users == 1 { "user " } else { "users" };
        format!("[{}/{}] {mode:<16} {users:>3} {noun}  {file}", self.done, self.all)
    }
}

fn runs(count: usize) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::new(Exit::Usage, chain(&error))
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Network(error) => error.into(),
            RunError::Interrupted => {
                Self::new(Exit::Interrupted, "interrupted before the first run")
            }
            RunError::Conflict(error) => Self::new(Exit::Usage, chain(&error)),
            RunError::Ledger(error @ (LedgerError::Other { .. } | LedgerError::Build { .. })) => {
                Self::new(Exit::Differs, error)
                    .tip("name another folder with --out, or remove that one")
            }
            RunError::Ledger(error @ LedgerError::Held { .. }) => Self::new(Exit::Failed, error)
                .tip("wait until it ends, or name another folder with --out"),
            RunError::Ledger(error @ LedgerError::Write { .. }) => Self::new(Exit::Disk, error),
            RunError::Ledger(error) => Self::new(Exit::Failed, error),
            error @ (RunError::File { .. } | RunError::Workspace(_)) => {
                Self::new(Exit::Disk, error)
            }
        }
    }
}
