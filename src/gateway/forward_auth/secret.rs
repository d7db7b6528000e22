//! The secret by which a proxy is known that no address tells apart.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

/// The header that a proxy presents it in. Like all `X-Hardtack-*` headers it
/// is never sent on.
static X_HARDTACK_PROXY_SECRET: HeaderName = HeaderName::from_static("x-hardtack-proxy-secret");

/// The fewest characters of a secret.
const MIN_LENGTH: usize = 32;

/// What proxies share with the gateway. Only its digest is kept.
#[derive(Clone)]
pub struct ProxySecret([u8; 32]);

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// It could be guessed.
    #[error("it has fewer than {MIN_LENGTH} characters; `openssl rand -hex 32` makes a good one")]
    TooShort,
    /// It cannot stand in a header.
    #[error("it holds something else than printable ASCII without spaces")]
    NotPrintable,
}

impl ProxySecret {
    /// Whether these headers present it, exactly once.
    pub(crate) fn is_presented(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&X_HARDTACK_PROXY_SECRET).iter();
        match (values.next(), values.next()) {
            // SECURITY: digests are compared, so that the time it takes tells
            // nothing about the secret.
            (Some(value), None) => digest(value.as_bytes()) == self.0,
            (None, _) | (Some(_), Some(_)) => false,
        }
    }
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

impl FromStr for ProxySecret {
    type Err = InvalidSecret;

    /// Reads a secret; space around it is not part of it.
    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidSecret::NotPrintable);
        }
        if text.len() < MIN_LENGTH {
            return Err(InvalidSecret::TooShort);
        }
        Ok(Self(digest(text.as_bytes())))
    }
}

impl fmt::Debug for ProxySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxySecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn presented(values: &[&str]) -> bool {
        let secret: ProxySecret = format!("{SECRET}\n").parse().unwrap();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&X_HARDTACK_PROXY_SECRET, value.parse().unwrap());
        }
        secret.is_presented(&headers)
    }

    #[test]
    fn it_is_presented_once_and_whole() {
        assert!(presented(&[SECRET]));
        assert!(!presented(&[]));
        assert!(!presented(&[""]));
        assert!(!presented(&[SECRET.trim_start_matches('0')]));
        assert!(!presented(&[SECRET, SECRET]));
        assert!(!presented(&[&format!("{SECRET},{SECRET}")]));
    }

    #[test]
    fn what_could_be_guessed_or_not_be_sent_is_no_secret() {
        let read = |text: &str| text.parse::<ProxySecret>().map(|_| ());
        assert_eq!(read(""), Err(InvalidSecret::TooShort));
        assert_eq!(
            read(SECRET.trim_start_matches('0')),
            Err(InvalidSecret::TooShort)
        );
        let split = format!("{SECRET} {SECRET}");
        assert_eq!(read(&split), Err(InvalidSecret::NotPrintable));
        assert!(format!("{:?}", SECRET.parse::<ProxySecret>()).contains(".."));
    }
}
