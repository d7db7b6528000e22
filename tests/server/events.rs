//! `/v1/events` over the wire, and who watches on the command line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::device::Device;
use crate::support::disk::block_on;
use crate::support::sse::Events;
use crate::support::{Install, Machine, Paired, Request, Server};

fn follow(server: &Server, who: &Paired, after: &str) -> Events {
    let mut request = Request::get("/v1/events");
    if !after.is_empty() {
        request = request.header("last-event-id", after);
    }
    Events::open(&server.url, &server.signed(who, &request))
}

#[test]
fn what_happens_is_told_as_it_happens_and_again_to_who_comes_back() {
    let install = Install::new();
    let (server, local) = (&install.server, install.local());
    let mut events = follow(server, &local, "");
    assert_eq!(events.head.get("content-type"), Some("text/event-stream"));
    assert_eq!(events.head.get("cache-control"), Some("no-store"));
    assert!(events.head.get("x-request-id").is_some());

    let id = server.ask(&Device::new(1), "operator.read");
    let first = events.next().unwrap();
    assert_eq!(first.kind, "pairing.requested");
    assert_eq!(first.data["id"], id);
    let listed = server.call(&local, &Request::get(format!("/v1/pairing-requests/{id}")));
    assert_eq!(first.data, listed.expect(200));
    server.approve(&local, &id, &json!({})).expect(200);
    let second = events.next().unwrap();
    assert_eq!(second.kind, "pairing.approved");
    drop(events);

    let device = Device::new(1).id();
    let revoke = Request::post(format!("/v1/devices/{device}/revoke")).json(&json!({}));
    server.call(&local, &revoke).expect(200);
    let mut again = follow(server, &local, &first.id);
    assert_eq!(again.next().unwrap().id, second.id);
    let third = again.next().unwrap();
    assert_eq!(third.kind, "grant.revoked");
    assert_eq!(third.data["device_id"], device.to_string());
    // A client that cannot set the header says it in the query.
    let path = format!("/v1/events?after={}", second.id);
    let request = server.signed(&local, &Request::get(path));
    let mut by_query = Events::open(&server.url, &request);
    assert_eq!(by_query.next().unwrap().id, third.id);
}

#[test]
fn who_may_not_follow_is_told_why_and_a_bad_number_is_refused() {
    let install = Install::new();
    let server = &install.server;
    let reader = install.pair(1, "operator.read");
    let plain = Request::get("/v1/events");
    let refused = server.call(&reader, &plain);
    assert_eq!(refused.outcome(), "403 insufficient_scope");
    assert_eq!(server.send(&plain).outcome(), "401 missing_token");
    for number in ["x", "-1", "99999999999999999999"] {
        let odd = plain.clone().header("last-event-id", number);
        let refused = server.call(&install.local(), &odd);
        assert_eq!(refused.outcome(), "400 invalid_request", "{number}");
    }
}

#[test]
fn a_follower_ends_within_the_second_that_its_device_is_revoked_in() {
    let install = Install::new();
    let (server, local) = (&install.server, install.local());
    let paired = install.pair(1, "operator.pairing");
    let mut events = follow(server, &paired, "");
    let revoke = format!("/v1/devices/{}/revoke", paired.device.id());
    let revoke = Request::post(revoke).json(&json!({}));
    server.call(&local, &revoke).expect(200);
    // Told why, and not that it was revoked as an event.
    let end = events.next().unwrap();
    assert_eq!(
        (end.kind.as_str(), &end.data["code"]),
        ("end", &json!("revoked"))
    );
    assert!(events.next().is_none());
}

#[test]
fn followers_do_not_hold_up_a_node_that_stops() {
    let install = Install::new();
    let events = follow(&install.server, &install.local(), "");
    let ended = install.server.stop();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(events.stays_silent());
}

