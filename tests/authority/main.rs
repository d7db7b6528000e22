//! The authority in process, on a database, with a clock that is moved by hand.

#[cfg(test)]
#[path = "../support/device.rs"]
mod device;
#[cfg(test)]
mod model;
#[cfg(test)]
mod support;
