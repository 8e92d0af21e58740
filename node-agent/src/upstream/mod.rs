//! IO. The database: dial, TLS, log in with the target's own credential, the name catalogue, and
//! the one door through which anything runs (`Link::execute`, which takes a `Permit`). `outsider` is
//! what somebody without the credential would see. Beside a session, as its role: `expect` asks for a plan and
//! runs nothing; `rehearse` runs a statement that is rolled back, where a reviewer asked for that.

mod aside;
mod catalogue;
mod classify;
mod definitions;
mod dial;
mod expect;
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
mod rehearse;
mod renew;
mod sample;
mod socket;

pub use aside::Double;
pub use catalogue::{Catalogue, CatalogueError};
pub use dial::{Dialled, Endpoint, UpstreamError, cancel, dial};
pub use expect::Expecting;
pub use guard::Lost;
pub use inventory::inventory;
pub use kept::{Key, Parked, Warm, too_old};
pub use leg::Leg;
pub use link::{Link, Outgoing};
pub use lookup::{Catalogues, Lookup};
pub use outsider::{Outside, Seen, outsider};
pub use path::{Begun, begun, names_are_used};
pub use rehearse::{NotRehearsed, Rehearsal};
pub use renew::{Settings, park, resume};
pub use sample::{SAMPLE_ROWS, databases, sample};
pub use socket::Socket;
