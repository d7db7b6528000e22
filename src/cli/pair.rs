//! `hardtack pair`: ask, show the code, wait, keep the grant.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::call::{fetch, instance_id, prove, prove_with};
use super::client::{Body, Client};
use super::context::{Context, DEFAULT_PROFILE, read_token};
use super::failure::{Exit, Failure};
use super::output::{self, joined, text};
use super::profile::Profile;
use crate::authority::OPERATOR;
use crate::authority::entropy::Entropy;

/// How long to wait where nothing is said.
const WAIT: Duration = Duration::from_hours(1);
/// How often to ask where the server says nothing.
const INTERVAL: u64 = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Pair {
    /// Scopes to ask for, separated by commas
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
    /// Role to ask for
    #[arg(long, default_value = OPERATOR)]
    role: String,
    /// Name for this device
    #[arg(long)]
    name: Option<String>,
    /// Code of an invite, which is the approval: `-` for standard input, `@FILE` for a file, or the code
    #[arg(long, value_name = "CODE")]
    invite: Option<String>,
    /// Do not wait for the approval; run `pair` again to fetch it
    #[arg(long)]
    no_wait: bool,
}

/// A command, and the profile that it pairs.
struct Pairing<'a> {
    command: &'a Pair,
    name: String,
    profile: Profile,
}

pub(super) async fn run(command: &Pair, context: &Context) -> Result<(), Failure> {
    let client = context.client(context.request_timeout())?;
    let instance_id = instance_id(&client).await?;
    let named = context.named_profile();
    let name = named.map_or_else(|| DEFAULT_PROFILE.to_owned(), |(name, _)| name);
    let profile = profile(&name, &client, &instance_id, command)?;
    let key = profile.key()?;
    let mut pairing = Pairing {
        command,
        name: name.clone(),
        profile,
    };
    if let Some(given) = &command.invite {
        let code = invite_code(given)?;
        let paired = redeem(&client, &key, &mut pairing, &code).await?;
        return finish(context, &mut pairing, &paired);
    }
    let wait = async {
        loop {
            let asked = ask(&client, &key, &mut pairing).await?;
            if text(&asked, "status") == "approved" {
                return finish(context, &mut pairing, &asked);
            }
            pairing.profile.request_id = Some(text(&asked, "id").to_owned());
            pairing.profile.save(&name)?;
            show_pending(context, &asked)?;
            if command.no_wait {
                return Ok(());
            }
            if let Some(approved) = wait_for(&client, &key, &asked, &mut pairing).await? {
                return finish(context, &mut pairing, &approved);
            }
        }
    };
    match tokio::time::timeout(context.wait_timeout(WAIT), wait).await {
        Ok(done) => done,
        Err(_) => Err(Failure::new(
            Exit::TimedOut,
            "timed_out",
            "nobody approved in time; the request waits on, `pair` goes on where it was",
        )
        .with_next(format!("hardtack pair --profile {name}"))),
    }
}

/// The profile to pair: its key is kept over all attempts, so that the device
/// stays the same. A profile of another install is never overwritten.
fn profile(
    name: &str,
    client: &Client,
    instance_id: &str,
    command: &Pair,
) -> Result<Profile, Failure> {
    let mut profile = match Profile::load(name)? {
        Some(profile) if profile.instance_id == instance_id => profile,
        Some(profile) => {
            return Err(Failure::new(
                Exit::WrongState,
                "other_install",
                format!(
                    "profile `{name}` belongs to another install, at {}",
                    profile.url
                ),
            )
            .with_next("hardtack pair --profile ANOTHER-NAME --scopes operator.read"));
        }
        None => {
            let key = SigningKey::generate(&mut Entropy::system().rng());
            Profile::new(client.server().as_str(), instance_id, &key)
        }
    };
    profile.role.clone_from(&command.role);
    if let Some(device) = &command.name {
        profile.name.clone_from(device);
    }
    if profile.name.is_empty() {
        name.clone_into(&mut profile.name);
    }
    Ok(profile)
}

/// The request that waits or was answered, or a new one. Without scopes of its
/// own a command goes on where the profile stands, and asks for what it asked for.
async fn ask(
    client: &Client,
    key: &SigningKey,
    pairing: &mut Pairing<'_>,
) -> Result<Value, Failure> {
    if pairing.command.scopes.is_empty()
        && let Some(found) = standing(client, key, pairing).await?
    {
        return Ok(found);
    }
    let profile = &mut pairing.profile;
    if !pairing.command.scopes.is_empty() {
        profile.scopes.clone_from(&pairing.command.scopes);
    }
    let body = Body::Json(json!({
        "role": profile.role,
        "scopes": profile.scopes,
        "name": profile.name,
        "metadata": metadata(),
    }));
    let answer = prove(client, key, &Method::POST, "/v1/pairing-requests", &body).await?;
    answer.success().map_err(|failure| {
        if profile.scopes.is_empty() {
            let name = &pairing.name;
            failure.with_next(format!(
                "hardtack pair --profile {name} --scopes operator.read"
            ))
        } else {
            failure
        }
    })
}

/// The code as it is given: it works once and not for long, so that it may stand
/// on a command line.
fn invite_code(given: &str) -> Result<Zeroizing<String>, Failure> {
    if given == "-" || given.starts_with('@') {
        return read_token(given);
    }
    Ok(Zeroizing::new(given.trim().to_owned()))
}

