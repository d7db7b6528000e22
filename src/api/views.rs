//! The JSON objects of the API, as the contract fixes them.

use axum::Json;
use hardtack_token::{DeviceId, GrantId, Timestamp, TokenText};
use serde_json::{Map, Value, json};

use crate::authority::approve::Approval;
use crate::authority::caller::Caller;
use crate::authority::end::Ending;
use crate::authority::pairing::{DeviceView, POLL_INTERVAL};
use crate::domain::audit::{Actor, AuditRecord};
use crate::domain::grant::{GrantRecord, Holder};
use crate::domain::invite::{Invite, InviteState};
use crate::domain::pairing::{PairingRequest, RequestState};
use crate::domain::service_token::ServiceToken;

/// A list and the cursor of what comes after it.
pub(crate) fn list(items: &[Value], limit: usize, cursor: Option<String>) -> Json<Value> {
    let next = cursor.filter(|_| items.len() == limit);
    Json(json!({"items": items, "next": next}))
}

fn time(at: Timestamp) -> String {
    at.to_string()
}

/// REQUEST
pub(crate) fn request(request: &PairingRequest, now: Timestamp) -> Value {
    let state = request.state_at(now);
    let (superseded_by, grant_id) = match &state {
        RequestState::Superseded(by) => (Some(by.to_string()), None),
        RequestState::Approved(grant) => (None, Some(grant.to_string())),
        RequestState::Pending | RequestState::Rejected(_) | RequestState::Expired => (None, None),
    };
    let mut view = json!({
        "id": request.id.to_string(),
        "status": state.as_str(),
        "device_id": request.device.to_string(),
        "role": request.ask.role.as_str(),
        "scopes": request.ask.scopes.to_strings(),
        "name": request.ask.name.as_str(),
        "metadata": request.ask.metadata.entries(),
        "user_code": request.user_code.to_string(),
        "address": request.address,
        "created_at": time(request.created_at),
        "expires_at": time(request.expires_at),
        "superseded_by": superseded_by,
        "previously_revoked": request.previously_revoked,
        "grant_id": grant_id,
    });
    if let (RequestState::Rejected(Some(reason)), Some(members)) = (&state, view.as_object_mut()) {
        members.insert("reason".into(), json!(reason));
    }
    view
}

/// REQUEST as its device sees it: how often to ask, and the grant once there is one.
pub(crate) fn device_request(view: &DeviceView, now: Timestamp) -> Value {
    let mut value = request(&view.request, now);
    if let Some(members) = value.as_object_mut() {
        members.insert("interval".into(), json!(POLL_INTERVAL));
        if let Some(grant) = &view.grant {
            members.insert("grant".into(), json!(grant.expose()));
        }
    }
    value
}

/// DEVICE
pub(crate) fn device(record: &GrantRecord) -> Value {
    json!({
        "device_id": record.device().map(|id| id.to_string()),
        "name": record.name,
        "role": record.role.as_str(),
        "scopes": record.scopes.to_strings(),
        "status": record.status.as_str(),
        "grant_id": record.id.to_string(),
        "parent_grant_id": record.parent.map(|id| id.to_string()),
        "approved_by": approver(record.parent_device, record.parent),
        "local": record.local,
        "created_at": time(record.created_at),
        "last_used_at": record.last_used_at.map(time),
        "expires_at": record.expires_at.map(time),
        "descendants": record.descendants,
    })
}

/// Who approved: a device by the grant it used, or the root token.
fn approver(device: Option<DeviceId>, grant: Option<GrantId>) -> Value {
    json!({
        "kind": if grant.is_some() { "device" } else { "root" },
        "device_id": device.map(|id| id.to_string()),
        "grant_id": grant.map(|id| id.to_string()),
    })
}

/// APPROVAL
pub(crate) fn approval(approval: &Approval) -> Value {
    let (device, grant) = match &approval.approved_by {
        Actor::Device(device, grant) => (Some(*device), Some(*grant)),
        Actor::Root | Actor::Service(_) | Actor::Key(_) | Actor::Host => (None, None),
    };
    let mut view = json!({
        "id": approval.request.to_string(),
        "status": "approved",
        "device_id": approval.device.to_string(),
        "grant_id": approval.grant.to_string(),
        "role": approval.role.as_str(),
        "scopes": approval.scopes.to_strings(),
        "expires_at": approval.expires_at.map(time),
        "approved_by": approver(device, grant),
        "depth": approval.depth,
    });
    if let (Some(warning), Some(members)) = (approval.warning, view.as_object_mut()) {
        members.insert("warning".into(), json!(warning));
    }
    view
}

