//! `device.pair.*` and `device.token.*`, as operators call them.

use serde_json::json;

use super::Door;
use super::client::Hello;
use crate::device::Device;

const ALL: [&str; 3] = ["operator.pairing", "operator.read", "operator.write"];

#[test]
fn a_connection_that_asked_for_pairing_only_approves_by_what_its_device_holds() {
    // The seed: CLI 2026.5.2 connects with `operator.pairing` alone to approve
    // a device that asks for more.
    let door = Door::new();
    let (cli, _client) = door.paired(1, &ALL);
    let phone = Device::new(2);
    let id = door.asks(&phone, &["operator.read", "operator.write"]);
    let mut narrow = door.comes(&cli, &["operator.pairing"]);
    assert_eq!(narrow.scopes(), ["operator.pairing"]);
    let approved = narrow.ok("device.pair.approve", &json!({"requestId": id}));
    assert_eq!(approved["requestId"], *id);
    assert_eq!(approved["device"]["deviceId"], *phone.id().to_string());
    assert_eq!(
        approved["device"]["scopes"],
        json!(["operator.read", "operator.write"])
    );
    door.comes(&phone, &["operator.write"]);
}

#[test]
fn a_connection_that_did_not_ask_for_pairing_may_approve_by_its_grant() {
    let door = Door::new();
    let (cli, _client) = door.paired(1, &ALL);
    let id = door.asks(&Device::new(2), &["operator.read"]);
    let mut reader = door.comes(&cli, &["operator.read"]);
    reader.ok("device.pair.approve", &json!({"requestId": id}));
    reader.ok("device.pair.list", &json!({}));
}

#[test]
fn nobody_gives_more_than_their_grant_whatever_the_connection_asked_for() {
    let door = Door::new();
    let (pairer, mut client) = door.paired(1, &["operator.pairing", "operator.read"]);
    let id = door.asks(&Device::new(2), &["operator.read", "operator.write"]);
    let error = client.err("device.pair.approve", &json!({"requestId": id}));
    assert_eq!(error["code"], "FORBIDDEN");
    let details = &error["details"];
    assert_eq!(details["code"], "MISSING_SCOPE");
    assert_eq!(details["missingScope"], "operator.write");
    assert_eq!(
        details["heldScopes"],
        json!(["operator.pairing", "operator.read"])
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("missing scope: operator.write"),
        "{message}"
    );
    let next = details["next"].as_array().unwrap();
    assert!(
        next[0]
            .as_str()
            .unwrap()
            .contains(&format!("devices approve {id}")),
        "{next:?}"
    );
    assert!(
        next[1].as_str().unwrap().contains("--scopes operator.read"),
        "{next:?}"
    );
    // Nothing has changed, and without the right to pair it is not even asked.
    let shown = door
        .install
        .host
        .run(&["devices", "show", &id, "--json"])
        .json();
    assert_eq!(shown["status"], "pending");
    let (_, mut reader) = door.paired(3, &["operator.read"]);
    for (method, params) in [
        ("device.pair.list", json!({})),
        ("device.pair.approve", json!({"requestId": id})),
        ("device.pair.reject", json!({"requestId": id})),
        (
            "device.pair.remove",
            json!({"deviceId": pairer.id().to_string()}),
        ),
        (
            "device.pair.rename",
            json!({"deviceId": pairer.id().to_string(), "label": "x"}),
        ),
        (
            "device.token.rotate",
            json!({"deviceId": pairer.id().to_string(), "role": "operator"}),
        ),
        (
            "device.token.revoke",
            json!({"deviceId": pairer.id().to_string(), "role": "operator"}),
        ),
    ] {
        let error = reader.err(method, &params);
        assert_eq!(
            error["details"]["missingScope"], "operator.pairing",
            "{method}"
        );
    }
}

