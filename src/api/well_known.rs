//! `/.well-known`: what clients and verifiers find out by themselves
//! (RFC 8414, RFC 9728, and hardtack's own keys).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::authority::Authority;

/// The version of the token profile.
const PROFILE: u32 = 1;
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

pub(super) async fn hardtack(State(authority): State<Arc<Authority>>) -> Json<Value> {
    let keys = authority.keys();
    let roots = keys.roots.iter().map(|key| {
        json!({"id": key.id.get(), "key": key.public_key.to_string(), "state": key.state.as_str()})
    });
    let attestation = keys.attestations.iter().map(
        |key| json!({"id": key.id, "key": key.public_key.to_string(), "state": key.state.as_str()}),
    );
    Json(json!({
        "instance_id": authority.instance_id().to_string(),
        "profile": PROFILE,
        "root_keys": roots.collect::<Vec<_>>(),
        "attestation_keys": attestation.collect::<Vec<_>>(),
    }))
}

pub(super) async fn authorization_server(State(authority): State<Arc<Authority>>) -> Json<Value> {
    let issuer = &authority.settings().issuer;
    Json(json!({
        "issuer": issuer.as_str(),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "grant_types_supported": [TOKEN_EXCHANGE],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": ["EdDSA", "Ed25519"],
        "dpop_signing_alg_values_supported": ["EdDSA", "Ed25519"],
        "scopes_supported": scopes(&authority),
    }))
}

pub(super) async fn protected_resource(State(authority): State<Arc<Authority>>) -> Json<Value> {
    let issuer = &authority.settings().issuer;
    Json(json!({
        "resource": issuer.as_str(),
        "authorization_servers": [issuer.as_str()],
        "scopes_supported": scopes(&authority),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ["EdDSA", "Ed25519"],
    }))
}

fn scopes(authority: &Authority) -> Vec<String> {
    let policy = authority.policy();
    let declared = policy.catalog().declared().iter();
    declared.map(|d| d.scope.to_string()).collect()
}
