//! Commands that pair, approve and exchange, as people type them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::device::Device;
use crate::support::{Install, Machine, Request};

#[test]
fn a_request_is_named_by_its_id_its_code_or_the_beginning_of_either() {
    let install = Install::new();
    let host = &install.host;
    let asked: Vec<Value> = (1..=4)
        .map(|number| {
            let id = install.server.ask(&Device::new(number), "operator.read");
            host.run(&["devices", "show", &id, "--json"]).json()
        })
        .collect();
    let text = |index: usize, name: &str| asked[index][name].as_str().unwrap().to_owned();
    let code = text(1, "user_code");
    let spoken = text(2, "user_code").replace('-', "").to_lowercase();
    let last = text(3, "id");
    let prefix = beginning(&last, 35).to_owned();
    // All ids of one minute begin alike.
    let ambiguous = host.run(&["devices", "approve", beginning(&last, 4), "--json"]);
    assert_eq!(ambiguous.outcome(), "2 usage");
    for (index, name) in [text(0, "id"), code, spoken, prefix].iter().enumerate() {
        let approval = host.run(&["devices", "approve", name, "--json"]).json();
        assert_eq!(approval["id"], text(index, "id"));
    }
    let device = text(0, "device_id");
    for name in [device.as_str(), beginning(&device, 12)] {
        let shown = host.run(&["devices", "show", name, "--json"]).json();
        assert_eq!(shown["device_id"], device);
        assert_eq!(shown["status"], "active");
    }
    let revoke = [
        "devices",
        "revoke",
        beginning(&device, 12),
        "--yes",
        "--json",
    ];
    assert_eq!(host.run(&revoke).json()["device_ids"], json!([device]));
    let all = host.run(&["devices", "list", "--json"]).json();
    assert_eq!(all["devices"].as_array().unwrap().len(), 4);
    let all = host.run(&["devices", "list", "--all", "--json"]).json();
    assert_eq!(all["devices"].as_array().unwrap().len(), 5);
}

fn beginning(id: &str, length: usize) -> &str {
    id.split_at(length).0
}

#[test]
fn approving_narrows_names_and_dates() {
    let install = Install::new();
    let device = Device::new(1);
    let id = install.server.ask(&device, "operator.read operator.write");
    let approve = [
        "devices",
        "approve",
        &id,
        "--json",
        "--scopes",
        "operator.read",
    ];
    let more = ["--expires", "30d", "--name", "kitchen"];
    let approval = install
        .host
        .run(&[approve.as_slice(), &more].concat())
        .json();
    assert_eq!(approval["scopes"], json!(["operator.read"]));
    assert!(approval["expires_at"].is_string());
    let shown = [
        "devices",
        "show",
        approval["device_id"].as_str().unwrap(),
        "--json",
    ];
    assert_eq!(install.host.run(&shown).json()["name"], "kitchen");
    let paired = install.server.fetch(device, &id);
    let inspected = install
        .host
        .run_fed(&paired.grant, &["token", "inspect", "-", "--json"]);
    let inspected = inspected.json();
    assert_eq!(inspected["kind"], "grant");
    assert_eq!(inspected["scopes"], json!(["operator.read"]));
    assert_eq!(inspected["expires_at"], approval["expires_at"]);
    assert_eq!(inspected["lineage"].as_array().unwrap().len(), 2);
}

#[test]
fn whoever_holds_everything_says_what_the_token_is_to_have() {
    let install = Install::new();
    let host = &install.host;
    let root = format!("@{}", host.file("root", &install.root));
    for credential in [&[][..], &["--token", &root]] {
        let exchange = [&["token", "exchange"], credential].concat();
        let refused = host.run(&[exchange.as_slice(), &["--json"]].concat());
        assert_eq!(refused.outcome(), "2 usage");
        assert!(refused.stderr.contains("--scopes"), "{refused:?}");
        let token = host.run(&[exchange.as_slice(), &["--scopes", "operator.read"]].concat());
        let token = token.ok().strip_suffix('\n').unwrap();
        assert!(
            !token.contains(char::is_whitespace),
            "the bare token and nothing else"
        );
        let whoami = Request::get("/.hardtack/whoami");
        let whoami = install.server.through(token, whoami).expect(200);
        assert_eq!(whoami["scopes"], json!(["operator.read"]));
    }
}

