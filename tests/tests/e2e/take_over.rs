//! The next agent takes over from the one that governs: nobody is refused, no session ends.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::client::Raw;
use node_agent_tests::{World, metrics, until};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with, sockopt,
};
use rustix::process::{Signal, getuid};
use rustix::thread::{Gid, Uid};

use super::agent_is_here;
use super::storm::{Greeter, governs, links, watched};

const SOON: Duration = Duration::from_secs(20);
const RATE: u32 = 1_000;
const LASTS: Duration = Duration::from_secs(8);

fn answers(session: &mut Raw, text: &str) -> Result<()> {
    let seen = session.query(text)?;
    assert!(seen.iter().any(|message| message.kind == b'D'), "{seen:?}");
    Ok(())
}

#[test]
fn a_take_over_under_a_thousand_connects_a_second_refuses_nobody_and_ends_no_session() -> Result<()>
{
    if !agent_is_here() {
        return Ok(());
    }
    let (greeter, mut world) = watched()?;
    let mut dialer = world.dialer()?;
    let mut idle = world.client(&mut dialer)?;
    let mut at_work = world.client(&mut dialer)?;
    at_work.query("begin")?;
    let before = links(world.agent().id())?;

    let mut storming = world.dialer()?;
    let mut olds = Vec::new();
    let met = storming.storm(greeter.address, RATE, LASTS, || {
        std::thread::sleep(Duration::from_secs(1));
        for _ in 0..2 {
            olds.push(world.agent_mut().taken_over()?);
            governs(&world)?;
            assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
        }
        Ok(())
    })?;
    println!("{met:?}");
    assert_eq!(greeter.visits(), 0, "{met:?}");
    assert_eq!(
        (met.refused, met.cut, met.greeted, met.other),
        (0, 0, 0, 0),
        "{met:?}\n{}",
        world.agent().log_tail()
    );
    assert!(met.opened > 1_000, "{met:?}");

    // In place: the links are the same ones, the programs behind them are the next agent's.
    let after = links(world.agent().id())?;
    let kept = before.iter().filter(|(link, _)| after.contains_key(link));
    assert!(kept.clone().count() >= 13, "{before:?} {after:?}");
    assert!(
        kept.clone()
            .all(|(link, program)| after.get(link) != Some(program)),
        "{before:?} {after:?}"
    );

    // The first one still has its sessions; the second had none that stayed, and is gone.
    let (mut first, mut second) = (olds.remove(0), olds.remove(0));
    assert!(second.wait(SOON)?.success());
    assert!(first.runs()?);
    answers(&mut idle, "select 7")?;
    answers(&mut at_work, "select 7; commit")?;
    drop((idle, at_work));
    assert!(first.wait(SOON)?.success());

    // And they took nothing with them: the canary goes on, operators are answered.
    let dials = world.agent().metric("node_agent_canary_dials_total")?;
    until("the canary dials on", SOON, || {
        let now = world.agent().metric("node_agent_canary_dials_total")?;
        Ok((now > dials + 2.0).then_some(()))
    })?;
    governs(&world)?;
    let log = fs::read_to_string(world.agent().log())?;
    assert!(!log.contains("NOT GOVERNING"), "{log}");
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}

#[test]
fn sessions_go_on_for_as_long_as_is_configured_and_then_drain() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder()
        .settings("worker: { linger: 12s }\n")
        .start()
        .unwrap();
    let mut dialer = world.dialer()?;
    let mut idle = world.client(&mut dialer)?;
    let begun = Instant::now();
    let mut old = world.agent_mut().taken_over()?;
    governs(&world)?;
    answers(&mut idle, "select 1")?;
    let word = idle.parting_word(SOON)?;
    assert_eq!(word.sqlstate().as_deref(), Some("57P03"));
    assert!(begun.elapsed() > Duration::from_secs(12));
    assert!(old.wait(SOON)?.success());
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    Ok(())
}

#[test]
fn to_take_over_where_no_agent_is_or_one_is_stopping_is_a_plain_start() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().start().unwrap();
    world.agent().signal(Signal::TERM)?;
    world.agent_mut().wait(SOON)?;
    drop(world.agent_mut().taken_over()?);
    governs(&world)?;

    // One that stops and still has a session: it gives what it still has.
    let mut dialer = world.dialer()?;
    let mut at_work = world.client(&mut dialer)?;
    at_work.query("begin")?;
    world.agent().signal(Signal::TERM)?;
    until("it stops", SOON, || {
        Ok((metrics::get(world.agent().admin(), "/readyz")?.0 == 503).then_some(()))
    })?;
    let mut old = world.agent_mut().taken_over()?;
    governs(&world)?;
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    answers(&mut at_work, "select 7; commit")?;
    assert!(old.wait(SOON)?.success());
    governs(&world)
}

fn hatch(world: &World) -> PathBuf {
    world.agent().state_dir().join("hand-over").join("socket")
}

