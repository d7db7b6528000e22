//! What a client says of itself in its `connect` request.

use std::collections::BTreeMap;

use hardtack_token::{Role, Scope, ScopeSet};
use serde::Deserialize;
use serde_json::Value;

use crate::authority::OPERATOR;
use crate::domain::pairing::{Ask, DeviceName, MAX_NAME, Metadata};
use crate::openclaw::errors::{ErrorShape, Refusal};

/// The versions of the protocol that are spoken here.
pub(super) const PROTOCOLS: std::ops::RangeInclusive<u32> = 3..=4;

/// The most scopes that are read from an ask.
const MAX_SCOPES: usize = 64;
/// The longest text about a device that is kept, in bytes.
const MAX_TEXT: usize = 200;

/// The parameters of `connect`, as far as they are read here. The upstream
/// gets them all, but for `device` and `auth`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectParams {
    pub(super) min_protocol: u32,
    pub(super) max_protocol: u32,
    pub(super) client: Client,
    pub(super) role: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
    #[serde(default)]
    pub(super) auth: Option<Auth>,
    #[serde(default)]
    pub(super) device: Option<Device>,
}

/// The program that connects.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) mode: String,
    pub(super) platform: String,
    pub(super) display_name: Option<String>,
    pub(super) device_family: Option<String>,
    pub(super) model_identifier: Option<String>,
}

/// What a client presents besides its key. Secrets: they are not printed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Auth {
    pub(super) token: Option<String>,
    pub(super) device_token: Option<String>,
    pub(super) bootstrap_token: Option<String>,
    pub(super) password: Option<String>,
}

/// A device and its signature.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) id: String,
    pub(super) public_key: String,
    pub(super) signature: String,
    pub(super) signed_at: u64,
    pub(super) nonce: String,
}

impl ConnectParams {
    pub(super) fn read(params: &Value) -> Result<Self, Refusal> {
        Self::deserialize(params).map_err(|error| {
            let message = format!("invalid connect params: {error}");
            Refusal::policy(ErrorShape::invalid(message), "invalid connect params")
        })
    }

    /// The version of the protocol to speak: the newest that both know.
    pub(super) fn protocol(&self) -> Result<u32, Refusal> {
        let newest = self.max_protocol.min(*PROTOCOLS.end());
        if PROTOCOLS.contains(&newest) && self.min_protocol <= newest {
            return Ok(newest);
        }
        Err(Refusal::protocol_mismatch(
            self.min_protocol,
            self.max_protocol,
        ))
    }

    pub(super) fn role(&self) -> Result<Role, Refusal> {
        let text = self.role.as_deref().unwrap_or(OPERATOR);
        text.parse()
            .map_err(|_| Refusal::policy(ErrorShape::invalid("invalid role"), "invalid role"))
    }

    /// The scopes in the order they were sent, which is what was signed.
    pub(super) fn scope_texts(&self) -> &[String] {
        self.scopes.as_deref().unwrap_or_default()
    }

    pub(super) fn scopes(&self) -> Result<ScopeSet, Refusal> {
        let texts = self.scope_texts();
        if texts.len() > MAX_SCOPES {
            let error = ErrorShape::invalid("too many scopes");
            return Err(Refusal::policy(error, "invalid connect params"));
        }
        let read = |text: &String| {
            text.trim().parse::<Scope>().map_err(|error| {
                let error = ErrorShape::invalid(error.to_string());
                Refusal::policy(error, "invalid connect params")
            })
        };
        texts.iter().map(read).collect()
    }

    /// What the device asks for, as an approver sees it.
    pub(super) fn ask(&self, origin: Option<&str>) -> Result<Ask, Refusal> {
        let client = &self.client;
        let name = client.display_name.as_deref().unwrap_or(&client.id);
        let name: String = name.chars().take(MAX_NAME).collect();
        let known = [
            ("platform", Some(client.platform.as_str())),
            ("deviceFamily", client.device_family.as_deref()),
            ("modelIdentifier", client.model_identifier.as_deref()),
            ("clientId", Some(client.id.as_str())),
            ("clientMode", Some(client.mode.as_str())),
            ("browserOrigin", origin),
        ];
        let entries: BTreeMap<String, String> = known
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), shortened(value?)?)))
            .collect();
        let invalid = |error: crate::domain::pairing::InvalidAsk| {
            let error = ErrorShape::invalid(error.to_string());
            Refusal::policy(error, "invalid connect params")
        };
        Ok(Ask {
            role: self.role()?,
            scopes: self.scopes()?,
            name: DeviceName::new(&name).map_err(invalid)?,
            metadata: Metadata::new(entries).map_err(invalid)?,
        })
    }

    /// What a setup code gave the client to bring.
    pub(super) fn bootstrap_token(&self) -> Option<&str> {
        let auth = self.auth.as_ref()?;
        let token = auth.bootstrap_token.as_deref()?.trim();
        (!token.is_empty()).then_some(token)
    }

    /// The token that a device signed over: the first that it sent.
    pub(super) fn signed_token(&self) -> &str {
        let auth = self.auth.as_ref();
        let of = |pick: fn(&Auth) -> &Option<String>| auth.and_then(|a| pick(a).as_deref());
        of(|a| &a.token)
            .or_else(|| of(|a| &a.device_token))
            .or_else(|| of(|a| &a.bootstrap_token))
            .unwrap_or_default()
    }
}

/// A text within its limit; none if nothing is left of it.
fn shortened(text: &str) -> Option<String> {
    let text = text.trim();
    let end = text.floor_char_boundary(MAX_TEXT);
    text.get(..end).filter(|t| !t.is_empty()).map(str::to_owned)
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("token", &self.token.is_some())
            .field("device_token", &self.device_token.is_some())
            .field("bootstrap_token", &self.bootstrap_token.is_some())
            .field("password", &self.password.is_some())
            .finish()
    }
}
