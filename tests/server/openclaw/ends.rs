//! How connections end, and in what words.

use std::time::Duration;

use serde_json::json;

use super::Door;
use super::client::{Client, Hello};
use crate::device::Device;

/// A socket is closed within this time of what ends it, wherever that is done.
const PROMPT: Duration = Duration::from_secs(1);

#[test]
fn a_revoked_or_retired_device_is_out_within_a_second() {
    let door = Door::new();
    for (number, end, reason) in [
        (1, "revoke", "device revoked"),
        (2, "retire", "device retired"),
    ] {
        let (device, mut client) = door.paired(number, &["operator.read"]);
        let (_, mut other) = door.paired(number + 10, &["operator.read"]);
        let id = device.id().to_string();
        door.install.host.run(&["devices", end, &id, "--yes"]).ok();
        client.patience(PROMPT);
        assert_eq!(client.closed(), (4001, reason.to_owned()));
        other.ok("health", &json!({}));
    }
    door.behind(0);
}

#[test]
fn a_new_approval_ends_the_connections_of_the_grant_it_replaces() {
    let door = Door::new();
    let (device, mut client) = door.paired(1, &["operator.read"]);
    let id = door.asks(&device, &["operator.write"]);
    door.approve(&id);
    assert_eq!(
        client.closed(),
        (4001, "device token replaced: connect again".to_owned())
    );
    door.comes(&device, &["operator.write"]);
}

#[test]
fn a_client_whose_token_is_revoked_is_out() {
    let door = Door::new();
    let worker = door.install.pair(7, "operator.read");
    let token = door.install.server.token(&worker);
    let mut client = Hello::new().token(&token).connect(&door.url).welcome();
    let id = worker.device.id().to_string();
    door.install
        .host
        .run(&["devices", "revoke", &id, "--yes"])
        .ok();
    assert_eq!(client.closed(), (4001, "device revoked".to_owned()));
}

#[test]
fn a_token_ends_and_its_connection_with_it() {
    let door = Door::new();
    let worker = door.install.pair(7, "operator.read");
    let token = door
        .install
        .server
        .token_with(&worker, &[("expires_in", "2")]);
    let mut client = Hello::new().token(&token).connect(&door.url).welcome();
    client.ok("health", &json!({}));
    assert_eq!(client.closed(), (4001, "device token expired".to_owned()));
}

#[test]
fn a_grant_with_an_end_ends_its_connection() {
    let door = Door::new();
    let device = Device::new(1);
    let id = door.asks(&device, &["operator.read"]);
    door.install
        .host
        .run(&["devices", "approve", &id, "--expires", "2s"])
        .ok();
    let mut client = door.comes(&device, &["operator.read"]);
    assert_eq!(client.closed(), (4001, "device token expired".to_owned()));
    door.asks(&device, &["operator.read"]);
}

#[test]
fn a_server_that_stops_tells_clients_to_come_again() {
    let door = Door::new();
    let (_, mut client) = door.paired(1, &["operator.read"]);
    let run = door.install.server.stop();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(client.closed(), (1012, "service restart".to_owned()));
}

#[test]
fn a_gateway_that_goes_away_makes_clients_come_again() {
    let door = Door::new();
    let (device, mut client) = door.paired(1, &["operator.read"]);
    door.gateway.last().drop_it();
    assert_eq!(
        client.closed(),
        (1012, "gateway restarting: connect again".to_owned())
    );
    for (code, reason, expected) in [
        (1012, "service restart", (1012, "service restart")),
        (1013, "gateway starting", (1013, "gateway starting")),
        (1008, "slow consumer", (1008, "slow consumer")),
        (
            4001,
            "gateway auth changed",
            (1012, "gateway restarting: connect again"),
        ),
        (1000, "bye", (1012, "gateway restarting: connect again")),
    ] {
        let mut client = door.comes(&device, &["operator.read"]);
        door.gateway.last().close(code, reason);
        assert_eq!(
            client.closed(),
            (expected.0, expected.1.to_owned()),
            "{code}"
        );
    }
    door.behind(0);
}

