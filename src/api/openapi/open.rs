//! What everybody may ask.

use http::StatusCode as S;
use serde_json::json;

use super::Endpoint;
use super::schema::{reference, text};
use crate::api::oauth::VERIFICATION_PATH;
use crate::web::code::Code;
use crate::web::metrics::MEDIA_TYPE;

const ID: &str = "01a20380-c0a9-7e4f-8d27-3f1f4fd7a1c2";

pub(in crate::api) fn verification_page() -> Endpoint {
    Endpoint::get(VERIFICATION_PATH, "verificationPage")
        .summary("The page that says what to type where somebody holds authority")
        .query("user_code", &text(), "The code to show")
        .answers_with(
            S::OK,
            "The page",
            "text/html",
            &text(),
            &json!("<!doctype html>…"),
        )
        .refuses(&[Code::InvalidRequest])
}

pub(in crate::api) fn healthz() -> Endpoint {
    Endpoint::get("/healthz", "health")
        .summary("Whether the process lives")
        .answers(S::OK, "It does", "Health", &json!({"status": "ok"}))
}

pub(in crate::api) fn readyz() -> Endpoint {
    let ready = json!({"status": "ok", "checks": {"store": "ok", "revocations": "ok"}});
    let not = json!({"status": "unavailable", "checks": {"store": "the database does not answer", "revocations": "ok"}});
    let schema = reference("Readiness");
    Endpoint::get("/readyz", "readiness")
        .summary("Whether the node can decide and write")
        .answers(S::OK, "It can", "Readiness", &ready)
        .answers_with(
            S::SERVICE_UNAVAILABLE,
            "It cannot",
            "application/json",
            &schema,
            &not,
        )
}

pub(in crate::api) fn metrics() -> Endpoint {
    Endpoint::get("/metrics", "metrics")
        .summary("What this node counts, for Prometheus")
        .answers_with(S::OK, "The metrics", MEDIA_TYPE, &text(), &json!("# EOF\n"))
}

pub(in crate::api) fn hardtack() -> Endpoint {
    let example = json!({
        "instance_id": ID, "profile": 1,
        "root_keys": [{"id": 1, "key": "ed25519/3f9a…", "state": "active"}],
        "attestation_keys": [{"id": 1, "key": "ed25519/c2d4…", "state": "active"}],
        "scopes": [], "revocations": "http://127.0.0.1:7420/v1/revocations",
    });
    Endpoint::get("/.well-known/hardtack", "keys")
        .summary("The public keys, for verifiers elsewhere")
        .answers(S::OK, "The keys", "Published", &example)
}

pub(in crate::api) fn authorization_server() -> Endpoint {
    Endpoint::get(
        "/.well-known/oauth-authorization-server",
        "authorizationServer",
    )
    .summary("The metadata of the authorization server (RFC 8414)")
    .answers(
        S::OK,
        "The metadata",
        "Metadata",
        &json!({"issuer": "http://127.0.0.1:7420"}),
    )
}

pub(in crate::api) fn protected_resource() -> Endpoint {
    Endpoint::get("/.well-known/oauth-protected-resource", "protectedResource")
        .summary("The metadata of this API as a protected resource (RFC 9728)")
        .answers(
            S::OK,
            "The metadata",
            "Metadata",
            &json!({"resource": "http://127.0.0.1:7420"}),
        )
}