#[test]
fn pairings_are_listed_in_the_shape_of_the_protocol() {
    let door = Door::new();
    let (cli, mut client) = door.paired(1, &ALL);
    let phone = Device::new(2);
    let id = door.asks(&phone, &["operator.read"]);
    let listed = client.ok("device.pair.list", &json!({}));
    let pending = &listed["pending"][0];
    assert_eq!(pending["requestId"], *id);
    assert_eq!(pending["deviceId"], *phone.id().to_string());
    assert_eq!(pending["roles"], json!(["operator"]));
    assert_eq!(pending["scopes"], json!(["operator.read"]));
    assert_eq!(
        (&pending["clientId"], &pending["clientMode"]),
        (&json!("gateway-client"), &json!("backend"))
    );
    assert_eq!(
        (&pending["platform"], &pending["remoteIp"]),
        (&json!("linux"), &json!("127.0.0.1"))
    );
    assert!(pending["ts"].as_u64().unwrap() > 1_700_000_000_000);
    let paired = listed["paired"].as_array().unwrap();
    let own = paired
        .iter()
        .find(|d| d["deviceId"] == *cli.id().to_string())
        .unwrap();
    assert_eq!(
        (&own["connected"], &own["roles"]),
        (&json!(true), &json!(["operator"]))
    );
    assert_eq!(own["tokens"][0]["scopes"], json!(ALL));
    // The local device is among them, and no token is.
    assert_eq!(paired.len(), 2);
    assert!(!listed.to_string().contains(client.device_token()));
}

#[test]
fn a_request_is_rejected_and_a_device_renamed_and_removed() {
    let door = Door::new();
    let (_cli, mut client) = door.paired(1, &["operator.admin"]);
    let phone = Device::new(2);
    let id = door.asks(&phone, &["operator.read"]);
    let rejected = client.ok("device.pair.reject", &json!({"requestId": id}));
    assert_eq!(
        rejected,
        json!({"requestId": id, "deviceId": phone.id().to_string()})
    );
    let error = client.err("device.pair.approve", &json!({"requestId": id}));
    assert_eq!(error["details"]["status"], "rejected");

    let id = door.asks(&phone, &["operator.read"]);
    client.ok("device.pair.approve", &json!({"requestId": id}));
    let mut on_phone = door.comes(&phone, &[]);
    let phone = phone.id().to_string();
    let renamed = client.ok(
        "device.pair.rename",
        &json!({"deviceId": phone, "label": " Bench "}),
    );
    assert_eq!(renamed, json!({"deviceId": phone, "label": "Bench"}));
    let listed = client.ok("device.pair.list", &json!({}));
    assert!(
        listed["paired"]
            .as_array()
            .unwrap()
            .iter()
            .any(|d| d["operatorLabel"] == "Bench")
    );

    let removed = client.ok("device.pair.remove", &json!({"deviceId": phone}));
    assert_eq!(removed, json!({"deviceId": phone}));
    assert_eq!(on_phone.closed(), (4001, "device revoked".to_owned()));
    for (method, params) in [
        ("device.pair.remove", json!({"deviceId": "x"})),
        ("device.pair.remove", json!({"deviceId": "00".repeat(32)})),
        ("device.pair.remove", json!({"deviceId": phone})),
        (
            "device.token.rotate",
            json!({"deviceId": "00".repeat(32), "role": "operator"}),
        ),
    ] {
        let error = client.err(method, &params);
        assert_eq!(
            error["message"], "unknown deviceId",
            "{method} {params}: {error}"
        );
    }
    for id in ["x", "00000000-0000-7000-8000-000000000000"] {
        let error = client.err("device.pair.approve", &json!({"requestId": id}));
        assert_eq!(error["message"], "unknown requestId");
    }
}

