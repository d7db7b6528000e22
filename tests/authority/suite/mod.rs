//! Loaded once for each database; which one is told by the module's path.

mod approving;
mod bringing;
mod device_code;
mod ending;
mod ending_tokens;
mod exchanging;
mod following;
mod introspecting;
mod inviting;
mod model;
mod pairing;
mod recovery;
mod refreshing;
mod services;
mod support;
