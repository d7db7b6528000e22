//! What is refused, with which status, code, challenge and way out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use hardtack_token::{Caveat, Chain, End, PathPrefix, Timestamp, attenuate};

use super::client::{Answer, bearer};
use super::support::{Device, GATEWAY, Setup, World, text};

/// Asks for `GET /api/x` and tells the outcome.
async fn outcome(world: &mut World, token: &str) -> String {
    let (gateway, echo) = world.start_with_echo().await;
    let answer = gateway
        .send("GET /api/x", &[("authorization", &bearer(token))])
        .await;
    let allowed = answer.status == 200;
    assert_eq!(
        echo.requests(),
        usize::from(allowed),
        "what is refused goes no further"
    );
    if !allowed {
        check_form(&answer);
    }
    answer.outcome()
}

/// What every refusal has.
fn check_form(answer: &Answer) {
    let problem = answer.json();
    let code = problem["code"].as_str().unwrap();
    assert_eq!(problem["type"], format!("urn:hardtack:error:{code}"));
    assert_eq!(problem["status"], answer.status);
    assert_eq!(
        problem["request_id"].as_str(),
        answer.header("x-request-id")
    );
    assert!(!problem["title"].as_str().unwrap().is_empty());
    assert!(!problem["detail"].as_str().unwrap().is_empty());
    if answer.status == 401 {
        assert!(problem.get("held").is_none());
        let challenges = answer.challenges();
        assert_eq!(challenges.len(), 2, "{challenges:?}");
        assert!(challenges[0].starts_with(
            r#"Bearer realm="hardtack", resource_metadata="http://gw.example/.well-known/oauth-protected-resource""#
        ));
        assert!(challenges[1].starts_with(r#"DPoP algs="EdDSA Ed25519""#));
        assert_eq!(
            challenges[0].contains(r#"error="invalid_token""#),
            code != "missing_token"
        );
    }
}

fn session(world: &mut World, chain: &Chain) -> String {
    world.session(chain, GATEWAY, Vec::new())
}

#[tokio::test]
async fn a_token_that_is_none_of_ours_is_refused_by_its_own_code() {
    let mut world = World::new();
    let chain = world.device_grant(1, "operator.read");
    let good = session(&mut world, &chain);
    let sealed = chain.seal().unwrap().expose().to_owned();
    let open = URL_SAFE.encode(chain.to_stored());
    let mut altered = URL_SAFE.decode(&good).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    let root = world.root.mint_root_token(&mut world.rng).unwrap();
    let mut other = World::new();
    other.root =
        hardtack_token::RootKey::generate(hardtack_token::RootKeyId::new(2), &mut other.rng);
    let foreign = other.token("operator.read");
    for (token, expected) in [
        (&*good, "200"),
        ("", "401 missing_token"),
        ("no-token", "401 malformed_token"),
        (&format!("{good}="), "401 malformed_token"),
        (&"A".repeat(6145), "401 malformed_token"),
        (&sealed, "401 grant_not_accepted"),
        (&open, "401 outside_profile"),
        (&URL_SAFE.encode(altered), "401 bad_signature"),
        (&foreign, "401 unknown_key"),
        (root.text().expose(), "401 root_token_not_accepted"),
    ] {
        assert_eq!(outcome(&mut world, token).await, expected, "{token}");
    }
}

#[tokio::test]
async fn a_token_that_is_over_is_refused_by_its_own_code() {
    let mut world = World::new();
    let (revoked, retired) = (
        world.device_grant(1, "operator.read"),
        world.device_grant(1, "operator.read"),
    );
    let (of_revoked, of_retired) = (session(&mut world, &revoked), session(&mut world, &retired));
    world.end(&revoked, End::Revoked);
    world.end(&retired, End::Retired);
    assert_eq!(outcome(&mut world, &of_revoked).await, "401 revoked");
    assert_eq!(outcome(&mut world, &of_retired).await, "401 retired");
    let token = world.token("operator.read");
    world.advance(899);
    assert_eq!(outcome(&mut world, &token).await, "200");
    world.advance(1);
    assert_eq!(outcome(&mut world, &token).await, "401 expired");
}

#[tokio::test]
async fn each_caveat_that_does_not_hold_has_its_own_code() {
    let mut world = World::new();
    let strings = |value: &str| [value.to_owned()].into();
    for (caveat, expected) in [
        (Caveat::Method(strings("GET")), "200"),
        (Caveat::Method(strings("POST")), "403 caveat_method"),
        (Caveat::Path(PathPrefix::new("/api/x/").unwrap()), "200"),
        (
            Caveat::Path(PathPrefix::new("/api/y/").unwrap()),
            "403 caveat_path",
        ),
        (Caveat::Operation(strings("x.y")), "403 caveat_operation"),
        (
            Caveat::Scopes("operator.pairing".parse().unwrap()),
            "403 insufficient_scope",
        ),
        (Caveat::Holder(Device::new(1).id()), "401 wrong_holder"),
    ] {
        let token = world.token_with("operator.write operator.pairing", vec![caveat.clone()]);
        assert_eq!(outcome(&mut world, &token).await, expected, "{caveat:?}");
    }
}

#[tokio::test]
async fn a_holders_own_caveat_narrows() {
    let mut world = World::new();
    let token = text(&world.token("operator.read"));
    let over = Caveat::NotAfter(Timestamp::from_unix(1));
    let narrowed = attenuate(&token, &[over], &mut world.rng).unwrap();
    assert_eq!(outcome(&mut world, narrowed.expose()).await, "401 expired");
}

#[tokio::test]
async fn a_token_for_another_audience_is_told_how_to_get_one_for_this() {
    let mut world = World::new();
    let gateway = world.start(Setup::default()).await;
    let chain = world.device_grant(1, "operator.read");
    let token = world.session(&chain, "http://other.example", Vec::new());
    let answer = gateway
        .send("GET /api/x", &[("authorization", &bearer(&token))])
        .await;
    assert_eq!(answer.outcome(), "403 wrong_audience");
    let next = answer.json()["next"][0].as_str().unwrap().to_owned();
    assert!(
        next.starts_with("hardtack token exchange --audience http://gw.example"),
        "{next}"
    );
}

#[tokio::test]
async fn too_few_scopes_say_what_is_needed_what_is_held_and_the_way() {
    let mut world = World::new();
    let gateway = world.start(Setup::default()).await;
    let token = world.token("operator.read operator.pairing");
    let answer = gateway
        .send("PUT /api/x", &[("authorization", &bearer(&token))])
        .await;
    assert_eq!(answer.outcome(), "403 insufficient_scope");
    let problem = answer.json();
    assert_eq!(problem["required"], serde_json::json!(["operator.write"]));
    assert_eq!(problem["missing"], serde_json::json!(["operator.write"]));
    assert_eq!(
        problem["held"],
        serde_json::json!(["operator.pairing", "operator.read"])
    );
    assert_eq!(
        problem["next"][0],
        "hardtack pair --scopes operator.pairing,operator.read,operator.write --url http://as.example"
    );
    let challenge = answer.challenges()[0];
    assert!(
        challenge.contains(r#"error="insufficient_scope""#),
        "{challenge}"
    );
    assert!(
        challenge.contains(r#"scope="operator.write""#),
        "{challenge}"
    );
}

#[tokio::test]
async fn who_narrowed_its_own_token_is_told_to_exchange_again() {
    let mut world = World::new();
    let gateway = world.start(Setup::default()).await;
    let narrow = vec![Caveat::Scopes("operator.read".parse().unwrap())];
    let token = world.token_with("operator.write", narrow);
    let answer = gateway
        .send("PUT /api/x", &[("authorization", &bearer(&token))])
        .await;
    assert_eq!(
        answer.json()["next"][0],
        "hardtack token exchange --scopes operator.write --url http://as.example"
    );
}

#[tokio::test]
async fn without_a_valid_token_it_is_401_whether_or_not_a_route_matches() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.admin");
    let good = bearer(&token);
    for (line, with_token) in [
        ("GET /nowhere", "403 no_route"),
        ("GET /api/internal/x", "403 denied_by_policy"),
        ("GET /.hardtack/nothing", "404 not_found"),
        ("POST /.hardtack/whoami", "405 method_not_allowed"),
        ("GET /.hardtack/whoami", "200"),
        ("GET /api/x", "200"),
    ] {
        let answer = gateway.send(line, &[]).await;
        assert_eq!(answer.outcome(), "401 missing_token", "{line}");
        check_form(&answer);
        let answer = gateway.send(line, &[("authorization", "Bearer x")]).await;
        assert_eq!(answer.outcome(), "401 malformed_token", "{line}");
        assert!(answer.json().get("held").is_none());
        let answer = gateway.send(line, &[("authorization", &good)]).await;
        assert_eq!(answer.outcome(), with_token, "{line}");
    }
}

#[tokio::test]
async fn a_newcomer_is_told_where_to_pair_and_where_to_exchange() {
    let mut world = World::new();
    let gateway = world.start(Setup::default()).await;
    let answer = gateway
        .send("GET /api/x", &[("authorization", "Basic dTpw")])
        .await;
    assert_eq!(answer.outcome(), "401 missing_token");
    let next = answer.json()["next"].to_string();
    assert!(next.contains("hardtack pair --scopes operator.read --url http://as.example"));
    assert!(next.contains("hardtack token exchange --url http://as.example"));
    assert!(!next.contains("api"));
}

#[tokio::test]
async fn old_revocations_deny_everybody_for_the_time_being() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.read");
    world.clock.advance(6);
    let answer = gateway
        .send("GET /api/x", &[("authorization", &bearer(&token))])
        .await;
    assert_eq!(answer.outcome(), "503 revocations_stale");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(gateway.send("GET /assets/x", &[]).await.status, 200);
}

#[tokio::test]
async fn a_gateway_that_never_read_the_revocations_is_not_ready() {
    let mut world = World::new();
    let token = world.token("operator.read");
    world.revocations.confirm(Timestamp::default());
    assert_eq!(outcome(&mut world, &token).await, "503 not_ready");
    assert_eq!(outcome(&mut world, "x").await, "401 malformed_token");
}

#[tokio::test]
async fn an_allowed_request_without_an_upstream_is_503() {
    let mut world = World::new();
    let gateway = world.start(Setup::default()).await;
    let token = world.token("operator.read");
    let answer = gateway
        .send("GET /api/x", &[("authorization", &bearer(&token))])
        .await;
    assert_eq!(answer.outcome(), "503 no_upstream");
    check_form(&answer);
    assert_eq!(gateway.send("GET /api/x", &[]).await.status, 401);
}
