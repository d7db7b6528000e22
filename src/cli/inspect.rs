//! What a token says, block by block, in words and as JSON.

use hardtack_token::{
    Catalog, Caveat, ChainProfile, Denial, Grant, Profile, Scope, ScopeSet, Session, Subject,
};
use serde_json::{Value, json};

use crate::domain::policy::Policy;

/// The JSON document of `token inspect`. `checked` is what came of the signatures
/// where there were keys to check them with; without, `verified` is null.
pub(super) fn document(profile: &Profile, checked: Option<&Result<(), Denial>>) -> Value {
    let verified = checked.map(Result::is_ok);
    let unfit = checked.and_then(|checked| checked.as_ref().err());
    let unfit = unfit.map(|denial| format!("{}: {denial}", denial.code()));
    match profile {
        Profile::Root(key_id) => json!({
            "kind": "root",
            "blocks": [{"kind": "root", "key_id": key_id}],
            "scopes": ["*"],
            "expires_at": null,
            "lineage": [],
            "verified": verified,
            "problems": Vec::from_iter(unfit),
        }),
        Profile::Chain(chain) => json!({
            "kind": kind(chain),
            "blocks": blocks(chain),
            "scopes": scopes(chain).to_strings(),
            "expires_at": chain.expires_at().map(|t| t.to_string()),
            "lineage": chain.grants().map(|g| g.id.to_string()).collect::<Vec<_>>(),
            "verified": verified,
            "problems": unfit.into_iter().chain(problems(chain)).collect::<Vec<_>>(),
        }),
    }
}

/// The same for people.
pub(super) fn lines(profile: &Profile, document: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    match profile {
        Profile::Root(key_id) => {
            lines.push(format!(
                "root token of root key {key_id}: it can mint any authority"
            ));
        }
        Profile::Chain(chain) => {
            lines.push(format!("{} token", kind(chain)));
            lines.push(format!("0  authority  {}", chain.scopes));
            lines.extend(
                chain
                    .grants()
                    .enumerate()
                    .map(|(i, g)| grant_line(i + 1, g)),
            );
            let depth = chain.depth();
            lines.extend(chain.session.iter().map(|s| session_line(depth + 1, s)));
            for (i, caveats) in chain.holder.iter().enumerate() {
                let words: Vec<String> = caveats.iter().map(words).collect();
                lines.push(format!(
                    "{}  holder     {}",
                    depth + 2 + i,
                    words.join(", ")
                ));
            }
            lines.push(format!("effective  {}", scopes(chain)));
            if let Some(end) = chain.expires_at() {
                lines.push(format!("expires    {end}"));
            }
        }
    }
    let problems = document.get("problems").and_then(Value::as_array);
    let problems = problems.into_iter().flatten().filter_map(Value::as_str);
    lines.extend(problems.map(|problem| format!("problem    {problem}")));
    let signatures = match document.get("verified").and_then(Value::as_bool) {
        None => "signatures are not checked without --keys",
        Some(true) => "signatures fit; whether it is revoked is for the server to say",
        Some(false) => "signatures do not fit these keys: nothing of the above is to be believed",
    };
    lines.push(signatures.to_owned());
    lines
}

fn kind(chain: &ChainProfile) -> &'static str {
    match (&chain.session, &chain.leaf().subject) {
        (None, _) => "grant",
        (Some(_), Subject::Service(name)) if !name.is_root() => "service",
        (Some(_), _) => "access",
    }
}

/// The effective scopes under the built-in implications. Names that only the
/// server's policy declares stand for themselves.
fn scopes(chain: &ChainProfile) -> ScopeSet {
    let mut builder = Catalog::builder();
    let builtin = Policy::load(&[]).ok();
    let declared = builtin.iter().flat_map(|p| p.catalog().declared());
    for scope in declared {
        // What is declared once cannot contradict itself.
        drop(builder.scope(scope.scope.clone(), &scope.description));
        for implied in &scope.implies {
            builder.implies(scope.scope.clone(), implied.clone());
        }
    }
    let known = |scope: &Scope| {
        scope.is_all() || builtin.as_ref().is_some_and(|p| p.catalog().knows(scope))
    };
    for scope in chain.named_scopes().filter(|s| !known(s)) {
        drop(builder.scope(scope.clone(), ""));
    }
    let catalog = builder.build();
    catalog.map_or_else(|_| ScopeSet::new(), |catalog| chain.scopes_in(&catalog))
}

fn problems(chain: &ChainProfile) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(session) = &chain.session
        && session.grant != chain.leaf().id
    {
        problems.push("the session belongs to another grant".to_owned());
    }
    if scopes(chain).is_empty() {
        problems.push("the blocks have no scope in common".to_owned());
    }
    problems
}

fn blocks(chain: &ChainProfile) -> Vec<Value> {
    let mut blocks = vec![json!({
        "kind": "authority",
        "id": chain.authority.to_string(),
        "scopes": chain.scopes.to_strings(),
    })];
    blocks.extend(chain.grants().map(|g| {
        let (device, service) = subject(&g.subject);
        json!({
            "kind": "grant",
            "id": g.id.to_string(),
            "device_id": device,
            "service": service,
            "role": g.role.as_str(),
            "scopes": g.scopes.to_strings(),
            "not_after": g.not_after.map(|t| t.to_string()),
        })
    }));
    blocks.extend(chain.session.iter().map(|s| {
        json!({
            "kind": "session",
            "id": s.id.to_string(),
            "grant_id": s.grant.to_string(),
            "audience": s.audience,
            "not_after": s.not_after.to_string(),
            "caveats": s.caveats.iter().map(words).collect::<Vec<_>>(),
        })
    }));
    blocks.extend(chain.holder.iter().map(|caveats| {
        json!({"kind": "holder", "caveats": caveats.iter().map(words).collect::<Vec<_>>()})
    }));
    blocks
}

fn subject(subject: &Subject) -> (Option<String>, Option<String>) {
    match subject {
        Subject::Device(id) => (Some(id.to_string()), None),
        Subject::Service(name) => (None, Some(name.to_string())),
    }
}

fn grant_line(index: usize, grant: &Grant) -> String {
    let who = match &grant.subject {
        Subject::Device(id) => format!("device {}", id.short()),
        Subject::Service(name) => format!("service {name}"),
    };
    let end = grant.not_after.map(|t| format!(", until {t}"));
    let end = end.unwrap_or_default();
    format!(
        "{index}  grant      {who} as {}: {}{end}",
        grant.role, grant.scopes
    )
}

fn session_line(index: usize, session: &Session) -> String {
    let mut all = vec![
        format!("for {}", session.audience),
        format!("until {}", session.not_after),
    ];
    all.extend(session.caveats.iter().map(words));
    format!("{index}  session    {}", all.join(", "))
}

fn words(caveat: &Caveat) -> String {
    let list = |set: &std::collections::BTreeSet<String>| {
        let texts: Vec<&str> = set.iter().map(String::as_str).collect();
        texts.join(" ")
    };
    match caveat {
        Caveat::Scopes(scopes) => format!("scopes {scopes}"),
        Caveat::NotAfter(end) => format!("until {end}"),
        Caveat::Audience(origins) => format!("for {}", list(origins)),
        Caveat::Holder(device) => format!("with the key of {}", device.short()),
        Caveat::Method(methods) => format!("methods {}", list(methods)),
        Caveat::Path(prefix) => format!("below {}", prefix.as_str()),
        Caveat::Operation(names) => format!("operations {}", list(names)),
    }
}
