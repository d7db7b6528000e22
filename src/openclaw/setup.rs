//! `device.pair.setup*`: invites as setup codes, and what a device that brings
//! one is let in by. There is no other mechanism: a setup code holds the codes of
//! ordinary invites, which are listed and taken back as such.

use hardtack_token::{Role, ScopeSet};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authority::OPERATOR;
use crate::authority::connection::ProvenDevice;
use crate::authority::error::{Error, InviteError};
use crate::authority::invite::{DEFAULT_LIFE, Promise};
use crate::authority::redeem::Handed;
use crate::domain::grant::GrantRecord;
use crate::domain::invite::{Invite, InviteCode};
use crate::domain::pairing::{Ask, DeviceName};
use crate::domain::setup_code::GatewayUrl;
use crate::openclaw::OpenClaw;
use crate::openclaw::admission::{self, NODE};
use crate::openclaw::errors::{ErrorShape, Refusal};
use crate::openclaw::session::Session;
use crate::openclaw::upgrade::Visitor;
use crate::openclaw::{events, methods, tokens, views};

const ADMIN: &str = "operator.admin";
/// What a phone is given, and with [`ADMIN`] one with full access.
const LIMITED: [&str; 5] = [
    "operator.approvals",
    "operator.questions",
    "operator.read",
    "operator.talk.secrets",
    "operator.write",
];
const VOICE: [&str; 2] = ["operator.read", "operator.talk"];

/// What a setup code is to give. The first three members are the protocol's; with
/// the others it gives any role and any scopes, as `hardtack devices invite` does.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WantedCode {
    public_url: Option<String>,
    bootstrap_profile: Option<String>,
    #[serde(default)]
    join_url: bool,
    role: Option<String>,
    scopes: Option<Vec<String>>,
    name: Option<String>,
    /// How long the code waits to be used.
    ttl_ms: Option<u64>,
}

/// A setup code by its id.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForSetup {
    setup_id: String,
}

/// What is promised, and whether it is less than was asked for.
struct Gift {
    promises: Vec<Promise>,
    is_downgraded: bool,
}

impl OpenClaw {
    pub(super) async fn setup_code(
        &self,
        session: &Session,
        params: WantedCode,
    ) -> Result<Value, ErrorShape> {
        if params.join_url {
            // A secret does not go into a URL.
            let message = "join URLs are not served: give the setup code to `openclaw connect`";
            return Err(ErrorShape::invalid(message).with("code", "JOIN_URL_NOT_SERVED"));
        }
        let (url, source) = self.gateway_url(params.public_url.as_deref())?;
        let gift = gift(session, &params, &url)?;
        if session.device().is_some() {
            session.check_own(methods::SETUP_CODE)?;
        }
        let address = session.visitor.address.to_string();
        let call = session.call(methods::SETUP_CODE, &address);
        let made = self.authority.invite_to_all(&call, &gift.promises).await;
        let made = made.map_err(|error| self.error(&error))?;
        let Some((first, _)) = made.first() else {
            return Err(ErrorShape::invalid("nothing to give"));
        };
        let codes: Vec<String> = made.iter().map(|(_, code)| code.expose()).collect();
        let token = codes.join(InviteCode::BETWEEN);
        let roles: Vec<&str> = made
            .iter()
            .map(|(invite, _)| invite.role.as_str())
            .collect();
        let ids: Vec<String> = made
            .iter()
            .map(|(invite, _)| invite.id.to_string())
            .collect();
        let mut answer = json!({
            "setupId": first.id.to_string(),
            "expiresAtMs": views::millis(first.expires_at),
            "setupCode": url.setup_code(&token, first.expires_at),
            "gatewayUrl": url.as_str(),
            "auth": "token",
            "urlSource": source,
            "access": access(first),
            "roles": roles,
            "scopes": first.scopes.to_strings(),
            "inviteIds": ids,
        });
        if let (true, Some(members)) = (gift.is_downgraded, answer.as_object_mut()) {
            members.insert("accessDowngraded".into(), json!(true));
        }
        Ok(answer)
    }

    pub(super) async fn setup_status(
        &self,
        session: &Session,
        params: ForSetup,
    ) -> Result<Value, ErrorShape> {
        session.check_own(methods::SETUP_STATUS)?;
        let Ok(id) = params.setup_id.trim().parse() else {
            return Ok(json!({}));
        };
        let address = session.visitor.address.to_string();
        let call = session.call(methods::SETUP_STATUS, &address);
        match self.authority.show_invite(&call, id).await {
            Ok((invite, Some(record))) => Ok(json!({"completion": completion(&invite, &record)})),
            // It waits, or there is none: the protocol has one answer for both.
            Ok((_, None)) | Err(Error::NotFound(_)) => Ok(json!({})),
            Err(error) => Err(self.error(&error)),
        }
    }

    /// A device brings what a setup code gave it.
    pub(super) async fn bring(
        &self,
        codes: &str,
        proven: ProvenDevice,
        ask: &Ask,
        visitor: &Visitor,
    ) -> Result<Vec<Handed>, Error> {
        let address = visitor.address.to_string();
        let brought = self.authority.bring_invites(codes, proven, ask, &address);
        let brought = brought.await?;
        if let Some(new) = brought.iter().find(|handed| handed.is_new) {
            let event = json!({
                "setupId": new.invite.to_string(),
                "deviceId": proven.device.to_string(),
                "deviceName": new.name.as_str(),
                "access": access_of(&new.role, &new.scopes),
                "ts": self.authority.millis(),
            });
            events::tell_all(&self.sessions.all(), events::SETUP_COMPLETED, &event);
            self.news.tell_of_change();
        }
        Ok(brought)
    }

