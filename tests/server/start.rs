//! Starts that go wrong, or go on together: there is always one root token that
//! somebody has seen.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::device::Device;
use crate::support::disk::block_on;
use crate::support::server::{Server, Starting};
use crate::support::upstream::Upstream;
use crate::support::{Install, Machine, Request, Run, eventually};

const PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0"];

/// A start prints a root token, and it is the one in force.
fn assert_announces(machine: &Machine) {
    let server = Server::start(machine, &[]);
    let root = server.root.clone().expect("a root token");
    let id = server.ask(&Device::new(1), "operator.read");
    let path = format!("/v1/pairing-requests/{id}/approve");
    server.send(&Request::post(path).bearer(&root)).expect(200);
    server.stop();
    let again = Server::start(machine, &[]);
    assert_eq!(again.root, None);
}

/// The flag of the install's row that says whether the token was shown; `None`
/// if there is no install.
fn announced(machine: &Machine) -> Option<bool> {
    let path = machine.data_dir().join("hardtack.db");
    block_on(async {
        // Opened as it is: what the library does first waits for the start to end.
        let options = SqliteConnectOptions::new().filename(path);
        let mut database = options.connect().await.ok()?;
        let announced = sqlx::query_scalar("SELECT announced FROM install");
        let found = announced.fetch_optional(&mut database).await;
        database.close().await.unwrap();
        found.ok()?
    })
}

#[test]
fn a_start_that_cannot_print_leaves_the_token_to_the_next() {
    for command in ["serve", "init"] {
        let machine = Machine::new();
        let mut args = vec![command];
        args.extend(PORTS.iter().filter(|_| command == "serve"));
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        for stdout in [Stdio::from(full), closed.into()] {
            let mut start = machine.command(&args);
            let ended = start.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
            let ended = Run::from(ended.wait_with_output().unwrap());
            assert_eq!(ended.code, 1, "{ended:?}");
            assert!(ended.stderr.contains("another one is made"), "{ended:?}");
            assert_eq!(announced(&machine), Some(false));
        }
        assert_announces(&machine);
    }
}

#[test]
fn a_start_that_cannot_write_the_token_file_leaves_the_token_to_the_next() {
    let machine = Machine::new();
    let there = machine.file("there", "something else");
    let elsewhere = machine.path("no/such/dir");
    for file in [there.as_str(), elsewhere.to_str().unwrap()] {
        let ended = Server::fail(&machine, &["--root-token-file", file]);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    }
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "something else");
    assert_announces(&machine);
}

