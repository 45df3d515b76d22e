//! The course of a run: receivers join, events happen when they are due, samples are taken, until
//! every receiver's result is final. Starting and ending the programs is done elsewhere.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        plan::Task,
        programs::{Adapter, Process, ProgramContext, ProgramError, ended_early},
    },
    TrackedReceiver,
};
use crate::{
    network::{CounterReader, Counters, NetworkError},
    record::{File, Origin, Run, Sample},
    scenario::{Action, Event, Scenario},
};

/// The interval at which programs are polled. Their events have exact times of their own.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The minimum interval between two samples of the counters.
const MIN_SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// The limit of samples in a run of the expected length; a picture has no room for more.
const MAX_SAMPLES: u32 = 600;

/// What is given for a run.
#[derive(Clone)]
pub(super) struct RunSetting<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) counters: &'a CounterReader,
    pub(super) context: &'a ProgramContext<'a>,
    pub(super) task: &'a Task,
    /// The file, as it is recorded.
    pub(super) file: File,
}

/// Watches a run.
pub(super) struct Monitor<'a> {
    setting: RunSetting<'a>,
    receivers: Vec<TrackedReceiver>,
    origins: Vec<Arc<Process>>,
    events: VecDeque<Event>,
    run_start: Instant,
    counters_before: BTreeMap<String, Counters>,
    counters_after: BTreeMap<String, Counters>,
    samples: Vec<Sample>,
    notes: Vec<String>,
}

