//! What is no credential at the gateway, each with a code of its own.

use hardtack_token::dpop::token_hash;
use serde_json::json;

use crate::device::Device;
use crate::support::people::{GRANT, now};
use crate::support::upstream::Upstream;
use crate::support::{Answer, Install, Paired, Request, Server, eventually};

/// An install whose gateway has an upstream.
pub(crate) fn gateway() -> (Install, Upstream) {
    let upstream = Upstream::start();
    let install = Install::with(&["--upstream", &upstream.url]);
    (install, upstream)
}

/// What the gateway says to a read with this token.
pub(crate) fn read(server: &Server, token: &str) -> Answer {
    server.through(token, Request::get("/api/x"))
}

fn challenges(answer: &Answer) -> Vec<&str> {
    let named = answer
        .head
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate");
    named.map(|(_, value)| value.as_str()).collect()
}

/// A token that is bound to its device's key.
fn bound(server: &Server, holder: &Paired) -> String {
    let exchange = |nonce: Option<String>| {
        let form = [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", holder.grant.as_str()),
            ("subject_token_type", GRANT),
        ];
        let request = Request::post("/oauth/token").form(&form);
        let mut claims = holder
            .device
            .claims("POST", &server.url_of(&request), now());
        claims.nonce = nonce;
        server.send(&request.header("dpop", holder.device.dpop(&claims)))
    };
    let asked = exchange(None);
    assert_eq!(asked.member("error"), "use_dpop_nonce");
    let answer = exchange(Some(asked.header("dpop-nonce").to_owned())).expect(200);
    assert_eq!(answer["token_type"], "DPoP");
    answer["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_allowed_reaches_the_upstream_with_an_identity_and_no_credential() {
    let (install, _upstream) = gateway();
    let paired = install.pair(1, "operator.read");
    let token = install.server.token(&paired);
    let request = Request::get("/api/x?q=1").header("x-hardtack-role", "king");
    let seen = install.server.through(&token, request).expect(200);
    assert_eq!(
        (&seen["method"], &seen["target"]),
        (&json!("GET"), &json!("/api/x?q=1"))
    );
    let headers = &seen["headers"];
    for (name, value) in [
        ("x-hardtack-device", json!(paired.device.id().to_string())),
        ("x-hardtack-service", json!("")),
        ("x-hardtack-grant", json!(paired.grant_id)),
        ("x-hardtack-role", json!("operator")),
        ("x-hardtack-scopes", json!("operator.read")),
        ("authorization", json!(null)),
        ("dpop", json!(null)),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    assert!(headers["x-hardtack-request-id"].is_string());
}

#[test]
fn without_a_credential_the_challenge_says_where_to_go() {
    let (install, upstream) = gateway();
    let server = &install.server;
    // A route, an unknown path, a path of the gateway: no difference.
    for path in ["/api/x", "/nowhere", "/.hardtack/whoami", "/.hardtack/no"] {
        let answer = Request::get(path).send(&server.gateway);
        assert_eq!(answer.outcome(), "401 missing_token", "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let next = answer.json()["next"].to_string();
        assert!(
            next.contains("hardtack pair") && next.contains(&server.url),
            "{next}"
        );
        let said = challenges(&answer);
        let metadata = format!("{}/.well-known/oauth-protected-resource", server.gateway);
        assert_eq!(
            said[0],
            format!(r#"Bearer realm="hardtack", resource_metadata="{metadata}""#)
        );
        assert!(said[1].starts_with("DPoP "), "{said:?}");
    }
    assert_eq!(upstream.requests(), [""; 0]);
}

#[test]
fn a_token_of_another_kind_is_no_credential() {
    let (install, upstream) = gateway();
    let paired = install.pair(1, "operator.read");
    let server = &install.server;
    let sealed = paired.grant.as_str();
    for (token, code) in [
        (sealed, "grant_not_accepted"),
        (&install.root, "root_token_not_accepted"),
        ("nonsense", "malformed_token"),
        (&"A".repeat(7000), "malformed_token"),
    ] {
        let answer = read(server, token);
        assert_eq!(answer.outcome(), format!("401 {code}"));
        assert!(
            challenges(&answer)[0].contains(r#"error="invalid_token""#),
            "{code}"
        );
        assert!(!answer.text().contains(token), "{code}");
    }
    // A proof of its key makes a grant no access token.
    let mut claims = paired
        .device
        .claims("GET", &format!("{}/api/x", server.gateway), now());
    claims.ath = Some(token_hash(sealed));
    let request = Request::get("/api/x").header("authorization", format!("DPoP {sealed}"));
    let request = request.header("dpop", paired.device.dpop(&claims));
    assert_eq!(
        request.send(&server.gateway).outcome(),
        "401 grant_not_accepted"
    );
    assert_eq!(upstream.requests(), [""; 0]);
}

#[test]
fn a_grant_without_its_key_gives_no_access_token() {
    let install = Install::new();
    let (paired, other) = (install.pair(1, "operator.read"), Device::new(2));
    let server = &install.server;
    let without = server.exchange_of(&paired.grant, GRANT, &[]);
    assert_eq!(without.outcome(), "400 proof_required");
    assert_eq!(without.member("error"), "invalid_request");
    let thief = Paired {
        device: other,
        ..paired.clone()
    };
    let refused = server.exchange(&thief, &[]);
    assert_eq!(refused.outcome(), "400 wrong_key", "{}", refused.text());
    let whoami = Request::get("/v1/whoami");
    assert_eq!(server.call(&thief, &whoami).outcome(), "401 wrong_key");
    let bearer = server.send(&whoami.clone().bearer(&paired.grant));
    assert_eq!(bearer.outcome(), "401 proof_required");
    assert_eq!(server.call(&paired, &whoami).outcome(), "200");
}

#[test]
fn a_bound_token_needs_its_key_each_time() {
    let (install, upstream) = gateway();
    let paired = install.pair(1, "operator.read");
    let server = &install.server;
    let token = bound(server, &paired);
    let proof = |device: &Device, path: &str| {
        let mut claims = device.claims("GET", &format!("{}{path}", server.gateway), now());
        claims.ath = Some(token_hash(&token));
        device.dpop(&claims)
    };
    let with = |proof: &str| {
        let request = Request::get("/api/x").header("authorization", format!("DPoP {token}"));
        request
            .header("dpop", proof)
            .send(&server.gateway)
            .outcome()
    };
    assert_eq!(read(server, &token).outcome(), "401 wrong_holder");
    assert_eq!(with(&proof(&Device::new(2), "/api/x")), "401 wrong_holder");
    assert_eq!(with(&proof(&paired.device, "/api/y")), "401 invalid_proof");
    assert_eq!(upstream.requests(), [""; 0]);
    let good = proof(&paired.device, "/api/x");
    assert_eq!(with(&good), "200");
    assert_eq!(with(&good), "401 invalid_proof");
}

#[test]
fn a_token_ends_when_it_said() {
    let (install, _upstream) = gateway();
    let paired = install.pair(1, "operator.read");
    let token = install.server.token_with(&paired, &[("expires_in", "1")]);
    let refused = eventually("it ends", || {
        let answer = read(&install.server, &token);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.outcome(), "401 expired");
    assert!(refused.text().contains("hardtack token exchange"));
    assert_eq!(
        read(&install.server, &install.server.token(&paired)).status,
        200
    );
}

#[test]
fn a_revocation_reaches_down_three_levels_and_no_other_line() {
    let (install, _upstream) = gateway();
    let server = &install.server;
    let id = server.ask(&Device::new(1), "operator.admin");
    let path = format!("/v1/pairing-requests/{id}/approve");
    server
        .send(&Request::post(path).bearer(&install.root))
        .expect(200);
    let first = server.fetch(Device::new(1), &id);
    let second = server.pair(&first, 2, "operator.admin");
    let third = server.pair(&second, 3, "operator.admin");
    let fourth = server.pair(&third, 4, "operator.read");
    let other = install.pair(5, "operator.read");
    let tokens = [&fourth, &other].map(|paired| server.token(paired));
    assert_eq!(read(server, &tokens[0]).status, 200);

    let first = first.device.id().to_string();
    let revoked = install
        .host
        .run(&["devices", "revoke", &first, "--yes", "--json"])
        .json();
    assert_eq!(revoked["count"], 4);
    assert_eq!(read(server, &tokens[0]).outcome(), "401 revoked");
    assert_eq!(server.exchange(&fourth, &[]).outcome(), "400 revoked");
    assert_eq!(read(server, &tokens[1]).status, 200);
}

#[test]
fn a_retired_device_is_refused_and_what_it_approved_lives() {
    let (install, _upstream) = gateway();
    let server = &install.server;
    let parent = install.pair(1, "operator.admin");
    let child = server.pair(&parent, 2, "operator.read");
    let tokens = [&parent, &child].map(|paired| server.token(paired));
    let id = parent.device.id().to_string();
    install.host.run(&["devices", "retire", &id, "--yes"]).ok();
    assert_eq!(read(server, &tokens[0]).outcome(), "401 retired");
    assert_eq!(server.exchange(&parent, &[]).outcome(), "400 retired");
    let device = Device::new(3);
    let asked = server.ask(&device, "operator.read");
    assert_eq!(
        server.approve(&parent, &asked, &json!({})).outcome(),
        "401 retired"
    );
    assert_eq!(read(server, &tokens[1]).status, 200);
    assert_eq!(read(server, &server.token(&child)).status, 200);
}

#[test]
fn two_credentials_are_none() {
    let (install, upstream) = gateway();
    let token = install.server.token(&install.pair(1, "operator.read"));
    let bearer = format!("Bearer {token}");
    let twice = Request::get("/api/x").bearer(&token).bearer(&token);
    let joined = Request::get("/api/x").header("authorization", format!("{bearer}, {bearer}"));
    for request in [twice, joined] {
        let answer = request.send(&install.server.gateway);
        assert_eq!(answer.outcome(), "400 duplicate_authorization");
    }
    // In other places it is not looked for.
    let query = Request::get(format!("/api/x?access_token={token}"));
    let cookie = Request::get("/api/x").header("cookie", format!("token={token}"));
    for request in [query, cookie] {
        let answer = request.send(&install.server.gateway);
        assert_eq!(answer.outcome(), "401 missing_token");
    }
    assert_eq!(upstream.requests(), [""; 0]);
}
