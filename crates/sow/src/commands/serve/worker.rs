//! The thread that recalls what was hashed, or hashes it, one path after the other. Hashing uses
//! all cores; recalling many small files takes less than starting threads for them.

use std::{
    path::PathBuf,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use sow_content::Metainfo;
use sow_store::ContentPlan;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    record::Record,
    state_folder::{Remembered, StateFolder},
};
use crate::{
    content_hashing::{HashOptions, metainfo_of_plan},
    exit::Failure,
    report::Report,
    stop_signal::StopSignal,
};

/// What the thread is asked for.
enum Job {
    /// Recall it, or say that it is to be hashed.
    Recall(Box<ContentPlan>),
    /// Hash it.
    Hash(Box<ContentPlan>),
    /// Forget it.
    Forget(PathBuf),
    /// Remove what is of no use from the state folder.
    Clean,
}

/// What the thread answers.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Content that can be shared; `hashed` are the bytes that were read for it, unless it was
    /// remembered.
    Ready { plan: Box<ContentPlan>, metainfo: Box<Metainfo>, hashed: Option<u64> },
    /// It is not remembered.
    Unknown(Box<ContentPlan>),
    /// It has changed while it was hashed.
    Changed(PathBuf),
    /// It cannot be hashed.
    Failed(PathBuf, Failure),
}

/// The thread.
pub(super) struct Worker {
    jobs: Option<Sender<Job>>,
    pub(super) results: UnboundedReceiver<Prepared>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts it.
    pub(super) fn start(state: Option<StateFolder>, report: &Report, stop: &StopSignal) -> Self {
        let (jobs, queue) = channel();
        let (results, receiver) = unbounded_channel();
        let work = Work { state, report: report.clone(), stop: stop.clone(), results };
        let thread = std::thread::spawn(move || work.run(&queue));
        Self { jobs: Some(jobs), results: receiver, thread: Some(thread) }
    }

    /// Recalls content.
    pub(super) fn recall(&self, plan: Box<ContentPlan>) {
        self.send(Job::Recall(plan));
    }

    /// Hashes content, after everything that is to be recalled.
    pub(super) fn hash(&self, plan: Box<ContentPlan>) {
        self.send(Job::Hash(plan));
    }

    /// Forgets content.
    pub(super) fn forget(&self, path: PathBuf) {
        self.send(Job::Forget(path));
    }

    /// Removes what is of no use from the state folder.
    pub(super) fn clean(&self) {
        self.send(Job::Clean);
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // It has ended only if it has panicked.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It ends within milliseconds once the run is to stop.
            let _ = thread.join();
        }
    }
}

struct Work {
    state: Option<StateFolder>,
    report: Report,
    stop: StopSignal,
    results: UnboundedSender<Prepared>,
}

impl Work {
    fn run(&self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            if self.stop.flag().load(Ordering::Relaxed) {
                return;
            }
            let prepared = match job {
                Job::Recall(plan) => self.recall(plan),
                Job::Hash(plan) => self.hash(plan),
                Job::Forget(path) => {
                    self.state.iter().for_each(|state| state.forget(&path));
                    continue;
                }
                Job::Clean => {
                    self.state.iter().for_each(StateFolder::clean);
                    continue;
                }
            };
            if self.results.send(prepared).is_err() {
                return;
            }
        }
    }

    fn recall(&self, plan: Box<ContentPlan>) -> Prepared {
        let Some(state) = &self.state else { return Prepared::Unknown(plan) };
        match state.recall(plan.path()) {
            Remembered::Record(record) => match record.metainfo_of(&plan) {
                Some(metainfo) => {
                    Prepared::Ready { plan, metainfo: Box::new(metainfo), hashed: None }
                }
                None => Prepared::Unknown(plan),
            },
            Remembered::Nothing => Prepared::Unknown(plan),
            Remembered::Damaged => {
                let path = plan.path().display();
                self.report.warn(format_args!(
                    "what was remembered of {path} is damaged; it is hashed again"
                ));
                Prepared::Unknown(plan)
            }
        }
    }

    fn hash(&self, plan: Box<ContentPlan>) -> Prepared {
        let hashed = metainfo_of_plan(&plan, HashOptions::default(), &self.report, &self.stop);
        let metainfo = match hashed {
            Ok(metainfo) => metainfo,
            Err(_) if plan.examine() != *plan.stamps() => {
                return Prepared::Changed(plan.path().to_owned());
            }
            Err(failure) => return Prepared::Failed(plan.path().to_owned(), failure),
        };
        let record = Record::new(&plan, &metainfo);
        let remembered = self.state.as_ref().map_or(Ok(()), |state| state.remember(&record));
        if let Err(failure) = remembered {
            self.report.warn(format_args!("{}; it is not remembered", failure.message()));
        }
        let hashed = Some(plan.total());
        Prepared::Ready { plan, metainfo: Box::new(metainfo), hashed }
    }
}
