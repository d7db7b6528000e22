//! `device.scopes.*`: a device on an open connection asks for more, and waits.

use hardtack_token::{DeviceId, GrantId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authority::connection::Party;
use crate::domain::ids::RequestId;
use crate::domain::pairing::RequestState;
use crate::openclaw::OpenClaw;
use crate::openclaw::errors::ErrorShape;
use crate::openclaw::session::Session;
use crate::openclaw::tokens;

/// The scopes that are to be had in all.
#[derive(Debug, Deserialize)]
pub(super) struct WantedScopes {
    scopes: Vec<String>,
}

/// The request that is waited for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AwaitedRequest {
    request_id: String,
}

impl OpenClaw {
    pub(super) async fn request_upgrade(
        &self,
        session: &Session,
        params: WantedScopes,
    ) -> Result<Value, ErrorShape> {
        let (device, grant) = device_of(session)?;
        let scopes = tokens::scopes(&params.scopes)?;
        if scopes.is_empty() {
            return Err(ErrorShape::invalid("`scopes` is empty"));
        }
        let address = session.visitor.address.to_string();
        let request = self.authority.ask_for_more(device, grant, scopes, &address);
        let request = request.await.map_err(|error| self.error(&error))?;
        self.news.hasten();
        Ok(json!({"requestId": request.id.to_string()}))
    }

    /// Waits until somebody answers, or nobody does in time. The connection of
    /// the old grant ends when there is a new one: the answer still goes out.
    pub(super) async fn wait_upgrade(
        &self,
        session: &Session,
        params: AwaitedRequest,
    ) -> Result<Value, ErrorShape> {
        let (device, _) = device_of(session)?;
        let unknown = |_| ErrorShape::invalid("scope upgrade expired or not found");
        let id: RequestId = params.request_id.trim().parse().map_err(unknown)?;
        let mut news = self.news.subscribe();
        let mut is_last = false;
        loop {
            let own = self.authority.own_request(device, id).await;
            let own = own.map_err(|error| self.error(&error))?;
            let status = match &own.request.state {
                RequestState::Approved(_) => "approved",
                RequestState::Expired => "expired",
                // The protocol has no word for a request that another replaced.
                RequestState::Rejected(_) | RequestState::Superseded(_) => "rejected",
                RequestState::Pending if is_last => "expired",
                RequestState::Pending => {
                    tokio::select! {
                        // A sender that is gone takes this whole door along.
                        changed = news.changed() => is_last = changed.is_err(),
                        _ = session.end_of() => is_last = true,
                    }
                    continue;
                }
            };
            let mut answer = json!({"status": status, "requestId": id.to_string()});
            if let (Some((token, scopes)), Some(members)) = (own.grant, answer.as_object_mut()) {
                members.insert("deviceToken".into(), json!(token.expose()));
                members.insert("scopes".into(), json!(scopes.to_strings()));
            }
            return Ok(answer);
        }
    }
}

fn device_of(session: &Session) -> Result<(DeviceId, GrantId), ErrorShape> {
    match session.party {
        Party::Device { device, grant } => Ok((device, grant)),
        Party::Token(_) => {
            let message = "a scope upgrade is a device's: this connection has a token only";
            Err(ErrorShape::invalid(message).with("code", "DEVICE_IDENTITY_REQUIRED"))
        }
    }
}
