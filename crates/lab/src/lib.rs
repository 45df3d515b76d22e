//! The lab: experiments on one Linux machine, with links of a known rate and delay.
//!
//! [`network`] builds hosts round a switch in network namespaces, lets programs run on them, and
//! measures what its links really do. [`mod@record`] is what an experiment leaves, [`bound`] the
//! theory beside it, [`report`] the tables and pictures that are made of both. [`scenario`] says
//! what an experiment is. Programs under test are separate processes; nothing of theirs is linked
//! in here.

pub mod bound;
mod lock;
pub mod network;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
