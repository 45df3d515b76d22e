//! A run while it is under way: events when they are due, samples, and the moment when it is over.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        plan::Task,
        programs::{Process, Program, ProgramError, Stage},
    },
    Seat, Site,
};
use crate::{
    network::{Counters, NetworkError},
    record::{Origin, Run, Sample},
    scenario::{Action, Event},
};

/// How often programs are looked at. What they said has the time at which they said it.
const LOOK: Duration = Duration::from_millis(20);
/// How often counters are read, at most …
const SAMPLE: Duration = Duration::from_millis(100);
/// … and how many times in a run that takes as long as it should: a picture has no more room.
const SAMPLES: u32 = 600;

/// A run that is under way.
pub(super) struct Watch<'a> {
    site: &'a Site<'a>,
    stage: &'a Stage<'a>,
    task: &'a Task,
    seats: Vec<Seat>,
    origins: Vec<Arc<Process>>,
    events: VecDeque<Event>,
    began: Instant,
    before: BTreeMap<String, Counters>,
    after: BTreeMap<String, Counters>,
    samples: Vec<Sample>,
    notes: Vec<String>,
}

impl<'a> Watch<'a> {
    /// Everybody is there, and nobody has joined. `origins` are the programs that have to stay.
    pub(super) fn new(
        site: &'a Site<'a>,
        stage: &'a Stage<'a>,
        task: &'a Task,
        seats: Vec<Seat>,
        origins: Vec<Arc<Process>>,
    ) -> Result<Self, ProgramError> {
        let before = site.counters.read().map_err(counters)?;
        Ok(Self {
            site,
            stage,
            task,
            seats,
            origins,
            events: site.scenario.events_for(task.users).copied().collect(),
            began: Instant::now(),
            after: before.clone(),
            before,
            samples: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Lets receivers join, and returns when nothing more is to be expected of any.
    pub(super) fn follow(&mut self, program: &mut dyn Program) -> Result<(), ProgramError> {
        let every = SAMPLE.max(self.task.expected(self.site.scenario) / SAMPLES);
        self.began = Instant::now();
        self.sample(0.0)?;
        self.began = Instant::now();
        for index in 0..self.seats.len() {
            let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
            if self.site.scenario.first_start(number).is_zero() {
                self.seats[index].join(self.began)?;
            }
        }
        let mut next_sample = self.began + every;
        loop {
            self.seats.iter_mut().for_each(|seat| seat.look(self.began));
            let elapsed = self.began.elapsed();
            if self.is_over() {
                break;
            }
            if elapsed > self.task.limit {
                self.seats.iter_mut().for_each(|seat| seat.give_up(elapsed.as_secs_f64()));
                break;
            }
            if self.site.stop.load(Ordering::Relaxed) {
                return Err(ProgramError::Interrupted);
            }
            self.check_origins()?;
            self.do_what_is_due(elapsed, program)?;
            if Instant::now() >= next_sample {
                self.sample(self.began.elapsed().as_secs_f64())?;
                next_sample = (next_sample + every).max(Instant::now());
            }
            let due = self
                .events
                .front()
                .map_or(next_sample, |event| next_sample.min(self.began + event.at));
            thread::sleep(due.saturating_duration_since(Instant::now()).min(LOOK));
        }
        self.sample(self.began.elapsed().as_secs_f64())
    }

    /// What came out, but for the bytes that origins say they sent.
    pub(super) fn result(
        mut self,
        version: Option<&str>,
    ) -> Result<(Run, Vec<Sample>, Vec<Seat>), ProgramError> {
        let wire = |host: &str| {
            let (before, after) = (self.before.get(host)?, self.after.get(host)?);
            let up = after.sent_bytes.saturating_sub(before.sent_bytes);
            Some((up, after.received_bytes.saturating_sub(before.received_bytes)))
        };
        let origins = self.stage.origins.iter().map(|place| {
            let (up, down) = wire(&place.host).unzip();
            Origin {
                host: place.host.clone(),
                payload_up_bytes: None,
                wire_up_bytes: up,
                wire_down_bytes: down,
            }
        });
        let receivers = self.seats.iter_mut().zip(&self.stage.receivers).map(|(seat, place)| {
            let mut receiver = seat.record(&place.host, |address| self.stage.host_of(address));
            (receiver.wire_up_bytes, receiver.wire_down_bytes) = wire(&place.host).unzip();
            receiver
        });
        let run = Run {
            run: 0,
            mode: self.task.label.clone(),
            model: self.task.mode.model(),
            program: version.map(str::to_owned),
            repetition: self.task.repetition.into(),
            users: self.task.users.into(),
            file: self.site.file(self.task),
            seed: self.task.seed,
            origins: origins.collect(),
            receivers: receivers.collect(),
            commands: Vec::new(),
            note: (!self.notes.is_empty()).then(|| self.notes.join(" ")),
        };
        Ok((run, self.samples, self.seats))
    }

    /// Nobody is waited for, and nobody is about to join who has to.
    fn is_over(&self) -> bool {
        self.seats.iter().all(Seat::is_settled)
    }

    fn check_origins(&self) -> Result<(), ProgramError> {
        self.origins.iter().try_for_each(|process| match process.ended() {
            Some(_) => Err(Stage::ended(process)),
            None => Ok(()),
        })
    }

    fn do_what_is_due(
        &mut self,
        elapsed: Duration,
        program: &mut dyn Program,
    ) -> Result<(), ProgramError> {
        while let Some(event) = self.events.front().copied().filter(|event| event.at <= elapsed) {
            self.events.pop_front();
            let index = usize::from(event.receiver) - 1;
            let Some((seat, place)) =
                self.seats.get_mut(index).zip(self.stage.receivers.get(index))
            else {
                continue;
            };
            let seconds = self.began.elapsed().as_secs_f64();
            let did = match event.action {
                Action::Leave => {
                    seat.leave(seconds);
                    "left"
                }
                Action::Kill => {
                    seat.kill(true);
                    // Made ready at once, so that it can be let go when its time comes.
                    seat.replace(program.prepare_receiver(self.stage, index)?);
                    "was killed"
                }
                Action::Start => {
                    seat.join(self.began)?;
                    "was started"
                }
            };
            self.notes.push(format!("{} {did} at {seconds:.1} s.", place.host));
        }
        Ok(())
    }

    /// Notes how far the hosts of this run are.
    fn sample(&mut self, t: f64) -> Result<(), ProgramError> {
        self.after = self.site.counters.read().map_err(counters)?;
        for place in self.stage.places() {
            let Some((before, now)) = self.before.get(&place.host).zip(self.after.get(&place.host))
            else {
                continue;
            };
            self.samples.push(Sample {
                run: 0,
                t,
                host: place.host.clone(),
                up_bytes: now.sent_bytes.saturating_sub(before.sent_bytes),
                down_bytes: now.received_bytes.saturating_sub(before.received_bytes),
            });
        }
        Ok(())
    }
}

fn counters(source: std::io::Error) -> ProgramError {
    ProgramError::Network(NetworkError::Io { what: "the lab's counters".to_owned(), source })
}
