//! Connections dialled inside a cgroup and handed over as open sockets.
//!
//! A cgroup is a whole process's in the unified hierarchy, so a small program moves there, dials, and
//! passes each socket back (SCM_RIGHTS).

use std::io::{BufRead as _, BufReader, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

use super::Noted;
use crate::parts;
use crate::program::{Program, Running, until};

/// The program in the cgroup.
pub struct Dialer {
    talk: UnixStream,
    program: Running,
    _place: TempDir,
}

/// How many of many connections came about, and how many were refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Churned {
    /// connect() succeeded.
    pub opened: usize,
    /// connect() failed.
    pub refused: usize,
}

/// What a storm of connections met with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stormed {
    /// connect() succeeded.
    pub opened: usize,
    /// connect() was refused or reset.
    pub refused: usize,
    /// Somebody spoke first, as no agent does.
    pub greeted: usize,
    /// connect() failed otherwise.
    pub other: usize,
    /// Somebody closed or reset what was open within a moment.
    pub cut: usize,
}

impl Dialer {
    /// Starts it in a cgroup.
    pub fn start(cgroup: &Path) -> Result<Self> {
        let place = tempfile::tempdir()?;
        let socket = place.path().join("dialer");
        let listener = UnixListener::bind(&socket)?;
        listener.set_nonblocking(true)?;
        let program = Program::in_cgroup(cgroup, parts::built("dialer")?)
            .arg(&socket)
            .spawn()?;
        let talk = until("the dialer starts", Duration::from_secs(10), || {
            Ok(listener.accept().ok().map(|(stream, _)| stream))
        })?;
        talk.set_nonblocking(false)?;
        talk.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self {
            talk,
            program,
            _place: place,
        })
    }

    /// Dials; an error when connect() fails, with its words.
    pub fn dial(&mut self, address: SocketAddr) -> Result<TcpStream> {
        writeln!(self.talk, "dial {address}")?;
        let mut byte = [0; 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(
            &self.talk,
            &mut [IoSliceMut::new(&mut byte)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if got.bytes == 0 {
            bail!("the dialer has gone");
        }
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        match descriptor {
            Some(descriptor) => Ok(TcpStream::from(descriptor)),
            None => bail!("connect: {}", self.line()?),
        }
    }

    /// Opens and drops this many connections in every way a client may: at once, after a few bytes,
    /// in or after the login, in the middle of a statement; half closed, closed, or reset.
    pub fn churn(&mut self, address: SocketAddr, count: usize) -> Result<Churned> {
        writeln!(self.talk, "churn {address} {count}")?;
        let line = self.line()?;
        let mut words = line.split(' ').map(str::parse);
        let mut next = || words.next().context("an answer")?.context("a number");
        Ok(Churned {
            opened: next()?,
            refused: next()?,
        })
    }

    /// Connects at this rate a second for so long, and meanwhile does something else.
    pub fn storm(
        &mut self,
        address: SocketAddr,
        rate: u32,
        lasts: Duration,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Stormed> {
        writeln!(self.talk, "storm {address} {rate} {}", lasts.as_millis())?;
        meanwhile()?;
        self.met()
    }

    /// Opens so many connections at this rate a second, never says a byte, keeps all there are, and
    /// meanwhile does something else; it is told how many descriptors the program has.
    pub fn hoard(
        &mut self,
        address: SocketAddr,
        count: usize,
        rate: u32,
        meanwhile: impl FnOnce(&dyn Fn() -> Result<usize>) -> Result<()>,
    ) -> Result<Stormed> {
        writeln!(self.talk, "hoard {address} {count} {rate}")?;
        let id = self.id();
        let done = meanwhile(&|| crate::metrics::files(id));
        writeln!(self.talk, "halt")?;
        let met = self.met()?;
        done?;
        Ok(met)
    }

    fn met(&self) -> Result<Stormed> {
        let line = self.line()?;
        let mut words = line.split(' ').map(str::parse);
        let mut next = || words.next().context("an answer")?.context("a number");
        Ok(Stormed {
            opened: next()?,
            refused: next()?,
            greeted: next()?,
            other: next()?,
            cut: next()?,
        })
    }

    /// So many clients connect and ask without end, and meanwhile something else is done.
    pub fn mingle(
        &mut self,
        address: SocketAddr,
        clients: usize,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<Noted>> {
        writeln!(self.talk, "mingle {address} {clients}")?;
        let done = meanwhile();
        writeln!(self.talk, "halt")?;
        let mut notes = Vec::new();
        for line in BufReader::new(&self.talk).lines() {
            let line = line?;
            if line == "done" {
                done?;
                return Ok(notes);
            }
            notes.push(line.parse()?);
        }
        bail!("the dialer has gone")
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    fn line(&self) -> Result<String> {
        let mut line = String::new();
        // One answer at a time is outstanding, so nothing is read too far.
        BufReader::new(&self.talk).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
