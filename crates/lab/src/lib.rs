//! The lab: experiments on one Linux machine, with links of a known rate and delay.
//!
//! [`network`] builds hosts around a switch in network namespaces, runs programs on them, and
//! measures the links. [`scenario`] describes an experiment, [`run`] carries it out. [`mod@record`]
//! is the result of an experiment, [`bound`] the theory beside it, and [`report`] makes tables and
//! plots of both. Programs under test are separate processes; none of them is linked in.

pub mod bound;
mod file_lock;
pub mod network;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
