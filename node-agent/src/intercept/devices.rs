//! Programs on devices: by a link where the kernel has them for devices, else by a filter of traffic
//! control. Which one is found by trying.

use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;

use super::intact::{Wrong, named, pin_again, pin_of_link};
use super::netlink::{Route, Side};
use super::object::{self, DeviceHook};
use super::sys::Link;
use super::{InterceptError, pins};

/// A program on a device.
#[derive(Debug)]
pub(super) enum Held {
    /// By a link of its own.
    Link {
        link: Link,
        pin: Option<PathBuf>,
        /// The kernel's number of the program.
        program: u32,
    },
    /// By a filter of traffic control, which stays while the device does.
    Filter {
        device: u32,
        side: Side,
        handle: u32,
        /// As above.
        program: Option<u32>,
    },
}

/// The file a device's link is pinned as.
pub(super) fn pin_of(hook: &DeviceHook, device: u32) -> String {
    format!("{}_{device}", hook.pin)
}

/// Is there a link for that device that is still attached?
pub(super) fn pinned(path: &Path, device: u32) -> Result<bool, InterceptError> {
    let at = |call| InterceptError::call(call, &path.display(), "`node-agent uninstall`");
    match Link::pinned(path).map_err(at("bpf(BPF_OBJ_GET)"))? {
        Some(link) => {
            let on = link.device().map_err(at("bpf(BPF_OBJ_GET_INFO_BY_FD)"))?;
            Ok(on == device)
        }
        None => Ok(false),
    }
}

/// Attaches a program to a device of this thread's namespace, before all others: by a link where
/// the kernel has them for devices, else by a filter. Which one is found by trying.
pub(super) fn hold(
    ebpf: &Ebpf,
    route: &Route,
    hook: &DeviceHook,
    device: u32,
    handle: u32,
    pin: Option<&Path>,
) -> Result<Held, InterceptError> {
    object::with_program(ebpf, hook.program, |program| {
        let path = pin.map(|pin| pin.join(pin_of(hook, device)));
        let at = |call: &'static str| {
            let what = format!("{} on device {device}", hook.program);
            InterceptError::call(call, &what, "`ip link`; `node-agent doctor`")
        };
        if let Some(path) = &path
            && pinned(path, device)?
            && let Some(link) = Link::pinned(path).map_err(at("bpf(BPF_OBJ_GET)"))?
        {
            link.update(program).map_err(at("bpf(BPF_LINK_UPDATE)"))?;
            let program = link
                .facts()
                .map_err(at("bpf(BPF_OBJ_GET_INFO_BY_FD)"))?
                .program;
            let pin = Some(path.clone());
            return Ok(Held::Link { link, pin, program });
        }
        match Link::on_device(program, device, hook.attach_type) {
            Ok(link) => {
                if let Some(path) = &path {
                    pins::remove_link(path)?;
                    link.pin(path).map_err(at("bpf(BPF_OBJ_PIN)"))?;
                }
                let program = link
                    .facts()
                    .map_err(at("bpf(BPF_OBJ_GET_INFO_BY_FD)"))?
                    .program;
                Ok(Held::Link {
                    link,
                    pin: path,
                    program,
                })
            }
            // Before Linux 6.6 devices have no links.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                route
                    .filter(device, hook.side, handle, program)
                    .map_err(at("tc filter"))?;
                Ok(Held::Filter {
                    device,
                    side: hook.side,
                    handle,
                    program: route.filters_with(device, hook.side, handle),
                })
            }
            Err(e) => Err(at("bpf(BPF_LINK_CREATE)")(e)),
        }
    })
}

/// Takes a program from its device. One that went with the device is as good as taken.
pub(super) fn let_go(route: &Route, held: Held) -> io::Result<()> {
    match held {
        Held::Link { link, pin, .. } => {
            pins::detach(&link)?;
            match pin.map(std::fs::remove_file) {
                Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => Err(e),
                Some(_) | None => Ok(()),
            }
        }
        Held::Filter {
            device,
            side,
            handle,
            program: _,
        } => route.unfilter(device, side, handle),
    }
}

/// Is it still at work, and still the program that was put there?
pub(super) fn holds(route: &Route, held: &Held, device: u32) -> bool {
    let same = match held {
        Held::Link { link, program, .. } => link.facts().is_ok_and(|now| now.program == *program),
        Held::Filter {
            side,
            handle,
            program,
            ..
        } => route.filters_with(device, *side, *handle) == *program,
    };
    same && stands(route, held, device)
}

/// Is something there, whatever program it is by now?
pub(super) fn stands(route: &Route, held: &Held, device: u32) -> bool {
    match held {
        Held::Link { link, .. } => link.device().is_ok_and(|on| on == device),
        Held::Filter { side, handle, .. } => route.has_filter(device, *side, *handle),
    }
}

/// What is not as it was made, of a program on a device that may be gone itself.
pub(super) fn wrong(
    route: &Route,
    held: &Held,
    device: u32,
    program: u32,
) -> io::Result<Option<Wrong>> {
    let runs = match held {
        Held::Link { link, pin, .. } => {
            if link.device()? != device {
                return Ok(Some(Wrong::Detached));
            }
            let runs = link.facts()?.program;
            if runs == program {
                return Ok(pin.as_deref().and_then(|path| pin_of_link(link, path)));
            }
            runs
        }
        Held::Filter { side, handle, .. } => match route.filter_there(device, *side, *handle) {
            None => return Ok(Some(Wrong::Detached)),
            Some(runs) => runs,
        },
    };
    Ok((runs != program && runs != 0).then(|| Wrong::Replaced(named(runs))))
}

/// Where a program belongs.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) hook: &'a DeviceHook,
    pub(super) device: u32,
    pub(super) handle: u32,
    pub(super) pin: Option<&'a Path>,
}

/// Puts it back as it was made.
pub(super) fn mend(
    ebpf: &Ebpf,
    route: &Route,
    spot: Spot<'_>,
    held: &mut Held,
    wrong: &Wrong,
) -> Result<(), InterceptError> {
    let Spot {
        hook,
        device,
        handle,
        pin,
    } = spot;
    let at = |call| {
        let what = format!("{} on device {device}", hook.program);
        InterceptError::call(call, &what, "restart the agent, which attaches anew")
    };
    match (&*held, wrong) {
        (Held::Link { link, .. }, Wrong::Replaced(_)) => {
            object::with_program(ebpf, hook.program, |program| {
                link.update(program).map_err(at("bpf(BPF_LINK_UPDATE)"))
            })?;
        }
        (Held::Filter { .. }, Wrong::Replaced(_)) | (_, Wrong::Detached) => {
            *held = hold(ebpf, route, hook, device, handle, None)?;
            if let (Held::Link { pin: to, .. }, Some(pin)) = (&mut *held, pin) {
                *to = Some(pin.join(pin_of(hook, device)));
            }
        }
        (_, Wrong::Unpinned | Wrong::OtherPin | Wrong::Unlabelled | Wrong::Changed) => {}
    }
    match held {
        Held::Link {
            link,
            pin: Some(path),
            ..
        } if pin_of_link(link, path).is_some() => pin_again(path, |path| link.pin(path)),
        Held::Link { .. } | Held::Filter { .. } => Ok(()),
    }
}
