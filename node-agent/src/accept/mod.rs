//! IO. Takes what the keeper hands over and serves each connection, on a thread that it then stays
//! on; the drain.

mod serve;
mod strands;

pub use serve::serve_all;
pub use strands::Strands;
