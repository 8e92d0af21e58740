//! Which connects are intercepted: pure, used by the kernel programs, tested on the host.

use crate::flow::Address;

/// How deep below the hierarchy's root a cgroup can lie and still carry a label. The kernel
/// programs look at that many ancestors of a task, so the agent refuses to label below it.
pub const MAX_DEPTH: u32 = 32;

/// How long SYNs are held back for an agent that does not listen in their namespace yet; then
/// they go, and find nobody.
pub const SYN_PATIENCE_NANOS: u64 = 3_000_000_000;

/// How soon a SYN held back is sent again: 20 to 200 ms, by the kernel's tick. It doubles.
pub const SYN_RETRY_JIFFIES: u32 = 20;

/// `IPPROTO_TCP`.
pub const TCP: u32 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u32 = 17;
/// `IPPROTO_UDPLITE`.
pub const UDP_LITE: u32 = 136;
/// `IPPROTO_SCTP`.
pub const SCTP: u32 = 132;
/// `IPPROTO_DCCP`.
pub const DCCP: u32 = 33;
/// `IPPROTO_MPTCP`.
pub const MPTCP: u32 = 262;
/// `SOCK_STREAM`.
pub const STREAM: u32 = 1;
/// `SOCK_DGRAM`.
pub const DATAGRAM: u32 = 2;

/// The families of which a labelled task may make sockets: those whose ways out run a hook (INET,
/// INET6), and those that do not leave the node by themselves (UNSPEC, UNIX, NETLINK, ALG). Any
/// other could carry data past every hook, also one that is not thought of yet.
pub const FAMILIES: [u32; 6] = [0, 1, 2, 10, 16, 38];

/// Where a connect leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Nothing that is guarded.
    Elsewhere,
    /// A guarded port, or a protected address.
    Guarded,
    /// The agent's own listener.
    Agent,
}

/// What happens to a connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Left alone.
    Pass,
    /// Sent to the agent.
    Redirect,
    /// Refused: the protocol cannot be redirected.
    RefuseProtocol,
    /// Refused: only a redirected connect may arrive at the agent.
    RefuseOwnPort,
}

/// A label: the workload's number plus one, or `NOBODY`. A bare number rather than an `Option`,
/// whose unused half the compiler may copy about uninitialised and the verifier then refuses.
pub type Label = u32;

/// The label of what is not labelled.
pub const NOBODY: Label = 0;

/// Whose connect is it? The task's label counts first, then the label its socket got when it was
/// made, so that neither a socket handed out of a labelled cgroup nor one handed into it escapes.
/// The agent's cgroup exempts the task and never the socket.
#[inline(always)]
pub fn whose(task: Label, agent: bool, socket: Label) -> Label {
    if task == NOBODY || agent {
        socket
    } else {
        task
    }
}

/// `0.0.0.0` and `::` lead to loopback, as the kernel itself has it.
#[inline(always)]
pub fn normal(address: Address) -> Address {
    if address.is_v4() {
        if address.v4_word() == 0 {
            Address::LOOPBACK_V4
        } else {
            address
        }
    } else {
        let Address([a, b, c, d]) = address;
        if (a | b | c | d) == 0 {
            Address::LOOPBACK_V6
        } else {
            address
        }
    }
}

/// Is it in 127.0.0.0/8, or `::1`? Takes a `normal` address.
#[inline(always)]
pub fn is_loopback(address: Address) -> bool {
    if address.is_v4() {
        (u32::from_be(address.v4_word()) >> 24) == 127
    } else {
        let Address([a, b, c, d]) = address;
        (a | b | c) == 0 && d == 1_u32.to_be()
    }
}

/// What is at the end of it? `guarded` says that the port is guarded or the address protected.
#[inline(always)]
pub fn reach(address: Address, port: u16, listen: u16, guarded: bool) -> Reach {
    if port == listen && is_loopback(address) {
        Reach::Agent
    } else if guarded {
        Reach::Guarded
    } else {
        Reach::Elsewhere
    }
}

