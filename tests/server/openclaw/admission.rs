//! Who is not let in, and in what words.

use serde_json::{Value, json};

use super::Door;
use super::client::{Client, Hello};
use crate::device::Device;
use crate::support::Install;
use crate::support::relay::AFAR;
use crate::support::wait::DEADLINE;

/// Changes what a device signed, or what it signs.
type Change = fn(&mut Value);

#[test]
fn each_part_of_a_device_s_proof_is_refused_in_its_own_words() {
    let door = Door::new();
    let device = Device::new(1);
    let changes: [(Change, &str, &str, &str); 7] = [
        (
            |p| p["device"]["id"] = json!("00".repeat(32)),
            "device identity mismatch",
            "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            "device-id-mismatch",
        ),
        (
            |p| p["device"]["publicKey"] = json!("AAAA"),
            "device public key invalid",
            "DEVICE_AUTH_PUBLIC_KEY_INVALID",
            "device-public-key",
        ),
        (
            |p| p["device"]["nonce"] = json!(""),
            "device nonce required",
            "DEVICE_AUTH_NONCE_REQUIRED",
            "device-nonce-missing",
        ),
        (
            |p| p["device"]["nonce"] = json!("another"),
            "device nonce mismatch",
            "DEVICE_AUTH_NONCE_MISMATCH",
            "device-nonce-mismatch",
        ),
        (
            |p| p["scopes"] = json!(["operator.admin"]),
            "device signature invalid",
            "DEVICE_AUTH_SIGNATURE_INVALID",
            "device-signature",
        ),
        (
            |p| p["auth"] = json!({"token": "another"}),
            "device signature invalid",
            "DEVICE_AUTH_SIGNATURE_INVALID",
            "device-signature",
        ),
        (
            |p| p["device"]["signature"] = json!("AAAA"),
            "device signature invalid",
            "DEVICE_AUTH_SIGNATURE_INVALID",
            "device-signature",
        ),
    ];
    for (change, message, code, reason) in changes {
        let hello = Hello::of(&device).scopes(&["operator.read"]).forge(change);
        let refused = hello.connect(&door.url).refused();
        assert_eq!(refused.error["code"], "INVALID_REQUEST", "{refused:?}");
        assert_eq!(refused.error["message"], message);
        assert_eq!(refused.code(), code);
        assert_eq!(refused.error["details"]["reason"], reason);
        assert_eq!(refused.close, (1008, message.to_owned()));
    }
    for (off, good) in [
        (119_000, true),
        (-119_000, true),
        (130_000, false),
        (-130_000, false),
    ] {
        let hello = Hello::of(&device).scopes(&["operator.read"]).clock(off);
        let refused = hello.connect(&door.url).refused();
        let expected = if good {
            "PAIRING_REQUIRED"
        } else {
            "DEVICE_AUTH_SIGNATURE_EXPIRED"
        };
        assert_eq!(refused.code(), expected, "{off}");
    }
}

#[test]
fn a_proof_for_one_socket_opens_no_other() {
    let door = Door::new();
    let (device, _client) = door.paired(1, &["operator.read"]);
    let hello = Hello::of(&device).scopes(&["operator.read"]);
    let mut one = Client::open(&door.url);
    let mut other = Client::open(&door.url);
    let params = hello.signed(&one.frame()["payload"]);
    other.frame();
    let error = other.err("connect", &params);
    assert_eq!(error["details"]["code"], "DEVICE_AUTH_NONCE_MISMATCH");
    one.ok("connect", &params);
}

#[test]
fn what_does_not_begin_with_connect_is_refused() {
    let door = Door::new();
    let closed = |text: &str| {
        let mut client = Client::open(&door.url);
        client.frame();
        client.send(text);
        (client.try_frame().ok(), client.closed())
    };
    let health = json!({"type": "req", "id": "1", "method": "health"}).to_string();
    let (answer, close) = closed(&health);
    let message = "invalid handshake: first request must be connect";
    assert_eq!(answer.unwrap()["error"]["message"], message);
    assert_eq!(close, (1008, message.to_owned()));
    for text in [
        "",
        "no json",
        "{}",
        "[1]",
        r#"{"type":"event","id":"1","method":"connect"}"#,
    ] {
        let mut client = Client::open(&door.url);
        client.frame();
        client.send(text);
        // There is no request that could be answered.
        let (code, _) = client.try_frame().unwrap_err();
        assert_eq!(code, 1008, "{text}");
    }
    for params in [
        json!({}),
        json!([]),
        json!(null),
        json!({"minProtocol": -1}),
    ] {
        let connect = json!({"type": "req", "id": "1", "method": "connect", "params": params});
        let (answer, close) = closed(&connect.to_string());
        assert_eq!(
            answer.unwrap()["error"]["code"],
            "INVALID_REQUEST",
            "{params}"
        );
        assert_eq!(close, (1008, "invalid connect params".to_owned()));
    }
}

