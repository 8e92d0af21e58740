//! One side of a connection: plain or inside TLS, polled from one task.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::Prefixed;

/// A connection's byte stream. The TLS variants are boxed so that a plain leg stays small.
#[derive(Debug)]
pub enum Leg {
    /// In clear.
    Plain(TcpStream),
    /// We are the TLS server (towards a client).
    Server(Box<tokio_rustls::server::TlsStream<Prefixed<TcpStream>>>),
    /// We are the TLS client (towards a database).
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
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