/// The decision, once it is known that a labelled caller dials.
#[inline(always)]
pub fn decide(reach: Reach, protocol: u32) -> Verdict {
    match reach {
        Reach::Elsewhere => Verdict::Pass,
        Reach::Agent => Verdict::RefuseOwnPort,
        Reach::Guarded => {
            if protocol == TCP || protocol == MPTCP {
                Verdict::Redirect
            } else {
                // Fail closed: what cannot be redirected would go round the agent.
                Verdict::RefuseProtocol
            }
        }
    }
}

/// How many attempts to get round the agent are told of per label and second. All are counted.
pub const TOLD_PER_SECOND: u64 = 10;

/// Do the first four bytes of this protocol's header hold its ports?
#[inline(always)]
pub fn has_ports(protocol: u32) -> bool {
    protocol == TCP
        || protocol == UDP
        || protocol == UDP_LITE
        || protocol == SCTP
        || protocol == DCCP
}

/// TCP's flag SYN (RFC 9293, 3.1).
pub const SYN: u8 = 0x02;
/// TCP's flag RST.
pub const RST: u8 = 0x04;
/// TCP's flag ACK.
pub const ACK: u8 = 0x10;

/// Does a packet with these flags open a connection?
#[inline(always)]
pub fn opens(flags: u8) -> bool {
    flags & (SYN | ACK | RST) == SYN
}

/// Does a socket option send packets by a route of the sender's choice? `IP_OPTIONS` can hold a
/// source route (RFC 791, 3.1); an IPv6 routing header is one (RFC 8200, 4.4), and so may be the
/// packet options of RFC 2292.
#[inline(always)]
pub fn routes_itself(level: i32, option: i32) -> bool {
    const IP: i32 = 0;
    const IP_OPTIONS: i32 = 4;
    const IPV6: i32 = 41;
    const IPV6_2292RTHDR: i32 = 5;
    const IPV6_2292PKTOPTIONS: i32 = 6;
    const IPV6_RTHDR: i32 = 57;
    (level == IP && option == IP_OPTIONS)
        || (level == IPV6
            && (option == IPV6_RTHDR || option == IPV6_2292RTHDR || option == IPV6_2292PKTOPTIONS))
}

