//! The extension handshake (BEP 10): the extensions of each side and the ids that it assigns to
//! them. The 68-byte handshake of BEP 3 is in `bittorrent::handshake`.

use sow_content::{
    bencode::{Encoder, Limits, Value, decode},
    untrusted::is_unprintable,
};

use super::{ExtensionError, MAX_METADATA_SIZE};

/// The longest client name that is kept, in characters.
pub const MAX_CLIENT_NAME: usize = 64;

/// The bencoded dictionary that both sides send as extended message 0 (BEP 10). An absent key is
/// `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtensionHandshake {
    /// The sender's id for `ut_metadata` messages, never 0.
    pub ut_metadata: Option<u8>,
    /// The sender's id for `ut_pex` messages, never 0.
    pub ut_pex: Option<u8>,
    /// The sender's id for `sow_withdraw` messages, an extension of this project; never 0.
    pub sow_withdraw: Option<u8>,
    /// The sender's id for `sow_receiver` messages, an extension of this project; never 0. Only a
    /// sender that collects the reports of receivers has one.
    pub sow_receiver: Option<u8>,
    /// The sender's id for `sow_relay` messages, an extension of this project; never 0. Such a
    /// sender keeps requests for pieces that it does not have yet.
    pub sow_relay: Option<u8>,
    /// Whether the sender asks the peer to name its parents (`sow_join`, a key of this project).
    pub joins_relay: bool,
    /// The port that the sender listens on (`p`), never 0.
    pub listen_port: Option<u16>,
    /// The sender's name and version (`v`), printable, at most
    /// [`MAX_CLIENT_NAME`] characters.
    pub client: Option<String>,
    /// The number of requests that the sender queues (`reqq`).
    pub request_queue: Option<u32>,
    /// The length of the bencoded info dictionary in bytes (BEP 9), from 1 to
    /// [`MAX_METADATA_SIZE`].
    pub metadata_size: Option<u32>,
    /// The longest block that the sender answers a request for, in bytes: `sow_block`, a key of
    /// this project.
    pub max_block: Option<u32>,
    /// Whether the sender only uploads (`upload_only`, BEP 21).
    pub upload_only: bool,
}

impl ExtensionHandshake {
    /// Decodes the body of extended message 0. Unknown keys and invalid values count as absent:
    /// every key is optional, and none justifies a disconnect.
    ///
    /// # Errors
    /// When the body is not one bencoded dictionary.
    pub fn decode(body: &[u8]) -> Result<Self, ExtensionError> {
        let value = decode(body, Limits::SMALL)?;
        value.as_dict().ok_or(ExtensionError::NotADictionary)?;
        let int = |key: &[u8]| value.dict_get(key).and_then(Value::as_int);
        let number = |key: &[u8]| int(key).and_then(|int| u32::try_from(int).ok());
        let extension_id = |key: &[u8]| {
            let id = value.dict_get(b"m")?.dict_get(key)?.as_int()?;
            u8::try_from(id).ok().filter(|&id| id != 0)
        };
        Ok(Self {
            ut_metadata: extension_id(b"ut_metadata"),
            ut_pex: extension_id(b"ut_pex"),
            sow_withdraw: extension_id(b"sow_withdraw"),
            sow_receiver: extension_id(b"sow_receiver"),
            sow_relay: extension_id(b"sow_relay"),
            joins_relay: int(b"sow_join").is_some_and(|int| int != 0),
            listen_port: int(b"p")
                .and_then(|port| u16::try_from(port).ok())
                .filter(|&port| port != 0),
            client: value.dict_get(b"v").and_then(Value::as_bytes).and_then(client_name),
            request_queue: number(b"reqq"),
            metadata_size: number(b"metadata_size")
                .filter(|size| (1..=MAX_METADATA_SIZE).contains(size)),
            max_block: number(b"sow_block"),
            upload_only: int(b"upload_only").is_some_and(|int| int != 0),
        })
    }

