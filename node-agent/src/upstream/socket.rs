//! IO. A TCP connection that counts what it carries, for the record to be compared with the kernel's
//! own count.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::intercept;
use crate::model::Carried;

/// A TCP connection with what was read from it and written to it.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    read: u64,
    written: u64,
}

impl From<TcpStream> for Socket {
    /// Nothing was read from it yet, or written.
    fn from(stream: TcpStream) -> Self {
        Socket {
            stream,
            read: 0,
            written: 0,
        }
    }
}

impl Socket {
    /// What passed, by this count and by the kernel's.
    pub fn carried(&self) -> Carried {
        Carried {
            read: self.read,
            written: self.written,
            // A kernel that does not say leaves one count, and the record says that it is alone.
            kernel: intercept::counted(self.stream.as_fd(), self.read).ok(),
        }
    }

    /// Whether the peer has sent its FIN, or the connection is gone; what it sent before may be unread. What
    /// cannot be asked is taken for gone.
    pub(super) fn peer_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut asked = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        match poll(&mut asked, Some(&Timespec::default())) {
            Ok(_) => asked.iter().any(|fd| fd.revents().intersects(gone)),
            Err(_) => true,
        }
    }

    /// Hands the socket to the event loop of this thread.
    pub(super) fn rehome(&mut self) -> io::Result<()> {
        // A descriptor of its own for the same socket; the first goes with its registration.
        let again = self.stream.as_fd().try_clone_to_owned()?;
        self.stream = TcpStream::from_std(again.into())?;
        Ok(())
    }

    fn wrote(&mut self, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &done {
            self.written += *count as u64;
        }
        done
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(cx, into);
        self.read += (into.filled().len() - before) as u64;
        done
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.wrote(done)
    }

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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_counts_the_same_as_this_does_whatever_is_under_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (mut client, mut socket) = (
            dialled.unwrap(),
            Socket::from(listener.accept().await.unwrap().0),
        );
        let agree = |socket: &Socket, read, written| {
            let carried = socket.carried();
            assert_eq!((carried.read, carried.written), (read, written));
            assert_eq!(carried.disagreement(), None, "{carried:?}");
        };
        agree(&socket, 0, 0);
        client.write_all(&[1; 1000]).await.unwrap();
        let mut bytes = [0; 1000];
        socket.read_exact(&mut bytes).await.unwrap();
        agree(&socket, 1000, 0);
        // More than the peer's window takes: some of it is not sent yet.
        let mut sent = 0;
        while let Ok(count) = socket.stream.try_write(&[2; 65536]) {
            socket.written += count as u64;
            sent += count as u64;
        }
        agree(&socket, 1000, sent);
        // Some that came is not read, and then the peer is done.
        client.write_all(&[3; 500]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut some = [0; 200];
        socket.read_exact(&mut some).await.unwrap();
        agree(&socket, 1200, sent);
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        agree(&socket, 1500, sent);
        // A connection that is reset has counts still.
        client.set_zero_linger().unwrap();
        drop(client);
        let gone = socket.stream.ready(tokio::io::Interest::ERROR).await;
        gone.unwrap();
        let carried = socket.carried();
        assert!(
            carried.kernel.is_some_and(|kernel| kernel.received == 1500),
            "{carried:?}"
        );
    }

    #[test]
    fn what_one_count_has_more_is_named() {
        let kernel = crate::model::KernelCount {
            received: 110,
            sent: 200,
        };
        let carried = |read, written| Carried {
            read,
            written,
            kernel: Some(kernel),
        };
        assert_eq!(carried(110, 200).disagreement(), None);
        let said = carried(100, 200).disagreement().unwrap();
        assert!(
            said.contains("from the client") && said.contains("10 bytes more"),
            "{said}"
        );
        let said = carried(110, 201).disagreement().unwrap();
        assert!(
            said.contains("to the client") && said.contains("1 byte less"),
            "{said}"
        );
    }

    /// The kernel looks at a connection's state before it locks it and counts.
    #[tokio::test]
    async fn an_end_that_comes_while_it_is_counted_is_no_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..3000 {
            let client = std::net::TcpStream::connect(address).unwrap();
            let socket = Socket::from(listener.accept().await.unwrap().0);
            let goes = std::thread::spawn(move || drop(client));
            while !socket.peer_closed() {
                let carried = socket.carried();
                assert_eq!(carried.disagreement(), None, "{carried:?}");
            }
            goes.join().unwrap();
            assert_eq!(socket.carried().disagreement(), None);
        }
    }
}