/// May a labelled task make this socket? Only kinds whose every way out runs a hook: a raw,
/// UDP-Lite, ICMP, SCTP or DCCP socket reaches an address without one.
#[inline(always)]
pub fn may_make(kind: u32, protocol: u32) -> bool {
    (kind == STREAM && (protocol == TCP || protocol == MPTCP))
        || (kind == DATAGRAM && protocol == UDP)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    fn address(text: &str) -> Address {
        let v6 = match text.parse::<IpAddr>().unwrap() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let o = v6.octets();
        let word = |i: usize| u32::from_ne_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]);
        Address([word(0), word(4), word(8), word(12)])
    }

    #[test]
    fn a_caller_is_labelled_by_its_task_or_by_its_socket() {
        for (task, agent, socket, want) in [
            (NOBODY, false, NOBODY, NOBODY),
            (1, false, NOBODY, 1),
            (NOBODY, false, 2, 2),
            (1, false, 2, 1),
            (1, true, NOBODY, NOBODY),
            (NOBODY, true, 2, 2),
            (1, true, 2, 2),
        ] {
            assert_eq!(whose(task, agent, socket), want, "{task} {agent} {socket}");
        }
    }

    #[test]
    fn the_unspecified_address_is_loopback() {
        assert_eq!(normal(address("0.0.0.0")), Address::LOOPBACK_V4);
        assert_eq!(normal(address("::ffff:0.0.0.0")), Address::LOOPBACK_V4);
        assert_eq!(normal(address("::")), Address::LOOPBACK_V6);
        assert_eq!(normal(address("2001:db8::7")), address("2001:db8::7"));
        assert_eq!(normal(address("10.0.7.1")), address("10.0.7.1"));
        assert_eq!(address("::1"), Address::LOOPBACK_V6);
        assert_eq!(address("127.0.0.1"), Address::LOOPBACK_V4);
    }

    #[test]
    fn the_agent_s_own_port_is_its_own_on_loopback_only() {
        for (text, port, guarded, want) in [
            ("127.0.0.1", 15001, false, Reach::Agent),
            ("127.9.9.9", 15001, true, Reach::Agent),
            ("::1", 15001, false, Reach::Agent),
            ("::ffff:127.0.0.1", 15001, false, Reach::Agent),
            ("10.0.0.1", 15001, false, Reach::Elsewhere),
            ("10.0.0.1", 15001, true, Reach::Guarded),
            ("127.0.0.1", 5432, true, Reach::Guarded),
            ("::2", 15001, false, Reach::Elsewhere),
        ] {
            assert_eq!(
                reach(address(text), port, 15001, guarded),
                want,
                "{text}:{port}"
            );
        }
    }

    #[test]
    fn only_tcp_is_redirected_and_nothing_else_gets_through_to_what_is_guarded() {
        for (at, protocol, want) in [
            (Reach::Guarded, TCP, Verdict::Redirect),
            (Reach::Guarded, MPTCP, Verdict::Redirect),
            (Reach::Guarded, UDP, Verdict::RefuseProtocol),
            (Reach::Guarded, 136, Verdict::RefuseProtocol),
            (Reach::Guarded, 0, Verdict::RefuseProtocol),
            (Reach::Elsewhere, UDP, Verdict::Pass),
            (Reach::Elsewhere, TCP, Verdict::Pass),
            (Reach::Agent, TCP, Verdict::RefuseOwnPort),
            (Reach::Agent, UDP, Verdict::RefuseOwnPort),
        ] {
            assert_eq!(decide(at, protocol), want, "{at:?} {protocol}");
        }
    }

    #[test]
    fn sockets_without_a_hook_are_not_made() {
        for (kind, protocol, want) in [
            (STREAM, TCP, true),
            (STREAM, MPTCP, true),
            (DATAGRAM, UDP, true),
            (DATAGRAM, 136, false), // UDP-Lite
            (DATAGRAM, 1, false),   // ICMP echo
            (3, 1, false),          // raw
            (3, TCP, false),
            (STREAM, 132, false), // SCTP
            (5, 132, false),
            (6, 33, false), // DCCP
        ] {
            assert_eq!(may_make(kind, protocol), want, "{kind} {protocol}");
        }
    }

    #[test]
    fn only_a_bare_syn_opens_a_connection() {
        for (flags, want) in [
            (SYN, true),
            (SYN | 0xc0, true), // with ECN
            (SYN | ACK, false),
            (ACK, false),
            (0x01 | ACK, false),
            (RST, false),
            (SYN | RST, false),
        ] {
            assert_eq!(opens(flags), want, "{flags:#x}");
        }
    }

    #[test]
    fn options_that_choose_the_route_are_known() {
        for (level, option, want) in [
            (0, 4, true),
            (41, 57, true),
            (41, 5, true),
            (41, 6, true),
            (41, 26, false), // IPV6_V6ONLY
            (0, 1, false),   // IP_TOS
            (1, 4, false),   // SO_ERROR
            (6, 1, false),   // TCP_NODELAY
        ] {
            assert_eq!(routes_itself(level, option), want, "{level} {option}");
        }
    }

    #[test]
    fn an_address_keeps_its_bytes() {
        let Address(words) = address("2001:db8::ff");
        let mut bytes = [0u8; 16];
        for (i, w) in words.iter().enumerate() {
            bytes[i * 4..i * 4 + 4].copy_from_slice(&w.to_ne_bytes());
        }
        assert_eq!(
            Ipv6Addr::from(bytes),
            "2001:db8::ff".parse::<Ipv6Addr>().unwrap()
        );
    }
}
