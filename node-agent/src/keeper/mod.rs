//! IO. The privileged half of the agent, and all that may pass between it and the other half.
//!
//! The *keeper* holds what needs privilege: kernel programs, maps, listening sockets, network
//! namespaces, the files of other mount namespaces, sock_diag. It reads no byte that a client or a
//! database sent. The *worker* does everything else and asks the keeper through a [`Link`], in the
//! few words of `message.rs`. A worker names nothing by itself: it speaks of connections that were
//! handed to it, by their [`Ticket`], and of what the configuration says.
//!
//! Both talk over one socket of whole packets (`channel.rs`); an accepted connection travels as a
//! descriptor beside its message. The worker may go and another come: listeners, labels and maps
//! stay, and connections wait in the kernel meanwhile.
//!
//! The keeper itself is followed by the next one, which asks it for the listeners, the right to
//! what is pinned and the operators' sockets (`hatch.rs`, in the words of `succession.rs`): `give.rs`
//! is the old one's side and `inherit.rs` the new one's.

mod accept;
mod attend;
mod channel;
mod confine;
mod enter;
mod filter;
mod give;
mod governing;
mod hatch;
mod hierarchy;
mod hire;
mod inherit;
mod keep;
mod link;
mod message;
mod named;
mod pulse;
mod report;
mod settings;
mod succession;
mod tickets;
mod walls;
mod worker;

pub use channel::ChannelError;
pub use confine::{Account, KEEPER_ID, NoAccount, WORKER_ID, account, confine, stand_apart};
pub use enter::{NotMoved, enter};
pub use hierarchy::see_all_cgroups;
pub use hire::processes;
pub use inherit::NotGiven;
pub use keep::{Claim, Hire, Keeper, KeeperError, Start};
pub use link::{Configured, Desks, Handed, Inbox, Link, LinkError, Ticket};
pub use message::{CanaryTotals, Governed, Order, Report};
pub use settings::{cgroup2, pin_directory};
pub use walls::{Reach, gaps};
