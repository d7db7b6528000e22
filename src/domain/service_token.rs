//! Service tokens as the authority keeps them: the grant of a machine without a
//! key, and what it was made for.

use hardtack_token::Timestamp;

use crate::domain::grant::{GrantRecord, GrantStatus};

/// The life of a service token where none is asked for, in seconds: 90 days.
pub const DEFAULT_LIFE: u64 = 90 * 86_400;
/// The longest life of a service token, in seconds: 366 days.
pub const MAX_LIFE: u64 = 366 * 86_400;

/// A service token.
#[derive(Clone, Debug)]
pub struct ServiceToken {
    /// The row of its grant.
    pub grant: GrantRecord,
    /// The one origin it is for.
    pub audience: String,
}

/// Where a service token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceStatus {
    /// It can be used.
    Active,
    /// Its time is over.
    Expired,
    /// It, or whoever issued it, was revoked.
    Revoked,
}

impl ServiceToken {
    /// Where it stands at a time.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> ServiceStatus {
        match (self.grant.status, self.grant.expires_at) {
            // A service's grant is never retired; one that were is as dead.
            (GrantStatus::Revoked | GrantStatus::Retired, _) => ServiceStatus::Revoked,
            (GrantStatus::Active, Some(end)) if now >= end => ServiceStatus::Expired,
            (GrantStatus::Active, Some(_) | None) => ServiceStatus::Active,
        }
    }
}

impl ServiceStatus {
    /// The word used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "active" => Some(Self::Active),
            "expired" => Some(Self::Expired),
            "revoked" => Some(Self::Revoked),
            _ => None,
        }
    }
}
