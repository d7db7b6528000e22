//! What clients and verifiers find out by themselves.

use std::sync::Arc;

use hardtack_token::{FeedPage, Published, Request as Asked, Revocations, Timestamp, Verifier};
use serde_json::{Value, json};

use crate::support::people::now;
use crate::support::{Install, Request, Server, eventually};

fn document(server: &Server, path: &str) -> Value {
    server.send(&Request::get(path)).expect(200)
}

#[test]
fn the_authorization_server_says_where_its_endpoints_are() {
    let install = Install::new();
    let at = |path: &str| format!("{}{path}", install.server.url);
    let found = document(&install.server, "/.well-known/oauth-authorization-server");
    let auth = [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ];
    let or_none = [auth.as_slice(), &["none"]].concat();
    let (algs, gateway) = (["EdDSA", "Ed25519"], &install.server.gateway);
    let expected = json!({
        "issuer": at(""),
        "token_endpoint": at("/oauth/token"),
        "device_authorization_endpoint": at("/oauth/device_authorization"),
        "introspection_endpoint": at("/oauth/introspect"),
        "revocation_endpoint": at("/oauth/revoke"),
        "grant_types_supported": [
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "refresh_token",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "response_types_supported": [],
        "scopes_supported": [
            "operator.admin", "operator.approvals", "operator.pairing", "operator.read", "operator.write",
        ],
        "token_endpoint_auth_methods_supported": or_none,
        "token_endpoint_auth_signing_alg_values_supported": algs,
        "introspection_endpoint_auth_methods_supported": auth,
        "introspection_endpoint_auth_signing_alg_values_supported": algs,
        "revocation_endpoint_auth_methods_supported": or_none,
        "revocation_endpoint_auth_signing_alg_values_supported": algs,
        "dpop_signing_alg_values_supported": algs,
        "protected_resources": [at(""), gateway.clone()],
    });
    assert_eq!(found, expected);
}

/// A challenge leads to the resource, the resource to the authorization server.
#[test]
fn a_refused_client_finds_its_way_from_the_challenge_to_the_token_endpoint() {
    let install = Install::new();
    let server = &install.server;
    for (base, path) in [(&server.gateway, "/api/x"), (&server.url, "/v1/whoami")] {
        let refused = Request::get(path).send(base);
        assert_eq!(refused.status, 401);
        let challenge = refused.header("www-authenticate");
        let (_, rest) = challenge.split_once("resource_metadata=\"").unwrap();
        let (url, _) = rest.split_once('"').unwrap();
        let path = url.strip_prefix(base.as_str()).unwrap();
        let resource = Request::get(path).send(base).expect(200);
        assert_eq!(&resource["resource"], base);
        assert_eq!(resource["bearer_methods_supported"], json!(["header"]));
        assert_eq!(resource["authorization_servers"], json!([server.url]));
        let known = document(server, "/.well-known/oauth-authorization-server");
        assert_eq!(known["issuer"], json!(server.url));
        let declared = known["scopes_supported"].as_array().unwrap();
        assert_eq!(&resource["scopes_supported"], &json!(declared));
    }
}

/// All that a verifier elsewhere has: the published keys, scopes and feed.
struct Elsewhere {
    published: Published,
    verifier: Verifier,
    position: Option<String>,
    feed: String,
}

impl Elsewhere {
    fn new(server: &Server) -> Self {
        let published = document(server, "/.well-known/hardtack");
        let published: Published = serde_json::from_value(published).unwrap();
        let feed = published.revocations.strip_prefix(&server.url).unwrap();
        Self {
            feed: feed.to_owned(),
            verifier: Verifier::new(
                published.keys().unwrap(),
                Arc::new(Revocations::new(5)),
                1 << 20,
            ),
            published,
            position: None,
        }
    }

    /// Reads what came since, page by page.
    fn read(&mut self, server: &Server) -> usize {
        let mut pages = 0;
        loop {
            let after = self.position.iter().map(|p| format!("&after={p}"));
            let path = format!("{}?limit=2{}", self.feed, after.collect::<String>());
            let answer = server.send(&Request::get(path));
            assert_eq!(answer.header("cache-control"), "no-store");
            let page: FeedPage = serde_json::from_value(answer.expect(200)).unwrap();
            let revocations = self.verifier.revocations();
            revocations.add(&page.items);
            pages += 1;
            self.position = Some(page.position.clone());
            if page.next.is_none() {
                revocations.confirm(page.as_of().unwrap());
                return pages;
            }
        }
    }

    fn decide(&self, token: &str, gateway: &str) -> &'static str {
        let catalog = Arc::new(self.published.catalog().unwrap());
        let read = catalog.require(&"operator.read".parse().unwrap()).unwrap();
        let asked = Asked {
            now: now(),
            audience: gateway,
            holder: None,
            method: Some("GET"),
            path: Some("/x"),
            operation: None,
        };
        let decided = self.verifier.authorize(token, &catalog, &asked, &[read]);
        decided.map_or_else(|denial| denial.code(), |_| "ok")
    }
}

#[test]
fn a_verifier_that_has_only_what_is_published_decides_as_the_gateway_does() {
    let install = Install::new();
    let server = &install.server;
    let mut elsewhere = Elsewhere::new(server);
    let devices: Vec<_> = (1..=5).map(|n| install.pair(n, "operator.write")).collect();
    let tokens: Vec<_> = devices.iter().map(|d| server.token(d)).collect();
    assert_eq!(
        elsewhere.decide(&tokens[0], &server.gateway),
        "revocations_stale"
    );
    assert_eq!(elsewhere.read(server), 1);
    assert_eq!(elsewhere.decide(&tokens[0], &server.gateway), "ok");
    for device in &devices[..3] {
        let path = format!("/v1/devices/{}/revoke", device.device.id());
        let end = Request::post(path).json(&json!({}));
        server.call(&install.local(), &end).expect(200);
    }
    assert_eq!(elsewhere.read(server), 2, "three entries by two");
    for (i, token) in tokens.iter().enumerate() {
        let expected = if i < 3 { "revoked" } else { "ok" };
        assert_eq!(elsewhere.decide(token, &server.gateway), expected);
    }
    eventually("the node reads its feed", || {
        let answer = server.through(&tokens[0], Request::get("/.hardtack/whoami"));
        (answer.outcome() == "401 revoked").then_some(())
    });
    assert_eq!(elsewhere.read(server), 1, "nothing new");
}

#[test]
fn a_position_that_the_feed_never_had_is_refused() {
    let install = Install::new();
    for after in ["999", "-1", "x"] {
        let path = format!("/v1/revocations?after={after}");
        let answer = install.server.send(&Request::get(path));
        assert_eq!(answer.outcome(), "400 invalid_request", "{after}");
    }
    let page = document(&install.server, "/v1/revocations");
    assert_eq!((&page["items"], &page["next"]), (&json!([]), &Value::Null));
    let as_of: Timestamp = page["as_of"].as_str().unwrap().parse().unwrap();
    assert!(now().unix().abs_diff(as_of.unix()) < 60);
}
