//! The one place that turns a refusal into its answer.

use hardtack_token::{Denial, DenialKind, Origin, ScopeSet};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

use crate::gateway::body::AnswerBody;
use crate::gateway::refusal::{Refusal, Refused};
use crate::gateway::request_id::RequestId;
use crate::gateway::way_out::{self, Site};
use crate::web::problem::{DPOP_ALGS, Document, METADATA_PATH, PROBLEM_JSON, quotable};

/// The answer to a refused request.
pub(crate) fn answer(refused: &Refused, site: Site<'_>, id: &RequestId) -> Response<AnswerBody> {
    let why = &refused.why;
    let status = why.status();
    let detail = why.detail(site.gateway);
    let names = why.required().map(ScopeSet::to_strings);
    // SECURITY: what a token gives is told to whoever authenticated by it, and
    // to nobody else.
    let caller = refused.caller.as_ref();
    let caller = caller.filter(|_| status == StatusCode::FORBIDDEN);
    let mut problem = Document::new(why.kind(), why.title(), detail, id.as_str().to_owned());
    // One scope is asked for at a time, so what is required is what is missing.
    problem.missing = names.clone().unwrap_or_default();
    problem.required = names.unwrap_or_default();
    problem.held = caller.map(|caller| caller.held.to_strings());
    problem.who = way_out::who(why);
    problem.next = way_out::next(refused, site);
    let mut response = Response::new(AnswerBody::whole(problem.to_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let json = HeaderValue::from_static(PROBLEM_JSON);
    headers.insert(CONTENT_TYPE, json);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    add_challenges(headers, why, &problem.detail, site.gateway);
    let passes = matches!(
        why,
        Refusal::NotReady | Refusal::Token(Denial::RevocationsStale { .. })
    );
    if passes {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if matches!(why, Refusal::MethodNotAllowed) {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// The challenges of RFC 6750 section 3, RFC 9449 section 7.1 and RFC 9728.
fn add_challenges(headers: &mut HeaderMap, why: &Refusal, detail: &str, gateway: &Origin) {
    let realm = format!(r#"Bearer realm="hardtack", resource_metadata="{gateway}{METADATA_PATH}""#);
    let described = format!(r#"error_description="{}""#, quotable(detail));
    let algs = DPOP_ALGS.join(" ");
    let (bearer, dpop) = match why {
        Refusal::Token(Denial::MissingToken) => (realm, Some(format!(r#"DPoP algs="{algs}""#))),
        Refusal::Token(denial) => match denial.kind() {
            DenialKind::Unauthenticated => (
                format!(r#"{realm}, error="invalid_token", {described}"#),
                Some(format!(r#"DPoP algs="{algs}""#)),
            ),
            DenialKind::Forbidden => {
                let scope = why.required();
                let scope = scope.map_or(String::new(), |set| format!(r#", scope="{set}""#));
                let error = r#"error="insufficient_scope""#;
                (format!("{realm}, {error}, {described}{scope}"), None)
            }
            DenialKind::Unavailable => return,
        },
        Refusal::Proof(_) | Refusal::NotBound => (
            format!(r#"{realm}, error="invalid_token", {described}"#),
            Some(format!(
                r#"DPoP algs="{algs}", error="invalid_dpop_proof", {described}"#
            )),
        ),
        // No token of whatever scopes would do.
        Refusal::NotReady
        | Refusal::DeniedByPolicy
        | Refusal::NoRoute
        | Refusal::AmbiguousPath(_)
        | Refusal::DuplicateAuthorization
        | Refusal::InvalidRequest(_)
        | Refusal::NotFound
        | Refusal::MethodNotAllowed
        | Refusal::ProxyNotTrusted
        | Refusal::RequestTimeout
        | Refusal::UpstreamFailed
        | Refusal::NoUpstream
        | Refusal::UpstreamTimeout => return,
    };
    for challenge in [Some(bearer), dpop].into_iter().flatten() {
        if let Ok(value) = HeaderValue::try_from(challenge) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use hardtack_token::dpop::ProofError;

    use super::*;

    fn answered(why: Refusal) -> Response<AnswerBody> {
        let origin = |text: &str| text.parse::<Origin>().unwrap();
        let (gateway, issuer) = (origin("http://gw.example"), origin("http://as.example"));
        let site = Site {
            gateway: &gateway,
            issuer: &issuer,
        };
        let id = RequestId::fixed("id-1");
        answer(&Refused::unknown(why), site, &id)
    }

    fn challenges(why: Refusal) -> Vec<String> {
        let response = answered(why);
        let values = response.headers().get_all(WWW_AUTHENTICATE);
        values
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn without_a_credential_the_challenge_names_no_error() {
        assert_eq!(
            challenges(Denial::MissingToken.into()),
            [
                r#"Bearer realm="hardtack", resource_metadata="http://gw.example/.well-known/oauth-protected-resource""#,
                r#"DPoP algs="EdDSA Ed25519""#,
            ]
        );
    }

    #[test]
    fn a_bad_credential_is_an_invalid_token() {
        let all = challenges(Denial::Revoked.into());
        assert!(all[0].ends_with(
            r#", error="invalid_token", error_description="this token's lineage is revoked""#
        ));
        assert_eq!(all[1], r#"DPoP algs="EdDSA Ed25519""#);
        let all = challenges(Refusal::Proof(ProofError::Replayed));
        assert!(all[1].contains(r#"error="invalid_dpop_proof""#), "{all:?}");
    }

    #[test]
    fn too_few_scopes_are_named() {
        let set = |text: &str| text.parse().unwrap();
        let all = challenges(Refusal::Token(Denial::InsufficientScope {
            required: set("operator.write"),
            held: set("operator.read"),
        }));
        assert_eq!(all.len(), 1);
        assert!(all[0].contains(r#"error="insufficient_scope""#));
        assert!(all[0].ends_with(r#"scope="operator.write""#));
        assert!(challenges(Refusal::NoRoute).is_empty());
    }

    #[test]
    fn what_came_from_outside_cannot_leave_its_quotes() {
        let all = challenges(Refusal::Proof(ProofError::Uri {
            made_for: "http://a\"b/\u{7f}\n".to_owned(),
            origin: "http://a.example".to_owned(),
        }));
        assert_eq!(all.len(), 2);
        assert!(all[0].contains("--public-url http://a.example"));
    }

    #[test]
    fn an_answer_is_a_problem_document_in_the_contracts_order() {
        let response = answered(Refusal::AmbiguousPath("why"));
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            response.body().text(),
            r#"{"type":"urn:hardtack:error:ambiguous_path","title":"The path can be read in several ways","status":400,"detail":"why","code":"ambiguous_path","request_id":"id-1"}"#
        );
    }
}
