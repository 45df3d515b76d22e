//! The two BitTorrent handshakes that open a connection, from both sides (BEP 3). Time limits are
//! the caller's.

use std::io;

use sow_content::InfoHash;
use sow_wire::bittorrent::{
    Handshake,
    handshake::{HANDSHAKE_LENGTH, NotBitTorrent},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The length of a handshake up to the end of its info-hash, in bytes. The accepting side answers
/// at that point: some initiators wait for the answer before they send their peer id.
const LENGTH_TO_INFO_HASH: usize = 48;

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    NotBitTorrent(#[from] NotBitTorrent),
    #[error("this node is not in the swarm {0}")]
    UnknownSwarm(InfoHash),
    #[error("the peer answered for another swarm")]
    OtherSwarm,
}

/// Sends our handshake and reads the peer's, as the side that opened the connection.
pub(crate) async fn initiate<S>(
    stream: &mut S,
    ours: &Handshake,
) -> Result<Handshake, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&ours.encode()).await?;
    let mut bytes = [0; HANDSHAKE_LENGTH];
    stream.read_exact(&mut bytes).await?;
    let theirs = Handshake::decode(&bytes)?;
    if theirs.info_hash != ours.info_hash {
        return Err(HandshakeError::OtherSwarm);
    }
    Ok(theirs)
}

/// Reads the peer's handshake and answers it, as the side that accepted the connection. `first` is
/// what was read already, less than a handshake. `route` returns our handshake for the swarm that
/// the peer names, and a value that goes with it; the swarm may have to be joined first.
pub(crate) async fn respond<S, T, F>(
    stream: &mut S,
    first: &[u8],
    route: impl FnOnce(InfoHash) -> F,
) -> Result<(Handshake, T), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<(Handshake, T)>>,
{
    let mut bytes = [0; HANDSHAKE_LENGTH];
    let known = first.len().min(LENGTH_TO_INFO_HASH);
    bytes[..known].copy_from_slice(&first[..known]);
    stream.read_exact(&mut bytes[known..LENGTH_TO_INFO_HASH]).await?;
    let named = Handshake::decode(&bytes)?.info_hash;
    let (ours, target) = route(named).await.ok_or(HandshakeError::UnknownSwarm(named))?;
    stream.write_all(&ours.encode()).await?;
    stream.read_exact(&mut bytes[LENGTH_TO_INFO_HASH..]).await?;
    Ok((Handshake::decode(&bytes)?, target))
}

#[cfg(test)]
mod tests {
    use sow_wire::bittorrent::PeerId;

    use super::*;

    fn handshake(swarm: u8, peer: u8) -> Handshake {
        let (info_hash, peer_id) = (InfoHash([swarm; 20]), PeerId([peer; 20]));
        Handshake { info_hash, peer_id, fast: true, extended: true }
    }

    #[tokio::test]
    async fn both_sides_learn_the_other_handshake() {
        let (mut a, mut b) = tokio::io::duplex(256);
        let initiating = tokio::spawn(async move { initiate(&mut a, &handshake(1, 2)).await });
        let mut first = [0; 20];
        b.read_exact(&mut first).await.unwrap();
        let (theirs, target) =
            respond(&mut b, &first, async |_| Some((handshake(1, 3), "here"))).await.unwrap();
        assert_eq!((theirs, target), (handshake(1, 2), "here"));
        assert_eq!(initiating.await.unwrap().unwrap(), handshake(1, 3));
    }

    #[tokio::test]
    async fn the_accepting_side_answers_before_the_peer_id() {
        let (mut a, mut b) = tokio::io::duplex(256);
        let responding = tokio::spawn(async move {
            respond(&mut b, &[], async |_| Some((handshake(1, 3), ()))).await
        });
        let bytes = handshake(1, 2).encode();
        a.write_all(&bytes[..48]).await.unwrap();
        let mut answered = [0; HANDSHAKE_LENGTH];
        a.read_exact(&mut answered).await.unwrap();
        a.write_all(&bytes[48..]).await.unwrap();
        assert_eq!(responding.await.unwrap().unwrap().0, handshake(1, 2));
    }

    #[tokio::test]
    async fn other_swarms_are_refused() {
        let (mut a, mut b) = tokio::io::duplex(256);
        let initiating = tokio::spawn(async move { initiate(&mut a, &handshake(1, 2)).await });
        let refused = respond(&mut b, &[], async |_| None::<(Handshake, ())>).await;
        assert!(
            matches!(refused, Err(HandshakeError::UnknownSwarm(hash)) if hash == InfoHash([1; 20]))
        );
        b.write_all(&handshake(9, 3).encode()).await.unwrap();
        assert!(matches!(initiating.await.unwrap(), Err(HandshakeError::OtherSwarm)));
    }
}
