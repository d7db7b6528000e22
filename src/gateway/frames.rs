//! Where the bytes of a WebSocket stand between its frames (RFC 6455 section
//! 5.2), and the close frames that the gateway adds there.
//!
//! Nothing is decoded and nothing is kept: it only counts.

/// The opcode of a close frame.
const CLOSE: u8 = 8;
/// The bit for the last frame of a message, which a control frame always is.
const FIN: u8 = 0x80;
/// The bit that says that a payload is masked.
const MASKED: u8 = 0x80;
/// The most bytes of a reason: a control frame carries 125, two are the code.
const MAX_REASON: usize = 123;
/// The key that payloads towards upstreams are masked with. Masking keeps those
/// who choose a payload from choosing the bytes on the wire; nobody chooses this one.
const MASK: [u8; 4] = [0x68, 0x61, 0x72, 0x64];

/// The frames of one direction, counted along with the bytes that pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames {
    step: Step,
    is_close: bool,
    closed: bool,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default)]
enum Step {
    /// A new frame.
    #[default]
    Start,
    /// The mask bit and the length.
    Length,
    /// A length that takes two or eight bytes more.
    LongLength { left: u8, length: u64, masked: bool },
    /// The mask and the payload.
    Rest { left: u64 },
}

/// Why a WebSocket is closed (RFC 6455 section 7.4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Farewell {
    code: u16,
    reason: &'static str,
}

impl Frames {
    /// Counts bytes, to the end of a frame at most. Says how many it took.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            self.step = match self.step {
                Step::Start => {
                    self.is_close = byte & 0x0f == CLOSE;
                    Step::Length
                }
                Step::Length => {
                    let masked = byte & MASKED != 0;
                    let long = |left| Step::LongLength {
                        left,
                        length: 0,
                        masked,
                    };
                    match byte & !MASKED {
                        126 => long(2),
                        127 => long(8),
                        length => Step::rest(length.into(), masked),
                    }
                }
                Step::LongLength {
                    left,
                    length,
                    masked,
                } => {
                    let length = length << 8 | u64::from(*byte);
                    match left - 1 {
                        0 => Step::rest(length, masked),
                        left => Step::LongLength {
                            left,
                            length,
                            masked,
                        },
                    }
                }
                Step::Rest { left } => {
                    let there = bytes.len() - taken;
                    let now = usize::try_from(left).map_or(there, |left| left.min(there));
                    // One is counted below.
                    taken += now - 1;
                    Step::payload(left - now as u64)
                }
            };
            taken += 1;
            if self.is_between() {
                self.closed |= self.is_close;
                break;
            }
        }
        taken
    }

    /// Counts all bytes.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((_, rest)) = bytes.split_at_checked(self.take(bytes)) {
            if rest.is_empty() {
                break;
            }
            bytes = rest;
        }
    }

    /// How many of the bytes that come next belong to the frame under way.
    pub(crate) fn left_of(&self, bytes: &[u8]) -> usize {
        if self.is_between() {
            0
        } else {
            self.clone().take(bytes)
        }
    }

    /// Whether all frames so far are whole.
    pub(crate) const fn is_between(&self) -> bool {
        matches!(self.step, Step::Start)
    }

    /// Whether a frame may follow: none does after a close frame.
    pub(crate) const fn is_open(&self) -> bool {
        !self.closed
    }
}

impl Step {
    const fn rest(length: u64, masked: bool) -> Self {
        Self::payload(length.saturating_add(if masked { 4 } else { 0 }))
    }

    const fn payload(left: u64) -> Self {
        match left {
            0 => Self::Start,
            left => Self::Rest { left },
        }
    }
}

impl Farewell {
    /// The gateway stops.
    pub(crate) const GOING_AWAY: Self = Self {
        code: 1001,
        reason: "the gateway is stopping",
    };

    /// What was allowed is so no longer.
    pub(crate) const fn policy(reason: &'static str) -> Self {
        Self { code: 1008, reason }
    }

    /// The close frame for a client.
    pub(crate) fn unmasked(self) -> Vec<u8> {
        self.frame(None)
    }

    /// The close frame for an upstream.
    pub(crate) fn masked(self) -> Vec<u8> {
        self.frame(Some(MASK))
    }

