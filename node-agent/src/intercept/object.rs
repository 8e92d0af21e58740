//! The object with the kernel programs: how it is opened, and what is attached where.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use node_agent_common::names;

use super::netlink::Side;
use super::{InterceptError, Settings};

#[cfg(feature = "kernel")]
static OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(
    env!("OUT_DIR"),
    "/node-agent-ebpf.o"
)));
#[cfg(not(feature = "kernel"))]
static OBJECT: Option<&[u8]> = None;

/// A program that is attached to the cgroup by a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// The function in the object.
    pub(super) program: &'static str,
    /// The file its link is pinned as.
    pub(super) pin: &'static str,
    /// `enum bpf_attach_type`.
    pub(super) attach_type: u32,
}

const fn hook(program: &'static str, pin: &'static str, attach_type: u32) -> Hook {
    Hook {
        program,
        pin,
        attach_type,
    }
}

/// In the order of attachment: what observes and refuses comes before what redirects, so that a
/// redirected connection finds everything it needs.
pub(super) const HOOKS: [Hook; 10] = [
    hook("on_sock_ops", "link_sock_ops", 3),
    hook("on_getpeername4", "link_getpeername4", 29),
    hook("on_getpeername6", "link_getpeername6", 30),
    hook("on_socket", "link_sock_create", 2),
    hook("on_bind4", "link_bind4", 8),
    hook("on_bind6", "link_bind6", 9),
    hook("on_sendmsg4", "link_sendmsg4", 14),
    hook("on_sendmsg6", "link_sendmsg6", 15),
    hook("on_connect4", "link_connect4", 10),
    hook("on_connect6", "link_connect6", 11),
];

/// Attached to each labelled cgroup while this process runs: holds back SYNs for an agent that is
/// not there yet. Never pinned, for a dead agent should refuse at once.
pub(super) const WAIT: Hook = hook("on_wait", "", 1);

/// The second gate, attached to each labelled cgroup: what is not labelled pays nothing for it.
/// Pinned as the others are, with the cgroup's id behind the name.
pub(super) const GATES: [Hook; 3] = [
    hook("on_egress", "link_gate_egress", 1),
    hook("on_ingress", "link_gate_ingress", 0),
    hook("on_setsockopt", "link_gate_setsockopt", 22),
];

/// A program that is attached to a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceHook {
    /// The function in the object.
    pub(super) program: &'static str,
    /// The file its link is pinned as, with the device's number behind it.
    pub(super) pin: &'static str,
    /// `enum bpf_attach_type`.
    pub(super) attach_type: u32,
    /// The same for a filter of traffic control.
    pub(super) side: Side,
}

const fn received(program: &'static str, pin: &'static str) -> DeviceHook {
    DeviceHook {
        program,
        pin,
        attach_type: 46,
        side: Side::Received,
    }
}

const fn sent(program: &'static str, pin: &'static str) -> DeviceHook {
    DeviceHook {
        program,
        pin,
        attach_type: 47,
        side: Side::Sent,
    }
}

/// At the host's end of a labelled workload's wire: what comes out of it.
pub(super) const WIRE: DeviceHook = received("on_wire", "link_wire");
/// What goes into it.
pub(super) const WIRE_IN: DeviceHook = sent("on_wire_in", "link_wirein");
/// Where the whole node keeps to the agent: what its devices send.
pub(super) const NODE_FRAME: DeviceHook = sent("on_node_frame", "link_nodeframe");
pub(super) const NODE_PACKET: DeviceHook = sent("on_node_packet", "link_nodepacket");
/// What its sockets send.
pub(super) const NODE: Hook = hook("on_node", "link_node", 1);
/// All that is attached to devices.
pub(super) const DEVICES: [DeviceHook; 4] = [WIRE, WIRE_IN, NODE_FRAME, NODE_PACKET];

/// Of layers that a kernel may lack. The programs are not in the object.
pub(super) const LAYERS: [Hook; 3] = [SOCKETS_OF_FAMILIES, UNIX_CONNECT, UNIX_SEND];
pub(super) const SOCKETS_OF_FAMILIES: Hook = hook("socket_create", "link_lsm_socket_create", 27);
pub(super) const UNIX_CONNECT: Hook = hook("unix_connect", "link_unix_connect", 49);
pub(super) const UNIX_SEND: Hook = hook("unix_send", "link_unix_send", 50);

/// Tracepoints: news only, so they end with the process and may be missing.
pub(super) const TRACEPOINTS: [(&str, &str); 4] = [
    // Before those that enter tasks into the map which it cleans.
    ("on_exit", "sched_process_exit"),
    ("on_fork", "sched_process_fork"),
    ("on_exec", "sched_process_exec"),
    ("on_attach_task", "cgroup_attach_task"),
];

/// Maps that outlive the process when there is a pin directory.
pub(super) const PINNED: [&str; 11] = [
    names::LABELS,
    names::PORTS,
    names::PREFIXES,
    names::FLOWS,
    names::SOCKETS,
    names::ALLOWED,
    names::SHARES,
    names::TAKEN,
    names::HEARD,
    names::WIRES,
    names::INWARD,
];

