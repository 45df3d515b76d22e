//! `sow chunk server`: the server that has the file. It computes the MD5 of the file before it
//! serves it.

use std::sync::Arc;

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, Info, InfoHash, geometry::MAX_WHOLE_PIECE, hash::sha1};
use sow_engine::ChunkConfig;
use sow_node::{AcceptedDialects, ContentCondition, Node, NodeOptions, SwarmContent, SwarmOptions};
use sow_store::{DiskStore, Store, scan};

use crate::{
    advertised_address::advertised_address,
    args::{chunk::ChunkServerPlan, served_content::ServedContent},
    commands::send::{MonitoredContent, OriginMonitor, SharedFiles},
    content_hashing::md5_of_file,
    engine_config,
    exit::{Exit, Failure, chain},
    quantity::Size,
    random_content::random_content,
    report::{Event, Report},
    runtime::blocking,
    stop_signal::StopSignal,
};

/// The length of a chunk in the original program, in bytes.
const MIN_CHUNK_SIZE: u64 = 128 << 10;

/// The number of chunks that is enough for all clients to have something to upload. With more
/// chunks the cost for each is higher than the gain.
const TARGET_CHUNKS: u64 = 1024;

/// The maximum length of a chunk that is chosen for this target, in bytes: a chunk can be uploaded
/// only when it is complete.
const MAX_TARGET_CHUNK_SIZE: u64 = 1 << 20;

/// The maximum number of chunks: every client requests lists of chunks from every other.
const MAX_CHUNKS: u64 = 8192;

/// Serves until the expected number of clients has the whole file, or the run is to stop.
///
/// # Errors
/// When the file cannot be served, the port is unavailable, or too few clients have the file in the
/// end.
pub(super) async fn run(plan: ChunkServerPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let node = Node::bind(NodeOptions {
        bind: plan.bind,
        port: plan.port,
        up_limit: plan.up_limit,
        ..NodeOptions::default()
    })?;
    let (content, chunk_size) = (plan.content.clone(), plan.chunk_size);
    let (progress, stopped) = (report.clone(), stop.clone());
    let opened = blocking(move || open(&content, chunk_size, &progress, &stopped)).await?;
    let Opened { info, store, monitored, md5 } = opened;
    let geometry = info.geometry;
    let mut config = engine_config::for_origin(Vec::new(), engine_config::choking(false));
    config.chunk = ChunkConfig { server: true, spelling: plan.spelling };
    let have = Bitfield::full(geometry.pieces());
    let content = SwarmContent { info, metadata: Bytes::new(), store, have, md5: Some(md5) };
    let address = advertised_address(plan.bind, node.port());
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
    let command = format!("sow chunk client -s {} -sp {} -o OUT", address.host, address.port);
    if !report.is_json() {
        report.out(&command);
    }
    report.event(&Event::Ready {
        ticket: Some(format!("chunk://{address}")),
        magnet: None,
        torrent: None,
        port: address.port,
    });
    let monitor = OriginMonitor::new(report, monitored, geometry, plan.expect.into(), None);
    let ended = monitor.with_command(command).run(&swarm, events, &stop).await;
    swarm.stop().await;
    ended
}

/// The content that is served.
struct Opened {
    info: Arc<Info>,
    store: Arc<Store>,
    monitored: MonitoredContent,
    md5: [u8; 16],
}

fn open(
    content: &ServedContent,
    chunk_size: Option<u32>,
    report: &Report,
    stop: &StopSignal,
) -> Result<Opened, Failure> {
    let geometry_for = |total| {
        Geometry::new(total, chunk_size.map_or_else(|| chunk_size_for(total), u64::from)).map_err(
            |error| Failure::usage(chain(&error)).tip("choose longer chunks with --chunk-size"),
        )
    };
    let info_of = |geometry| {
        Info::without_hashes("file", geometry)
            .map_err(|error| Failure::new(Exit::Failed, chain(&error)))
    };
    match content {
        ServedContent::File(path) => {
            if path.is_dir() {
                return Err(Failure::usage(format!(
                    "{} is a folder; chunk serves one file",
                    path.display()
                ))
                .tip("pack it into one file (tar), or use `sow send`"));
            }
            let plan = scan(path)?;
            let info = Arc::new(info_of(geometry_for(plan.total())?)?);
            let store = Arc::new(Store::from(DiskStore::serve(&info, plan.path())?));
            let md5 = md5_of_file(path, report, stop)?;
            let monitored = MonitoredContent::Files(SharedFiles {
                plan: Arc::new(plan),
                store: Arc::clone(&store),
                info: Arc::clone(&info),
                md5: Some(md5),
                condition: ContentCondition::default(),
            });
            Ok(Opened { info, store, monitored, md5 })
        }
        ServedContent::Random(length) => {
            let (store, md5) = random_content(*length, geometry_for)?;
            let info = Arc::new(info_of(*store.geometry())?);
            Ok(Opened { info, store: Arc::new(store), monitored: MonitoredContent::Random, md5 })
        }
    }
}

/// The length of a chunk: 128 KiB, and more for files of more than 128 MiB.
fn chunk_size_for(total: u64) -> u64 {
    let for_target = total
        .div_ceil(TARGET_CHUNKS)
        .next_power_of_two()
        .clamp(MIN_CHUNK_SIZE, MAX_TARGET_CHUNK_SIZE);
    let for_max = total.div_ceil(MAX_CHUNKS).next_power_of_two();
    for_target.max(for_max).min(u64::from(MAX_WHOLE_PIECE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_longer_only_for_long_files() {
        for total in [0, 1, 10 << 20, 128 << 20] {
            assert_eq!(chunk_size_for(total), 128 << 10, "{total}");
        }
        assert_eq!(chunk_size_for((128 << 20) + 1), 256 << 10);
        for total in [1 << 30, 8 << 30] {
            assert_eq!(chunk_size_for(total), 1 << 20, "{total}");
        }
        assert_eq!(chunk_size_for(40 << 30), 8 << 20);
        assert_eq!(chunk_size_for(u64::MAX / 4), u64::from(MAX_WHOLE_PIECE));
    }
}
