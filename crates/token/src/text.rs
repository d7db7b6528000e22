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
        check_length(&text)?;
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

    pub(crate) fn decode(&self) -> Result<Zeroizing<Vec<u8>>, Denial> {
        decode(&self.0)
    }
}

/// The bytes of a text of acceptable length.
///
/// INVARIANT: one text per token. The engine refuses missing padding, other
/// alphabets and stray trailing bits, so text and bytes determine each other.
pub(crate) fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, Denial> {
    check_length(text)?;
    URL_SAFE
        .decode(text.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| Denial::Malformed("it is not padded base64url"))
}

/// Whether two texts start with the same `count` bytes: in whole groups of four
/// characters for three bytes, and what is left of them in the group behind.
pub(crate) fn same_start(one: &str, other: &str, count: usize) -> bool {
    let whole = count / 3 * 4;
    let groups = (one.get(..whole), other.get(..whole));
    let next = |text: &str| -> Option<Vec<u8>> {
        let group = text.get(whole..whole + 4).unwrap_or_default();
        let mut bytes = URL_SAFE.decode(group).ok()?;
        bytes.truncate(count % 3);
        (bytes.len() == count % 3).then_some(bytes)
    };
    matches!(groups, (Some(one), Some(other)) if one == other)
        && next(one).is_some_and(|bytes| next(other) == Some(bytes))
}

const fn check_length(text: &str) -> Result<(), Denial> {
    if text.is_empty() {
        return Err(Denial::MissingToken);
    }
    if text.len() > MAX_TEXT {
        return Err(Denial::TOO_LONG);
    }
    Ok(())
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
    fn texts_start_alike_as_far_as_their_bytes_do() {
        let bytes: Vec<u8> = (0..40).collect();
        let text = URL_SAFE.encode(&bytes);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            let other = URL_SAFE.encode(other);
            for count in 0..=bytes.len() {
                assert_eq!(
                    same_start(&text, &other, count),
                    count <= at,
                    "{at} {count}"
                );
            }
        }
        assert!(same_start(&text, &text, 40) && !same_start(&text, &text, 41));
        assert!(!same_start(&text, &text, 400));
        assert!(!same_start(&text, &URL_SAFE.encode(&bytes[..20]), 21));
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
