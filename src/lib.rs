//! hardtack: a self-hosted authorization service and gateway.
//!
//! Data flows one way: `main → cli → server → {api, openclaw, gateway} → authority →
//! store → domain → hardtack-token`.

pub mod api;
pub mod authority;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod domain;
pub mod gateway;
#[cfg(test)]
mod layers;
pub mod openclaw;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod web;
