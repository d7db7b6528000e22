//! hardtack's own operations, whose scopes are policy like everybody's.

/// What a caller of the API wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// List pairing requests.
    PairingList,
    /// See one pairing request.
    PairingShow,
    /// Approve a pairing request.
    PairingApprove,
    /// Reject a pairing request.
    PairingReject,
    /// List devices.
    DevicesList,
    /// See one device.
    DevicesShow,
    /// Revoke a device and all it approved.
    DevicesRevoke,
    /// Retire a device; what it approved lives.
    DevicesRetire,
    /// Revoke or retire a device that one did not approve.
    DevicesEndAny,
    /// Give a device another grant in place of the one it has.
    DevicesRotate,
    /// Call a device otherwise.
    DevicesRename,
    /// Invite a device, which is paired without another approval.
    DevicesInvite,
    /// List invites.
    InvitesList,
    /// End an invite.
    InvitesRevoke,
    /// Issue a service token.
    TokensIssue,
    /// List service tokens.
    TokensList,
    /// Revoke a service token.
    TokensRevoke,
    /// Follow what happens.
    Events,
    /// Ask what a token of another is.
    Introspect,
    /// Read the audit log.
    AuditRead,
    /// Make a copy of the database.
    Backup,
    /// Ask who one is.
    Whoami,
    /// Read the catalog of scopes.
    Scopes,
}

impl Operation {
    /// Every operation that needs a scope, for the check that the policy names one.
    pub const WITH_SCOPE: [Self; 21] = [
        Self::PairingList,
        Self::PairingShow,
        Self::PairingApprove,
        Self::PairingReject,
        Self::DevicesList,
        Self::DevicesShow,
        Self::DevicesRevoke,
        Self::DevicesRetire,
        Self::DevicesEndAny,
        Self::DevicesRotate,
        Self::DevicesRename,
        Self::DevicesInvite,
        Self::InvitesList,
        Self::InvitesRevoke,
        Self::TokensIssue,
        Self::TokensList,
        Self::TokensRevoke,
        Self::Events,
        Self::Introspect,
        Self::AuditRead,
        Self::Backup,
    ];

    /// Whether the root token itself may ask for it, and not only a session that
    /// was exchanged for it.
    #[must_use]
    pub const fn takes_root(self) -> bool {
        matches!(self, Self::PairingApprove)
    }

    /// Whether it is asked for at `/oauth`, where a proof needs a nonce of the
    /// server's (RFC 9449 section 8).
    #[must_use]
    pub const fn demands_nonce(self) -> bool {
        matches!(self, Self::Introspect)
    }

    /// The name under which the policy's `rpc` facts know it, and caveats too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PairingList => "hardtack.pairing.list",
            Self::PairingShow => "hardtack.pairing.show",
            Self::PairingApprove => "hardtack.pairing.approve",
            Self::PairingReject => "hardtack.pairing.reject",
            Self::DevicesList => "hardtack.devices.list",
            Self::DevicesShow => "hardtack.devices.show",
            Self::DevicesRevoke => "hardtack.devices.revoke",
            Self::DevicesRetire => "hardtack.devices.retire",
            Self::DevicesEndAny => "hardtack.devices.end_any",
            Self::DevicesRotate => "hardtack.devices.rotate",
            Self::DevicesRename => "hardtack.devices.rename",
            Self::DevicesInvite => "hardtack.devices.invite",
            Self::InvitesList => "hardtack.invites.list",
            Self::InvitesRevoke => "hardtack.invites.revoke",
            Self::TokensIssue => "hardtack.tokens.issue",
            Self::TokensList => "hardtack.tokens.list",
            Self::TokensRevoke => "hardtack.tokens.revoke",
            Self::Events => "hardtack.events",
            Self::Introspect => "hardtack.introspect",
            Self::AuditRead => "hardtack.audit.read",
            Self::Backup => "hardtack.backup",
            Self::Whoami => "hardtack.whoami",
            Self::Scopes => "hardtack.scopes",
        }
    }

    /// Whether it makes or promises authority: then an access token is not
    /// enough, only a grant with proof of its key or the root token.
    #[must_use]
    pub const fn makes_authority(self) -> bool {
        match self {
            Self::PairingApprove
            | Self::DevicesRotate
            | Self::DevicesInvite
            | Self::TokensIssue => true,
            Self::PairingList
            | Self::PairingShow
            | Self::PairingReject
            | Self::DevicesList
            | Self::DevicesShow
            | Self::DevicesRevoke
            | Self::DevicesRetire
            | Self::DevicesEndAny
            | Self::DevicesRename
            | Self::InvitesList
            | Self::InvitesRevoke
            | Self::TokensList
            | Self::TokensRevoke
            | Self::Events
            | Self::Introspect
            | Self::AuditRead
            | Self::Backup
            | Self::Whoami
            | Self::Scopes => false,
        }
    }
}
