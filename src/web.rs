//! What the API and the gateway share of HTTP: who the client is, metadata, the
//! form of refusals, and what is counted.

pub(crate) mod metadata;
pub mod metrics;
pub(crate) mod peer;
pub(crate) mod problem;
