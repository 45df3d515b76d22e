//! A simulated network that runs the real engine under a virtual clock, with thousands of seeds in
//! the time that a test has.
//!
//! A [`World`] is built from a [`Scenario`]: one origin, some receivers, a [`LinkConfig`] for each
//! of them, and a schedule of [`Faults`]. Every host runs an unmodified `sow_engine::Engine`; the
//! world delivers its messages over links with rates and delays, stores its pieces and answers its
//! announces. After [`World::run`] the checkers (`World::check_*`) tell whether every invariant
//! holds.
//!
//! The seed of the scenario determines the whole run: the same seed gives the same run. There is no
//! socket, thread, file or wall clock. Payload is not simulated, only its length and whether it is
//! corrupt.
//!
//! ```
//! use std::time::Duration;
//!
//! use sow_engine::Dialect;
//! use sow_sim::{Conditions, Fault, Faults, HostileKind, LinkConfig, Scenario, World};
//!
//! let link = LinkConfig {
//!     upload_rate: 1_000_000,
//!     download_rate: 1_000_000,
//!     delay: Duration::from_millis(5),
//! };
//! let mut world = World::new(Scenario {
//!     dialect: Dialect::BitTorrent,
//!     total: 1_000_000,
//!     piece_length: 32 * 1024,
//!     origin: link,
//!     receivers: vec![link; 3],
//!     metadata_known: false,
//!     seed: 7,
//!     faults: Faults::default()
//!         .at(Duration::from_millis(500), Fault::Kill(2))
//!         .at(Duration::from_millis(900), Fault::Restart(2)),
//!     conditions: Conditions::default(),
//!     hostile: vec![(HostileKind::Starve, link)],
//!     flood_rate: 100,
//!     adjust: |_, _| {},
//! });
//! assert!(world.run(Duration::from_secs(60)), "every receiver completes within a minute");
//! world.check_complete().unwrap();
//! world.check_no_piece_stored_twice().unwrap();
//! world.check_bans(&[]).unwrap();
//! ```

mod checkers;
pub mod churn;
mod conditions;
mod event;
mod faults;
mod flow;
mod host;
mod host_link;
mod hostile;
mod item;
mod message_length;
mod random_swarm;
mod shared;
mod world;

pub use checkers::Violation;
pub use conditions::Conditions;
pub use faults::{Fault, Faults};
pub use host_link::{LinkConfig, Traffic};
pub use hostile::HostileKind;
pub use item::HostId;
pub use random_swarm::{Failure, check_random_swarm, random_swarm};
pub use world::{Scenario, World};
