//! `hardtack token attenuate` and `token verify`: what a holder and a verifier
//! do without asking the server.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use hardtack_token::{
    Caveat, ChainError, Clock, Denial, DeviceId, KeyRing, Origin, PathPrefix, Request, Revocations,
    Scope, ScopeSet, SystemClock, Timestamp, TokenText, Untrusted, Verifier, attenuate,
};
use serde_json::{Value, json};

use super::context::{Context, read_token};
use super::failure::{Exit, Failure};
use super::keys::published_keys;
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
            format!("this token cannot be narrowed: {}", why(&error)),
        )
        .with_next("hardtack token exchange    # gives an access token, which can be narrowed")
    })?;
    if !context.json() {
        return output::line(narrowed.expose());
    }
    let read = Untrusted::inspect(&narrowed).map_err(refused)?;
    let mut document = super::inspect::document(read.claims(), None);
    output::json(&json!({
        "token": narrowed.expose(),
        "expires_at": document.get_mut("expires_at").map(Value::take),
        "scopes": document.get_mut("scopes").map(Value::take),
    }))
}

/// The reason itself: there is no stored chain here.
fn why(error: &ChainError) -> String {
    match error {
        ChainError::Stored(denial) => denial.to_string(),
        other => other.to_string(),
    }
}

/// Decides on a request as a gateway would that knew of no revocation.
pub(super) async fn verify_token(args: &Verify, context: &Context) -> Result<(), Failure> {
    let given = read_token(&args.token)?;
    let keys = published_keys(args.keys.as_deref(), context).await?;
    let policy = load_policy(&args.policies).map_err(Failure::from)?;
    let asked = Asked {
        method: &args.method,
        path: &args.path,
        audience: args.audience.as_ref(),
    };
    let token = TokenText::new(given.as_str()).map_err(Refusal::Token);
    let decided = token.and_then(|token| asked.decide(&token, keys, &policy));
    show(context, asked.required(&policy), decided)
}

/// A request that is decided on without a server.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// The audience to state; the token's own without it.
    pub(super) audience: Option<&'a Origin>,
}

impl Asked<'_> {
    /// The scope that the policy requires, if it requires one.
    fn required(&self, policy: &Policy) -> Option<String> {
        let path = hardtack_token::path::canonical(self.path).ok()?;
        match policy.rule(self.method, &path) {
            Rule::Requires(required) => Some(policy.catalog().scope_of(required).to_string()),
            Rule::Public | Rule::Denied | Rule::NoRoute => None,
        }
    }

    /// The decision of a gateway that knows of no revocation: what the token holds,
    /// or why not.
    pub(super) fn decide(
        &self,
        token: &TokenText,
        keys: KeyRing,
        policy: &Policy,
    ) -> Result<ScopeSet, Refusal> {
        let now = SystemClock.now();
        let revocations = Arc::new(Revocations::new(u64::MAX));
        revocations.confirm(now);
        let verifier = Verifier::new(keys, revocations, 0);
        let path = hardtack_token::path::canonical(self.path).map_err(|_| Refusal::Path)?;
        let access = verifier.verify_once(token, policy.catalog(), now)?;
        let own = access.session().audience.clone();
        let audience = self.audience.map_or(own, Origin::to_string);
        let holder = access.bound_to_holder().then(|| access.device()).flatten();
        let request = Request {
            now,
            audience: &audience,
            // The proof is not here to be checked: it is taken as given.
            holder,
            method: Some(self.method),
            path: Some(&path),
            operation: None,
        };
        let held = access.scopes();
        let authenticated = access.authenticate(&request)?;
        match policy.rule(self.method, &path) {
            Rule::Public => Ok(held),
            Rule::Denied => Err(Refusal::Denied(held)),
            Rule::NoRoute => Err(Refusal::NoRoute(held)),
            Rule::Requires(required) => {
                authenticated.authorize(&request, &[required])?;
                Ok(held)
            }
        }
    }
}

/// Why a request would be refused.
pub(super) enum Refusal {
    Token(Denial),
    /// Gateways would not agree which path this is.
    Path,
    /// By a `deny` of the policy, whatever the token holds.
    Denied(ScopeSet),
    NoRoute(ScopeSet),
}

impl Refusal {
    /// The stable code and the reason in words.
    pub(super) fn words(&self) -> (&'static str, String) {
        match self {
            Self::Token(denial) => (denial.code(), denial.to_string()),
            Self::Path => (
                "ambiguous_path",
                "the path can be read in more than one way".to_owned(),
            ),
            Self::Denied(_) => (
                "denied_by_policy",
                "a `deny` of the policy matches this request".to_owned(),
            ),
            Self::NoRoute(_) => (
                "no_route",
                "no `route` of the policy matches this request".to_owned(),
            ),
        }
    }

    /// What the token holds, where that was found out.
    fn held(&self) -> Vec<String> {
        match self {
            Self::Token(Denial::InsufficientScope { held, .. })
            | Self::Denied(held)
            | Self::NoRoute(held) => held.to_strings(),
            Self::Token(_) | Self::Path => Vec::new(),
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Token(denial)
    }
}

fn show(
    context: &Context,
    required: Option<String>,
    decided: Result<ScopeSet, Refusal>,
) -> Result<(), Failure> {
    let required = Vec::from_iter(required);
    let refusal = match decided {
        Ok(held) if context.json() => {
            return output::json(&json!({
                "decision": "allow", "code": null,
                "required": required, "held": held.to_strings(),
            }));
        }
        Ok(_) => return output::line("allow    (revocations are not checked here)"),
        Err(refusal) => refusal,
    };
    let (code, detail) = refusal.words();
    if context.json() {
        output::json(&json!({
            "decision": "deny", "code": code,
            "required": required, "held": refusal.held(),
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
