//! `/oauth/introspect` (RFC 7662)

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hardtack_token::dpop::thumbprint;
use hardtack_token::path::canonical;
use serde::Serialize;

use super::client::proofs;
use super::no_store;
use crate::api::Refusal;
use crate::api::extract::{Form, Incoming};
use crate::authority::Authority;
use crate::authority::error::Error;
use crate::authority::introspect::{Introspected, Stated};

/// An answer about a token. One that is not live says nothing else.
#[derive(Debug, Serialize)]
struct Introspection {
    active: bool,
    #[serde(flatten)]
    token: Option<ActiveToken>,
}

#[derive(Debug, Serialize)]
struct ActiveToken {
    scope: String,
    /// The device's id or the service's name.
    client_id: String,
    sub: String,
    token_type: &'static str,
    /// Seconds since 1970, as RFC 7519 has it.
    exp: u64,
    iat: u64,
    iss: String,
    aud: String,
    /// The id of the session, by which it is revoked.
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    grant_id: String,
    role: String,
    /// The grants from the first to the one it speaks for.
    lineage: Vec<String>,
}

/// The key that a token is bound to (RFC 9449 section 6.2).
#[derive(Debug, Serialize)]
struct Confirmation {
    jkt: String,
}

pub(in crate::api) async fn introspect(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    form: Form,
) -> Result<Response, Refusal> {
    let token = form.required("token")?;
    let path = form.one("path")?.map(canonical).transpose();
    let path = path.map_err(|why| Error::InvalidRequest(format!("`path`: {why}")))?;
    let stated = Stated {
        method: form.one("method")?,
        path: path.as_deref(),
        operation: form.one("operation")?,
    };
    let proofs = proofs(&incoming, &form)?;
    if !incoming.is_bare() && (proofs.secret.is_some() || proofs.assertion.is_some()) {
        let why = "say who asks in one way: a token in `Authorization`, a secret or an assertion";
        return Err(Error::InvalidRequest(why.to_owned()).into());
    }
    let found = authority
        .introspect(&incoming.call(), proofs, token, stated)
        .await?;
    Ok(no_store(Introspection {
        active: found.is_some(),
        token: found.map(|found| ActiveToken::new(&authority, &found)),
    }))
}

impl ActiveToken {
    fn new(authority: &Authority, found: &Introspected) -> Self {
        let access = &found.access;
        let device = access.device().map(|id| id.to_string());
        let service = access.service().map(ToString::to_string);
        let client = device.clone().or(service).unwrap_or_default();
        let jkt = found.key.as_ref().map(thumbprint);
        Self {
            scope: found.scopes.to_string(),
            client_id: client.clone(),
            sub: client,
            token_type: if jkt.is_some() { "DPoP" } else { "Bearer" },
            exp: access.expires_at().unix(),
            iat: found.session.created_at.unix(),
            iss: authority.settings().issuer.to_string(),
            aud: access.session().audience.clone(),
            jti: access.session().id.to_string(),
            cnf: jkt.map(|jkt| Confirmation { jkt }),
            device_id: device,
            grant_id: found.record.id.to_string(),
            role: found.record.role.to_string(),
            lineage: access.chain().grants().map(|g| g.id.to_string()).collect(),
        }
    }
}
