//! `hardtack whoami`

use http::Method;
use serde_json::{Value, json};

use super::call::Session;
use super::client::Body;
use super::context::Context;
use super::credential::CredentialKind;
use super::failure::Failure;
use super::output::{self, joined, text};
use crate::domain::operation::Operation;

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let mut session = Session::open(context).await?;
    let kind = match &session.credential.kind {
        CredentialKind::Root(_) => "root",
        CredentialKind::Access(_) => "token",
        CredentialKind::Profile { .. } => "profile",
        CredentialKind::LocalDevice { .. } => "local_device",
        CredentialKind::None => "none",
    };
    let known = match &session.credential.kind {
        CredentialKind::None => Value::Null,
        // The root token says nothing of itself; what it can do needs no asking.
        CredentialKind::Root(_) => json!({"scopes": ["*"]}),
        CredentialKind::Access(_)
        | CredentialKind::Profile { .. }
        | CredentialKind::LocalDevice { .. } => {
            session
                .call(Operation::Whoami, Method::GET, "/v1/whoami", Body::None)
                .await?
        }
    };
    let next: Vec<&str> = match kind {
        "none" => vec!["hardtack pair --scopes operator.read"],
        "local_device" | "root" => vec!["hardtack devices list"],
        _ => vec!["hardtack token exchange"],
    };
    let document = json!({
        "url": session.client.server().as_str(),
        "instance_id": session.instance_id,
        "credential": kind,
        "source": session.credential.source,
        "device_id": known.get("device_id"),
        "grant_id": known.get("grant_id"),
        "role": known.get("role"),
        "scopes": known.get("scopes").cloned().unwrap_or_else(|| json!([])),
        "expires_at": known.get("expires_at"),
        "next": next,
    });
    if context.json() {
        return output::json(&document);
    }
    output::line(&format!("server      {}", session.client.server()))?;
    output::line(&format!("credential  {}", session.credential.source))?;
    for (label, name) in [
        ("device", "device_id"),
        ("grant", "grant_id"),
        ("role", "role"),
    ] {
        let value = text(&document, name);
        if !value.is_empty() {
            output::line(&format!("{label:<12}{value}"))?;
        }
    }
    let scopes = joined(&document, "scopes");
    let scopes = if scopes.is_empty() { "none" } else { &scopes };
    output::line(&format!("scopes      {scopes}"))?;
    let expires = text(&document, "expires_at");
    if !expires.is_empty() {
        output::line(&format!("expires     {expires}"))?;
    }
    next.iter()
        .try_for_each(|next| output::line(&format!("next        {next}")))
}
