//! The token endpoint and what is wrong with requests to it.

use serde_json::json;

use crate::support::Request;
use crate::support::people::{GRANT, ROOT, now};
use crate::support::target::Target;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";

pub(crate) const NO_ASSERTION: [(&str, &str); 2] =
    [("client_assertion", ""), ("client_assertion_type", "")];

/// Members of the form that are replaced or added, and what is said to it: the
/// word of OAuth's, and the code where that says more. An empty value takes a
/// member out.
const MEMBERS: [(&str, &str); 24] = [
    ("grant_type=", "invalid_request"),
    ("grant_type=password", "unsupported_grant_type"),
    ("subject_token=", "invalid_request missing_token"),
    ("subject_token=nonsense", "invalid_request malformed_token"),
    ("subject_token=LONG", "invalid_request malformed_token"),
    ("subject_token=ACCESS", "invalid_request"),
    ("subject_token=a subject_token=b", "invalid_request"),
    ("subject_token_type=", "invalid_request"),
    ("subject_token_type=jwt", "invalid_request"),
    (
        "subject_token_type=GRANT subject_token_type=GRANT",
        "invalid_request",
    ),
    ("requested_token_type=jwt", "invalid_request"),
    ("client_assertion_type=jwt", "invalid_request"),
    ("expires_in=3601", "invalid_request"),
    ("expires_in=0", "invalid_request"),
    ("expires_in=-1", "invalid_request"),
    ("expires_in=15m", "invalid_request"),
    ("scope=operator.write", "invalid_scope"),
    ("scope=operator.king", "invalid_scope"),
    ("scope=*", "invalid_scope"),
    ("audience=here", "invalid_target"),
    ("audience=https://gw.example/x", "invalid_target"),
    ("audience=ftp://gw.example", "invalid_target"),
    (
        "audience=https://a.example resource=https://b.example",
        "invalid_target",
    ),
    (
        "audience=https://a.example audience=https://b.example",
        "invalid_target",
    ),
];

impl Target {
    /// A good exchange of the device's grant, but for some members.
    pub(crate) fn exchange(&self, changes: &[(&str, &str)]) -> Request {
        let assertion = self.device.device.assertion(&self.server().url, now());
        self.exchange_with(&assertion, changes)
    }

    pub(crate) fn exchange_with(&self, assertion: &str, changes: &[(&str, &str)]) -> Request {
        let good = [
            ("grant_type", EXCHANGE),
            ("subject_token", self.device.grant.as_str()),
            ("subject_token_type", GRANT),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", assertion),
        ];
        let is_kept = |(name, _): &&(&str, &str)| changes.iter().all(|(n, _)| n != name);
        let added = changes.iter().filter(|(_, value)| !value.is_empty());
        let members: Vec<_> = good.iter().filter(is_kept).chain(added).copied().collect();
        Request::post("/oauth/token").form(&members)
    }

    /// Refused with this code, and this word of OAuth's.
    pub(crate) fn refuses_exchange(
        &self,
        what: &str,
        request: &Request,
        error: &str,
        expected: &str,
    ) {
        self.refuses(what, request, expected);
        // A second time: what failed before fails again, or was used up by now.
        let answer = self.server().send(request);
        assert_eq!(answer.member("error"), error, "{what}: {}", answer.text());
    }
}

#[test]
fn a_member_that_is_wrong_has_its_error() {
    let target = Target::new();
    let long = "A".repeat(7000);
    for (changes, expected) in MEMBERS {
        let changes = changes
            .replace("LONG", &long)
            .replace("ACCESS", &target.access);
        let changes: Vec<_> = changes
            .split(' ')
            .filter_map(|c| c.split_once('='))
            .collect();
        let (error, code) = expected.split_once(' ').unwrap_or((expected, expected));
        let request = target.exchange(&changes);
        target.refuses_exchange(changes[0].0, &request, error, &format!("400 {code}"));
    }
    target.assert_unchanged();
    let ignored = target.exchange(&[("unknown", "member"), ("scope", "operator.read")]);
    target.server().send(&ignored).expect(200);
}

#[test]
fn a_grant_under_another_name_is_refused() {
    let target = Target::new();
    for (kind, code) in [(ACCESS, "grant_not_accepted"), (ROOT, "malformed_token")] {
        let changes = [("subject_token_type", kind), ("scope", "operator.read")];
        let request = target.exchange(&[&changes[..], &NO_ASSERTION].concat());
        target.refuses_exchange(kind, &request, "invalid_request", &format!("400 {code}"));
    }
    target.assert_unchanged();
}

#[test]
fn the_root_token_is_exchanged_for_named_scopes_only() {
    let target = Target::new();
    let root = target.install.root.as_str();
    let server = target.server();
    for (kind, expected) in [
        (ROOT, "400 invalid_request"),
        (GRANT, "400 invalid_request"),
        (ACCESS, "400 root_token_not_accepted"),
    ] {
        let changes = [("subject_token", root), ("subject_token_type", kind)];
        let request = target.exchange(&[changes, NO_ASSERTION].concat());
        target.refuses_exchange(kind, &request, "invalid_request", expected);
    }
    target.assert_unchanged();
    let scoped = [("scope", "operator.read")];
    server.exchange_of(root, ROOT, &scoped).expect(200);
}

#[test]
fn a_request_that_is_no_form_is_refused() {
    let target = Target::new();
    let post = || Request::post("/oauth/token");
    for (what, request, expected) in [
        ("empty", post(), "400 invalid_request"),
        (
            "JSON",
            post().json(&json!({"grant_type": EXCHANGE})),
            "400 invalid_request",
        ),
        (
            "JSON as a form",
            post().body("application/x-www-form-urlencoded", "{}"),
            "400 invalid_request",
        ),
        (
            "not UTF-8",
            post().body("application/x-www-form-urlencoded", b"a=%ff&\xff".to_vec()),
            "400 invalid_request",
        ),
        (
            "10 MB",
            post().body("application/x-www-form-urlencoded", vec![b'a'; 10_000_000]),
            "413 too_large",
        ),
        (
            "GET",
            Request::get("/oauth/token"),
            "405 method_not_allowed",
        ),
        (
            "two credentials",
            target.exchange(&[]).bearer("a").bearer("b"),
            "400 duplicate_authorization",
        ),
    ] {
        target.refuses(what, &request, expected);
    }
    // What is in the query is not read.
    let query = Request::post(format!(
        "/oauth/token?grant_type={EXCHANGE}&subject_token={}&subject_token_type={GRANT}",
        target.device.grant
    ));
    target.refuses("in the query", &query, "400 invalid_request");
    target.assert_unchanged();
}
