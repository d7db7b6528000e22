//! The resources under `/v1`.

use http::StatusCode as S;
use serde_json::{Value, json};

use super::schema::{device_id, name, object, one_of, or_null, reference, scope, text, uuid};
use super::{Caller, Endpoint};
use crate::authority::invite::MAX_LIFE;
use crate::web::code::Code;

const ID: &str = "01a20380-c0a9-7e4f-8d27-3f1f4fd7a1c2";
const DEVICE: &str = "ebdd4b2aafe3b8f47d10a2d7c4a64b1ed0a3f5f2a54a0a0f34d0a4a8a2f6f7c1";
const TIME: &str = "2026-11-22T13:44:56Z";

fn request_example() -> Value {
    json!({
        "id": ID, "status": "pending", "device_id": DEVICE, "role": "operator", "scopes": ["operator.read"],
        "name": "laptop", "metadata": {"platform": "linux"}, "user_code": "QKFF-GBXD", "address": "192.0.2.1",
        "created_at": TIME, "expires_at": TIME, "superseded_by": null, "previously_revoked": false, "grant_id": null,
    })
}

fn own_example() -> Value {
    let mut example = request_example();
    if let Some(members) = example.as_object_mut() {
        members.insert("interval".to_owned(), json!(5));
    }
    example
}

fn device_example() -> Value {
    json!({
        "device_id": DEVICE, "name": "laptop", "role": "operator", "scopes": ["operator.read"], "status": "active",
        "grant_id": ID, "parent_grant_id": null, "approved_by": {"kind": "root", "device_id": null, "grant_id": null}, "local": false,
        "created_at": TIME, "last_used_at": null, "expires_at": null, "descendants": 0,
    })
}

fn page(item: &Value) -> Value {
    json!({"items": [item], "next": null})
}

fn scopes_schema() -> Value {
    json!({"type": "array", "items": scope()})
}

fn seconds(most: u64) -> Value {
    or_null(&json!({"type": "integer", "minimum": 1, "maximum": most}))
}

/// The most seconds that a grant may be dated with.
const LONG: u64 = 4_000_000_000;

pub(in crate::api) fn ask() -> Endpoint {
    let ask = object(&[
        ("role?", or_null(&text())),
        ("scopes?", or_null(&scopes_schema())),
        ("name?", or_null(&name())),
        (
            "metadata?",
            or_null(&json!({
                "type": "object", "maxProperties": 16, "propertyNames": {"maxLength": 64},
                "additionalProperties": {"type": "string", "maxLength": 256},
            })),
        ),
    ]);
    let example = json!({"role": "operator", "scopes": ["operator.read"], "name": "laptop"});
    let own = reference("OwnPairingRequest");
    Endpoint::post("/v1/pairing-requests", "askToPair")
        .summary("A device asks to be paired, or brings an invite")
        .caller(Caller::Key)
        .json(false, &ask, &example)
        .answers_with(
            S::OK,
            "It is paired: its grant",
            "application/json",
            &own,
            &own_example(),
        )
        .answers(
            S::ACCEPTED,
            "It waits for an approval",
            "OwnPairingRequest",
            &own_example(),
        )
        .refuses(&[
            Code::UnknownScope,
            Code::InvalidInvite,
            Code::InviteSpent,
            Code::InviteExpired,
            Code::InviteEnded,
            Code::WiderThanInvite,
            Code::ChainTooLong,
            Code::Revoked,
            Code::Retired,
            Code::Expired,
            Code::Conflict,
        ])
}

pub(in crate::api) fn list_requests() -> Endpoint {
    let states = ["pending", "approved", "rejected", "expired", "superseded"];
    Endpoint::get("/v1/pairing-requests", "listPairingRequests")
        .summary("Lists pairing requests")
        .caller(Caller::Credential)
        .query("status", &one_of(&states), "Only those in this state")
        .paged(&uuid())
        .answers(
            S::OK,
            "A page of requests",
            "PairingRequests",
            &page(&request_example()),
        )
}