    /// The body of extended message 0.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.dict(|dict| {
            dict.entry(b"m", |encoder| {
                encoder.dict(|dict| {
                    for (key, id) in [
                        (&b"sow_receiver"[..], self.sow_receiver),
                        (b"sow_relay", self.sow_relay),
                        (b"sow_withdraw", self.sow_withdraw),
                        (b"ut_metadata", self.ut_metadata),
                        (b"ut_pex", self.ut_pex),
                    ] {
                        id.inspect(|&id| dict.int(key, id.into()));
                    }
                });
            });
            self.metadata_size.inspect(|&size| dict.int(b"metadata_size", size.into()));
            self.listen_port.inspect(|&port| dict.int(b"p", port.into()));
            self.request_queue.inspect(|&queue| dict.int(b"reqq", queue.into()));
            self.max_block.inspect(|&block| dict.int(b"sow_block", block.into()));
            if self.joins_relay {
                dict.int(b"sow_join", 1);
            }
            if self.upload_only {
                dict.int(b"upload_only", 1);
            }
            if let Some(client) = &self.client {
                dict.bytes(b"v", client.as_bytes());
            }
        });
        encoder.finish()
    }
}

/// The printable part of a client's name, bounded; `None` when it is empty.
fn client_name(bytes: &[u8]) -> Option<String> {
    // A character has at most four bytes.
    let bytes = &bytes[..bytes.len().min(4 * MAX_CLIENT_NAME)];
    let text = String::from_utf8_lossy(bytes);
    let kept: String = text.chars().filter(|&c| !is_unprintable(c)).take(MAX_CLIENT_NAME).collect();
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_of_another_program_is_decoded() {
        // It has unknown keys, and a key that is out of order.
        let body = b"d4:ipv44:\x7f\0\0\x011:md11:ut_metadatai3e6:ut_pexi1ee13:metadata_sizei31235e\
                     1:pi6881e4:reqqi512e11:upload_onlyi1e1:v17:Transmission 4.056:yourip\
                     4:\x7f\0\0\x011:ei0ee";
        let read = ExtensionHandshake::decode(body).unwrap();
        assert_eq!(
            (read.ut_metadata, read.ut_pex, read.listen_port),
            (Some(3), Some(1), Some(6881))
        );
        assert_eq!(
            (read.metadata_size, read.request_queue, read.max_block),
            (Some(31235), Some(512), None)
        );
        assert_eq!((read.client.as_deref(), read.upload_only), (Some("Transmission 4.05"), true));
    }

    #[test]
    fn invalid_values_count_as_absent() {
        let body = b"d1:md11:ut_metadatai0e6:ut_pexi256ee13:metadata_sizei-1e1:pi70000e4:reqq1:x\
                     1:v3:\x1b\0\ne";
        assert_eq!(ExtensionHandshake::decode(body), Ok(ExtensionHandshake::default()));
        assert_eq!(ExtensionHandshake::decode(b"d1:mi1ee"), Ok(ExtensionHandshake::default()));
        let size = format!("d13:metadata_sizei{}ee", MAX_METADATA_SIZE + 1);
        assert_eq!(ExtensionHandshake::decode(size.as_bytes()).unwrap().metadata_size, None);
    }

    #[test]
    fn bodies_that_are_not_one_dictionary_are_rejected() {
        assert_eq!(ExtensionHandshake::decode(b"le"), Err(ExtensionError::NotADictionary));
        assert!(matches!(ExtensionHandshake::decode(b"de "), Err(ExtensionError::Bencode(_))));
        assert!(matches!(ExtensionHandshake::decode(b""), Err(ExtensionError::Bencode(_))));
        let deep = [b"d1:x".as_slice(), &[b'l'; 100], &[b'e'; 101]].concat();
        assert!(matches!(ExtensionHandshake::decode(&deep), Err(ExtensionError::Bencode(_))));
    }

    #[test]
    fn client_names_lose_what_could_steer_a_terminal() {
        let name = "a\x1b[31m\u{9b}0m\u{202e}b\u{200b}\u{2028}\n\u{feff}";
        let body = format!("d1:v{}:{name}e", name.len());
        let read = ExtensionHandshake::decode(body.as_bytes()).unwrap();
        assert_eq!(read.client.as_deref(), Some("a[31m0mb"));
    }

    #[test]
    fn long_client_names_are_truncated() {
        let name = "ü".repeat(100);
        let body = format!("d1:v{}:{name}e", name.len());
        assert_eq!(
            ExtensionHandshake::decode(body.as_bytes()).unwrap().client,
            Some("ü".repeat(64))
        );
    }
}
