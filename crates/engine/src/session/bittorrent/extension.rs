//! The extension protocol (BEP 10): both handshakes, and the numbers of extended messages.

use sow_wire::bittorrent::ExtensionHandshake;

/// The number of the extension handshake.
pub(in crate::session) const HANDSHAKE_ID: u8 = 0;

/// Our own number of `ut_metadata` (BEP 9).
pub(super) const UT_METADATA_ID: u8 = 1;

/// Our own number of `ut_pex` (BEP 11).
pub(in crate::session) const UT_PEX_ID: u8 = 2;

/// Our own number of `sow_withdraw`.
pub(super) const SOW_WITHDRAW_ID: u8 = 3;

/// Our own number of `sow_receiver`.
pub(super) const SOW_RECEIVER_ID: u8 = 4;

/// Our own number of `sow_relay`.
pub(super) const SOW_RELAY_ID: u8 = 5;

/// Requests that are queued for one peer; we advertise it as `reqq` (BEP 10).
pub const MAX_QUEUED_REQUESTS: usize = 2048;

/// Requests that are sent ahead to a peer that does not say how many it queues.
const DEFAULT_REQUEST_QUEUE: u32 = 250;

/// The limit of requests that are sent ahead to one peer, whatever it says.
const MAX_REQUEST_QUEUE: u32 = 4096;

/// What the peer said in its extension handshake.
#[derive(Debug, Default)]
pub(crate) struct Extension {
    handshake: Option<ExtensionHandshake>,
}

/// What our extension handshake says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalPeer {
    /// 0 when no port accepts connections.
    pub(crate) listen_port: u16,
    pub(crate) max_block: u32,
    /// The length of the metadata in bytes, once it is here.
    pub(crate) metadata_size: Option<u32>,
    /// The swarm is private (BEP 27): peers are not exchanged.
    pub(crate) is_private: bool,
    pub(crate) upload_only: bool,
    /// Receivers are to report to us.
    pub(crate) collects_receivers: bool,
    /// Requests for pieces that are not here yet are kept.
    pub(crate) relays: bool,
    /// The peer is to name our parents.
    pub(crate) joins_relay: bool,
}

impl LocalPeer {
    pub(super) fn extension_handshake(&self) -> ExtensionHandshake {
        ExtensionHandshake {
            ut_metadata: Some(UT_METADATA_ID),
            ut_pex: (!self.is_private).then_some(UT_PEX_ID),
            sow_withdraw: Some(SOW_WITHDRAW_ID),
            sow_receiver: self.collects_receivers.then_some(SOW_RECEIVER_ID),
            sow_relay: self.relays.then_some(SOW_RELAY_ID),
            joins_relay: self.joins_relay,
            listen_port: (self.listen_port != 0).then_some(self.listen_port),
            client: Some(concat!("sow ", env!("CARGO_PKG_VERSION")).to_owned()),
            request_queue: Some(MAX_QUEUED_REQUESTS as u32),
            metadata_size: self.metadata_size,
            max_block: Some(self.max_block),
            upload_only: self.upload_only,
        }
    }
}

impl Extension {
    pub(super) fn handshake(&self) -> Option<&ExtensionHandshake> {
        self.handshake.as_ref()
    }

    /// The port on which the peer accepts connections.
    pub(crate) fn listen_port(&self) -> Option<u16> {
        self.handshake()?.listen_port
    }

    /// The name and version of the peer's program.
    pub(crate) fn client(&self) -> Option<&str> {
        self.handshake()?.client.as_deref()
    }

    /// Whether the peer only uploads: it has everything although it may not say so, as an origin
    /// that uses super-seeding.
    pub(crate) fn upload_only(&self) -> bool {
        self.handshake().is_some_and(|handshake| handshake.upload_only)
    }

    /// The length of the metadata that the peer offers.
    pub(crate) fn metadata_size(&self) -> Option<u32> {
        let handshake = self.handshake()?;
        handshake.ut_metadata.and(handshake.metadata_size)
    }

    /// How many requests the peer queues for us.
    pub(crate) fn request_queue(&self) -> usize {
        let said = self.handshake().and_then(|handshake| handshake.request_queue);
        said.unwrap_or(DEFAULT_REQUEST_QUEUE).clamp(1, MAX_REQUEST_QUEUE) as usize
    }

    /// The peer's number of `ut_metadata`.
    pub(super) fn metadata_id(&self) -> Option<u8> {
        self.handshake()?.ut_metadata
    }

    /// The peer's number of `ut_pex`.
    pub(super) fn pex_id(&self) -> Option<u8> {
        self.handshake()?.ut_pex
    }

    /// The peer's number of `sow_withdraw`.
    pub(super) fn withdraw_id(&self) -> Option<u8> {
        self.handshake()?.sow_withdraw
    }

    /// The peer's number of `sow_receiver`.
    pub(super) fn receiver_id(&self) -> Option<u8> {
        self.handshake()?.sow_receiver
    }

    /// The peer's number of `sow_relay`.
    pub(super) fn relay_id(&self) -> Option<u8> {
        self.handshake()?.sow_relay
    }

    /// Whether the peer keeps requests for pieces that it does not have yet.
    pub(crate) fn relays(&self) -> bool {
        self.relay_id().is_some()
    }

    /// Whether the peer asks us to name its parents, once it relays itself.
    pub(crate) fn joins_relay(&self) -> bool {
        self.handshake().is_some_and(|handshake| handshake.joins_relay)
    }

    /// Whether the peer has sent its extension handshake.
    pub(crate) fn is_known(&self) -> bool {
        self.handshake.is_some()
    }

    /// One connection has one address: what a second handshake says of it is ignored.
    pub(super) fn on_handshake(&mut self, handshake: ExtensionHandshake) {
        let listen_port = self.listen_port().or(handshake.listen_port);
        self.handshake = Some(ExtensionHandshake { listen_port, ..handshake });
    }

    /// The peer has no metadata after all.
    pub(super) fn on_metadata_reject(&mut self) {
        if let Some(handshake) = &mut self.handshake {
            handshake.metadata_size = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_handshake_changes_everything_but_the_port() {
        let mut extension = Extension::default();
        assert_eq!(extension.request_queue(), DEFAULT_REQUEST_QUEUE as usize);
        let said = |listen_port, request_queue| ExtensionHandshake {
            listen_port: Some(listen_port),
            request_queue: Some(request_queue),
            ..ExtensionHandshake::default()
        };
        extension.on_handshake(said(1, 10));
        extension.on_handshake(said(2, u32::MAX));
        assert_eq!(extension.listen_port(), Some(1));
        assert_eq!(extension.request_queue(), MAX_REQUEST_QUEUE as usize);
    }
}
