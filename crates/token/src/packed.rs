//! A token's text in three quarters of its room, compared as it is.
//!
//! The text of a token in the cache is most of what that token takes. Each of
//! its characters is one of 64: three characters are kept in the low six bits of
//! three bytes, and a fourth in the two bits that each of them has left.

use crate::text::TokenText;

/// The last characters are kept as they are: padding is among them only.
const LAST: usize = 4;

/// A text of base64url, packed. `Debug` does not show it.
#[derive(Clone, Default)]
pub(crate) struct PackedText(
    /// INVARIANT: empty, or three streams of `n` bytes and the last characters.
    /// Stream `i` has the `i`-th quarter of the text in its low bits, the last
    /// quarter is in their high bits. So the loops below run over bytes side by
    /// side, which the compiler turns into vectors: a quarter of the time that
    /// decoding to the bytes of the container takes.
    Box<[u8]>,
);

/// The streams, or the quarters of a text, and the last characters.
struct Streams<'a, const N: usize> {
    streams: [&'a [u8]; N],
    last: &'a [u8],
}

impl<'a, const N: usize> Streams<'a, N> {
    fn of(mut bytes: &'a [u8]) -> Option<Self> {
        let n = bytes.len().checked_sub(LAST)? / N;
        let mut streams = [bytes; N];
        for stream in &mut streams {
            *stream = bytes.split_off(..n)?;
        }
        let last = (bytes.len() == LAST).then_some(bytes)?;
        Some(Self { streams, last })
    }
}

impl<'a> Streams<'a, 3> {
    /// The last quarter's numbers, out of the high bits of all three.
    fn spread(&self) -> impl Iterator<Item = u8> + use<'a> {
        let [first, second, third] = self.streams;
        let high = |((a, b), c): ((&u8, &u8), &u8)| (a >> 6) << 4 | (b >> 6) << 2 | c >> 6;
        first.iter().zip(second).zip(third).map(high)
    }
}

impl PackedText {
    /// Packs a text: `None` unless it is base64url, but for its last characters.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let Streams { streams, last } = Streams::<4>::of(text.as_bytes())?;
        let [quarters @ .., spread] = streams;
        let mut spread: Vec<u8> = spread.iter().map(|given| value(*given)).collect();
        let mut packed = Vec::with_capacity(text.len() / 4 * 3 + LAST);
        for quarter in quarters {
            // The next two bits come to be the highest.
            for value in &mut spread {
                *value <<= 2;
            }
            let pairs = quarter.iter().zip(&spread);
            packed.extend(pairs.map(|(own, spread)| low(value(*own)) | (spread & !LOW)));
        }
        packed.extend_from_slice(last);
        // What is no character of the alphabet was packed as one that is.
        let packed = Self(packed.into());
        packed.is(text).then_some(packed)
    }

    /// Whether this is that very text.
    ///
    /// SECURITY: each character of the text is compared with the one that was
    /// packed. No two texts are equal here because their hashes are.
    pub(crate) fn is(&self, text: &str) -> bool {
        let packed = Streams::<3>::of(&self.0);
        let given = Streams::<4>::of(text.as_bytes());
        let (Some(packed), Some(given)) = (packed, given) else {
            return false;
        };
        let [quarters @ .., spread] = given.streams;
        // No way out in between, which would end the vectors. Streams of different
        // lengths are compared as far as the shorter goes.
        let mut differ = 0;
        for (stream, quarter) in packed.streams.into_iter().zip(quarters) {
            let pairs = stream.iter().zip(quarter);
            differ = pairs.fold(differ, |d, (byte, given)| {
                d | (character(low(*byte)) ^ given)
            });
        }
        let pairs = packed.spread().zip(spread);
        differ = pairs.fold(differ, |d, (value, given)| d | (character(value) ^ given));
        4 * packed.streams[0].len() + LAST == text.len() && packed.last == given.last && differ == 0
    }

    /// The text again; `None` of nothing.
    pub(crate) fn unpack(&self) -> Option<TokenText> {
        let packed = Streams::<3>::of(&self.0)?;
        let mut text = Vec::with_capacity(self.0.len() / 3 * 4 + LAST);
        for stream in packed.streams {
            text.extend(stream.iter().map(|byte| character(low(*byte))));
        }
        text.extend(packed.spread().map(character));
        text.extend_from_slice(packed.last);
        TokenText::new(String::from_utf8(text).ok()?).ok()
    }

    /// The bytes that it takes beside its own size.
    pub(crate) const fn heap(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for PackedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedText({} bytes)", self.0.len())
    }
}

