//! The socket between keeper and worker: whole packets in order, descriptors beside them.
//!
//! A message is one packet or several; the first byte of each says whether it begins or ends one.
//! Sizes are bounded before anything is held, and a message that is none ends the talk: neither
//! side goes on with a peer that it does not understand.

use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;
use zeroize::{Zeroize, Zeroizing};

use crate::intercept::waited;

/// The longest packet, bytes; small enough for any socket's buffer.
const PACKET: usize = 32 * 1024;
/// Descriptors that may come beside one packet.
const DESCRIPTORS: usize = 4;
/// Flags of a packet's first byte.
const FIRST: u8 = 1;
const LAST: u8 = 2;
/// The pause when too many descriptors are on their way.
const CROWDED: Duration = Duration::from_millis(5);

/// The talk cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side is gone, or the kernel says no.
    #[error("the socket between keeper and worker: {0}")]
    Socket(#[from] io::Error),
    /// A message is longer than its bound.
    #[error("a message between keeper and worker is longer than {0} bytes")]
    TooLong(usize),
    /// A message is not what was agreed.
    #[error("a message between keeper and worker is not understood: {0}")]
    Malformed(String),
    /// The worker is there and does nothing.
    #[error("it answered nothing for twelve seconds: it hangs, and is ended")]
    Hangs,
}

impl From<Errno> for ChannelError {
    fn from(errno: Errno) -> Self {
        ChannelError::Socket(errno.into())
    }
}

/// Both ends of a fresh one, for keeper and worker.
///
/// # Errors
/// No descriptors are left.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// One end: says `Said`, hears `Heard`.
#[derive(Debug)]
pub(super) struct Channel<Said, Heard> {
    pub(super) mouth: Mouth<Said>,
    pub(super) ear: Ear<Heard>,
}

/// The half that speaks.
#[derive(Debug)]
pub(super) struct Mouth<Said> {
    socket: Arc<AsyncFd<OwnedFd>>,
    /// One message at a time: the packets of two must not mix.
    turn: Mutex<()>,
    said: PhantomData<fn(Said)>,
}

/// The half that hears.
#[derive(Debug)]
pub(super) struct Ear<Heard> {
    socket: Arc<AsyncFd<OwnedFd>>,
    packet: Box<[u8]>,
    /// The longest message.
    bound: usize,
    heard: PhantomData<fn() -> Heard>,
}

impl<Said: Serialize, Heard: DeserializeOwned> Channel<Said, Heard> {
    /// On one end of a pair. Messages longer than `bound` bytes are not heard.
    ///
    /// # Errors
    /// The descriptor is no socket that can be waited for.
    pub(super) fn new(socket: OwnedFd, bound: usize) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = Arc::new(waited(socket)?);
        Ok(Channel {
            mouth: Mouth {
                socket: socket.clone(),
                turn: Mutex::new(()),
                said: PhantomData,
            },
            ear: Ear {
                socket,
                packet: vec![0; PACKET].into_boxed_slice(),
                bound,
                heard: PhantomData,
            },
        })
    }
}

