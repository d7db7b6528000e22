//! What a valid token does not allow at the gateway: 403, each with its code.

use hardtack_token::{Caveat, PathPrefix};
use serde_json::json;

use crate::device::Device;
use crate::refusals::{gateway, read};
use crate::support::forge::narrowed;
use crate::support::people::now;
use crate::support::upstream::Upstream;
use crate::support::{Install, Machine, Request, Server};

fn set(values: &[&str]) -> std::collections::BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn each_caveat_that_is_violated_has_its_code() {
    let (install, upstream) = gateway();
    let server = &install.server;
    let token = server.token(&install.pair(1, "operator.write"));
    let prefix = |text: &str| Caveat::Path(PathPrefix::new(text).unwrap());
    for (caveat, expected) in [
        (
            Caveat::Scopes("operator.pairing".parse().unwrap()),
            "403 insufficient_scope",
        ),
        (Caveat::NotAfter(now()), "401 expired"),
        (
            Caveat::Audience(set(&["http://gw.example"])),
            "403 wrong_audience",
        ),
        (Caveat::Holder(Device::new(2).id()), "401 wrong_holder"),
        (
            Caveat::Method(set(&["POST", "WEBSOCKET"])),
            "403 caveat_method",
        ),
        (prefix("/api/x/"), "200"),
        (prefix("/api/y/"), "403 caveat_path"),
        (
            Caveat::Operation(set(&["config.get"])),
            "403 caveat_operation",
        ),
        (Caveat::Scopes("operator.read".parse().unwrap()), "200"),
        (Caveat::NotAfter(now().plus(300)), "200"),
        (Caveat::Audience(set(&[&server.gateway])), "200"),
        (Caveat::Method(set(&["GET"])), "200"),
    ] {
        let narrower = narrowed(&token, caveat.clone());
        let before = upstream.requests().len();
        assert_eq!(read(server, &narrower).outcome(), expected, "{caveat:?}");
        let passed = upstream.requests().len() - before;
        assert_eq!(passed, usize::from(expected == "200"), "{caveat:?}");
        // Nothing widens it again.
        let wider = narrowed(&narrower, Caveat::Scopes("*".parse().unwrap()));
        assert_eq!(read(server, &wider).outcome(), expected, "{caveat:?}");
    }
    assert_eq!(read(server, &token).status, 200);
}

#[test]
fn a_scope_that_is_missing_is_named_with_the_way_to_it() {
    let (install, upstream) = gateway();
    let paired = install.pair(1, "operator.read");
    let token = install.server.token(&paired);
    let refused = install.server.through(&token, Request::post("/api/x"));
    assert_eq!(refused.outcome(), "403 insufficient_scope");
    let problem = refused.json();
    assert_eq!(problem["required"], json!(["operator.write"]));
    assert_eq!(problem["missing"], json!(["operator.write"]));
    assert_eq!(problem["held"], json!(["operator.read"]));
    let next = problem["next"][0].as_str().unwrap();
    assert!(
        next.starts_with("hardtack pair --scopes operator.read,operator.write"),
        "{next}"
    );
    let challenge = refused.header("www-authenticate");
    assert!(
        challenge.contains(r#"error="insufficient_scope""#),
        "{challenge}"
    );
    assert!(
        challenge.contains(r#"scope="operator.write""#),
        "{challenge}"
    );
    assert_eq!(upstream.requests(), [""; 0]);
}

#[test]
fn a_token_for_another_audience_opens_nothing_here() {
    let (install, upstream) = gateway();
    let paired = install.pair(1, "operator.admin");
    let server = &install.server;
    for audience in ["https://elsewhere.example", server.url.as_str()] {
        let token = server.token_with(&paired, &[("audience", audience)]);
        assert_eq!(read(server, &token).outcome(), "403 wrong_audience");
    }
    // And the gateway's opens nothing at the API.
    let whoami = Request::get("/v1/whoami").bearer(&server.token(&paired));
    assert_eq!(server.send(&whoami).outcome(), "403 wrong_audience");
    assert_eq!(upstream.requests(), [""; 0]);
}

#[test]
fn a_path_that_is_denied_or_unknown_is_so_only_for_the_holder_of_a_token() {
    let upstream = Upstream::start();
    let host = Machine::new();
    let policy = r#"
        route("*", "/api/{*rest}", "operator.read");
        deny("*", "/api/internal/{*rest}");
        public("GET", "/open");
    "#;
    let policy = host.file("policy.datalog", policy);
    let server = Server::start(&host, &["--policy", &policy, "--upstream", &upstream.url]);
    let root = server.root.clone().unwrap();
    let install = Install { server, root, host };
    let server = &install.server;
    let token = server.token(&install.pair(1, "operator.admin"));
    for (path, expected) in [
        ("/api/x", "200"),
        ("/api/internal/x", "403 denied_by_policy"),
        ("/nowhere", "403 no_route"),
    ] {
        assert_eq!(
            server.through(&token, Request::get(path)).outcome(),
            expected
        );
        for request in [Request::get(path), Request::get(path).bearer("nonsense")] {
            let without = request.send(&server.gateway);
            assert_eq!(without.status, 401, "{path}");
        }
    }
    assert_eq!(Request::get("/open").send(&server.gateway).status, 200);
    assert_eq!(Request::post("/open").send(&server.gateway).status, 401);
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn an_allowed_request_without_an_upstream_is_no_success() {
    let install = Install::new();
    let token = install.server.token(&install.pair(1, "operator.read"));
    let answer = read(&install.server, &token);
    assert_eq!(answer.outcome(), "503 no_upstream");
    let whoami = Request::get("/.hardtack/whoami");
    let whoami = install.server.through(&token, whoami).expect(200);
    assert_eq!(whoami["audience"], *install.server.gateway);
}

#[test]
fn a_path_with_two_readings_is_refused() {
    let (install, upstream) = gateway();
    let token = install.server.token(&install.pair(1, "operator.read"));
    for path in [
        "/api/../x",
        "/api//x",
        "/api/%2e%2e/x",
        "/api/%2fx",
        "/api/x;a",
    ] {
        let answer = install.server.through(&token, Request::get(path));
        assert_eq!(answer.outcome(), "400 ambiguous_path", "{path}");
    }
    assert_eq!(upstream.requests(), [""; 0]);
}
