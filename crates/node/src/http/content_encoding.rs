//! Bodies that a server has compressed, whether it was asked to or not. The length of what comes
//! out is limited. No requests here.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// How a gzip file begins (RFC 1952).
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Why a body is not decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodingError {
    /// It is longer than allowed.
    #[error("longer than allowed")]
    TooLong,
    /// It is damaged.
    #[error("its compression is damaged: {0}")]
    Damaged(#[from] io::Error),
    /// Another encoding.
    #[error("it is compressed in a way that was not asked for: {0:?}")]
    Unknown(String),
}

/// Decodes a body with the `Content-Encoding` that its server names, to at most `limit` bytes. A
/// body that begins as gzip is decoded without one, too: no torrent and no tracker's answer does.
pub(super) fn decode(
    encoding: &str,
    body: Vec<u8>,
    limit: usize,
) -> Result<Vec<u8>, EncodingError> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" if !body.starts_with(&GZIP_MAGIC) => Ok(body),
        "" | "identity" | "gzip" | "x-gzip" => inflate(MultiGzDecoder::new(&body[..]), limit),
        // Some servers leave out the head and the checksum of zlib (RFC 9110, 8.4.1.2).
        "deflate" => match inflate(ZlibDecoder::new(&body[..]), limit) {
            Err(EncodingError::Damaged(_)) => inflate(DeflateDecoder::new(&body[..]), limit),
            decoded => decoded,
        },
        other => Err(EncodingError::Unknown(other.chars().take(40).collect())),
    }
}

fn inflate(decoder: impl Read, limit: usize) -> Result<Vec<u8>, EncodingError> {
    let mut decoded = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut decoded)?;
    if decoded.len() > limit { Err(EncodingError::TooLong) } else { Ok(decoded) }
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        read::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn all(mut reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_usual_encoding_is_decoded() {
        let text = b"d8:intervali30ee".repeat(100);
        let level = Compression::fast();
        for (encoding, body) in [
            ("", text.clone()),
            ("identity", text.clone()),
            ("gzip", all(GzEncoder::new(&text[..], level))),
            ("X-GZIP", all(GzEncoder::new(&text[..], level))),
            ("", all(GzEncoder::new(&text[..], level))),
            ("deflate", all(ZlibEncoder::new(&text[..], level))),
            ("deflate", all(DeflateEncoder::new(&text[..], level))),
        ] {
            assert_eq!(decode(encoding, body, text.len()).unwrap(), text, "{encoding}");
        }
        let broken = all(GzEncoder::new(&text[..], level))[..20].to_vec();
        assert!(matches!(decode("gzip", broken, 9000), Err(EncodingError::Damaged(_))));
        assert!(matches!(decode("br", text, 9000), Err(EncodingError::Unknown(_))));
    }

    #[test]
    fn a_bomb_does_not_fill_the_memory() {
        let zeros = io::repeat(0).take(64 << 20);
        let bomb = all(GzEncoder::new(zeros, Compression::best()));
        assert!(bomb.len() < 100_000);
        assert!(matches!(decode("gzip", bomb, 1 << 20), Err(EncodingError::TooLong)));
    }
}