/// The bits that a number below 64 has.
const LOW: u8 = 0b11_1111;

const fn low(byte: u8) -> u8 {
    byte & LOW
}

// Between the runs of the alphabet, `A-Z a-z 0-9 - _`, in that order.
const TO_LOWER: u8 = b'a' - b'Z' - 1;
const BACK_TO_DIGITS: u8 = b'z' + 1 - b'0';
const BACK_TO_DASH: u8 = b'9' + 1 - b'-';
const TO_UNDERSCORE: u8 = b'_' - b'-' - 1;

/// The character of a number below 64 (RFC 4648 section 5), by sums alone, which
/// vectors have.
const fn character(value: u8) -> u8 {
    let mut character = value.wrapping_add(b'A');
    if value > 25 {
        character = character.wrapping_add(TO_LOWER);
    }
    if value > 51 {
        character = character.wrapping_sub(BACK_TO_DIGITS);
    }
    if value > 61 {
        character = character.wrapping_sub(BACK_TO_DASH);
    }
    if value > 62 {
        character = character.wrapping_add(TO_UNDERSCORE);
    }
    character
}

/// The number of a character of the alphabet, in the same way. Of another it is any.
const fn value(character: u8) -> u8 {
    let mut value = character.wrapping_sub(b'A');
    if character >= b'a' {
        value = value.wrapping_sub(TO_LOWER);
    }
    if character < b'A' {
        value = value.wrapping_add(BACK_TO_DIGITS - TO_LOWER);
    }
    if character < b'0' {
        value = value.wrapping_add(BACK_TO_DASH);
    }
    if character == b'_' {
        value = value.wrapping_add(BACK_TO_DIGITS + BACK_TO_DASH - TO_LOWER - TO_UNDERSCORE);
    }
    value
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_alphabet_is_that_of_base64url() {
        for n in 0..64 {
            assert_eq!(value(character(n)), n);
        }
        let text = URL_SAFE.encode([0x00, 0x10, 0x83, 0xfb, 0xff]);
        assert!(PackedText::new(&text).unwrap().is(&text));
    }

    #[test]
    fn nothing_is_no_text() {
        let nothing = PackedText::default();
        assert!(!nothing.is("") && !nothing.is("AAAA"));
        assert!(nothing.unpack().is_none() && PackedText::new("").is_none());
        assert!(PackedText::new("AAA~AAAA").is_none());
        assert!(PackedText::new("AAAAA").is_none());
    }

    proptest! {
        #[test]
        fn a_text_is_itself_in_three_quarters_of_its_room(bytes in prop::collection::vec(any::<u8>(), 1..600)) {
            let text = URL_SAFE.encode(&bytes);
            let packed = PackedText::new(&text).unwrap();
            prop_assert!(packed.is(&text));
            let unpacked = packed.unpack().unwrap();
            prop_assert_eq!(unpacked.expose(), text);
            prop_assert!(packed.heap() <= bytes.len() + LAST);
        }

        /// One bit of one character, one character less, one more.
        #[test]
        fn a_text_is_no_other(bytes in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0..7) {
            let text = URL_SAFE.encode(&bytes);
            let packed = PackedText::new(&text).unwrap();
            let mut other = text.clone().into_bytes();
            other[at.index(text.len())] ^= 1_u8 << bit;
            prop_assert!(!packed.is(std::str::from_utf8(&other).unwrap()));
            for length in [4, text.len() - 4, text.len() - 1, text.len()] {
                let (start, end) = text.split_at(text.len() - length);
                prop_assert_eq!(packed.is(end), start.is_empty());
                let (start, end) = text.split_at(length);
                prop_assert_eq!(packed.is(start), end.is_empty());
            }
            prop_assert!(!packed.is(&(text.clone() + "AAAA")));
        }
    }
}
