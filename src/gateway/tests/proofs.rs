//! Tokens that are bound to a device's key.

use hardtack_token::Caveat;

use super::client::Answer;
use super::support::{Device, Running, Setup, World};

const URL: &str = "http://gw.example/.hardtack/whoami";

/// A gateway and a token that is bound to device 1.
async fn bound(world: &mut World) -> (Running, String) {
    let gateway = world.start(Setup::default()).await;
    let holder = Caveat::Holder(Device::new(1).id());
    (gateway, world.token_with("operator.read", vec![holder]))
}

async fn whoami(gateway: &Running, authorization: &str, proofs: &[&str]) -> Answer {
    let mut headers = vec![("authorization", authorization)];
    headers.extend(proofs.iter().map(|proof| ("dpop", *proof)));
    gateway.send("GET /.hardtack/whoami", &headers).await
}

#[tokio::test]
async fn a_bound_token_is_accepted_with_a_proof_and_each_proof_once() {
    let mut world = World::new();
    let (gateway, token) = bound(&mut world).await;
    let dpop = format!("dPoP {token}");
    let proof = Device::new(1).proof(URL, &token, "one");
    assert_eq!(whoami(&gateway, &dpop, &[&proof]).await.outcome(), "200");
    let again = whoami(&gateway, &dpop, &[&proof]).await;
    assert_eq!(again.outcome(), "401 invalid_proof");
    assert!(again.challenges()[1].contains(r#"error="invalid_dpop_proof""#));
    let proof = Device::new(1).proof(URL, &token, "two");
    assert_eq!(whoami(&gateway, &dpop, &[&proof]).await.outcome(), "200");
}

#[tokio::test]
async fn a_bound_token_without_its_keys_proof_is_refused() {
    let mut world = World::new();
    let (gateway, token) = bound(&mut world).await;
    let dpop = format!("DPoP {token}");
    let proof = Device::new(1).proof(URL, &token, "one");
    let of_another = Device::new(2).proof(URL, &token, "one");
    let for_another = Device::new(1).proof(URL, "other", "one");
    for (authorization, proofs, expected) in [
        (&*format!("Bearer {token}"), &[][..], "401 wrong_holder"),
        (&format!("Bearer {token}"), &[&*proof], "401 wrong_holder"),
        (&dpop, &[], "401 wrong_holder"),
        (&dpop, &[&of_another], "401 wrong_holder"),
        (&dpop, &[&for_another], "401 invalid_proof"),
        (&dpop, &["no-proof"], "401 invalid_proof"),
        (&dpop, &[&proof, &proof], "400 invalid_request"),
        // None of these has spent it.
        (&dpop, &[&proof], "200"),
    ] {
        let answer = whoami(&gateway, authorization, proofs).await;
        assert_eq!(answer.outcome(), expected);
    }
}

#[tokio::test]
async fn a_proof_names_the_gateway_or_a_loopback_host_and_the_path() {
    let mut world = World::new();
    let (gateway, token) = bound(&mut world).await;
    for (n, (url, expected)) in [
        (URL, "200"),
        ("http://gw.example:80/.hardtack/whoami?q", "200"),
        ("http://127.0.0.1:9/.hardtack/whoami", "200"),
        ("http://localhost/.hardtack/whoami", "200"),
        ("https://gw.example/.hardtack/whoami", "401 invalid_proof"),
        ("http://as.example/.hardtack/whoami", "401 invalid_proof"),
        ("http://gw.example/api/x", "401 invalid_proof"),
    ]
    .into_iter()
    .enumerate()
    {
        let proof = Device::new(1).proof(url, &token, &n.to_string());
        let answer = whoami(&gateway, &format!("DPoP {token}"), &[&proof]).await;
        assert_eq!(answer.outcome(), expected, "{url}");
        let help = "--gateway-url http://as.example";
        let detail = answer.json()["detail"].to_string();
        assert_eq!(
            detail.contains(help),
            url.contains("as.example"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn a_proof_may_name_the_path_as_sent_or_as_normalised() {
    let mut world = World::new();
    let (gateway, token) = bound(&mut world).await;
    let dpop = format!("DPoP {token}");
    for (jti, path) in [("1", "/.hardtack/who%61mi"), ("2", "/.hardtack/whoami")] {
        let url = format!("http://gw.example{path}");
        let proof = Device::new(1).proof(&url, &token, jti);
        let headers = [("authorization", &*dpop), ("dpop", &*proof)];
        let answer = gateway.send("GET /.hardtack/who%61mi", &headers).await;
        assert_eq!(answer.outcome(), "200", "{path}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_bound_does_not_pass_for_one_that_is() {
    let mut world = World::new();
    let gateway = world.start(Setup::default()).await;
    let token = world.token("operator.read");
    let proof = Device::new(1).proof(URL, &token, "one");
    let answer = whoami(&gateway, &format!("DPoP {token}"), &[&proof]).await;
    assert_eq!(answer.outcome(), "401 invalid_proof");
    let answer = whoami(&gateway, &format!("Bearer {token}"), &[]).await;
    assert_eq!(answer.outcome(), "200");
}

#[tokio::test]
async fn an_expired_token_is_expired_whatever_its_proof() {
    let mut world = World::new();
    let (gateway, token) = bound(&mut world).await;
    world.advance(900);
    let answer = whoami(&gateway, &format!("DPoP {token}"), &["no-proof"]).await;
    assert_eq!(answer.outcome(), "401 expired");
}
