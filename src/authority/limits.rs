//! How often something may be done: by one address, by one key, for one request.
//!
//! Kept in memory, so each node counts for itself: limits are against floods and
//! guessing, and no right depends on them.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use hardtack_token::{DeviceId, GrantId};

use crate::authority::Error;
use crate::domain::ids::RequestId;

/// The most different keys that one limit keeps apart. Above that, newcomers
/// share one count: memory stays bounded, and nobody gets more by being many.
const MAX_KEYS: usize = 50_000;

/// A steady rate, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Milliseconds between two that come steadily.
    pub every: u64,
    /// How many may come at once.
    pub burst: u64,
}

/// What may be done how often. Zero milliseconds means without limit.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Requests from one address, whatever they ask for.
    pub address: Rate,
    /// Requests with proof of one key, or with one token.
    pub caller: Rate,
    /// New pairing requests from one address, superseded ones included.
    pub asks: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            address: Rate::per_second(300, 3000),
            caller: Rate::per_second(100, 2000),
            asks: Rate::per_second(20, 500),
        }
    }
}

/// Polls for one device code: a second earlier than the interval is not too
/// soon, since clients keep time by their own clocks.
const POLLS: Rate = Rate {
    every: 4000,
    burst: 1,
};

/// Wrong guesses from one address at what opens a door by itself.
const GUESSES: Rate = Rate {
    every: 10_000,
    burst: 10,
};

impl Rate {
    /// So many a second, and so many at once.
    #[must_use]
    pub const fn per_second(count: u64, burst: u64) -> Self {
        let every = 1000_u64.div_ceil(if count == 0 { 1 } else { count });
        Self { every, burst }
    }
}

/// What a call is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Device(DeviceId),
    Grant(GrantId),
    Request(RequestId),
    /// All that came when the memory was full.
    Others,
}

/// The counts of one node.
#[derive(Debug)]
pub struct Limits {
    rates: Rates,
    address: Counts,
    caller: Counts,
    asks: Counts,
    polls: Counts,
    guesses: Counts,
}

impl Limits {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self {
            rates,
            address: Counts::default(),
            caller: Counts::default(),
            asks: Counts::default(),
            polls: Counts::default(),
            guesses: Counts::default(),
        }
    }

    /// Counts a request from an address.
    pub fn address(&self, address: IpAddr, now: u64) -> Result<(), Error> {
        let key = Key::Address(network(address));
        refuse(
            self.address.take(key, self.rates.address, now),
            "too many requests from this address",
        )
    }

    /// Counts a request with proof of a key.
    pub(crate) fn device(&self, device: DeviceId, now: u64) -> Result<(), Error> {
        let taken = self
            .caller
            .take(Key::Device(device), self.rates.caller, now);
        refuse(taken, "too many requests with this key")
    }

    /// Counts a request with a token of a grant.
    pub(crate) fn grant(&self, grant: GrantId, now: u64) -> Result<(), Error> {
        let taken = self.caller.take(Key::Grant(grant), self.rates.caller, now);
        refuse(taken, "too many requests with tokens of this grant")
    }

    /// Counts a new pairing request. An address that does not read counts as one.
    pub(crate) fn ask(&self, address: &str, now: u64) -> Result<(), Error> {
        let taken = self.asks.take(key_of(address), self.rates.asks, now);
        refuse(taken, "too many pairing requests from this address")
    }

    /// Whether a poll for the answer to a request came too soon.
    pub(crate) fn polled_too_soon(&self, request: RequestId, now: u64) -> bool {
        self.polls.take(Key::Request(request), POLLS, now).is_err()
    }

    /// Whether an address may try a code. Counts nothing: who brings a right one
    /// has not guessed.
    pub(crate) fn may_guess(&self, address: &str, now: u64) -> Result<(), Error> {
        let wait = self.guesses.wait(key_of(address), GUESSES, now);
        refuse(wait, "too many wrong codes from this address")
    }

    /// Counts a wrong code.
    pub(crate) fn guessed_wrong(&self, address: &str, now: u64) {
        // Refused or not, the code was wrong.
        self.guesses.take(key_of(address), GUESSES, now).ok();
    }
}

/// An address, or its network where one host has many addresses (IPv6: /64).
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let upper = v6.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(upper))
        }
    }
}

fn key_of(address: &str) -> Key {
    address
        .parse()
        .map_or(Key::Others, |ip| Key::Address(network(ip)))
}

fn refuse(taken: Result<(), u64>, why: &'static str) -> Result<(), Error> {
    taken.map_err(|wait| Error::TooMany {
        why,
        retry_after: wait.div_ceil(1000).max(1),
    })
}

/// The generic cell rate algorithm (ITU-T I.371) for many keys.
#[derive(Debug, Default)]
struct Counts(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// For each key the time at which it has used up nothing any more, in milliseconds.
    free: HashMap<Key, u64>,
    /// When what is over was looked for last.
    swept: u64,
}

impl Counts {
    /// Counts one, or says after how many milliseconds it may come.
    fn take(&self, key: Key, rate: Rate, now: u64) -> Result<(), u64> {
        self.look(key, rate, now, true)
    }

