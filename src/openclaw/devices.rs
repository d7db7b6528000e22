//! `device.pair.*`: who waits, who is paired, and what an operator does about it.

use hardtack_token::DeviceId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authority::approve::Narrowing;
use crate::authority::error::Error;
use crate::domain::ids::RequestId;
use crate::domain::pairing::DeviceName;
use crate::openclaw::OpenClaw;
use crate::openclaw::errors::ErrorShape;
use crate::openclaw::methods;
use crate::openclaw::session::Session;
use crate::openclaw::views;

/// A pairing request by its id.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForRequest {
    request_id: String,
}

/// A device by its id.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForDevice {
    device_id: String,
}

/// A device and what it is to be called.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewLabel {
    device_id: String,
    label: String,
}

impl OpenClaw {
    pub(super) async fn list_pairings(&self, session: &Session) -> Result<Value, ErrorShape> {
        session.check_own(methods::LIST)?;
        let address = session.visitor.address.to_string();
        let call = session.call(methods::LIST, &address);
        let pairings = self.authority.pairings(&call).await;
        let pairings = pairings.map_err(|error| self.error(&error))?;
        let by_device = pairings
            .paired
            .chunk_by(|a, b| a.record.device() == b.record.device());
        let paired: Vec<Value> = by_device.filter_map(|roles| self.paired(roles)).collect();
        let pending: Vec<Value> = pairings.pending.iter().map(views::pending).collect();
        Ok(json!({"pending": pending, "paired": paired}))
    }

    pub(super) async fn approve(
        &self,
        session: &Session,
        params: ForRequest,
    ) -> Result<Value, ErrorShape> {
        let id = request_id(&params.request_id)?;
        // What a token cannot do is told with the request's own command, before
        // the scope that it lacks as well.
        if session.device().is_some() {
            session.check_own(methods::APPROVE)?;
        }
        let address = session.visitor.address.to_string();
        let call = session.call(methods::APPROVE, &address);
        let approved = self
            .authority
            .approve(&call, id, &Narrowing::default())
            .await;
        let approved = approved.map_err(|error| self.error(&error))?;
        self.news.hasten();
        let device = self.shown_device(session, approved.device).await?;
        Ok(json!({"requestId": id.to_string(), "device": device}))
    }

    pub(super) async fn reject(
        &self,
        session: &Session,
        params: ForRequest,
    ) -> Result<Value, ErrorShape> {
        let id = request_id(&params.request_id)?;
        session.check_own(methods::REJECT)?;
        let address = session.visitor.address.to_string();
        let call = session.call(methods::REJECT, &address);
        let rejected = self.authority.reject(&call, id, None).await;
        let rejected = rejected.map_err(|error| self.error(&error))?;
        self.news.hasten();
        Ok(json!({"requestId": id.to_string(), "deviceId": rejected.device.to_string()}))
    }

    /// Removing a device revokes it, with all that it approved.
    pub(super) async fn remove(
        &self,
        session: &Session,
        params: ForDevice,
    ) -> Result<Value, ErrorShape> {
        let device = device_id(&params.device_id)?;
        session.check_for(methods::REMOVE, device)?;
        let address = session.visitor.address.to_string();
        let call = session.call(methods::REMOVE, &address);
        let ended = self.authority.revoke(&call, device, false).await;
        let ended = ended.map_err(|error| self.error(&error))?;
        if ended.devices.is_empty() {
            return Err(self.error(&Error::NotFound("device")));
        }
        self.news.tell_of_change();
        Ok(json!({"deviceId": device.to_string()}))
    }

    pub(super) async fn rename(
        &self,
        session: &Session,
        params: NewLabel,
    ) -> Result<Value, ErrorShape> {
        let device = device_id(&params.device_id)?;
        let invalid = |error: String| ErrorShape::invalid(error);
        let name = DeviceName::new(&params.label).map_err(|error| invalid(error.to_string()))?;
        if name.as_str().is_empty() {
            return Err(invalid("label required".to_owned()));
        }
        session.check_for(methods::RENAME, device)?;
        let address = session.visitor.address.to_string();
        let call = session.call(methods::RENAME, &address);
        let renamed = self.authority.rename(&call, device, &name).await;
        renamed.map_err(|error| self.error(&error))?;
        self.news.tell_of_change();
        Ok(json!({"deviceId": device.to_string(), "label": name.as_str()}))
    }

    async fn shown_device(&self, session: &Session, device: DeviceId) -> Result<Value, ErrorShape> {
        let address = session.visitor.address.to_string();
        let call = session.call(methods::LIST, &address);
        match self.authority.paired_device(&call, device).await {
            Ok(roles) => Ok(self.paired(&roles).unwrap_or_default()),
            // It may approve and not list: then the id has to do.
            Err(Error::InsufficientScope(_)) => Ok(json!({"deviceId": device.to_string()})),
            Err(error) => Err(self.error(&error)),
        }
    }

    fn paired(&self, roles: &[crate::authority::paired::PairedRole]) -> Option<Value> {
        let device = roles.first()?.record.device()?;
        let connected = self
            .sessions
            .all()
            .iter()
            .any(|s| s.device() == Some(device));
        views::paired(roles, connected)
    }
}

/// An id as it was sent. What is no id is that of nothing.
fn request_id(text: &str) -> Result<RequestId, ErrorShape> {
    let unknown = || ErrorShape::invalid("unknown requestId").with("code", "NOT_FOUND");
    text.trim().parse().map_err(|_| unknown())
}

pub(super) fn device_id(text: &str) -> Result<DeviceId, ErrorShape> {
    let unknown = || ErrorShape::invalid("unknown deviceId").with("code", "NOT_FOUND");
    text.trim().parse().map_err(|_| unknown())
}
