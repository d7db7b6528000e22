//! Refusals at `/v1`.

use hardtack_token::Caveat;
use serde_json::{Value, json};

use super::Door::V1;
use super::Rows;
use crate::device::Device;
use crate::support::forge::narrowed;
use crate::support::http::Connection;
use crate::support::{Install, Paired, Request, eventually};

pub(super) fn play(rows: &mut Rows) {
    credentials(rows);
    pairing(rows);
    invites(rows);
    ended(rows);
    too_much(rows);
}

fn ask(scopes: &str) -> Request {
    Request::post("/v1/pairing-requests").json(&json!({"scopes": [scopes]}))
}

fn revoke(device: &Device) -> Request {
    Request::post(format!("/v1/devices/{}/revoke", device.id())).json(&json!({}))
}

fn credentials(rows: &mut Rows) {
    let install = Install::new();
    let server = &install.server;
    let mut keep = |expected: &str, request: &Request| {
        rows.keep(server, V1, expected, &server.send(request));
    };
    let devices = Request::get("/v1/devices");
    let reader = install.pair(1, "operator.read");
    let admin = install.pair(2, "operator.admin");
    let (wide, own) = (server.token(&reader), &[("audience", server.url.as_str())]);
    let token = server.token_with(&admin, own);
    keep("401 missing_token", &devices);
    keep("401 malformed_token", &devices.clone().bearer("x"));
    keep(
        "401 root_token_not_accepted",
        &devices.clone().bearer(&install.root),
    );
    keep("401 proof_required", &devices.clone().bearer(&reader.grant));
    keep("403 insufficient_scope", &server.signed(&reader, &devices));
    keep("403 wrong_audience", &devices.clone().bearer(&wide));
    let twice = devices.clone().bearer(&token).bearer(&token);
    keep("400 duplicate_authorization", &twice);
    let to = |caveat| devices.clone().bearer(&narrowed(&token, caveat));
    let set = |one: &str| std::iter::once(one.to_owned()).collect();
    keep("403 caveat_method", &to(Caveat::Method(set("POST"))));
    keep("403 caveat_operation", &to(Caveat::Operation(set("x"))));
    let stranger = Paired {
        device: Device::new(3),
        ..reader.clone()
    };
    keep("401 wrong_key", &server.signed(&stranger, &devices));
    let elsewhere = server.signed(&reader, &Request::get("/v1/whoami"));
    let proof = elsewhere.value("dpop");
    let misplaced = ask("operator.read").header("dpop", proof);
    keep("401 invalid_proof", &misplaced);
    let local = install.local();
    keep(
        "403 local_device",
        &server.signed(&admin, &revoke(&local.device)),
    );
    let issue = json!({"name": "ci", "scopes": ["operator.read"]});
    let issue = Request::post("/v1/service-tokens").json(&issue);
    server.call(&local, &issue).expect(201);
    keep("409 service_exists", &server.signed(&local, &issue));
    keep("404 not_found", &Request::get("/v1/nothing"));
    keep(
        "405 method_not_allowed",
        &Request::new("DELETE", "/v1/devices"),
    );
    let query = Request::get("/v1/devices?limit=0");
    keep("400 invalid_request", &server.signed(&local, &query));
    server.call(&local, &revoke(&reader.device)).expect(200);
    keep("401 revoked", &server.signed(&reader, &devices));
    let retire = Request::post(format!("/v1/devices/{}/retire", admin.device.id()));
    server.call(&local, &retire).expect(200);
    keep("401 retired", &server.signed(&admin, &devices));
}

fn pairing(rows: &mut Rows) {
    let install = Install::new();
    let (server, local) = (&install.server, install.local());
    let mut keep = |expected: &str, request: &Request| {
        rows.keep(server, V1, expected, &server.send(request));
    };
    let unknown = server.proven(&Device::new(1), &ask("no.such"));
    keep("400 unknown_scope", &unknown);
    let id = server.ask(&Device::new(1), "operator.read");
    let path = format!("/v1/pairing-requests/{id}/approve");
    let approve = |body: &Value| Request::post(&path).json(body);
    let token = server.token_with(&local, &[("audience", &server.url)]);
    keep("403 grant_required", &approve(&json!({})).bearer(&token));
    let wider = approve(&json!({"scopes": ["operator.write"]}));
    keep("422 wider_than_requested", &server.signed(&local, &wider));
    server.approve(&local, &id, &json!({})).expect(200);
    keep(
        "409 not_pending",
        &server.signed(&local, &approve(&json!({}))),
    );
    let mut last = server.pair(&local, 2, "operator.admin");
    for number in 3..=4 {
        last = server.pair(&last, number, "operator.admin");
    }
    let id = server.ask(&Device::new(5), "operator.read");
    let path = format!("/v1/pairing-requests/{id}/approve");
    let approve = Request::post(path).json(&json!({}));
    keep("422 chain_too_long", &server.signed(&last, &approve));
    let large = ask(&"x".repeat(100_000));
    keep("413 too_large", &server.proven(&Device::new(6), &large));
    let other = install.host.run(&["root", "reset", "--yes"]);
    assert_eq!(other.code, 0, "{other:?}");
    keep("401 wrong_root_token", &approve.bearer(&install.root));
}

