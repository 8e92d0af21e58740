//! Translation of a destination by the packet filter, told to the kernel without its tools
//! (nf_tables by netlink).

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;

use super::calls;

const NETLINK_NETFILTER: i32 = 12;
const TABLES: u16 = 10 << 8;
const NEW_TABLE: u16 = TABLES;
const NEW_CHAIN: u16 = TABLES | 3;
const NEW_RULE: u16 = TABLES | 6;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;

/// Where a destination is translated.
#[derive(Clone, Copy)]
pub(super) enum Hook {
    /// What this namespace passes on.
    Prerouting = 0,
    /// What is sent from it.
    Output = 3,
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), b"\0"].concat())
}

fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    const NESTED: u16 = 1 << 15;
    attribute(kind | NESTED, &parts.concat())
}

fn expression(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    nest(1, &[text(1, name), nest(2, parts)])
}

fn message(kind: u16, flags: u16, family: u8, id: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = (body.len() as u32 + 20).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, 0]);
    bytes.extend(id.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// In this network namespace, whatever goes to `service` goes to `real` from now on.
pub(super) fn translate(hook: Hook, service: SocketAddrV4, real: SocketAddrV4) -> io::Result<()> {
    const IPV4: u8 = 2;
    let value = |bytes: &[u8]| attribute(1, bytes);
    let same = |bytes: &[u8]| {
        let data = nest(3, &[value(bytes)]);
        expression("cmp", &[number(1, 1), number(2, 0), data])
    };
    let header = |base, offset, length| {
        let parts = [
            number(1, 1),
            number(2, base),
            number(3, offset),
            number(4, length),
        ];
        expression("payload", &parts)
    };
    let put = |register, bytes: &[u8]| {
        let data = nest(2, &[value(bytes)]);
        expression("immediate", &[number(1, register), data])
    };
    let rule = [
        // Protocol, destination, port: network header, then transport header.
        header(1, 9, 1),
        same(&[6]),
        header(1, 16, 4),
        same(&service.ip().octets()),
        header(2, 2, 2),
        same(&service.port().to_be_bytes()),
        put(1, &real.ip().octets()),
        put(2, &real.port().to_be_bytes()),
        expression(
            "nat",
            &[
                number(1, 1),
                number(2, IPV4.into()),
                number(3, 1),
                number(5, 2),
            ],
        ),
    ];
    let (table, chain) = ("service", "translate");
    let place = nest(4, &[number(1, hook as u32), number(2, -100_i32 as u32)]);
    let made = CREATE | ACK;
    let batch = [
        message(BATCH_BEGIN, 0, 0, 10, &[]),
        message(NEW_TABLE, made, IPV4, 0, &[text(1, table)]),
        message(
            NEW_CHAIN,
            made,
            IPV4,
            0,
            &[text(1, table), text(3, chain), place, text(7, "nat")],
        ),
        message(
            NEW_RULE,
            made,
            IPV4,
            0,
            &[text(1, table), text(2, chain), nest(4, &rule)],
        ),
        message(BATCH_END, 0, 0, 10, &[]),
    ]
    .concat();
    let socket = calls::socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_NETFILTER)?;
    calls::send(&socket, &batch)?;
    acknowledged(&socket, 3)
}

fn acknowledged(socket: &impl AsRawFd, mut wanted: u32) -> io::Result<()> {
    while wanted > 0 {
        let mut bytes = [0; 4_096];
        let length = calls::receive(socket, &mut bytes)?;
        let mut rest = &bytes[..length];
        while rest.len() >= 20 {
            let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let error = i32::from_ne_bytes([rest[16], rest[17], rest[18], rest[19]]);
            if error != 0 {
                return Err(io::Error::from_raw_os_error(-error));
            }
            wanted -= 1;
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(())
}
