//! The id that names one request in answers, logs and towards the upstream.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngCore;

/// The header that carries it.
pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from a trusted proxy.
const MAX_LENGTH: usize = 64;

/// The id of one request: a `UUIDv7`, or what a trusted proxy calls it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

/// Makes ids without randomness, so that a request waits for none.
///
/// They only have to differ: a number drawn at start tells processes apart, a
/// counter the requests of one process.
pub(crate) struct RequestIds {
    process: [u8; 4],
    counter: AtomicU64,
}

impl RequestId {
    #[cfg(test)]
    pub(crate) fn fixed(text: &'static str) -> Self {
        Self(HeaderValue::from_static(text))
    }

    pub(crate) const fn value(&self) -> &HeaderValue {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl RequestIds {
    pub(crate) fn new(rng: &mut dyn RngCore) -> Self {
        let mut process = [0; 4];
        rng.fill_bytes(&mut process);
        Self {
            process,
            counter: AtomicU64::new(rng.next_u64()),
        }
    }

    /// The id of a request. One that a client chose would let it write into
    /// other people's logs, so only a trusted proxy's is taken over.
    pub(crate) fn of(&self, headers: &HeaderMap, peer_is_trusted: bool, millis: u64) -> RequestId {
        let theirs = headers.get(&X_REQUEST_ID).filter(|_| peer_is_trusted);
        match theirs {
            Some(value) if is_sane(value) => RequestId(value.clone()),
            Some(_) | None => self.next(millis),
        }
    }

    /// A new one.
    pub(crate) fn next(&self, millis: u64) -> RequestId {
        let [p0, p1, p2, p3] = self.process;
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let [_, _, c0, c1, c2, c3, c4, c5] = count.to_be_bytes();
        let unique = [p0, p1, p2, p3, c0, c1, c2, c3, c4, c5];
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &unique).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        RequestId(HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("")))
    }
}

impl fmt::Debug for RequestIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestIds").finish_non_exhaustive()
    }
}

fn is_sane(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=MAX_LENGTH).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn ids(seed: u64) -> RequestIds {
        RequestIds::new(&mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn ids_differ_within_one_millisecond_and_between_processes() {
        let (one, two) = (ids(1), ids(2));
        let made = (0..1000).flat_map(|_| [one.next(5), two.next(5)]);
        let made: BTreeSet<String> = made.map(|id| id.as_str().to_owned()).collect();
        assert_eq!(made.len(), 2000);
        let id: uuid::Uuid = made.first().unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
    }

    #[test]
    fn only_a_trusted_proxys_short_token_is_taken_over() {
        let of = |value: &str, trusted| {
            let mut headers = HeaderMap::new();
            headers.insert(&X_REQUEST_ID, value.parse().unwrap());
            ids(1).of(&headers, trusted, 5).as_str() == value
        };
        assert!(of("abc-1.2_3", true));
        assert!(!of("abc-1.2_3", false));
        for bad in ["", "a b", "a\"b", "a,b", &"a".repeat(65)] {
            assert!(!of(bad, true), "{bad}");
        }
    }
}
