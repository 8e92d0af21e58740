//! Clients that speak bytes as told, and what moves them into a cgroup.

mod dialer;
mod mingle;
mod raw;
mod tls;

pub use dialer::{Churned, Dialer, Stormed};
pub use mingle::{CLIENT, Deed, Noted, Who, mingle, moment};
pub use raw::{
    GSS_REQUEST, Message, Raw, SSL_REQUEST, about, bind, cells, error_field, execute, flush, kinds,
    parse, query, startup, sync,
};
pub use tls::{Connect, MakeTls, Tls, client_config};
