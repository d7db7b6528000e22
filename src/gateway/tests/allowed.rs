//! What goes through, and as whom.

use hardtack_token::{End, Subject};

use super::client::bearer;
use super::support::{Device, GATEWAY, Setup, World};

#[tokio::test]
async fn an_allowed_request_carries_the_identity_and_not_the_credential() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.write");
    let answer = gateway
        .send(
            "GET /api/x?q=1",
            &[
                ("authorization", &bearer(&token)),
                ("x-hardtack-device", "mallory"),
                ("X-Hardtack-Admin", "yes"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-kept", "1"),
            ],
        )
        .await;
    assert_eq!(answer.status, 200);
    let sent = |name| answer.sent(name);
    assert_eq!(
        sent("x-hardtack-device"),
        Some(Device::new(1).id().to_string())
    );
    assert_eq!(sent("x-hardtack-service").as_deref(), Some(""));
    assert_eq!(sent("x-hardtack-role").as_deref(), Some("operator"));
    let scopes = sent("x-hardtack-scopes");
    assert_eq!(scopes.as_deref(), Some("operator.read operator.write"));
    assert_eq!(sent("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(sent("x-kept").as_deref(), Some("1"));
    for gone in ["authorization", "dpop", "x-hardtack-admin", "connection"] {
        assert_eq!(sent(gone), None, "{gone}");
    }
    assert_eq!(answer.json()["target"], "/api/x?q=1");
    assert_eq!(
        sent("x-hardtack-request-id").as_deref(),
        answer.header("x-request-id")
    );
}

#[tokio::test]
async fn the_answer_keeps_what_is_the_upstreams_and_loses_what_is_ours() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.read");
    let answer = gateway
        .send("GET /api/x", &[("authorization", &bearer(&token))])
        .await;
    assert_eq!(answer.header("x-upstream"), Some("1"));
    assert_eq!(answer.header("x-hardtack-scopes"), None);
    assert_eq!(answer.header("x-dropped"), None);
    assert_ne!(answer.header("x-request-id"), Some("the-upstreams"));
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
}

#[tokio::test]
async fn a_public_route_is_open_and_tells_the_upstream_nobody() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.admin");
    let credential = bearer(&token);
    let forged = [("authorization", &*credential), ("x-hardtack-scopes", "*")];
    for headers in [&[][..], &forged[..]] {
        let answer = gateway.send("GET /assets/a.js", headers).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.sent("x-hardtack-scopes").as_deref(), Some(""));
        assert_eq!(answer.sent("x-hardtack-device").as_deref(), Some(""));
        assert_eq!(answer.sent("authorization"), None);
    }
    assert_eq!(gateway.send("POST /assets/a.js", &[]).await.status, 401);
}

#[tokio::test]
async fn a_service_is_named_as_a_service() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let chain = world.grant(Subject::Service("backup".parse().unwrap()), "operator.read");
    let token = world.session(&chain, GATEWAY, Vec::new());
    let headers = [("authorization", &*bearer(&token))];
    let answer = gateway.send("GET /api/x", &headers).await;
    assert_eq!(answer.sent("x-hardtack-service").as_deref(), Some("backup"));
    assert_eq!(answer.sent("x-hardtack-device").as_deref(), Some(""));
    let whoami = gateway.send("GET /.hardtack/whoami", &headers).await.json();
    assert_eq!(whoami["device_id"], serde_json::Value::Null);
    assert_eq!(whoami["service"], "backup");
}

#[tokio::test]
async fn whoami_is_answered_for_any_valid_token_without_an_upstream() {
    let mut world = World::new();
    let gateway = world.start(Setup::default()).await;
    let chain = world.device_grant(1, "operator.write operator.pairing");
    let token = world.session(&chain, GATEWAY, Vec::new());
    let answer = gateway
        .send(
            "GET /.hardtack/whoami",
            &[("authorization", &bearer(&token))],
        )
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        String::from_utf8(answer.body).unwrap(),
        format!(
            r#"{{"device_id":"{}","service":null,"grant_id":"{}","role":"operator","scopes":["operator.pairing","operator.read","operator.write"],"expires_at":"2026-12-01T00:15:00Z","audience":"http://gw.example"}}"#,
            Device::new(1).id(),
            chain.profile().unwrap().leaf().id
        )
    );
}

#[tokio::test]
async fn the_metadata_is_public_and_names_the_authority() {
    let mut world = World::new();
    let gateway = world.start(Setup::default()).await;
    let answer = gateway
        .send("GET /.well-known/oauth-protected-resource", &[])
        .await;
    assert_eq!(answer.status, 200);
    let metadata = answer.json();
    assert_eq!(metadata["resource"], GATEWAY);
    assert_eq!(metadata["authorization_servers"][0], "http://as.example");
    let scopes = metadata["scopes_supported"].as_array().unwrap();
    assert!(scopes.contains(&"operator.read".into()));
    assert_eq!(metadata["dpop_signing_alg_values_supported"][0], "EdDSA");
}

#[tokio::test]
async fn head_is_a_method_of_its_own() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.read");
    let headers = [("authorization", &*bearer(&token))];
    // No GET route admits HEAD; the `*` route needs more.
    assert_eq!(gateway.send("HEAD /api/x", &headers).await.status, 403);
    let answer = gateway.send("HEAD /head/x", &headers).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(
        answer
            .header("content-length")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 100
    );
}

#[tokio::test]
async fn another_policy_is_in_force_for_the_next_request() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.write");
    let headers = [("authorization", &*bearer(&token))];
    assert_eq!(gateway.send("GET /api/x", &headers).await.outcome(), "200");
    world.set_policy(r#"route("GET", "/api/{*rest}", "operator.admin");"#);
    let answer = gateway.send("GET /api/x", &headers).await;
    assert_eq!(answer.outcome(), "403 insufficient_scope");
}

#[tokio::test]
async fn a_revocation_counts_between_two_requests_of_one_connection() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let chain = world.device_grant(1, "operator.read");
    let token = world.session(&chain, GATEWAY, Vec::new());
    let stream = hyper_util::rt::TokioIo::new(gateway.connect().await);
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let request = http::Request::get("/api/x")
            .header("host", "gw.example")
            .header("authorization", bearer(&token))
            .body(http_body_util::Empty::<bytes::Bytes>::new());
        client.ready().await.unwrap();
        let answer = client.send_request(request.unwrap()).await.unwrap();
        statuses.push(answer.status().as_u16());
        http_body_util::BodyExt::collect(answer.into_body())
            .await
            .unwrap();
        if statuses.len() == 2 {
            world.end(&chain, End::Revoked);
        }
    }
    assert_eq!(statuses, [200, 200, 401]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_at_once_are_each_taken_for_who_they_are() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let gateway = std::sync::Arc::new(gateway);
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..200_u8 {
        let chain = world.device_grant(n, "operator.read");
        let token = world.session(&chain, GATEWAY, Vec::new());
        let gateway = std::sync::Arc::clone(&gateway);
        clients.spawn(async move {
            for _ in 0..3 {
                let headers = [("authorization", &*bearer(&token))];
                let answer = gateway.send("GET /api/x", &headers).await;
                let device = Device::new(n).id().to_string();
                assert_eq!(answer.sent("x-hardtack-device"), Some(device));
                assert_eq!(gateway.send("PUT /api/x", &headers).await.status, 403);
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}
