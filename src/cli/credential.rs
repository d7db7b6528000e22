//! Which credential a command uses: the first that is there, in a fixed order
//! that does not depend on where the server is.

use ed25519_dalek::SigningKey;
use hardtack_token::{DeviceId, Profile as Kind, TokenText, Untrusted};

use super::context::{Context, DEFAULT_PROFILE, GivenToken};
use super::failure::{Exit, Failure};
use super::profile::Profile;
use crate::config::SecretConfig;
use crate::data_dir::DataDirError;

/// A credential and where it came from.
pub(super) struct Credential {
    pub(super) kind: CredentialKind,
    /// In words: `local device (3f9a…c2), from /data`.
    pub(super) source: String,
}

pub(super) enum CredentialKind {
    /// The root token.
    Root(TokenText),
    /// An access token or service token.
    Access(TokenText),
    /// A device's key and its grant.
    Profile {
        name: String,
        key: SigningKey,
        grant: TokenText,
        role: String,
    },
    /// The key of the local device; its grant is fetched with it.
    LocalDevice { key: SigningKey },
    /// Nothing was found.
    None,
}

impl Credential {
    /// Finds the credential for an install. What belongs to another install is
    /// passed over, and said so if nothing else is found.
    pub(super) fn find(context: &Context, instance_id: &str) -> Result<Self, Failure> {
        if let Some(given) = context.given_token()? {
            return Self::given(&given);
        }
        if let Some((name, from)) = context.named_profile() {
            return Self::named(&name, from, instance_id);
        }
        let mut passed_over = Vec::new();
        match local_device(context, instance_id) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(why) => passed_over.push(why),
        }
        if let Some(profile) = Profile::load(DEFAULT_PROFILE)? {
            if profile.instance_id == instance_id && profile.grant.is_some() {
                return Self::of_profile(DEFAULT_PROFILE, &profile, "");
            }
            passed_over.push(if profile.grant.is_some() {
                "profile `default` belongs to another install".to_owned()
            } else {
                "profile `default` waits for its approval".to_owned()
            });
        }
        Ok(Self {
            kind: CredentialKind::None,
            source: if passed_over.is_empty() {
                "none: no token, no profile, no data directory here".to_owned()
            } else {
                format!("none: {}", passed_over.join("; "))
            },
        })
    }

    fn given(given: &GivenToken) -> Result<Self, Failure> {
        let invalid = |why: String| {
            Failure::new(Exit::Refused, "malformed_token", why)
                .with_used(format!("token, from {}", given.source))
        };
        let text = TokenText::new(given.text.as_str()).map_err(|e| invalid(e.to_string()))?;
        let read = Untrusted::inspect(&text).map_err(|e| invalid(e.to_string()))?;
        let (kind, word) = match read.claims() {
            Kind::Root(_) => (CredentialKind::Root(text), "root token"),
            Kind::Chain(chain) if chain.session.is_some() => {
                (CredentialKind::Access(text), "access token")
            }
            Kind::Chain(_) => {
                return Err(invalid(
                    "this is a grant: without its device's key it allows nothing; use the profile of the device"
                        .to_owned(),
                ));
            }
        };
        Ok(Self {
            kind,
            source: format!("{word}, from {}", given.source),
        })
    }

    fn named(name: &str, from: &str, instance_id: &str) -> Result<Self, Failure> {
        let missing = |code: &str, why: String| {
            Failure::new(Exit::WrongState, code, why)
                .with_used(format!("profile `{name}`, from {from}"))
        };
        let Some(profile) = Profile::load(name)? else {
            let why = format!("there is no profile `{name}`");
            let next = format!("hardtack pair --profile {name} --scopes operator.read");
            return Err(missing("no_profile", why).with_next(next));
        };
        if profile.instance_id != instance_id {
            let why = format!(
                "profile `{name}` belongs to another install, at {}",
                profile.url
            );
            return Err(missing("other_install", why)
                .with_next(format!(
                    "hardtack whoami --profile {name} --url {}    # to use it there",
                    profile.url
                ))
                .with_next("hardtack pair --profile ANOTHER-NAME --scopes operator.read"));
        }
        if profile.grant.is_none() {
            let why = format!("profile `{name}` waits for its approval");
            let next = format!("hardtack pair --profile {name}");
            return Err(missing("not_approved", why).with_next(next));
        }
        Self::of_profile(name, &profile, &format!(", from {from}"))
    }

    fn of_profile(name: &str, profile: &Profile, from: &str) -> Result<Self, Failure> {
        let grant = profile
            .grant()
            .ok_or_else(|| Failure::unexpected("the profile's grant does not read"))?;
        Ok(Self {
            source: format!("profile `{name}` ({}){from}", profile.device_id()?.short()),
            kind: CredentialKind::Profile {
                name: name.to_owned(),
                key: profile.key()?,
                grant,
                role: profile.role.clone(),
            },
        })
    }
}

/// The local device, if the data directory here is of this install and can be read.
fn local_device(context: &Context, instance_id: &str) -> Result<Option<Credential>, String> {
    let dir = &context.data_dir;
    let secrets = match dir.secret(&SecretConfig::from_environment()) {
        Ok(secrets) => secrets,
        Err(DataDirError::NoSecret(_)) => return Ok(None),
        Err(error) => {
            let owner = match dir.check_owner() {
                Err(DataDirError::Foreign { owner, .. }) => format!(" (user {owner})"),
                _ => String::new(),
            };
            return Err(format!(
                "the local device's key cannot be read here ({error}); run this as the owner of the data directory{owner}"
            ));
        }
    };
    match dir.server() {
        Some(server) if server.instance_id == instance_id => {}
        Some(_) => return Err(format!("{} is of another install", dir.shown())),
        None => return Err(format!("no server has run on {}", dir.shown())),
    }
    let key = secrets.local_device().clone();
    let device = DeviceId::of(&key.verifying_key());
    Ok(Some(Credential {
        source: format!("local device ({}), from {}", device.short(), dir.shown()),
        kind: CredentialKind::LocalDevice { key },
    }))
}
