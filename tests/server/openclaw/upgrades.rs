//! More, fewer, or other: what a device has changes while it is connected.

use serde_json::{Value, json};

use super::Door;
use super::client::Hello;

#[test]
fn a_device_that_rotates_its_own_token_gets_the_new_one_and_connects_again() {
    let door = Door::new();
    let (device, mut client) = door.paired(1, &["operator.read", "operator.write"]);
    let old = client.device_token().to_owned();
    let own = json!({"deviceId": device.id().to_string(), "role": "operator", "scopes": ["operator.read"]});
    let rotated = client.ok("device.token.rotate", &own);
    assert_eq!(rotated["tokenDelivery"], "in-band");
    assert_eq!(rotated["scopes"], json!(["operator.read"]));
    assert_eq!(
        client.closed(),
        (4001, "device token replaced: connect again".to_owned())
    );
    let client = door.comes(&device, &["operator.read"]);
    let new = client.device_token();
    assert_eq!(rotated["token"], new);
    assert_ne!(old, new);
    // What was given up is asked for again.
    let more = Hello::of(&device)
        .scopes(&["operator.write"])
        .connect(&door.url)
        .refused();
    assert_eq!(more.error["details"]["reason"], "scope-upgrade");
}

#[test]
fn a_token_that_somebody_else_rotated_is_delivered_when_the_device_comes_again() {
    let door = Door::new();
    let (_, mut operator) = door.paired(1, &["operator.admin"]);
    let (device, mut client) = door.paired(2, &["operator.read"]);
    let old = client.device_token().to_owned();
    let other = json!({"deviceId": device.id().to_string(), "role": "operator"});
    let rotated = operator.ok("device.token.rotate", &other);
    assert_eq!(rotated["tokenDelivery"], "withheld-cross-device");
    assert!(rotated.get("token").is_none(), "{rotated}");
    assert_eq!(client.closed().1, "device token replaced: connect again");
    // With the old token in its hand, and on the API too.
    let hello = Hello::of(&device).scopes(&["operator.read"]).token(&old);
    let client = hello.connect(&door.url).welcome();
    assert_ne!(client.device_token(), old);
    let kept = door.install.server.fetch_again(&device, "operator");
    assert_eq!(kept["grant"], client.device_token());
    let error = operator.err(
        "device.token.rotate",
        &json!({"deviceId": device.id().to_string(), "role": "operator", "scopes": ["operator.write"]}),
    );
    assert!(
        error["message"].as_str().unwrap().contains("or less"),
        "{error}"
    );
}

#[test]
fn what_a_rotated_device_approved_lives_and_dies_with_the_device() {
    let door = Door::new();
    let (device, mut client) = door.paired(1, &["operator.pairing", "operator.read"]);
    let phone = crate::device::Device::new(2);
    let id = door.asks(&phone, &["operator.read"]);
    client.ok("device.pair.approve", &json!({"requestId": id}));
    let own = json!({"deviceId": device.id().to_string(), "role": "operator"});
    client.ok("device.token.rotate", &own);
    let mut on_phone = door.comes(&phone, &["operator.read"]);
    on_phone.ok("health", &json!({}));
    let id = device.id().to_string();
    door.install
        .host
        .run(&["devices", "revoke", &id, "--yes"])
        .ok();
    assert_eq!(on_phone.closed(), (4001, "device revoked".to_owned()));
}

#[test]
fn a_device_on_a_connection_asks_for_more_and_is_handed_its_token() {
    let door = Door::new();
    let (device, mut client) = door.paired(1, &["operator.read"]);
    let wanted = json!({"scopes": ["operator.read", "operator.write"]});
    let asked = client.ok("device.scopes.requestUpgrade", &wanted);
    let id = asked["requestId"].as_str().unwrap().to_owned();
    assert_eq!(client.ok("device.scopes.requestUpgrade", &wanted), asked);
    let waiting = client.begin("device.scopes.waitUpgrade", &json!({"requestId": id}));
    client.ok("health", &json!({}));
    door.approve(&id);
    let answer = client.answer(&waiting);
    let got = &answer["payload"];
    assert_eq!(got["status"], "approved", "{answer}");
    assert_eq!(got["scopes"], json!(["operator.write"]));
    assert_eq!(client.closed().1, "device token replaced: connect again");
    let again = door.comes(&device, &["operator.read", "operator.write"]);
    assert_eq!(got["deviceToken"], again.device_token());
}

#[test]
fn an_upgrade_is_rejected_or_was_there_already_and_is_nobody_else_s() {
    let door = Door::new();
    let (_, mut client) = door.paired(1, &["operator.read"]);
    let (_, mut other) = door.paired(2, &["operator.read"]);
    let ask = |client: &mut super::Client, scopes: Value| {
        let asked = client.ok("device.scopes.requestUpgrade", &json!({"scopes": scopes}));
        json!({"requestId": asked["requestId"]})
    };
    let held = ask(&mut client, json!(["operator.read"]));
    let answer = client.ok("device.scopes.waitUpgrade", &held);
    assert_eq!(
        (&answer["status"], &answer["deviceToken"]),
        (&json!("approved"), &json!(client.device_token()))
    );
    let more = ask(&mut client, json!(["operator.admin"]));
    assert_eq!(
        other.err("device.scopes.waitUpgrade", &more)["code"],
        "INVALID_REQUEST"
    );
    let waiting = client.begin("device.scopes.waitUpgrade", &more);
    door.install
        .host
        .run(&["devices", "reject", more["requestId"].as_str().unwrap()])
        .ok();
    assert_eq!(client.answer(&waiting)["payload"]["status"], "rejected");
    let unknown = client.err(
        "device.scopes.requestUpgrade",
        &json!({"scopes": ["foo.bar"]}),
    );
    assert_eq!(unknown["details"]["code"], "UNKNOWN_SCOPE");
}