#[test]
fn a_protocol_a_role_or_a_scope_that_is_not_known_is_named() {
    let door = Door::new();
    let device = Device::new(1);
    let hello = || Hello::of(&device).scopes(&["operator.read"]);
    for (min, max) in [(1, 2), (5, 9)] {
        let hello = hello().set("/minProtocol", min).set("/maxProtocol", max);
        let refused = hello.connect(&door.url).refused();
        assert_eq!(refused.code(), "PROTOCOL_MISMATCH");
        assert_eq!(refused.error["details"]["expectedProtocol"], 4);
        assert_eq!(refused.error["details"]["minimumProbeProtocol"], 3);
        assert_eq!(refused.close, (1002, "protocol mismatch".to_owned()));
    }
    let later = hello().set("/minProtocol", 2).set("/maxProtocol", 9);
    assert_eq!(
        later.connect(&door.url).refused().code(),
        "PAIRING_REQUIRED"
    );
    let refused = hello().role("No Role").connect(&door.url).refused();
    assert_eq!(refused.close, (1008, "invalid role".to_owned()));
    let refused = hello().role("worker").connect(&door.url).refused();
    let message = refused.error["message"].as_str().unwrap();
    assert!(message.contains("`worker` is not declared"), "{message}");
    let refused = hello().scopes(&["foo.bar"]).connect(&door.url).refused();
    assert_eq!(refused.code(), "UNKNOWN_SCOPE");
    let many: Vec<String> = (0..65).map(|n| format!("operator.x{n}")).collect();
    let refused = hello()
        .set("/scopes", json!(many))
        .connect(&door.url)
        .refused();
    assert_eq!(refused.error["message"], "too many scopes");
}

#[test]
fn a_paired_device_is_in_whatever_stale_token_it_sends() {
    let door = Door::new();
    let (device, client) = door.paired(1, &["operator.read"]);
    let grant = client.device_token().to_owned();
    let other = door
        .paired(2, &["operator.read"])
        .1
        .device_token()
        .to_owned();
    let auths = [
        json!({"token": grant}),
        json!({"deviceToken": grant}),
        json!({"token": other}),
        json!({"token": "an-old-shared-token"}),
        json!({"password": "x", "bootstrapToken": "y"}),
        json!({}),
    ];
    for auth in auths {
        let hello = Hello::of(&device)
            .scopes(&["operator.read"])
            .set("/auth", auth);
        let client = hello.connect(&door.url).welcome();
        assert_eq!(client.device_token(), grant);
    }
}

#[test]
fn a_client_without_a_key_has_what_its_token_gives() {
    let door = Door::new();
    let worker = door.install.pair(7, "operator.read operator.pairing");
    let token = door.install.server.token(&worker);
    let mut client = Hello::new()
        .scopes(&["operator.admin"])
        .token(&token)
        .connect(&door.url)
        .welcome();
    assert!(client.hello["auth"].get("deviceToken").is_none());
    client.ok("sessions.list", &json!({}));
    assert_eq!(
        client.err("config.set", &json!({}))["details"]["code"],
        "MISSING_SCOPE"
    );
    client.ok("device.pair.list", &json!({}));
    // What makes authority takes a key, and the way out is a whole command.
    let id = door.asks(&Device::new(8), &["operator.read"]);
    let error = client.err("device.pair.approve", &json!({"requestId": id}));
    assert_eq!(error["details"]["code"], "GRANT_REQUIRED");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("hardtack devices approve {id}")),
        "{message}"
    );

    let narrowed = [("scope", "operator.read")];
    let narrow = door.install.server.token_with(&worker, &narrowed);
    let mut client = Hello::new().token(&narrow).connect(&door.url).welcome();
    assert_eq!(
        client.err("device.pair.list", &json!({}))["details"]["code"],
        "MISSING_SCOPE"
    );
}

#[test]
fn a_client_without_a_key_and_a_good_token_is_told_what_to_do() {
    let door = Door::new();
    let worker = door.install.pair(7, "operator.read");
    let api = door.install.server.url.clone();
    let elsewhere = door
        .install
        .server
        .token_with(&worker, &[("audience", &api)]);
    let ends = door
        .install
        .server
        .token(&door.install.pair(9, "operator.read"));
    let gone = Device::new(9).id().to_string();
    door.install
        .host
        .run(&["devices", "revoke", &gone, "--yes"])
        .ok();
    let mismatch = "unauthorized: gateway token mismatch";
    let identity = "device identity required";
    for (auth, message, code) in [
        (json!({}), identity, "DEVICE_IDENTITY_REQUIRED"),
        (
            json!({"token": worker.grant}),
            identity,
            "DEVICE_IDENTITY_REQUIRED",
        ),
        (
            json!({"token": "a-shared-token"}),
            mismatch,
            "AUTH_TOKEN_MISMATCH",
        ),
        (
            json!({"token": door.install.root}),
            mismatch,
            "AUTH_TOKEN_MISMATCH",
        ),
        (json!({"token": elsewhere}), mismatch, "AUTH_TOKEN_MISMATCH"),
        (json!({"token": ends}), mismatch, "AUTH_TOKEN_MISMATCH"),
        (
            json!({"password": "x"}),
            "unauthorized: gateway password not configured",
            "AUTH_PASSWORD_NOT_CONFIGURED",
        ),
    ] {
        let refused = Hello::new().set("/auth", auth).connect(&door.url).refused();
        assert_eq!(refused.code(), code, "{refused:?}");
        assert_eq!(refused.close.0, 1008);
        assert!(refused.close.1.starts_with(message), "{refused:?}");
    }
    let node = Hello::new()
        .role("node")
        .token(&door.install.server.token(&worker));
    assert_eq!(
        node.connect(&door.url).refused().code(),
        "DEVICE_IDENTITY_REQUIRED"
    );
}

