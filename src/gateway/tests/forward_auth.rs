//! The doors for proxies that ask, as those proxies ask.

use hardtack_token::{Caveat, End};
use http::HeaderName;
use serde_json::Value;

use super::client::{Answer, bearer};
use super::support::{Device, Running, Setup, World};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const IDENTITY: [&str; 6] = [
    "x-hardtack-device",
    "x-hardtack-service",
    "x-hardtack-grant",
    "x-hardtack-role",
    "x-hardtack-scopes",
    "x-hardtack-request-id",
];

/// A gateway that takes questions from this machine.
async fn asked_from_here(world: &mut World) -> Running {
    let setup = Setup {
        trusted: vec!["127.0.0.0/8"],
        ..Setup::default()
    };
    world.start(setup).await
}

impl Running {
    /// Asks as a proxy does about a request with these headers.
    async fn ask(&self, door: &str, method: &str, uri: &str, more: &[(&str, &str)]) -> Answer {
        let names = match door {
            "nginx" => ["x-original-method", "x-original-uri"],
            _ => ["x-forwarded-method", "x-forwarded-uri"],
        };
        let mut headers = vec![(names[0], method), (names[1], uri)];
        headers.extend(more);
        self.send(&format!("GET /forward-auth/{door}"), &headers)
            .await
    }
}

#[tokio::test]
async fn an_allowed_request_is_answered_with_every_identity_header() {
    let mut world = World::new();
    let gateway = asked_from_here(&mut world).await;
    let token = world.token("operator.write");
    let credential = bearer(&token);
    for door in ["nginx", "traefik", "caddy"] {
        let forged = [
            ("authorization", &*credential),
            ("x-hardtack-service", "mallory"),
            ("x-request-id", "mallory"),
        ];
        let answer = gateway.ask(door, "GET", "/%61pi/x?q=%2e", &forged).await;
        assert_eq!(answer.outcome(), "200", "{door}");
        let device = Device::new(1).id().to_string();
        assert_eq!(answer.header("x-hardtack-device"), Some(&*device));
        assert_eq!(answer.header("x-hardtack-service"), Some(""));
        let scopes = "operator.read operator.write";
        assert_eq!(answer.header("x-hardtack-scopes"), Some(scopes));
        assert_eq!(answer.header("x-hardtack-uri"), Some("/api/x?q=%2e"));
        assert_ne!(answer.header("x-hardtack-request-id"), Some("mallory"));
        for name in IDENTITY {
            assert_eq!(answer.headers.get_all(name).iter().count(), 1, "{name}");
        }
        // Nothing of the question comes back: the proxy could take it for ours.
        let more = [
            "x-hardtack-uri",
            "x-request-id",
            "connection",
            "content-length",
            "date",
        ];
        let ours = |name: &HeaderName| IDENTITY.iter().chain(&more).any(|known| name == known);
        assert!(answer.headers.keys().all(ours), "{:?}", answer.headers);
        // Nobody is told of as nobody, and not left out.
        let answer = gateway.ask(door, "GET", "/assets/x", &forged).await;
        assert_eq!(answer.outcome(), "200");
        for name in &IDENTITY[..5] {
            assert_eq!(answer.header(name), Some(""), "{door} {name}");
        }
    }
}

