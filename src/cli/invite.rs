//! `hardtack devices invite`, `invites` and `uninvite`

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::call::Session;
use super::client::Body;
use super::context::Context;
use super::devices::{ambiguous, cells, not_found};
use super::failure::Failure;
use super::output::{self, joined, text};
use crate::authority::OPERATOR;
use crate::domain::ids::InviteId;
use crate::domain::operation::Operation;
use crate::domain::setup_code::GatewayUrl;

#[derive(Debug, clap::Args)]
pub(super) struct Invite {
    /// Scopes to promise, separated by commas
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
    /// Role to promise
    #[arg(long, default_value = OPERATOR)]
    role: String,
    /// How long the invite waits to be used
    #[arg(long, default_value = "15m", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// End of the grant from the moment it is given, such as 30d
    #[arg(long, value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// Name for the device
    #[arg(long)]
    name: Option<String>,
    /// Print a setup code for OpenClaw's clients, which come to this `wss` URL
    #[arg(long, value_name = "URL")]
    openclaw_url: Option<GatewayUrl>,
}

pub(super) async fn create(
    session: &mut Session,
    context: &Context,
    invite: &Invite,
) -> Result<(), Failure> {
    let body = Body::Json(json!({
        "role": invite.role,
        "scopes": invite.scopes,
        "name": invite.name,
        "expires_in": invite.ttl.as_secs(),
        "grant_expires_in": invite.expires.map(|d| d.as_secs()),
    }));
    let mut answer = session
        .call(Operation::DevicesInvite, Method::POST, "/v1/invites", body)
        .await?;
    let setup_code = invite
        .openclaw_url
        .as_ref()
        .and_then(|url| setup_code(&answer, url));
    if let (Some(code), Some(members)) = (&setup_code, answer.as_object_mut()) {
        members.insert("setup_code".into(), json!(code));
    }
    if context.json() {
        return output::json(&answer);
    }
    let code = text(&answer, "code");
    output::line(&format!("code      {code}"))?;
    output::line(&format!("scopes    {}", joined(&answer, "scopes")))?;
    output::line(&format!("expires   {}", text(&answer, "expires_at")))?;
    output::line(&format!(
        "there     hardtack pair --url {} --invite {code}",
        session.client.server()
    ))?;
    if let Some(code) = setup_code {
        output::line(&format!("openclaw  openclaw connect {code}"))?;
    }
    output::line(&format!(
        "undo      hardtack devices uninvite {}",
        text(&answer, "id")
    ))
}

/// The invite in the form that OpenClaw's clients take.
fn setup_code(invite: &Value, url: &GatewayUrl) -> Option<String> {
    let expires_at = text(invite, "expires_at").parse().ok()?;
    Some(url.setup_code(text(invite, "code"), expires_at))
}

pub(super) async fn list(session: &mut Session, context: &Context) -> Result<(), Failure> {
    let invites = session.all(Operation::InvitesList, "/v1/invites?").await?;
    if context.json() {
        return output::json(&json!({"invites": invites}));
    }
    let rows: Vec<Vec<String>> = invites
        .iter()
        .map(|invite| {
            let mut row = cells(invite, &["id", "status", "role"]);
            row.push(joined(invite, "scopes"));
            row.extend(cells(invite, &["name", "expires_at"]));
            row
        })
        .collect();
    output::table(
        &["INVITE", "STATUS", "ROLE", "SCOPES", "NAME", "EXPIRES"],
        &rows,
    )
}

pub(super) async fn revoke(
    session: &mut Session,
    context: &Context,
    given: &str,
) -> Result<(), Failure> {
    let id = find(session, given).await?;
    let path = format!("/v1/invites/{id}/revoke");
    let body = Body::Json(json!({}));
    let answer = session
        .call(Operation::InvitesRevoke, Method::POST, &path, body)
        .await?;
    if context.json() {
        return output::json(&answer);
    }
    output::line(&format!("{}  {id}", text(&answer, "status")))
}

/// Resolves an invite's id or its beginning.
async fn find(session: &mut Session, given: &str) -> Result<String, Failure> {
    if given.parse::<InviteId>().is_ok() {
        return Ok(given.to_owned());
    }
    let invites = session.all(Operation::InvitesList, "/v1/invites?").await?;
    let ids = invites.iter().map(|invite: &Value| text(invite, "id"));
    let ids: Vec<&str> = ids.filter(|id| id.starts_with(given)).collect();
    match ids.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(not_found(session, "invite", given)),
        [..] => Err(ambiguous(given)),
    }
}
