//! `hardtack root reset`: whoever owns the data directory gets in again.

use std::fs::File;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::device::Device;
use crate::support::{Install, Paired, Request, Run, Server, eventually};

/// Runs `root reset` beside the running server, or while it is stopped.
fn reset(install: Install, running: bool, more: &[&str]) -> (Install, Value) {
    let args = [&["root", "reset", "--yes", "--json"], more].concat();
    if running {
        let reset = install.host.run(&args).json();
        return (install, reset);
    }
    let Install { server, root, host } = install;
    server.stop();
    let reset = host.run(&args).json();
    let server = Server::start(&host, &[]);
    assert_eq!(server.root, None);
    (Install { server, root, host }, reset)
}

/// Has a new request approved by root.
fn approve(install: &Install, root: &Value, number: u64) -> Run {
    let id = install.server.ask(&Device::new(number), "operator.read");
    let approve = ["devices", "approve", &id, "--token", "-", "--json"];
    install.host.run_fed(root.as_str().unwrap(), &approve)
}

fn at_the_gateway(install: &Install, token: &str) -> String {
    let whoami = Request::get("/.hardtack/whoami");
    install.server.through(token, whoami).outcome()
}

/// The devices that are listed by the local one, which thereby works.
fn active(install: &Install) -> Vec<String> {
    let listed = install.host.run(&["devices", "list", "--json"]).json();
    let devices = listed["devices"].as_array().unwrap().iter();
    devices
        .map(|d| d["device_id"].as_str().unwrap().to_owned())
        .collect()
}

fn ids(devices: &[&Paired]) -> Vec<String> {
    devices
        .iter()
        .map(|paired| paired.device.id().to_string())
        .collect()
}

#[test]
fn a_reset_replaces_the_root_token_and_nothing_else() {
    for running in [true, false] {
        let install = Install::new();
        let (local, paired) = (install.local(), install.pair(1, "operator.read"));
        let token = install.server.token(&paired);
        let old = json!(install.root);

        let (install, reset) = reset(install, running, &[]);
        // At once: nothing has to be waited for.
        assert_eq!(
            approve(&install, &reset["root_token"], 2).code,
            0,
            "{running}"
        );
        assert_eq!(approve(&install, &old, 3).outcome(), "3 wrong_root_token");
        let list = ["devices", "list", "--json", "--token", "-"];
        let listed = install.host.run_fed(old.as_str().unwrap(), &list);
        assert_eq!(listed.outcome(), "3 wrong_root_token");
        let listed = install
            .host
            .run_fed(reset["root_token"].as_str().unwrap(), &list);
        assert_eq!(listed.code, 0, "{listed:?}");
        assert_eq!(active(&install)[..2], ids(&[&local, &paired]));
        if running {
            assert_eq!(at_the_gateway(&install, &token), "200");
        }
        let again = install.server.token(&paired);
        assert_eq!(at_the_gateway(&install, &again), "200");

        let same = json!({"device_id": local.device.id().to_string(), "grant_id": local.grant_id});
        assert_eq!(reset["local_device"], same);
        assert_eq!(
            (&reset["root_key_id"], &reset["revoked"]),
            (&json!(2), &json!(0))
        );
        let audit = install.audit();
        let rows: Vec<_> = audit
            .iter()
            .filter(|row| row["action"] == "root.reset")
            .collect();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["actor"], json!({"kind": "host"}));
    }
}

