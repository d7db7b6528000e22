//! OAuth's endpoints over HTTP, and the commands for services.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::people::now;
use crate::support::{Answer, Install, Request, Server};

const SERVICE: &str = "audience created_at expires_at grant_id last_used_at name parent_grant_id \
                       scopes status";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A service token of the local device's, by the command line.
fn issue(install: &Install, name: &str, more: &[&str]) -> String {
    let args = [&["token", "issue", name], more].concat();
    install.host.run(&args).ok().trim().to_owned()
}

fn form(server: &Server, path: &str, members: &[(&str, &str)]) -> Answer {
    server.send(&Request::post(path).form(members))
}

fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
}

fn members(document: &Value) -> String {
    let mut names: Vec<&String> = document.as_object().unwrap().keys().collect();
    names.sort_unstable();
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    names.join(" ")
}

#[test]
fn a_service_token_is_issued_listed_and_revoked_by_commands() {
    let install = Install::new();
    let (server, host) = (&install.server, &install.host);
    let token = issue(
        &install,
        "ci",
        &["--scopes", "operator.read", "--expires", "7d"],
    );
    assert_eq!(
        server
            .through(&token, Request::get("/.hardtack/whoami"))
            .status,
        200
    );
    assert_eq!(
        server.through(&token, Request::get("/api/x")).outcome(),
        "503 no_upstream"
    );
    let refused = server.through(&token, Request::post("/api/x"));
    assert_eq!(refused.outcome(), "403 insufficient_scope");
    let again = [
        "token",
        "issue",
        "ci",
        "--scopes",
        "operator.read",
        "--json",
    ];
    let refused = host.run(&again);
    assert_eq!(refused.outcome(), "4 service_exists");
    assert_eq!(
        refused.problem()["next"],
        json!(["hardtack token revoke ci"])
    );

    let listed = host.run(&["token", "list", "--json"]).json();
    let service = &listed["items"][0];
    assert_eq!(
        (members(service).as_str(), &service["status"]),
        (SERVICE, &json!("active"))
    );
    assert!(
        !listed.to_string().contains(&token),
        "a token is shown once"
    );
    assert_eq!(
        host.run(&["token", "revoke", "ci"]).code,
        2,
        "nobody said yes"
    );
    let ended = host
        .run(&["token", "revoke", "ci", "--yes", "--json"])
        .json();
    assert_eq!(ended["status"], "revoked");
    assert_eq!(
        host.run(&["token", "list", "--json"]).json()["items"],
        json!([])
    );
    let all = host.run(&["token", "list", "--all", "--json"]).json();
    assert_eq!(all["items"][0]["status"], "revoked");
    let refused = server.through(&token, Request::get("/.hardtack/whoami"));
    assert_eq!(refused.outcome(), "401 revoked");
    let unknown = host.run(&["token", "revoke", "other", "--yes", "--json"]);
    assert_eq!(unknown.outcome(), "4 not_found");
    let id = service["grant_id"].as_str().unwrap();
    assert_eq!(
        host.run(&["token", "revoke", id, "--yes"]).code,
        0,
        "again is no error"
    );
    assert_eq!(host.run(&again).json()["name"], "ci");
}