pub(in crate::api) fn show_request() -> Endpoint {
    Endpoint::get("/v1/pairing-requests/{id}", "showPairingRequest")
        .summary("Shows a request to an operator, or to its device by its key alone")
        .caller(Caller::Credential)
        .id(&uuid(), "The request")
        .answers(
            S::OK,
            "The request; for its device, once approved, with the grant",
            "ShownPairingRequest",
            &own_example(),
        )
        .refuses(&[Code::NotFound])
}

pub(in crate::api) fn approve() -> Endpoint {
    let body = object(&[
        ("scopes?", or_null(&scopes_schema())),
        ("expires_in?", seconds(LONG)),
        ("name?", or_null(&name())),
    ]);
    let example = json!({
        "id": ID, "status": "approved", "device_id": DEVICE, "grant_id": ID, "role": "operator",
        "scopes": ["operator.read"], "expires_at": null,
        "approved_by": {"kind": "root", "device_id": null, "grant_id": null}, "depth": 1,
    });
    Endpoint::post("/v1/pairing-requests/{id}/approve", "approvePairingRequest")
        .summary("Approves a request: the device gets the caller's own chain, narrowed")
        .caller(Caller::CredentialOrRoot)
        .id(&uuid(), "The request")
        .json(
            false,
            &body,
            &json!({"scopes": ["operator.read"], "expires_in": 86400}),
        )
        .answers(S::OK, "What was given", "Approval", &example)
        .refuses(&[
            Code::UnknownScope,
            Code::WrongRootToken,
            Code::GrantRequired,
            Code::NotFound,
            Code::NotPending,
            Code::Conflict,
            Code::RequestExpired,
            Code::WiderThanRequested,
            Code::ChainTooLong,
        ])
}

pub(in crate::api) fn reject() -> Endpoint {
    let body = object(&[("reason?", or_null(&name()))]);
    Endpoint::post("/v1/pairing-requests/{id}/reject", "rejectPairingRequest")
        .summary("Rejects a request")
        .caller(Caller::Credential)
        .id(&uuid(), "The request")
        .json(false, &body, &json!({"reason": "not ours"}))
        .answers(S::OK, "The request", "PairingRequest", &request_example())
        .refuses(&[Code::NotFound, Code::NotPending, Code::RequestExpired])
}

pub(in crate::api) fn list_devices() -> Endpoint {
    Endpoint::get("/v1/devices", "listDevices")
        .summary("Lists devices, each once for each of its roles")
        .caller(Caller::Credential)
        .query(
            "status",
            &one_of(&["active", "retired", "revoked"]),
            "Only those that stand so",
        )
        .paged(&uuid())
        .answers(
            S::OK,
            "A page of devices",
            "Devices",
            &page(&device_example()),
        )
}

pub(in crate::api) fn show_device() -> Endpoint {
    Endpoint::get("/v1/devices/{id}", "showDevice")
        .summary("Shows a device; any device may see itself")
        .caller(Caller::Credential)
        .id(&device_id(), "The device")
        .query("role", &text(), "In which role; else its newest")
        .answers(S::OK, "The device", "Device", &device_example())
        .refuses(&[Code::NotFound])
}

pub(in crate::api) fn fetch_grant() -> Endpoint {
    Endpoint::get("/v1/devices/{id}/grant", "fetchGrant")
        .summary("A device fetches its grant, by its key alone")
        .caller(Caller::Key)
        .id(&device_id(), "The device itself")
        .query("role", &text(), "In which role; else `operator`")
        .answers(
            S::OK,
            "The sealed grant",
            "Grant",
            &json!({"grant_id": ID, "grant": "CAESvwEKVQ…"}),
        )
        .refuses(&[Code::NotFound, Code::Revoked, Code::Retired, Code::Expired])
}

fn ending(mode: &str) -> Value {
    json!({"mode": mode, "count": 1, "device_ids": [DEVICE], "dry_run": false})
}

pub(in crate::api) fn revoke_device() -> Endpoint {
    let body = object(&[("dry_run?", or_null(&json!({"type": "boolean"})))]);
    Endpoint::post("/v1/devices/{id}/revoke", "revokeDevice")
        .summary("Ends a device and every device that it approved")
        .caller(Caller::Credential)
        .id(&device_id(), "The device")
        .json(false, &body, &json!({"dry_run": true}))
        .answers(S::OK, "What ended, or would", "Ending", &ending("revoke"))
        .refuses(&[Code::NotFound, Code::LocalDevice])
}

