//! `hello-ok`: the upstream's, with what is ours in it.

use serde_json::{Map, Value, json};

use crate::openclaw::admission::Given;
use crate::openclaw::limits::MAX_MESSAGE;
use crate::openclaw::session::Session;
use crate::openclaw::{events, methods};

impl Session {
    /// The payload of `hello-ok` for this client. `theirs` is the upstream's.
    pub(super) fn hello(&self, protocol: u32, theirs: &Value, given: &Given, now: u64) -> Value {
        let mut hello = theirs.as_object().cloned().unwrap_or_default();
        hello.insert("type".into(), json!("hello-ok"));
        hello.insert("protocol".into(), json!(protocol));
        hello.insert("auth".into(), self.hello_auth(given, now));
        let mut features = take_object(&mut hello, "features");
        let mut known = take_list(&mut features, "methods");
        known.retain(|name| !name.as_str().is_some_and(methods::is_ours));
        known.extend(methods::NAMES.map(Value::from));
        features.insert("methods".into(), known.into());
        let mut events = take_list(&mut features, "events");
        for ours in [
            events::REQUESTED,
            events::RESOLVED,
            events::CHANGED,
            events::SETUP_COMPLETED,
        ] {
            if !events.iter().any(|theirs| theirs == ours) {
                events.push(ours.into());
            }
        }
        features.insert("events".into(), events.into());
        hello.insert("features".into(), features.into());
        let mut policy = take_object(&mut hello, "policy");
        let most = policy.get("maxPayload").and_then(Value::as_u64);
        let most = most.map_or(MAX_MESSAGE as u64, |theirs| theirs.min(MAX_MESSAGE as u64));
        policy.insert("maxPayload".into(), most.into());
        hello.insert("policy".into(), policy.into());
        Value::Object(hello)
    }

    /// What the client has: the scopes of this connection, the grant that is the
    /// device's to keep, and those that a setup code gave it for other roles.
    fn hello_auth(&self, given: &Given, now: u64) -> Value {
        let method = match (&given.grant, given.brought.as_slice()) {
            (None, _) => "token",
            (Some(_), []) => "device-token",
            (Some(_), [_, ..]) => "bootstrap-token",
        };
        let mut auth = json!({
            "method": method,
            "role": self.role().as_str(),
            "scopes": self.access().effective_scopes().to_strings(),
        });
        if let (Some(grant), Some(members)) = (&given.grant, auth.as_object_mut()) {
            members.insert("deviceToken".into(), json!(grant.expose()));
            members.insert("issuedAtMs".into(), json!(now));
            let others = given
                .brought
                .iter()
                .filter(|handed| handed.role != *self.role());
            let others: Vec<Value> = others
                .map(|handed| {
                    json!({
                        "deviceToken": handed.grant.expose(),
                        "role": handed.role.as_str(),
                        "scopes": handed.scopes.to_strings(),
                        "issuedAtMs": now,
                    })
                })
                .collect();
            if !others.is_empty() {
                members.insert("deviceTokens".into(), others.into());
            }
        }
        auth
    }
}

/// A member that is an object, or an empty one.
fn take_object(of: &mut Map<String, Value>, name: &str) -> Map<String, Value> {
    match of.remove(name) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// A member that is a list, or an empty one.
fn take_list(of: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match of.remove(name) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}
