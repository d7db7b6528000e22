//! The way out of a refusal: who could do it, and the exact next command.

use hardtack_token::dpop::ProofError;
use hardtack_token::{Denial, Origin, ScopeSet};

use crate::gateway::refusal::{Refusal, Refused, Remedy};

/// Where commands point to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) gateway: &'a Origin,
    pub(crate) issuer: &'a Origin,
}

/// What a newcomer asks for first. Which scope a route needs is not said to
/// callers without a credential; the next refusal says it.
const FIRST_SCOPE: &str = "operator.read";

/// The kinds of credential that could do it.
pub(crate) fn who(refusal: &Refusal) -> Vec<String> {
    if let Some(required) = refusal.required() {
        return vec![format!("a device or a service that holds `{required}`")];
    }
    if matches!(refusal, Refusal::Token(Denial::MissingToken)) {
        let who = ["a paired device", "a service with a token of its own"];
        return who.map(str::to_owned).into();
    }
    Vec::new()
}

/// The commands that get on.
pub(crate) fn next(refused: &Refused, site: Site<'_>) -> Vec<String> {
    match &refused.why {
        Refusal::Token(denial) => after_denial(denial, refused, site),
        Refusal::Proof(ProofError::Uri { origin, .. }) => vec![
            format!("hardtack serve --gateway-url {origin}"),
            site.exchange(""),
        ],
        Refusal::Proof(_) => vec![site.exchange(" --dpop"), site.exchange("")],
        Refusal::NotBound => vec![site.exchange(" --dpop")],
        Refusal::NotReady => vec![site.ready()],
        Refusal::NoRoute | Refusal::DeniedByPolicy => {
            vec!["hardtack serve --policy FILE".to_owned()]
        }
        Refusal::ProxyNotTrusted => vec![
            "hardtack serve --trusted-proxy ADDRESS".to_owned(),
            "hardtack serve --forward-auth-secret-file FILE".to_owned(),
        ],
        Refusal::NoUpstream => vec!["hardtack serve --upstream http://127.0.0.1:8080".to_owned()],
        Refusal::NotFound | Refusal::MethodNotAllowed => {
            vec![format!("curl {}/.hardtack/whoami", site.gateway)]
        }
        Refusal::AmbiguousPath(_)
        | Refusal::DuplicateAuthorization
        | Refusal::InvalidRequest(_)
        | Refusal::RequestTimeout
        | Refusal::UpstreamFailed
        | Refusal::UpstreamTimeout => Vec::new(),
    }
}

fn after_denial(denial: &Denial, refused: &Refused, site: Site<'_>) -> Vec<String> {
    let pair_first = || site.pair(FIRST_SCOPE);
    match denial {
        Denial::MissingToken => vec![pair_first(), site.exchange("")],
        Denial::GrantNotAccepted | Denial::Expired(_) | Denial::WrongHolder => {
            vec![site.exchange("")]
        }
        Denial::RootTokenNotAccepted => {
            vec![site.exchange(&format!(" --token - --scopes {FIRST_SCOPE}"))]
        }
        Denial::Malformed(_)
        | Denial::OutsideProfile(_)
        | Denial::UnknownKey(_)
        | Denial::BadSignature { .. }
        | Denial::NotActivated
        | Denial::CaveatMethod
        | Denial::CaveatPath
        | Denial::CaveatOperation => {
            vec!["hardtack token inspect -".to_owned(), site.exchange("")]
        }
        Denial::Revoked | Denial::Retired => vec![pair_first()],
        Denial::WrongAudience { .. } => {
            vec![site.exchange(&format!(" --audience {}", site.gateway))]
        }
        Denial::InsufficientScope { .. } => match refused.caller.as_ref().map(|c| &c.remedy) {
            Some(Remedy::Exchange(scopes)) => {
                vec![site.exchange(&format!(" --scopes {}", listed(scopes)))]
            }
            Some(Remedy::Pair(scopes)) => vec![site.pair(&listed(scopes)), site.exchange("")],
            Some(Remedy::Nothing) | None => Vec::new(),
        },
        Denial::RevocationsStale { .. } => vec![site.ready()],
    }
}

impl Site<'_> {
    fn pair(&self, scopes: &str) -> String {
        format!("hardtack pair --scopes {scopes} --url {}", self.issuer)
    }

    fn ready(&self) -> String {
        format!("curl {}/readyz", self.issuer)
    }

    fn exchange(&self, options: &str) -> String {
        format!("hardtack token exchange{options} --url {}", self.issuer)
    }
}

fn listed(scopes: &ScopeSet) -> String {
    scopes.to_strings().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_after(why: Refusal) -> String {
        let origin = |text: &str| text.parse::<Origin>().unwrap();
        let (gateway, issuer) = (origin("http://gw.example"), origin("http://as.example"));
        let site = Site {
            gateway: &gateway,
            issuer: &issuer,
        };
        next(&Refused::unknown(why), site).join("\n")
    }

    #[test]
    fn a_newcomer_is_told_to_pair_and_to_exchange() {
        assert_eq!(
            next_after(Denial::MissingToken.into()),
            "hardtack pair --scopes operator.read --url http://as.example\n\
             hardtack token exchange --url http://as.example"
        );
    }

    #[test]
    fn a_token_for_another_audience_is_exchanged_for_this_one() {
        let denial = Denial::WrongAudience {
            stated: String::new(),
        };
        assert!(next_after(denial.into()).contains("--audience http://gw.example"));
    }
}
