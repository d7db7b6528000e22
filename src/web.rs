//! What the API and the gateway share of HTTP: who the client is, the form of
//! refusals, and what is counted.

pub mod metrics;
pub(crate) mod peer;
pub(crate) mod problem;