impl<'a> Monitor<'a> {
    /// All receivers are prepared, and none has joined. `origins` are the programs that have to run
    /// until the end.
    pub(super) fn new(
        setting: RunSetting<'a>,
        receivers: Vec<TrackedReceiver>,
        origins: Vec<Arc<Process>>,
    ) -> Result<Self, ProgramError> {
        let counters_before = setting.counters.read().map_err(counter_error)?;
        Ok(Self {
            receivers,
            origins,
            events: setting.scenario.events_for(setting.task.users).copied().collect(),
            setting,
            run_start: Instant::now(),
            counters_after: counters_before.clone(),
            counters_before,
            samples: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Lets receivers join, and returns when every receiver's result is final.
    pub(super) fn watch(&mut self, adapter: &mut dyn Adapter) -> Result<(), ProgramError> {
        let expected = self.setting.task.expected(self.setting.scenario);
        let sample_interval = MIN_SAMPLE_INTERVAL.max(expected / MAX_SAMPLES);
        self.take_sample(0.0)?;
        self.run_start = Instant::now();
        for index in 0..self.receivers.len() {
            let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
            if self.setting.scenario.first_start(number).is_zero() {
                self.receivers[index].join(self.run_start)?;
            }
        }
        let mut next_sample = self.run_start + sample_interval;
        loop {
            self.receivers.iter_mut().for_each(|receiver| receiver.update(self.run_start));
            let elapsed = self.run_start.elapsed();
            if self.receivers.iter().all(TrackedReceiver::is_settled) {
                break;
            }
            if elapsed > self.setting.task.limit {
                let seconds = elapsed.as_secs_f64();
                self.receivers.iter_mut().for_each(|receiver| receiver.time_out(seconds));
                break;
            }
            if self.setting.context.stop.load(Ordering::Relaxed) {
                return Err(ProgramError::Interrupted);
            }
            self.check_origins()?;
            self.perform_due_events(elapsed, adapter)?;
            if Instant::now() >= next_sample {
                self.take_sample(self.run_start.elapsed().as_secs_f64())?;
                next_sample = (next_sample + sample_interval).max(Instant::now());
            }
            let next_event = self.events.front().map(|event| self.run_start + event.at);
            let due = next_event.map_or(next_sample, |event| next_sample.min(event));
            thread::sleep(due.saturating_duration_since(Instant::now()).min(POLL_INTERVAL));
        }
        self.take_sample(self.run_start.elapsed().as_secs_f64())
    }

    /// The record of the run, without the bytes that origins report as sent.
    pub(super) fn into_result(
        mut self,
        version: Option<&str>,
    ) -> (Run, Vec<Sample>, Vec<TrackedReceiver>) {
        let RunSetting { context, task, .. } = self.setting;
        let wire_bytes = |host: &str| {
            let (before, after) = (self.counters_before.get(host)?, self.counters_after.get(host)?);
            let up = after.sent_bytes.saturating_sub(before.sent_bytes);
            Some((up, after.received_bytes.saturating_sub(before.received_bytes)))
        };
        let origins = context.origins.iter().map(|host| {
            let (up, down) = wire_bytes(&host.name).unzip();
            Origin {
                host: host.name.clone(),
                payload_up_bytes: None,
                wire_up_bytes: up,
                wire_down_bytes: down,
            }
        });
        let receivers =
            self.receivers.iter_mut().zip(&context.receivers).map(|(receiver, host)| {
                let mut record = receiver.record(&host.name, |address| context.host_of(address));
                (record.wire_up_bytes, record.wire_down_bytes) = wire_bytes(&host.name).unzip();
                record
            });
        let run = Run {
            run: 0,
            mode: task.label.clone(),
            model: task.mode.model(),
            program: version.map(str::to_owned),
            simulated: false,
            repetition: task.repetition.into(),
            users: task.users.into(),
            file: self.setting.file,
            seed: task.seed,
            origins: origins.collect(),
            receivers: receivers.collect(),
            commands: Vec::new(),
            note: (!self.notes.is_empty()).then(|| self.notes.join(" ")),
        };
        (run, self.samples, self.receivers)
    }

    fn check_origins(&self) -> Result<(), ProgramError> {
        self.origins.iter().try_for_each(|process| match process.ended_at() {
            Some(_) => Err(ended_early(process)),
            None => Ok(()),
        })
    }

    fn perform_due_events(
        &mut self,
        elapsed: Duration,
        adapter: &mut dyn Adapter,
    ) -> Result<(), ProgramError> {
        let context = self.setting.context;
        while let Some(event) = self.events.front().copied().filter(|event| event.at <= elapsed) {
            self.events.pop_front();
            let index = usize::from(event.receiver) - 1;
            let Some((receiver, host)) =
                self.receivers.get_mut(index).zip(context.receivers.get(index))
            else {
                continue;
            };
            let seconds = self.run_start.elapsed().as_secs_f64();
            let done = match event.action {
                Action::Leave => {
                    receiver.leave(seconds);
                    "left"
                }
                Action::Kill => {
                    receiver.kill(true);
                    // The next program is prepared now, so that it can join at once when it is due.
                    receiver.replace(adapter.prepare_receiver(context, index)?);
                    "was killed"
                }
                Action::Start => {
                    receiver.join(self.run_start)?;
                    "was started"
                }
            };
            self.notes.push(format!("{} {done} at {seconds:.1} s.", host.name));
        }
        Ok(())
    }

    /// Reads the counters and adds a sample for each host of the run.
    fn take_sample(&mut self, t: f64) -> Result<(), ProgramError> {
        self.counters_after = self.setting.counters.read().map_err(counter_error)?;
        for host in self.setting.context.hosts() {
            let (before, now) =
                (self.counters_before.get(&host.name), self.counters_after.get(&host.name));
            let Some((before, now)) = before.zip(now) else { continue };
            self.samples.push(Sample {
                run: 0,
                t,
                host: host.name.clone(),
                up_bytes: now.sent_bytes.saturating_sub(before.sent_bytes),
                down_bytes: now.received_bytes.saturating_sub(before.received_bytes),
            });
        }
        Ok(())
    }
}

fn counter_error(source: std::io::Error) -> ProgramError {
    let operation = "the lab's counters".to_owned();
    ProgramError::Network(NetworkError::Io { operation, source })
}
