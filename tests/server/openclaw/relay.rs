//! What goes through the door, and what does not.

use serde_json::{Value, json};

use super::Door;
use super::client::Hello;
use crate::device::Device;
use crate::support::eventually;
use crate::support::relay::AFAR;

#[test]
fn the_gateway_is_told_who_comes_and_gets_neither_key_nor_token() {
    let door = Door::with(&["--trusted-proxy", "127.0.0.1/32"]);
    let (device, client) = door.paired(1, &["operator.read"]);
    let token = client.device_token().to_owned();
    let hello = Hello::of(&device)
        .scopes(&["operator.read"])
        .token(&token)
        .from(AFAR);
    let _client = hello.connect(&door.url).welcome();
    let behind = door.gateway.last();
    let params = behind.params();
    assert!(
        params.get("device").is_none() && params.get("auth").is_none(),
        "{params}"
    );
    assert_eq!(
        params["scopes"],
        json!(["operator.read", "operator.sessions.read"])
    );
    assert_eq!(params["client"]["id"], "gateway-client");
    assert_eq!(params["locale"], "en-US");
    for (name, value) in [
        ("x-forwarded-for", AFAR),
        ("x-forwarded-user", "hardtack"),
        ("x-forwarded-proto", "http"),
        ("x-openclaw-scopes", "operator.read,operator.sessions.read"),
        ("x-hardtack-device", &device.id().to_string()),
        ("x-hardtack-role", "operator"),
    ] {
        assert_eq!(behind.header(name), Some(value), "{name}");
    }
    let all = format!("{:?} {params} {:?}", behind.headers, behind.heard());
    assert!(!all.contains(&token), "a token went up");
}

#[test]
fn what_a_client_says_of_itself_in_headers_is_not_passed_on() {
    let door = Door::new();
    let device = Device::new(1);
    let id = door.asks(&device, &["operator.read"]);
    door.approve(&id);
    // `from` sets the header of a proxy; this client is none of ours.
    let hello = Hello::of(&device)
        .scopes(&["operator.read"])
        .from("6.6.6.6");
    let _client = hello.connect(&door.url).welcome();
    // A gateway refuses a proxy that names a loopback address.
    assert_eq!(
        door.gateway.last().header("x-forwarded-for"),
        Some("192.0.2.1")
    );
}

/// Which pages a browser may come from is the gateway's to say.
#[test]
fn the_gateway_is_told_what_page_a_browser_comes_from_and_no_other() {
    const PAGE: &str = "https://ui.example";
    let door = Door::new();
    for (n, origin) in [(1, Some(PAGE)), (2, None)] {
        let device = Device::new(n);
        let hello = || {
            let hello = Hello::of(&device).scopes(&["operator.read"]);
            match origin {
                Some(origin) => hello.origin(origin),
                None => hello,
            }
        };
        door.approve(&hello().connect(&door.url).refused().request_id());
        let _client = hello().connect(&door.url).welcome();
        assert_eq!(door.gateway.last().header("origin"), origin);
    }
}

