//! Pairing requests: what a device asks for, and what becomes of it.

use std::collections::BTreeMap;

use hardtack_token::{DeviceId, GrantId, PublicKey, Role, ScopeSet, Timestamp};

use crate::domain::ids::RequestId;
use crate::domain::user_code::UserCode;

/// The longest name of a device, in characters.
pub const MAX_NAME: usize = 64;
const MAX_METADATA: usize = 16;
const MAX_METADATA_KEY: usize = 64;
const MAX_METADATA_VALUE: usize = 256;

/// What a device asks for. Requests are never merged: another ask is another request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The label it wants.
    pub role: Role,
    /// The scopes it wants.
    pub scopes: ScopeSet,
    /// What it calls itself.
    pub name: DeviceName,
    /// What else it says of itself, to be shown to the approver.
    pub metadata: Metadata,
}

/// A device's name as people see it: no control characters, at most 64 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceName(String);

/// Short texts about a device, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

/// A text about a device that is too long or too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAsk {
    /// The name is too long.
    #[error("`name` is longer than {MAX_NAME} characters")]
    Name,
    /// Metadata is too much.
    #[error(
        "`metadata` takes at most {MAX_METADATA} entries, names of {MAX_METADATA_KEY} and values of {MAX_METADATA_VALUE} bytes"
    )]
    Metadata,
}

/// An immutable snapshot of an ask, and its state.
#[derive(Clone, Debug)]
pub struct PairingRequest {
    /// Its id.
    pub id: RequestId,
    /// The device that asks.
    pub device: DeviceId,
    /// The device's key.
    pub key: PublicKey,
    /// What it asks for.
    pub ask: Ask,
    /// The short code that names it to people.
    pub user_code: UserCode,
    /// The address it came from.
    pub address: String,
    /// Where it stands.
    pub state: RequestState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends if nobody answers.
    pub expires_at: Timestamp,
    /// Whether a grant of this device was revoked before.
    pub previously_revoked: bool,
}

/// The states of a request. All but `Pending` are final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// Waiting for an answer.
    Pending,
    /// Approved; the device can fetch this grant.
    Approved(GrantId),
    /// Rejected, perhaps with a reason.
    Rejected(Option<String>),
    /// Nobody answered in time.
    Expired,
    /// The device asked for something else since.
    Superseded(RequestId),
}

impl RequestState {
    /// The word used in APIs and in storage.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved(_) => "approved",
            Self::Rejected(_) => "rejected",
            Self::Expired => "expired",
            Self::Superseded(_) => "superseded",
        }
    }
}

impl PairingRequest {
    /// The state at this time: a pending request ends by itself.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> RequestState {
        match &self.state {
            RequestState::Pending if now >= self.expires_at => RequestState::Expired,
            state => state.clone(),
        }
    }

    /// Whether it can still be answered.
    #[must_use]
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.state_at(now) == RequestState::Pending
    }

    /// Whether this ask is the same as the request's, or narrower: then the
    /// request stands for it and does not change.
    #[must_use]
    pub fn covers(&self, ask: &Ask) -> bool {
        self.ask.role == ask.role
            && self.ask.name == ask.name
            && self.ask.metadata == ask.metadata
            && ask.scopes.iter().all(|s| self.ask.scopes.contains(s))
            // The empty ask means "what the role brings", which is not a part of another.
            && ask.scopes.is_empty() == self.ask.scopes.is_empty()
    }
}

impl DeviceName {
    /// Takes a name. Characters that move the cursor or turn the writing
    /// around are left out: names are shown in terminals and in audit logs.
    pub fn new(text: &str) -> Result<Self, InvalidAsk> {
        let kept: String = text.chars().filter(|c| is_shown(*c)).collect();
        let kept = kept.trim().to_owned();
        if kept.chars().count() > MAX_NAME {
            return Err(InvalidAsk::Name);
        }
        Ok(Self(kept))
    }

    /// The name's text; empty if the device gave none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Metadata {
    /// Takes entries, cleaned like a name.
    pub fn new(entries: BTreeMap<String, String>) -> Result<Self, InvalidAsk> {
        let clean = |text: String| text.chars().filter(|c| is_shown(*c)).collect::<String>();
        let entries: BTreeMap<_, _> = entries
            .into_iter()
            .map(|(key, value)| (clean(key), clean(value)))
            .collect();
        let fits = |(key, value): (&String, &String)| {
            key.len() <= MAX_METADATA_KEY && value.len() <= MAX_METADATA_VALUE
        };
        if entries.len() > MAX_METADATA || !entries.iter().all(fits) {
            return Err(InvalidAsk::Metadata);
        }
        Ok(Self(entries))
    }

    /// The entries.
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// Whether a character is safe to show: no controls, and none that change the
/// direction of text or have no width (Unicode's "bidi controls" and format characters).
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(scopes: &str) -> Ask {
        Ask {
            role: "operator".parse().unwrap(),
            scopes: scopes.parse().unwrap(),
            name: DeviceName::new("laptop").unwrap(),
            metadata: Metadata::default(),
        }
    }

    fn request(scopes: &str) -> PairingRequest {
        let key = "ed25519/11d9c5b3b8c0b8c1a5c0d1b2f3e4958677685940312213041526374859607182";
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
        let key = key.parse().unwrap_or_else(|_| {
            hardtack_token::AttestationKey::generate(&mut rng)
                .public()
                .unwrap()
        });
        PairingRequest {
            id: RequestId::from_uuid(uuid::Uuid::nil()),
            device: DeviceId::of(key.verifying_key()),
            key,
            ask: ask(scopes),
            user_code: UserCode::generate(&mut rng),
            address: "127.0.0.1".to_owned(),
            state: RequestState::Pending,
            created_at: Timestamp::from_unix(100),
            expires_at: Timestamp::from_unix(200),
            previously_revoked: false,
        }
    }

    #[test]
    fn a_narrower_ask_is_covered_and_a_wider_one_is_not() {
        let request = request("operator.read operator.write");
        assert!(request.covers(&ask("operator.read operator.write")));
        assert!(request.covers(&ask("operator.read")));
        assert!(!request.covers(&ask("operator.read operator.admin")));
        assert!(!request.covers(&ask("")));
        let mut renamed = ask("operator.read");
        renamed.name = DeviceName::new("phone").unwrap();
        assert!(!request.covers(&renamed));
    }

    #[test]
    fn a_pending_request_ends_at_its_time() {
        let request = request("operator.read");
        assert!(request.is_pending(Timestamp::from_unix(199)));
        assert_eq!(
            request.state_at(Timestamp::from_unix(200)),
            RequestState::Expired
        );
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        let name = DeviceName::new("  lap\u{1b}[2Jtop\u{202e}\n ").unwrap();
        assert_eq!(name.as_str(), "lap[2Jtop");
        assert!(DeviceName::new(&"x".repeat(65)).is_err());
    }
}