    /// The same without counting.
    fn wait(&self, key: Key, rate: Rate, now: u64) -> Result<(), u64> {
        self.look(key, rate, now, false)
    }

    fn look(&self, key: Key, rate: Rate, now: u64, count: bool) -> Result<(), u64> {
        if rate.every == 0 {
            return Ok(());
        }
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = table.place_of(key, now);
        let latest = now.saturating_add(rate.every.saturating_mul(rate.burst));
        let free = table.free.get(&key).copied().unwrap_or(0);
        if free > latest {
            // The clock was set back, which must not lock anybody out for long.
            table.free.insert(key, latest);
        }
        let next = free.clamp(now, latest).saturating_add(rate.every);
        if next > latest {
            return Err(next - latest);
        }
        if count {
            table.free.insert(key, next);
        }
        Ok(())
    }
}

impl Table {
    /// The key itself, or where there is no room for it the one of all others.
    fn place_of(&mut self, key: Key, now: u64) -> Key {
        if self.free.len() < MAX_KEYS || self.free.contains_key(&key) {
            return key;
        }
        // Once a second: a flood must not make every request look at all keys.
        if now.abs_diff(self.swept) >= 1000 {
            self.swept = now;
            self.free.retain(|_, free| *free > now);
        }
        if self.free.len() < MAX_KEYS {
            key
        } else {
            Key::Others
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        every: 1000,
        burst: 3,
    };

    fn key(n: u128) -> Key {
        Key::Request(RequestId::from_uuid(uuid::Uuid::from_u128(n)))
    }

    #[test]
    fn a_burst_passes_then_the_steady_rate() {
        let counts = Counts::default();
        let take = |now| counts.take(key(1), RATE, now);
        for _ in 0..3 {
            take(5000).unwrap();
        }
        assert_eq!(take(5000), Err(1000));
        assert_eq!(take(5400), Err(600));
        take(6000).unwrap();
        assert_eq!(take(6000), Err(1000));
        for _ in 0..3 {
            take(60_000).unwrap();
        }
        assert!(take(60_000).is_err());
        counts.take(key(2), RATE, 60_000).unwrap();
    }

    #[test]
    fn who_is_refused_is_not_kept_out_longer_for_having_asked() {
        let counts = Counts::default();
        for now in 0..100 {
            counts.take(key(1), RATE, now).ok();
        }
        counts.take(key(1), RATE, 1000).unwrap();
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let counts = Counts::default();
        counts.take(key(1), RATE, 1_000_000_000).unwrap();
        counts.take(key(1), RATE, 3000).unwrap_err();
        counts.take(key(1), RATE, 4000).unwrap();
    }

    #[test]
    fn a_flood_of_keys_shares_one_count_and_spares_who_was_there() {
        let counts = Counts::default();
        for n in 0..MAX_KEYS as u128 {
            counts.take(key(n), RATE, 0).unwrap();
        }
        for n in 0..3 {
            counts.take(key(u128::MAX - n), RATE, 0).unwrap();
        }
        assert!(counts.take(key(u128::MAX), RATE, 0).is_err());
        counts.take(key(1), RATE, 0).unwrap();
        assert!(counts.0.lock().unwrap().free.len() <= MAX_KEYS + 1);
        // What is over makes room.
        counts.take(key(u128::MAX), RATE, 10_000).unwrap();
        assert!(counts.0.lock().unwrap().free.len() < 10);
    }

    #[test]
    fn a_host_with_many_addresses_counts_once() {
        let limits = Limits::new(Rates {
            asks: RATE,
            ..Rates::default()
        });
        for host in 1..=3 {
            limits.ask(&format!("2001:db8::{host}"), 0).unwrap();
        }
        assert!(limits.ask("2001:db8::ffff", 0).is_err());
        assert!(limits.ask("2001:db8:0:1::1", 0).is_ok());
        assert!(limits.ask("192.0.2.1", 0).is_ok());
    }

    #[test]
    fn wrong_guesses_are_counted_and_right_ones_are_not() {
        let limits = Limits::new(Rates::default());
        let address = "192.0.2.1";
        for _ in 0..100 {
            limits.may_guess(address, 0).unwrap();
        }
        for _ in 0..GUESSES.burst {
            limits.may_guess(address, 0).unwrap();
            limits.guessed_wrong(address, 0);
        }
        assert!(limits.may_guess(address, 9999).is_err());
        limits.may_guess("192.0.2.2", 0).unwrap();
        limits.may_guess(address, 10_000).unwrap();
        limits.guessed_wrong(address, 10_000);
        assert!(limits.may_guess(address, 10_000).is_err());
    }

    #[test]
    fn polls_at_the_interval_are_never_too_soon() {
        let limits = Limits::new(Rates::default());
        let request = RequestId::from_uuid(uuid::Uuid::nil());
        let mut now = 100_000;
        for _ in 0..10 {
            assert!(!limits.polled_too_soon(request, now));
            assert!(limits.polled_too_soon(request, now + 1000));
            now += 5000;
        }
    }
}
