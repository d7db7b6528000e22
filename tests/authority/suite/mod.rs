//! Loaded once for each database; which one is told by the module's path.

mod approving;
mod ending;
mod exchanging;
mod model;
mod pairing;
mod recovery;
mod support;
