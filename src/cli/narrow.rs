//! `hardtack token attenuate` and `token verify`: what a holder and a verifier
//! do without asking the server.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use hardtack_token::{
    Caveat, Clock, Denial, DeviceId, KeyRing, KeyState, Origin, PathPrefix, PublicKey, Request,
    Revocations, RootKeyId, Scope, SystemClock, Timestamp, TokenText, Untrusted, Verifier,
    attenuate,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Body, Client, Identity};
use super::context::{Context, read_token};
use super::failure::{Exit, Failure};
use super::output;
use crate::authority::entropy::Entropy;
use crate::domain::policy::{Policy, Rule};
use crate::server::load_policy;

#[derive(Debug, clap::Args)]
pub(super) struct Attenuate {
    /// `-` for standard input, `@FILE` for a file
    #[arg(value_name = "-|@FILE")]
    token: String,
    /// Only these scopes, separated by commas
    #[arg(long, value_delimiter = ',')]
    scopes: Option<Vec<Scope>>,
    /// Valid before this time, such as 2026-12-01T00:00:00Z
    #[arg(long)]
    until: Option<Timestamp>,
    /// Only for these origins, separated by commas
    #[arg(long, value_delimiter = ',')]
    audience: Option<Vec<Origin>>,
    /// Only these HTTP methods, separated by commas; WEBSOCKET is one
    #[arg(long, value_delimiter = ',')]
    method: Option<Vec<String>>,
    /// Only below this path, which starts and ends in `/`
    #[arg(long)]
    path: Option<String>,
    /// Only these RPC methods, separated by commas
    #[arg(long, value_delimiter = ',')]
    operation: Option<Vec<String>>,
    /// Only with proof of this device's key
    #[arg(long)]
    holder: Option<DeviceId>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// `-` for standard input, `@FILE` for a file
    #[arg(value_name = "-|@FILE")]
    token: String,
    /// HTTP method of the request; WEBSOCKET for an upgrade
    #[arg(long)]
    method: String,
    /// Path of the request
    #[arg(long)]
    path: String,
    /// File with the keys, as /.well-known/hardtack gives them; asked of the server without it
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Policy file; the built-in policy without it
    #[arg(long = "policy")]
    policies: Vec<PathBuf>,
    /// Audience to state; the token's own without it
    #[arg(long)]
    audience: Option<Origin>,
}

/// Adds a holder's block, offline.
pub(super) fn attenuate_token(args: &Attenuate, context: &Context) -> Result<(), Failure> {
    let given = read_token(&args.token)?;
    let refused = |denial: Denial| Failure::new(Exit::Rejected, denial.code(), denial.to_string());
    let token = TokenText::new(given.as_str()).map_err(refused)?;
    let caveats = args.caveats()?;
    if caveats.is_empty() {
        return Err(Failure::usage(
            "say how to narrow it: `token attenuate --help`",
        ));
    }
    let narrowed = attenuate(&token, &caveats, &mut Entropy::system().rng());
    let narrowed = narrowed.map_err(|error| {
        let code = "cannot_attenuate";
        Failure::new(
            Exit::Rejected,
            code,
            format!("this token cannot be narrowed: {error}"),
        )
        .with_next("hardtack token exchange    # gives an access token, which can be narrowed")
    })?;
    if !context.json() {
        return output::line(narrowed.expose());
    }
    let read = Untrusted::inspect(&narrowed).map_err(refused)?;
    let mut document = super::inspect::document(read.claims());
    output::json(&json!({
        "token": narrowed.expose(),
        "expires_at": document.get_mut("expires_at").map(Value::take),
        "scopes": document.get_mut("scopes").map(Value::take),
    }))
}

/// Decides on a request as a gateway would that knew of no revocation.
pub(super) async fn verify_token(args: &Verify, context: &Context) -> Result<(), Failure> {
    let given = read_token(&args.token)?;
    let keys = args.keys(context).await?;
    let policy = load_policy(&args.policies).map_err(Failure::from)?;
    let now = SystemClock.now();
    let revocations = Arc::new(Revocations::new(u64::MAX));
    revocations.confirm(now);
    let verifier = Verifier::new(keys, revocations, 0);
    let decided = TokenText::new(given.as_str()).map_err(Refusal::Token);
    let decided = decided.and_then(|token| decide(args, &token, &verifier, &policy, now));
    show(context, decided)
}

/// A decision and, where it is a refusal, its code and reasons.
fn decide(
    args: &Verify,
    token: &TokenText,
    verifier: &Verifier,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), Refusal> {
    let path = hardtack_token::path::canonical(&args.path)
        .map_err(|_| Refusal::Policy("ambiguous_path"))?;
    let access = verifier.verify_once(token, policy.catalog(), now)?;
    let own = access.session().audience.clone();
    let audience = args.audience.as_ref().map_or(own, Origin::to_string);
    let holder = access.bound_to_holder().then(|| access.device()).flatten();
    let request = Request {
        now,
        audience: &audience,
        // The proof is not here to be checked: it is taken as given.
        holder,
        method: Some(&args.method),
        path: Some(&path),
        operation: None,
    };
    let authenticated = access.authenticate(&request)?;
    match policy.rule(&args.method, &path) {
        Rule::Public => Ok(()),
        Rule::Denied => Err(Refusal::Policy("denied_by_policy")),
        Rule::NoRoute => Err(Refusal::Policy("no_route")),
        Rule::Requires(required) => {
            authenticated.authorize(&request, &[required])?;
            Ok(())
        }
    }
}

