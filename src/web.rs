//! What the API and the gateway share of HTTP: who the client is, and the form
//! of refusals.

pub(crate) mod peer;
pub(crate) mod problem;
