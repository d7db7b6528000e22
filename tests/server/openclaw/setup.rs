//! Setup codes: invites in the form that OpenClaw's clients take, and how a
//! device is let in by one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Door;
use super::client::{Client, Hello, Refused};
use crate::device::Device;
use crate::support::relay::AFAR;

const INVALID: &str = "unauthorized: setup code invalid, expired, revoked, or already used";
const WRONG: &str = "BCDF-BCDF-BCDF-BCDF-BCDF";

/// What is in a setup code.
fn read(code: &Value) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(code.as_str().unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

impl Door {
    /// The local device on a connection: it holds all.
    fn host(&self) -> Client {
        let local = self.install.local().device;
        Hello::of(&local).connect(&self.url).welcome()
    }

    /// What a device brings by a setup code that was made with these parameters.
    fn code(&self, params: &Value) -> String {
        let made = self.host().ok("device.pair.setupCode", params);
        read(&made["setupCode"])["bootstrapToken"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The same by `hardtack devices invite`.
    fn invited(&self, args: &[&str]) -> Value {
        let args = [&["devices", "invite", "--json"], args].concat();
        self.install.host.run(&args).json()
    }

    fn brings(&self, number: u64, code: &str, scopes: &[&str]) -> super::client::Outcome {
        let device = Device::new(number);
        let hello = Hello::of(&device).scopes(scopes).bringing(code);
        hello.connect(&self.url)
    }
}

fn is_invalid(refused: &Refused, why: &str) {
    assert_eq!(refused.error["code"], "INVALID_REQUEST", "{refused:?}");
    assert_eq!(refused.code(), "AUTH_BOOTSTRAP_TOKEN_INVALID");
    assert_eq!(refused.error["message"], INVALID);
    assert_eq!(refused.close, (1008, INVALID.to_owned()));
    let details = &refused.error["details"];
    assert_eq!(details["recommendedNextStep"], "review_auth_configuration");
    assert_eq!(details["canRetryWithDeviceToken"], false);
    let said = details["why"].as_str().unwrap();
    assert!(said.contains(why), "{said}");
}

#[test]
fn an_invite_lets_any_client_in_at_once_with_all_that_it_promises() {
    let door = Door::new();
    let invite = door.invited(&[
        "--scopes",
        "operator.read,operator.pairing",
        "--name",
        "desk",
    ]);
    let code = invite["code"].as_str().unwrap();
    // The connection asks for a part, as each command of the command line does.
    let mut client = door.brings(1, code, &["operator.read"]).welcome();
    let auth = &client.hello["auth"];
    assert_eq!(auth["method"], "bootstrap-token");
    assert_eq!(
        auth["scopes"],
        json!(["operator.read", "operator.sessions.read"])
    );
    assert!(auth.get("deviceTokens").is_none(), "{auth}");
    client.ok("sessions.list", &json!({}));
    // The grant is whole, and the key alone opens the door from now on.
    let device = Device::new(1);
    let mut again = door.comes(&device, &["operator.pairing"]);
    let listed = again.ok("device.pair.list", &json!({}));
    let own = listed["paired"].as_array().unwrap().iter();
    let own: Vec<_> = own
        .filter(|d| d["deviceId"] == *device.id().to_string())
        .collect();
    assert_eq!(own[0]["displayName"], "desk");
    assert_eq!(
        own[0]["scopes"],
        json!(["operator.pairing", "operator.read"])
    );
    assert_eq!(listed["pending"], json!([]));
    let listed = door
        .install
        .host
        .run(&["devices", "invites", "--json"])
        .json();
    assert_eq!(listed["invites"][0]["status"], "used");
    // Nothing of it is left for another, and the same device is in with it too.
    let other = door.brings(2, code, &["operator.read"]).refused();
    is_invalid(&other, "used already");
    let same = door.brings(1, code, &["operator.read"]).welcome();
    assert_eq!(same.device_token(), client.device_token());
}

#[test]
fn a_setup_code_has_the_shape_of_the_protocol_and_is_an_invite() {
    let door = Door::with(&["--openclaw-url", "https://Claw.Example/gw/"]);
    let mut host = door.host();
    let params =
        json!({"bootstrapProfile": "limited", "includeQr": false, "preferRemoteUrl": true});
    let made = host.ok("device.pair.setupCode", &params);
    assert_eq!(made["gatewayUrl"], "wss://claw.example/gw");
    assert_eq!(
        (&made["auth"], &made["access"]),
        (&json!("token"), &json!("limited"))
    );
    assert_eq!(made["urlSource"], "openclaw-url");
    assert_eq!(made["roles"], json!(["operator", "node"]));
    let code = read(&made["setupCode"]);
    assert_eq!(code["url"], made["gatewayUrl"]);
    assert_eq!(code["expiresAtMs"], made["expiresAtMs"]);
    assert_eq!(code.as_object().unwrap().len(), 3, "{code}");
    let listed = door
        .install
        .host
        .run(&["devices", "invites", "--json"])
        .json();
    // Two of one millisecond are in any order.
    let listed = listed["invites"].as_array().unwrap();
    let made_ids = made["inviteIds"].as_array().unwrap();
    assert_eq!((listed.len(), made_ids.len()), (2, 2));
    assert!(listed.iter().all(|invite| made_ids.contains(&invite["id"])));
    let operator = listed.iter().find(|invite| invite["role"] == "operator");
    assert_eq!(made["setupId"], operator.unwrap()["id"]);
    // Whose URL it is, and what is given where it can be read on the way.
    let plain = json!({"publicUrl": "ws://10.0.0.2:18789"});
    let made = host.ok("device.pair.setupCode", &plain);
    assert_eq!(
        (&made["access"], &made["accessDowngraded"]),
        (&json!("limited"), &json!(true))
    );
    assert_eq!(made["urlSource"], "request.publicUrl");
    let full = host.ok("device.pair.setupCode", &json!(null));
    assert_eq!(full["access"], "full");
    assert!(full.get("accessDowngraded").is_none());
    let node = host.ok(
        "device.pair.setupCode",
        &json!({"bootstrapProfile": "node"}),
    );
    assert_eq!(
        (&node["access"], &node["roles"]),
        (&json!("node"), &json!(["node"]))
    );
    let voice = host.ok(
        "device.pair.setupCode",
        &json!({"bootstrapProfile": "voice-node"}),
    );
    assert_eq!(voice["scopes"], json!(["operator.read", "operator.talk"]));
}

#[test]
fn a_setup_code_gives_scopes_and_a_life_of_any_size() {
    let door = Door::new();
    let mut host = door.host();
    let wanted = json!({"scopes": ["operator.read"], "ttlMs": 60_000, "name": "bench"});
    let made = host.ok("device.pair.setupCode", &wanted);
    assert_eq!(made["scopes"], json!(["operator.read"]));
    let ends = made["expiresAtMs"].as_u64().unwrap();
    let now = crate::support::people::now().unix() * 1000;
    assert!(ends > now && ends <= now + 61_000, "{ends} {now}");
    assert_eq!(read(&made["setupCode"])["url"], door.url);
    for (params, says) in [
        (json!({"joinUrl": true}), "join URLs are not served"),
        (json!({"publicUrl": "nowhere"}), "publicUrl: "),
        (
            json!({"bootstrapProfile": "owner"}),
            "unknown bootstrapProfile `owner`",
        ),
        (
            json!({"bootstrapProfile": "node", "role": "node"}),
            "not both",
        ),
        (json!({"role": "No Role"}), "invalid role"),
        (json!({"scopes": ["no.such"]}), "`no.such`"),
        (json!({"scopes": []}), "scope"),
        (
            json!({"scopes": ["operator.read"], "ttlMs": 0}),
            "expires_in",
        ),
        (
            json!({"scopes": ["operator.read"], "name": "x".repeat(500)}),
            "name",
        ),
        (
            json!({"scopes": "operator.read"}),
            "invalid device.pair.setupCode params",
        ),
    ] {
        let error = host.err("device.pair.setupCode", &params);
        assert_eq!(error["code"], "INVALID_REQUEST", "{params}: {error}");
        assert!(
            error["message"].as_str().unwrap().contains(says),
            "{params}: {error}"
        );
    }
}

#[test]
fn nobody_makes_a_code_for_more_than_they_hold() {
    let door = Door::new();
    let (_, mut pairer) = door.paired(1, &["operator.pairing", "operator.read"]);
    let error = pairer.err("device.pair.setupCode", &json!({}));
    assert_eq!(error["details"]["code"], "MISSING_SCOPE", "{error}");
    let missing = error["details"]["missingScopes"].as_array().unwrap();
    assert!(missing.contains(&json!("operator.admin")), "{error}");
    // Whoever may not give a node's role is told what it may.
    let error = pairer.err(
        "device.pair.setupCode",
        &json!({"bootstrapProfile": "node"}),
    );
    assert_eq!(error["details"]["missingScope"], "node.connect");
    let own = json!({"scopes": ["operator.read"]});
    pairer.ok("device.pair.setupCode", &own);
    let (_, mut admin) = door.paired(2, &["operator.admin"]);
    let made = admin.ok("device.pair.setupCode", &json!({}));
    assert_eq!(made["roles"], json!(["operator"]));
    let (_, mut reader) = door.paired(3, &["operator.read"]);
    for method in ["device.pair.setupCode", "device.pair.setupStatus"] {
        let params = json!({"scopes": ["operator.read"], "setupId": "x"});
        let error = reader.err(method, &params);
        assert_eq!(
            error["details"]["missingScope"], "operator.pairing",
            "{method}"
        );
    }
    // A token makes no authority, whatever it gives.
    let worker = door.install.pair(7, "operator.pairing operator.read");
    let token = door.install.server.token(&worker);
    let mut bare = Hello::new().token(&token).connect(&door.url).welcome();
    let error = bare.err("device.pair.setupCode", &own);
    assert_eq!(error["details"]["code"], "GRANT_REQUIRED");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("hardtack devices invite")
    );
}

#[test]
fn an_app_gets_both_its_roles_by_one_code_and_nobody_else_a_part_of_it() {
    let door = Door::new();
    let code = door.code(&json!({"bootstrapProfile": "limited"}));
    let phone = Device::new(1);
    let as_node = || {
        let hello = Hello::of(&phone).role("node").scopes(&[]);
        hello
            .set("/client/mode", "node")
            .set("/client/id", "openclaw-android")
    };
    let client = as_node().bringing(&code).connect(&door.url).welcome();
    let auth = &client.hello["auth"];
    assert_eq!(
        (&auth["role"], &auth["method"]),
        (&json!("node"), &json!("bootstrap-token"))
    );
    let [handed] = auth["deviceTokens"].as_array().unwrap().as_slice() else {
        panic!("{auth}")
    };
    assert_eq!(handed["role"], "operator");
    assert!(handed["issuedAtMs"].as_u64().unwrap() > 1_700_000_000_000);
    // The operator's token is the one that its own connection gets.
    let operator = Hello::of(&phone).scopes(&["operator.write"]);
    let token = handed["deviceToken"].as_str().unwrap();
    let operator = operator.token(token).connect(&door.url).welcome();
    assert_eq!(operator.device_token(), token);
    // After a lost answer the same code gives the same again.
    let again = as_node().bringing(&code).connect(&door.url).welcome();
    assert_eq!(again.hello["auth"]["deviceTokens"][0]["deviceToken"], token);
    let parts: Vec<&str> = code.split('.').collect();
    for part in [parts[0], parts[1], code.as_str()] {
        is_invalid(&door.brings(2, part, &[]).refused(), "used already");
    }
    // A new invite in one text with a spent one of another is not spent with it.
    let fresh = door.invited(&["--role", "node"]);
    let fresh = fresh["code"].as_str().unwrap();
    let mixed = format!("{}.{fresh}", parts[0]);
    is_invalid(&door.brings(3, &mixed, &[]).refused(), "used already");
    let node = Device::new(4);
    let node = Hello::of(&node).role("node").scopes(&[]).bringing(fresh);
    node.connect(&door.url).welcome();
}

#[test]
fn what_gives_nothing_is_refused_in_the_words_of_the_protocol() {
    let door = Door::new();
    let taken = door.invited(&["--scopes", "operator.read"]);
    let id = taken["id"].as_str().unwrap();
    door.install.host.run(&["devices", "uninvite", id]).ok();
    let operator = door.invited(&["--scopes", "operator.read"]);
    let operator = operator["code"].as_str().unwrap();
    for (code, why) in [
        (WRONG, "no invite with this code"),
        ("not a code", "no invite with this code"),
        (taken["code"].as_str().unwrap(), "taken back"),
        (&format!("{operator}.{operator}"), "not for the role"),
        (&format!("{operator}.{WRONG}"), "no invite with this code"),
        (
            &format!("{operator}.{operator}.{operator}"),
            "no invite with this code",
        ),
    ] {
        is_invalid(&door.brings(1, code, &["operator.read"]).refused(), why);
    }
    let as_node = Device::new(1);
    let as_node = Hello::of(&as_node)
        .role("node")
        .scopes(&[])
        .bringing(operator);
    is_invalid(
        &as_node.connect(&door.url).refused(),
        "not for the role `node`",
    );
    let wide = door
        .brings(1, operator, &["operator.read", "operator.write"])
        .refused();
    assert_eq!(wide.code(), "AUTH_SCOPE_MISMATCH");
    let message = "unauthorized: setup code scope mismatch";
    assert_eq!(wide.close, (1008, message.to_owned()));
    assert!(
        wide.error["details"]["why"]
            .as_str()
            .unwrap()
            .contains("operator.write")
    );
    // Without a key there is nobody to pair.
    let bare = Hello::new().bringing(operator).connect(&door.url).refused();
    assert_eq!(bare.code(), "DEVICE_IDENTITY_REQUIRED");
    // What was refused was not spent, nor is anything left to approve.
    let mut client = door.brings(2, operator, &[]).welcome();
    client.ok("sessions.list", &json!({}));
    let listed = door.install.host.run(&["devices", "list", "--json"]).json();
    assert_eq!(listed["pending"], json!([]));
}

#[test]
fn an_expired_code_and_one_of_a_device_that_is_gone_give_nothing() {
    let door = Door::new();
    let (issuer, mut on_issuer) = door.paired(1, &["operator.pairing", "operator.read"]);
    let made = on_issuer.ok(
        "device.pair.setupCode",
        &json!({"scopes": ["operator.read"]}),
    );
    let code = read(&made["setupCode"])["bootstrapToken"]
        .as_str()
        .unwrap()
        .to_owned();
    let id = issuer.id().to_string();
    door.install
        .host
        .run(&["devices", "revoke", &id, "--yes"])
        .ok();
    is_invalid(&door.brings(2, &code, &[]).refused(), "worth nothing");
    let short = door.code(&json!({"scopes": ["operator.read"], "ttlMs": 1000}));
    let expired = crate::support::eventually("the end of a code", || {
        // Who asks too much spends nothing and counts as no guess.
        let refused = door.brings(3, &short, &["operator.write"]).refused();
        (refused.code() == "AUTH_BOOTSTRAP_TOKEN_INVALID").then_some(refused)
    });
    is_invalid(&expired, "expired");
}

#[test]
fn a_device_that_was_let_in_by_a_code_and_then_revoked_is_not_let_in_by_it_again() {
    let door = Door::new();
    let code = door.code(&json!({"scopes": ["operator.read"]}));
    let mut client = door.brings(1, &code, &[]).welcome();
    let id = Device::new(1).id().to_string();
    door.install
        .host
        .run(&["devices", "revoke", &id, "--yes"])
        .ok();
    assert_eq!(client.closed(), (4001, "device revoked".to_owned()));
    is_invalid(&door.brings(1, &code, &[]).refused(), "used already");
}

#[test]
fn a_proof_covers_what_is_brought() {
    let door = Door::new();
    let code = door.code(&json!({"scopes": ["operator.read"]}));
    let device = Device::new(1);
    let hello = Hello::of(&device)
        .scopes(&["operator.read"])
        .bringing(WRONG);
    let mut params = Client::open(&door.url);
    let challenge = params.frame();
    let mut signed = hello.signed(&challenge["payload"]);
    signed["auth"]["bootstrapToken"] = json!(code);
    let error = params.err("connect", &signed);
    assert_eq!(error["details"]["code"], "DEVICE_AUTH_SIGNATURE_INVALID");
    door.brings(2, &code, &[]).welcome();
}

#[test]
fn wrong_codes_lock_an_address_out_and_a_paired_device_comes_in_all_the_same() {
    let door = Door::with(&["--trusted-proxy", "127.0.0.1/32"]);
    let code = door.code(&json!({"scopes": ["operator.read"]}));
    let (paired, _client) = door.paired(1, &["operator.read"]);
    let from = |device: &Device, code: &str| {
        let hello = Hello::of(device).scopes(&["operator.read"]).bringing(code);
        hello.from(AFAR).connect(&door.url)
    };
    let stranger = Device::new(2);
    for _ in 0..10 {
        is_invalid(&from(&stranger, WRONG).refused(), "no invite");
    }
    for code in [WRONG, &code] {
        let locked = from(&stranger, code).refused();
        assert_eq!(locked.code(), "AUTH_RATE_LIMITED", "{locked:?}");
        assert!(locked.error["retryAfterMs"].as_u64().unwrap() > 0);
        assert_eq!(locked.close.0, 1008);
    }
    from(&paired, WRONG).welcome();
    // Another address is not punished, and the code is open still.
    let hello = Hello::of(&stranger)
        .scopes(&["operator.read"])
        .bringing(&code);
    hello.connect(&door.url).welcome();
}

#[test]
fn this_machine_guesses_no_faster() {
    let door = Door::new();
    for _ in 0..10 {
        is_invalid(&door.brings(1, WRONG, &[]).refused(), "no invite");
    }
    assert_eq!(
        door.brings(1, WRONG, &[]).refused().code(),
        "AUTH_RATE_LIMITED"
    );
}

#[test]
fn operators_are_told_when_a_code_was_used_and_can_ask() {
    let door = Door::new();
    let (_, mut reader) = door.paired(1, &["operator.read"]);
    let mut host = door.host();
    let wanted = json!({"scopes": ["operator.read"], "name": "bench"});
    let made = host.ok("device.pair.setupCode", &wanted);
    let status = json!({"setupId": made["setupId"]});
    assert_eq!(host.ok("device.pair.setupStatus", &status), json!({}));
    let code = read(&made["setupCode"])["bootstrapToken"]
        .as_str()
        .unwrap()
        .to_owned();
    let device = Device::new(2);
    door.brings(2, &code, &[]).welcome();
    let told = host.event("device.pair.setup.completed");
    assert_eq!(told["setupId"], made["setupId"]);
    assert_eq!(told["deviceId"], *device.id().to_string());
    assert_eq!(
        (&told["deviceName"], &told["access"]),
        (&json!("bench"), &json!("limited"))
    );
    host.event("device.pair.changed");
    let status = host.ok("device.pair.setupStatus", &status);
    assert_eq!(status["completion"]["deviceId"], told["deviceId"]);
    assert_eq!(status["completion"]["setupId"], made["setupId"]);
    for id in ["x", "00000000-0000-7000-8000-000000000000"] {
        assert_eq!(
            host.ok("device.pair.setupStatus", &json!({"setupId": id})),
            json!({})
        );
    }
    let id = reader.begin("health", &json!({}));
    assert_eq!(reader.frame()["id"], *id);
}

#[test]
fn the_command_line_prints_an_invite_as_a_setup_code() {
    let door = Door::new();
    let args = ["--role", "node", "--openclaw-url", "wss://claw.example/"];
    let invite = door.invited(&args);
    let code = read(&invite["setup_code"]);
    assert_eq!(code["url"], "wss://claw.example");
    assert_eq!(code["bootstrapToken"], invite["code"]);
    let shown = door
        .install
        .host
        .run(&[&["devices", "invite"], &args[..]].concat());
    assert!(shown.stdout.contains("openclaw connect "), "{shown:?}");
    let refused = door
        .install
        .host
        .run(&["devices", "invite", "--openclaw-url", "claw"]);
    assert_eq!(refused.code, 2, "{refused:?}");
}