#[test]
fn a_service_token_is_issued_over_http_and_seen_in_the_blast_radius() {
    let install = Install::new();
    let (server, host) = (&install.server, &install.host);
    let owner = install.pair(1, "operator.pairing operator.read");
    let body = json!({"name": "bot", "scopes": ["operator.read"], "audience": server.url});
    let answer = server.call(&owner, &Request::post("/v1/service-tokens").json(&body));
    assert_eq!(answer.header("cache-control"), "no-store");
    let issued = answer.expect(201);
    assert_eq!(members(&issued), format!("{SERVICE} token"));
    assert_eq!(issued["parent_grant_id"], json!(owner.grant_id));
    let token = issued["token"].as_str().unwrap();
    let whoami = server
        .send(&Request::get("/v1/whoami").bearer(token))
        .expect(200);
    assert_eq!(whoami["expires_at"], issued["expires_at"]);
    assert_eq!(
        (&whoami["kind"], &whoami["service"]),
        (&json!("service"), &json!("bot"))
    );
    for (body, code) in [
        (
            json!({"name": "Bot", "scopes": ["operator.read"]}),
            "400 invalid_request",
        ),
        (
            json!({"name": "root", "scopes": ["operator.read"]}),
            "400 invalid_request",
        ),
        (json!({"name": "b", "scopes": []}), "400 invalid_request"),
        (
            json!({"name": "b", "scopes": ["operator.read"], "more": 1}),
            "400 invalid_request",
        ),
        (
            json!({"name": "b", "scopes": ["nobody.knows"]}),
            "400 unknown_scope",
        ),
        (
            json!({"name": "b", "scopes": ["operator.write"]}),
            "403 insufficient_scope",
        ),
        (
            json!({"name": "b", "scopes": ["operator.read"], "audience": "x"}),
            "400 invalid_target",
        ),
        (
            json!({"name": "bot", "scopes": ["operator.read"]}),
            "409 service_exists",
        ),
    ] {
        let request = Request::post("/v1/service-tokens").json(&body);
        assert_eq!(server.call(&owner, &request).outcome(), code, "{body}");
    }
    let bare = Request::post("/v1/service-tokens").json(&body);
    assert_eq!(server.send(&bare).outcome(), "401 missing_token");
    let root = install.host.run_fed(
        &install.root,
        &[
            "token",
            "issue",
            "x",
            "--scopes",
            "operator.read",
            "--token",
            "-",
            "--json",
        ],
    );
    assert_eq!(root.outcome(), "3 grant_required");
    let id = owner.device.id().to_string();
    let radius = host
        .run(&["devices", "revoke", &id, "--dry-run", "--json"])
        .json();
    assert_eq!(radius["services"], json!(["bot"]));
    host.run(&["devices", "revoke", &id, "--yes"]).ok();
    let ended = server.send(&Request::get("/v1/whoami").bearer(token));
    assert_eq!(ended.outcome(), "401 revoked");
    let list = server.call(
        &install.local(),
        &Request::get("/v1/service-tokens?status=revoked"),
    );
    assert_eq!(list.expect(200)["items"][0]["name"], "bot");
}

#[test]
fn client_credentials_come_in_a_header_or_in_the_form() {
    let install = Install::new();
    let server = &install.server;
    let secret = issue(&install, "ci", &["--scopes", "operator.write"]);
    let grant = ("grant_type", "client_credentials");
    let read = ("scope", "operator.read");
    let post = form(
        server,
        "/oauth/token",
        &[grant, read, ("client_id", "ci"), ("client_secret", &secret)],
    );
    let by_header = Request::post("/oauth/token").form(&[grant, read]);
    // Some clients form-encode both parts first, as RFC 6749 section 2.3.1 has it.
    let encoded = secret.replace('=', "%3D");
    let header = server.send(
        &by_header
            .clone()
            .header("authorization", basic("ci", &secret)),
    );
    let encoded = server.send(
        &by_header
            .clone()
            .header("authorization", basic("ci", &encoded)),
    );
    for answer in [post, header, encoded] {
        assert_eq!(answer.header("cache-control"), "no-store");
        let found = answer.expect(200);
        assert_eq!(
            (&found["token_type"], &found["scope"]),
            (&json!("Bearer"), &json!("operator.read"))
        );
        assert_eq!(found["expires_in"], 900);
        let token = found["access_token"].as_str().unwrap();
        assert_eq!(
            server.through(token, Request::get("/api/x")).outcome(),
            "503 no_upstream"
        );
        let refused = server.through(token, Request::post("/api/x"));
        assert_eq!(refused.outcome(), "403 insufficient_scope");
    }
    for (what, id, secret, expected) in [
        ("no secret", "ci", "", "401 missing_client"),
        ("no token", "ci", "x", "401 malformed_token"),
        ("another name", "other", secret.as_str(), "401 wrong_client"),
        (
            "the root token",
            "root",
            &install.root,
            "401 root_token_not_accepted",
        ),
    ] {
        let members = [grant, ("client_id", id), ("client_secret", secret)];
        let refused = form(server, "/oauth/token", &members);
        assert_eq!(refused.outcome(), expected, "{what}");
        assert_eq!(refused.member("error"), "invalid_client", "{what}");
        assert_eq!(
            refused.header("www-authenticate"),
            "Basic realm=\"hardtack\""
        );
        assert!(
            !refused.text().contains(secret) || secret.len() < 2,
            "{what}"
        );
    }
    let twice = by_header.header("authorization", basic("ci", &secret));
    let two = [grant, ("client_id", "ci"), ("client_secret", &secret)];
    let twice = server.send(&twice.form(&two));
    assert_eq!(twice.outcome(), "400 invalid_request");
}

