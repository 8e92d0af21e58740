//! The devices of a network namespace, and filters on them: rtnetlink(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

// Messages and their flags (linux/netlink.h, linux/rtnetlink.h).
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_QDISC: u16 = 36;
const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;
const NEW_NUMBER: u16 = 88;
const GET_NUMBER: u16 = 90;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

// Attributes.
const LINK_NAME: u16 = 3;
const LINK_LINK: u16 = 5;
const LINK_INFO: u16 = 18;
const LINK_NUMBER: u16 = 37;
const INFO_KIND: u16 = 1;
const NUMBER: u16 = 1;
const NUMBER_OF_FD: u16 = 3;
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const FILTER_FD: u16 = 6;
const FILTER_NAME: u16 = 7;
const FILTER_FLAGS: u16 = 8;
const FILTER_PROGRAM: u16 = 11;
/// `TCA_BPF_FLAG_ACT_DIRECT`: the program's answer is the verdict.
const DIRECT: u32 = 1;
/// `ETH_P_ALL`.
const ALL: u16 = 3;
/// Before other priorities.
const PRIORITY: u32 = 1;
/// What our filters are called.
const OURS: &str = "node-agent";

/// `ARPHRD_ETHER`, `ARPHRD_LOOPBACK`.
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;
/// Tunnels and the like, whose packets have no header of the link's (linux/if_arp.h): PPP, RAWIP,
/// TUNNEL, TUNNEL6, SIT, IPGRE, IP6GRE, NONE.
const BARE: [u16; 8] = [512, 519, 768, 769, 776, 778, 823, 0xfffe];
/// What carries no IP packet off the node: CAN, MCTP, PIMREG, IEEE80211 and its monitors, the one of
/// IEEE802154, NETLINK, VSOCKMON, VOID.
const OTHER: [u16; 10] = [280, 290, 779, 801, 802, 803, 805, 824, 826, 0xffff];
/// `IFF_UP`.
const UP: u32 = 1;

/// What a device's packets begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    /// Ethernet frames.
    Frames,
    /// IP packets.
    Packets,
    /// Nothing: it is down, or has no part in IP.
    Nothing,
    /// Packets behind a header that is not read here.
    Unread,
    /// It is the loopback device.
    Loopback,
}

/// A device as its namespace sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) carries: Carries,
    /// What made it, for what was made by software.
    pub(super) kind: String,
    /// The device it lies upon, or its other end.
    pub(super) link: Option<u32>,
    /// The namespace that device is in, by this one's numbers; `None` when it is this one.
    pub(super) elsewhere: Option<i32>,
}

/// Which packets a filter sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What the device received.
    Received,
    /// What it is to send.
    Sent,
}

/// A way to ask about one network namespace.
#[derive(Debug)]
pub(super) struct Route(OwnedFd);

/// Runs `ask` in the namespace behind the descriptor, on a thread that enters it and ends.
pub(super) fn inside<T: Send + 'static>(
    netns: BorrowedFd<'_>,
    ask: impl FnOnce(&Route) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let netns = netns.try_clone_to_owned()?;
    std::thread::Builder::new()
        .name("netns-links".into())
        .spawn(move || {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
            ask(&Route::here()?)
        })?
        .join()
        .map_err(|_| io::Error::other("the thread that enters a namespace ended"))?
}

