//! Credentials and proofs that are wrong, at every endpoint of `/v1`.

use hardtack_token::dpop::token_hash;
use serde_json::json;

use crate::device::{Claims, Device};
use crate::support::Request;
use crate::support::people::now;
use crate::support::target::Target;

/// A change to a proof, and what it is.
type Change = (&'static str, fn(&mut Claims));

const CHANGES: [Change; 11] = [
    ("stale", |c| c.iat -= 75),
    ("of the future", |c| c.iat += 75),
    ("without a time", |c| c.iat = 0),
    ("for another method", |c| c.htm = "DELETE".to_owned()),
    ("for a method in small letters", |c| {
        c.htm = c.htm.to_lowercase();
    }),
    ("for another path", |c| c.htu += "/more"),
    ("for another host", |c| {
        c.htu = c.htu.replace("127.0.0.1", "192.0.2.1");
    }),
    ("for no URL", |c| c.htu = "here".to_owned()),
    ("without an id", |c| c.jti = String::new()),
    ("with a long id", |c| c.jti = "j".repeat(1000)),
    ("for another token", |c| c.ath = Some(token_hash("other"))),
];

/// Requests to all endpoints, without any credential yet.
fn requests(target: &Target) -> Vec<Request> {
    let endpoints = target.endpoints().into_iter();
    endpoints
        .map(|(method, path)| Request::new(method, path))
        .collect()
}

#[test]
fn without_a_credential_there_is_no_answer() {
    let target = Target::new();
    let token = &target.local.grant;
    for request in requests(&target) {
        target.refuses("nothing", &request, "401 missing_token");
        let other = request
            .clone()
            .header("authorization", "Basic dXNlcjpwYXNz");
        target.refuses("another scheme", &other, "401 missing_token");
        let empty = request.clone().header("authorization", "Bearer ");
        target.refuses("an empty token", &empty, "401 missing_token");
        let cookie = request.clone().header("cookie", format!("token={token}"));
        target.refuses("a cookie", &cookie, "401 missing_token");
        for name in ["access_token", "token", "grant"] {
            let path = format!("{}?{name}={token}", request.target());
            let query = Request::new(request.method(), path);
            let answer = target.server().send(&query);
            let refused = ["401 missing_token", "400 invalid_request"];
            assert!(
                refused.contains(&answer.outcome().as_str()),
                "{}",
                answer.text()
            );
        }
    }
    target.assert_unchanged();
}

#[test]
fn two_credentials_in_one_request_are_refused() {
    let target = Target::new();
    let token = &target.local.grant;
    for request in requests(&target) {
        let signed = target.signed(request.clone());
        let twice = signed
            .clone()
            .header("authorization", format!("DPoP {token}"));
        target.refuses("two headers", &twice, "400 duplicate_authorization");
        let other = signed.bearer(&target.install.root);
        target.refuses("two kinds", &other, "400 duplicate_authorization");
        let comma = request.header("authorization", format!("Bearer {token},Bearer {token}"));
        target.refuses("a comma", &comma, "400 duplicate_authorization");
    }
    target.assert_unchanged();
}

#[test]
fn a_token_that_does_not_read_is_refused() {
    let target = Target::new();
    let grant = target.local.grant.as_str();
    for request in requests(&target) {
        for (what, token, code) in [
            ("nonsense", "nonsense".to_owned(), "malformed_token"),
            ("over 6 KiB", "A".repeat(6 * 1024 + 1), "malformed_token"),
            (
                "unpadded",
                grant.trim_end_matches('=').to_owned() + "A",
                "malformed_token",
            ),
            ("the gateway's", target.access.clone(), "wrong_audience"),
        ] {
            let status = if code == "wrong_audience" { 403 } else { 401 };
            let expected = format!("{status} {code}");
            target.refuses(what, &request.clone().bearer(&token), &expected);
        }
        target.refuses(
            "a grant as a bearer token",
            &request.clone().bearer(grant),
            "401 proof_required",
        );
        if !request.target().ends_with("/approve") {
            let root = request.bearer(&target.install.root);
            target.refuses("the root token", &root, "401 root_token_not_accepted");
        }
    }
    target.assert_unchanged();
}

#[test]
fn a_grant_without_a_good_proof_is_refused() {
    let target = Target::new();
    let server = target.server();
    let (device, grant) = (&target.local.device, target.local.grant.as_str());
    for request in requests(&target) {
        let request = request.header("authorization", format!("DPoP {grant}"));
        target.refuses("no proof", &request, "401 proof_required");
        let url = server.url_of(&request);
        let mut good = device.claims(request.method(), &url, now());
        good.ath = Some(token_hash(grant));
        let with = |proof: String| request.clone().header("dpop", proof);
        for (what, change) in CHANGES {
            let mut claims = good.clone();
            change(&mut claims);
            target.refuses(what, &with(device.dpop(&claims)), "401 invalid_proof");
        }
        let mut unnamed = good.clone();
        unnamed.ath = None;
        target.refuses(
            "for no token",
            &with(device.dpop(&unnamed)),
            "401 invalid_proof",
        );
        target.refuses("nonsense", &with("a.b.c".to_owned()), "401 invalid_proof");
        let assertion = device.assertion(&server.url, now());
        target.refuses("an assertion", &with(assertion), "401 invalid_proof");
        target.refuses(
            "unsigned",
            &with(unsigned(device, &good)),
            "401 invalid_proof",
        );
        target.refuses(
            "altered",
            &with(altered(device, &good)),
            "401 invalid_proof",
        );
        let foreign = Device::new(9).dpop(&good);
        target.refuses("of another key", &with(foreign), "401 wrong_key");
        let two = with(device.dpop(&good)).header("dpop", device.dpop(&good));
        target.refuses("two proofs", &two, "400 invalid_request");
    }
    target.assert_unchanged();
}

fn unsigned(device: &Device, claims: &Claims) -> String {
    let header = json!({"typ": "dpop+jwt", "alg": "none", "jwk": device.jwk()});
    let body = json!({"htm": claims.htm, "htu": claims.htu, "iat": claims.iat, "jti": claims.jti, "ath": claims.ath});
    let signed = device.sign(&header, &body);
    format!("{}.", signed.rsplit_once('.').unwrap().0)
}

/// The proof with the key of another device in its head.
fn altered(device: &Device, claims: &Claims) -> String {
    let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": Device::new(9).jwk()});
    let body = json!({"htm": claims.htm, "htu": claims.htu, "iat": claims.iat, "jti": claims.jti, "ath": claims.ath});
    device.sign(&header, &body)
}

#[test]
fn a_proof_for_another_url_is_told_how_to_allow_it() {
    let target = Target::new();
    let request = Request::get("/v1/whoami");
    let mut claims = target
        .local
        .device
        .claims("GET", "https://auth.example/v1/whoami", now());
    claims.ath = Some(token_hash(&target.local.grant));
    let request = request.header("authorization", format!("DPoP {}", target.local.grant));
    let answer = target
        .server()
        .send(&request.header("dpop", target.local.device.dpop(&claims)));
    assert_eq!(answer.outcome(), "401 invalid_proof");
    let detail = answer.member("detail");
    assert!(
        detail.contains("--public-url https://auth.example"),
        "{detail}"
    );
}

#[test]
fn a_proof_is_good_once() {
    let target = Target::new();
    for request in requests(&target) {
        // Nothing ends and nothing is answered by the first of the two.
        let request = match request.target().rsplit('/').next().unwrap() {
            "revoke" if request.target().starts_with("/v1/devices/") => {
                request.json(&json!({"dry_run": true}))
            }
            "approve" | "reject" | "retire" | "revoke" => continue,
            _ => request,
        };
        let signed = target.signed(request);
        assert_eq!(
            target.server().send(&signed).status,
            200,
            "{}",
            signed.target()
        );
        target.refuses("replayed", &signed, "401 invalid_proof");
    }
    target.assert_unchanged();
    let reject = Request::post(format!("/v1/pairing-requests/{}/reject", target.pending));
    let signed = target.signed(reject);
    target.server().send(&signed).expect(200);
    target.refuses("replayed", &signed, "401 invalid_proof");
}

/// The endpoints that take a proof of a key and nothing else.
#[test]
fn a_device_without_a_credential_needs_a_good_proof() {
    let target = Target::new();
    let (server, device) = (target.server(), Device::new(2));
    let ask = Request::post("/v1/pairing-requests").json(&json!({"scopes": ["operator.read"]}));
    let fetch = Request::get(format!("/v1/pairing-requests/{}", target.pending));
    let grant = Request::get(format!("/v1/devices/{}/grant", target.device.device.id()));
    let cases = [
        (ask, &device),
        (fetch, &device),
        (grant, &target.device.device),
    ];
    for (request, device) in cases {
        let good = device.claims(request.method(), &server.url_of(&request), now());
        for (what, change) in CHANGES.iter().take(10) {
            let mut claims = good.clone();
            change(&mut claims);
            let request = request.clone().header("dpop", device.dpop(&claims));
            target.refuses(what, &request, "401 invalid_proof");
        }
        if request.method() == "POST" {
            target.refuses("no proof", &request, "401 proof_required");
            let signed = target.signed(request.clone());
            target.refuses("with a credential", &signed, "400 invalid_request");
        }
        let signed = request.header("dpop", device.dpop(&good));
        assert!(
            matches!(server.send(&signed).status, 200 | 202),
            "{}",
            signed.target()
        );
        target.refuses("replayed", &signed, "401 invalid_proof");
    }
}
