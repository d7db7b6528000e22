//! What strangers may use up: sockets that are not let in, bytes before that,
//! and guesses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hardtack_token::Timestamp;

/// The most sockets of one address that are not let in yet.
pub(super) const MAX_STRANGERS: usize = 32;
/// The most bytes of a message before a client is let in.
pub(super) const MAX_STRANGE_MESSAGE: usize = 64 * 1024;
/// The most bytes of a message of a client that is let in; it is told so.
pub(super) const MAX_MESSAGE: usize = 25 * 1024 * 1024;

/// How many failures within [`WINDOW`] lock an address out.
const MAX_FAILURES: u32 = 10;
/// In seconds.
const WINDOW: u64 = 60;
/// How long an address is locked out, in seconds.
const LOCKOUT: u64 = 300;
/// From how many addresses on those that are over are forgotten.
const MANY: usize = 10_000;

/// The addresses of sockets that are not let in yet.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// A socket that is not let in yet. It counts until this is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    address: IpAddr,
    all: Arc<Addresses>,
}

/// The addresses that guessed wrong lately.
#[derive(Debug, Default)]
pub(super) struct Lockouts(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Timestamp,
    count: u32,
    locked_until: Option<Timestamp>,
}

impl Addresses {
    /// Counts one more socket, if the address may have one.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        let address = owner(address);
        let mut counts = locked(&self.0);
        let count = counts.entry(address).or_default();
        if *count >= MAX_STRANGERS {
            return None;
        }
        *count += 1;
        Some(Stranger {
            address,
            all: Arc::clone(self),
        })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = locked(&self.all.0);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

impl Lockouts {
    /// Notes a credential that is not good. This machine itself is not locked
    /// out: a stale client there would lock its owner out with it.
    pub(super) fn failed(&self, address: IpAddr, now: Timestamp) {
        if address.is_loopback() {
            return;
        }
        let mut all = locked(&self.0);
        if all.len() >= MANY {
            all.retain(|_, failures| !failures.is_over(now));
        }
        let new = Failures {
            since: now,
            count: 0,
            locked_until: None,
        };
        let failures = all.entry(owner(address)).or_insert(new);
        if failures.is_over(now) {
            *failures = new;
        }
        failures.count += 1;
        if failures.count >= MAX_FAILURES {
            failures.locked_until = Some(now.plus(LOCKOUT));
        }
    }

    /// How many seconds an address is locked out for, if it is.
    pub(super) fn left(&self, address: IpAddr, now: Timestamp) -> Option<u64> {
        let all = locked(&self.0);
        let until = all.get(&owner(address))?.locked_until?;
        Some(until.since(now)).filter(|seconds| *seconds > 0)
    }
}

impl Failures {
    fn is_over(&self, now: Timestamp) -> bool {
        match self.locked_until {
            Some(until) => now >= until,
            None => now.since(self.since) >= WINDOW,
        }
    }
}

/// Who an address stands for. With IPv6 it is the network: its owner has as
/// many addresses in it as it likes.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change of the maps is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_unix(1_000_000);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_sockets_and_gets_them_back() {
        let all = Arc::<Addresses>::default();
        let one = address("192.0.2.1");
        let mut strangers: Vec<_> = (0..MAX_STRANGERS)
            .map(|_| all.admit(one).unwrap())
            .collect();
        assert!(all.admit(one).is_none());
        assert!(all.admit(address("192.0.2.2")).is_some());
        strangers.pop();
        assert!(all.admit(one).is_some());
        drop(strangers);
        assert!(all.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        assert_eq!(
            owner(address("2001:db8::1")),
            owner(address("2001:db8::ffff:1"))
        );
        assert_ne!(
            owner(address("2001:db8::1")),
            owner(address("2001:db8:0:1::1"))
        );
        assert_eq!(owner(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn ten_failures_in_a_minute_lock_an_address_out_for_five() {
        let all = Lockouts::default();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for second in 0..9 {
            all.failed(one, AT.plus(second));
        }
        assert_eq!(all.left(one, AT.plus(9)), None);
        all.failed(one, AT.plus(9));
        assert_eq!(all.left(one, AT.plus(9)), Some(LOCKOUT));
        assert_eq!(all.left(other, AT.plus(9)), None);
        assert_eq!(all.left(one, AT.plus(9 + LOCKOUT)), None);
        // Then it starts anew.
        all.failed(one, AT.plus(9 + LOCKOUT));
        assert_eq!(all.left(one, AT.plus(9 + LOCKOUT)), None);
    }

    #[test]
    fn slow_failures_lock_nobody_out_and_this_machine_is_never() {
        let all = Lockouts::default();
        let (slow, local) = (address("192.0.2.1"), address("127.0.0.1"));
        for n in 0..100 {
            all.failed(slow, AT.plus(n * 7));
            all.failed(local, AT);
        }
        assert_eq!(all.left(slow, AT.plus(700)), None);
        assert_eq!(all.left(local, AT), None);
    }
}
