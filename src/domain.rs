//! Pure types and state machines: no I/O, no database, no HTTP.

pub mod audit;
pub mod event;
pub mod grant;
pub mod ids;
pub mod invite;
pub mod operation;
pub mod pairing;
pub mod policy;
pub mod service_token;
pub mod setup_code;
pub mod user_code;