/// The process is killed after it made the install and before it printed.
#[test]
fn a_crash_between_commit_and_print_leaves_the_token_to_the_next() {
    let machine = Machine::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    // A pipe that is full: whoever prints into it stands still.
    let mut filler = writer.try_clone().unwrap();
    let filling = std::thread::spawn(move || {
        use std::io::Write;
        while filler.write_all(&[b'.'; 4096]).is_ok() {}
    });
    let args: Vec<&str> = ["serve"].iter().chain(&PORTS).copied().collect();
    let mut start = machine.command(&args);
    let mut child = start.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    drop(start);
    eventually("the install is made", || {
        announced(&machine).map(|announced| assert!(!announced))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let mut seen = vec![0; 1 << 20];
    let read = reader.read(&mut seen).unwrap();
    assert!(seen[..read].iter().all(|byte| *byte == b'.'));
    drop(reader);
    filling.join().unwrap();
    assert_eq!(announced(&machine), Some(false));
    assert_announces(&machine);
}

#[test]
fn of_many_processes_that_start_at_once_one_shows_the_root_token() {
    for _ in 0..3 {
        let machine = Machine::new();
        let starting: Vec<_> = (0..4).map(|_| Server::begin(&machine, &[])).collect();
        let ended: Result<Vec<_>, _> = starting.into_iter().map(Starting::ready).collect();
        let servers = ended.unwrap_or_else(|ended| panic!("{ended:?}"));
        let shown: Vec<_> = servers.iter().filter_map(|s| s.root.as_ref()).collect();
        assert_eq!(shown.len(), 1);
        // It is good on each of them.
        for (number, server) in servers.iter().enumerate() {
            let id = server.ask(&Device::new(number as u64), "operator.read");
            let path = format!("/v1/pairing-requests/{id}/approve");
            server
                .send(&Request::post(path).bearer(shown[0]))
                .expect(200);
        }
    }
}

#[test]
fn a_start_with_wrong_settings_makes_no_install() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let machine = Machine::new();
    let bad = machine.file("bad.datalog", "route(\"GET\", \"/x\");");
    for (args, code) in [
        (["--listen", taken.as_str()], 1),
        (["--gateway-listen", taken.as_str()], 1),
        (["--listen", "127.0.0.1"], 2),
        (["--policy", bad.as_str()], 2),
        (["--policy", "/no/such/file"], 2),
        (["--upstream", "ftp://up"], 2),
        (["--upstream", "http://up/?q"], 2),
        (["--upstream", "/api"], 2),
        (["--upstream", "/a/../b=http://up"], 2),
        (["--upstream", "http://up,http://other"], 2),
        (["--upstream-ca", "/no/such/file"], 2),
        (["--upstream-ca", bad.as_str()], 2),
        (["--public-url", "not a url"], 2),
        (["--gateway-url", "http://gw.example/path"], 2),
        (["--trusted-proxy", "10.0.0.0/40"], 2),
        (["--database-url", "mysql://db"], 2),
        (["--log-level", "a=b=c"], 2),
        (["--request-ttl", "soon"], 2),
    ] {
        let ended = Server::fail(&machine, &args);
        assert_eq!(ended.code, code, "{args:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{args:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        assert_eq!(announced(&machine), None, "{args:?}");
    }
    assert_announces(&machine);
}

/// Nothing is shown of an install that could not have been served.
#[test]
fn an_https_upstream_that_nothing_vouches_for_makes_no_install() {
    let machine = Machine::new();
    let nowhere = machine.path("no/such");
    let args = [&["serve", "--upstream", "https://127.0.0.1:1"], &PORTS[..]].concat();
    let mut start = machine.command(&args);
    start
        .env("SSL_CERT_FILE", &nowhere)
        .env("SSL_CERT_DIR", &nowhere);
    let ended = Run::of(start);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
    assert!(ended.stderr.contains("--upstream-ca"), "{ended:?}");
    assert_eq!(announced(&machine), None);
    assert_announces(&machine);
}

#[test]
fn upstreams_are_named_where_a_start_is_and_get_what_is_below_their_prefixes() {
    let machine = Machine::new();
    let (all, notes) = (Upstream::start(), Upstream::start());
    let policy = "public(\"GET\", \"/{*rest}\");";
    let policy = machine.file("public.datalog", policy);
    let named = format!("{},/notes={}/base", all.url, notes.url);
    let server = Server::start(&machine, &["--policy", &policy, "--upstream", &named]);
    let shown = format!("Upstream  {}, /notes → {}/base\n", all.url, notes.url);
    let stdout = server.stdout();
    assert!(stdout.contains(&shown), "{stdout}");
    for path in ["/notes/x", "/notebook"] {
        Request::get(path).send(&server.gateway);
    }
    assert_eq!(notes.requests(), ["GET /base/notes/x HTTP/1.1"]);
    assert_eq!(all.requests(), ["GET /notebook HTTP/1.1"]);
}

#[test]
fn a_data_directory_with_another_secret_is_not_served() {
    let install = Install::new();
    install.server.stop();
    let secret = install.host.data_dir().join("secret.key");
    std::fs::write(&secret, "ab".repeat(32)).unwrap();
    let ended = Server::fail(&install.host, &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("secret"), "{ended:?}");
}
