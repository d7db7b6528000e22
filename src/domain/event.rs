//! What happened, for those who follow it as it happens.

use std::str::FromStr;

/// What kind of thing happened. What it happened to is told by an id beside it,
/// and read where it stands: nothing is written down twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A device asked to be paired.
    Requested,
    /// A request was approved.
    Approved,
    /// A request was rejected.
    Rejected,
    /// A device asked for something else since.
    Superseded,
    /// A grant was revoked, and so all below it.
    GrantRevoked,
    /// A grant was retired; what it approved lives.
    GrantRetired,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Requested,
        Self::Approved,
        Self::Rejected,
        Self::Superseded,
        Self::GrantRevoked,
        Self::GrantRetired,
    ];

    /// The word used in APIs and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "pairing.requested",
            Self::Approved => "pairing.approved",
            Self::Rejected => "pairing.rejected",
            Self::Superseded => "pairing.superseded",
            Self::GrantRevoked => "grant.revoked",
            Self::GrantRetired => "grant.retired",
        }
    }

    /// Whether it happened to a pairing request; else it happened to a grant.
    #[must_use]
    pub const fn is_pairing(self) -> bool {
        match self {
            Self::Requested | Self::Approved | Self::Rejected | Self::Superseded => true,
            Self::GrantRevoked | Self::GrantRetired => false,
        }
    }
}

impl FromStr for EventKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_as_it_is_written() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }
}
