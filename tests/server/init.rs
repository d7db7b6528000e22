//! `hardtack init`: the install without a server.

use crate::support::{Install, Machine, Server};

#[test]
fn init_shows_the_root_token_and_serve_then_does_not() {
    let machine = Machine::new();
    let shown = machine.run(&["init"]);
    let tokens = shown.ok().matches("HARDTACK_ROOT_TOKEN=").count();
    assert_eq!(tokens, 1, "{shown:?}");
    assert_eq!(shown.stderr, "");
    let server = Server::start(&machine, &[]);
    assert_eq!(server.root, None);
    assert_eq!(
        machine.run(&["whoami", "--json"]).json()["credential"],
        "local_device"
    );
    assert_eq!(
        machine
            .run_fed(&shown.stdout, &["whoami", "--token", "-"])
            .code,
        3
    );
    let line = shown
        .stdout
        .lines()
        .find(|line| line.starts_with("HARDTACK"));
    let whoami = ["whoami", "--token", "-", "--json"];
    let root = machine.run_fed(line.unwrap(), &whoami).json();
    assert_eq!(root["credential"], "root");
}

#[test]
fn init_as_json_has_the_keys_of_the_contract() {
    let machine = Machine::new();
    let made = machine.run(&["init", "--json"]).json();
    let mut keys: Vec<&String> = made.as_object().unwrap().keys().collect();
    keys.sort();
    let expected = [
        "data_dir",
        "instance_id",
        "local_device",
        "root_key_id",
        "root_token",
    ];
    assert_eq!(keys, expected);
    assert_eq!(made["data_dir"], machine.data_dir().to_str().unwrap());
    assert_eq!(made["root_key_id"], 1);

    let server = Server::start(&machine, &[]);
    assert_eq!(server.root, None);
    let root = made["root_token"].as_str().unwrap();
    let whoami = machine
        .run_fed(root, &["whoami", "--token", "-", "--json"])
        .json();
    assert_eq!(whoami["instance_id"], made["instance_id"]);
    let local = machine.run(&["whoami", "--json"]).json();
    assert_eq!(local["device_id"], made["local_device"]["device_id"]);
    assert_eq!(local["grant_id"], made["local_device"]["grant_id"]);
}

#[test]
fn init_again_changes_nothing() {
    let machine = Machine::new();
    machine.run(&["init"]).ok();
    let again = machine.run(&["init", "--json"]);
    assert_eq!(again.outcome(), "4 already_initialized");
    let install = Install::new();
    let beside = install.host.run(&["init"]);
    assert_eq!((beside.code, beside.stdout.as_str()), (4, ""), "{beside:?}");
    assert!(
        beside.stderr.contains("next: hardtack root reset"),
        "{beside:?}"
    );
    assert_eq!(install.host.run(&["devices", "list"]).code, 0);
}