/// How many entries a map holds, that was not pinned by an earlier version.
pub(super) fn room(map: &str) -> u32 {
    match map {
        names::PORTS => 1_024,
        // Most are forms of one address.
        names::PREFIXES => 131_072,
        _ => 16_384,
    }
}

/// The file a map is pinned as.
pub(super) fn map_pin(map: &str) -> String {
    format!("map_{map}_v{}", names::ABI)
}

/// Opens the object, makes (or opens the pinned) maps, and loads every program.
pub(super) fn load(settings: &Settings) -> Result<Ebpf, InterceptError> {
    let object = OBJECT.ok_or(InterceptError::NotBuilt)?;
    let port = u32::from(settings.listen_port);
    let quota = settings.quota.max(1);
    let undeclared = settings.undeclared.word();
    let closed = u32::from(settings.allowed.is_some());
    let mut loader = EbpfLoader::new();
    loader
        .btf(None) // nothing is relocated against the kernel's types
        .override_global(names::LISTEN_PORT, &port, true)
        .override_global(names::AGENT_CGROUP, &settings.agent_cgroup.0, true)
        .override_global(names::QUOTA, &quota, true)
        .override_global(names::CLOSED, &closed, true)
        .override_global(names::UNDECLARED, &undeclared, true)
        .map_max_entries(names::FLOWS, settings.flows.max(1))
        .map_max_entries(names::PREFIXES, room(names::PREFIXES));
    if let Some(pins) = &settings.pin {
        for map in PINNED {
            let path: PathBuf = pins.join(map_pin(map));
            loader.map_pin_path(map, path);
        }
    }
    let mut ebpf = loader.load(object).map_err(|error| InterceptError::Program {
        program: "the object".into(),
        error: chain(&error),
        mend: "run `node-agent doctor`; the agent needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and \
               CAP_SYS_ADMIN",
    })?;
    for hook in HOOKS.iter().chain(&GATES).chain([&WAIT]) {
        load_program(&mut ebpf, hook.program)?;
    }
    Ok(ebpf)
}

/// Loads one program of the object.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<(), InterceptError> {
    let failed = |error: ProgramError| InterceptError::Program {
        program: name.to_owned(),
        error: chain(&error),
        mend: "Linux 5.15 or newer is needed; run `node-agent doctor`",
    };
    let missing = || failed(ProgramError::UnexpectedProgramType);
    match ebpf.program_mut(name).ok_or_else(missing)? {
        Program::CgroupSockAddr(p) => p.load(),
        Program::CgroupSock(p) => p.load(),
        Program::CgroupSkb(p) => p.load(),
        Program::CgroupSockopt(p) => p.load(),
        Program::SockOps(p) => p.load(),
        Program::RawTracePoint(p) => p.load(),
        Program::SchedClassifier(p) => p.load(),
        _ => return Err(missing()),
    }
    .map_err(failed)
}

/// Loads what is attached to devices. It may be missing, which is said.
pub(super) fn load_devices(ebpf: &mut Ebpf) -> Result<(), InterceptError> {
    DEVICES
        .iter()
        .map(|hook| hook.program)
        .chain([NODE.program])
        .try_for_each(|program| load_program(ebpf, program))
}

/// The kernel's numbers of the programs that are attached by links.
pub(super) fn numbers(ebpf: &Ebpf) -> Result<HashMap<&'static str, u32>, InterceptError> {
    let devices = DEVICES.iter().map(|hook| hook.program);
    // They may be missing.
    let optional = devices.chain([NODE.program]).filter_map(|program| {
        let number = ebpf.program(program)?.info().ok()?.id();
        Some(Ok((program, number)))
    });
    HOOKS
        .iter()
        .chain(&GATES)
        .map(|hook| {
            let number = ebpf
                .program(hook.program)
                .ok_or(ProgramError::UnexpectedProgramType)
                .and_then(Program::info)
                .map_err(|error| InterceptError::Program {
                    program: hook.program.to_owned(),
                    error: chain(&error),
                    mend: "run `node-agent doctor`",
                })?
                .id();
            Ok((hook.program, number))
        })
        .chain(optional)
        .collect()
}

/// Runs `then` with the descriptor of a loaded program.
pub(super) fn with_program<T>(
    ebpf: &Ebpf,
    name: &str,
    then: impl FnOnce(BorrowedFd<'_>) -> Result<T, InterceptError>,
) -> Result<T, InterceptError> {
    let failed = |error: ProgramError| InterceptError::Program {
        program: name.to_owned(),
        error: chain(&error),
        mend: "run `node-agent doctor`",
    };
    let program = ebpf
        .program(name)
        .ok_or_else(|| failed(ProgramError::UnexpectedProgramType))?;
    let fd = program.fd().map_err(failed)?;
    then(fd.as_fd())
}

/// Loads and attaches a tracepoint program, which aya detaches with the object.
pub(super) fn trace(ebpf: &mut Ebpf, name: &str, tracepoint: &str) -> Result<(), InterceptError> {
    load_program(ebpf, name)?;
    if let Some(Program::RawTracePoint(program)) = ebpf.program_mut(name) {
        program.attach(tracepoint).map_err(|error| InterceptError::Program {
            program: name.to_owned(),
            error: chain(&error),
            mend: "the agent needs CAP_PERFMON; without it new network namespaces are found late",
        })?;
    }
    Ok(())
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