#[test]
fn introspection_says_what_a_token_is_to_who_may_know() {
    let install = Install::new();
    let server = &install.server;
    let asker = issue(
        &install,
        "rs",
        &["--scopes", "operator.admin", "--audience", &server.url],
    );
    let device = install.pair(1, "operator.write");
    let token = server.token(&device);
    let ask = Request::post("/oauth/introspect").form(&[("token", &token)]);
    let answer = server.send(&ask.clone().bearer(&asker));
    assert_eq!(answer.header("cache-control"), "no-store");
    let id = device.device.id().to_string();
    let found = answer.expect(200);
    let (exp, iat) = (
        found["exp"].as_u64().unwrap(),
        found["iat"].as_u64().unwrap(),
    );
    assert!((890..=900).contains(&(exp - now().unix())) && exp - iat == 900);
    let expected = json!({
        "active": true, "scope": "operator.read operator.write", "client_id": id, "sub": id,
        "token_type": "Bearer", "exp": exp, "iat": iat, "iss": server.url, "aud": server.gateway,
        "jti": found["jti"], "device_id": id, "grant_id": device.grant_id, "role": "operator",
        "lineage": [install.local().grant_id, device.grant_id],
    });
    assert_eq!(found, expected);
    // By its own secret, and by a device's key.
    let by_secret = ask.clone().header("authorization", basic("rs", &asker));
    assert_eq!(server.send(&by_secret).expect(200), expected);
    let assertion = install.local().device.assertion(&server.url, now());
    let by_key = [
        ("token", token.as_str()),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", &assertion),
    ];
    assert_eq!(
        form(server, "/oauth/introspect", &by_key).expect(200),
        expected
    );

    for dead in ["x", &device.grant, &install.root] {
        let ask = Request::post("/oauth/introspect").form(&[("token", dead)]);
        let answer = server.send(&ask.bearer(&asker)).expect(200);
        assert_eq!(answer, json!({"active": false}));
    }
    let refused = |request: Request, status: u16, error: &str, challenge: &str| {
        let answer = server.send(&request);
        assert_eq!(
            (answer.status, answer.member("error").as_str()),
            (status, error)
        );
        assert!(
            answer.header("www-authenticate").starts_with(challenge),
            "{}",
            answer.text()
        );
    };
    refused(ask.clone(), 401, "invalid_client", "Basic ");
    refused(ask.clone().bearer(&token), 401, "invalid_token", "Bearer ");
    refused(
        ask.clone().bearer(&install.root),
        401,
        "invalid_token",
        "Bearer ",
    );
    let weak = issue(
        &install,
        "weak",
        &["--scopes", "operator.read", "--audience", &server.url],
    );
    refused(ask.clone().bearer(&weak), 403, "insufficient_scope", "");
    let two = [
        ("token", token.as_str()),
        ("client_id", "rs"),
        ("client_secret", &asker),
    ];
    let two = Request::post("/oauth/introspect").form(&two).bearer(&asker);
    refused(two, 400, "invalid_request", "");
    refused(
        Request::post("/oauth/introspect").form(&[]).bearer(&asker),
        400,
        "invalid_request",
        "",
    );
}

