//! What each half of the agent is kept from, tried on a running one: files, other processes' places,
//! hanging unnoticed, and being ended from a labelled cgroup.
#![allow(unsafe_code, reason = "calls that no safe function would make")]

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libc::c_long;
use node_agent::keeper::{KEEPER_ID, gaps};
use node_agent_tests::program::{Finished, Program, pid};
use node_agent_tests::{Place, World, metrics, parts, until};
use rustix::process::{Signal, kill_process};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(20);

const ALLOW: &str = "apiVersion: node-agent/v1\nkind: Policy\nmetadata: { name: linked }\n\
                     subjects: [ { workloads: ['*'] } ]\ntargets: [ '*' ]\nrules:\n  \
                     - { name: read, effect: allow, statements: [read] }\n";

fn reloads(world: &World, result: &str) -> Result<f64> {
    let all = metrics::scrape(world.agent().admin())?;
    let name = format!("node_agent_policy_reloads_total{{result=\"{result}\"}}");
    Ok(all.get(&name).copied().unwrap_or_default())
}

fn read_again(world: &World, result: &str, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = reloads(world, result)?;
    change()?;
    until("the policies are read again", SOON, || {
        Ok((reloads(world, result)? > before).then_some(()))
    })
}

#[test]
fn policies_come_and_go_in_their_directory_and_none_is_read_from_out_of_reach() -> Result<()> {
    if !agent_is_here() || !gaps().is_empty() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let elsewhere = tempfile::tempdir()?;
    fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o755))?;
    let target = elsewhere.path().join("linked.yaml");
    // Of another length: times of files are no finer than the kernel's ticks.
    fs::write(&target, format!("{ALLOW}# elsewhere\n"))?;
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644))?;
    let link = world.path().join("policies/linked.yaml");
    // As an editor does it: another file by that name.
    read_again(&world, "good", || world.set_policy("linked.yaml", ALLOW))?;
    read_again(&world, "bad", || {
        fs::remove_file(&link)?;
        Ok(symlink(&target, &link)?)
    })?;
    let status = world.cli(&["status"])?.stdout;
    assert!(
        status.contains("linked.yaml: Permission denied"),
        "{status}"
    );
    assert_eq!(
        world.ask("select 1")?.good()?.stdout,
        "1\n",
        "the last good ones go on"
    );
    read_again(&world, "good", || Ok(fs::remove_file(&link)?))?;
    Ok(())
}

fn exec(world: &World, workload: &str, script: &str) -> Result<Finished> {
    let config = world.agent().config();
    Program::new(parts::built("node-agent")?)
        .args(["exec", "--workload", workload, "--config"])
        .arg(config)
        .args(["--", "sh", "-c", script])
        .run()
}

#[test]
fn exec_moves_who_asks_and_nobody_else_also_while_no_worker_serves() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let moved = exec(&world, "claude", "cat /proc/self/cgroup")?
        .good()?
        .stdout;
    assert!(moved.contains("/claude-"), "{moved}");
    let refused = exec(&world, "nobody-s", "true")?;
    assert!(
        !refused.status.success() && refused.stderr.contains("nobody-s"),
        "{}",
        refused.all()
    );

    kill_process(pid(world.agent().worker()?)?, Signal::STOP)?;
    let moved = exec(&world, "claude", "cat /proc/self/cgroup")?
        .good()?
        .stdout;
    assert!(moved.contains("/claude-"), "{moved}");

    // What is no name is answered, and moves nobody.
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let socket = world.path().join("admin.exec");
    for said in [&b"claude"[..], b"cla\xffude\n", &[b'a'; 200], b""] {
        let mut caller = UnixStream::connect(&socket)?;
        caller.write_all(said)?;
        caller.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        // Of a caller that said too much the rest is not read: a reset is an answer, too.
        let _ = caller.read_to_end(&mut answer);
        assert_ne!(answer.first(), Some(&b'+'), "{said:?}");
    }
    assert_eq!(fs::read_to_string("/proc/self/cgroup")?, own);
    Ok(())
}

#[test]
fn a_worker_that_hangs_is_found_out_and_replaced_while_connections_wait() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    let (keeper, old) = (world.agent().id(), world.agent().worker()?);
    kill_process(pid(old)?, Signal::STOP)?;
    let since = Instant::now();
    until("another one is there", SOON, || {
        Ok(world
            .agent()
            .worker()
            .is_ok_and(|now| now != old)
            .then_some(()))
    })?;
    let took = since.elapsed();
    assert!(took < Duration::from_secs(16), "{took:?}");
    assert!(
        took > Duration::from_secs(8),
        "a moment's silence is no reason: {took:?}"
    );
    assert_eq!(world.ask("select 2")?.good()?.stdout, "2\n");
    assert_eq!(world.agent().id(), keeper);
    assert!(
        !fs::exists(format!("/proc/{old}"))?,
        "the one that hung is gone"
    );
    let log = fs::read_to_string(world.agent().log())?;
    assert!(
        log.contains("it answered nothing for twelve seconds: it hangs"),
        "{log}"
    );
    Ok(())
}

