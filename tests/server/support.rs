//! What the tests play with: machines, servers, commands, devices, an upstream.

pub(crate) mod disk;
pub(crate) mod forge;
pub(crate) mod http;
pub(crate) mod machine;
pub(crate) mod nginx;
pub(crate) mod people;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod snapshot;
pub(crate) mod sse;
pub(crate) mod target;
pub(crate) mod upstream;
pub(crate) mod wait;
pub(crate) mod wire;

pub(crate) use http::{Answer, Request};
pub(crate) use machine::{Machine, Run};
pub(crate) use people::{Install, Paired};
pub(crate) use server::Server;
pub(crate) use wait::eventually;
