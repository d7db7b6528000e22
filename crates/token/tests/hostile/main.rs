//! Hostile tokens are refused by their form, for little memory and without any
//! engine. What each costs in time is measured by `cargo bench`.

#[cfg(test)]
mod corpus;
#[cfg(test)]
#[path = "../it/forge.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod forge;
#[cfg(test)]
mod refused;
#[cfg(test)]
#[path = "../it/support.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod support;