/// Brings an invite: without scopes of its own a command gets all that it promises.
async fn redeem(
    client: &Client,
    key: &SigningKey,
    pairing: &mut Pairing<'_>,
    code: &str,
) -> Result<Value, Failure> {
    let command = pairing.command;
    let scopes = Some(&command.scopes).filter(|scopes| !scopes.is_empty());
    let profile = &mut pairing.profile;
    let body = Body::Json(json!({
        "scopes": scopes,
        "name": profile.name,
        "metadata": metadata(),
    }));
    // The key is kept whatever the answer is: brought again by the same key, an
    // invite whose answer was lost gives the same grant.
    profile.save(&pairing.name)?;
    let authorization = format!("Invite {code}");
    let answer = prove_with(
        client,
        key,
        &Method::POST,
        "/v1/pairing-requests",
        &body,
        Some(&authorization),
    );
    let paired = answer.await?.success()?;
    if let Some(role) = paired.get("role").and_then(Value::as_str) {
        role.clone_into(&mut profile.role);
    }
    if let Some(given) = paired.get("scopes").and_then(Value::as_array) {
        let given = given.iter().filter_map(Value::as_str);
        profile.scopes = given.map(str::to_owned).collect();
    }
    Ok(paired)
}

fn metadata() -> Value {
    json!({"platform": std::env::consts::OS, "client": concat!("hardtack/", env!("CARGO_PKG_VERSION"))})
}

/// The profile's request, if it still waits or led to a live grant.
async fn standing(
    client: &Client,
    key: &SigningKey,
    pairing: &mut Pairing<'_>,
) -> Result<Option<Value>, Failure> {
    let Some(id) = pairing.profile.request_id.clone() else {
        return Ok(None);
    };
    let found = fetch(client, key, &format!("/v1/pairing-requests/{id}")).await;
    match found {
        Ok(request) => match text(&request, "status") {
            "pending" | "approved" => Ok(Some(request)),
            "rejected" => {
                // Said once: the next `pair` asks again.
                pairing.profile.request_id = None;
                pairing.profile.save(&pairing.name)?;
                Err(rejected(&request, &pairing.name))
            }
            // By another command with the same profile: not to be fought over.
            "superseded" => Err(Failure::new(
                Exit::WrongState,
                "superseded",
                "another ask of this device took this one's place",
            )),
            _ => Ok(None),
        },
        Err(failure) if failure.exit == Exit::WrongState => Ok(None),
        Err(failure) if ["revoked", "retired", "unknown_grant"].contains(&failure.code()) => {
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

fn rejected(request: &Value, name: &str) -> Failure {
    let reason = match text(request, "reason") {
        "" => "the request was rejected".to_owned(),
        reason => format!("the request was rejected: {reason}"),
    };
    Failure::new(Exit::Refused, "rejected", reason)
        .with_next(format!("hardtack pair --profile {name}    # asks again"))
}

/// Asks until there is an answer; `None` if the request ended by itself and is to
/// be made again.
async fn wait_for(
    client: &Client,
    key: &SigningKey,
    asked: &Value,
    pairing: &mut Pairing<'_>,
) -> Result<Option<Value>, Failure> {
    let interval = asked.get("interval").and_then(Value::as_u64);
    let interval = Duration::from_secs(interval.unwrap_or(INTERVAL));
    loop {
        tokio::time::sleep(interval).await;
        match standing(client, key, pairing).await {
            Ok(Some(request)) if text(&request, "status") == "pending" => {}
            // A server that restarts is worth waiting for.
            Err(failure) if failure.exit == Exit::Unreachable => {}
            answered => return answered,
        }
    }
}

fn show_pending(context: &Context, asked: &Value) -> Result<(), Failure> {
    let id = text(asked, "id");
    let code = text(asked, "user_code");
    if context.json() {
        return output::json(&json!({
            "id": id,
            "status": "pending",
            "device_id": text(asked, "device_id"),
            "user_code": code,
            "scopes": asked.get("scopes"),
            "expires_at": text(asked, "expires_at"),
            "approve": format!("hardtack devices approve {id}"),
        }));
    }
    output::line(&format!("code      {code}"))?;
    output::line(&format!("scopes    {}", joined(asked, "scopes")))?;
    output::line(&format!("expires   {}", text(asked, "expires_at")))?;
    output::line(&format!("approve   hardtack devices approve {code}"))?;
    eprint_waiting();
    Ok(())
}

/// Progress is for people: on standard error, and only where somebody looks.
fn eprint_waiting() {
    use std::io::{IsTerminal, Write};
    let mut err = std::io::stderr();
    if err.is_terminal() {
        drop(writeln!(err, "waiting for the approval…"));
    }
}

fn finish(context: &Context, pairing: &mut Pairing<'_>, approved: &Value) -> Result<(), Failure> {
    let Pairing { name, profile, .. } = pairing;
    let grant = text(approved, "grant");
    if grant.is_empty() {
        return Err(Failure::unexpected(
            "the server says approved and gives no grant",
        ));
    }
    profile.grant = Some(grant.to_owned().into());
    profile.request_id = Some(text(approved, "id").to_owned());
    profile.save(name)?;
    let scopes = grant_scopes(grant);
    if context.json() {
        return output::json(&json!({
            "id": text(approved, "id"),
            "status": "approved",
            "grant_id": text(approved, "grant_id"),
            "scopes": scopes,
            "profile": name,
        }));
    }
    output::line(&format!("approved  {}", scopes.join(" ")))?;
    output::line(&format!("profile   {name}"))?;
    output::line(&format!(
        "next      hardtack token exchange --profile {name}"
    ))
}

/// The scopes that the grant was given, which may be fewer than were asked.
fn grant_scopes(grant: &str) -> Vec<String> {
    use hardtack_token::{Profile as Kind, TokenText, Untrusted};
    let read = TokenText::new(grant).and_then(|text| Untrusted::inspect(&text));
    match read.as_ref().map(Untrusted::claims) {
        Ok(Kind::Chain(chain)) => chain.leaf().scopes.to_strings(),
        Ok(Kind::Root(_)) | Err(_) => Vec::new(),
    }
}
