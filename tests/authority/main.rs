//! The authority in process, on a database, with a clock that is moved by hand.

#[cfg(test)]
mod approving;
#[cfg(test)]
#[path = "../support/device.rs"]
mod device;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod exchanging;
#[cfg(test)]
mod model;
#[cfg(test)]
mod pairing;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod support;