fn invites(rows: &mut Rows) {
    let install = Install::new();
    let (server, local) = (&install.server, install.local());
    let made = |life: u64| {
        let body = json!({"scopes": ["operator.read"], "expires_in": life});
        let invite = Request::post("/v1/invites").json(&body);
        server.call(&local, &invite).expect(201)
    };
    let bring = |number: u64, code: &str, body: &Value| {
        let ask = Request::post("/v1/pairing-requests").json(body);
        let ask = ask.header("authorization", format!("Invite {code}"));
        server.prove(&Device::new(number), &ask)
    };
    let code = |invite: &Value| invite["code"].as_str().unwrap().to_owned();
    let invite = made(900);
    let wider = json!({"scopes": ["operator.write"]});
    let answer = bring(1, &code(&invite), &wider);
    rows.keep(server, V1, "422 wider_than_invite", &answer);
    bring(1, &code(&invite), &json!({})).expect(200);
    let answer = bring(2, &code(&invite), &json!({}));
    rows.keep(server, V1, "410 invite_spent", &answer);
    let invite = made(900);
    let path = format!("/v1/invites/{}/revoke", invite["id"].as_str().unwrap());
    server.call(&local, &Request::post(path)).expect(200);
    let answer = bring(2, &code(&invite), &json!({}));
    rows.keep(server, V1, "410 invite_ended", &answer);
    let invite = code(&made(1));
    let expired = eventually("the invite ends", || {
        let answer = bring(2, &invite, &wider);
        (answer.status == 410).then_some(answer)
    });
    rows.keep(server, V1, "410 invite_expired", &expired);
    let wrong = || bring(2, "BCDF-BCDF-BCDF-BCDF-BCDF", &json!({}));
    rows.keep(server, V1, "403 invalid_invite", &wrong());
    let many = eventually("too many", || Some(wrong()).filter(|a| a.status == 429));
    rows.keep(server, V1, "429 too_many_requests", &many);
}

/// What ends by itself.
fn ended(rows: &mut Rows) {
    let install = Install::with(&["--request-ttl", "1s"]);
    let (server, local) = (&install.server, install.local());
    let id = server.ask(&Device::new(1), "operator.read");
    let expired = eventually("the request ends", || {
        let narrow = json!({"scopes": ["operator.write"]});
        let answer = server.approve(&local, &id, &narrow);
        (answer.status == 410).then_some(answer)
    });
    rows.keep(server, V1, "410 expired", &expired);
    let short = [("audience", server.url.as_str()), ("expires_in", "1")];
    let token = server.token_with(&local, &short);
    let expired = eventually("the token ends", || {
        let answer = server.send(&Request::get("/v1/whoami").bearer(&token));
        (answer.status == 401).then_some(answer)
    });
    rows.keep(server, V1, "401 expired", &expired);
}

/// More at once than the node takes, and then what never comes to an end.
fn too_much(rows: &mut Rows) {
    const AT_ONCE: usize = 512;
    let install = Install::new();
    let server = &install.server;
    let ask = server.proven(&Device::new(1), &ask("operator.read"));
    let begin = || {
        let mut connection = Connection::open(&server.url);
        connection.begin_sized(&ask, 100);
        connection
    };
    let mut open: Vec<_> = (0..AT_ONCE).map(|_| begin()).collect();
    let refused = eventually("it is full", || {
        let answer = server.send(&Request::get("/v1/scopes"));
        // The question itself may have had the place of one of them.
        if answer.status != 503 {
            open.push(begin());
        }
        (answer.status == 503).then_some(answer)
    });
    rows.keep(server, V1, "503 overloaded", &refused);
    assert_eq!(server.send(&Request::get("/healthz")).status, 200);
    assert_eq!(server.send(&Request::get("/readyz")).status, 200);
    let slow = open[0].answer(&ask).unwrap();
    rows.keep(server, V1, "503 timed_out", &slow);
    eventually("there is room again", || {
        let answer = server.send(&Request::get("/v1/scopes"));
        (answer.status == 401).then_some(())
    });
}