#[test]
fn a_reset_that_revokes_all_leaves_a_local_device_that_works() {
    for running in [true, false] {
        let install = Install::new();
        let (local, paired) = (install.local(), install.pair(1, "operator.read"));
        let token = install.server.token(&paired);

        let (install, reset) = reset(install, running, &["--revoke-all"]);
        // At once, as before.
        assert_eq!(active(&install), ids(&[&local]), "{running}");
        assert_eq!(reset["revoked"], 2);
        assert_ne!(reset["local_device"]["grant_id"], *local.grant_id);
        assert_eq!(
            reset["local_device"]["device_id"],
            local.device.id().to_string()
        );
        assert_eq!(
            install.server.exchange(&paired, &[]).outcome(),
            "400 revoked"
        );
        if running {
            eventually("the gateway knows", || {
                (at_the_gateway(&install, &token) == "401 revoked").then_some(())
            });
        }
        assert_eq!(approve(&install, &reset["root_token"], 2).code, 0);
        // The device may ask again, and it is seen that it was revoked before.
        let id = install.server.ask(&paired.device, "operator.read");
        let shown = install.host.run(&["devices", "show", &id, "--json"]).json();
        assert_eq!(shown["previously_revoked"], true);
        install.host.run(&["devices", "approve", &id]).ok();
        let paired = install.server.fetch(paired.device, &id);
        assert_eq!(
            at_the_gateway(&install, &install.server.token(&paired)),
            "200"
        );
    }
}

#[test]
fn a_reset_brings_an_ended_local_device_back() {
    for (end, running) in [
        ("revoke", true),
        ("revoke", false),
        ("retire", true),
        ("retire", false),
    ] {
        let install = Install::new();
        let local = install.local();
        let id = local.device.id().to_string();
        install.host.run(&["devices", end, &id, "--yes"]).ok();
        let refused = install.host.run(&["devices", "list"]);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(
            refused.stderr.contains("hardtack root reset"),
            "{refused:?}"
        );

        let (install, reset) = reset(install, running, &[]);
        assert_eq!(active(&install), [id], "{end} {running}");
        assert_ne!(reset["local_device"]["grant_id"], *local.grant_id);
    }
}

#[test]
fn a_reset_is_confirmed_and_belongs_to_an_install() {
    let install = Install::new();
    let refused = install.host.run(&["root", "reset", "--json"]);
    assert_eq!(refused.outcome(), "2 usage");
    assert_eq!(approve(&install, &json!(install.root), 1).code, 0);
    let empty = crate::support::Machine::new();
    let refused = empty.run(&["root", "reset", "--yes", "--json"]);
    assert_eq!(refused.outcome(), "4 not_initialised");
    assert!(!empty.data_dir().exists());
}

#[test]
fn a_reset_that_cannot_print_leaves_the_token_to_the_next_start() {
    let install = Install::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = install.host.command(&["root", "reset", "--yes"]);
    let ended = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ended = Run::from(ended.wait_with_output().unwrap());
    assert_eq!(ended.code, 1, "{ended:?}");
    let old = json!(install.root);
    assert_eq!(approve(&install, &old, 1).code, 3);
    let Install { server, host, .. } = install;
    server.stop();
    let server = Server::start(&host, &[]);
    let root = server.root.clone().expect("a root token");
    let install = Install { server, root, host };
    assert_eq!(approve(&install, &json!(install.root), 2).code, 0);
    assert_eq!(approve(&install, &old, 3).code, 3);
}

#[test]
fn only_the_last_of_two_resets_counts() {
    let install = Install::new();
    let (install, first) = reset(install, true, &[]);
    let (install, second) = reset(install, true, &[]);
    assert_eq!(
        approve(&install, &first["root_token"], 1).outcome(),
        "3 wrong_root_token"
    );
    assert_eq!(approve(&install, &second["root_token"], 2).code, 0);
    let keys = install.server.send(&Request::get("/.well-known/hardtack"));
    let keys = keys.expect(200)["root_keys"].take();
    let states: Vec<_> = keys
        .as_array()
        .unwrap()
        .iter()
        .map(|k| &k["state"])
        .collect();
    assert_eq!(states, ["retiring", "retiring", "active"]);
}

#[test]
fn another_installs_root_token_is_worth_nothing_here() {
    let (install, other) = (Install::new(), Install::new());
    assert_eq!(
        approve(&install, &json!(other.root), 1).outcome(),
        "3 wrong_root_token"
    );
}