#[test]
fn a_gateway_that_is_not_ready_or_does_not_trust_us_is_told_apart() {
    let door = Door::new();
    let (device, _client) = door.paired(1, &["operator.read"]);
    let connect = || {
        Hello::of(&device)
            .scopes(&["operator.read"])
            .connect(&door.url)
    };
    let starting = json!({"code": "UNAVAILABLE", "message": "gateway starting", "retryable": true});
    door.gateway.refuse(starting, 1013, "gateway starting");
    let refused = connect().refused();
    assert_eq!(refused.close, (1013, "gateway starting".to_owned()));
    assert_eq!(refused.error["details"]["reason"], "startup-sidecars");
    assert_eq!(refused.error["retryable"], true);
    let untrusted = json!({
        "code": "INVALID_REQUEST", "message": "unauthorized",
        "details": {"code": "AUTH_IDENTITY_HEADER_REQUIRED"},
    });
    door.gateway.refuse(untrusted, 1008, "unauthorized");
    let refused = connect().refused();
    assert_eq!(refused.error["code"], "UNAVAILABLE");
    assert_eq!(
        refused.error["details"]["upstreamCode"],
        "AUTH_IDENTITY_HEADER_REQUIRED"
    );
    door.gateway.relent();
    connect().welcome();
    // A gateway that is not there at all.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let machine = crate::support::Machine::new();
    let url = format!("ws://{nobody}");
    let args = [
        "--openclaw-listen",
        "127.0.0.1:0",
        "--openclaw-upstream",
        &url,
    ];
    let install = crate::support::Install::on(machine, &args);
    let file = std::fs::read(install.host.data_dir().join("server.json")).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let worker = install.pair(7, "operator.read");
    let hello = Hello::new().token(&install.server.token(&worker));
    let refused = hello
        .connect(file["openclaw_url"].as_str().unwrap())
        .refused();
    assert_eq!(refused.close.0, 1013);
}

#[test]
fn a_client_that_leaves_takes_its_connection_to_the_gateway_along() {
    let door = Door::new();
    let (_, mut client) = door.paired(1, &["operator.read"]);
    door.behind(1);
    client.socket.close(None).unwrap();
    door.behind(0);
    let (_, client) = door.paired(2, &["operator.read"]);
    door.behind(1);
    // Without a word.
    drop(client);
    door.behind(0);
}

#[test]
fn frames_that_are_none_end_the_connection_they_come_on_and_no_other() {
    let door = Door::new();
    let (device, mut other) = door.paired(1, &["operator.read"]);
    let mut closed = |send: &dyn Fn(&mut Client)| {
        let mut client = door.comes(&device, &["operator.read"]);
        send(&mut client);
        let close = client.closed();
        other.ok("health", &json!({}));
        close.0
    };
    for text in [
        "no json",
        r#"{"type":"res","id":"1","ok":true}"#,
        r#"{"type":"req","id":"1","method":"health","method":"config.set"}"#,
        r#"{"type":"req","id":1,"method":"health"}"#,
    ] {
        assert_eq!(closed(&|client| client.send(text)), 1008, "{text}");
    }
    let binary = |client: &mut Client| {
        let message = tokio_tungstenite::tungstenite::Message::binary(vec![1, 2, 3]);
        client.socket.send(message).unwrap();
    };
    assert_eq!(closed(&binary), 1003);
    let large = |client: &mut Client| {
        let text = format!(r#"{{"type":"req","x":"{}"}}"#, "x".repeat(26 * 1024 * 1024));
        // It is not read to its end.
        let message = tokio_tungstenite::tungstenite::Message::text(text);
        client.socket.send(message).ok();
    };
    assert!([1006, 1009].contains(&closed(&large)));
}
