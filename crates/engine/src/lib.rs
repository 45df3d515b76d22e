//! Every decision of a swarm, without IO: which peer to dial, which block to request, which peer to
//! unchoke, what to announce. No socket, no file, no clock, no thread, and no payload: the engine
//! decides with (piece, offset, length).
//!
//! - [`Engine`] makes the decisions of one swarm, in every [`Dialect`].
//! - [`Input`] is what happened: a connection is open, a message was received, a piece is stored.
//! - [`Output`] is what to do: dial, send a message or a block, store a piece, announce, report.
//!
//! The caller owns the IO and the time, and calls in this order:
//!
//! 1. [`Engine::handle`] with what happened, or [`Engine::block_arrived`] with a block, which
//!    returns the part of the payload to keep;
//! 2. [`Engine::poll`] until it returns `None`, carrying out each output in this order; what comes
//!    of an output, such as [`Input::Stored`] of an [`Output::Store`], is another input;
//! 3. [`Engine::next_wake`], and [`Input::Tick`] at that time if nothing else happens before.
//!
//! An engine reads no clock and draws randomness from [`Config::seed`] alone, so that the same
//! inputs at the same times lead to the same outputs.
//!
//! ```
//! use sow_content::{Bitfield, Geometry, InfoHash};
//! use sow_engine::{
//!     Config, Content, Dialect, Engine, Input, Integrity, Output, PeerSource, Time,
//! };
//! use sow_wire::bittorrent::PeerId;
//!
//! let content = Content {
//!     geometry: Geometry::new(10 << 15, 1 << 15)?,
//!     have: Bitfield::new(10),
//!     metadata: bytes::Bytes::new(),
//!     private: false,
//!     integrity: Integrity::PieceHashes,
//!     md5: None,
//! };
//! let config = Config::new(PeerId(*b"-XX0001-000000000000"), 6881, 1);
//! let mut now = Time(0);
//! let mut engine = Engine::new(config, InfoHash([7; 20]), Some(content), now);
//!
//! let addrs = vec!["192.0.2.1:6881".parse()?];
//! let (source, dialect) = (PeerSource::Named, Dialect::BitTorrent);
//! let mut happened = vec![Input::PeersFound { source, dialect, addrs }];
//! let mut dials = 0;
//! while dials < 3 {
//!     for input in std::mem::take(&mut happened) {
//!         engine.handle(now, input);
//!     }
//!     while let Some(output) = engine.poll() {
//!         match output {
//!             // Nothing listens there: the address is dialed again after a delay.
//!             Output::Dial { addr, .. } => {
//!                 dials += 1;
//!                 happened.push(Input::DialFailed { addr });
//!             }
//!             other => println!("{other:?}"),
//!         }
//!     }
//!     if happened.is_empty() {
//!         // A real caller sleeps until then, or until something happens.
//!         now = engine.next_wake().expect("a dial is due");
//!         happened.push(Input::Tick);
//!     }
//! }
//! assert_eq!(now, Time(750_000), "after 250 ms, and after 500 ms more");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Inside, the engine owns parts: connections, each with a session that is the state machine of
//! its dialect; downloads; uploads; the announcer. `engine/dispatch` applies what the sessions
//! report to the parts.

mod address_book;
mod announcer;
mod availability;
mod choker;
pub mod client_server;
pub mod config;
mod connections;
mod disconnect;
mod downloads;
mod engine;
pub mod io;
mod metadata_fetch;
mod open_piece;
mod picker;
mod pipeline;
mod rate;
mod relay;
mod session;
mod status;
mod token_bucket;
mod uploads;

pub use address_book::MAX_REMEMBERED;
pub use announcer::{JSON_TRACKER, limit_trackers};
pub use config::{Choking, ChunkConfig, Config, Content, Integrity, PickOrder};
pub use connections::network_of;
pub use disconnect::{DisconnectReason, Misbehavior};
pub use engine::Engine;
pub use io::{
    Announce, AnnounceError, AnnounceEvent, AnnounceReply, ConnId, Dialect, Direction, Event,
    Input, Message, Output, PeerHandshake, PeerSource, StoreMode, StoreOutcome, Time,
};
pub use session::bittorrent::MAX_QUEUED_REQUESTS;
pub use session::message_budget::{MESSAGE_BURST, MESSAGES_PER_SECOND, MessageBudget, block_units};
pub use status::{PeerStatus, StateSize, Status};
