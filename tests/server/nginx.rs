//! nginx asks hardtack about every request, by the configuration that is shipped:
//! what nginx serves is what was authorized.

use std::cell::Cell;
use std::io::{Read, Write};

use hardtack_token::path::canonical;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::support::http::Connection;
use crate::support::nginx::Nginx;
use crate::support::upstream::Upstream;
use crate::support::{Answer, Install, Machine, Request};

const POLICY: &str = r#"
    route("GET", "/api/{*rest}", "operator.read");
    route("*", "/api/{*rest}", "operator.write");
    route("WEBSOCKET", "/api/{*rest}", "operator.write");
    route("GET", "/{*rest}", "operator.read");
    public("GET", "/assets/{*rest}");
    deny("*", "/api/internal/{*rest}");
"#;

/// An application behind nginx, and hardtack beside it.
struct Site {
    install: Install,
    app: Upstream,
    nginx: Nginx,
}

impl Site {
    fn new() -> Self {
        Self::with(&["--trusted-proxy", "127.0.0.1"], |text| text)
    }

    fn with(args: &[&str], change: impl Fn(String) -> String) -> Self {
        let host = Machine::new();
        let policy = host.file("site.datalog", POLICY);
        let app = Upstream::start();
        let args = [args, &["--policy", &policy, "--upstream", &app.url]].concat();
        let install = Install::on(host, &args);
        let gateway = &install.server.gateway;
        let nginx = Nginx::start_with(&install.host, gateway, &app.url, change);
        Self {
            install,
            app,
            nginx,
        }
    }

    fn token(&self, number: u64, scopes: &str) -> String {
        let device = self.install.pair(number, scopes);
        self.install.server.token(&device)
    }

    fn send(&self, request: &Request) -> Answer {
        request.send(&self.nginx.url)
    }
}

/// A header as the application got it.
fn got(answer: &Answer, name: &str) -> Option<String> {
    let value = answer.json()["headers"].get(name)?.as_str()?.to_owned();
    Some(value)
}

