//! `hardtack devices`

use std::io::{IsTerminal, Write};
use std::time::Duration;

use hardtack_token::DeviceId;
use http::Method;
use serde_json::{Value, json};

use super::call::Session;
use super::client::Body;
use super::context::Context;
use super::failure::{Exit, Failure};
use super::invite::{self, Invite};
use super::output::{self, joined, text};
use super::watch;
use crate::domain::ids::RequestId;
use crate::domain::operation::Operation;
use crate::domain::user_code::UserCode;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Devices {
    /// List pending requests and devices
    List {
        /// Retired and revoked devices too
        #[arg(long)]
        all: bool,
    },
    /// Show a pending request or a device
    Show {
        /// Id, code, or the first digits of an id
        id: String,
    },
    /// Approve a pending request, or with --watch answer requests as they come
    Approve(Approve),
    /// Reject a pending request
    Reject {
        /// Id, code, or the first digits of an id
        id: String,
        /// Reason to tell the device
        #[arg(long)]
        reason: Option<String>,
    },
    /// Invite a device: whoever brings the code once is paired without another approval
    Invite(Invite),
    /// List invites
    Invites,
    /// Take an invite back that was not used
    Uninvite {
        /// Id of the invite, or its first digits
        id: String,
    },
    /// End a device and every device it approved
    Revoke {
        /// Id, or its first digits
        id: String,
        /// Only say what would end
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// End a device; what it approved lives on
    Retire {
        /// Id, or its first digits
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    /// Id, code, or the first digits of an id
    #[arg(required_unless_present = "watch")]
    id: Option<String>,
    /// Show requests as they come, and read an answer to each from standard input: y approves, r rejects
    #[arg(long, conflicts_with = "id")]
    watch: bool,
    /// Give only these scopes, separated by commas
    #[arg(long, value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    /// End of the grant from now, such as 30d
    #[arg(long, value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// Another name for the device
    #[arg(long)]
    name: Option<String>,
}

pub(super) async fn run(command: &Devices, context: &Context) -> Result<(), Failure> {
    let mut session = Session::open(context).await?;
    match command {
        Devices::List { all } => list(&mut session, context, *all).await,
        Devices::Show { id } => show(&mut session, context, id).await,
        Devices::Approve(approve) => match &approve.id {
            Some(id) => {
                let answer = approve_request(&mut session, id, approve).await?;
                done(context, &answer, "approved")
            }
            None => watch::run(&mut session, context, approve).await,
        },
        Devices::Invite(command) => invite::create(&mut session, context, command).await,
        Devices::Invites => invite::list(&mut session, context).await,
        Devices::Uninvite { id } => invite::revoke(&mut session, context, id).await,
        Devices::Reject { id, reason } => {
            let id = find_request(&mut session, id).await?;
            let answer = reject_request(&mut session, &id, reason.as_deref()).await?;
            done(context, &answer, "rejected")
        }
        Devices::Revoke { id, dry_run, yes } => {
            revoke(&mut session, context, id, *dry_run, *yes).await
        }
        Devices::Retire { id, yes } => {
            let id = find_device(&mut session, id).await?;
            agree(*yes, "The device ends; what it approved lives on. Go on?")?;
            let path = format!("/v1/devices/{id}/retire");
            let body = Body::Json(json!({}));
            let answer = session
                .call(Operation::DevicesRetire, Method::POST, &path, body)
                .await?;
            show_ending(context, &answer)
        }
    }
}

async fn list(session: &mut Session, context: &Context, all: bool) -> Result<(), Failure> {
    let pending = session
        .all(
            Operation::PairingList,
            "/v1/pairing-requests?status=pending",
        )
        .await?;
    let path = if all {
        "/v1/devices?"
    } else {
        "/v1/devices?status=active"
    };
    let devices = session.all(Operation::DevicesList, path).await?;
    if context.json() {
        return output::json(&json!({"pending": pending, "devices": devices}));
    }
    if !pending.is_empty() {
        let rows: Vec<Vec<String>> = pending
            .iter()
            .map(|r| {
                let mut row = cells(r, &["user_code", "name", "role"]);
                row.push(joined(r, "scopes"));
                row.extend(cells(r, &["address", "expires_at"]));
                row
            })
            .collect();
        let head = ["PENDING", "NAME", "ROLE", "SCOPES", "FROM", "EXPIRES"];
        output::table(&head, &rows)?;
    }
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|d| {
            let id = text(d, "device_id")
                .get(..12)
                .unwrap_or_default()
                .to_owned();
            let mut row = vec![id];
            row.extend(cells(d, &["name", "role", "status"]));
            row.push(joined(d, "scopes"));
            row.extend(cells(d, &["last_used_at"]));
            row
        })
        .collect();
    output::table(
        &["DEVICE", "NAME", "ROLE", "STATUS", "SCOPES", "LAST USED"],
        &rows,
    )
}

async fn show(session: &mut Session, context: &Context, id: &str) -> Result<(), Failure> {
    let found = match find_request(session, id).await {
        Ok(request) => {
            let path = format!("/v1/pairing-requests/{request}");
            let operation = Operation::PairingShow;
            session
                .call(operation, Method::GET, &path, Body::None)
                .await
        }
        Err(failure) if failure.exit == Exit::WrongState => {
            let device = find_device(session, id).await?;
            let path = format!("/v1/devices/{device}");
            let operation = Operation::DevicesShow;
            session
                .call(operation, Method::GET, &path, Body::None)
                .await
        }
        Err(failure) => Err(failure),
    }?;
    if context.json() {
        return output::json(&found);
    }
    let members = found.as_object().into_iter().flatten();
    members
        .filter(|(_, value)| !value.is_null())
        .try_for_each(|(name, value)| {
            let shown = match value {
                Value::String(text) => text.clone(),
                Value::Array(_) => joined(&found, name),
                other => other.to_string(),
            };
            output::line(&format!("{name:<20}{shown}"))
        })
}

/// Approves one request; the server's answer.
pub(super) async fn approve_request(
    session: &mut Session,
    given: &str,
    approve: &Approve,
) -> Result<Value, Failure> {
    let id = find_request(session, given).await;
    // Whoever may not even list requests is told who may approve this one.
    let id = id.map_err(|failure| match failure.code() {
        "insufficient_scope" | "missing_token" => failure.with_next(format!(
            "hardtack devices approve {given}    # on the server's machine"
        )),
        _ => failure,
    })?;
    let path = format!("/v1/pairing-requests/{id}/approve");
    let body = Body::Json(json!({
        "scopes": approve.scopes,
        "expires_in": approve.expires.map(|d| d.as_secs()),
        "name": approve.name,
    }));
    let operation = Operation::PairingApprove;
    session.call(operation, Method::POST, &path, body).await
}

/// Rejects one request; the server's answer.
pub(super) async fn reject_request(
    session: &mut Session,
    id: &str,
    reason: Option<&str>,
) -> Result<Value, Failure> {
    let path = format!("/v1/pairing-requests/{id}/reject");
    let body = Body::Json(json!({"reason": reason}));
    let operation = Operation::PairingReject;
    session.call(operation, Method::POST, &path, body).await
}

async fn revoke(
    session: &mut Session,
    context: &Context,
    id: &str,
    dry_run: bool,
    yes: bool,
) -> Result<(), Failure> {
    let id = find_device(session, id).await?;
    let path = format!("/v1/devices/{id}/revoke");
    let mut send = async |dry_run: bool| {
        let body = Body::Json(json!({"dry_run": dry_run}));
        let operation = Operation::DevicesRevoke;
        session.call(operation, Method::POST, &path, body).await
    };
    if dry_run {
        return show_ending(context, &send(true).await?);
    }
    if !yes {
        need_terminal()?;
        let radius = send(true).await?;
        let count = radius.get("count").and_then(Value::as_u64).unwrap_or(0);
        let services = radius.get("services").and_then(Value::as_array);
        let services = match services.map_or(0, Vec::len) {
            0 => String::new(),
            n => format!(", and {n} service token(s)"),
        };
        confirm(&format!(
            "{count} device(s) end: this one and all it approved{services}. Go on?"
        ))?;
    }
    show_ending(context, &send(false).await?)
}

fn show_ending(context: &Context, answer: &Value) -> Result<(), Failure> {
    if context.json() {
        return output::json(answer);
    }
    let count = answer.get("count").and_then(Value::as_u64).unwrap_or(0);
    let dry_run = answer.get("dry_run").and_then(Value::as_bool) == Some(true);
    let verb = match (text(answer, "mode"), dry_run) {
        (_, true) => "would end",
        ("revoke", false) => "revoked",
        _ => "retired",
    };
    output::line(&format!("{verb}  {count} device(s)"))?;
    let ids = answer.get("device_ids").and_then(Value::as_array);
    let services = answer.get("services").and_then(Value::as_array);
    let names = |list: Option<&Vec<Value>>| -> Vec<String> {
        let list = list.into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for id in names(ids) {
        output::line(&format!("  {id}"))?;
    }
    names(services)
        .iter()
        .try_for_each(|name| output::line(&format!("  service {name}")))
}

pub(super) fn done(context: &Context, answer: &Value, verb: &str) -> Result<(), Failure> {
    if context.json() {
        return output::json(answer);
    }
    let device = text(answer, "device_id").get(..12).unwrap_or_default();
    output::line(&format!("{verb}  {device}…  {}", joined(answer, "scopes")))
}

/// Resolves an id, a code or the beginning of an id to a request's id. A whole
/// id is taken as it is: whether there is such a request is for the server to say.
async fn find_request(session: &mut Session, given: &str) -> Result<String, Failure> {
    if given.len() == 36 && given.parse::<RequestId>().is_ok() {
        return Ok(given.to_lowercase());
    }
    let requests = session
        .all(Operation::PairingList, "/v1/pairing-requests?")
        .await?;
    let code = UserCode::parse(given).map(|code| code.to_string());
    let matches = |r: &&Value| {
        code.as_deref() == Some(text(r, "user_code")) || text(r, "id").starts_with(given)
    };
    // A code may have been used before: what waits comes first, then the newest.
    let found: Vec<&Value> = requests.iter().filter(matches).collect();
    let pending: Vec<&&Value> = found
        .iter()
        .filter(|r| text(r, "status") == "pending")
        .collect();
    match (pending.as_slice(), found.as_slice()) {
        ([one], _) => Ok(text(one, "id").to_owned()),
        ([], [.., newest]) if found.len() == 1 || code.is_some() => {
            Ok(text(newest, "id").to_owned())
        }
        ([], []) => Err(not_found(session, "pairing request", given)),
        _ => Err(ambiguous(given)),
    }
}

/// Resolves a device id or its beginning.
async fn find_device(session: &mut Session, given: &str) -> Result<String, Failure> {
    if given.parse::<DeviceId>().is_ok() {
        return Ok(given.to_owned());
    }
    let devices = session.all(Operation::DevicesList, "/v1/devices?").await?;
    let ids = devices.iter().map(|d| text(d, "device_id"));
    let mut ids: Vec<&str> = ids.filter(|id| id.starts_with(given)).collect();
    ids.dedup();
    match ids.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(not_found(session, "device", given)),
        [..] => Err(ambiguous(given)),
    }
}

impl Session {
    /// All items of a list, page by page. `path` has a query already.
    pub(super) async fn all(
        &mut self,
        operation: Operation,
        path: &str,
    ) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("{path}&limit=500{after}");
            let page = self.call(operation, Method::GET, &path, Body::None).await?;
            let list = page.get("items").and_then(Value::as_array);
            items.extend(list.into_iter().flatten().cloned());
            match text(&page, "next") {
                "" => return Ok(items),
                cursor => after = format!("&after={cursor}"),
            }
        }
    }
}

pub(super) fn not_found(session: &Session, what: &str, given: &str) -> Failure {
    let detail = format!("no {what} with the id or code `{given}`");
    Failure::new(Exit::WrongState, "not_found", detail)
        .with_used(session.credential.source.clone())
        .with_next("hardtack devices list")
}

pub(super) fn ambiguous(given: &str) -> Failure {
    Failure::usage(format!("`{given}` is the beginning of several ids"))
        .with_next("hardtack devices list")
}

pub(super) fn cells(value: &Value, names: &[&str]) -> Vec<String> {
    names.iter().map(|n| text(value, n).to_owned()).collect()
}

pub(super) fn agree(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    need_terminal()?;
    confirm(question)
}

fn need_terminal() -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        Ok(())
    } else {
        Err(Failure::usage(
            "this cannot be taken back: say --yes, or run it on a terminal",
        ))
    }
}

/// Asks on standard error and goes on for `y` only.
pub(super) fn confirm(question: &str) -> Result<(), Failure> {
    let asked = write!(std::io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    let read = asked.and_then(|()| std::io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => Err(Failure::usage("not confirmed; nothing was changed")),
    }
}
