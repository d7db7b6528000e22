//! Ids that only the authority knows; those in tokens are in `hardtack-token`.

use std::fmt;
use std::str::FromStr;

use hardtack_token::{Clock, InvalidId};
use rand::RngCore;
use uuid::Uuid;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID itself.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId {
                    what: $what,
                    why: "a UUID is needed",
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

id_type!(
    /// A pairing request.
    RequestId,
    "pairing request id"
);
id_type!(
    /// An invite.
    InviteId,
    "invite id"
);
id_type!(
    /// An install: one database and all nodes on it.
    InstanceId,
    "instance id"
);

/// A new `UUIDv7` (RFC 9562): ids sort by the time they were made.
pub fn new_uuid(clock: &dyn Clock, rng: &mut dyn RngCore) -> Uuid {
    let mut random = [0; 10];
    rng.fill_bytes(&mut random);
    uuid::Builder::from_unix_timestamp_millis(clock.now_millis(), &random).into_uuid()
}