#[test]
fn an_allowed_request_carries_the_identity_and_nothing_that_was_forged() {
    let site = Site::new();
    let device = site.install.pair(1, "operator.read");
    let token = site.install.server.token(&device);
    let mut request = Request::get("/%61pi/notes?q=%2e%2e").bearer(&token);
    let forged = [
        "X-Hardtack-Device",
        "X-Hardtack-Service",
        "X-Hardtack-Role",
        "X-Hardtack-Scopes",
        "X-Hardtack-Uri",
        "X-Hardtack-Status",
        "X-Hardtack-Request-Id",
        "X-Hardtack-Proxy-Secret",
        "X_Hardtack_Service",
        "X-Original-URI",
        "X-Original-Method",
        "X-Original-Upgrade",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Real-IP",
        "Forwarded",
        "X-Request-Id",
        "DPoP",
    ];
    for name in forged {
        request = request.header(name, "/assets/mallory");
    }
    let nominated = "close, Authorization, X-Hardtack-Device, X-Original-URI";
    let answer = site.send(&request.header("Connection", nominated));
    answer.expect(200);
    let expected = [
        ("x-hardtack-device", device.device.id().to_string()),
        ("x-hardtack-grant", device.grant_id.clone()),
        ("x-hardtack-role", "operator".to_owned()),
        ("x-hardtack-scopes", "operator.read".to_owned()),
        ("x-forwarded-for", "127.0.0.1".to_owned()),
        ("x-real-ip", "127.0.0.1".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(got(&answer, name), Some(value), "{name}");
    }
    assert_eq!(answer.json()["target"], "/api/notes?q=%2e%2e");
    assert_eq!(got(&answer, "authorization"), None);
    let sent = answer.json()["headers"].to_string();
    assert!(!sent.contains("mallory"), "{sent}");
    // Nobody is told of as nobody.
    let public = Request::get("/assets/x").header("X-Hardtack-Device", "mallory");
    let answer = site.send(&public);
    answer.expect(200);
    assert_eq!(got(&answer, "x-hardtack-device"), None);
}

#[test]
fn a_refusal_is_worded_as_the_gateway_words_it() {
    let site = Site::new();
    let read = site.token(1, "operator.read");
    let long = "x".repeat(7000);
    for (request, outcome) in [
        (Request::get("/api/x"), "401 missing_token"),
        (Request::get("/api/x").bearer("x"), "401 malformed_token"),
        (Request::get("/api/x").bearer(&long), "401 malformed_token"),
        (
            Request::post("/api/x").bearer(&read),
            "403 insufficient_scope",
        ),
        (
            Request::get("/api/internal/x").bearer(&read),
            "403 denied_by_policy",
        ),
        (Request::get("/api/x;y").bearer(&read), "400 ambiguous_path"),
        (
            Request::get("/api/x").bearer(&format!("{read},Bearer {read}")),
            "400 duplicate_authorization",
        ),
        (
            Request::get("/api/x").bearer(&read).header("DPoP", "a"),
            "200",
        ),
    ] {
        let answer = site.send(&request);
        assert_eq!(answer.outcome(), outcome);
        if answer.status != 200 {
            let kind = answer.header("content-type");
            assert_eq!(kind, "application/problem+json", "{outcome}");
            assert_eq!(answer.json()["status"], answer.status);
        }
        let challenges = answer.head.count("www-authenticate");
        let expected = outcome.starts_with("401") || outcome.contains("scope");
        assert_eq!(challenges, usize::from(expected), "{outcome}");
    }
    let missing = site.send(&Request::get("/api/x"));
    let challenge = missing.header("www-authenticate");
    assert!(challenge.starts_with("Bearer realm=\"hardtack\", resource_metadata="));
    // nginx itself refuses a second one.
    let twice = Request::get("/api/x").bearer(&read).bearer(&read);
    assert_eq!(site.send(&twice).status, 400);
    assert_eq!(site.app.requests().len(), 1);
    // What a token may do is told where it is presented.
    let whoami = Request::get("/.hardtack/whoami").bearer(&read);
    assert_eq!(site.send(&whoami).expect(200)["role"], "operator");
    let metadata = "/.well-known/oauth-protected-resource";
    site.send(&Request::get(metadata)).expect(200);
}

#[test]
fn nobody_asks_at_the_door_but_through_nginx() {
    let site = Site::new();
    for target in ["/_hardtack", "/_hardtack?x", "/%5fhardtack"] {
        assert_eq!(site.send(&Request::get(target)).status, 404);
    }
    // With a secret the address of nginx is not enough.
    let secret = "0123456789abcdef0123456789abcdef";
    let host = Machine::new();
    let file = host.file("secret", secret);
    let args = [
        "--trusted-proxy",
        "127.0.0.1",
        "--forward-auth-secret-file",
        &file,
    ];
    let silent = Site::with(&args, |text| text);
    let public = Request::get("/assets/x");
    assert_eq!(silent.send(&public).outcome(), "403 proxy_not_trusted");
    let forged = public.clone().header("X-Hardtack-Proxy-Secret", secret);
    assert_eq!(silent.send(&forged).outcome(), "403 proxy_not_trusted");
    let known = Site::with(&args, |text| {
        let line = "X-Hardtack-Proxy-Secret \"\";\n    }\n\n    # hardtack answers";
        let with = line.replace("\"\"", secret);
        assert!(text.contains(line));
        text.replace(line, &with)
    });
    let answer = known.send(&public);
    answer.expect(200);
    assert!(!answer.text().contains(secret));
}

#[test]
fn an_upgrade_needs_a_route_of_its_own_and_opens_a_channel() {
    let site = Site::new();
    let (read, write) = (
        site.token(1, "operator.read"),
        site.token(2, "operator.write"),
    );
    let upgrade = |token: &str, protocol: &str| {
        Request::get("/api/socket")
            .bearer(token)
            .header("Connection", "Upgrade")
            .header("Upgrade", protocol)
            .header("Sec-WebSocket-Key", "a2V5IGtleSBrZXkga2V5IQ==")
            .header("Sec-WebSocket-Version", "13")
    };
    let refused = site.send(&upgrade(&read, "websocket"));
    assert_eq!(refused.outcome(), "403 insufficient_scope");
    // It is no upgrade then, and says that it is one.
    let other = site.send(&upgrade(&write, "h2c"));
    assert_eq!(other.outcome(), "400 invalid_request");
    assert_eq!(site.app.requests().len(), 0);
    // Another protocol does not go on; the request does, as what it is.
    let h2c = Request::get("/api/x")
        .bearer(&read)
        .header("Connection", "Upgrade, HTTP2-Settings")
        .header("Upgrade", "h2c");
    let answer = site.send(&h2c);
    answer.expect(200);
    assert_eq!(got(&answer, "upgrade"), None);

    let mut connection = Connection::open(&site.nginx.url);
    let request = upgrade(&write, "WebSocket");
    let head = request.head("app.example", "");
    connection.stream().write_all(head.as_bytes()).unwrap();
    let answer = connection.answer_head().unwrap();
    assert_eq!(answer.word(1), "101");
    connection.stream().write_all(b"there and back").unwrap();
    let mut back = [0; 14];
    connection.0.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"there and back");
}

