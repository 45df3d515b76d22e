//! Shares a file in a BitTorrent swarm until it is interrupted, and prints the ticket that `sow
//! get` takes: `cargo run -p sow-node --example share -- FILE`.

use std::{error::Error, path::Path, sync::Arc, sync::atomic::AtomicBool};

use sow_content::{Bitfield, Geometry, Info, Metainfo, Ticket, geometry::piece_length_for};
use sow_engine::Config;
use sow_node::{AcceptedDialects, Node, NodeOptions, SwarmContent, SwarmOptions};
use sow_store::{DiskStore, hash_content, scan};
use sow_wire::bittorrent::PeerId;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: share FILE")?;
    // The metadata: the pieces of the file and their hashes.
    let plan = scan(Path::new(&path))?;
    let geometry = Geometry::new(plan.total(), piece_length_for(plan.total()).into())?;
    let interrupted = AtomicBool::new(false);
    let hashes = hash_content(&plan, geometry.piece_length(), 0, &|_| {}, &interrupted)?;
    let info = Info::from_parts(plan.name(), geometry, plan.files().clone(), hashes, false)?;
    let Metainfo { info, info_bytes: metadata, info_hash, .. } = Metainfo::new(info);
    // The content: an origin has every piece.
    let store = Arc::new(DiskStore::serve(&info, Path::new(&path))?.into());
    let have = Bitfield::full(geometry.pieces());
    let content = SwarmContent { info: Arc::new(info), metadata, store, have, md5: None };
    // A node on a free port, and the swarm on it.
    let node = Node::bind(NodeOptions::default())?;
    let (swarm, mut events) = node.join(SwarmOptions {
        info_hash,
        content: Some(content),
        config: Config::new(PeerId(*b"-XX0000-shareexample"), 0, 1),
        accepts: AcceptedDialects::BITTORRENT,
        peers: Vec::new(),
    })?;
    println!("{}", Ticket { host: "127.0.0.1".to_owned(), port: node.port(), info_hash });
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    tokio::signal::ctrl_c().await?;
    swarm.stop().await;
    Ok(())
}
