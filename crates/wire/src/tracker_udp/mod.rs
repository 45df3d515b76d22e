//! Trackers over UDP (BEP 15): the packets in both directions, and the client's side of an exchange
//! as a state machine. No sockets and no clock.

mod exchange;
mod packet;

pub use exchange::{Connection, Exchange, Refused, Step};
pub use packet::{Family, PacketError, Request, Response};
