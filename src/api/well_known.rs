//! `/.well-known`: what clients and verifiers find out by themselves
//! (RFC 8414, RFC 9728, and hardtack's own keys).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use hardtack_token::{PROFILE, Published, PublishedKey, PublishedScope};
use serde::Serialize;

use super::oauth;
use super::revocations;
use crate::authority::Authority;
use crate::web::metadata::{ProtectedResource, declared};
use crate::web::problem::DPOP_ALGS;

/// How a client says who it is: by a service's token, by a device's key, or
/// not at all, where the token that it presents says enough.
const CLIENT_AUTH: [&str; 4] = [
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "none",
];

/// The metadata of an authorization server (RFC 8414, RFC 8628 section 4,
/// RFC 9449 section 5.1, RFC 9728 section 4).
#[derive(Debug, Serialize)]
pub(super) struct AuthorizationServer {
    issuer: String,
    token_endpoint: String,
    device_authorization_endpoint: String,
    introspection_endpoint: String,
    revocation_endpoint: String,
    grant_types_supported: [&'static str; 4],
    /// None: there is no authorization endpoint.
    response_types_supported: [&'static str; 0],
    scopes_supported: Vec<String>,
    token_endpoint_auth_methods_supported: &'static [&'static str],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 2],
    introspection_endpoint_auth_methods_supported: &'static [&'static str],
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; 2],
    revocation_endpoint_auth_methods_supported: &'static [&'static str],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; 2],
    dpop_signing_alg_values_supported: [&'static str; 2],
    protected_resources: [String; 2],
}

pub(super) async fn hardtack(State(authority): State<Arc<Authority>>) -> Json<Published> {
    let keys = authority.keys();
    let policy = authority.policy();
    let roots = keys.roots.iter();
    let attestations = keys.attestations.iter();
    let scopes = policy.catalog().declared().iter();
    Json(Published {
        instance_id: authority.instance_id().to_string(),
        profile: PROFILE,
        root_keys: roots
            .map(|key| PublishedKey::new(key.id.get(), key.public_key, key.state))
            .collect(),
        attestation_keys: attestations
            .map(|key| {
                let number = u32::try_from(key.id).unwrap_or(u32::MAX);
                PublishedKey::new(number, key.public_key, key.state)
            })
            .collect(),
        scopes: scopes.map(PublishedScope::from).collect(),
        revocations: format!("{}{}", authority.settings().issuer, revocations::PATH),
    })
}

pub(super) async fn authorization_server(
    State(authority): State<Arc<Authority>>,
) -> Json<AuthorizationServer> {
    let settings = authority.settings();
    let issuer = &settings.issuer;
    let endpoint = |path: &str| format!("{issuer}{path}");
    let (asking, with_key) = (&CLIENT_AUTH[..3], DPOP_ALGS);
    Json(AuthorizationServer {
        issuer: issuer.to_string(),
        token_endpoint: endpoint(oauth::TOKEN_PATH),
        device_authorization_endpoint: endpoint(oauth::DEVICE_AUTHORIZATION_PATH),
        introspection_endpoint: endpoint(oauth::INTROSPECTION_PATH),
        revocation_endpoint: endpoint(oauth::REVOCATION_PATH),
        grant_types_supported: [
            oauth::TOKEN_EXCHANGE,
            oauth::REFRESH_TOKEN,
            oauth::CLIENT_CREDENTIALS,
            oauth::DEVICE_CODE,
        ],
        response_types_supported: [],
        scopes_supported: declared(authority.policy().catalog()),
        token_endpoint_auth_methods_supported: &CLIENT_AUTH,
        token_endpoint_auth_signing_alg_values_supported: with_key,
        introspection_endpoint_auth_methods_supported: asking,
        introspection_endpoint_auth_signing_alg_values_supported: with_key,
        revocation_endpoint_auth_methods_supported: &CLIENT_AUTH,
        revocation_endpoint_auth_signing_alg_values_supported: with_key,
        dpop_signing_alg_values_supported: DPOP_ALGS,
        protected_resources: [issuer.to_string(), settings.gateway_url.to_string()],
    })
}

pub(super) async fn protected_resource(
    State(authority): State<Arc<Authority>>,
) -> Json<ProtectedResource> {
    let issuer = &authority.settings().issuer;
    let policy = authority.policy();
    let catalog = policy.catalog();
    let name = "hardtack API";
    Json(ProtectedResource::new(issuer, name, issuer, catalog))
}
