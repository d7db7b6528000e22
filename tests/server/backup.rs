//! `hardtack backup` and `hardtack restore`: nothing that was revoked comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Install, Machine, Paired, Request, Run, Server};

const COPY: &str = "copy.db";

fn backup(host: &Machine) -> Value {
    host.run(&["backup", COPY, "--json"]).json()
}

fn restore(host: &Machine, more: &[&str]) -> Run {
    host.run(&[&["restore", COPY, "--yes", "--json"], more].concat())
}

fn revoke(install: &Install, paired: &Paired) {
    let path = format!("/v1/devices/{}/revoke", paired.device.id());
    let revoke = Request::post(path).json(&json!({}));
    install.server.call(&install.local(), &revoke).expect(200);
}

fn exchanged(server: &Server, paired: &Paired) -> String {
    server.exchange(paired, &[]).outcome()
}

fn stopped(install: Install) -> Machine {
    install.server.stop();
    install.host
}

#[test]
fn a_backup_is_made_with_and_without_a_server_and_is_whole() {
    let install = Install::new();
    let paired = install.pair(1, "operator.read");
    let made = backup(&install.host);
    let file = install.host.path(COPY);
    assert_eq!(made["bytes"], fs::metadata(&file).unwrap().len());
    let permissions = fs::metadata(&file).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);
    let exists = install.host.run(&["backup", COPY, "--json"]);
    assert_eq!(exists.outcome(), "2 usage");
    let last = install.audit().pop().unwrap();
    assert_eq!(last["action"], "backup.make");
    // Nothing is left beside the database.
    let names = fs::read_dir(install.host.data_dir()).unwrap();
    let names: Vec<_> = names.map(|f| f.unwrap().file_name()).collect();
    assert!(
        !names.iter().any(|n| n.to_str().unwrap().contains("backup")),
        "{names:?}"
    );

    let host = stopped(install);
    fs::remove_file(&file).unwrap();
    backup(&host);
    // On a new machine that has the secret and the backup.
    let other = Machine::new();
    fs::create_dir_all(other.data_dir()).unwrap();
    for (from, to) in [
        (
            host.data_dir().join("secret.key"),
            other.data_dir().join("secret.key"),
        ),
        (file, other.path(COPY)),
    ] {
        fs::copy(from, to).unwrap();
    }
    let restored = restore(&other, &[]).json();
    assert_eq!(restored["lost_rows"], Value::Null);
    let server = Server::start(&other, &[]);
    assert_eq!(server.root, None);
    let url = server.url.clone();
    // The device proves itself to the URL where the server is now.
    assert_eq!(exchanged(&server, &paired), "200", "{url}");
}

#[test]
fn a_restore_carries_over_what_ended_since() {
    let install = Install::new();
    let kept = install.pair(1, "operator.read");
    let revoked = install.pair(2, "operator.read");
    backup(&install.host);
    revoke(&install, &revoked);
    // Of this one the backup knows nothing; its token lives for minutes.
    let since = install.pair(3, "operator.read");
    let token = install.server.token(&since);
    revoke(&install, &since);
    let reset = install
        .host
        .run(&["root", "reset", "--yes", "--json"])
        .json();
    let old = install.root.clone();

    let running = restore(&install.host, &[]);
    assert_eq!(running.outcome(), "4 server_running");
    let host = stopped(install);
    let restored = restore(&host, &[]).json();
    assert_eq!(restored["ended"], 1);
    assert_eq!(restored["local_device_ended"], false);
    assert!(restored["lost_rows"].as_i64().unwrap() >= 5);

    let server = Server::start(&host, &[]);
    assert_eq!(exchanged(&server, &kept), "200");
    assert_eq!(exchanged(&server, &revoked), "400 revoked");
    assert_eq!(exchanged(&server, &since), "400 unknown_grant");
    let whoami = Request::get("/.hardtack/whoami");
    assert_eq!(server.through(&token, whoami).outcome(), "401 revoked");
    // The root token that was replaced since stays dead, its successor works.
    for (root, outcome) in [
        (json!(old), "3 wrong_root_token"),
        (reset["root_token"].clone(), "0"),
    ] {
        let list = ["devices", "list", "--json", "--token", "-"];
        let listed = host.run_fed(root.as_str().unwrap(), &list);
        assert_eq!(listed.outcome(), outcome);
    }
}

#[test]
fn a_service_token_that_the_backup_does_not_know_ends() {
    let install = Install::new();
    let issue = |name: &str| {
        let args = ["token", "issue", name, "--scopes", "operator.read"];
        install.host.run(&args).ok().trim().to_owned()
    };
    let known = issue("known");
    backup(&install.host);
    let unknown = issue("unknown");
    let host = stopped(install);
    restore(&host, &[]).ok();
    let server = Server::start(&host, &[]);
    let used = |token: &str| server.through(token, Request::get("/x")).outcome();
    // The gateway has another port now; that comes after all revocations.
    assert_eq!(used(&known), "403 wrong_audience");
    assert_eq!(used(&unknown), "401 revoked");
}

