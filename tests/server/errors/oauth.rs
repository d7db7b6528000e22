//! Refusals at `/oauth`, in OAuth's form.

use hardtack_token::Caveat;
use serde_json::json;

use super::Door::OAuth;
use super::Rows;
use crate::device::Device;
use crate::support::forge::narrowed;
use crate::support::people::now;
use crate::support::{Answer, Install, Paired, Request, Server, eventually};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub(super) fn play(rows: &mut Rows) {
    exchange(rows);
    device_code(rows);
    clients(rows);
}

fn exchange(rows: &mut Rows) {
    let install = Install::new();
    let server = &install.server;
    let mut keep = |expected: &str, answer: &Answer| rows.keep(server, OAuth, expected, answer);
    let paired = install.pair(1, "operator.read");
    let with = |name: &str, value: &str| server.exchange(&paired, &[(name, value)]);
    keep("400 invalid_scope", &with("scope", "operator.write"));
    keep("400 invalid_target", &with("audience", "no origin"));
    keep("400 invalid_request", &with("expires_in", "0"));
    let odd = Request::post("/oauth/token").form(&[("grant_type", "password")]);
    keep("400 unsupported_grant_type", &server.send(&odd));
    let form = Request::post("/oauth/token").form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", &paired.grant),
    ]);
    let bound = server.prove(&paired.device, &form);
    keep("400 use_dpop_nonce", &bound);
    keep("401 proof_required", &server.send(&form));
    let stranger = Paired {
        device: Device::new(2),
        ..paired.clone()
    };
    keep("400 wrong_key", &server.exchange(&stranger, &[]));
    let end = Request::post(format!("/v1/devices/{}/revoke", paired.device.id()));
    server.call(&install.local(), &end).expect(200);
    keep("400 revoked", &server.exchange(&paired, &[]));
}

fn clients(rows: &mut Rows) {
    let install = Install::new();
    let server = &install.server;
    let mut keep = |expected: &str, answer: &Answer| rows.keep(server, OAuth, expected, answer);
    let nobody = Request::post("/oauth/token").form(&[("grant_type", "client_credentials")]);
    keep("401 missing_client", &server.send(&nobody));
    let issue = json!({"name": "ci", "scopes": ["operator.read"], "audience": server.url});
    let issue = Request::post("/v1/service-tokens").json(&issue);
    let service = server.call(&install.local(), &issue).expect(201);
    let copy = narrowed(
        service["token"].as_str().unwrap(),
        Caveat::NotAfter(now().plus(60)),
    );
    let revoke = Request::post("/oauth/revoke").form(&[("token", &copy)]);
    keep(
        "401 service_token_required",
        &server.send(&revoke.bearer(&copy)),
    );
    let paired = install.pair(1, "operator.read");
    let by = |assertion: &str, id: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", paired.grant.as_str()),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", assertion),
            ("client_id", id),
        ];
        server.send(&Request::post("/oauth/token").form(&form))
    };
    let own = paired.device.id().to_string();
    let elsewhere = paired.device.assertion("http://elsewhere.example", now());
    keep("401 invalid_client", &by(&elsewhere, &own));
    let other = Device::new(2).id().to_string();
    let good = paired.device.assertion(&server.url, now());
    keep("401 wrong_client", &by(&good, &other));
}

fn poll(server: &Server, device: &Device, code: &str) -> Answer {
    let assertion = device.assertion(&server.url, now());
    let form = [
        ("grant_type", DEVICE_CODE),
        ("device_code", code),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", &assertion),
    ];
    server.send(&Request::post("/oauth/token").form(&form))
}

/// Asks for a device code; the code, and the id of the request.
fn codes(server: &Server, device: &Device) -> String {
    let (id, now) = (device.id().to_string(), now().unix());
    let claims = json!({
        "iss": id, "sub": id, "aud": server.url, "iat": now, "exp": now + 60, "jti": device.unique(),
    });
    let assertion = device.sign(&json!({"alg": "EdDSA", "jwk": device.jwk()}), &claims);
    let form = [
        ("scope", "operator.read"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", &assertion),
    ];
    let answer = server.send(&Request::post("/oauth/device_authorization").form(&form));
    answer.expect(200)["device_code"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn device_code(rows: &mut Rows) {
    let install = Install::new();
    let server = &install.server;
    let device = Device::new(1);
    let code = codes(server, &device);
    let mut keep = |expected: &str, answer: &Answer| rows.keep(server, OAuth, expected, answer);
    keep("400 authorization_pending", &poll(server, &device, &code));
    keep("400 slow_down", &poll(server, &device, &code));
    keep("400 unknown_device_code", &poll(server, &device, "no"));
    let pending = install.host.run(&["devices", "list", "--json"]).json();
    let id = pending["pending"][0]["id"].as_str().unwrap();
    install
        .host
        .run(&["devices", "reject", id, "--reason", "no"])
        .ok();
    keep("400 access_denied", &poll(server, &device, &code));

    let install = Install::with(&["--request-ttl", "1s"]);
    let server = &install.server;
    let code = codes(server, &device);
    let expired = eventually("the request ends", || {
        let answer = poll(server, &device, &code);
        (answer.member("code") == "expired_token").then_some(answer)
    });
    rows.keep(server, OAuth, "400 expired_token", &expired);
}
