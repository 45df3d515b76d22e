//! Receivers that only say what they have: many on one machine, each at an address of its own.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

/// A receiver that is connected.
pub(crate) struct FakeReceiver {
    stream: TcpStream,
}

impl FakeReceiver {
    /// Connects to an origin as receiver `number`, which has the first `have` of `pieces` pieces
    /// and says that its program is `program`.
    pub(crate) fn connect(
        origin: SocketAddr,
        info_hash: &[u8; 20],
        number: u16,
        (have, pieces): (usize, usize),
        program: &str,
    ) -> Self {
        let [high, low] = number.to_be_bytes();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from = SocketAddr::from((Ipv4Addr::new(127, 9, high, low), 0));
        socket.bind(&from.into()).unwrap();
        socket.connect(&origin.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0".to_vec();
        hello.extend(info_hash);
        hello.extend(format!("-FK0001-{number:012}").as_bytes());
        stream.write_all(&hello).unwrap();
        let mut answer = [0; 68];
        stream.read_exact(&mut answer).expect("a handshake");
        let port = 6881;
        let extension = format!("d1:mde1:pi{port}e1:v{}:{program}e", program.len()).into_bytes();
        let mut bits = vec![0u8; pieces.div_ceil(8)];
        (0..have).for_each(|piece| bits[piece / 8] |= 0x80 >> (piece % 8));
        let mut messages = message(20, &[&[0], extension.as_slice()].concat());
        messages.splice(0..0, message(5, &bits));
        stream.write_all(&messages).unwrap();
        Self { stream }
    }

    /// Says that it has more pieces.
    pub(crate) fn has(&mut self, pieces: std::ops::Range<usize>) {
        let messages: Vec<u8> =
            pieces.flat_map(|piece| message(4, &(piece as u32).to_be_bytes())).collect();
        // The origin may have closed the connection.
        let _ = self.stream.write_all(&messages);
    }
}

fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32 + 1).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(payload);
    bytes
}
