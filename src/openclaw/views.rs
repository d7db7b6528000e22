//! Requests and devices as clients of the protocol show them.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hardtack_token::{Scope, Timestamp};
use serde_json::{Map, Value, json};

use crate::authority::paired::PairedRole;
use crate::domain::pairing::PairingRequest;

/// What a request says of its device, by the names of the protocol.
const SAID: [&str; 5] = [
    "platform",
    "deviceFamily",
    "clientId",
    "clientMode",
    "browserOrigin",
];

/// The client where none was named, as with devices that are paired by the API.
const NO_CLIENT: &str = "hardtack";

pub(super) const fn millis(at: Timestamp) -> u64 {
    at.unix().saturating_mul(1000)
}

/// A request that waits.
pub(super) fn pending(request: &PairingRequest) -> Value {
    let mut view = said(request);
    view.insert("requestId".into(), json!(request.id.to_string()));
    view.insert("deviceId".into(), json!(request.device.to_string()));
    view.insert("role".into(), json!(request.ask.role.as_str()));
    view.insert("roles".into(), json!([request.ask.role.as_str()]));
    view.insert("scopes".into(), json!(request.ask.scopes.to_strings()));
    view.insert("silent".into(), json!(false));
    view.insert("isRepair".into(), json!(request.previously_revoked));
    view.insert("ts".into(), json!(millis(request.created_at)));
    Value::Object(view)
}

/// A device with its live grants, of which there is one for each role.
pub(super) fn paired(roles: &[PairedRole], connected: bool) -> Option<Value> {
    let newest = roles.iter().max_by_key(|role| role.record.created_at)?;
    let oldest = roles.iter().min_by_key(|role| role.record.created_at)?;
    let device = newest.record.device()?;
    let request = roles.iter().rev().find_map(|role| role.request.as_ref());
    let mut view = request.map_or_else(unsaid, said);
    let scopes: BTreeSet<&str> = roles
        .iter()
        .flat_map(|role| role.record.scopes.iter().map(Scope::as_str))
        .collect();
    let tokens: Vec<Value> = roles.iter().map(token).collect();
    let used = roles
        .iter()
        .filter_map(|role| role.record.last_used_at)
        .max();
    let names: Vec<&str> = roles.iter().map(|role| role.record.role.as_str()).collect();
    for (name, value) in [
        ("deviceId", json!(device.to_string())),
        ("displayName", json!(newest.record.name)),
        ("operatorLabel", json!(newest.record.name)),
        ("role", json!(newest.record.role.as_str())),
        ("roles", json!(names)),
        ("scopes", json!(scopes)),
        ("approvedVia", json!("owner")),
        ("createdAtMs", json!(millis(oldest.record.created_at))),
        ("approvedAtMs", json!(millis(newest.record.created_at))),
        ("connected", json!(connected)),
        ("tokens", json!(tokens)),
    ] {
        view.insert(name.into(), value);
    }
    if let Some(used) = used {
        view.insert("lastSeenAtMs".into(), json!(millis(used)));
        view.insert("lastSeenReason".into(), json!("connect"));
    }
    Some(Value::Object(view))
}

/// A grant, of which the token itself is never shown.
fn token(role: &PairedRole) -> Value {
    let record = &role.record;
    let mut view = json!({
        "role": record.role.as_str(),
        "scopes": record.scopes.to_strings(),
        "createdAtMs": millis(record.created_at),
    });
    if let Some(members) = view.as_object_mut() {
        let times = [
            ("lastUsedAtMs", record.last_used_at),
            ("expiresAtMs", record.expires_at),
        ];
        for (name, at) in times {
            if let Some(at) = at {
                members.insert(name.into(), json!(millis(at)));
            }
        }
    }
    view
}

/// What a device said of itself.
fn said(request: &PairingRequest) -> Map<String, Value> {
    let mut view = unsaid();
    let key = URL_SAFE_NO_PAD.encode(request.key.as_bytes());
    view.insert("publicKey".into(), json!(key));
    view.insert("remoteIp".into(), json!(request.address));
    let name = request.ask.name.as_str();
    if !name.is_empty() {
        view.insert("displayName".into(), json!(name));
    }
    for name in SAID {
        if let Some(value) = request.ask.metadata.entries().get(name) {
            view.insert(name.into(), json!(value));
        }
    }
    view
}

/// The members that clients take for granted.
fn unsaid() -> Map<String, Value> {
    let mut view = Map::new();
    view.insert("publicKey".into(), json!(""));
    view.insert("platform".into(), json!("unknown"));
    view.insert("clientId".into(), json!(NO_CLIENT));
    view.insert("clientMode".into(), json!(NO_CLIENT));
    view
}
