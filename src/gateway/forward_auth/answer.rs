//! What a proxy is told.

use std::fmt::Write as _;

use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};

use crate::gateway::body::AnswerBody;
use crate::gateway::identity::Identity;
use crate::gateway::request_id::RequestId;

/// The target that an allowed request is to be sent on with.
static X_HARDTACK_URI: HeaderName = HeaderName::from_static("x-hardtack-uri");
/// The status of a refusal, for a proxy that knows few.
static X_HARDTACK_STATUS: HeaderName = HeaderName::from_static("x-hardtack-status");
/// The body of a refusal, for a proxy that drops bodies.
static X_HARDTACK_PROBLEM: HeaderName = HeaderName::from_static("x-hardtack-problem");

/// The longest header that a problem is put in. nginx reads a head of 4 KiB.
const MAX_PROBLEM: usize = 2048;

/// What allows a request: who it is from, and how it is spelt.
#[derive(Debug)]
pub(crate) struct Allowance {
    pub(super) identity: Identity,
    pub(super) target: String,
}

impl Allowance {
    /// The answer. `room` is a map that is not needed any more: the request's own,
    /// which hyper gets back with the answer and reads the next request into.
    pub(crate) fn answer(self, mut room: HeaderMap, id: &RequestId) -> Response<AnswerBody> {
        // SECURITY: nothing of the request goes back as if it were ours.
        room.clear();
        let mut response = Response::new(AnswerBody::whole(Vec::new()));
        let headers = response.headers_mut();
        *headers = room;
        self.identity.set(headers, id);
        if let Ok(target) = HeaderValue::try_from(self.target) {
            headers.insert(&X_HARDTACK_URI, target);
        } else {
            // SECURITY: a canonical path and a printable query always fit. Should
            // they not, nothing is allowed.
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        response
    }
}

/// A refusal in the form that `auth_request` of nginx understands: 401, 403, and
/// all else is a failure. Status and body go along in headers.
pub(super) fn for_nginx(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    let status = response.status();
    let problem = response.body().whole_bytes().and_then(header_text);
    if status.is_client_error() && status != StatusCode::UNAUTHORIZED {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    let headers = response.headers_mut();
    headers.insert(&X_HARDTACK_STATUS, status.as_u16().into());
    if let Some(problem) = problem {
        headers.insert(&X_HARDTACK_PROBLEM, problem);
    }
    // nginx before 1.23 takes one header of a name.
    let challenges: Vec<&[u8]> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&challenges.join(&b", "[..]))
        && !challenges.is_empty()
    {
        headers.insert(WWW_AUTHENTICATE, joined);
    }
    response
}

/// A JSON document as it may stand in a header: what is not ASCII is escaped.
fn header_text(json: &[u8]) -> Option<HeaderValue> {
    let json = std::str::from_utf8(json).ok()?;
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                write!(text, "\\u{unit:04x}").unwrap_or(());
            }
        }
    }
    HeaderValue::try_from(text)
        .ok()
        .filter(|value| value.len() <= MAX_PROBLEM)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn refused(status: u16, body: &str) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody::whole(body.into()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for challenge in ["Bearer realm=\"a\"", "DPoP algs=\"b\""] {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().append(WWW_AUTHENTICATE, challenge);
        }
        for_nginx(response)
    }

    #[test]
    fn nginx_gets_a_status_that_it_knows_and_the_real_one_beside_it() {
        for (status, told) in [(400, 403), (401, 401), (403, 403), (503, 503)] {
            let response = refused(status, "{}");
            assert_eq!(response.status(), told);
            assert_eq!(response.headers()[&X_HARDTACK_STATUS], status.to_string());
            let challenges: Vec<_> = response
                .headers()
                .get_all(WWW_AUTHENTICATE)
                .iter()
                .collect();
            assert_eq!(challenges, ["Bearer realm=\"a\", DPoP algs=\"b\""]);
        }
    }

    #[test]
    fn a_problem_stands_in_a_header_and_means_the_same() {
        let body = r#"{"detail":"it’s 😀 and \n"}"#;
        let response = refused(403, body);
        let header = response.headers()[&X_HARDTACK_PROBLEM].to_str().unwrap();
        assert!(header.is_ascii());
        let read = |text| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(header), read(body));
        let long = format!("{{\"detail\":\"{}\"}}", "x".repeat(MAX_PROBLEM));
        assert!(
            !refused(403, &long)
                .headers()
                .contains_key(&X_HARDTACK_PROBLEM)
        );
    }
}
