//! `hardtack policy explain`: how a request is decided on, and what it would take.

use std::path::PathBuf;

use hardtack_token::{
    Catalog, Caveat, ChainProfile, Profile, Requirement, Scope, ScopeSet, Subject, TokenText,
    Untrusted,
};
use serde_json::{Value, json};

use super::context::Context;
use super::failure::{Exit, Failure};
use super::keys::published_keys;
use super::narrow::{Asked, Refusal};
use super::output;
use crate::domain::policy::{Considered, Policy, Rule};
use crate::server::load_policy;

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// HTTP method; WEBSOCKET for an upgrade
    method: String,
    /// Path as a client sends it
    path: String,
    /// Policy file; several are merged; the built-in policy without it
    #[arg(long = "policy", env = "HARDTACK_POLICY", value_delimiter = ',')]
    policies: Vec<PathBuf>,
    /// File with the keys, as /.well-known/hardtack gives them; asked of the server without it
    #[arg(long)]
    keys: Option<PathBuf>,
}

/// What one block of a token gives of what a request needs.
struct BlockGives {
    block: String,
    scopes: ScopeSet,
    gives: bool,
}

/// What is known of the token that was given.
struct Presented {
    decided: Result<(), Refusal>,
    blocks: Vec<BlockGives>,
}

pub(super) async fn explain(args: &Explain, context: &Context) -> Result<(), Failure> {
    let policy = load_policy(&args.policies).map_err(Failure::from)?;
    let path = hardtack_token::path::canonical(&args.path).map_err(|why| {
        Failure::new(
            Exit::Rejected,
            "ambiguous_path",
            format!("no request with this path is decided on: {why}"),
        )
    })?;
    let rule = policy.rule(&args.method, &path);
    let required = match rule {
        Rule::Requires(required) => Some(required),
        Rule::Denied | Rule::Public | Rule::NoRoute => None,
    };
    let presented = match context.given_token()? {
        None => None,
        Some(given) => Some(
            args.present(&given.text, context, &policy, required)
                .await?,
        ),
    };
    let mut considered = policy.consider(&args.method, &path);
    considered.sort_by_key(|c| (!c.decides, !c.matches));
    let explained = Explained {
        method: &args.method,
        path: &path,
        considered,
        rule,
        needs: required.map(|required| Needs {
            scope: policy.catalog().scope_of(required),
            given_by: policy.catalog().satisfying(required),
        }),
        presented,
    };
    if context.json() {
        output::json(&explained.to_json())
    } else {
        explained.print()
    }
}

impl Explain {
    async fn present(
        &self,
        text: &str,
        context: &Context,
        policy: &Policy,
        required: Option<Requirement>,
    ) -> Result<Presented, Failure> {
        let token = match TokenText::new(text) {
            Ok(token) => token,
            Err(denial) => {
                return Ok(Presented {
                    decided: Err(denial.into()),
                    blocks: Vec::new(),
                });
            }
        };
        let keys = published_keys(self.keys.as_deref(), context).await?;
        let blocks = match Untrusted::inspect(&token) {
            Ok(read) => blocks(read.claims(), policy.catalog(), required),
            // The decision says what is wrong with it.
            Err(_) => Vec::new(),
        };
        let asked = Asked {
            method: &self.method,
            path: &self.path,
            audience: None,
        };
        Ok(Presented {
            decided: asked.decide(&token, keys, policy).map(drop),
            blocks,
        })
    }
}

fn blocks(profile: &Profile, catalog: &Catalog, required: Option<Requirement>) -> Vec<BlockGives> {
    let Profile::Chain(chain) = profile else {
        return Vec::new();
    };
    named_scopes(chain)
        .into_iter()
        .map(|(block, scopes)| BlockGives {
            gives: required.is_none_or(|r| catalog.meets(&catalog.closure(&scopes), r)),
            scopes,
            block,
        })
        .collect()
}

/// Every place of a chain that limits scopes. All of them must give what is needed.
fn named_scopes(chain: &ChainProfile) -> Vec<(String, ScopeSet)> {
    let mut list = vec![("the root's block".to_owned(), chain.scopes.clone())];
    for grant in chain.grants() {
        let subject = match &grant.subject {
            Subject::Device(device) => format!("device {}", device.short()),
            Subject::Service(name) => format!("service {name}"),
        };
        list.push((format!("the grant of {subject}"), grant.scopes.clone()));
    }
    let limit = |caveat: &'_ Caveat| -> Option<ScopeSet> {
        match caveat {
            Caveat::Scopes(scopes) => Some(scopes.clone()),
            Caveat::NotAfter(_)
            | Caveat::Audience(_)
            | Caveat::Holder(_)
            | Caveat::Method(_)
            | Caveat::Path(_)
            | Caveat::Operation(_) => None,
        }
    };
    let session = chain.session.iter();
    let session = session.flat_map(|s| s.caveats.iter().filter_map(limit));
    list.extend(session.map(|scopes| ("the session".to_owned(), scopes)));
    for (number, caveats) in chain.holder.iter().enumerate() {
        let block = format!("the holder's block {}", number + 1);
        list.extend(caveats.iter().filter_map(limit).map(|s| (block.clone(), s)));
    }
    list
}

