//! Grants as the authority keeps them, beside the tokens that carry them.

use hardtack_token::{AuthorityId, DeviceId, GrantId, Role, ScopeSet, ServiceName, Timestamp};

/// Who a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A device with a key of its own.
    Device(DeviceId),
    /// A machine without one, or an exchange of the root token.
    Service(ServiceName),
}

/// Where a grant stands by its own row. What is above it may end it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantStatus {
    /// It can be used.
    Active,
    /// It can no longer be used; what it approved lives.
    Retired,
    /// It and all below it are dead.
    Revoked,
}

/// A grant's row.
#[derive(Clone, Debug)]
pub struct GrantRecord {
    /// Its id, which is in the token too.
    pub id: GrantId,
    /// The authority block that its chain starts with.
    pub authority: AuthorityId,
    /// The grant it was approved by; none if the root token approved it.
    pub parent: Option<GrantId>,
    /// The device whose grant that is.
    pub parent_device: Option<DeviceId>,
    /// Who it is for.
    pub holder: Holder,
    /// Its label.
    pub role: Role,
    /// The scopes it was given by name.
    pub scopes: ScopeSet,
    /// What people call the device.
    pub name: String,
    /// Where it stands, ancestors included.
    pub status: GrantStatus,
    /// Whether it is the local device's.
    pub local: bool,
    /// The number of grants in its chain.
    pub depth: u32,
    /// When it was given.
    pub created_at: Timestamp,
    /// The earliest end in its chain.
    pub expires_at: Option<Timestamp>,
    /// When it was last exchanged, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// The live grants below it, at any depth.
    pub descendants: u64,
}

impl GrantStatus {
    /// The word used in APIs and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "active" => Some(Self::Active),
            "retired" => Some(Self::Retired),
            "revoked" => Some(Self::Revoked),
            _ => None,
        }
    }
}

impl GrantRecord {
    /// The device, if it is a device's.
    #[must_use]
    pub const fn device(&self) -> Option<DeviceId> {
        match &self.holder {
            Holder::Device(id) => Some(*id),
            Holder::Service(_) => None,
        }
    }

    /// Whether it is what a service token speaks for, and no exchange of the root token.
    #[must_use]
    pub const fn is_service_token(&self) -> bool {
        matches!(self.holder, Holder::Service(_)) && !self.by_root()
    }

    /// Whether the root token made it: told by the row, never by a name.
    #[must_use]
    pub const fn by_root(&self) -> bool {
        self.parent.is_none()
    }
}
