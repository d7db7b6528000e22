//! The proofs of a key that come with an exchange, and what is wrong with them.

use hardtack_token::dpop::token_hash;
use serde_json::json;

use crate::bad_exchange::NO_ASSERTION;
use crate::device::{Claims, Device};
use crate::support::people::now;
use crate::support::target::Target;

#[test]
fn an_assertion_that_is_wrong_is_an_invalid_client() {
    let target = Target::new();
    let (server, device) = (target.server(), &target.device.device);
    let (id, at) = (device.id().to_string(), now().unix());
    let jwt = json!({"typ": "JWT", "alg": "EdDSA"});
    let good = json!({
        "iss": id, "sub": id, "aud": server.url, "iat": at, "exp": at + 60, "jti": "once",
    });
    let refuses = |what: &str, assertion: &str| {
        let request = target.exchange_with(assertion, &[]);
        target.refuses_exchange(what, &request, "invalid_client", "401 invalid_client");
    };
    for (what, member, value) in [
        ("stale", "iat", json!(at - 200)),
        ("expired", "exp", json!(at - 20)),
        ("long", "exp", json!(at + 600)),
        ("for another server", "aud", json!("https://other.example")),
        ("for a path", "aud", json!(format!("{}/v1/x", server.url))),
        ("of somebody", "iss", json!("somebody")),
        ("for somebody", "sub", json!("somebody")),
        ("without an id", "jti", json!(null)),
        ("with an empty id", "jti", json!("")),
    ] {
        let mut claims = good.clone();
        claims[member] = value;
        refuses(what, &device.sign(&jwt, &claims));
    }
    let url = format!("{}/oauth/token", server.url);
    refuses("nonsense", "a.b.c");
    refuses("a DPoP proof", &device.proof("POST", &url, now(), None));
    for (typ, alg) in [("dpop+jwt", "EdDSA"), ("JWT", "none"), ("JWT", "HS256")] {
        let header = json!({"typ": typ, "alg": alg});
        refuses(alg, &device.sign(&header, &good));
    }
    // In the name of a device, with the key of another.
    refuses("forged", &Device::new(9).sign(&jwt, &good));
    target.assert_unchanged();

    let once = target.exchange_with(&device.sign(&jwt, &good), &[]);
    server.send(&once).expect(200);
    target.refuses_exchange("replayed", &once, "invalid_client", "401 invalid_client");
}

#[test]
fn a_dpop_proof_that_is_wrong_has_its_error() {
    let target = Target::new();
    let (server, device) = (target.server(), &target.device.device);
    let bare = target.exchange(&NO_ASSERTION);
    let asked = server.send(
        &bare
            .clone()
            .header("dpop", server.proof(device, &bare, None)),
    );
    assert_eq!(asked.member("error"), "use_dpop_nonce");
    assert_eq!(asked.status, 400);
    let nonce = asked.header("dpop-nonce").to_owned();
    let mut good = device.claims("POST", &server.url_of(&bare), now());
    good.nonce = Some(nonce);
    let with = |change: &dyn Fn(&mut Claims)| {
        let mut claims = good.clone();
        claims.jti = device.unique();
        change(&mut claims);
        bare.clone().header("dpop", device.dpop(&claims))
    };
    for (what, request) in [
        ("stale", with(&|c| c.iat -= 75)),
        ("of the future", with(&|c| c.iat += 75)),
        ("for another method", with(&|c| c.htm = "GET".to_owned())),
        ("for another path", with(&|c| c.htu += "s")),
        (
            "for another host",
            with(&|c| c.htu = "https://x.example/oauth/token".to_owned()),
        ),
        ("nonsense", bare.clone().header("dpop", "nonsense")),
    ] {
        target.refuses_exchange(what, &request, "invalid_dpop_proof", "400 invalid_proof");
    }
    let other = with(&|c| c.nonce = Some("other".to_owned()));
    target.refuses_exchange(
        "another nonce",
        &other,
        "use_dpop_nonce",
        "400 use_dpop_nonce",
    );
    let other = with(&|c| c.ath = Some(token_hash("other")));
    target.refuses_exchange(
        "for another token",
        &other,
        "invalid_dpop_proof",
        "400 invalid_proof",
    );
    let foreign = bare.clone().header("dpop", Device::new(9).dpop(&good));
    target.refuses("of another key", &foreign, "400 wrong_key");
    let both = target
        .exchange(&[])
        .header("dpop", Device::new(9).dpop(&good));
    target.refuses("of two keys", &both, "400 wrong_key");
    target.assert_unchanged();

    let once = with(&|_| {});
    assert_eq!(server.send(&once).expect(200)["token_type"], "DPoP");
    target.refuses_exchange("replayed", &once, "invalid_dpop_proof", "400 invalid_proof");
}
