//! The lab: experiments on one Linux machine, with links of a known rate and delay.
//!
//! [`network`] builds hosts round a switch in network namespaces, lets programs run on them, and measures what its links really do. Programs
//! under test are separate processes; nothing of theirs is linked in here.

pub mod network;
