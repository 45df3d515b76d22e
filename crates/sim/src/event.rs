//! What happens in a simulated world: events of one host, and what hosts send each other. A host
//! handles its events alone; only parcels cross from one host to another.

use std::{cmp::Ordering, net::SocketAddr};

use sow_engine::{Announce, AnnounceReply, ConnId, StoreMode, Time};
use sow_wire::bittorrent::PeerId;

use crate::{
    flow::Segment,
    item::{HostId, Item},
};

/// Something that happens on one host at a future time. A `start` is the number of the host's
/// start that the event belongs to; a later start ignores it.
#[derive(Debug)]
pub(crate) enum Event {
    Tick,
    HostileTick {
        start: u32,
    },
    /// The uplink is free again.
    UplinkFree {
        start: u32,
    },
    /// A segment left the downlink.
    Delivered(Delivery),
    /// What was lost on a connection is to be sent again.
    Resend {
        start: u32,
        conn: ConnId,
    },
    /// What another host sent has arrived.
    Arrived {
        from: HostId,
        parcel: Parcel,
    },
    DialTimedOut {
        start: u32,
        addr: SocketAddr,
    },
    Stored {
        start: u32,
        piece: u32,
        mode: StoreMode,
    },
    FileDigested {
        start: u32,
    },
    StorePrepared {
        start: u32,
    },
}

/// A segment of one connection.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The receiver's connection.
    pub(crate) conn: ConnId,
    pub(crate) segment: Segment<Item>,
    /// When it was sent.
    pub(crate) sent_at: Time,
}

/// Who speaks, at the begin of a connection or to the tracker.
#[derive(Debug)]
pub(crate) struct Greeting {
    /// The address that is dialed, or announced.
    pub(crate) addr: SocketAddr,
    /// The address that the connection comes from.
    pub(crate) ephemeral: SocketAddr,
    pub(crate) peer_id: PeerId,
    /// The number of the start of the host that is to get the answer.
    pub(crate) start: u32,
}

/// What one host sends another. Connections are the receiver's.
#[derive(Debug)]
pub(crate) enum Parcel {
    Segment(Delivery),
    /// `sent_at`: when, if it was sent once.
    Acknowledged {
        conn: ConnId,
        contents: u32,
        sent_at: Option<Time>,
    },
    /// A queue had no room for a segment.
    Lost(Delivery),
    /// Opens a connection: `conn` is the dialer's.
    Knock {
        conn: ConnId,
        dialer: Box<Greeting>,
    },
    /// The answer: the connection is open.
    Welcome {
        conn: ConnId,
        theirs: ConnId,
        listener: Box<Greeting>,
    },
    /// Nothing listens at the address.
    Refused {
        addr: SocketAddr,
        start: u32,
    },
    Closed {
        conn: ConnId,
    },
    /// To the tracker, from an address of the host.
    Announce {
        greeting: Box<Greeting>,
        announce: Box<Announce>,
    },
    Announced {
        reply: Box<AnnounceReply>,
        start: u32,
    },
}

/// Where a parcel goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Host(HostId),
    Tracker,
}

/// A parcel on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) from: HostId,
    pub(crate) to: Destination,
    pub(crate) at: Time,
    pub(crate) parcel: Parcel,
}

/// An event in a queue. The serial number keeps the order of events at the same time.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) at: Time,
    pub(crate) serial: u64,
    pub(crate) event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest, as the standard heap gives the greatest first.
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}