pub(in crate::api) fn retire_device() -> Endpoint {
    Endpoint::post("/v1/devices/{id}/retire", "retireDevice")
        .summary("Ends a device; what it approved lives")
        .caller(Caller::Credential)
        .id(&device_id(), "The device")
        .json(false, &object(&[]), &json!({}))
        .answers(S::OK, "What ended", "Ending", &ending("retire"))
        .refuses(&[Code::NotFound, Code::LocalDevice])
}

fn invite_example() -> Value {
    json!({
        "id": ID, "status": "open", "role": "operator", "scopes": ["operator.read"], "name": "", "grant_expires_in": null,
        "invited_by": {"device_id": DEVICE, "grant_id": ID}, "created_at": TIME, "expires_at": TIME,
        "used_by": null, "grant_id": null,
    })
}

pub(in crate::api) fn invite() -> Endpoint {
    let body = object(&[
        ("role?", or_null(&text())),
        ("scopes?", or_null(&scopes_schema())),
        ("name?", or_null(&name())),
        ("expires_in?", seconds(MAX_LIFE)),
        ("grant_expires_in?", seconds(LONG)),
    ]);
    let mut made = invite_example();
    if let Some(members) = made.as_object_mut() {
        members.insert("code".to_owned(), json!("BCDF-GHJK-LMNP-QRST-VWXZ"));
    }
    Endpoint::post("/v1/invites", "invite")
        .summary("Promises a grant to whoever brings the code, once")
        .caller(Caller::Grant)
        .json(
            true,
            &body,
            &json!({"scopes": ["operator.read"], "expires_in": 900}),
        )
        .answers(
            S::CREATED,
            "The invite; its code is told this once",
            "NewInvite",
            &made,
        )
        .refuses(&[Code::UnknownScope, Code::GrantRequired])
}

pub(in crate::api) fn list_invites() -> Endpoint {
    Endpoint::get("/v1/invites", "listInvites")
        .summary("Lists invites")
        .caller(Caller::Credential)
        .paged(&uuid())
        .answers(
            S::OK,
            "A page of invites",
            "Invites",
            &page(&invite_example()),
        )
}

pub(in crate::api) fn revoke_invite() -> Endpoint {
    Endpoint::post("/v1/invites/{id}/revoke", "revokeInvite")
        .summary("Takes an invite back that was not used")
        .caller(Caller::Credential)
        .id(&uuid(), "The invite")
        .json(false, &object(&[]), &json!({}))
        .answers(S::OK, "The invite", "Invite", &invite_example())
        .refuses(&[Code::NotFound, Code::InviteSpent])
}

pub(in crate::api) fn events() -> Endpoint {
    let number = json!({"type": "integer", "minimum": 0, "maximum": i64::MAX});
    let example = format!(
        "id: 17\nevent: pairing.requested\ndata: {}\n\n",
        request_example()
    );
    Endpoint::get("/v1/events", "followEvents")
        .summary("Tells what happens to pairing requests and grants, as it happens")
        .caller(Caller::Credential)
        .header("Last-Event-ID", &number, "The last event that was seen")
        .paged(&number)
        .answers_with(
            S::OK,
            "Server-sent events, without an end",
            "text/event-stream",
            &reference("Event"),
            &json!(example),
        )
}

fn service_example() -> Value {
    json!({
        "grant_id": ID, "name": "ci", "scopes": ["operator.read"], "audience": "http://127.0.0.1:7421",
        "status": "active", "parent_grant_id": ID, "created_at": TIME, "last_used_at": null, "expires_at": TIME,
    })
}