#[test]
fn methods_say_what_is_wrong_with_their_parameters() {
    let door = Door::new();
    let (_, mut client) = door.paired(1, &ALL);
    for (method, params, says) in [
        (
            "device.pair.approve",
            json!({}),
            "missing field `requestId`",
        ),
        (
            "device.pair.approve",
            json!([]),
            "invalid device.pair.approve params",
        ),
        (
            "device.pair.rename",
            json!({"deviceId": "00".repeat(32), "label": " "}),
            "label required",
        ),
        (
            "device.token.rotate",
            json!({"deviceId": "00".repeat(32), "role": "No Role"}),
            "invalid role",
        ),
        (
            "device.scopes.requestUpgrade",
            json!({"scopes": []}),
            "`scopes` is empty",
        ),
        (
            "device.scopes.waitUpgrade",
            json!({"requestId": "x"}),
            "not found",
        ),
        ("device.pair.unheardOf", json!({}), "unknown method"),
    ] {
        let error = client.err(method, &params);
        assert_eq!(error["code"], "INVALID_REQUEST", "{method}");
        assert!(
            error["message"].as_str().unwrap().contains(says),
            "{method}: {error}"
        );
    }
    // None of it went up.
    assert_eq!(door.gateway.last().heard(), Vec::<String>::new());
}

#[test]
fn the_local_device_and_others_devices_are_not_ended_by_whoever_may_pair() {
    let door = Door::new();
    let (_, mut client) = door.paired(1, &ALL);
    let (other, mut on_other) = door.paired(2, &["operator.read"]);
    let local = door.install.local().device.id().to_string();
    for method in ["device.token.rotate", "device.token.revoke"] {
        let error = client.err(method, &json!({"deviceId": local, "role": "operator"}));
        assert_eq!(error["details"]["code"], "LOCAL_DEVICE");
        let params = json!({"deviceId": other.id().to_string(), "role": "operator"});
        let error = client.err(method, &params);
        assert_eq!(
            error["details"]["missingScope"], "operator.admin",
            "{method}"
        );
    }
    // What it approved itself, it may end.
    let phone = Device::new(3);
    let id = door.asks(&phone, &["operator.read"]);
    client.ok("device.pair.approve", &json!({"requestId": id}));
    let params = json!({"deviceId": phone.id().to_string(), "role": "operator"});
    let revoked = client.ok("device.token.revoke", &params);
    assert_eq!(revoked["role"], "operator");
    assert_eq!(
        client.err("device.token.revoke", &params)["details"]["code"],
        "NOT_FOUND"
    );
    on_other.ok("health", &json!({}));
}

#[test]
fn operators_are_told_of_requests_and_others_are_not() {
    let door = Door::new();
    let (_, mut operator) = door.paired(1, &ALL);
    let (_, mut reader) = door.paired(2, &["operator.read"]);
    let first = door.asks(&Device::new(3), &["operator.read"]);
    let second = door.asks(&Device::new(4), &["operator.read"]);
    for (id, number) in [(&first, 3), (&second, 4)] {
        let told = operator.event("device.pair.requested");
        assert_eq!(told["requestId"], **id);
        assert_eq!(told["deviceId"], *Device::new(number).id().to_string());
    }
    door.approve(&second);
    let resolved = operator.event("device.pair.resolved");
    assert_eq!(
        (&resolved["requestId"], &resolved["decision"]),
        (&json!(second), &json!("approved"))
    );
    door.install.host.run(&["devices", "reject", &first]).ok();
    assert_eq!(
        operator.event("device.pair.resolved")["decision"],
        "rejected"
    );
    // The reader's next frame is the answer to its own request.
    let id = reader.begin("health", &json!({}));
    assert_eq!(reader.frame()["id"], *id);
}

#[test]
fn a_device_may_always_end_itself() {
    let door = Door::new();
    let (device, mut client) = door.paired(1, &["operator.read"]);
    let own = json!({"deviceId": device.id().to_string(), "role": "operator"});
    client.ok("device.token.revoke", &own);
    assert_eq!(client.closed(), (4001, "device revoked".to_owned()));
    let again = Hello::of(&device)
        .scopes(&["operator.read"])
        .connect(&door.url)
        .refused();
    again.request_id();
    let shown = door
        .install
        .host
        .run(&["devices", "show", &again.request_id(), "--json"]);
    assert_eq!(shown.json()["previously_revoked"], true);
}