#[test]
fn a_local_device_that_was_revoked_since_is_said_to_be() {
    let install = Install::new();
    backup(&install.host);
    let local = install.local();
    revoke(&install, &local);
    let host = stopped(install);
    let restored = host.run(&["restore", COPY, "--yes"]);
    assert!(
        restored.ok().contains("hardtack root reset"),
        "{restored:?}"
    );
    host.run(&["root", "reset", "--yes"]).ok();
    let install = Server::start(&host, &[]);
    let listed = host.run(&["devices", "list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    install.stop();
}

#[test]
fn an_older_database_in_its_place_is_refused_until_it_is_accepted() {
    let install = Install::new();
    let paired = install.pair(1, "operator.read");
    backup(&install.host);
    revoke(&install, &paired);
    let host = stopped(install);
    for suffix in ["-wal", "-shm"] {
        let beside = host.data_dir().join(format!("hardtack.db{suffix}"));
        fs::remove_file(beside).ok();
    }
    fs::copy(host.path(COPY), host.data_dir().join("hardtack.db")).unwrap();

    let refused = Server::fail(&host, &[]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("hardtack restore"), "{refused:?}");
    let accepted = Server::start(&host, &["--accept-older-database"]);
    assert_eq!(exchanged(&accepted, &paired), "200");
    accepted.stop();
    let usual = Server::start(&host, &[]);
    assert_eq!(usual.root, None);
}

#[test]
fn a_backup_that_cannot_be_put_in_force_changes_nothing() {
    let install = Install::new();
    let paired = install.pair(1, "operator.read");
    let other = Install::new();
    backup(&other.host);
    fs::copy(other.host.path(COPY), install.host.path(COPY)).unwrap();
    let host = stopped(install);
    assert_eq!(restore(&host, &[]).code, 1);
    let copy = host.path(COPY);
    let whole = fs::read(&copy).unwrap();
    // A page in the middle that is gone is no less than an end that is.
    let mut hole = whole.clone();
    let middle = whole.len() / 2 / 4096 * 4096;
    hole[middle..middle + 4096].fill(0xff);
    for damaged in [b"no database", &whole[..whole.len() / 2], &hole] {
        fs::write(&copy, damaged).unwrap();
        assert_eq!(restore(&host, &[]).outcome(), "4 backup_damaged");
    }
    fs::remove_file(host.path(COPY)).unwrap();
    assert_eq!(restore(&host, &[]).outcome(), "2 usage");
    let names = fs::read_dir(host.data_dir()).unwrap();
    for name in names.map(|f| f.unwrap().file_name()) {
        assert!(!name.to_str().unwrap().contains("restoring"), "{name:?}");
    }
    let server = Server::start(&host, &[]);
    assert_eq!(exchanged(&server, &paired), "200");
}

#[test]
fn where_the_replaced_database_does_not_read_the_loss_is_agreed_to() {
    let install = Install::new();
    backup(&install.host);
    let host = stopped(install);
    fs::write(host.data_dir().join("hardtack.db"), "scrambled").unwrap();
    let refused = restore(&host, &[]);
    assert_eq!(refused.outcome(), "4 database_unreadable");
    let restored = restore(&host, &["--lose-revocations"]).json();
    assert_eq!(restored["lost_rows"], Value::Null);
    Server::start(&host, &[]).stop();
    restore(&host, &[]).json();
    // What was there is kept aside, each time.
    let aside = host.data_dir().join("hardtack.db.replaced");
    assert_eq!(fs::read_to_string(aside).unwrap(), "scrambled");
    assert!(host.data_dir().join("hardtack.db.replaced-2").exists());
}

/// Whoever reads the feed goes on where it stopped, whatever was lost meanwhile.
#[test]
fn no_position_of_the_feed_is_given_twice_by_a_restore() {
    let install = Install::new();
    let devices: Vec<_> = (1..=4).map(|n| install.pair(n, "operator.read")).collect();
    backup(&install.host);
    let read = |server: &Server, after: &str| {
        let path = format!("/v1/revocations?after={after}");
        server.send(&Request::get(path)).expect(200)
    };
    for device in &devices[..3] {
        revoke(&install, device);
    }
    let known = read(&install.server, "0")["position"].clone();
    let host = stopped(install);
    fs::write(host.data_dir().join("hardtack.db"), "scrambled").unwrap();
    restore(&host, &["--lose-revocations"]).json();
    let server = Server::start(&host, &[]);
    let id = devices[3].device.id().to_string();
    host.run(&["devices", "revoke", &id, "--yes"]).ok();
    let page = read(&server, known.as_str().unwrap());
    assert_eq!(page["items"][0]["id"], json!(devices[3].grant_id));
}

#[test]
fn a_backup_takes_authority_to_make() {
    let install = Install::new();
    let reader = install.pair(1, "operator.read");
    let admin = install.pair(2, "operator.admin");
    let ask = Request::post("/v1/backup");
    let refused = install.server.call(&reader, &ask);
    assert_eq!(refused.outcome(), "403 insufficient_scope");
    let copy = install.server.call(&admin, &ask);
    assert_eq!(
        (copy.status, &copy.body[..15]),
        (200, &b"SQLite format 3"[..])
    );
}
