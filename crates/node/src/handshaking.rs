//! The two handshakes of a connection, in both directions (BEP 3). Deadlines are the caller's.

use std::io;

use sow_content::InfoHash;
use sow_wire::bittorrent::{
    Handshake,
    handshake::{HANDSHAKE_LENGTH, NotBitTorrent},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How far a handshake goes up to the info-hash, in bytes: who is called answers at that point,
/// since some callers wait for the answer before they name themselves.
const UP_TO_INFO_HASH: usize = 48;

/// Why two programs did not come together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    NotBitTorrent(#[from] NotBitTorrent),
    #[error("the swarm {0} is not here")]
    UnknownSwarm(InfoHash),
    #[error("the peer answered for another swarm")]
    OtherSwarm,
    #[error("the address is our own")]
    Ourselves,
    #[error("the handshake took too long")]
    TooSlow,
    #[error("the node has as many connections as it may")]
    Full,
}

/// Opens the conversation, as the one who called.
pub(crate) async fn call<S>(stream: &mut S, ours: &Handshake) -> Result<Handshake, HandshakeError>
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

/// AcceptedDialects, as the one who was called. `first`: what was read already, less than a
/// handshake. `route` gives our handshake for a swarm that is here, and what goes with it.
pub(crate) async fn answer<S, T>(
    stream: &mut S,
    first: &[u8],
    route: impl FnOnce(InfoHash) -> Option<(Handshake, T)>,
) -> Result<(Handshake, T), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = [0; HANDSHAKE_LENGTH];
    let known = first.len().min(UP_TO_INFO_HASH);
    bytes[..known].copy_from_slice(&first[..known]);
    stream.read_exact(&mut bytes[known..UP_TO_INFO_HASH]).await?;
    let named = Handshake::decode(&bytes)?.info_hash;
    let (ours, target) = route(named).ok_or(HandshakeError::UnknownSwarm(named))?;
    stream.write_all(&ours.encode()).await?;
    stream.read_exact(&mut bytes[UP_TO_INFO_HASH..]).await?;
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
    async fn both_sides_learn_who_the_other_is() {
        let (mut a, mut b) = tokio::io::duplex(256);
        let calling = tokio::spawn(async move { call(&mut a, &handshake(1, 2)).await });
        let mut first = [0; 20];
        b.read_exact(&mut first).await.unwrap();
        let (theirs, word) =
            answer(&mut b, &first, |_| Some((handshake(1, 3), "here"))).await.unwrap();
        assert_eq!((theirs, word), (handshake(1, 2), "here"));
        assert_eq!(calling.await.unwrap().unwrap(), handshake(1, 3));
    }

    #[tokio::test]
    async fn who_is_called_answers_before_the_peer_id() {
        let (mut a, mut b) = tokio::io::duplex(256);
        let answering =
            tokio::spawn(async move { answer(&mut b, &[], |_| Some((handshake(1, 3), ()))).await });
        let bytes = handshake(1, 2).encode();
        a.write_all(&bytes[..48]).await.unwrap();
        let mut answered = [0; HANDSHAKE_LENGTH];
        a.read_exact(&mut answered).await.unwrap();
        a.write_all(&bytes[48..]).await.unwrap();
        assert_eq!(answering.await.unwrap().unwrap().0, handshake(1, 2));
    }

    #[tokio::test]
    async fn other_swarms_are_refused() {
        let (mut a, mut b) = tokio::io::duplex(256);
        let calling = tokio::spawn(async move { call(&mut a, &handshake(1, 2)).await });
        let refused = answer(&mut b, &[], |_| None::<(Handshake, ())>).await;
        assert!(
            matches!(refused, Err(HandshakeError::UnknownSwarm(hash)) if hash == InfoHash([1; 20]))
        );
        b.write_all(&handshake(9, 3).encode()).await.unwrap();
        assert!(matches!(calling.await.unwrap(), Err(HandshakeError::OtherSwarm)));
    }
}
