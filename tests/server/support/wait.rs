//! Waiting for what happens by itself, never longer than needed.

use std::sync::mpsc;
use std::time::Duration;

/// Everything that is waited for comes within this time, or the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer.
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, ask).unwrap_or_else(|| panic!("{what}: not within {DEADLINE:?}"))
}

/// The same, with a deadline of one's choice and `None` when it is over.
pub(crate) fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    // Nobody sends here: to receive is to pause.
    let (_sender, nothing) = mpsc::channel::<()>();
    for _ in 0..limit.as_millis() / PAUSE.as_millis() {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        nothing.recv_timeout(PAUSE).ok();
    }
    None
}
