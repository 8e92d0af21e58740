//! IO. The database: dial, TLS, log in with the target's own credential, the name catalogue, and
//! the one door through which anything runs (`Link::execute`, which takes a `Permit`). `outsider` is
//! what somebody without the credential would see.

mod catalogue;
mod classify;
mod definitions;
mod dial;
mod guard;
mod inventory;
mod kept;
mod leg;
mod link;
mod lookup;
mod outsider;
mod own;
mod path;
mod probe;
mod reach;
mod renew;
mod sample;
mod socket;

pub use catalogue::{Catalogue, CatalogueError};
pub use dial::{Dialled, Endpoint, UpstreamError, cancel, dial};
pub use guard::Lost;
pub use inventory::inventory;
pub use kept::{Key, Parked, Warm, too_old};
pub use leg::Leg;
pub use link::{Link, Outgoing};
pub use lookup::{Catalogues, Lookup};
pub use outsider::{Outside, Seen, outsider};
pub use path::{Begun, begun, names_are_used};
pub use renew::{Settings, park, resume};
pub use sample::{SAMPLE_ROWS, databases, sample};
pub use socket::Socket;
