//! Trackers over UDP (BEP 15): the packets of both directions, and the client's side of an announce
//! as a state machine. No sockets and no clock.

mod exchange;
mod packet;

pub use exchange::{Connection, Exchange, FailureReason, Output};
pub use packet::{Family, PacketError, Request, Response};