#[test]
fn a_large_body_streams_if_allowed_and_goes_nowhere_if_not() {
    let site = Site::new();
    let (read, write) = (
        site.token(1, "operator.read"),
        site.token(2, "operator.write"),
    );
    let body = vec![0x5a; 32 << 20];
    let post = |token: &str| {
        let request = Request::post("/api/count").bearer(token);
        request.body("application/octet-stream", body.clone())
    };
    assert_eq!(site.send(&post(&write)).expect(200)["bytes"], body.len());
    let refused = post(&read).try_send(&site.nginx.url);
    // nginx may close before all is sent.
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 403));
    assert_eq!(site.app.requests().len(), 1);
}

#[test]
fn without_hardtack_nothing_is_served() {
    let site = Site::new();
    let token = site.token(1, "operator.admin");
    let requests = [
        Request::get("/assets/x"),
        Request::get("/api/x").bearer(&token),
        Request::post("/api/x").bearer(&token),
    ];
    site.send(&requests[0]).expect(200);
    let Site {
        install,
        app,
        nginx,
    } = site;
    install.server.stop();
    for request in &requests {
        let answer = request.send(&nginx.url);
        assert_eq!(answer.outcome(), "503 not_ready");
        assert_eq!(answer.header("retry-after"), "1");
    }
    // Something else on its port that says 200 to everything is no permit.
    let impostor = Upstream::start();
    let nginx = Nginx::start(&install.host, &impostor.url, &app.url);
    for request in &requests {
        assert_eq!(request.send(&nginx.url).status, 502);
    }
    assert!(!impostor.requests().is_empty());
    assert_eq!(app.requests().len(), 1);
}

#[test]
fn a_revoked_token_is_refused_at_its_next_request() {
    let site = Site::new();
    let device = site.install.pair(1, "operator.read");
    let token = site.install.server.token(&device);
    let request = Request::get("/api/x").bearer(&token);
    let mut connection = Connection::open(&site.nginx.url);
    connection.send(&request).expect(200);
    let id = device.device.id();
    let run = ["devices", "revoke", &id.to_string(), "--yes"];
    site.install.host.run(&run).ok();
    assert_eq!(connection.send(&request).outcome(), "401 revoked");
}

/// Targets that are rich in what servers read in different ways.
fn targets() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,3}".boxed(),
        2 => "(api|assets|internal)".boxed(),
        3 => Just("/".to_owned()).boxed(),
        2 => "(\\.|\\.\\.|/\\.\\./|/\\./|//)".boxed(),
        3 => "%[0-9a-fA-F]{2}".boxed(),
        2 => "%(2[eEfF]|5[cC]|3[bBfF]|25|00|0[aAdD]|23|61|7[eE])".boxed(),
        1 => "[;#\\\\:@!$&'()*+,=|~\\[\\]^`{}\"<>]".boxed(),
        1 => Just("\u{0}".to_owned()).boxed(),
        1 => "\\?[a-z%./;=#?]{0,6}".boxed(),
    ];
    let start = prop_oneof![
        6 => Just("/api/"), 3 => Just("/assets/"), 1 => Just("/"), 1 => Just("/api/internal/"),
        1 => Just("http://app.example/api/"),
    ];
    (start, proptest::collection::vec(piece, 0..6))
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

