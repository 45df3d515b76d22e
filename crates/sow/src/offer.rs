//! Content that an origin shares, and its names: the ticket, the magnet link, the URL of the
//! `.torrent`, and what the index and the live page say of it. Used by `send`, `push` and `serve`.

use std::{net::IpAddr, path::Path};

use bytes::Bytes;
use sow_content::{
    InfoHash, Magnet, Metainfo, Ticket,
    json_torrent::{HashForm, JsonTorrent},
    metainfo::Files,
    percent,
    ticket::Address,
};
use sow_node::{ContentCondition, DownloadSource, index::SharedContent};

use crate::{
    completion_hook::{HookContent, absolute},
    push::OriginAddresses,
    quantity::Size,
    report::{Event, Report},
    torrent_file,
    web::ShareInfo,
};

/// Content that is shared, and its names.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) metainfo: Metainfo,
    pub(crate) ticket: Ticket,
    magnet: Magnet,
    /// The URL of the .torrent file.
    url: String,
}

impl Offer {
    /// Content that is shared at `host`, which is a tracker too, and announced to `trackers`.
    pub(crate) fn new(mut metainfo: Metainfo, host: &Address, trackers: &[String]) -> Self {
        let own_tracker = format!("http://{host}/announce");
        metainfo.trackers = std::iter::once(own_tracker)
            .chain(trackers.iter().cloned())
            .map(|url| vec![url])
            .collect();
        let mut magnet = torrent_file::magnet_of(&metainfo);
        magnet.peers = vec![host.to_string()];
        let mut url = format!("http://{host}/");
        url.extend(percent::encode(metainfo.info.name.as_bytes(), percent::COMPONENT));
        url.push_str(".torrent");
        let Address { host, port } = host.clone();
        let ticket = Ticket { host, port, info_hash: metainfo.info_hash };
        Self { metainfo, ticket, magnet, url }
    }

    /// The same, when other content has its name already: the URL has the info-hash.
    #[must_use]
    pub(crate) fn under_its_info_hash(mut self) -> Self {
        let Ticket { host, port, info_hash } = self.ticket.clone();
        self.url = format!("http://{}/{info_hash}.torrent", Address { host, port });
        self
    }

    /// The swarm.
    pub(crate) fn info_hash(&self) -> InfoHash {
        self.metainfo.info_hash
    }

    /// What a command is told of it that runs when a receiver is complete; it is at `path`.
    pub(crate) fn hook_content(&self, path: &Path) -> HookContent {
        let info = &self.metainfo.info;
        HookContent {
            name: info.name.clone(),
            path: absolute(path),
            info_hash: Some(self.info_hash()),
            bytes: info.geometry.total(),
        }
    }

    /// The command that other machines run.
    pub(crate) fn command(&self) -> String {
        format!("sow get {}", self.ticket)
    }

    /// Its size; for people.
    pub(crate) fn size_text(&self) -> String {
        let geometry = &self.metainfo.info.geometry;
        format!("{} in {} pieces", Size(geometry.total()), geometry.pieces())
    }

    /// The entry in the index that the node serves.
    pub(crate) fn index_entry(
        &self,
        json_torrent: Option<&JsonTorrent>,
        download: DownloadSource,
    ) -> SharedContent {
        let info = &self.metainfo.info;
        SharedContent {
            name: info.name.clone(),
            info_hash: self.metainfo.info_hash,
            length: info.geometry.total(),
            files: self.file_count(),
            ticket: self.ticket.to_string(),
            magnet: self.magnet.to_string(),
            torrent: Bytes::from(self.metainfo.encode()),
            json_torrent: json_torrent.map(|torrent| Bytes::from(torrent.encode(HashForm::Python))),
            download: Some(download),
        }
    }

    /// What the live page says about it.
    pub(crate) fn share_info(
        &self,
        expected: Option<usize>,
        condition: ContentCondition,
        download: DownloadSource,
    ) -> ShareInfo {
        let info = &self.metainfo.info;
        ShareInfo {
            name: info.name.clone(),
            info_hash: self.metainfo.info_hash,
            length: info.geometry.total(),
            pieces: info.geometry.pieces(),
            files: self.file_count(),
            is_folder: info.files != Files::Single,
            ticket: self.ticket.to_string(),
            magnet: self.magnet.to_string(),
            expected,
            condition,
            download,
        }
    }

    fn file_count(&self) -> usize {
        match &self.metainfo.info.files {
            Files::Single => 1,
            Files::Multi(entries) => entries.iter().filter(|entry| !entry.padding).count(),
        }
    }

    /// Where hosts that are pushed to find it.
    pub(crate) fn reached_at(&self, bind: Option<IpAddr>, advertised: Address) -> OriginAddresses {
        OriginAddresses { bind, advertised, magnet: torrent_file::magnet_of(&self.metainfo) }
    }

    /// Notes how programs other than this one download it.
    pub(crate) fn note_links(&self, report: &Report) {
        report.note("or, with any BitTorrent program:");
        report.note(format_args!("  {}", self.magnet));
        report.note(format_args!("  {}", self.url));
    }

    /// The event that it can be downloaded now.
    pub(crate) fn ready_event(&self) -> Event<'static> {
        Event::Ready {
            ticket: Some(self.ticket.to_string()),
            magnet: Some(self.magnet.to_string()),
            torrent: Some(self.url.clone()),
            port: self.ticket.port,
        }
    }
}
