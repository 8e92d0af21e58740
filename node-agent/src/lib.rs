//! node-agent: a database gateway that the kernel puts in the path of labelled workloads.
//!
//! The rooms are declared in import order: a room imports only rooms above it. Each room's doc
//! begins with *Pure* or *IO*. `cargo xtask layers` reads both from here and enforces them.
//! docs/architecture.md walks through them; docs/life-of-a-connection.md follows one connection.

pub mod model;
pub mod config;
pub mod sql;
pub mod policy;
pub mod mask;
pub mod wire;
pub mod clock;
pub mod pace;
pub mod telemetry;
pub mod feed;
pub mod intercept;
pub mod enrol;
pub mod origin;
pub mod identity;
pub mod keeper;
pub mod tls;
pub mod record;
pub mod approval;
pub mod archive;
pub mod permit;
pub mod upstream;
pub mod session;
pub mod connection;
pub mod accept;
pub mod replay;
pub mod admin;
pub mod agent;
