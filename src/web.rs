//! What the doors share of HTTP: connections and their certificate, metadata, who
//! the client is, the form of refusals, and what is counted.

pub(crate) mod code;
pub(crate) mod http2;
pub mod listener;
pub(crate) mod metadata;
pub mod metrics;
pub(crate) mod peer;
pub(crate) mod preface;
pub(crate) mod problem;
pub mod tls;
pub mod transport;