pub(in crate::api) fn issue_service() -> Endpoint {
    let body = object(&[
        (
            "name",
            json!({"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}),
        ),
        ("scopes", scopes_schema()),
        ("audience?", or_null(&text())),
        ("expires_in?", seconds(LONG)),
    ]);
    let mut made = service_example();
    if let Some(members) = made.as_object_mut() {
        members.insert("token".to_owned(), json!("CAESvwEKVQ…"));
    }
    Endpoint::post("/v1/service-tokens", "issueServiceToken")
        .summary("Issues a token for a machine without a key")
        .caller(Caller::Grant)
        .json(
            true,
            &body,
            &json!({"name": "ci", "scopes": ["operator.read"]}),
        )
        .answers(
            S::CREATED,
            "The token, told this once",
            "NewServiceToken",
            &made,
        )
        .refuses(&[
            Code::UnknownScope,
            Code::InvalidScope,
            Code::InvalidTarget,
            Code::GrantRequired,
            Code::ServiceExists,
            Code::Conflict,
            Code::ChainTooLong,
        ])
}

pub(in crate::api) fn list_services() -> Endpoint {
    Endpoint::get("/v1/service-tokens", "listServiceTokens")
        .summary("Lists service tokens")
        .caller(Caller::Credential)
        .query(
            "status",
            &one_of(&["active", "expired", "revoked"]),
            "Only those that stand so",
        )
        .paged(&uuid())
        .answers(
            S::OK,
            "A page of service tokens",
            "ServiceTokens",
            &page(&service_example()),
        )
}

pub(in crate::api) fn revoke_service() -> Endpoint {
    Endpoint::post("/v1/service-tokens/{id}/revoke", "revokeServiceToken")
        .summary("Revokes a service token, by the id of its grant")
        .caller(Caller::Credential)
        .id(&uuid(), "The token's grant")
        .json(false, &object(&[]), &json!({}))
        .answers(S::OK, "The token", "ServiceToken", &service_example())
        .refuses(&[Code::NotFound])
}

pub(in crate::api) fn whoami() -> Endpoint {
    let example = json!({
        "instance_id": ID, "kind": "device", "service": null, "device_id": DEVICE, "grant_id": ID, "role": "operator",
        "scopes": ["operator.read"], "local": false, "expires_at": null,
    });
    Endpoint::get("/v1/whoami", "whoami")
        .summary("Says who the caller is")
        .caller(Caller::Credential)
        .answers(S::OK, "The caller", "Whoami", &example)
}

pub(in crate::api) fn scopes() -> Endpoint {
    let example = json!({"name": "operator.write", "description": "Change settings", "implies": ["operator.read"]});
    Endpoint::get("/v1/scopes", "listScopes")
        .summary("Lists the scopes that the policy declares")
        .caller(Caller::Credential)
        .answers(S::OK, "All of them", "Scopes", &page(&example))
}

pub(in crate::api) fn audit() -> Endpoint {
    let hash = "0".repeat(64);
    let example = json!({
        "seq": 1, "at": TIME, "actor": {"kind": "root"}, "action": "pairing.approve", "object": ID,
        "address": "192.0.2.1", "detail": {}, "prev_hash": hash, "hash": hash,
    });
    let number = json!({"type": "integer", "minimum": 0, "maximum": i64::MAX});
    Endpoint::get("/v1/audit", "readAuditLog")
        .summary("Reads the audit log")
        .caller(Caller::Credential)
        .paged(&number)
        .answers(S::OK, "A page of rows", "AuditRecords", &page(&example))
}

pub(in crate::api) fn backup() -> Endpoint {
    let schema = json!({"type": "string", "format": "binary"});
    Endpoint::post("/v1/backup", "backup")
        .summary("Makes a copy of the database")
        .caller(Caller::Credential)
        .answers_with(
            S::OK,
            "The copy",
            "application/vnd.sqlite3",
            &schema,
            &json!(""),
        )
        .refuses(&[Code::NoBackup])
}

pub(in crate::api) fn revocations() -> Endpoint {
    let number = json!({"type": "integer", "minimum": 0, "maximum": i64::MAX});
    let example = json!({
        "instance_id": ID, "as_of": TIME, "keys_version": 1, "position": "7",
        "items": [{"id": ID, "end": "revoked"}], "next": null,
    });
    Endpoint::get(crate::api::revocations::PATH, "listRevocations")
        .summary("What ended, for verifiers that have no database")
        .paged(&number)
        .answers(S::OK, "A page of the feed", "Revocations", &example)
        .refuses(&[Code::InvalidRequest, Code::NotReady, Code::StoreUnavailable])
}
