//! The text of a token, before anything is known about it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use zeroize::Zeroizing;

use crate::denial::Denial;

/// The longest token text that is read, in bytes.
pub const MAX_TEXT: usize = 6 * 1024;

/// A token's text: base64url with padding (RFC 4648 section 5), no longer than [`MAX_TEXT`].
///
/// It is a secret: `Debug` does not show it, and it is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(Zeroizing<String>);

impl TokenText {
    /// Takes a text of acceptable length. Whether it is canonical is seen when it is decoded.
    pub fn new(text: impl Into<String>) -> Result<Self, Denial> {
        let text = Zeroizing::new(text.into());
        if text.is_empty() {
            return Err(Denial::MissingToken);
        }
        if text.len() > MAX_TEXT {
            return Err(Denial::TOO_LONG);
        }
        Ok(Self(text))
    }

    /// The text, for the one place that must send or show it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text of these container bytes, if it stays within [`MAX_TEXT`].
    pub(crate) fn encode(bytes: &[u8]) -> Result<Self, Denial> {
        Self::new(URL_SAFE.encode(bytes))
    }

    // INVARIANT: one text per token. The engine refuses missing padding, other
    // alphabets and stray trailing bits, so text and bytes determine each other.
    pub(crate) fn decode(&self) -> Result<Zeroizing<Vec<u8>>, Denial> {
        URL_SAFE
            .decode(self.0.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| Denial::Malformed("it is not padded base64url"))
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_padded_base64url_without_stray_bits_is_read() {
        let decode = |text: &str| TokenText::new(text).unwrap().decode();
        assert_eq!(decode("-_8=").unwrap().as_slice(), [0xfb, 0xff]);
        for bad in ["-_8", "+/8=", "-_9=", "-_8= ", "-_8=\n", "-_8=-_8="] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_long_or_empty_text_is_refused_unread() {
        assert_eq!(TokenText::new("").unwrap_err(), Denial::MissingToken);
        let err = TokenText::new("A".repeat(MAX_TEXT + 1)).unwrap_err();
        assert_eq!(err.code(), "malformed_token");
    }

    #[test]
    fn debug_does_not_show_the_text() {
        let text = TokenText::new("c2VjcmV0").unwrap();
        assert!(!format!("{text:?}").contains("c2Vj"));
    }
}