#[test]
fn wrong_tokens_lock_an_address_out_and_a_paired_device_comes_in_all_the_same() {
    let door = Door::with(&["--trusted-proxy", "127.0.0.1/32"]);
    let (device, _client) = door.paired(1, &["operator.read"]);
    let guess = || {
        Hello::new()
            .token("wrong")
            .from(AFAR)
            .connect(&door.url)
            .refused()
    };
    for _ in 0..10 {
        assert_eq!(guess().code(), "AUTH_TOKEN_MISMATCH");
    }
    let locked = guess();
    assert_eq!(locked.code(), "AUTH_RATE_LIMITED");
    assert_eq!(
        locked.error["details"]["recommendedNextStep"],
        "wait_then_retry"
    );
    assert!(locked.error["retryAfterMs"].as_u64().unwrap() > 200_000);
    // Even a good token is not tried any more, and nobody new may ask.
    let good = door
        .install
        .server
        .token(&door.install.pair(7, "operator.read"));
    let refused = Hello::new()
        .token(&good)
        .from(AFAR)
        .connect(&door.url)
        .refused();
    assert_eq!(refused.code(), "AUTH_RATE_LIMITED");
    let stranger = Device::new(3);
    let refused = Hello::of(&stranger).scopes(&["operator.read"]).from(AFAR);
    assert_eq!(
        refused.connect(&door.url).refused().code(),
        "AUTH_RATE_LIMITED"
    );
    // The paired device is not punished for its neighbour, nor is another address.
    let hello = Hello::of(&device).scopes(&["operator.read"]).from(AFAR);
    hello.connect(&door.url).welcome();
    Hello::new()
        .token(&good)
        .from("198.51.100.7")
        .connect(&door.url)
        .welcome();
}

#[test]
fn so_many_sockets_of_one_address_wait_and_others_do_not_suffer() {
    let door = Door::with(&["--trusted-proxy", "127.0.0.1/32"]);
    let from = |address| Client::try_open(&door.url, &[("x-forwarded-for", address)]);
    let waiting: Vec<Client> = (0..32).map(|_| from(AFAR).unwrap()).collect();
    assert!(from(AFAR).map(drop).unwrap_err().contains("429"));
    from("198.51.100.7").unwrap();
    // Whoever is let in makes room.
    drop(waiting);
    crate::support::eventually("room for another", || from(AFAR).ok());
}

#[test]
fn a_first_message_that_is_too_large_ends_the_socket() {
    let door = Door::new();
    let mut client = Client::open(&door.url);
    client.frame();
    client.send(format!(r#"{{"type":"req","x":"{}"}}"#, "x".repeat(70_000)));
    assert_eq!(
        client.closed(),
        (1009, "preauth payload too large".to_owned())
    );
}

#[test]
fn whoever_says_nothing_is_closed_in_time_and_others_do_not_wait_for_it() {
    let door = Door::new();
    let mut silent = Client::open(&door.url);
    silent.frame();
    // One that does not even get to its request.
    let address = door.url.strip_prefix("ws://").unwrap();
    let mut mute = std::net::TcpStream::connect(address).unwrap();
    mute.set_read_timeout(Some(DEADLINE)).unwrap();
    let (_, mut other) = door.paired(1, &["operator.read"]);
    assert_eq!(silent.closed(), (1000, "handshake timeout".to_owned()));
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut mute, &mut rest).unwrap();
    other.ok("health", &json!({}));
}

#[test]
fn what_is_no_websocket_is_told_so() {
    let door = Door::new();
    let url = door.url.replacen("ws://", "http://", 1);
    let answer = crate::support::Request::get("/").send(&url);
    assert_eq!(answer.status, 426);
    // Every path will do, for clients use several.
    let mut client = Client::open(&format!("{}/gateway?x=1", door.url));
    assert_eq!(client.frame()["event"], "connect.challenge");
}

#[test]
fn a_door_without_a_gateway_is_not_there() {
    let install = Install::new();
    let file = std::fs::read_to_string(install.host.data_dir().join("server.json")).unwrap();
    assert!(!file.contains("openclaw"), "{file}");
    let refused = crate::support::Server::fail(
        &crate::support::Machine::new(),
        &["--openclaw-upstream", "wss://x"],
    );
    assert!(refused.stderr.contains("it must be `ws://`"), "{refused:?}");
}
