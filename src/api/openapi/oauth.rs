//! OAuth's endpoints.

use http::StatusCode as S;
use serde_json::{Value, json};

use super::schema::{object, some_text, text};
use super::{Caller, Endpoint};
use crate::api::oauth as paths;
use crate::web::code::Code;

/// What a token that is presented may be refused with.
const TOKEN: [Code; 15] = [
    Code::MissingToken,
    Code::MalformedToken,
    Code::OutsideProfile,
    Code::UnknownKey,
    Code::BadSignature,
    Code::NotActivated,
    Code::GrantNotAccepted,
    Code::RootTokenNotAccepted,
    Code::Expired,
    Code::Revoked,
    Code::Retired,
    Code::UnknownGrant,
    Code::WrongHolder,
    Code::WrongAudience,
    Code::RevocationsStale,
];
/// What a client may be refused with.
const CLIENT: [Code; 9] = [
    Code::ProofRequired,
    Code::InvalidProof,
    Code::UseDpopNonce,
    Code::WrongKey,
    Code::InvalidClient,
    Code::MissingClient,
    Code::WrongClient,
    Code::CaveatMethod,
    Code::CaveatPath,
];

/// The members by which clients say who they are.
fn client_members() -> Vec<(&'static str, Value)> {
    vec![
        ("client_id?", text()),
        ("client_secret?", text()),
        ("client_assertion_type?", text()),
        ("client_assertion?", text()),
    ]
}

/// A form; members that are not known are passed over.
fn form(own: Vec<(&'static str, Value)>) -> Value {
    let members: Vec<_> = own.into_iter().chain(client_members()).collect();
    let mut schema = object(&members);
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("additionalProperties");
    }
    schema
}

pub(in crate::api) fn token() -> Endpoint {
    let grant_types = [
        paths::TOKEN_EXCHANGE,
        paths::REFRESH_TOKEN,
        paths::CLIENT_CREDENTIALS,
        paths::DEVICE_CODE,
    ];
    let schema = form(vec![
        ("grant_type", json!({"type": "string", "enum": grant_types})),
        ("subject_token?", text()),
        ("subject_token_type?", text()),
        ("requested_token_type?", text()),
        ("refresh_token?", text()),
        ("device_code?", text()),
        ("scope?", text()),
        ("audience?", text()),
        ("resource?", text()),
        (
            "expires_in?",
            json!({"type": "integer", "minimum": 1, "maximum": 3600}),
        ),
    ]);
    let examples = json!({
        "exchange": {"value": {
            "grant_type": paths::TOKEN_EXCHANGE, "subject_token": "CAESvwEKVQ…",
            "subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token",
        }},
        "refresh": {"value": {"grant_type": paths::REFRESH_TOKEN, "refresh_token": "CAESvwEKVQ…"}},
        "service": {"value": {
            "grant_type": paths::CLIENT_CREDENTIALS, "client_id": "ci", "client_secret": "CAESvwEKVQ…",
        }},
        "device": {"value": {"grant_type": paths::DEVICE_CODE, "device_code": "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS"}},
    });
    let example = json!({
        "access_token": "CAESvwEKVQ…", "token_type": "Bearer", "expires_in": 900, "scope": "operator.read",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    Endpoint::post(paths::TOKEN_PATH, "token")
        .summary("Gives an access token (RFC 6749, 8693, 8628)")
        .caller(Caller::Client)
        .form(&schema, &examples)
        .answers(S::OK, "The token", "Tokens", &example)
        .refuses(&TOKEN)
        .refuses(&CLIENT)
        .refuses(&[
            Code::WrongRootToken,
            Code::InvalidScope,
            Code::InvalidTarget,
            Code::UnsupportedGrantType,
            Code::InsufficientScope,
            Code::DeviceCodeUnknown,
            Code::AuthorizationPending,
            Code::SlowDown,
            Code::AccessDenied,
            Code::ExpiredToken,
        ])
}

pub(in crate::api) fn device_authorization() -> Endpoint {
    let schema = form(vec![
        ("scope?", text()),
        ("role?", text()),
        ("name?", text()),
    ]);
    let example = json!({
        "device_code": "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS", "user_code": "QKFF-GBXD",
        "verification_uri": "http://127.0.0.1:7420/device",
        "verification_uri_complete": "http://127.0.0.1:7420/device?user_code=QKFF-GBXD",
        "expires_in": 3600, "interval": 5,
    });
    let asked =
        json!({"device": {"value": {"client_id": "ebdd4b2aafe3…", "scope": "operator.read"}}});
    Endpoint::post(paths::DEVICE_AUTHORIZATION_PATH, "deviceAuthorization")
        .summary("A device asks to be paired (RFC 8628)")
        .caller(Caller::Client)
        .form(&schema, &asked)
        .answers(S::OK, "The codes", "DeviceCodes", &example)
        .refuses(&CLIENT)
        .refuses(&[Code::MissingToken, Code::MalformedToken, Code::UnknownScope])
}

pub(in crate::api) fn introspect() -> Endpoint {
    let schema = form(vec![
        ("token", some_text()),
        ("token_type_hint?", text()),
        ("method?", text()),
        ("path?", text()),
        ("operation?", text()),
    ]);
    let asked = json!({"token": {"value": {"token": "CAESvwEKVQ…"}}});
    Endpoint::post(paths::INTROSPECTION_PATH, "introspect")
        .summary("Says whether a token is live, and what it gives (RFC 7662)")
        .caller(Caller::Client)
        .form(&schema, &asked)
        .answers(
            S::OK,
            "The token; one that is not live says nothing else",
            "Introspection",
            &json!({"active": false}),
        )
        .refuses(&TOKEN)
        .refuses(&CLIENT)
        .refuses(&[Code::InsufficientScope, Code::CaveatOperation])
}

pub(in crate::api) fn revoke() -> Endpoint {
    let schema = form(vec![("token", some_text()), ("token_type_hint?", text())]);
    let asked = json!({"token": {"value": {"token": "CAESvwEKVQ…"}}});
    Endpoint::post(paths::REVOCATION_PATH, "revokeToken")
        .summary("Ends a session, a service token or a grant (RFC 7009)")
        .caller(Caller::Client)
        .form(&schema, &asked)
        .answers(
            S::OK,
            "It is dead, or never was a token",
            "Nothing",
            &json!({}),
        )
        .refuses(&TOKEN)
        .refuses(&CLIENT)
        .refuses(&[
            Code::ServiceTokenRequired,
            Code::InsufficientScope,
            Code::LocalDevice,
        ])
}
