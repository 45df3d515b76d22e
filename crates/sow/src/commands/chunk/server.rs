//! `sow chunk server`: the authority of document 1's P2P. Before it serves it takes the sum of its
//! file, as `sow send` hashes.

use std::sync::Arc;

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, Info, InfoHash, geometry::MAX_PIECE_LENGTH, hash::sha1};
use sow_engine::ChunkConfig;
use sow_node::{AcceptedDialects, Node, NodeOptions, SwarmContent, SwarmOptions};
use sow_store::{DiskStore, Store, scan};

use crate::{
    args::{chunk::ChunkServerPlan, client_server::Source},
    commands::send::{Watch, Watched},
    exit::{Exit, Failure, chain},
    hashing,
    quantity::Size,
    random_bytes::random_bytes,
    reach,
    report::{Event, Report},
    settings,
    stop::Stop,
};

/// The length of a chunk (document 1, section 2.2), in bytes.
const CHUNK_SIZE: u64 = 128 << 10;

/// So many chunks are enough for everybody to have something to give, and longer ones cost less
/// each.
const ENOUGH_CHUNKS: u64 = 1024;

/// No longer than this for that reason, in bytes: a chunk is passed on when it is whole.
const LONG_CHUNK: u64 = 1 << 20;

/// How many chunks there should be at most: everybody asks everybody for lists of them.
const MOST_CHUNKS: u64 = 8192;

/// Serves until enough clients have everything, or until it is stopped.
///
/// # Errors
/// When the file cannot be served, the port is not to be had, or too few clients have it in the
/// end.
pub(super) async fn run(plan: ChunkServerPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = Stop::listen(report)?;
    let node = Node::bind(NodeOptions {
        bind: plan.bind,
        port: plan.port,
        up_limit: plan.up_limit,
        ..NodeOptions::default()
    })?;
    let (source, chunk_size) = (plan.source.clone(), plan.chunk_size);
    let (progress, stopped) = (report.clone(), stop.clone());
    let opened = crate::blocking(move || open(&source, chunk_size, &progress, &stopped)).await?;
    let Opened { info, store, watched, md5 } = opened;
    let geometry = info.geometry;
    let mut config = settings::origin(Vec::new(), settings::choking(false));
    config.chunk = ChunkConfig { server: true, spelling: plan.spelling };
    let have = Bitfield::full(geometry.pieces());
    let (info, store) = (Arc::new(info), Arc::new(store));
    let content = SwarmContent { info, metadata: Bytes::new(), store, have, md5: Some(md5) };
    let address = reach::address_of(plan.bind, node.port());
    let info_hash = InfoHash(sha1(format!("chunk://{address}").as_bytes()));
    let accepts = AcceptedDialects::CHUNK;
    let options =
        SwarmOptions { info_hash, content: Some(content), config, accepts, peers: Vec::new() };
    let (swarm, events) = node.join(options)?;
    report.note(format_args!(
        "listening on port {}: {} in {} chunks. On every other machine run:",
        node.port(),
        Size(geometry.total()),
        geometry.pieces()
    ));
    if !report.is_json() {
        let host = &address.host;
        report.out(format_args!("sow chunk client -s {host} -sp {} -o OUT", address.port));
    }
    report.event(&Event::Ready {
        ticket: Some(format!("chunk://{address}")),
        magnet: None,
        torrent: None,
        port: address.port,
    });
    let ended =
        Watch::new(report, watched, geometry, plan.expect, None).run(&swarm, events, &stop).await;
    swarm.stop().await;
    ended
}

/// What is served.
struct Opened {
    info: Info,
    store: Store,
    watched: Watched,
    md5: [u8; 16],
}

fn open(
    source: &Source,
    chunk_size: Option<u32>,
    report: &Report,
    stop: &Stop,
) -> Result<Opened, Failure> {
    let cut = |total| {
        Geometry::new(total, chunk_size.map_or_else(|| chunk_size_for(total), u64::from)).map_err(
            |error| Failure::usage(chain(&error)).tip("choose longer chunks with --chunk-size"),
        )
    };
    let nameless = |geometry| {
        Info::without_hashes("file", geometry)
            .map_err(|error| Failure::new(Exit::Failed, chain(&error)))
    };
    match source {
        Source::File(path) => {
            if path.is_dir() {
                return Err(Failure::usage(format!(
                    "{} is a folder; chunk serves one file",
                    path.display()
                ))
                .tip("pack it into one file (tar), or use `sow send`"));
            }
            let plan = scan(path)?;
            let info = nameless(cut(plan.total())?)?;
            let store = Store::from(DiskStore::serve(&info, plan.path())?);
            let md5 = hashing::md5_of(path, report, stop)?;
            Ok(Opened { info, store, watched: Watched::Files(Arc::new(plan)), md5 })
        }
        Source::Random(length) => {
            let (store, md5) = random_bytes(*length, cut)?;
            Ok(Opened { info: nameless(*store.geometry())?, store, watched: Watched::Random, md5 })
        }
    }
}

/// Document 1's 128 KiB, and longer chunks for longer files.
fn chunk_size_for(total: u64) -> u64 {
    let enough = total.div_ceil(ENOUGH_CHUNKS).next_power_of_two().clamp(CHUNK_SIZE, LONG_CHUNK);
    let few = total.div_ceil(MOST_CHUNKS).next_power_of_two();
    enough.max(few).min(u64::from(MAX_PIECE_LENGTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_as_in_the_document_until_there_would_be_many() {
        for total in [0, 1, 10 << 20, 128 << 20] {
            assert_eq!(chunk_size_for(total), 128 << 10, "{total}");
        }
        assert_eq!(chunk_size_for((128 << 20) + 1), 256 << 10);
        for total in [1 << 30, 8 << 30] {
            assert_eq!(chunk_size_for(total), 1 << 20, "{total}");
        }
        assert_eq!(chunk_size_for(40 << 30), 8 << 20);
        assert_eq!(chunk_size_for(u64::MAX / 4), u64::from(MAX_PIECE_LENGTH));
    }
}
