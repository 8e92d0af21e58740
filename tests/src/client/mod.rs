//! Clients that speak bytes as told, and what moves them into a cgroup.

mod dialer;
mod raw;
mod tls;

pub use dialer::{Churned, Dialer};
pub use raw::{Message, Raw, error_field, startup};
pub use tls::{Connect, MakeTls, Tls, client_config};
