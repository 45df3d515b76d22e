//! Metadata exchange (BEP 9): the info dictionary in pieces of 16 KiB, for peers that know only the
//! info-hash. Which piece to request is not decided here.

use bytes::Bytes;
use sow_content::bencode::{Encoder, Limits, Value, decode_prefix};

use super::ExtensionError;

/// The length of every metadata piece but the last, in bytes.
pub const METADATA_PIECE_LENGTH: u32 = 16 * 1024;

/// The largest accepted info dictionary, in bytes.
pub const MAX_METADATA_SIZE: u32 = sow_content::metainfo::MAX_METAINFO as u32;

/// A metadata exchange message (BEP 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataMessage {
    /// Requests a metadata piece.
    Request {
        /// The index of the metadata piece.
        piece: u32,
    },
    /// A metadata piece of 16 KiB; the last one may be shorter.
    Data {
        /// The index of the metadata piece.
        piece: u32,
        /// The length of the info dictionary in bytes, from 1 to [`MAX_METADATA_SIZE`].
        total_size: u32,
        /// The bytes of the metadata piece.
        data: Bytes,
    },
    /// The sender does not have the metadata piece, or does not send it.
    Reject {
        /// The index of the metadata piece.
        piece: u32,
    },
}

impl MetadataMessage {
    /// Decodes the body of a `ut_metadata` message. The data are a slice of `body`, not a copy.
    ///
    /// # Errors
    /// When the body is not valid, or the lengths contradict each other. The caller ignores
    /// [`ExtensionError::UnknownType`], as BEP 9 requires.
    pub fn decode(body: &Bytes) -> Result<Self, ExtensionError> {
        let (head, rest) = decode_prefix(body, Limits::SMALL)?;
        let int = |key: &str| head.dict_get(key.as_bytes()).and_then(Value::as_int);
        let kind = int("msg_type").ok_or(ExtensionError::Key("msg_type"))?;
        if !(0..=2).contains(&kind) {
            return Err(ExtensionError::UnknownType(kind));
        }
        let piece = int("piece").and_then(|piece| u32::try_from(piece).ok());
        let piece = piece
            .filter(|&piece| piece < MAX_METADATA_SIZE / METADATA_PIECE_LENGTH)
            .ok_or(ExtensionError::Key("piece"))?;
        match kind {
            0 => Ok(Self::Request { piece }),
            1 => {
                let total_size = int("total_size").and_then(|size| u32::try_from(size).ok());
                let total_size = total_size
                    .filter(|size| (1..=MAX_METADATA_SIZE).contains(size))
                    .ok_or(ExtensionError::Key("total_size"))?;
                let want = piece_length(piece, total_size).ok_or(ExtensionError::Key("piece"))?;
                if rest.len() != want {
                    return Err(ExtensionError::DataLength { got: rest.len(), want });
                }
                Ok(Self::Data { piece, total_size, data: body.slice(body.len() - want..) })
            }
            _ => Ok(Self::Reject { piece }),
        }
    }

    /// The body of a `ut_metadata` message.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, piece, data) = match self {
            Self::Request { piece } => (0, piece, None),
            Self::Data { piece, total_size, data } => (1, piece, Some((total_size, data))),
            Self::Reject { piece } => (2, piece, None),
        };
        let mut encoder = Encoder::new();
        encoder.dict(|dict| {
            dict.int(b"msg_type", kind);
            dict.int(b"piece", i64::from(*piece));
            if let Some((total_size, _)) = data {
                dict.int(b"total_size", i64::from(*total_size));
            }
        });
        if let Some((_, data)) = data {
            encoder.raw(data);
        }
        encoder.finish()
    }
}

/// The length of a metadata piece; `None` when its offset is beyond the end.
fn piece_length(piece: u32, total_size: u32) -> Option<usize> {
    let offset = piece.checked_mul(METADATA_PIECE_LENGTH)?;
    let left = total_size.checked_sub(offset).filter(|&left| left > 0)?;
    Some(left.min(METADATA_PIECE_LENGTH) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<MetadataMessage, ExtensionError> {
        MetadataMessage::decode(&Bytes::copy_from_slice(body))
    }

    #[test]
    fn the_examples_of_bep_9_are_decoded() {
        assert_eq!(read(b"d8:msg_typei0e5:piecei0ee"), Ok(MetadataMessage::Request { piece: 0 }));
        assert_eq!(read(b"d8:msg_typei2e5:piecei0ee"), Ok(MetadataMessage::Reject { piece: 0 }));
        let mut body = b"d8:msg_typei1e5:piecei0e10:total_sizei34256ee".to_vec();
        body.extend(vec![b'x'; 16384]);
        let data = Bytes::from(vec![b'x'; 16384]);
        assert_eq!(read(&body), Ok(MetadataMessage::Data { piece: 0, total_size: 34256, data }));
    }

    #[test]
    fn the_data_must_have_the_length_of_their_piece() {
        let data = |piece: u32, total: u32, length: usize| {
            let head = format!("d8:msg_typei1e5:piecei{piece}e10:total_sizei{total}ee");
            read(&[head.as_bytes(), &vec![0; length]].concat())
        };
        assert!(data(2, 34256, 34256 - 2 * 16384).is_ok());
        assert_eq!(
            data(2, 34256, 16384),
            Err(ExtensionError::DataLength { got: 16384, want: 1488 })
        );
        assert_eq!(
            data(0, 34256, 16383),
            Err(ExtensionError::DataLength { got: 16383, want: 16384 })
        );
        assert_eq!(data(3, 34256, 1), Err(ExtensionError::Key("piece")));
        assert_eq!(data(1, 16384, 0), Err(ExtensionError::Key("piece")));
        assert_eq!(data(0, 0, 0), Err(ExtensionError::Key("total_size")));
        assert_eq!(data(0, MAX_METADATA_SIZE + 1, 16384), Err(ExtensionError::Key("total_size")));
    }

    #[test]
    fn errors_name_the_key() {
        assert_eq!(read(b"d5:piecei0ee"), Err(ExtensionError::Key("msg_type")));
        assert_eq!(read(b"le"), Err(ExtensionError::Key("msg_type")));
        assert_eq!(read(b"d8:msg_typei0ee"), Err(ExtensionError::Key("piece")));
        assert_eq!(read(b"d8:msg_typei0e5:piecei-1ee"), Err(ExtensionError::Key("piece")));
        assert_eq!(read(b"d8:msg_typei0e5:piecei4096ee"), Err(ExtensionError::Key("piece")));
        assert_eq!(read(b"d8:msg_typei9e5:piecei0ee"), Err(ExtensionError::UnknownType(9)));
        assert!(matches!(read(b"d8:msg_type"), Err(ExtensionError::Bencode(_))));
    }
}
