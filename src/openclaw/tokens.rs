//! `device.token.*`: another grant for a device, or none.

use hardtack_token::{Role, ScopeSet};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::openclaw::OpenClaw;
use crate::openclaw::devices::device_id;
use crate::openclaw::errors::ErrorShape;
use crate::openclaw::methods;
use crate::openclaw::session::Session;

/// A device in a role.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForToken {
    device_id: String,
    role: String,
    #[serde(default)]
    scopes: Option<Vec<String>>,
}

impl OpenClaw {
    /// The new grant is in the answer if the device asks for itself. Another
    /// device has it when it connects the next time, by the proof of its key,
    /// whatever token it still has.
    pub(super) async fn rotate(
        &self,
        session: &Session,
        params: ForToken,
    ) -> Result<Value, ErrorShape> {
        let (device, role) = (device_id(&params.device_id)?, role(&params.role)?);
        let scopes = params.scopes.as_deref().map(scopes).transpose()?;
        session.check_for(methods::ROTATE, device)?;
        let address = session.visitor.address.to_string();
        let call = session.call(methods::ROTATE, &address);
        let rotated = self
            .authority
            .rotate_grant(&call, device, &role, scopes.as_ref())
            .await;
        let rotated = rotated.map_err(|error| self.error(&error))?;
        self.news.tell_of_change();
        let mut answer = json!({
            "deviceId": device.to_string(),
            "role": role.as_str(),
            "scopes": rotated.scopes.to_strings(),
            "rotatedAtMs": rotated.at.unix() * 1000,
            "tokenDelivery": "withheld-cross-device",
        });
        if let (Some(token), Some(members)) = (&rotated.token, answer.as_object_mut()) {
            members.insert("token".into(), json!(token.expose()));
            members.insert("tokenDelivery".into(), json!("in-band"));
        }
        Ok(answer)
    }

    pub(super) async fn revoke(
        &self,
        session: &Session,
        params: ForToken,
    ) -> Result<Value, ErrorShape> {
        let (device, role) = (device_id(&params.device_id)?, role(&params.role)?);
        session.check_for(methods::REVOKE, device)?;
        let address = session.visitor.address.to_string();
        let call = session.call(methods::REVOKE, &address);
        let revoked = self.authority.revoke_role(&call, device, &role).await;
        if revoked.map_err(|error| self.error(&error))? == 0 {
            let unknown = format!("device has no token in role `{role}`");
            return Err(ErrorShape::invalid(unknown).with("code", "NOT_FOUND"));
        }
        self.news.tell_of_change();
        Ok(json!({
            "deviceId": device.to_string(),
            "role": role.as_str(),
            "revokedAtMs": self.authority.millis(),
        }))
    }
}

pub(super) fn role(text: &str) -> Result<Role, ErrorShape> {
    let invalid = |_| ErrorShape::invalid("invalid role");
    text.trim().parse().map_err(invalid)
}

pub(super) fn scopes(texts: &[String]) -> Result<ScopeSet, ErrorShape> {
    let read = |text: &String| text.trim().parse();
    let read: Result<ScopeSet, hardtack_token::InvalidId> = texts.iter().map(read).collect();
    read.map_err(|error| ErrorShape::invalid(error.to_string()))
}
