//! The first start: one root token, shown once, and kept nowhere.

use std::os::unix::fs::PermissionsExt;

use hardtack::authority::secrets::open_root;
use hardtack_token::{RootToken, TokenText};
use serde_json::{Value, json};

use crate::device::Device;
use crate::support::disk::{Secret, block_on};
use crate::support::people::ROOT;
use crate::support::{Install, Machine, Request, Server};

const LINE: &str = "HARDTACK_ROOT_TOKEN=";

/// Whether the root token of an install approves a request.
pub(crate) fn approves(server: &Server, root: &str) -> bool {
    let device = Device::new(rand::random());
    let id = server.ask(&device, "operator.read");
    let path = format!("/v1/pairing-requests/{id}/approve");
    server.send(&Request::post(path).bearer(root)).status == 200
}

/// All that must be nowhere but where it was sent to.
fn secrets(install: &Install) -> Vec<(&'static str, Secret)> {
    let server = &install.server;
    let paired = install.pair(1, "operator.read");
    let access = server.token(&paired);
    let scope = [("scope", "operator.admin")];
    let by_root = server.exchange_of(&install.root, ROOT, &scope).expect(200);
    let by_root = by_root["access_token"].as_str().unwrap();
    assert!(approves(server, &install.root));
    vec![
        ("the root token", Secret::token(&install.root)),
        ("a grant", Secret::token(&paired.grant)),
        ("an access token", Secret::token(&access)),
        ("an access token by root", Secret::token(by_root)),
        ("the local grant", Secret::token(&install.local().grant)),
        ("the root key", Secret::bytes(&root_key(install))),
        ("the online secret", online_secret(install)),
    ]
}

/// The root private key, which only the root token opens.
pub(crate) fn root_key(install: &Install) -> Vec<u8> {
    let token = TokenText::new(install.root.as_str()).unwrap();
    let token = RootToken::read(&token).unwrap();
    block_on(async {
        let mut tx = install.host.store().await.read().await.unwrap();
        let rows = tx.root_keys().await.unwrap();
        let row = rows.iter().find(|row| row.id == token.id()).unwrap();
        let sealed = row.sealed.as_ref().unwrap();
        let key = open_root(&token, &row.public_key, sealed).unwrap();
        assert_eq!(key.public().unwrap(), row.public_key);
        key.secret().to_vec()
    })
}

fn online_secret(install: &Install) -> Secret {
    let text = std::fs::read_to_string(install.host.data_dir().join("secret.key")).unwrap();
    Secret::bytes(&hex::decode(text.trim()).unwrap())
}

#[test]
fn the_root_token_is_shown_once_and_on_standard_output() {
    let install = Install::with(&["--log-level", "trace"]);
    assert!(approves(&install.server, &install.root));
    let ended = install.server.stop();
    assert_eq!(ended.code, 0);
    let lines = ended.stdout.lines();
    let shown: Vec<&str> = lines.filter(|line| line.starts_with(LINE)).collect();
    assert_eq!(shown, [format!("{LINE}{}", install.root)]);
    assert_eq!(ended.stdout.matches(&install.root).count(), 1);
    assert!(!ended.stderr.contains(&install.root));
}

#[test]
fn the_log_holds_no_secret_however_much_is_logged() {
    for format in ["text", "json"] {
        let install = Install::with(&["--log-level", "trace", "--log-format", format]);
        let secrets = secrets(&install);
        let ended = install.server.stop();
        assert!(ended.stderr.contains("/oauth/token"), "{}", ended.stderr);
        for (what, secret) in secrets {
            assert!(!secret.is_in(ended.stderr.as_bytes()), "{what} in {format}");
        }
    }
}

#[test]
fn the_data_directory_holds_no_secret_in_clear() {
    let install = Install::new();
    let secrets = secrets(&install);
    let running = (install.host.files(), install.host.tables());
    // What is there is found.
    let local = Secret::bytes(install.local().device.id().as_bytes());
    assert!(local.is_in(running.1.as_bytes()));
    assert!(running.0.iter().any(|(_, bytes)| local.is_in(bytes)));
    let names: Vec<&str> = running.0.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"hardtack.db-wal"), "{names:?}");
    assert!(running.1.contains("root_key"), "{}", running.1);
    install.server.stop();
    let stopped = (install.host.files(), install.host.tables());
    for (files, tables) in [running, stopped] {
        for (what, secret) in &secrets {
            assert!(!secret.is_in(tables.as_bytes()), "{what} in a table");
            for (name, bytes) in &files {
                // The one file that is there for it.
                let own = (*what, name.as_str()) == ("the online secret", "secret.key");
                assert_eq!(secret.is_in(bytes), own, "{what} in {name}");
            }
        }
    }
}

#[test]
fn a_second_start_shows_no_root_token_and_the_first_one_is_good() {
    let install = Install::new();
    install.server.stop();
    let again = Server::start(&install.host, &[]);
    assert_eq!(again.root, None);
    assert!(!again.stdout().contains("root token"), "{}", again.stdout());
    assert!(approves(&again, &install.root));
}

#[test]
fn a_root_token_file_gets_the_token_and_standard_output_does_not() {
    let machine = Machine::new();
    let file = machine.path("root-token");
    let server = Server::start(&machine, &["--root-token-file", file.to_str().unwrap()]);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let token = text.strip_prefix(LINE).unwrap().trim_end();
    assert!(approves(&server, token));
    let ended = server.stop();
    assert!(!ended.stdout.contains(token) && !ended.stderr.contains(token));
    assert!(!ended.stdout.contains(LINE));
}

#[test]
fn server_json_says_where_the_server_is_while_it_runs() {
    let install = Install::new();
    let path = install.host.data_dir().join("server.json");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let said: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let known = Request::get("/.well-known/hardtack").send(&install.server.url);
    assert_eq!(
        said,
        json!({
            "url": install.server.url, "gateway_url": install.server.gateway,
            "pid": install.server.pid(), "instance_id": known.member("instance_id"),
        })
    );
    install.server.stop();
    assert!(!path.exists());
}
