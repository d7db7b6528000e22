//! Invites: a promise of a grant for whoever brings the code, once.

use std::fmt;

use hardtack_token::{DeviceId, GrantId, Role, ScopeSet, Timestamp};
use rand::Rng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::grant::GrantStatus;
use crate::domain::ids::InviteId;
use crate::domain::user_code::{LETTERS, letters};

/// Letters of a code: 86 bits, since it opens a door by itself.
const LENGTH: usize = 20;
/// Letters between two dashes.
const GROUP: usize = 4;

/// A code such as `WDJB-MJHT-BCDF-GHJK-LMNP`; case and dashes do not matter.
pub struct InviteCode(Zeroizing<String>);

impl InviteCode {
    /// What stands between codes that are brought together.
    pub const BETWEEN: &str = ".";

    /// Makes a new code.
    pub fn generate(rng: &mut impl Rng) -> Self {
        let letter = |_| {
            char::from(
                *LETTERS
                    .get(rng.gen_range(0..LETTERS.len()))
                    .unwrap_or(&b'B'),
            )
        };
        Self(Zeroizing::new((0..LENGTH).map(letter).collect()))
    }

    /// Reads a code as a person may type it; `None` if it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        letters(text, LENGTH).map(|code| Self(Zeroizing::new(code)))
    }

    /// The code as it is shown, once, to whoever invites.
    #[must_use]
    pub fn expose(&self) -> String {
        let groups = self.0.as_bytes().chunks(GROUP);
        let groups = groups.map(|group| String::from_utf8_lossy(group).into_owned());
        groups.collect::<Vec<_>>().join("-")
    }

    /// What is stored of it. 86 random bits need no slow hash.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"hardtack invite\0");
        hash.update(self.0.as_bytes());
        hash.finalize().into()
    }
}

impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteCode(…)")
    }
}

/// An invite as it is stored.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Its id, which opens nothing.
    pub id: InviteId,
    /// The grant that it was made with. The invite dies with it.
    pub inviter: GrantId,
    /// The device of that grant.
    pub inviter_device: Option<DeviceId>,
    /// Where that grant stands, ancestors included.
    pub inviter_status: GrantStatus,
    /// The earliest end in that grant's chain.
    pub inviter_expires_at: Option<Timestamp>,
    /// The label of the grant that it promises.
    pub role: Role,
    /// The scopes that it promises at most.
    pub scopes: ScopeSet,
    /// What the device is to be called; empty if the device says so.
    pub name: String,
    /// The life of the grant in seconds, if it is to have an end.
    pub grant_life: Option<u64>,
    /// What became of it.
    pub state: InviteState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends if nobody brings it.
    pub expires_at: Timestamp,
}

/// What became of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteState {
    /// Nothing yet.
    Open,
    /// This device brought it and got this grant.
    Used(DeviceId, GrantId),
    /// It was taken back.
    Revoked,
}

/// Where an invite stands at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteStatus {
    /// It can be brought.
    Open,
    /// It was brought.
    Used,
    /// It was taken back.
    Revoked,
    /// Nobody brought it in time.
    Expired,
    /// The grant that it was made with ended.
    Ended,
}

impl InviteState {
    /// The word in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used(..) => "used",
            Self::Revoked => "revoked",
        }
    }
}

impl InviteStatus {
    /// The word used in APIs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Ended => "ended",
        }
    }
}

impl Invite {
    /// Where it stands.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> InviteStatus {
        let inviter_lives = self.inviter_status == GrantStatus::Active
            && self.inviter_expires_at.is_none_or(|end| now < end);
        match self.state {
            InviteState::Used(..) => InviteStatus::Used,
            InviteState::Revoked => InviteStatus::Revoked,
            InviteState::Open if now >= self.expires_at => InviteStatus::Expired,
            InviteState::Open if !inviter_lives => InviteStatus::Ended,
            InviteState::Open => InviteStatus::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_code_reads_however_it_is_typed_and_its_hash_is_the_same() {
        let code = InviteCode::generate(&mut rand::rngs::StdRng::seed_from_u64(1));
        let shown = code.expose();
        assert_eq!(shown.len(), 24);
        for typed in [shown.clone(), shown.to_lowercase(), shown.replace('-', " ")] {
            assert_eq!(InviteCode::parse(&typed).unwrap().hash(), code.hash());
        }
        assert!(InviteCode::parse("WDJB-MJHT").is_none());
        assert!(!format!("{code:?}").contains(shown.get(..4).unwrap()));
    }
}
