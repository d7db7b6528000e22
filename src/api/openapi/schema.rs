//! The objects of the API as JSON Schema. Nothing else may stand in them, so that
//! a test that compares answers with them sees what was added and not described.

use serde_json::{Map, Value, json};

use crate::domain::event::EventKind;
use crate::web::code::Code;

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

/// A member of a form that is needed; RFC 6749 section 3.1: an empty one is absent.
pub(super) fn some_text() -> Value {
    json!({"type": "string", "minLength": 1})
}

pub(super) fn uuid() -> Value {
    json!({"type": "string", "format": "uuid", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"})
}

pub(super) fn device_id() -> Value {
    json!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
}

pub(super) fn scope() -> Value {
    json!({"type": "string", "pattern": "^(\\*|[a-z0-9_-]+(\\.[a-z0-9_-]+)*)$", "maxLength": 64})
}

pub(super) fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

pub(super) fn name() -> Value {
    json!({"type": "string", "maxLength": 64})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn list(of: &Value) -> Value {
    json!({"type": "array", "items": of})
}

fn any_object() -> Value {
    json!({"type": "object"})
}

/// The same, or null.
pub(super) fn or_null(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object with these members; a name that ends in `?` may be absent.
pub(super) fn object(members: &[(&str, Value)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema) in members {
        if let Some(optional) = name.strip_suffix('?') {
            properties.insert(optional.to_owned(), schema.clone());
        } else {
            properties.insert((*name).to_owned(), schema.clone());
            required.push(*name);
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn page_of(name: &str) -> Value {
    object(&[
        ("items", list(&reference(name))),
        ("next", or_null(&text())),
    ])
}

/// All schemas by their names.
pub(super) fn schemas() -> Value {
    let mut all = Map::new();
    let groups = [
        refusals(),
        pairing(),
        devices(),
        invites(),
        services(),
        reading(),
        oauth(),
        open(),
    ];
    for (name, schema) in groups.into_iter().flatten() {
        all.insert(name.to_owned(), schema);
    }
    Value::Object(all)
}

type Named = Vec<(&'static str, Value)>;

fn refusals() -> Named {
    let mut codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    codes.dedup();
    codes.sort_unstable();
    codes.dedup();
    let code = one_of(&codes);
    let texts = list(&text());
    vec![
        (
            "Problem",
            object(&[
                ("type", text()),
                ("title", text()),
                ("status", number()),
                ("detail", text()),
                ("code", code.clone()),
                ("request_id", uuid()),
                ("required?", texts.clone()),
                ("held?", texts.clone()),
                ("missing?", texts.clone()),
                ("who?", texts.clone()),
                ("next?", texts.clone()),
                ("request_status?", text()),
                ("superseded_by?", or_null(&uuid())),
                ("grant_id?", or_null(&uuid())),
            ]),
        ),
        (
            "OAuthError",
            object(&[
                ("error", text()),
                ("error_description", text()),
                ("code", code),
                ("next?", texts),
            ]),
        ),
    ]
}

fn request_members() -> Vec<(&'static str, Value)> {
    let states = ["pending", "approved", "rejected", "expired", "superseded"];
    vec![
        ("id", uuid()),
        ("status", one_of(&states)),
        ("device_id", device_id()),
        ("role", text()),
        ("scopes", list(&text())),
        ("name", text()),
        (
            "metadata",
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
        ),
        ("user_code", text()),
        ("address", text()),
        ("created_at", time()),
        ("expires_at", time()),
        ("superseded_by", or_null(&uuid())),
        ("previously_revoked", flag()),
        ("grant_id", or_null(&uuid())),
        ("reason?", text()),
    ]
}

fn pairing() -> Named {
    let mut own = request_members();
    own.push(("interval", number()));
    own.push(("grant?", text()));
    // An operator sees a request, its device the same and more.
    let mut either = request_members();
    either.push(("interval?", number()));
    either.push(("grant?", text()));
    vec![
        ("PairingRequest", object(&request_members())),
        ("OwnPairingRequest", object(&own)),
        ("ShownPairingRequest", object(&either)),
        ("PairingRequests", page_of("PairingRequest")),
        (
            "Approval",
            object(&[
                ("id", uuid()),
                ("status", one_of(&["approved"])),
                ("device_id", device_id()),
                ("grant_id", uuid()),
                ("role", text()),
                ("scopes", list(&text())),
                ("expires_at", or_null(&time())),
                ("approved_by", approver()),
                ("depth", number()),
                ("warning?", text()),
            ]),
        ),
    ]
}

fn approver() -> Value {
    object(&[
        ("kind", one_of(&["root", "device"])),
        ("device_id", or_null(&device_id())),
        ("grant_id", or_null(&uuid())),
    ])
}

fn devices() -> Named {
    vec![
        (
            "Device",
            object(&[
                ("device_id", or_null(&device_id())),
                ("name", text()),
                ("role", text()),
                ("scopes", list(&text())),
                ("status", one_of(&["active", "retired", "revoked"])),
                ("grant_id", uuid()),
                ("parent_grant_id", or_null(&uuid())),
                ("approved_by", approver()),
                ("local", flag()),
                ("created_at", time()),
                ("last_used_at", or_null(&time())),
                ("expires_at", or_null(&time())),
                ("descendants", number()),
            ]),
        ),
        ("Devices", page_of("Device")),
        (
            "Event",
            object(&[
                ("id?", text()),
                (
                    "event",
                    one_of(
                        &EventKind::ALL
                            .map(EventKind::as_str)
                            .into_iter()
                            .chain(["missed", "end"])
                            .collect::<Vec<_>>(),
                    ),
                ),
                (
                    "data",
                    json!({"type": "string", "contentMediaType": "application/json"}),
                ),
            ]),
        ),
        ("Grant", object(&[("grant_id", uuid()), ("grant", text())])),
        (
            "Ending",
            object(&[
                ("mode", one_of(&["revoke", "retire"])),
                ("count", number()),
                ("device_ids", list(&device_id())),
                ("dry_run", flag()),
            ]),
        ),
    ]
}

fn invites() -> Named {
    let states = ["open", "used", "revoked", "expired", "ended"];
    let members = vec![
        ("id", uuid()),
        ("status", one_of(&states)),
        ("role", text()),
        ("scopes", list(&text())),
        ("name", text()),
        ("grant_expires_in", or_null(&number())),
        (
            "invited_by",
            object(&[("device_id", or_null(&device_id())), ("grant_id", uuid())]),
        ),
        ("created_at", time()),
        ("expires_at", time()),
        ("used_by", or_null(&device_id())),
        ("grant_id", or_null(&uuid())),
    ];
    let mut new = members.clone();
    new.push(("code", text()));
    vec![
        ("Invite", object(&members)),
        ("NewInvite", object(&new)),
        ("Invites", page_of("Invite")),
    ]
}

fn services() -> Named {
    let members = vec![
        ("grant_id", uuid()),
        ("name", text()),
        ("scopes", list(&text())),
        ("audience", text()),
        ("status", one_of(&["active", "expired", "revoked"])),
        ("parent_grant_id", or_null(&uuid())),
        ("created_at", time()),
        ("last_used_at", or_null(&time())),
        ("expires_at", or_null(&time())),
    ];
    let mut new = members.clone();
    new.push(("token", text()));
    vec![
        ("ServiceToken", object(&members)),
        ("NewServiceToken", object(&new)),
        ("ServiceTokens", page_of("ServiceToken")),
    ]
}

fn scope_members() -> Vec<(&'static str, Value)> {
    vec![
        ("name", text()),
        ("description", text()),
        ("implies", list(&text())),
    ]
}

fn reading() -> Named {
    vec![
        (
            "Whoami",
            object(&[
                ("instance_id", uuid()),
                ("kind", one_of(&["root", "device", "service"])),
                ("service", or_null(&text())),
                ("device_id", or_null(&device_id())),
                ("grant_id", or_null(&uuid())),
                ("role", or_null(&text())),
                ("scopes", list(&text())),
                ("local", flag()),
                ("expires_at", or_null(&time())),
            ]),
        ),
        ("Scope", object(&scope_members())),
        ("Scopes", page_of("Scope")),
        (
            "AuditRecord",
            object(&[
                ("seq", number()),
                ("at", time()),
                ("actor", any_object()),
                ("action", text()),
                ("object", text()),
                ("address", text()),
                ("detail", any_object()),
                ("prev_hash", device_id()),
                ("hash", device_id()),
            ]),
        ),
        ("AuditRecords", page_of("AuditRecord")),
        (
            "Revocations",
            object(&[
                ("instance_id", uuid()),
                ("as_of", time()),
                ("keys_version", number()),
                ("position", text()),
                (
                    "items",
                    list(&object(&[
                        ("id", uuid()),
                        ("end", one_of(&["revoked", "retired"])),
                    ])),
                ),
                ("next", or_null(&text())),
            ]),
        ),
    ]
}

fn oauth() -> Named {
    vec![
        (
            "Tokens",
            object(&[
                ("access_token", text()),
                ("token_type", one_of(&["Bearer", "DPoP"])),
                ("expires_in", number()),
                ("scope", text()),
                ("issued_token_type", text()),
                ("refresh_token?", text()),
                ("warning?", text()),
            ]),
        ),
        (
            "DeviceCodes",
            object(&[
                ("device_code", text()),
                ("user_code", text()),
                ("verification_uri", text()),
                ("verification_uri_complete", text()),
                ("expires_in", number()),
                ("interval", number()),
            ]),
        ),
        (
            "Introspection",
            object(&[
                ("active", flag()),
                ("scope?", text()),
                ("client_id?", text()),
                ("sub?", text()),
                ("token_type?", text()),
                ("exp?", number()),
                ("iat?", number()),
                ("iss?", text()),
                ("aud?", text()),
                ("jti?", uuid()),
                ("cnf?", object(&[("jkt", text())])),
                ("device_id?", device_id()),
                ("grant_id?", uuid()),
                ("role?", text()),
                ("lineage?", list(&uuid())),
            ]),
        ),
        ("Nothing", object(&[])),
    ]
}

fn open() -> Named {
    let key = object(&[("id", number()), ("key", text()), ("state", text())]);
    vec![
        ("Document", any_object()),
        ("Health", object(&[("status", one_of(&["ok"]))])),
        (
            "Readiness",
            object(&[
                ("status", one_of(&["ok", "unavailable"])),
                (
                    "checks",
                    json!({"type": "object", "additionalProperties": {"type": "string"}}),
                ),
            ]),
        ),
        (
            "Published",
            object(&[
                ("instance_id", uuid()),
                ("profile", number()),
                ("root_keys", list(&key)),
                ("attestation_keys", list(&key)),
                ("scopes", list(&reference("Scope"))),
                ("revocations", text()),
            ]),
        ),
        ("Metadata", any_object()),
    ]
}