#[tokio::test]
async fn the_door_decides_as_the_reverse_proxy_does() {
    let mut world = World::new();
    let (proxy, _echo) = world.start_with_echo().await;
    let gateway = asked_from_here(&mut world).await;
    let read = bearer(&world.token("operator.read"));
    let write = bearer(&world.token("operator.write"));
    let get_only = Caveat::Method(std::iter::once("GET".to_owned()).collect());
    let narrowed = bearer(&world.token_with("operator.write", vec![get_only]));
    let both = format!("{read}, {write}");
    for credential in [
        "",
        &read,
        &write,
        &narrowed,
        &both,
        "Bearer x",
        "Basic eA==",
    ] {
        for line in [
            "GET /api/x?q",
            "POST /api/x",
            "QUERY /api/x",
            "GET /ws/x",
            "GET /assets/a",
            "DELETE /assets/a",
            "GET /api/internal/x",
            "GET /nothing",
            "GET /assets/../api/x",
            "GET /assets//x",
            "GET /api/%2e%2e/assets/x",
            "GET /a%00",
            "GET /api/x;y",
            "GET /api/%2fx",
            "get /api/x",
            "WEBSOCKET /api/x",
        ] {
            let mut headers = Vec::new();
            if !credential.is_empty() {
                headers.push(("authorization", credential));
            }
            let expected = proxy.send(line, &headers).await.outcome();
            let (method, uri) = line.split_once(' ').unwrap();
            for door in ["traefik", "caddy"] {
                let answer = gateway.ask(door, method, uri, &headers).await;
                assert_eq!(answer.outcome(), expected, "{door} {line}");
            }
            let answer = gateway.ask("nginx", method, uri, &headers).await;
            let status = answer.header("x-hardtack-status");
            let told = match status {
                None => answer.outcome(),
                Some(status) => format!("{status} {}", answer.json()["code"].as_str().unwrap()),
            };
            assert_eq!(told, expected, "nginx {line}");
            assert!([200, 401, 403].contains(&answer.status), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_tells_nginx_in_headers_what_it_tells_others_in_the_body() {
    let mut world = World::new();
    let gateway = asked_from_here(&mut world).await;
    let token = bearer(&world.token("operator.read"));
    let headers = [("authorization", &*token)];
    let answer = gateway.ask("nginx", "POST", "/api/x", &headers).await;
    assert_eq!(answer.outcome(), "403 insufficient_scope");
    let problem = answer.header("x-hardtack-problem").unwrap();
    let problem: Value = serde_json::from_str(problem).unwrap();
    assert_eq!(problem, answer.json());
    assert_eq!(problem["missing"][0], "operator.write");
    assert_eq!(answer.challenges().len(), 1);
    let answer = gateway.ask("nginx", "GET", "/api/x", &[]).await;
    assert_eq!(answer.outcome(), "401 missing_token");
    assert_eq!(answer.challenges().len(), 1);
    assert!(answer.challenges()[0].contains(", DPoP algs="));
    let others = gateway.ask("caddy", "GET", "/api/x", &[]).await;
    assert_eq!(others.challenges().len(), 2);
    assert_eq!(others.header("x-hardtack-problem"), None);
    // What passes by itself is a failure to nginx, and no decision.
    world.clock.advance(60);
    let answer = gateway.ask("nginx", "GET", "/api/x", &headers).await;
    assert_eq!(answer.outcome(), "503 revocations_stale");
}

#[tokio::test]
async fn only_a_proxy_of_ours_may_ask() {
    let mut world = World::new();
    let token = bearer(&world.token("operator.read"));
    let headers = [("authorization", &*token)];
    let gateway = world.start(Setup::default()).await;
    for door in ["nginx", "traefik", "caddy", "other"] {
        let answer = gateway.ask(door, "GET", "/api/x", &headers).await;
        assert_eq!(answer.outcome(), "403 proxy_not_trusted");
        assert_eq!(answer.header("x-hardtack-device"), None);
    }
    // Once there is a secret, the address is not enough.
    let setup = Setup {
        trusted: vec!["127.0.0.0/8"],
        proxy_secret: Some(SECRET),
        ..Setup::default()
    };
    let gateway = world.start(setup).await;
    let wrong = SECRET.replace('0', "1");
    for (secret, outcome) in [
        (None, "403 proxy_not_trusted"),
        (Some(&*wrong), "403 proxy_not_trusted"),
        (Some(SECRET), "200"),
    ] {
        let mut headers = headers.to_vec();
        headers.extend(secret.map(|secret| ("x-hardtack-proxy-secret", secret)));
        let answer = gateway.ask("caddy", "GET", "/api/x", &headers).await;
        assert_eq!(answer.outcome(), outcome);
    }
}

#[tokio::test]
async fn no_path_of_the_doors_is_ever_the_upstreams() {
    let mut world = World::new();
    world.set_policy(r#"public("GET", "/{*rest}");"#);
    let (gateway, echo) = world.start_with_echo().await;
    assert_eq!(gateway.send("GET /x", &[]).await.outcome(), "200");
    for path in ["/forward-auth/ngnix", "/forward-auth", "/forward-%61uth/x"] {
        let answer = gateway.send(&format!("GET {path}"), &[]).await;
        assert_eq!(answer.outcome(), "403 proxy_not_trusted", "{path}");
    }
    let trusting = asked_from_here(&mut world).await;
    let answer = trusting.ask("ngnix", "GET", "/x", &[]).await;
    assert_eq!(answer.outcome(), "404 not_found");
    assert_eq!(echo.requests(), 1);
}

#[tokio::test]
async fn an_upgrade_needs_a_route_of_its_own_at_every_door() {
    let mut world = World::new();
    let gateway = asked_from_here(&mut world).await;
    let read = bearer(&world.token("operator.read"));
    let write = bearer(&world.token("operator.write"));
    let handshake = [("sec-websocket-key", "k"), ("sec-websocket-version", "13")];
    for (door, stated) in [
        ("nginx", &[("x-original-upgrade", "websocket")][..]),
        ("traefik", &[("x-forwarded-upgrade", "websocket")]),
        (
            "caddy",
            &[("connection", "Upgrade"), ("upgrade", "websocket")],
        ),
    ] {
        let ask = async |path: &str, credential: &str, stated: &[(&str, &str)]| {
            let headers = [&[("authorization", credential)][..], &handshake, stated].concat();
            let answer = gateway.ask(door, "GET", path, &headers).await;
            (
                answer.status,
                answer.json()["code"].as_str().unwrap_or("").to_owned(),
            )
        };
        // A GET of the same path would be allowed by its route.
        let refused = |code: &str| (403, code.to_owned());
        assert_eq!(
            ask("/ws/x", &read, stated).await,
            refused("no_route"),
            "{door}"
        );
        let scope = refused("insufficient_scope");
        assert_eq!(ask("/api/x", &read, stated).await, scope, "{door}");
        let silent = ask("/api/x", &write, &[]).await;
        assert_eq!(silent.1, "invalid_request", "{door}");
        let headers = [&[("authorization", &*write)][..], &handshake, stated].concat();
        let answer = gateway.ask(door, "GET", "/api/x", &headers).await;
        assert_eq!(answer.outcome(), "200", "{door}");
    }
}

#[tokio::test]
async fn a_proof_is_for_the_original_request() {
    let mut world = World::new();
    let gateway = asked_from_here(&mut world).await;
    let device = Device::new(1);
    let token = world.token_with("operator.write", vec![Caveat::Holder(device.id())]);
    let credential = format!("DPoP {token}");
    for (method, htu, expected) in [
        ("GET", "http://gw.example/api/x", "200"),
        ("POST", "http://gw.example/api/x", "401 invalid_proof"),
        (
            "GET",
            "http://gw.example/forward-auth/caddy",
            "401 invalid_proof",
        ),
        ("GET", "http://gw.example/api/y", "401 invalid_proof"),
        ("GET", "http://other.example/api/x", "401 invalid_proof"),
    ] {
        let proof = device.proof(htu, &token, &format!("{method} {htu}"));
        let headers = [
            ("authorization", &*credential),
            ("dpop", &*proof),
            ("x-forwarded-host", "other.example"),
        ];
        let answer = gateway.ask("caddy", method, "/api/x?q=1", &headers).await;
        assert_eq!(answer.outcome(), expected, "{method} {htu}");
    }
    // Once only, whichever door it came by.
    let proof = device.proof("http://gw.example/api/z", &token, "once");
    let headers = [("authorization", &*credential), ("dpop", &*proof)];
    let answer = gateway.ask("nginx", "GET", "/api/z", &headers).await;
    assert_eq!(answer.outcome(), "200");
    let answer = gateway.ask("traefik", "GET", "/api/z", &headers).await;
    assert_eq!(answer.outcome(), "401 invalid_proof");
}

#[tokio::test]
async fn a_revocation_counts_for_the_next_question() {
    let mut world = World::new();
    let gateway = asked_from_here(&mut world).await;
    let chain = world.device_grant(1, "operator.read");
    let token = bearer(&world.session(&chain, super::support::GATEWAY, Vec::new()));
    let headers = [("authorization", &*token)];
    let answer = gateway.ask("nginx", "GET", "/api/x", &headers).await;
    assert_eq!(answer.outcome(), "200");
    world.end(&chain, End::Revoked);
    let answer = gateway.ask("nginx", "GET", "/api/x", &headers).await;
    assert_eq!(answer.outcome(), "401 revoked");
}