impl Route {
    /// In the namespace of the calling thread.
    pub(super) fn here() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        // `NETLINK_ROUTE` is number 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        Ok(Route(socket))
    }

    /// The same, told of every device that comes, goes or changes.
    pub(super) fn told() -> io::Result<Self> {
        /// `RTMGRP_LINK`.
        const LINKS: u32 = 1;
        let route = Route::here()?;
        bind(&route.0, &SocketAddrNetlink::new(0, LINKS))?;
        Ok(route)
    }

    /// Forgets what was told. What was lost is as good as told.
    pub(super) fn drain(&self) {
        let mut room = vec![0; ROOM];
        while !matches!(
            recv(&self.0, room.as_mut_slice(), RecvFlags::DONTWAIT),
            Err(rustix::io::Errno::AGAIN)
        ) {}
    }

    /// All devices.
    pub(super) fn devices(&self) -> io::Result<Vec<Device>> {
        let answers = self.ask(GET_LINK, DUMP, &[0; 16])?;
        answers
            .iter()
            .filter(|(kind, _)| *kind == NEW_LINK)
            .map(|(_, body)| device(body).ok_or_else(malformed))
            .collect()
    }

    /// The number another namespace has here; `None` when it has none.
    pub(super) fn number_of(&self, netns: BorrowedFd<'_>) -> io::Result<Option<i32>> {
        let mut body = vec![0; 4]; // struct rtgenmsg, padded
        put(&mut body, NUMBER_OF_FD, &netns.as_raw_fd().to_ne_bytes());
        let answers = self.ask(GET_NUMBER, 0, &body)?;
        let body = answers.iter().find(|(kind, _)| *kind == NEW_NUMBER);
        let attributes = body.and_then(|(_, body)| body.get(4..));
        let number = attributes.and_then(|at| find(at, NUMBER)).and_then(int);
        Ok(number.filter(|number| *number >= 0))
    }

    /// Puts a program of traffic control on a device, in the place of an earlier one of the same
    /// handle. Stays while the device does.
    pub(super) fn filter(
        &self,
        device: u32,
        side: Side,
        handle: u32,
        program: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut queue = traffic(device, 0xffff_0000, 0xffff_fff1, 0);
        put(&mut queue, KIND, b"clsact\0");
        match self.ask(NEW_QDISC, ACKNOWLEDGE | CREATE | EXCLUSIVE, &queue) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            done => drop(done?),
        }
        let mut options = Vec::new();
        put(&mut options, FILTER_FD, &program.as_raw_fd().to_ne_bytes());
        put(&mut options, FILTER_NAME, format!("{OURS}\0").as_bytes());
        put(&mut options, FILTER_FLAGS, &DIRECT.to_ne_bytes());
        let mut filter = filter_head(device, side, handle);
        put(&mut filter, KIND, b"bpf\0");
        put(&mut filter, OPTIONS, &options);
        self.ask(NEW_FILTER, ACKNOWLEDGE | CREATE | REPLACE, &filter)
            .map(drop)
    }

    /// Is our filter of that handle there?
    pub(super) fn has_filter(&self, device: u32, side: Side, handle: u32) -> bool {
        self.filter_there(device, side, handle).is_some()
    }

    /// The number of the program that our filter of that handle runs, 0 where the kernel does not
    /// tell; `None`: there is no such filter.
    pub(super) fn filter_there(&self, device: u32, side: Side, handle: u32) -> Option<u32> {
        let mut filter = filter_head(device, side, handle);
        put(&mut filter, KIND, b"bpf\0");
        let answers = self.ask(GET_FILTER, 0, &filter).unwrap_or_default();
        answers.iter().find_map(|(kind, body)| {
            let options = body.get(20..).and_then(|at| find(at, OPTIONS))?;
            let ours = *kind == NEW_FILTER && text(find(options, FILTER_NAME)?) == OURS;
            let program = find(options, FILTER_PROGRAM).and_then(|value| at(value, 0));
            ours.then_some(program.map_or(0, u32::from_ne_bytes))
        })
    }

    /// The kernel's number of the program behind our filter.
    pub(super) fn filters_with(&self, device: u32, side: Side, handle: u32) -> Option<u32> {
        let mut filter = filter_head(device, side, handle);
        put(&mut filter, KIND, b"bpf\0");
        let answers = self.ask(GET_FILTER, 0, &filter).ok()?;
        let filters = answers.iter().filter(|(kind, _)| *kind == NEW_FILTER);
        let mut numbers = filters.filter_map(|(_, body)| {
            let options = body.get(20..).and_then(|at| find(at, OPTIONS))?;
            find(options, FILTER_PROGRAM).and_then(|value| at(value, 0))
        });
        numbers.next().map(u32::from_ne_bytes)
    }

    /// Takes our filter away. None there is no error.
    pub(super) fn unfilter(&self, device: u32, side: Side, handle: u32) -> io::Result<()> {
        if !self.has_filter(device, side, handle) {
            return Ok(());
        }
        let mut filter = filter_head(device, side, handle);
        put(&mut filter, KIND, b"bpf\0");
        self.ask(DELETE_FILTER, ACKNOWLEDGE, &filter).map(drop)
    }

    /// One question and all of its answers, each with its kind.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let length = u32::try_from(body.len().saturating_add(16)).map_err(io::Error::other)?;
        let mut request = Vec::with_capacity(body.len().saturating_add(16));
        request.extend(length.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend((flags | REQUEST).to_ne_bytes());
        request.extend([0; 8]); // sequence, port
        request.extend(body);
        send(&self.0, &request, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut room = vec![0; ROOM];
        loop {
            let (length, _) = recv(&self.0, room.as_mut_slice(), RecvFlags::DONTWAIT)?;
            let mut rest = room.get(..length).ok_or_else(malformed)?;
            while !rest.is_empty() {
                let length = at(rest, 0).map(u32::from_ne_bytes).ok_or_else(malformed)?;
                let length = usize::try_from(length).map_err(io::Error::other)?;
                let message = rest.get(..length).ok_or_else(malformed)?;
                let kind = at(message, 4)
                    .map(u16::from_ne_bytes)
                    .ok_or_else(malformed)?;
                let body = message.get(16..).ok_or_else(malformed)?;
                match kind {
                    DONE => return Ok(answers),
                    ERROR => match int(body) {
                        Some(0) => return Ok(answers),
                        Some(code) => {
                            return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                        }
                        None => return Err(malformed()),
                    },
                    other => answers.push((other, body.to_vec())),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
            // Neither a dump nor acknowledged: one message is all there is.
            if flags & (DUMP | ACKNOWLEDGE) == 0 {
                return Ok(answers);
            }
        }
    }
}

impl AsFd for Route {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// As much as the kernel puts into one answer.
const ROOM: usize = 65_536;

fn malformed() -> io::Error {
    let what = "rtnetlink's answer is not understood";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// `struct tcmsg`.
fn traffic(device: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut body = vec![0; 4]; // family, padding
    for word in [device, handle, parent, info] {
        body.extend(word.to_ne_bytes());
    }
    body
}

fn filter_head(device: u32, side: Side, handle: u32) -> Vec<u8> {
    let parent = match side {
        Side::Received => 0xffff_fff2,
        Side::Sent => 0xffff_fff3,
    };
    let info = PRIORITY << 16 | u32::from(ALL.to_be());
    traffic(device, handle, parent, info)
}

/// Adds an attribute.
fn put(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn at<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..)?.first_chunk::<N>().copied()
}

fn int(bytes: &[u8]) -> Option<i32> {
    at(bytes, 0).map(i32::from_ne_bytes)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.split(|b| *b == 0).next().unwrap_or(bytes);
    String::from_utf8_lossy(end).into_owned()
}

/// The value of an attribute.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    /// `NLA_TYPE_MASK`: two bits say how the value is written.
    const TYPE: u16 = 0x3fff;
    loop {
        let length = usize::from(u16::from_ne_bytes(at(attributes, 0)?));
        let kind = u16::from_ne_bytes(at(attributes, 2)?) & TYPE;
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// `struct ifinfomsg` and the attributes after it.
fn device(body: &[u8]) -> Option<Device> {
    let carries = match u16::from_ne_bytes(at(body, 2)?) {
        ETHERNET => Carries::Frames,
        LOOPBACK => Carries::Loopback,
        bare if BARE.contains(&bare) => Carries::Packets,
        other if OTHER.contains(&other) => Carries::Nothing,
        _ if u32::from_ne_bytes(at(body, 8)?) & UP == 0 => Carries::Nothing,
        _ => Carries::Unread,
    };
    let index = u32::from_ne_bytes(at(body, 4)?);
    let attributes = body.get(16..)?;
    let kind = find(attributes, LINK_INFO).and_then(|info| find(info, INFO_KIND));
    let link = find(attributes, LINK_LINK).and_then(|value| at(value, 0));
    Some(Device {
        index,
        name: find(attributes, LINK_NAME).map(text)?,
        carries,
        kind: kind.map(text).unwrap_or_default(),
        link: link.map(u32::from_ne_bytes).filter(|link| *link != 0),
        elsewhere: find(attributes, LINK_NUMBER).and_then(int),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_among_the_devices() {
        let devices = Route::here().unwrap().devices().unwrap();
        let loopback = devices.iter().find(|device| device.name == "lo").unwrap();
        assert_eq!((loopback.index, loopback.carries), (1, Carries::Loopback));
        assert_eq!(loopback.elsewhere, None);
    }

    #[test]
    fn a_device_with_headers_of_its_own_is_not_taken_for_one_of_packets() {
        let carries = |kind: u16, flags: u32| {
            let mut body = vec![0, 0];
            body.extend(kind.to_ne_bytes());
            body.extend([7, 0, 0, 0]);
            body.extend(flags.to_ne_bytes());
            body.extend([0; 4]);
            put(&mut body, LINK_NAME, b"x0\0");
            device(&body).unwrap().carries
        };
        for (kind, flags, want) in [
            (1, 0, Carries::Frames),
            (772, UP, Carries::Loopback),
            (0xfffe, 0, Carries::Packets),
            (280, UP, Carries::Nothing),
            // InfiniBand
            (32, UP, Carries::Unread),
            (32, 0, Carries::Nothing),
        ] {
            assert_eq!(carries(kind, flags), want, "{kind}");
        }
    }

    #[test]
    fn attributes_are_found_and_cut_ones_are_not_read_beyond_their_end() {
        let mut bytes = Vec::new();
        put(&mut bytes, 7, b"abc");
        put(&mut bytes, 0x8000 | 9, &5_i32.to_ne_bytes());
        assert_eq!(find(&bytes, 7), Some(b"abc".as_slice()));
        assert_eq!(find(&bytes, 9).and_then(int), Some(5));
        assert_eq!(find(&bytes, 8), None);
        for length in 0..bytes.len() {
            assert_eq!(find(&bytes[..length], 9), None, "{length}");
        }
        assert_eq!(
            find(&[0, 0, 1, 0], 1),
            None,
            "an attribute without a length"
        );
    }
}
