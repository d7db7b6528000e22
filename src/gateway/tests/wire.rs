//! Requests that proxies and servers are known to read in different ways.

use hardtack_token::{Caveat, PathPrefix};

use super::client::bearer;
use super::support::{Setup, World};

#[tokio::test]
async fn a_path_that_could_be_read_in_two_ways_is_refused_before_anything_else() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    let token = world.token("operator.admin");
    for path in [
        "/api/../assets/x",
        "/assets/../api/x",
        "/assets/%2e%2e/api/x",
        "/assets/%2E./api/x",
        "//assets/x",
        "/assets//x",
        "/assets/%2fx",
        "/assets/%5Cx",
        "/assets\\x",
        "/assets/x;y=1",
        "/assets/%252e%252e/x",
        "/assets/%00",
        "/assets/%0d%0ax",
        "/assets/%",
    ] {
        let line = format!("GET {path}");
        for headers in [&[][..], &[("authorization", &*bearer(&token))]] {
            let answer = gateway.send(&line, headers).await;
            assert_eq!(answer.outcome(), "400 ambiguous_path", "{path}");
        }
    }
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn the_upstream_gets_the_one_spelling_that_was_decided_on() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    for (target, expected) in [
        (
            "/%61ssets/%7Euser/a%2bb?x=%2e%2e//;",
            "/assets/~user/a%2Bb?x=%2e%2e//;",
        ),
        ("/assets/%e2%82%ac?", "/assets/%E2%82%AC?"),
        ("http://gw.example/assets/x", "/assets/x"),
    ] {
        let answer = gateway.send(&format!("GET {target}"), &[]).await;
        assert_eq!(answer.json()["target"], expected);
    }
    // A caveat sees it too.
    let below = Caveat::Path(PathPrefix::new("/api/x/").unwrap());
    let token = world.token_with("operator.read", vec![below]);
    let headers = [("authorization", &*bearer(&token))];
    let answer = gateway.send("GET /api/%78/y", &headers).await;
    assert_eq!(answer.outcome(), "200");
    // Denied by the policy in every spelling.
    let token = world.token("operator.admin");
    let headers = [("authorization", &*bearer(&token))];
    for target in ["/api/internal/x", "/api/%69nternal/x"] {
        let answer = gateway.send(&format!("GET {target}"), &headers).await;
        assert_eq!(answer.outcome(), "403 denied_by_policy");
    }
}

#[tokio::test]
async fn more_than_one_credential_is_refused() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    let good = bearer(&world.token("operator.admin"));
    for headers in [
        &[("authorization", &*good), ("authorization", &good)][..],
        &[("authorization", "Bearer x"), ("Authorization", &good)],
        &[("authorization", &format!("{good}, {good}"))],
    ] {
        for line in ["GET /api/x", "GET /assets/x"] {
            let answer = gateway.send(line, headers).await;
            assert_eq!(answer.outcome(), "400 duplicate_authorization");
        }
    }
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn a_header_name_with_an_underscore_is_refused() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    for name in ["x_hardtack_device", "X_Forwarded_For", "x-hardtack_device"] {
        let answer = gateway.send("GET /assets/x", &[(name, "mallory")]).await;
        assert_eq!(answer.outcome(), "400 invalid_request");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(&name.to_lowercase()), "{detail}");
    }
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn nominating_a_header_for_removal_has_no_effect_on_ours() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.read");
    let head = format!(
        "GET /api/x HTTP/1.1\r\nhost: gw.example\r\nauthorization: Bearer {token}\r\n\
         connection: close, authorization, host, x-hardtack-device, x-hardtack-scopes, \
         x-forwarded-for, x-mine\r\nx-mine: 1\r\nkeep-alive: 1\r\nte: trailers\r\n\
         upgrade: h2c\r\n\r\n"
    );
    let answer = gateway.send_raw(&head).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.sent("x-hardtack-scopes").as_deref(),
        Some("operator.read")
    );
    assert_eq!(answer.sent("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(
        answer.sent("x-forwarded-host").as_deref(),
        Some("gw.example")
    );
    for gone in ["x-mine", "keep-alive", "upgrade", "connection"] {
        assert_eq!(answer.sent(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn only_a_trusted_proxy_is_believed() {
    let mut world = World::new();
    let (_gateway, echo) = world.start_with_echo().await;
    let sent = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=192.0.2.7"),
        ("x-real-ip", "192.0.2.7"),
        ("x-request-id", "abc-1"),
    ];
    for (trusted, forwarded_for, proto) in [
        (vec!["192.0.2.0/24"], "127.0.0.1", "http"),
        (vec!["127.0.0.0/8"], "192.0.2.7, 127.0.0.1", "https"),
    ] {
        let believed = proto == "https";
        let setup = Setup {
            upstream: Some(echo.url.clone()),
            trusted,
            ..Setup::default()
        };
        let gateway = world.start(setup).await;
        let answer = gateway.send("GET /assets/x", &sent).await;
        assert_eq!(
            answer.sent("x-forwarded-for").as_deref(),
            Some(forwarded_for)
        );
        assert_eq!(answer.sent("x-forwarded-proto").as_deref(), Some(proto));
        assert_eq!(answer.sent("forwarded").is_some(), believed);
        assert_eq!(answer.sent("x-real-ip").is_some(), believed);
        assert_eq!(answer.header("x-request-id") == Some("abc-1"), believed);
        assert_eq!(
            answer.sent("x-request-id").as_deref(),
            answer.header("x-request-id")
        );
    }
}

#[tokio::test]
async fn a_second_request_cannot_hide_in_the_body_of_the_first() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    let token = world.token("operator.write");
    for (first, second) in [
        ("content-length: 4", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 4"),
    ] {
        let before = echo.requests();
        let text = format!(
            "POST /api/x HTTP/1.1\r\nhost: gw.example\r\nauthorization: Bearer {token}\r\n\
             {first}\r\n{second}\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\nGET /api/hidden HTTP/1.1\r\nhost: gw.example\r\n\r\n"
        );
        // The connection ends after the first answer, so what follows is not read.
        let answer = gateway.send_raw(&text).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["body"], "hello");
        assert_eq!(answer.sent("transfer-encoding").as_deref(), Some("chunked"));
        assert_eq!(answer.sent("content-length"), None);
        assert_eq!(echo.requests(), before + 1);
    }
    for head in [
        "content-length: 4\r\ncontent-length: 5",
        "transfer-encoding: gzip",
    ] {
        let text = format!("POST /api/x HTTP/1.1\r\nhost: gw.example\r\n{head}\r\n\r\n");
        assert_eq!(gateway.send_raw(&text).await.status, 400);
    }
}
