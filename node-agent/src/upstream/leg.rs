//! One side of a connection: plain or inside TLS, polled from one task.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Socket;
use crate::model::Carried;
use crate::tls::Prefixed;

/// A connection's byte stream. The TLS variants are boxed so that a plain leg stays small.
#[derive(Debug)]
pub enum Leg {
    /// In clear.
    Plain(Socket),
    /// We are the TLS server (towards a client).
    Server(Box<tokio_rustls::server::TlsStream<Prefixed<Socket>>>),
    /// We are the TLS client (towards a database).
    Client(Box<tokio_rustls::client::TlsStream<Socket>>),
    /// Taken apart (a handshake is under way, or failed): reads end, writes fail.
    Closed,
}

impl Leg {
    /// Bytes on this leg are encrypted.
    pub fn is_tls(&self) -> bool {
        match self {
            Leg::Plain(_) | Leg::Closed => false,
            Leg::Server(_) | Leg::Client(_) => true,
        }
    }

    /// Whether nothing has come and the peer has not gone, as far as is known without waiting. A byte that has
    /// come is lost by this.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        let mut read = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(self).poll_read(&mut cx, &mut read).is_pending()
    }

    /// Hands the socket to the event loop of this thread: it was opened on another's, which would have to
    /// wake this one for each answer.
    ///
    /// # Errors
    /// There is no descriptor for it, or no socket.
    pub fn rehome(&mut self) -> io::Result<()> {
        let socket = match self {
            Leg::Plain(stream) => stream,
            Leg::Client(stream) => stream.get_mut().0,
            // A client's connection is its session's alone.
            Leg::Server(_) | Leg::Closed => return Err(io::ErrorKind::NotConnected.into()),
        };
        socket.rehome()
    }

    /// Whether the peer has closed its side, whatever of what it sent before is still unread.
    pub fn peer_closed(&self) -> bool {
        match self {
            Leg::Plain(stream) => stream.peer_closed(),
            Leg::Server(stream) => stream.get_ref().0.get_ref().peer_closed(),
            Leg::Client(stream) => stream.get_ref().0.peer_closed(),
            Leg::Closed => true,
        }
    }

    /// What passed over its socket. `None`: it is closed.
    pub fn carried(&self) -> Option<Carried> {
        match self {
            Leg::Plain(socket) => Some(socket.carried()),
            Leg::Server(stream) => Some(stream.get_ref().0.get_ref().carried()),
            Leg::Client(stream) => Some(stream.get_ref().0.carried()),
            Leg::Closed => None,
        }
    }
}

impl AsyncRead for Leg {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Leg::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Leg::Server(stream) => Pin::new(stream).poll_read(cx, buf),
            Leg::Client(stream) => Pin::new(stream).poll_read(cx, buf),
            Leg::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Leg {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Leg::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Leg::Server(stream) => Pin::new(stream).poll_write(cx, buf),
            Leg::Client(stream) => Pin::new(stream).poll_write(cx, buf),
            Leg::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Leg::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Leg::Server(stream) => Pin::new(stream).poll_flush(cx),
            Leg::Client(stream) => Pin::new(stream).poll_flush(cx),
            Leg::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Leg::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Leg::Server(stream) => Pin::new(stream).poll_shutdown(cx),
            Leg::Client(stream) => Pin::new(stream).poll_shutdown(cx),
            Leg::Closed => Poll::Ready(Ok(())),
        }
    }
}
