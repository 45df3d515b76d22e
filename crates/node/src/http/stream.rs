//! The socket of an HTTP connection: what was read of it already comes first, and its place learns
//! when the client takes bytes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{places::Activity, sniff::Rewound};

/// The size of the kernel's send buffer, in bytes (the kernel doubles it): clients that take
/// nothing must not cost the megabytes to which it would grow by itself. Downloads of the content,
/// whose number is bounded, let it grow.
pub(crate) const SEND_BUFFER: usize = 128 * 1024;

/// See the header of this file.
#[derive(Debug)]
pub(super) struct HttpStream {
    stream: Rewound<TcpStream>,
    activity: Arc<Activity>,
    is_buffer_bounded: bool,
}

impl HttpStream {
    pub(super) fn new(first: Vec<u8>, stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream: Rewound::new(first, stream), activity, is_buffer_bounded: false }
    }

    /// Bounds the kernel's buffer before the first answer that is no download. It cannot grow by
    /// itself from then on.
    fn bound_buffer(&mut self) {
        if !self.is_buffer_bounded && !self.activity.is_bulk() {
            self.is_buffer_bounded = true;
            // Fails only when the connection is gone.
            let _ = SockRef::from(self.stream.get_ref()).set_send_buffer_size(SEND_BUFFER);
        }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(count)) => self.activity.took(*count),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.blocked(),
        }
        written
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.bound_buffer();
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.bound_buffer();
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    /// A body is sent from where it is, without a copy for each connection.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