    /// What a device is told whose setup code gives nothing.
    pub(super) fn setup_refusal(&self, error: &Error) -> Refusal {
        let (message, code) = match error {
            Error::Invite(
                InviteError::Unknown
                | InviteError::Spent
                | InviteError::Expired
                | InviteError::Ended,
            )
            | Error::InvalidRequest(_) => (
                "unauthorized: setup code invalid, expired, revoked, or already used",
                "AUTH_BOOTSTRAP_TOKEN_INVALID",
            ),
            Error::WiderThanInvite(_) => (
                "unauthorized: setup code scope mismatch",
                "AUTH_SCOPE_MISMATCH",
            ),
            Error::TooMany { retry_after, .. } => return admission::locked_out(*retry_after),
            _other => return self.refusal(error),
        };
        let invite = "devices invite --scopes <scopes> --openclaw-url <url>";
        Refusal::said(
            ErrorShape::invalid(message)
                .with("code", code)
                .with("authReason", "bootstrap_token_invalid")
                .with("canRetryWithDeviceToken", false)
                .with("recommendedNextStep", "review_auth_configuration")
                .with("why", error.to_string())
                .with("next", vec![self.authority.host_command(invite)]),
        )
    }

    /// Where the client of a setup code is to go, and who says so.
    fn gateway_url(&self, asked: Option<&str>) -> Result<(GatewayUrl, &'static str), ErrorShape> {
        match asked {
            Some(text) => text.parse().map(|url| (url, "request.publicUrl")).map_err(
                |error: hardtack_token::InvalidId| {
                    ErrorShape::invalid(format!("publicUrl: {error}"))
                },
            ),
            None => Ok((self.settings.url.clone(), "openclaw-url")),
        }
    }
}

/// What is promised: by the protocol's word for it, or by role and scopes.
fn gift(session: &Session, params: &WantedCode, url: &GatewayUrl) -> Result<Gift, ErrorShape> {
    let name = params.name.as_deref().unwrap_or_default();
    let name = DeviceName::new(name).map_err(|error| ErrorShape::invalid(error.to_string()))?;
    let life = params.ttl_ms.map_or(DEFAULT_LIFE, |ms| ms.div_ceil(1000));
    let promise = |role: Role, scopes: ScopeSet| Promise {
        role,
        scopes,
        name: name.clone(),
        life,
        grant_life: None,
    };
    let named = |role: &str| tokens::role(role);
    let list = |names: &[&str]| {
        let scopes: Result<ScopeSet, _> = names.iter().map(|name| name.parse()).collect();
        scopes.map_err(|error: hardtack_token::InvalidId| ErrorShape::invalid(error.to_string()))
    };
    if params.role.is_some() || params.scopes.is_some() {
        if params.bootstrap_profile.is_some() {
            let message = "say `bootstrapProfile`, or `role` and `scopes`: not both";
            return Err(ErrorShape::invalid(message));
        }
        let role = named(params.role.as_deref().unwrap_or(OPERATOR))?;
        let scopes = tokens::scopes(params.scopes.as_deref().unwrap_or_default())?;
        return Ok(Gift {
            promises: vec![promise(role, scopes)],
            is_downgraded: false,
        });
    }
    // Admin does not go to where it can be read on the way.
    let is_downgraded = params.bootstrap_profile.is_none() && !url.is_private();
    let scopes = match params.bootstrap_profile.as_deref() {
        None if is_downgraded => list(&LIMITED)?,
        None => list(&[&[ADMIN], &LIMITED[..]].concat())?,
        Some("limited") => list(&LIMITED)?,
        Some("voice-node") => list(&VOICE)?,
        Some("node") => {
            return Ok(Gift {
                promises: vec![promise(named(NODE)?, ScopeSet::new())],
                is_downgraded: false,
            });
        }
        Some(other) => {
            let message = format!("unknown bootstrapProfile `{other}`: limited, node, voice-node");
            return Err(ErrorShape::invalid(message));
        }
    };
    let mut promises = vec![promise(named(OPERATOR)?, scopes)];
    let node = named(NODE)?;
    // An app is an operator and a node. Whoever may not give a node's role gives
    // the operator's alone, and the answer says so.
    if session.may_give(&node) {
        promises.push(promise(node, ScopeSet::new()));
    }
    Ok(Gift {
        promises,
        is_downgraded,
    })
}

/// Tells how a setup code was used.
fn completion(invite: &Invite, record: &GrantRecord) -> Value {
    json!({
        "setupId": invite.id.to_string(),
        "deviceId": record.device().map(|device| device.to_string()),
        "deviceName": record.name,
        "access": access(invite),
        "ts": views::millis(record.created_at),
    })
}

/// The protocol's word for what an invite gives.
fn access(invite: &Invite) -> &'static str {
    access_of(&invite.role, &invite.scopes)
}

fn access_of(role: &Role, scopes: &ScopeSet) -> &'static str {
    if role.as_str() == NODE {
        "node"
    } else if scopes.iter().any(|s| s.is_all() || s.as_str() == ADMIN) {
        "full"
    } else {
        "limited"
    }
}