    fn frame(self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let reason = self.reason.bytes().take(MAX_REASON);
        let payload = self.code.to_be_bytes().into_iter().chain(reason);
        let mut frame = vec![FIN | CLOSE, if mask.is_some() { MASKED } else { 0 }];
        frame.extend(mask.iter().flatten());
        let head = frame.len();
        let key = mask.unwrap_or_default().into_iter().cycle();
        frame.extend(payload.zip(key).map(|(byte, key)| byte ^ key));
        let length = u8::try_from(frame.len() - head).unwrap_or_default();
        if let Some(byte) = frame.get_mut(1) {
            *byte |= length;
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, masked: bool, payload: &[u8], spelled: usize) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![opcode];
        let length = payload.len();
        // Longer forms than are needed are counted as well.
        match (spelled, length) {
            (0, 0..=125) => frame.push(mask | u8::try_from(length).unwrap()),
            (0 | 1, 0..=0xffff) => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7f);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([0xff, 0x88, 0x00, 0x7e]);
        }
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_of_every_length_are_told_apart() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            for (masked, spelled) in [(false, 0), (true, 0), (false, 1), (true, 2)] {
                let mut frames = Frames::default();
                let mut bytes = frame(2, masked, &vec![0x88; length], spelled);
                let size = bytes.len();
                bytes.extend([0x81, 0x03]);
                assert_eq!(frames.take(&bytes), size);
                assert!(frames.is_between() && frames.is_open());
                frames.pass(&bytes[size..]);
                assert!(!frames.is_between());
            }
        }
    }

    #[test]
    fn a_length_beyond_all_measure_does_no_harm() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 0xff]);
        frames.pass(&[0xff; 8]);
        frames.pass(&[0; 4096]);
        assert!(!frames.is_between());
    }

    #[test]
    fn nothing_follows_a_close_frame_that_is_whole() {
        let mut frames = Frames::default();
        let close = frame(0x88, true, &[3, 232, b'x'], 0);
        frames.pass(&close[..close.len() - 1]);
        assert!(frames.is_open());
        frames.pass(&close[close.len() - 1..]);
        assert!(!frames.is_open());
    }

    #[test]
    fn a_close_frame_has_code_and_reason() {
        let farewell = Farewell::policy("revoked");
        assert_eq!(farewell.unmasked(), b"\x88\x09\x03\xf0revoked");
        let masked = farewell.masked();
        assert_eq!(
            masked[..6],
            [0x88, 0x89, MASK[0], MASK[1], MASK[2], MASK[3]]
        );
        let payload: Vec<u8> = (masked[6..].iter().zip(MASK.iter().cycle()))
            .map(|(byte, key)| byte ^ key)
            .collect();
        assert_eq!(payload, b"\x03\xf0revoked");
        let long = Farewell::policy(include_str!("frames.rs")).unmasked();
        assert_eq!((long.len(), long[1]), (127, 125));
    }

    proptest! {
        /// However the bytes come, each frame ends where it ends.
        #[test]
        fn the_ends_of_frames_are_found_in_chunks_of_any_size(
            sent in prop::collection::vec(
                (0_u8..16, any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 0_usize..3),
                1..12,
            ),
            cuts in prop::collection::vec(0_usize..4000, 0..20),
        ) {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for (opcode, masked, payload, spelled) in &sent {
                bytes.extend(frame(*opcode, *masked, payload, *spelled));
                ends.push(bytes.len());
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|at| at % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let (mut one_by_one, mut found, mut at) = (Frames::default(), Vec::new(), 0);
            let mut passed = Frames::default();
            for pair in cuts.windows(2) {
                let mut chunk = &bytes[pair[0]..pair[1]];
                passed.pass(chunk);
                prop_assert_eq!(passed.is_between(), pair[1] == 0 || ends.contains(&pair[1]));
                while !chunk.is_empty() {
                    let taken = one_by_one.take(chunk);
                    at += taken;
                    chunk = &chunk[taken..];
                    if one_by_one.is_between() {
                        found.push(at);
                    }
                }
            }
            prop_assert_eq!(found, ends);
            let closed = sent.iter().any(|(opcode, ..)| *opcode == CLOSE);
            prop_assert_eq!((one_by_one.is_open(), passed.is_open()), (!closed, !closed));
        }
    }
}
