//! Invites, as people make and bring them.

use serde_json::json;

use crate::device::Device;
use crate::support::{Install, Machine, Request};

fn invited(install: &Install, args: &[&str]) -> serde_json::Value {
    let args = [&["devices", "invite", "--json"], args].concat();
    install.host.run(&args).json()
}

#[test]
fn an_invite_pairs_a_device_without_another_approval() {
    let install = Install::new();
    let url = install.server.url.as_str();
    let invite = invited(&install, &["--scopes", "operator.read", "--name", "ci"]);
    let code = invite["code"].as_str().unwrap();
    let there = Machine::new();
    let paired = there
        .run(&["pair", "--url", url, "--invite", code, "--json"])
        .json();
    assert_eq!(paired["status"], "approved");
    assert_eq!(paired["scopes"], json!(["operator.read"]));
    there.run(&["token", "exchange"]).ok();
    let devices = install.host.run(&["devices", "list", "--json"]).json();
    let names: Vec<_> = devices["devices"].as_array().unwrap().iter().collect();
    assert!(names.iter().any(|d| d["name"] == "ci"), "{devices}");
    // Once, and what to do is said.
    let elsewhere = Machine::new();
    let spent = elsewhere.run(&["pair", "--url", url, "--invite", code, "--json"]);
    assert_eq!(spent.outcome(), "4 invite_spent");
    let next = spent.problem()["next"].to_string();
    assert!(next.contains("hardtack devices invite"), "{next}");
    // The same device again: nothing is lost.
    let again = there.run(&["pair", "--url", url, "--invite", code, "--json"]);
    assert_eq!(again.json()["grant_id"], paired["grant_id"]);
    let listed = install.host.run(&["devices", "invites", "--json"]).json();
    assert_eq!(listed["invites"][0]["status"], "used");
    assert_eq!(listed["invites"][0]["grant_id"], paired["grant_id"]);
    assert_eq!(listed["invites"][0].get("code"), None);
}

#[test]
fn a_wrong_code_an_old_one_and_one_that_was_taken_back_have_words_of_their_own() {
    let install = Install::new();
    let url = install.server.url.as_str();
    let pair = |code: &str| {
        let there = Machine::new();
        there
            .run(&["pair", "--url", url, "--invite", code, "--json"])
            .outcome()
    };
    assert_eq!(pair("BCDF-BCDF-BCDF-BCDF-BCDF"), "3 invalid_invite");
    let taken = invited(&install, &["--scopes", "operator.read"]);
    let id = taken["id"].as_str().unwrap();
    install.host.run(&["devices", "uninvite", id]).ok();
    assert_eq!(pair(taken["code"].as_str().unwrap()), "4 invite_ended");
    let wider = invited(&install, &["--scopes", "operator.read"]);
    let there = Machine::new();
    let code = there.file("code", wider["code"].as_str().unwrap());
    let file = format!("@{code}");
    let ask = ["pair", "--url", url, "--invite", &file, "--json"];
    let wide = [&ask[..], &["--scopes", "operator.write"]].concat();
    assert_eq!(there.run(&wide).outcome(), "7 wider_than_invite");
    // Refused, it is not spent.
    there.run(&ask).ok();
}

#[test]
fn an_invite_is_taken_where_devices_ask_and_nowhere_else() {
    let install = Install::new();
    let server = &install.server;
    let invite = invited(&install, &["--scopes", "operator.read"]);
    let code = format!("Invite {}", invite["code"].as_str().unwrap());
    for request in [
        Request::get("/v1/devices"),
        Request::get("/v1/pairing-requests"),
        Request::post("/v1/invites").json(&json!({"scopes": ["operator.read"]})),
    ] {
        let refused = server.send(&request.header("authorization", code.as_str()));
        assert_eq!(refused.outcome(), "401 missing_token");
    }
    let ask = Request::post("/v1/pairing-requests").json(&json!({}));
    let bare = server.send(&ask.clone().header("authorization", code.as_str()));
    assert_eq!(bare.outcome(), "401 proof_required");
    let device = Device::new(1);
    let proven = server.proven(&device, &ask);
    let given = server.send(&proven.header("authorization", code.as_str()));
    assert_eq!(given.expect(200)["status"], "approved");
}

#[test]
fn a_code_is_not_in_the_database_nor_in_the_log() {
    let install = Install::new();
    let url = install.server.url.clone();
    let invite = invited(&install, &["--scopes", "operator.read"]);
    let code = invite["code"].as_str().unwrap();
    let there = Machine::new();
    there.run(&["pair", "--url", &url, "--invite", code]).ok();
    let log = install.server.stderr();
    let tables = install.host.tables();
    let plain = code.replace('-', "");
    for text in [code, plain.as_str()] {
        assert!(!tables.contains(text) && !log.contains(text));
        let in_hex = hex::encode(text);
        assert!(!tables.to_lowercase().contains(&in_hex));
    }
}

#[test]
fn who_may_not_invite_is_told_what_is_missing() {
    let install = Install::new();
    let server = &install.server;
    let ask = |scopes: &str| {
        Request::post("/v1/invites").json(&json!({"scopes": scopes.split(' ').collect::<Vec<_>>()}))
    };
    let reader = install.pair(1, "operator.read");
    let refused = server.call(&reader, &ask("operator.read"));
    assert_eq!(refused.outcome(), "403 insufficient_scope");
    assert_eq!(refused.json()["missing"], json!(["operator.pairing"]));
    let operator = install.pair(2, "operator.pairing");
    let refused = server.call(&operator, &ask("operator.read"));
    assert_eq!(refused.json()["missing"], json!(["operator.read"]));
    let url = server.url.as_str();
    let token = server.token_with(&install.local(), &[("audience", url)]);
    let refused = server.send(&ask("operator.read").bearer(&token));
    assert_eq!(refused.outcome(), "403 grant_required");
    let next = refused.json()["next"].to_string();
    assert!(next.contains("devices invite"), "{next}");
    for (body, code) in [
        (json!({"scopes": ["no.such"]}), "400 unknown_scope"),
        (json!({"scopes": []}), "400 invalid_request"),
        (
            json!({"scopes": ["operator.read"], "expires_in": 0}),
            "400 invalid_request",
        ),
        (
            json!({"scopes": ["operator.read"], "role": "no"}),
            "400 invalid_request",
        ),
    ] {
        let request = Request::post("/v1/invites").json(&body);
        let refused = server.call(&install.local(), &request);
        assert_eq!(refused.outcome(), code, "{body}");
    }
}