#[test]
fn frames_go_through_as_they_are() {
    let door = Door::new();
    let (_, mut client) = door.paired(1, &["operator.read", "operator.write"]);
    let texts = [
        r#"{ "type":"req", "id":"a" , "method":"chat.send","params":{"text":"\u00e9\n","n":1.50,"big":12345678901234567890123} }"#.to_owned(),
        r#"{"method":"health","id":"b","type":"req","traceparent":"00-x","expectedProfileId":"p"}"#.to_owned(),
        format!(r#"{{"type":"req","id":"c","method":"chat.send","params":"{}"}}"#, "y".repeat(3_000_000)),
    ];
    for text in &texts {
        client.send(text.clone());
    }
    for id in ["a", "b", "c"] {
        assert_eq!(client.answer(id)["ok"], true);
    }
    let behind = door.gateway.last();
    assert_eq!(behind.heard(), texts);
    let event = r#"{"type":"event", "event":"chat","payload":{"x":1.50},"seq":7,"stateVersion":{"presence":1,"health":2}}"#;
    behind.say(event);
    behind.say(
        r#"{"type":"event","event":"device.pair.requested","payload":{"requestId":"theirs"}}"#,
    );
    behind.say(r#"{"type":"event","event":"tick","payload":{"ts":1}}"#);
    let frame = client.frame();
    assert_eq!(frame["seq"], 7);
    assert_eq!(
        client.frame()["event"],
        "tick",
        "the gateway's own pairing is not passed on"
    );
}

#[test]
fn what_a_client_may_not_call_never_goes_up() {
    let door = Door::new();
    let (_, mut client) = door.paired(1, &["operator.read"]);
    for (method, code) in [
        ("config.set", "MISSING_SCOPE"),
        ("chat.send", "MISSING_SCOPE"),
        ("exec.approval.resolve", "MISSING_SCOPE"),
        ("node.event", "MISSING_SCOPE"),
        ("connect", "NOT_IN_POLICY"),
        ("unheard.of", "NOT_IN_POLICY"),
        ("hardtack.unheard", "NOT_IN_POLICY"),
    ] {
        let error = client.err(method, &json!({}));
        assert_eq!(
            (&error["code"], &error["details"]["code"]),
            (&json!("FORBIDDEN"), &json!(code)),
            "{method}"
        );
    }
    client.ok("health", &json!({}));
    let heard = door.gateway.last().heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
}

#[test]
fn an_operation_caveat_holds_on_frames_and_a_path_caveat_fails_them() {
    let door = Door::new();
    let worker = door.install.pair(7, "operator.read");
    let token = door.install.server.token(&worker);
    let narrowed = |flag: &str, value: &str| {
        let file = door.install.host.file("token", &token);
        let at = format!("@{file}");
        let run = door
            .install
            .host
            .run(&["token", "attenuate", &at, flag, value]);
        run.ok().trim().to_owned()
    };
    let only = narrowed("--operation", "sessions.list");
    let mut client = Hello::new().token(&only).connect(&door.url).welcome();
    client.ok("sessions.list", &json!({}));
    assert_eq!(
        client.err("health", &json!({}))["details"]["code"],
        "CAVEAT_OPERATION"
    );
    let path = narrowed("--path", "/v1/");
    let mut client = Hello::new().token(&path).connect(&door.url).welcome();
    assert_eq!(
        client.err("health", &json!({}))["details"]["code"],
        "CAVEAT_PATH"
    );
}

#[test]
fn a_policy_of_one_s_own_decides_on_methods_too() {
    let rules = r#"rpc("health", "operator.admin"); rpc("my.plugin", "operator.read");"#;
    let machine = crate::support::Machine::new();
    let policy = machine.file("mine.datalog", rules);
    let door = Door::with(&["--policy", &policy]);
    let (_, mut client) = door.paired(1, &["operator.read"]);
    assert_eq!(
        client.err("health", &json!({}))["details"]["missingScope"],
        "operator.admin"
    );
    client.ok("my.plugin", &json!({}));
    client.ok("sessions.list", &json!({}));
}

#[test]
fn a_client_that_does_not_read_holds_up_itself_and_nobody_else() {
    let door = Door::new();
    let (_, slow) = door.paired(1, &["operator.read"]);
    let behind = door.gateway.last();
    let before = resident(door.install.server.pid());
    let event =
        json!({"type": "event", "event": "chat", "payload": "x".repeat(100_000)}).to_string();
    for _ in 0..2_000 {
        behind.say(event.clone());
    }
    let (_, mut other) = door.paired(2, &["operator.read"]);
    for _ in 0..50 {
        other.ok("health", &json!({}));
    }
    let grown = resident(door.install.server.pid()).saturating_sub(before);
    assert!(
        grown < 20 * 1024,
        "it keeps {grown} KiB for one that does not read"
    );
    drop(slow);
    door.behind(1);
}

#[test]
fn a_flood_of_requests_is_answered_in_its_turn() {
    let door = Door::new();
    let (_, mut client) = door.paired(1, &["operator.read"]);
    let ids: Vec<String> = (0..500)
        .map(|n| client.begin(if n % 2 == 0 { "health" } else { "config.set" }, &json!({})))
        .collect();
    let mut answers = std::collections::HashMap::new();
    while answers.len() < ids.len() {
        let frame = client.frame();
        if frame["type"] == "res" {
            answers.insert(
                frame["id"].as_str().unwrap().to_owned(),
                frame["ok"].clone(),
            );
        }
    }
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(answers[id], Value::Bool(n % 2 == 0), "{id}");
    }
    eventually("all of it at the gateway", || {
        (door.gateway.last().answered() == 250).then_some(())
    });
}

/// The resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
