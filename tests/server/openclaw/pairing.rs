//! From a device that nobody knows to one that works.

use serde_json::json;

use super::Door;
use super::client::{Form, Hello};
use crate::device::Device;

#[test]
fn a_device_waits_is_approved_comes_in_by_itself_and_works() {
    let door = Door::new();
    let device = Device::new(1);
    let ask = || {
        Hello::of(&device)
            .scopes(&["operator.read"])
            .connect(&door.url)
    };
    let refused = ask().refused();
    let id = refused.request_id();
    let details = &refused.error["details"];
    assert_eq!(details["reason"], "not-paired");
    assert_eq!(details["recommendedNextStep"], "wait_then_retry");
    assert_eq!(
        (&details["retryable"], &details["pauseReconnect"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(details["deviceId"], *device.id().to_string());
    assert_eq!(details["requestedScopes"], json!(["operator.read"]));
    assert!(details["remediationHint"].as_str().unwrap().contains(&id));
    // Whoever waits asks again, and it is the same request.
    assert_eq!(ask().refused().request_id(), id);

    door.approve(&id);
    let mut client = ask().welcome();
    assert_eq!(client.scopes(), ["operator.read", "operator.sessions.read"]);
    assert_eq!(client.hello["protocol"], 4);
    let methods = client.hello["features"]["methods"].as_array().unwrap();
    assert!(
        methods.contains(&json!("sessions.list"))
            && methods.contains(&json!("device.token.rotate"))
    );
    assert!(
        !methods.contains(&json!("device.pair.theirs")),
        "it is the gateway's own"
    );
    let listed = client.ok("sessions.list", &json!({"limit": 3}));
    assert_eq!(
        listed,
        json!({"method": "sessions.list", "params": {"limit": 3}})
    );
}

#[test]
fn both_protocols_and_both_forms_of_signature_are_spoken() {
    let door = Door::new();
    let device = Device::new(1);
    let id = door.asks(&device, &["operator.read"]);
    door.approve(&id);
    for (protocol, form) in [(3, Form::V3), (4, Form::V2), (3, Form::V2), (4, Form::V3)] {
        let hello = Hello::of(&device).scopes(&["operator.read"]).form(form);
        let hello = hello
            .set("/minProtocol", protocol)
            .set("/maxProtocol", protocol);
        let client = hello.connect(&door.url).welcome();
        assert_eq!(client.hello["protocol"], protocol);
        // A gateway of 2026.9.6 takes nobody who does not speak its own.
        assert_eq!(door.gateway.last().params()["maxProtocol"], 4);
    }
}

#[test]
fn requests_are_never_merged_and_the_same_or_a_narrower_ask_is_the_same_request() {
    let door = Door::new();
    let device = Device::new(1);
    let both = door.asks(&device, &["operator.read", "operator.pairing"]);
    assert_eq!(door.asks(&device, &["operator.read"]), both);
    assert_eq!(
        door.asks(&device, &["operator.pairing", "operator.read"]),
        both
    );
    let other = door.asks(&device, &["operator.write"]);
    assert_ne!(other, both);
    let shown = door
        .install
        .host
        .run(&["devices", "show", &both, "--json"])
        .json();
    assert_eq!(
        (&shown["status"], &shown["superseded_by"]),
        (&json!("superseded"), &json!(other))
    );
    // What was asked for before is in it no more.
    let shown = door
        .install
        .host
        .run(&["devices", "show", &other, "--json"])
        .json();
    assert_eq!(shown["scopes"], json!(["operator.write"]));
    let late = door
        .install
        .host
        .run(&["devices", "approve", &both, "--json"]);
    assert_eq!(late.outcome(), "4 not_pending");
    door.approve(&other);
    assert!(
        door.comes(&device, &[])
            .scopes()
            .contains(&"operator.write")
    );
}

#[test]
fn what_is_approved_is_what_a_connection_gets_and_never_more() {
    let door = Door::new();
    let device = Device::new(1);
    let id = door.asks(&device, &["operator.read", "operator.write"]);
    let narrowed = ["devices", "approve", &id, "--scopes", "operator.read"];
    door.install.host.run(&narrowed).ok();
    let client = door.comes(&device, &[]);
    assert_eq!(client.scopes(), ["operator.read", "operator.sessions.read"]);
    // More is another request, with the id whole in the reason of the close.
    let more = Hello::of(&device)
        .scopes(&["operator.write"])
        .connect(&door.url);
    let refused = more.refused();
    refused.request_id();
    assert_eq!(refused.error["details"]["reason"], "scope-upgrade");
    assert_eq!(
        refused.error["details"]["approvedScopes"],
        json!(["operator.read"])
    );
}

#[test]
fn a_connection_has_what_it_asked_for_of_its_grant() {
    let door = Door::new();
    let all = ["operator.read", "operator.write", "operator.pairing"];
    let (device, _) = door.paired(1, &all);
    let mut narrow = door.comes(&device, &["operator.read"]);
    let error = narrow.err("chat.send", &json!({}));
    assert_eq!(error["code"], "FORBIDDEN");
    assert_eq!(error["details"]["code"], "MISSING_SCOPE");
    assert_eq!(error["details"]["missingScope"], "operator.sessions.write");
    let mut whole = door.comes(&device, &[]);
    whole.ok("chat.send", &json!({}));
    let scopes = door
        .gateway
        .last()
        .header("x-openclaw-scopes")
        .unwrap()
        .to_owned();
    assert_eq!(
        scopes,
        "operator.pairing,operator.read,operator.sessions.read,operator.sessions.write,operator.talk,operator.write"
    );
}

#[test]
fn a_node_that_asks_for_no_scope_is_approved_with_the_scope_of_its_role() {
    let door = Door::new();
    let device = Device::new(1);
    let node = || {
        Hello::of(&device)
            .role("node")
            .scopes(&[])
            .connect(&door.url)
    };
    let id = node().refused().request_id();
    door.approve(&id);
    let mut node = node().welcome();
    assert_eq!(node.hello["auth"]["role"], "node");
    node.ok("node.event", &json!({}));
    assert_eq!(
        node.err("health", &json!({}))["details"]["missingScope"],
        "operator.read"
    );
    // The gateway knows scopes of operators only.
    assert_eq!(door.gateway.last().header("x-openclaw-scopes"), Some(""));
}

#[test]
fn another_role_and_other_words_about_oneself_are_other_requests() {
    let door = Door::new();
    let (device, _) = door.paired(1, &["operator.read"]);
    let node = Hello::of(&device)
        .role("node")
        .scopes(&[])
        .connect(&door.url)
        .refused();
    node.request_id();
    assert_eq!(node.error["details"]["reason"], "role-upgrade");
    assert_eq!(node.error["details"]["approvedRoles"], json!(["operator"]));
    let moved = Hello::of(&device)
        .scopes(&["operator.read"])
        .set("/client/platform", "darwin");
    let moved = moved.connect(&door.url).refused();
    let id = moved.request_id();
    assert_eq!(moved.error["details"]["reason"], "metadata-upgrade");
    door.approve(&id);
    let hello = Hello::of(&device).scopes(&["operator.read"]);
    hello
        .set("/client/platform", "Darwin")
        .connect(&door.url)
        .welcome();
}
