//! Much and slow and many at once.

use std::io::Write;
use std::sync::Arc;

use serde_json::json;

use crate::device::Device;
use crate::refusals::gateway;
use crate::support::http::Connection;
use crate::support::upstream::FLOOD;
use crate::support::wire::{read_chunk, write_chunk};
use crate::support::{Install, Paired, Request, Server, eventually};

const GIB: u64 = 1 << 30;
/// How much memory a server may take more than before, in KiB.
const ROOM: u64 = 32 * 1024;

/// A line of `/proc/<pid>/status`, in KiB.
fn memory(server: &Server, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    let digits = found.trim_start_matches(':').trim().trim_end_matches(" kB");
    digits.parse().unwrap()
}

#[test]
fn a_gibibyte_goes_up_and_down_in_constant_memory() {
    let (install, _upstream) = gateway();
    let server = &install.server;
    let token = server.token(&install.pair(1, "operator.write"));
    // Once small, so that all that is kept for good is there.
    let small = Request::post("/api/count").body("x/y", vec![0; 1 << 20]);
    server.through(&token, small).expect(200);
    let before = memory(server, "VmHWM");

    let upload = Request::post("/api/count").bearer(&token);
    let mut connection = Connection::open(&server.gateway);
    connection.begin_sized(&upload, GIB);
    let part = vec![0x5a; 1 << 20];
    for _ in 0..GIB / (1 << 20) {
        connection.stream().write_all(&part).unwrap();
    }
    let counted = connection.answer(&upload).unwrap().expect(200);
    assert_eq!(counted, json!({ "bytes": GIB }));

    connection.begin_sized(&Request::get("/api/flood").bearer(&token), 0);
    let head = connection.answer_head().unwrap();
    let mut count = 0;
    let counted = head.read_body(&mut connection.0, false, |part| {
        count += part.len();
        Ok(())
    });
    counted.unwrap();
    assert_eq!(count, FLOOD);

    let grown = memory(server, "VmHWM") - before;
    assert!(grown < ROOM, "{grown} KiB");
}

#[test]
fn each_part_of_a_slow_answer_arrives_before_the_next_is_sent() {
    let (install, upstream) = gateway();
    let token = install.server.token(&install.pair(1, "operator.read"));
    let request = Request::get("/api/slow").bearer(&token);
    let mut connection = Connection::open(&install.server.gateway);
    connection.begin_sized(&request, 0);
    assert_eq!(connection.answer_head().unwrap().word(1), "200");
    for part in ["first", "second", "last"] {
        upstream.send_part(part.as_bytes());
        let read = read_chunk(&mut connection.0).unwrap();
        assert_eq!(read.unwrap(), part.as_bytes());
    }
    upstream.send_part(b"");
    assert_eq!(read_chunk(&mut connection.0).unwrap(), None);
}

/// The upstream sends each part back as it gets it, so that every part has gone
/// both ways before the next one is sent.
#[test]
fn each_part_of_a_slow_upload_arrives_before_the_next_is_sent() {
    let (install, _upstream) = gateway();
    let token = install.server.token(&install.pair(1, "operator.write"));
    let request = Request::post("/api/stream").bearer(&token);
    let mut connection = Connection::open(&install.server.gateway);
    connection.begin(&request);
    for (number, part) in ["first", "second", "last"].iter().enumerate() {
        write_chunk(connection.stream(), part.as_bytes()).unwrap();
        if number == 0 {
            assert_eq!(connection.answer_head().unwrap().word(1), "200");
        }
        let read = read_chunk(&mut connection.0).unwrap();
        assert_eq!(read.unwrap(), part.as_bytes());
    }
    write_chunk(connection.stream(), b"").unwrap();
    assert_eq!(read_chunk(&mut connection.0).unwrap(), None);
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let (install, upstream) = gateway();
    let token = install.server.token(&install.pair(1, "operator.write"));
    let request = Request::post("/api/count").bearer(&token);
    let mut connection = Connection::open(&install.server.gateway);
    connection.begin_sized(&request, GIB);
    connection.stream().write_all(&vec![0; 1 << 16]).unwrap();
    eventually("the upstream has it", || {
        (!upstream.requests().is_empty()).then_some(())
    });
    drop(connection);
    let token = install.server.token(&install.pair(2, "operator.read"));
    assert_eq!(
        install
            .server
            .through(&token, Request::get("/api/x"))
            .status,
        200
    );
    assert_eq!(install.server.stop().code, 0);
}