fn knock(world: &World) -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    connect(&socket, &SocketAddrUnix::new(hatch(world))?)?;
    let limit = Some(Duration::from_secs(10));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, limit)?;
    Ok(socket)
}

/// What is answered to these packets.
fn answer(socket: &OwnedFd, packets: &[&[u8]]) -> Vec<u8> {
    for packet in packets {
        // It may have hung up by then.
        let _ = send(socket, packet, SendFlags::NOSIGNAL);
    }
    let mut said = vec![0; 4_096];
    match recv(socket, &mut said[..], RecvFlags::empty()) {
        Ok((length, _)) => {
            said.truncate(length);
            said
        }
        Err(Errno::CONNRESET) => Vec::new(),
        Err(errno) => panic!("{errno}"),
    }
}

const ASKS: &[u8] = b"\x03{\"take_over\":{\"version\":1}}";

#[test]
fn who_asks_for_all_in_other_words_or_as_another_user_gets_nothing() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let mut dialer = world.dialer()?;
    let mut session = world.client(&mut dialer)?;
    let before = links(world.agent().id())?;
    let directory = hatch(&world);
    let directory = directory.parent().context("a directory")?;
    assert_eq!(fs::metadata(directory)?.mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(hatch(&world))?.mode() & 0o777, 0o600);

    let long = [b"\x01".as_slice(), &[b' '; 30_000]].concat();
    let middle = [b"\x00".as_slice(), &[b' '; 30_000]].concat();
    let endless: Vec<&[u8]> = std::iter::once(long.as_slice())
        .chain(std::iter::repeat_n(middle.as_slice(), 60))
        .collect();
    let odd: [&[&[u8]]; 7] = [
        &[b""],
        &[b"\x03"],
        &[b"\x03\xff\xfe"],
        &[b"\x03\"all\""],
        &[b"\x03{\"take_over\":{\"version\":1,\"force\":true}}"],
        &[b"\x03{\"yes\":{\"version\":1,\"cgroup\":1,\"workloads\":[]}}"],
        &endless,
    ];
    for packets in odd {
        assert_eq!(answer(&knock(&world)?, packets), b"", "{:?}", packets[0]);
    }
    // Another version is told so.
    let seen = answer(&knock(&world)?, &[b"\x03{\"take_over\":{\"version\":2}}"]);
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("\"no\"") && seen.contains("stop"), "{seen}");
    // One that says nothing holds up no other for long.
    let _silent = knock(&world)?;
    assert_eq!(answer(&knock(&world)?, &[b"\x03{}"]), b"");

    // Another user does not get there, and gets nothing where he does.
    let as_worker = |then: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let user = node_agent::keeper::WORKER_ID;
                let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                // The thread's alone.
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                then();
            });
            asked.join().unwrap();
        });
    };
    as_worker(&|| assert_eq!(knock(&world).unwrap_err(), Errno::ACCESS));
    fs::set_permissions(directory, fs::Permissions::from_mode(0o711))?;
    fs::set_permissions(hatch(&world), fs::Permissions::from_mode(0o666))?;
    as_worker(&|| assert_eq!(answer(&knock(&world).unwrap(), &[ASKS]), b""));
    assert!(getuid().is_root(), "this thread is who it was");

    assert_eq!(links(world.agent().id())?, before);
    answers(&mut session, "select 1")?;
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    governs(&world)
}

#[test]
fn one_that_dies_while_it_takes_over_leaves_refusals_at_worst_and_the_next_starts_well()
-> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let greeter = Greeter::start()?;
    let mut world = World::builder()
        .trusting_server("greeter", greeter.address)
        .start()
        .unwrap();
    let mut dialer = world.dialer()?;
    let mut session = world.client(&mut dialer)?;
    let mut storming = world.dialer()?;
    // How long a whole one takes says when to kill.
    let begun = Instant::now();
    let mut oldest = world.agent_mut().taken_over()?;
    governs(&world)?;
    let whole = begun.elapsed();
    let lasts = whole * 14 + Duration::from_secs(8);
    let met = storming.storm(greeter.address, 200, lasts, || {
        for part in [4, 6, 7, 8, 9] {
            let old = world.agent_mut().taken_over()?;
            std::thread::sleep(whole * part / 10);
            world.agent_mut().kill()?;
            // Whether or not it was given anything: the third one is there, and governs.
            world.agent_mut().follow()?;
            governs(&world)?;
            assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
            drop(old);
        }
        Ok(())
    })?;
    println!("{met:?}");
    assert_eq!(greeter.visits(), 0, "{met:?}");
    assert_eq!((met.greeted, met.other), (0, 0), "{met:?}");
    assert!(met.opened > 100, "{met:?}");
    answers(&mut session, "select 7")?;
    drop(session);
    assert!(oldest.wait(SOON)?.success());
    governs(&world)?;
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}