#[test]
fn a_profile_exchanges_what_it_has() {
    let install = Install::new();
    let elsewhere = Machine::new();
    let url = ["--url", install.server.url.as_str()];
    let pair = ["pair", "--scopes", "operator.write", "--no-wait", "--json"];
    let asked = elsewhere.run(&[pair.as_slice(), &url].concat()).json();
    install
        .host
        .run(&["devices", "approve", asked["user_code"].as_str().unwrap()])
        .ok();
    // The profile knows where it belongs.
    let paired = elsewhere.run(&["pair", "--no-wait", "--json"]).json();
    assert_eq!(paired["status"], "approved");
    assert_eq!(paired["scopes"], json!(["operator.write"]));
    for (args, kind, scope) in [
        (&[][..], "Bearer", "operator.write"),
        (&["--scopes", "operator.read"], "Bearer", "operator.read"),
        (&["--dpop", "--ttl", "60s"], "DPoP", "operator.write"),
        (
            &["--audience", "https://gw.example"],
            "Bearer",
            "operator.write",
        ),
    ] {
        let answer = elsewhere
            .run(&[&["token", "exchange", "--json"], args].concat())
            .json();
        assert_eq!(
            (&answer["token_type"], &answer["scope"]),
            (&json!(kind), &json!(scope))
        );
        let life = if args.contains(&"60s") { 60 } else { 900 };
        assert_eq!(answer["expires_in"], life);
    }
    let refused = elsewhere.run(&["token", "exchange", "--scopes", "operator.admin", "--json"]);
    assert_eq!(refused.outcome(), "7 invalid_scope");
}

/// `pair` waits through the end of its request, asks again, and takes the answer.
#[test]
fn pair_waits_for_the_approval() {
    let install = Install::with(&["--request-ttl", "4s"]);
    let elsewhere = Machine::new();
    let url = install.server.url.as_str();
    let args = ["pair", "--scopes", "operator.read", "--json", "--url", url];
    let mut child = elsewhere
        .command(&args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut documents =
        lines.map(|line| -> Value { serde_json::from_str(&line.unwrap()).unwrap() });
    let first = documents.next().unwrap();
    let mut keys: Vec<&String> = first.as_object().unwrap().keys().collect();
    keys.sort();
    let expected = [
        "approve",
        "device_id",
        "expires_at",
        "id",
        "scopes",
        "status",
        "user_code",
    ];
    assert_eq!(keys, expected);
    assert_eq!(
        first["approve"],
        format!("hardtack devices approve {}", first["id"].as_str().unwrap())
    );

    let second = documents.next().unwrap();
    assert_eq!(second["status"], "pending");
    assert_ne!(second["id"], first["id"]);
    assert_eq!(second["device_id"], first["device_id"]);
    let old = install.host.run(&[
        "devices",
        "approve",
        first["id"].as_str().unwrap(),
        "--json",
    ]);
    assert_eq!(old.outcome(), "4 expired");
    let approval = install.host.run(&[
        "devices",
        "approve",
        second["id"].as_str().unwrap(),
        "--json",
    ]);
    let approval = approval.json();

    let last = documents.next().unwrap();
    let expected = json!({
        "id": second["id"], "status": "approved", "grant_id": approval["grant_id"],
        "scopes": ["operator.read"], "profile": "default",
    });
    assert_eq!(last, expected);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_rejected_device_is_told_so() {
    let install = Install::new();
    let pair = ["pair", "--scopes", "operator.read", "--json"];
    let asked = install
        .host
        .run(&[pair.as_slice(), &["--no-wait"]].concat())
        .json();
    let reject = [
        "devices",
        "reject",
        asked["user_code"].as_str().unwrap(),
        "--reason",
        "who?",
    ];
    install.host.run(&reject).ok();
    // It goes on where it was.
    let refused = install.host.run(&["pair", "--json"]);
    let last: Value = serde_json::from_str(refused.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(
        (refused.code, &last["code"]),
        (3, &json!("rejected")),
        "{refused:?}"
    );
    assert!(last["detail"].as_str().unwrap().contains("who?"));
}

#[test]
fn a_server_that_is_told_to_stop_ends_well() {
    let install = Install::new();
    let (pid, url) = (install.server.pid(), install.server.url.clone());
    let ended = install.server.stop();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let whoami = install.host.run(&["whoami", "--json", "--url", &url]);
    assert_eq!(whoami.outcome(), "5 unreachable");
}