#[test]
fn what_happens_at_one_node_is_told_at_another() {
    let url = block_on(crate::postgres::new_database());
    let (first, second) = (Machine::new(), Machine::new());
    let secret = first.file("shared.key", &"5a".repeat(32));
    let args = ["--database-url", &url, "--secret-key-file", &secret];
    let nodes = [Server::start(&first, &args), Server::start(&second, &args)];
    let secrets = hardtack::authority::secrets::Secrets::from_text(&"5a".repeat(32)).unwrap();
    let device = Device::of(secrets.local_device().clone());
    let path = format!("/v1/devices/{}/grant", device.id());
    let found = nodes[0].prove(&device, &Request::get(path)).expect(200);
    let local = Paired::new(device, &found);

    let mut events = follow(&nodes[1], &local, "");
    let id = nodes[0].ask(&Device::new(1), "operator.read");
    let told = events.next().unwrap();
    assert_eq!(told.data["id"], id);
    // The number counts on the other node as well.
    nodes[1].approve(&local, &id, &json!({})).expect(200);
    let mut there = follow(&nodes[0], &local, &told.id);
    assert_eq!(there.next().unwrap().kind, "pairing.approved");
    let revoke = format!("/v1/devices/{}/revoke", Device::new(1).id());
    let revoke = Request::post(revoke).json(&json!({}));
    nodes[0].call(&local, &revoke).expect(200);
    assert_eq!(events.next().unwrap().kind, "pairing.approved");
    assert_eq!(events.next().unwrap().kind, "grant.revoked");
}

/// A command that watches, with a hand on its input.
struct Watching {
    child: Child,
    answers: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(host: &Machine, args: &[&str]) -> Self {
        let args = [&["devices", "approve", "--watch", "--json"], args].concat();
        let mut command = host.command(&args);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        Self {
            answers: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    fn answer(&mut self, text: &str) {
        writeln!(self.answers, "{text}").unwrap();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn who_watches_sees_requests_as_they_come_and_answers_them() {
    let install = Install::new();
    let server = &install.server;
    let waiting = server.ask(&Device::new(1), "operator.read operator.write");
    let mut watching = Watching::start(&install.host, &["--scopes", "operator.read"]);
    assert_eq!(watching.line()["id"], waiting);
    watching.answer("y");
    let approval = watching.line();
    assert_eq!(approval["id"], waiting);
    assert_eq!(approval["scopes"], json!(["operator.read"]));

    let rejected = server.ask(&Device::new(2), "operator.read");
    assert_eq!(watching.line()["id"], rejected);
    watching.answer("r");
    assert_eq!(watching.line()["status"], "rejected");
    let left = server.ask(&Device::new(3), "operator.read");
    assert_eq!(watching.line()["id"], left);
    watching.answer("");
    let next = server.ask(&Device::new(4), "operator.read");
    assert_eq!(watching.line()["id"], next);
    let pending = install.host.run(&["devices", "list", "--json"]).json();
    assert_eq!(pending["pending"].as_array().unwrap().len(), 2);
}

#[test]
fn who_watches_goes_on_with_a_server_that_was_started_again() {
    let host = Machine::new();
    let install = Install::on(host, &[]);
    let port = install.server.url.rsplit(':').next().unwrap().to_owned();
    let mut watching = Watching::start(&install.host, &[]);
    let first = install.server.ask(&Device::new(1), "operator.read");
    assert_eq!(watching.line()["id"], first);
    watching.answer("");
    let ended = install.server.stop();
    assert_eq!(ended.code, 0, "{ended:?}");
    let listen = format!("127.0.0.1:{port}");
    let server = Server::start(&install.host, &["--listen", &listen]);
    let second = server.ask(&Device::new(2), "operator.read");
    assert_eq!(watching.line()["id"], second);
}

#[test]
fn who_watches_without_the_right_is_told_so_and_a_limit_ends_it() {
    let install = Install::new();
    let host = &install.host;
    let watch = ["devices", "approve", "--watch", "--json"];
    let limited = [&watch[..], &["--timeout", "1s"]].concat();
    assert_eq!(host.run(&limited).outcome(), "6 timed_out");
    let token = install.server.token_with(
        &install.pair(1, "operator.read"),
        &[("audience", &install.server.url)],
    );
    let refused = host.run_with(&[("HARDTACK_TOKEN", &token)], &watch);
    assert_eq!(refused.outcome(), "3 insufficient_scope");
    let both = [&watch[..], &["ABCD-EFGH"]].concat();
    assert_eq!(host.run(&both).outcome(), "2 usage");
    let neither = host.run(&["devices", "approve", "--json"]);
    assert_eq!(neither.outcome(), "2 usage");
}
