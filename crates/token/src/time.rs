//! Time as a parameter: seconds since the Unix epoch, and where they come from.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use crate::id::InvalidId;

/// A point in time in whole seconds since the Unix epoch (UTC), truncated.
///
/// This is the precision of Biscuit dates, so that the native decision and the
/// reference Datalog can never differ by a fraction of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The latest point that can be written: "never".
    pub const MAX: Self = Self(u64::MAX);

    /// A timestamp from seconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// This point moved later by `seconds`, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// This point moved earlier by `seconds`, at least the epoch.
    #[must_use]
    pub const fn minus(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` to this point; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC. Points after the year 9999 print as its last second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Duration::from_secs(self.0.min(END_OF_YEAR_9999));
        humantime::format_rfc3339_seconds(UNIX_EPOCH + shown).fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidId;

    /// Reads RFC 3339 in UTC (`2026-12-01T00:00:00Z`); fractions are cut off.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            what: "time",
            why: "RFC 3339 in UTC is needed, such as 2026-12-01T00:00:00Z",
        };
        let point = humantime::parse_rfc3339(text).map_err(|_| invalid.clone())?;
        let since_epoch = point.duration_since(UNIX_EPOCH).map_err(|_| invalid)?;
        Ok(Self(since_epoch.as_secs()))
    }
}

const END_OF_YEAR_9999: u64 = 253_402_300_799;

/// Where "now" comes from. The one thing that reads the system's clock is
/// [`SystemClock`]; everything else is told the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present time.
    fn now(&self) -> Timestamp;

    /// The present time in milliseconds since the epoch, for ids that sort by time.
    fn now_millis(&self) -> u64 {
        self.now().unix().saturating_mul(1000)
    }
}

/// The operating system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(since_epoch().as_secs())
    }

    fn now_millis(&self) -> u64 {
        u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where time enters")]
fn since_epoch() -> Duration {
    // A clock before 1970 reads as the epoch: every dated token is then still
    // in its time, but every proof of possession is stale.
    std::time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A clock that stands still until it is moved, for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub const fn new(start: Timestamp) -> Self {
        Self(AtomicU64::new(start.0))
    }

    /// Moves the clock forward.
    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_and_read_as_rfc_3339() {
        let t = Timestamp::from_unix(1_796_083_200);
        assert_eq!(t.to_string(), "2026-12-01T00:00:00Z");
        assert_eq!("2026-12-01T00:00:00Z".parse::<Timestamp>().unwrap(), t);
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
