//! One swarm: the handle that its owner holds, the task that drives its engine, the buffers of
//! pieces that are arriving, and the workers that verify and write them. Sockets are in
//! `connection`; decisions are in `sow_engine`.

mod driver;
pub(crate) mod events;
mod file_digest;
pub(crate) mod handle;
mod piece_buffers;
pub(crate) mod piece_writer;

pub(crate) use self::driver::Driver;
