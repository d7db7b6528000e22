//! Names of the things a token speaks of, one type for each.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A text that is not of the form its type demands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}: {why}")]
pub struct InvalidId {
    /// The kind of name that was expected.
    pub what: &'static str,
    /// What is wrong with the text.
    pub why: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

            /// Accepts exactly the lower-case hyphenated form.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_uuid(text).map(Self).ok_or(InvalidId {
                    what: $what,
                    why: "a lower-case hyphenated UUID is needed",
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

uuid_id!(
    /// The id of an authority block (block 0). Revoking it ends every token of that block.
    AuthorityId,
    "authority id"
);
uuid_id!(
    /// The id of a grant. Revoking it ends the grant and all below it.
    GrantId,
    "grant id"
);
uuid_id!(
    /// The id of a session. Revoking it ends the access tokens of one exchange.
    SessionId,
    "session id"
);

// INVARIANT: one text per id. A second spelling would escape a revocation that
// is looked up by value elsewhere, so only the canonical form is read.
fn parse_uuid(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    let mut buffer = [0_u8; uuid::fmt::Hyphenated::LENGTH];
    (*id.hyphenated().encode_lower(&mut buffer) == *text).then_some(id)
}

/// A device: the SHA-256 of its raw 32-byte Ed25519 public key.
///
/// Its text is 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; 32]);

impl DeviceId {
    /// The id of the device that holds the secret of `key`.
    #[must_use]
    pub fn of(key: &VerifyingKey) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Wraps a hash that was made by [`DeviceId::of`] before.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A form for people: the first four and the last two digits.
    #[must_use]
    pub fn short(&self) -> String {
        let text = hex::encode(self.0);
        match (text.get(..4), text.get(62..)) {
            (Some(head), Some(tail)) => format!("{head}…{tail}"),
            _ => text,
        }
    }
}

impl FromStr for DeviceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            what: "device id",
            why: "64 lower-case hex digits are needed",
        };
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| invalid)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({self})")
    }
}

/// The number that a token carries to say which root key signed its block 0.
///
/// It is an unsigned hint: an unknown one is refused, never defaulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootKeyId(u32);

impl RootKeyId {
    /// Wraps the number.
    #[must_use]
    pub const fn new(id: u32) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for RootKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_plain_name(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId {
                        what: $what,
                        why: "1 to 64 of a-z, 0-9 and - are needed",
                    })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

name_type!(
    /// A role, the label on a grant. It confers nothing by itself.
    Role,
    "role"
);
name_type!(
    /// The name of a machine without a key of its own. `root` is reserved.
    ServiceName,
    "service name"
);

impl ServiceName {
    /// The reserved name on the grant of an exchange that presented the root token.
    #[must_use]
    pub fn root() -> Self {
        Self("root".into())
    }

    /// Whether this is the reserved name.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.0 == "root"
    }
}

fn is_plain_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_uuid_text_is_an_id() {
        let text = "0198c0de-0000-7000-8000-0000000000ab";
        assert_eq!(text.parse::<GrantId>().unwrap().to_string(), text);
        for other in [
            "0198C0DE-0000-7000-8000-0000000000AB",
            "0198c0de000070008000000000000 0ab",
            "{0198c0de-0000-7000-8000-0000000000ab}",
            "urn:uuid:0198c0de-0000-7000-8000-0000000000ab",
            "",
        ] {
            assert!(other.parse::<GrantId>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_device_id_has_one_spelling() {
        let id = DeviceId::from_bytes([0xab; 32]);
        assert_eq!(id.to_string().parse::<DeviceId>().unwrap(), id);
        assert!(id.to_string().to_uppercase().parse::<DeviceId>().is_err());
        assert_eq!(id.short(), "abab…ab");
    }

    #[test]
    fn names_hold_no_spaces_and_no_capitals() {
        assert!("node-1".parse::<Role>().is_ok());
        for bad in ["", "Node", "a b", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }
}