/// Names who is tried, what, and on which process.
const WHO: &str = "NODE_AGENT_TEST_WHO";
const WHAT: &str = "NODE_AGENT_TEST_WHAT";
const WHOM: &str = "NODE_AGENT_TEST_WHOM";
const CGROUP: &str = "NODE_AGENT_TEST_CGROUP";

/// A container's default capabilities.
const CONTAINER: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

fn become_(who: &str) -> Result<()> {
    use rustix::thread::{
        Gid, Uid, set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    };
    let has = match who {
        "container" => CONTAINER,
        _ => CapabilitySet::empty(),
    };
    set_thread_groups(&[])?;
    if who == "nobody" {
        let (user, group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
    }
    Ok(set_capabilities(
        None,
        CapabilitySets {
            effective: has,
            permitted: has,
            inheritable: CapabilitySet::empty(),
        },
    )?)
}

/// fcntl(2).
const F_SETSIG: i32 = 10;

const DEEDS: [&str; 7] = [
    "signal",
    "pidfd signal",
    "getfd",
    "ptrace",
    "read",
    "write",
    "environ",
];

/// Does it, and gives the kernel's word.
fn does(what: &str, whom: i32) -> io::Result<()> {
    let said = |answer: c_long| match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: a number for a number.
    let opened = || unsafe { libc::syscall(libc::SYS_pidfd_open, whom, 0) };
    let mut word = [0_u8; 8];
    let here = libc::iovec {
        iov_base: word.as_mut_ptr().cast(),
        iov_len: word.len(),
    };
    // Mapped in no program that this is: the right is asked for before the address.
    let there = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(4096),
        iov_len: 1,
    };
    match what {
        // SAFETY: numbers only, and nothing is sent.
        "signal" => said(unsafe { libc::syscall(libc::SYS_kill, whom, 0) }),
        // SAFETY: numbers and no further facts.
        "pidfd signal" => {
            said(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, opened(), 0, 0, 0) })
        }
        // SAFETY: numbers only.
        "getfd" => said(unsafe { libc::syscall(libc::SYS_pidfd_getfd, opened(), 0, 0) }),
        // SAFETY: numbers only; a tracer that ends lets go.
        "ptrace" => {
            said(unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, whom, 0, 0) })
        }
        // SAFETY: `here` is eight bytes of this function's.
        "read" => said(unsafe {
            libc::syscall(
                libc::SYS_process_vm_readv,
                whom,
                &here,
                1,
                &there,
                1,
                c_long::from(0),
            )
        }),
        // SAFETY: as above.
        "write" => said(unsafe {
            libc::syscall(
                libc::SYS_process_vm_writev,
                whom,
                &here,
                1,
                &there,
                1,
                c_long::from(0),
            )
        }),
        "environ" => fs::read(format!("/proc/{whom}/environ")).map(drop),
        // A descriptor's owner is sent a signal of choice when there is something to be read.
        "owner" => {
            let (ours, mut other) = UnixStream::pair()?;
            let fd = std::os::fd::AsRawFd::as_raw_fd(&ours);
            for (order, number) in [
                (libc::F_SETOWN, whom),
                (F_SETSIG, libc::SIGKILL),
                (libc::F_SETFL, libc::O_ASYNC),
            ] {
                // SAFETY: numbers only.
                said(unsafe { libc::syscall(libc::SYS_fcntl, fd, order, number) })?;
            }
            other.write_all(b"now")
        }
        _ => Err(io::Error::other("no such deed")),
    }
}

/// The test that `tried` starts once more, in a process that gives its privileges up.
const TRIED: &str = "e2e::cage::neither_half_is_signalled_or_traced_from_a_labelled_cgroup_without_a_privilege_for_it";

/// One deed as the environment says.
fn one_try() -> Result<()> {
    let of = |name| std::env::var(name);
    if let Ok(cgroup) = of(CGROUP) {
        fs::write(Path::new(&cgroup).join("cgroup.procs"), "0")?;
    }
    become_(&of(WHO)?)?;
    let done = does(&of(WHAT)?, of(WHOM)?.parse()?);
    println!("\nFATE {:?}", done.map_err(|error| error.raw_os_error()));
    Ok(())
}

struct Try<'a> {
    who: &'a str,
    what: &'a str,
    whom: u32,
    /// In a process namespace of its own.
    apart: bool,
}

fn tried(world: &World, one: &Try) -> Result<String> {
    let test = std::env::current_exe()?;
    let cgroup = world.cgroup(Place::Inside);
    let words = ["--exact", TRIED, "--nocapture"];
    let program = if one.apart {
        Program::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg(test)
    } else {
        Program::new(test)
    };
    let said = program
        .args(words)
        .env(WHO, one.who)
        .env(WHAT, one.what)
        .env(WHOM, one.whom.to_string())
        .env(CGROUP, cgroup)
        .run()?;
    let fate = said
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("FATE "));
    fate.map(str::to_owned).with_context(|| said.all())
}