/// The bytes that a server finds in a path by decoding it once.
fn decoded(path: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(path).collect()
}

/// The differential test of the canonical path against nginx and hyper: where
/// nginx serves, hardtack's proxy (hyper) serves the same target to the same
/// policy, and what nginx itself takes for the path is what was decided on.
#[test]
fn what_nginx_serves_is_what_was_decided_on() {
    let shown = |text: String| {
        let line = "proxy_set_header Host       $host;";
        text.replace(
            line,
            &format!("{line} proxy_set_header X-Nginx-Path \"<$uri>\";"),
        )
    };
    let site = Site::with(&["--trusted-proxy", "127.0.0.1"], shown);
    let token = site.token(1, "operator.read");
    let gateway = site.install.server.gateway.clone();
    let cases = if std::env::var_os("HARDTACK_TEST_LONG").is_some() {
        20_000
    } else {
        1500
    };
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    let (served, refused) = (Cell::new(0), Cell::new(0));
    let outcome = runner.run(&targets(), |target| {
        let request = Request::get(target.clone()).bearer(&token);
        let by_nginx = request.send(&site.nginx.url);
        // The target in absolute form names a host, which is nginx's there.
        let request = Request::get(target.replace("http://app.example", "")).bearer(&token);
        let by_hyper = request.send(&gateway);
        if by_nginx.status != 200 {
            refused_alike(&target, &by_nginx, &by_hyper)?;
            refused.set(refused.get() + 1);
            return Ok(());
        }
        served.set(served.get() + 1);
        let seen = by_nginx.json();
        // hyper does not take some characters for HTTP that nginx does.
        let unread = by_hyper.status == 400 && by_hyper.member("code").is_empty();
        prop_assert!(unread || by_hyper.status == 200, "{:?}", target);
        let other = if unread {
            seen.clone()
        } else {
            by_hyper.json()
        };
        prop_assert_eq!(&seen["target"], &other["target"]);
        let sent = target.replace("http://app.example", "");
        let sent = sent.split('?').next().unwrap();
        for name in ["x-hardtack-device", "x-hardtack-scopes"] {
            // An empty value is a header that nginx leaves out.
            let value = |echo: &Value| echo["headers"][name].as_str().unwrap_or("").to_owned();
            prop_assert_eq!(value(&seen), value(&other));
        }
        let path = seen["target"].as_str().unwrap().split('?').next();
        let path = path.unwrap();
        prop_assert!(
            canonical(sent).is_ok_and(|spelt| spelt == path),
            "{target:?}"
        );
        let of_nginx = seen["headers"]["x-nginx-path"].as_str().unwrap();
        let meant: String = decoded(path).into_iter().map(char::from).collect();
        prop_assert_eq!(format!("<{meant}>"), of_nginx);
        Ok(())
    });
    outcome.unwrap();
    let counts = (served.get(), refused.get());
    assert!(counts.0 > 100 && counts.1 > 100, "{counts:?}");
}

/// What nginx refuses, hardtack's proxy refuses too, unless one of the two
/// does not take it for HTTP (400), or nginx answers a location of its own (404).
fn refused_alike(target: &str, nginx: &Answer, hyper: &Answer) -> Result<(), TestCaseError> {
    let alone =
        |answer: &Answer| answer.member("code").is_empty() && [400, 404].contains(&answer.status);
    let by_itself = alone(nginx) || alone(hyper);
    prop_assert!(
        by_itself || target.contains('#') || nginx.outcome() == hyper.outcome(),
        "{target:?}: nginx {} hyper {}",
        nginx.outcome(),
        hyper.outcome()
    );
    Ok(())
}
