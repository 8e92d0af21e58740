//! Databases that nobody declared, seen by the first bytes of a connection: what the kernel
//! program tells, and how a refused connection is ended.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use node_agent_common::flow::{Address, FlowEvent};
use node_agent_common::watch;

use super::diag::{self, Diag};
use super::listen::Open;
use super::tables::{Fields, locked, read_event, socket_addr};
use crate::model::NetnsCookie;

/// Whose first bytes were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A client's: start-up, cancel, or a request for TLS or GSSAPI.
    Postgres,
    /// A server's greeting, of MySQL or MariaDB.
    Mysql,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Database::Postgres => "PostgreSQL",
            Database::Mysql => "MySQL",
        })
    }
}

/// How a database that nobody declared was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undeclared {
    /// Which one.
    pub database: Database,
    /// Ended, or only told of.
    pub refused: bool,
    /// The connection's near end.
    pub local: SocketAddr,
}

/// The kernel's news of one.
pub(super) struct Met {
    pub(super) event: FlowEvent,
    pub(super) undeclared: Undeclared,
    /// Whether it is within what may be told in a second.
    pub(super) told: bool,
    device: u32,
}

impl Met {
    /// `None` for other news.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk()?;
        let event = read_event(head)?;
        let database = match event.kind {
            watch::EVENT_UNDECLARED_POSTGRES => Database::Postgres,
            watch::EVENT_UNDECLARED_MYSQL => Database::Mysql,
            _ => return None,
        };
        let mut at = Fields(rest);
        let local = Address([at.u32()?, at.u32()?, at.u32()?, at.u32()?]);
        let port = at.u16()?;
        let refused = at.u16()? != 0;
        let told = at.u32()? != 0;
        Some(Met {
            event,
            undeclared: Undeclared {
                database,
                refused,
                local: socket_addr(local, port),
            },
            told,
            device: at.u32()?,
        })
    }
}

/// The namespaces with a listener, shared with whoever opens them.
pub(super) type Places = Arc<Mutex<HashMap<NetnsCookie, Open>>>;

/// Ends the socket of a refused connection: nothing passes any more, and its owner would wait for
/// an answer until it gives up.
pub(super) fn end(met: &Met, places: &Places) -> io::Result<()> {
    let origin = &met.event.origin;
    let remote = socket_addr(origin.destination, origin.port);
    let ask = |diag: &Diag| {
        let local = met.undeclared.local;
        diag.destroy_on(diag::TCP, local, remote, origin.socket, met.device)
    };
    let here = NetnsCookie(met.event.netns);
    let (known, others): (Option<Arc<Diag>>, Vec<Arc<Diag>>) = {
        let places = locked(places);
        let known = places.get(&here).map(|open| Arc::clone(&open.diag));
        let all = places.values().map(|open| Arc::clone(&open.diag));
        // A socket that the kernel made, or one from before the label: its namespace is not known.
        // The cookie names it in whichever it is.
        let others = if known.is_none() {
            all.collect()
        } else {
            Vec::new()
        };
        (known, others)
    };
    known.iter().chain(&others).try_for_each(|diag| ask(diag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_news_is_read_to_its_end_and_not_beyond() {
        let mut bytes = vec![0; size_of::<watch::Undeclared>()];
        bytes[..4].copy_from_slice(&watch::EVENT_UNDECLARED_MYSQL.to_ne_bytes());
        let near = size_of::<FlowEvent>();
        bytes[near + 10..near + 16].copy_from_slice(&[0xff, 0xff, 10, 0, 7, 1]);
        bytes[near + 16..near + 18].copy_from_slice(&40_000_u16.to_ne_bytes());
        bytes[near + 18..near + 20].copy_from_slice(&1_u16.to_ne_bytes());
        bytes[near + 24] = 3;
        let met = Met::read(&bytes).unwrap();
        assert_eq!(met.undeclared.database, Database::Mysql);
        assert_eq!(met.undeclared.local, "10.0.7.1:40000".parse().unwrap());
        assert!(met.undeclared.refused && !met.told);
        assert_eq!(met.device, 3);
        for length in 0..near + 28 {
            assert!(Met::read(&bytes[..length]).is_none(), "{length}");
        }
        bytes[0] = 1;
        assert!(Met::read(&bytes).is_none());
    }
}
