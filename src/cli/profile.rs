//! Profiles: a device's key and grant, kept for the next command.

use std::fs;
use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use hardtack_token::{DeviceId, TokenText};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::config::profiles_dir;
use crate::data_dir::write_private;

/// A profile's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// The server it was paired with.
    pub(super) url: String,
    /// The install it belongs to; its key and grant are sent to no other.
    pub(super) instance_id: String,
    /// The device's secret key, in hex.
    private_key: Zeroizing<String>,
    /// The role it asked for.
    pub(super) role: String,
    /// What it is called.
    pub(super) name: String,
    /// The scopes it asked for last.
    pub(super) scopes: Vec<String>,
    /// The pairing request that waits or led to the grant.
    pub(super) request_id: Option<String>,
    /// The sealed grant, once it is approved.
    pub(super) grant: Option<Zeroizing<String>>,
}

impl Profile {
    /// A profile for a new device.
    pub(super) fn new(url: &str, instance_id: &str, key: &SigningKey) -> Self {
        Self {
            url: url.to_owned(),
            instance_id: instance_id.to_owned(),
            private_key: Zeroizing::new(hex::encode(key.to_bytes())),
            role: String::new(),
            name: String::new(),
            scopes: Vec::new(),
            request_id: None,
            grant: None,
        }
    }

    /// Reads a profile; `None` if there is none of this name.
    pub(super) fn load(name: &str) -> Result<Option<Self>, Failure> {
        let path = path(name)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::unexpected(format!("{}: {error}", path.display())));
            }
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Failure::unexpected(format!("{} does not read: {error}", path.display()))
                .with_next(format!("rm {}", path.display()))
        })
    }

    /// Writes the profile for its owner alone, in place of the one before.
    pub(super) fn save(&self, name: &str) -> Result<(), Failure> {
        let path = path(name)?;
        let failed = |e: std::io::Error| Failure::unexpected(format!("{}: {e}", path.display()));
        fs::create_dir_all(profiles_dir()).map_err(failed)?;
        let text = serde_json::to_string_pretty(self)
            .map(Zeroizing::new)
            .map_err(|e| Failure::unexpected(e.to_string()))?;
        // Renamed into place: a crash leaves the old profile or the new one.
        let next = path.with_extension(format!("{}.new", std::process::id()));
        write_private(&next, &text).map_err(failed)?;
        fs::rename(&next, &path).map_err(failed)
    }

    pub(super) fn key(&self) -> Result<SigningKey, Failure> {
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(self.private_key.as_str(), secret.as_mut())
            .map_err(|_| Failure::unexpected("the profile's key does not read"))?;
        Ok(SigningKey::from_bytes(&secret))
    }

    pub(super) fn device_id(&self) -> Result<DeviceId, Failure> {
        Ok(DeviceId::of(&self.key()?.verifying_key()))
    }

    pub(super) fn grant(&self) -> Option<TokenText> {
        TokenText::new(self.grant.as_ref()?.as_str()).ok()
    }
}

/// The file of a profile. A name is a file name and nothing else.
fn path(name: &str) -> Result<PathBuf, Failure> {
    let plain = !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if plain {
        Ok(profiles_dir().join(format!("{name}.json")))
    } else {
        Err(Failure::usage(format!(
            "`{name}` is no profile's name: letters, digits, `-`, `_` and `.` are allowed"
        )))
    }
}