const CLIENTS: u64 = 200;
const ROUNDS: usize = 20;

/// A client with its own token: what it may is allowed, what it may not is
/// refused, and the upstream hears its name.
fn client(gateway: &str, paired: &Paired, writes: bool, token: &str) {
    let mut connection = Connection::open(gateway);
    for round in 0..ROUNDS {
        let read = Request::get(format!("/api/{round}")).bearer(token);
        let seen = connection.send(&read).expect(200);
        assert_eq!(seen["headers"]["x-hardtack-grant"], *paired.grant_id);
        let device = paired.device.id().to_string();
        assert_eq!(seen["headers"]["x-hardtack-device"], device);
        assert_eq!(seen["target"], format!("/api/{round}"));
        let write = Request::post("/api/x")
            .bearer(token)
            .json(&json!({"round": round}));
        let expected = if writes {
            "200"
        } else {
            "403 insufficient_scope"
        };
        assert_eq!(connection.send(&write).outcome(), expected);
        let whoami = Request::get("/.hardtack/whoami").bearer(token);
        let whoami = connection.send(&whoami).expect(200);
        assert_eq!(whoami["grant_id"], *paired.grant_id);
        let nobody = connection.send(&Request::get("/api/x"));
        assert_eq!(nobody.outcome(), "401 missing_token");
    }
}

#[test]
fn two_hundred_clients_at_once_get_each_its_own_answer() {
    let (install, _upstream) = gateway();
    let server = &install.server;
    let local = install.local();
    let clients = (0..CLIENTS).map(|number| {
        let writes = number % 3 == 0;
        let scopes = if writes {
            "operator.write"
        } else {
            "operator.read"
        };
        let paired = server.pair(&local, 1000 + number, scopes);
        let token = server.token(&paired);
        (paired, writes, token)
    });
    let clients: Vec<_> = clients.collect();
    let start = Arc::new(std::sync::Barrier::new(clients.len()));
    std::thread::scope(|scope| {
        for (paired, writes, token) in clients {
            let start = Arc::clone(&start);
            let gateway = server.gateway.as_str();
            scope.spawn(move || {
                start.wait();
                client(gateway, &paired, writes, &token);
            });
        }
    });
}

/// Devices that ask, are approved and exchange while others do the same.
#[test]
fn many_devices_that_pair_at_once_are_all_paired() {
    let install = Install::new();
    let local = install.local();
    let server = &install.server;
    std::thread::scope(|scope| {
        for number in 0..16 {
            let local = local.clone();
            scope.spawn(move || {
                for round in 0..4 {
                    let paired = server.pair(&local, 100 * number + round, "operator.read");
                    let token = server.token(&paired);
                    let whoami = Request::get("/.hardtack/whoami");
                    let whoami = server.through(&token, whoami).expect(200);
                    assert_eq!(whoami["grant_id"], *paired.grant_id);
                }
            });
        }
    });
    // One approval each, in one unbroken chain of audit rows.
    let rows = install.audit();
    let approvals = rows.iter().filter(|row| row["action"] == "pairing.approve");
    assert_eq!(approvals.count(), 64);
    for pair in rows.windows(2) {
        assert_eq!(pair[0]["hash"], pair[1]["prev_hash"]);
    }
}

/// Two approvers of one request: one is first, the other is told so.
#[test]
fn a_request_is_approved_once() {
    let install = Install::new();
    let local = install.local();
    let server = &install.server;
    let id = server.ask(&Device::new(1), "operator.read");
    let outcomes: Vec<String> = std::thread::scope(|scope| {
        let approve = || {
            let local = local.clone();
            scope.spawn({
                let id = id.as_str();
                move || server.approve(&local, id, &json!({})).outcome()
            })
        };
        let running: Vec<_> = (0..8).map(|_| approve()).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let count = |outcome: &str| outcomes.iter().filter(|o| *o == outcome).count();
    assert_eq!(
        (count("200"), count("409 not_pending")),
        (1, 7),
        "{outcomes:?}"
    );
}