/// The scope that a request needs, and which others give it.
struct Needs {
    scope: Scope,
    given_by: ScopeSet,
}

struct Explained<'a> {
    method: &'a str,
    path: &'a str,
    considered: Vec<Considered<'a>>,
    rule: Rule,
    needs: Option<Needs>,
    presented: Option<Presented>,
}

impl Explained<'_> {
    /// The decision in a word, and the code of a refusal.
    fn decision(&self) -> (&'static str, Option<&'static str>) {
        match (self.rule, &self.presented) {
            (Rule::Public, _) => ("allow", None),
            (_, None) => ("deny", Some("missing_token")),
            (_, Some(presented)) => match &presented.decided {
                Ok(()) => ("allow", None),
                Err(refusal) => ("deny", Some(refusal.words().0)),
            },
        }
    }

    /// In one sentence, what it would take.
    fn remedy(&self) -> String {
        match (self.rule, &self.needs) {
            (Rule::Public, _) => "nothing: everybody may, without a credential".to_owned(),
            (Rule::Denied, _) => "nothing helps: a `deny` fact matches".to_owned(),
            (Rule::NoRoute, _) | (Rule::Requires(_), None) => format!(
                "nothing helps: no fact allows it; `route(\"{}\", \"{}\", \"<scope>\");` in a policy file would",
                self.method, self.path
            ),
            (Rule::Requires(_), Some(needs)) => format!(
                "an access token with `{}`; all that give it: {}",
                needs.scope, needs.given_by
            ),
        }
    }

    fn to_json(&self) -> Value {
        let (decision, code) = self.decision();
        let facts = self.considered.iter().map(|c| {
            json!({
                "fact": c.fact.to_string(), "place": c.fact.place.to_string(),
                "matches": c.matches, "decides": c.decides,
            })
        });
        let blocks =
            self.presented.iter().flat_map(|p| &p.blocks).map(
                |b| json!({"block": b.block, "scopes": b.scopes.to_strings(), "gives": b.gives}),
            );
        let refused = self
            .presented
            .as_ref()
            .and_then(|p| p.decided.as_ref().err());
        json!({
            "decision": decision,
            "code": code,
            "detail": refused.map(|refusal| refusal.words().1),
            "method": self.method,
            "path": self.path,
            "facts": facts.collect::<Vec<_>>(),
            "required": self.needs.as_ref().map_or_else(Vec::new, |n| vec![n.scope.to_string()]),
            "given_by": self.needs.as_ref().map_or_else(Vec::new, |n| n.given_by.to_strings()),
            "blocks": blocks.collect::<Vec<_>>(),
        })
    }

    fn print(&self) -> Result<(), Failure> {
        output::line(&format!("request   {} {}", self.method, self.path))?;
        for considered in &self.considered {
            let said = match (considered.decides, considered.matches) {
                (true, _) => "decides",
                (false, true) => "asked later",
                (false, false) => "another method",
            };
            let fact = considered.fact;
            output::line(&format!("fact      {fact}    {}    {said}", fact.place))?;
        }
        if self.considered.is_empty() {
            output::line("fact      none has this path")?;
        }
        output::line(&format!("takes     {}", self.remedy()))?;
        if let Some(presented) = &self.presented {
            for block in &presented.blocks {
                let gives = if block.gives {
                    "gives it"
                } else {
                    "does not give it"
                };
                let BlockGives { block, scopes, .. } = block;
                output::line(&format!("token     {block}: {scopes}    {gives}"))?;
            }
            if let Err(refusal) = &presented.decided {
                output::line(&format!("refused   {}", refusal.words().1))?;
            }
        }
        let (decision, code) = self.decision();
        let code = code.map(|code| format!("  {code}")).unwrap_or_default();
        let unsure = match self.presented {
            Some(_) => "    (revocations are not checked here)",
            None => "",
        };
        output::line(&format!("{decision:<8}{code}{unsure}"))
    }
}