#[test]
fn a_narrowed_token_is_introspected_with_the_request_that_it_came_with() {
    let install = Install::new();
    let server = &install.server;
    let asker = issue(
        &install,
        "rs",
        &["--scopes", "operator.admin", "--audience", &server.url],
    );
    let token = server.token(&install.pair(1, "operator.read"));
    let narrowed = install.host.run_fed(
        &token,
        &[
            "token",
            "attenuate",
            "-",
            "--method",
            "GET",
            "--path",
            "/api/a/",
        ],
    );
    let narrowed = narrowed.ok().trim().to_owned();
    let ask = |more: &[(&str, &str)]| {
        let members = [&[("token", narrowed.as_str())], more].concat();
        let answer = server.send(
            &Request::post("/oauth/introspect")
                .form(&members)
                .bearer(&asker),
        );
        match answer.status {
            200 => answer.json()["active"].to_string(),
            _ => answer.outcome(),
        }
    };
    assert_eq!(ask(&[]), "false");
    assert_eq!(ask(&[("method", "GET"), ("path", "/api/a/1")]), "true");
    assert_eq!(ask(&[("method", "POST"), ("path", "/api/a/1")]), "false");
    assert_eq!(ask(&[("method", "GET"), ("path", "/api/b")]), "false");
    assert_eq!(
        ask(&[("method", "GET"), ("path", "/api/a/../b")]),
        "400 invalid_request"
    );
}

#[test]
fn revocation_ends_sessions_service_tokens_and_ones_own_grant() {
    let install = Install::new();
    let server = &install.server;
    let device = install.pair(1, "operator.read");
    let token = server.token(&device);
    let revoke = |token: &str, more: &[(&str, &str)]| {
        let members = [&[("token", token)], more].concat();
        let answer = form(server, "/oauth/revoke", &members);
        assert_eq!(answer.header("cache-control"), "no-store");
        answer
    };
    let used = |token: &str| {
        server
            .through(token, Request::get("/.hardtack/whoami"))
            .outcome()
    };
    assert_eq!(used(&token), "200");
    let hint = [("token_type_hint", "access_token")];
    assert_eq!(revoke(&token, &hint).status, 200);
    assert_eq!(used(&token), "401 revoked");
    let ci = issue(&install, "ci", &["--scopes", "operator.read"]);
    assert_eq!(revoke(&ci, &[]).status, 200);
    assert_eq!(used(&ci), "401 revoked");

    let refused = revoke(&device.grant, &[]);
    assert_eq!(
        (refused.outcome().as_str(), refused.member("error").as_str()),
        ("401 proof_required", "invalid_client")
    );
    let by = |device: &crate::device::Device| device.assertion(&server.url, now());
    let as_client = |assertion: &str| {
        revoke(
            &device.grant,
            &[
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", assertion),
            ],
        )
    };
    let stranger = as_client(&by(&install.pair(2, "operator.read").device));
    assert_eq!(stranger.member("error"), "invalid_client");
    let token = server.token(&device);
    assert_eq!(as_client(&by(&device.device)).status, 200);
    assert_eq!(used(&token), "401 revoked");
    assert_eq!(server.exchange(&device, &[]).outcome(), "400 revoked");
    // Nothing to end is no error, and the root token is nobody's to end.
    for nothing in ["garbage", &token, &install.root] {
        assert_eq!(revoke(nothing, &[]).status, 200);
    }
    let root = [
        "token",
        "exchange",
        "--token",
        "-",
        "--scopes",
        "operator.read",
    ];
    assert_eq!(install.host.run_fed(&install.root, &root).code, 0);
    assert_eq!(
        form(server, "/oauth/revoke", &[]).outcome(),
        "400 invalid_request"
    );
    let actions: Vec<_> = install
        .audit()
        .iter()
        .map(|row| row["action"].clone())
        .collect();
    for action in ["session.revoke", "service.revoke", "grant.revoke"] {
        assert_eq!(
            actions.iter().filter(|found| **found == action).count(),
            1,
            "{action}"
        );
    }
}