#[test]
fn neither_half_is_signalled_or_traced_from_a_labelled_cgroup_without_a_privilege_for_it()
-> Result<()> {
    if std::env::var_os(WHO).is_some() {
        return one_try();
    }
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let halves = [world.agent().id(), world.agent().worker()?];
    let users = fs::read_to_string(format!("/proc/{}/status", halves[0]))?;
    let line = users
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .context("users")?;
    assert_eq!(line, format!("Uid:\t{KEEPER_ID}\t0\t{KEEPER_ID}\t0"));

    let refused = format!("Err(Some({}))", libc::EPERM);
    let not_read = format!("Err(Some({}))", libc::EACCES);
    let nobody_there = format!("Err(Some({}))", libc::ESRCH);
    let mut wrong = Vec::new();
    for who in ["nobody", "root", "container"] {
        for what in DEEDS {
            for whom in halves {
                let expected = match (who, what) {
                    // Open: said by `status` of such a workload, and closed by a namespace of its own.
                    ("container", "signal" | "pidfd signal") => "Ok(())",
                    (_, "environ") => &not_read,
                    _ => &refused,
                };
                let one = Try {
                    who,
                    what,
                    whom,
                    apart: false,
                };
                let fate = tried(&world, &one)?;
                if fate != expected {
                    wrong.push(format!("{who}: {what} {whom}: {fate}"));
                }
            }
        }
        let one = Try {
            who,
            what: "signal",
            whom: halves[0],
            apart: true,
        };
        let fate = tried(&world, &one)?;
        if fate != nobody_there {
            wrong.push(format!("{who}, in a namespace of its own: {fate}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.agent().worker()?, halves[1], "the same as before");
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    Ok(())
}

#[test]
fn root_that_sees_the_host_s_processes_may_end_the_agent_which_is_said_and_then_refused()
-> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().start().unwrap();
    let sleeper = world.program(Place::Inside, "sleep").arg("60").spawn()?;
    until("it is said", SOON, || {
        let status = world.cli(&["status"])?.stdout;
        Ok(status.contains("it can end the agent").then_some(()))
    })?;
    drop(sleeper);
    let keeper = world.agent().id();
    let one = |who| Try {
        who,
        what: "owner",
        whom: keeper,
        apart: false,
    };
    assert_eq!(tried(&world, &one("nobody"))?, "Ok(())");
    assert_eq!(
        world.ask("select 1")?.good()?.stdout,
        "1\n",
        "nobody's signals go nowhere"
    );
    assert_eq!(tried(&world, &one("root"))?, "Ok(())");
    until("it is dead", SOON, || {
        Ok(world.agent_mut().ended()?.map(drop))
    })?;
    let refused = world.ask("select 1")?.stderr;
    assert!(refused.contains("Connection refused"), "{refused}");
    Ok(())
}

/// Whether a dial of this address from the labelled cgroup comes to the agent.
fn governed(world: &World, address: &str) -> Result<bool> {
    let to = format!("host={address} port=6000 user=x dbname=x connect_timeout=3 sslmode=disable");
    let psql = parts::on_path("psql")?;
    let asked = world
        .program(Place::Inside, psql)
        .args(["-X", "-d", &to])
        .run()?;
    Ok(asked.stderr.contains("FATAL"))
}

#[test]
fn an_address_stays_protected_for_a_day_though_agent_and_worker_say_nothing_of_it() -> Result<()> {
    const ONE: &str = "192.0.2.77";
    const OF_MANY: &str = "198.51.100.7";
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().start().unwrap();
    assert!(!governed(&world, ONE)?, "nobody declared it");
    let config = world.agent().config().to_owned();
    let without = fs::read_to_string(&config)?;
    let more = format!("addresses: [\"{ONE}/32\", \"198.51.100.0/24\", ");
    let with = without.replacen("addresses: [", &more, 1);
    // What a keeper finds there that is one address may have been a name's: the map does not say.
    for (text, why, many) in [
        (&with, "it is declared", true),
        (&without, "it was declared until the agent ended", false),
        (&without, "it was held until the agent ended", false),
    ] {
        world.agent_mut().kill()?;
        fs::write(&config, text)?;
        world.agent_mut().start()?;
        assert!(governed(&world, ONE)?, "{why}");
        assert_eq!(
            governed(&world, OF_MANY)?,
            many,
            "a declared prefix goes when it is no longer declared"
        );
        let old = world.agent().worker()?;
        kill_process(pid(old)?, Signal::KILL)?;
        until("another worker serves", SOON, || {
            let other = world.agent().worker().is_ok_and(|now| now != old);
            let ready = metrics::get(world.agent().admin(), "/readyz")?.0 == 200;
            Ok((other && ready).then_some(()))
        })?;
        assert!(governed(&world, ONE)?, "{why}, and another worker came");
    }
    Ok(())
}