/// What ending a device did.
pub(crate) fn ending(ending: &Ending) -> Value {
    let ids: Vec<String> = ending.devices.iter().map(ToString::to_string).collect();
    let mut view = json!({
        "mode": match ending.end {
            hardtack_token::End::Revoked => "revoke",
            hardtack_token::End::Retired => "retire",
        },
        "count": ids.len(),
        "device_ids": ids,
        "dry_run": ending.dry_run,
    });
    if let (false, Some(members)) = (ending.services.is_empty(), view.as_object_mut()) {
        members.insert("services".into(), json!(ending.services));
    }
    view
}

/// A grant that ended, as events tell of it.
pub(crate) fn ended_grant(record: &GrantRecord) -> Value {
    let service = match &record.holder {
        Holder::Device(_) => None,
        Holder::Service(name) => Some(name.as_str()),
    };
    json!({
        "grant_id": record.id.to_string(),
        "device_id": record.device().map(|id| id.to_string()),
        "service": service,
        "role": record.role.as_str(),
        "name": record.name,
        "status": record.status.as_str(),
        "descendants": record.descendants,
    })
}

/// INVITE
pub(crate) fn invite(invite: &Invite, now: Timestamp) -> Value {
    let (used_by, grant_id) = match invite.state {
        InviteState::Used(device, grant) => (Some(device.to_string()), Some(grant.to_string())),
        InviteState::Open | InviteState::Revoked => (None, None),
    };
    json!({
        "id": invite.id.to_string(),
        "status": invite.status_at(now).as_str(),
        "role": invite.role.as_str(),
        "scopes": invite.scopes.to_strings(),
        "name": invite.name,
        "grant_expires_in": invite.grant_life,
        "invited_by": {
            "device_id": invite.inviter_device.map(|id| id.to_string()),
            "grant_id": invite.inviter.to_string(),
        },
        "created_at": time(invite.created_at),
        "expires_at": time(invite.expires_at),
        "used_by": used_by,
        "grant_id": grant_id,
    })
}

/// SERVICE
pub(crate) fn service_token(service: &ServiceToken, now: Timestamp) -> Value {
    let grant = &service.grant;
    json!({
        "grant_id": grant.id.to_string(),
        "name": grant.name,
        "scopes": grant.scopes.to_strings(),
        "audience": service.audience,
        "status": service.status_at(now).as_str(),
        "parent_grant_id": grant.parent.map(|id| id.to_string()),
        "created_at": time(grant.created_at),
        "last_used_at": grant.last_used_at.map(time),
        "expires_at": grant.expires_at.map(time),
    })
}

/// Who the caller is.
pub(crate) fn whoami(caller: &Caller, instance_id: &str) -> Value {
    let record = caller.record();
    json!({
        "instance_id": instance_id,
        "kind": match record.map(|r| &r.holder) {
            Some(Holder::Device(_)) => "device",
            Some(Holder::Service(_)) if !caller.is_root() => "service",
            Some(Holder::Service(_)) | None => "root",
        },
        "service": record.filter(|r| r.is_service_token()).map(|r| r.name.as_str()),
        "device_id": caller.device().map(|id| id.to_string()),
        "grant_id": record.map(|r| r.id.to_string()),
        "role": record.map(|r| r.role.as_str()),
        "scopes": caller.held().to_strings(),
        "local": record.is_some_and(|r| r.local),
        "expires_at": caller.expires_at().map(time),
    })
}

/// A row of the audit log.
pub(crate) fn audit(record: &AuditRecord) -> Value {
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or(Value::Object(Map::new()));
    json!({
        "seq": record.seq,
        "at": time(record.at),
        "actor": parsed(&record.actor),
        "action": record.action,
        "object": record.object,
        "address": record.address,
        "detail": parsed(&record.detail),
        "prev_hash": hex::encode(record.prev_hash),
        "hash": hex::encode(record.hash),
    })
}

/// A grant that a device fetched.
pub(crate) fn grant(id: hardtack_token::GrantId, token: &TokenText) -> Value {
    json!({"grant_id": id.to_string(), "grant": token.expose()})
}
