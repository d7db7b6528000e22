//! `hardtack token issue`, `list` and `revoke`: tokens of services.

use std::time::Duration;

use hardtack_token::GrantId;
use http::Method;
use serde_json::{Value, json};

use super::call::Session;
use super::client::Body;
use super::context::Context;
use super::devices::agree;
use super::failure::{Exit, Failure};
use super::output::{self, joined, text};
use crate::domain::operation::Operation;

const PATH: &str = "/v1/service-tokens";

#[derive(Debug, clap::Args)]
pub(super) struct Issue {
    /// Name of the service, which is its client id: small letters, digits and `-`
    name: String,
    /// What it gives, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    scopes: Vec<String>,
    /// Origin the token is for; the gateway's where nothing is said
    #[arg(long)]
    audience: Option<String>,
    /// End of the token from now, at most 366d
    #[arg(long, value_parser = humantime::parse_duration, default_value = "90d")]
    expires: Duration,
}

pub(super) async fn issue(command: &Issue, context: &Context) -> Result<(), Failure> {
    let mut session = Session::open(context).await?;
    let body = Body::Json(json!({
        "name": command.name,
        "scopes": command.scopes,
        "audience": command.audience,
        "expires_in": command.expires.as_secs(),
    }));
    let answer = session
        .call(Operation::TokensIssue, Method::POST, PATH, body)
        .await?;
    if context.json() {
        output::json(&answer)
    } else {
        output::line(text(&answer, "token"))
    }
}

pub(super) async fn list(all: bool, context: &Context) -> Result<(), Failure> {
    let mut session = Session::open(context).await?;
    let items = services(&mut session, if all { "" } else { "status=active" }).await?;
    if context.json() {
        return output::json(&json!({"items": items}));
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let cell = |name: &str| text(item, name).to_owned();
            let scopes = joined(item, "scopes");
            let (name, status) = (cell("name"), cell("status"));
            vec![name, status, scopes, cell("audience"), cell("expires_at")]
        })
        .collect();
    output::table(&["SERVICE", "STATUS", "SCOPES", "FOR", "EXPIRES"], &rows)
}

pub(super) async fn revoke(named: &str, yes: bool, context: &Context) -> Result<(), Failure> {
    let mut session = Session::open(context).await?;
    let id = find(&mut session, named).await?;
    agree(yes, "The service's token ends. Go on?")?;
    let path = format!("{PATH}/{id}/revoke");
    let answer = session
        .call(
            Operation::TokensRevoke,
            Method::POST,
            &path,
            Body::Json(json!({})),
        )
        .await?;
    if context.json() {
        return output::json(&answer);
    }
    let (name, id) = (text(&answer, "name"), text(&answer, "grant_id"));
    output::line(&format!("revoked  {name}  {id}"))
}

async fn services(session: &mut Session, query: &str) -> Result<Vec<Value>, Failure> {
    let path = format!("{PATH}?{query}");
    session.all(Operation::TokensList, &path).await
}

/// Resolves a name to the grant of its live token, or of its newest one. A whole
/// id is taken as it is: whether there is such a token is for the server to say.
async fn find(session: &mut Session, named: &str) -> Result<String, Failure> {
    if named.parse::<GrantId>().is_ok() {
        return Ok(named.to_owned());
    }
    let all = services(session, "").await?;
    let mut known: Vec<&Value> = all.iter().filter(|s| text(s, "name") == named).collect();
    known.sort_by_key(|service| text(service, "status") == "active");
    let found = known
        .last()
        .map(|service| text(service, "grant_id").to_owned());
    found.ok_or_else(|| {
        let detail = format!("no service token of the name `{named}`");
        Failure::new(Exit::WrongState, "not_found", detail)
            .with_used(session.credential.source.clone())
            .with_next("hardtack token list --all")
    })
}