enum Refusal {
    Token(Denial),
    Policy(&'static str),
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Token(denial)
    }
}

fn show(context: &Context, decided: Result<(), Refusal>) -> Result<(), Failure> {
    let (code, detail, required, held) = match decided {
        Ok(()) if context.json() => {
            return output::json(
                &json!({"decision": "allow", "code": null, "required": [], "held": []}),
            );
        }
        Ok(()) => return output::line("allow    (revocations are not checked here)"),
        Err(Refusal::Policy(code)) => (code, "the policy does not allow it".to_owned(), None, None),
        Err(Refusal::Token(denial)) => {
            let detail = denial.to_string();
            let code = denial.code();
            match denial {
                Denial::InsufficientScope { required, held } => {
                    (code, detail, Some(required), Some(held))
                }
                _ => (code, detail, None, None),
            }
        }
    };
    let list = |set: &Option<hardtack_token::ScopeSet>| {
        json!(
            set.as_ref()
                .map_or_else(Vec::new, hardtack_token::ScopeSet::to_strings)
        )
    };
    if context.json() {
        output::json(&json!({
            "decision": "deny", "code": code, "required": list(&required), "held": list(&held),
        }))?;
    } else {
        output::line(&format!("deny     {code}"))?;
    }
    Err(Failure::new(Exit::Refused, code, detail))
}

impl Attenuate {
    fn caveats(&self) -> Result<Vec<Caveat>, Failure> {
        let texts = |list: &Vec<String>| list.iter().cloned().collect::<BTreeSet<_>>();
        let mut caveats = Vec::new();
        let scopes = self.scopes.as_ref();
        caveats.extend(scopes.map(|list| Caveat::Scopes(list.iter().cloned().collect())));
        caveats.extend(self.until.map(Caveat::NotAfter));
        let origins = self.audience.as_ref();
        let origins = origins.map(|list| list.iter().map(Origin::to_string).collect());
        caveats.extend(origins.map(Caveat::Audience));
        caveats.extend(self.holder.map(Caveat::Holder));
        caveats.extend(self.method.as_ref().map(texts).map(Caveat::Method));
        if let Some(path) = &self.path {
            let prefix = PathPrefix::new(path).ok_or_else(|| {
                Failure::usage(format!("the path `{path}` does not start and end in `/`"))
            })?;
            caveats.push(Caveat::Path(prefix));
        }
        caveats.extend(self.operation.as_ref().map(texts).map(Caveat::Operation));
        Ok(caveats)
    }
}

/// The keys of an install, as `/.well-known/hardtack` gives them.
#[derive(Deserialize)]
struct KeyFile {
    root_keys: Vec<KeyEntry>,
    attestation_keys: Vec<KeyEntry>,
}

#[derive(Deserialize)]
struct KeyEntry {
    id: u32,
    key: String,
    state: String,
}

impl Verify {
    async fn keys(&self, context: &Context) -> Result<KeyRing, Failure> {
        const PATH: &str = "/.well-known/hardtack";
        let value: Value = if let Some(file) = &self.keys {
            let bad = |why: String| Failure::usage(format!("{}: {why}", file.display()));
            let text = std::fs::read_to_string(file).map_err(|e| bad(e.to_string()))?;
            serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?
        } else {
            let client = Client::new(context.url()?, context.request_timeout())?;
            let none = Identity::default();
            let answer = client.send(&http::Method::GET, PATH, &Body::None, &none);
            answer.await?.success()?
        };
        read_keys(value).map_err(|why| Failure::usage(format!("the keys do not read: {why}")))
    }
}

fn read_keys(value: Value) -> Result<KeyRing, String> {
    let file: KeyFile = serde_json::from_value(value).map_err(|e| e.to_string())?;
    let parse = |entry: &KeyEntry| -> Result<(PublicKey, KeyState), String> {
        let key = entry.key.parse().map_err(|e| format!("{e}"))?;
        let state = entry.state.parse().map_err(|e| format!("{e}"))?;
        Ok((key, state))
    };
    let mut ring = KeyRing::new();
    for entry in &file.root_keys {
        let (key, state) = parse(entry)?;
        ring = ring.with_root(RootKeyId::new(entry.id), key, state);
    }
    for entry in &file.attestation_keys {
        let (key, state) = parse(entry)?;
        ring = ring.with_attestation(key, state);
    }
    Ok(ring)
}