impl<Said: Serialize> Mouth<Said> {
    /// Says it, with descriptors beside it. Waits while the other side is slow: nothing is
    /// queued here. When it fails nothing of it was understood by the other side.
    ///
    /// # Errors
    /// The other side is gone.
    pub(super) async fn say(
        &self,
        message: &Said,
        beside: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let mut body = Zeroizing::new(Vec::with_capacity(PACKET));
        // Room for a token at once: a growing buffer would leave copies behind.
        serde_json::to_writer(&mut *body, message)
            .map_err(|error| ChannelError::Malformed(error.to_string()))?;
        let _turn = self.turn.lock().await;
        let pieces = body.len().div_ceil(PACKET - 1).max(1);
        for (piece, number) in body.chunks(PACKET - 1).zip(1..) {
            let mut flags = 0;
            if number == 1 {
                flags |= FIRST;
            }
            if number == pieces {
                flags |= LAST;
            }
            let beside = if number == 1 { beside } else { &[] };
            loop {
                let sent = self
                    .socket
                    .async_io(tokio::io::Interest::WRITABLE, |socket| {
                        send(socket.as_fd(), flags, piece, beside).map_err(io::Error::from)
                    });
                match sent.await {
                    Ok(()) => break,
                    // The other side has not taken the descriptors that are under way yet.
                    Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                        tokio::time::sleep(CROWDED).await;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

fn send(
    socket: BorrowedFd<'_>,
    flags: u8,
    piece: &[u8],
    beside: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !beside.is_empty() && !control.push(SendAncillaryMessage::ScmRights(beside)) {
        return Err(Errno::NOBUFS);
    }
    let flag = [flags];
    let bytes = [IoSlice::new(&flag), IoSlice::new(piece)];
    sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL).map(drop)
}

impl<Heard: DeserializeOwned> Ear<Heard> {
    /// The next message and what came beside it; `None` when the other side is gone.
    ///
    /// # Errors
    /// It is too long, not understood, or the socket fails.
    pub(super) async fn hear(&mut self) -> Result<Option<(Heard, Vec<OwnedFd>)>, ChannelError> {
        let mut body = Zeroizing::new(Vec::new());
        let mut beside = Vec::new();
        loop {
            let packet = &mut *self.packet;
            let received = self
                .socket
                .async_io(tokio::io::Interest::READABLE, |socket| {
                    receive(socket.as_fd(), packet).map_err(io::Error::from)
                });
            let (length, mut came) = match received.await {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let Some((flags, piece)) = self.packet.get(..length).and_then(<[u8]>::split_first)
            else {
                return Ok(None);
            };
            let flags = *flags;
            if flags & FIRST != 0 {
                // What an abandoned message left is not the beginning of this one.
                body.zeroize();
                beside.clear();
            }
            if body.len().saturating_add(piece.len()) > self.bound {
                return Err(ChannelError::TooLong(self.bound));
            }
            body.extend_from_slice(piece);
            beside.append(&mut came);
            if beside.len() > DESCRIPTORS {
                return Err(ChannelError::Malformed("too many descriptors".to_owned()));
            }
            self.packet.get_mut(..length).unwrap_or_default().zeroize();
            if flags & LAST != 0 {
                let message = serde_json::from_slice(&body)
                    .map_err(|error| ChannelError::Malformed(error.to_string()))?;
                return Ok(Some((message, beside)));
            }
        }
    }
}

fn receive(socket: BorrowedFd<'_>, packet: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [IoSliceMut::new(packet)];
    let received = recvmsg(socket, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut beside = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            beside.extend(descriptors);
        }
    }
    let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
    if received.flags.intersects(cut) {
        return Err(Errno::MSGSIZE);
    }
    Ok((received.bytes, beside))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn both(bound: usize) -> (Channel<String, String>, Channel<String, String>) {
        let (one, other) = pair().unwrap();
        let one = Channel::new(one, bound).unwrap();
        (one, Channel::new(other, bound).unwrap())
    }

    #[tokio::test]
    async fn messages_of_any_length_arrive_whole_and_in_order() {
        let (one, mut other) = both(1 << 20);
        let lengths = [0, 1, PACKET - 4, PACKET - 3, PACKET, 500_000, 3];
        let saying = tokio::spawn(async move {
            let one = one; // both halves: the end is heard when neither is left
            for length in lengths {
                one.mouth.say(&"x".repeat(length), &[]).await.unwrap();
            }
        });
        for length in lengths {
            let (heard, beside) = other.ear.hear().await.unwrap().unwrap();
            assert_eq!((heard.len(), beside.len()), (length, 0));
        }
        assert!(
            other.ear.hear().await.unwrap().is_none(),
            "the end is heard"
        );
        saying.await.unwrap();
    }

    #[tokio::test]
    async fn a_descriptor_arrives_with_its_message() {
        let (one, mut other) = both(1 << 20);
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let long = "x".repeat(100_000);
        one.mouth.say(&long, &[far.as_fd()]).await.unwrap();
        drop(far);
        let (heard, mut beside) = other.ear.hear().await.unwrap().unwrap();
        assert_eq!(heard, long);
        let mut far = std::os::unix::net::UnixStream::from(beside.pop().unwrap());
        near.write_all(b"hello").unwrap();
        let mut seen = [0; 5];
        far.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"hello");
    }

    #[tokio::test]
    async fn what_is_too_long_or_no_message_ends_the_talk() {
        let (one, mut other) = both(1_000);
        one.mouth.say(&"x".repeat(1_000), &[]).await.unwrap();
        let heard = other.ear.hear().await;
        assert!(
            matches!(heard, Err(ChannelError::TooLong(1_000))),
            "{heard:?}"
        );

        for bytes in [&b"\x03{"[..], b"\x03", b"\x03\"a\"b", b"\x03\xff\xff"] {
            let (one, other) = pair().unwrap();
            let mut other = Channel::<String, String>::new(other, 1_000).unwrap();
            rustix::net::send(&one, bytes, SendFlags::empty()).unwrap();
            let heard = other.ear.hear().await;
            assert!(
                matches!(heard, Err(ChannelError::Malformed(_))),
                "{heard:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_abandoned_message_is_no_part_of_the_next() {
        let (one, other) = pair().unwrap();
        let mut other = Channel::<String, String>::new(other, 1_000).unwrap();
        rustix::net::send(&one, b"\x01\"left", SendFlags::empty()).unwrap();
        rustix::net::send(&one, b"\x03\"whole\"", SendFlags::empty()).unwrap();
        assert_eq!(other.ear.hear().await.unwrap().unwrap().0, "whole");
    }

    #[tokio::test]
    async fn a_slow_ear_holds_up_the_mouth() {
        let (one, mut other) = both(1 << 20);
        let flood = async {
            for _ in 0..100 {
                one.mouth.say(&"x".repeat(30_000), &[]).await.unwrap();
            }
        };
        let mut flood = Box::pin(flood);
        let waits = tokio::time::timeout(Duration::from_millis(100), &mut flood).await;
        assert!(waits.is_err(), "3 MB are nowhere to be kept");
        let hear = async {
            for _ in 0..100 {
                other.ear.hear().await.unwrap().unwrap();
            }
        };
        tokio::join!(flood, hear);
    }

    /// Whatever packets come, a message is heard whole and within its bound, or the talk ends.
    #[test]
    fn fuzz_packets_of_the_channel() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        bolero::check!()
            .with_type::<Vec<Vec<u8>>>()
            .for_each(|packets| {
                runtime.block_on(async {
                    let (one, other) = pair().unwrap();
                    let mut other = Channel::<String, serde_json::Value>::new(other, 64).unwrap();
                    for packet in packets.iter().take(8) {
                        rustix::net::send(&one, packet, SendFlags::empty()).unwrap();
                    }
                    drop(one);
                    while let Ok(Some((heard, beside))) = other.ear.hear().await {
                        assert!(heard.to_string().len() <= 64 * 6 && beside.is_empty());
                    }
                });
            });
    }
}
