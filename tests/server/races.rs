//! Two at once: there is exactly one outcome, and nobody is told that it failed
//! inside. On both databases, against a real server.

use std::sync::Barrier;
use std::thread::scope;

use serde_json::json;

use crate::device::Device;
use crate::postgres;
use crate::support::disk::block_on;
use crate::support::{Answer, Install, Paired, Request, Server};

/// How often each race is run.
const ROUNDS: u64 = 12;

/// An install on each database.
pub(crate) fn installs() -> Vec<Install> {
    let url = block_on(postgres::new_database());
    vec![Install::new(), Install::with(&["--database-url", &url])]
}

/// Sends all requests at the same moment. No answer may be a 5xx.
pub(crate) fn at_once(server: &Server, requests: &[Request]) -> Vec<Answer> {
    let start = Barrier::new(requests.len());
    let url = &server.url;
    let answers = scope(|threads| {
        let send = |request| {
            let start = &start;
            threads.spawn(move || {
                start.wait();
                Request::send(request, url)
            })
        };
        let running: Vec<_> = requests.iter().map(send).collect();
        let ended = running.into_iter().map(|thread| thread.join().unwrap());
        ended.collect::<Vec<_>>()
    });
    for answer in &answers {
        assert!(answer.status < 500, "{}", answer.text());
    }
    answers
}

fn outcomes(answers: &[Answer]) -> Vec<String> {
    let mut outcomes: Vec<_> = answers.iter().map(Answer::outcome).collect();
    outcomes.sort();
    outcomes
}

pub(crate) fn approve(server: &Server, approver: &Paired, id: &str) -> Request {
    let path = format!("/v1/pairing-requests/{id}/approve");
    server.signed(approver, &Request::post(path).json(&json!({})))
}

pub(crate) fn end(server: &Server, by: &Paired, paired: &Paired, how: &str) -> Request {
    let path = format!("/v1/devices/{}/{how}", paired.device.id());
    server.signed(by, &Request::post(path).json(&json!({})))
}

fn rows(install: &Install, action: &str, object: &str) -> usize {
    let rows = install.audit().into_iter();
    rows.filter(|row| row["action"] == action && row["object"] == object)
        .count()
}

#[test]
fn of_many_approvers_of_one_request_one_wins() {
    for install in installs() {
        let (server, local) = (&install.server, install.local());
        let other = install.pair(1, "operator.admin");
        for round in 0..ROUNDS {
            let id = server.ask(&Device::new(100 + round), "operator.read");
            let approvers = [&local, &other, &local, &other];
            let requests = approvers.map(|approver| approve(server, approver, &id));
            let answers = at_once(server, &requests);
            let lost = "409 not_pending";
            assert_eq!(outcomes(&answers), ["200", lost, lost, lost]);
            // All losers are told which grant it was that won.
            let grants: Vec<_> = answers.iter().map(|a| a.member("grant_id")).collect();
            assert!(grants.iter().all(|grant| *grant == grants[0]), "{grants:?}");
        }
        let objects = install.audit();
        let approvals = objects.iter().filter(|r| r["action"] == "pairing.approve");
        assert_eq!(approvals.count() as u64, ROUNDS + 1);
    }
}

#[test]
fn a_request_that_is_approved_and_rejected_at_once_is_one_of_both() {
    for install in installs() {
        let (server, local) = (&install.server, install.local());
        for round in 0..ROUNDS {
            let device = Device::new(100 + round);
            let id = server.ask(&device, "operator.read");
            let path = format!("/v1/pairing-requests/{id}/reject");
            let reject = server.signed(&local, &Request::post(path).json(&json!({})));
            let answers = at_once(server, &[approve(server, &local, &id), reject]);
            assert_eq!(outcomes(&answers), ["200", "409 not_pending"]);
            let fetch = Request::get(format!("/v1/pairing-requests/{id}"));
            let found = server.prove(&device, &fetch).expect(200);
            let approved = answers[0].status == 200;
            assert_eq!(found["status"] == "approved", approved, "{found}");
            assert_eq!(found["grant"].is_string(), approved, "{found}");
        }
    }
}

/// Whatever comes first, nothing of a revoked approver is left alive.
#[test]
fn an_approval_against_the_revocation_of_its_approver_leaves_nothing_alive() {
    for install in installs() {
        let (server, local) = (&install.server, install.local());
        for round in 0..ROUNDS {
            let approver = install.pair(100 + round, "operator.admin operator.pairing");
            let device = Device::new(1000 + round);
            let id = server.ask(&device, "operator.pairing");
            let requests = [
                approve(server, &approver, &id),
                end(server, &local, &approver, "revoke"),
            ];
            let answers = at_once(server, &requests);
            assert_eq!(answers[1].outcome(), "200");
            match answers[0].outcome().as_str() {
                "200" => {
                    let found = Request::get(format!("/v1/pairing-requests/{id}"));
                    let found = server.prove(&device, &found);
                    if found.member("grant").is_empty() {
                        continue;
                    }
                    let child = Paired::new(device, &found.json());
                    assert_eq!(server.exchange(&child, &[]).outcome(), "400 revoked");
                }
                refused => assert_eq!(refused, "401 revoked"),
            }
        }
    }
}

#[test]
fn one_proof_buys_one_token() {
    for install in installs() {
        let paired = install.pair(1, "operator.read");
        for _ in 0..ROUNDS {
            let exchange = install.server.exchange_by(&paired, &[]);
            let answers = at_once(&install.server, &vec![exchange; 6]);
            let mut expected = vec!["200".to_owned()];
            expected.extend(vec!["401 invalid_client".to_owned(); 5]);
            assert_eq!(outcomes(&answers), expected);
        }
        let audit = install.audit();
        let tokens = audit.iter().filter(|r| r["action"] == "token.exchange");
        assert_eq!(tokens.count() as u64, ROUNDS);
    }
}

#[test]
fn a_device_that_is_revoked_and_retired_at_once_is_revoked() {
    for install in installs() {
        let (server, local) = (&install.server, install.local());
        for round in 0..ROUNDS {
            let paired = install.pair(100 + round, "operator.read");
            let id = paired.device.id().to_string();
            let ends = ["revoke", "retire", "revoke", "retire"];
            let requests = ends.map(|how| end(server, &local, &paired, how));
            assert_eq!(outcomes(&at_once(server, &requests)), ["200"; 4]);
            assert_eq!(server.exchange(&paired, &[]).outcome(), "400 revoked");
            assert_eq!(rows(&install, "device.revoke", &id), 2);
        }
    }
}

/// One device asks in many ways at once; one request is pending in the end.
#[test]
fn a_device_that_asks_many_times_at_once_has_one_request() {
    for install in installs() {
        let server = &install.server;
        for round in 0..ROUNDS {
            let device = Device::new(100 + round);
            let ask = |scope: &str| {
                let ask = Request::post("/v1/pairing-requests").json(&json!({"scopes": [scope]}));
                server.proven(&device, &ask)
            };
            let scopes = ["operator.read", "operator.write", "operator.pairing"];
            let answers = at_once(server, &scopes.map(ask));
            assert_eq!(outcomes(&answers), ["202"; 3]);
            let list = Request::get("/v1/pairing-requests?status=pending&limit=500");
            let list = server.call(&install.local(), &list).expect(200);
            let items = list["items"].as_array().unwrap().iter();
            let own = items.filter(|item| item["device_id"] == device.id().to_string());
            assert_eq!(own.count(), 1);
        }
    }
}

#[test]
fn a_secret_that_is_rotated_under_load_refuses_nobody() {
    let url = block_on(postgres::new_database());
    for more in [vec![], vec!["--database-url", &url]] {
        let install = Install::with(&more);
        let (server, local) = (&install.server, install.local());
        let paired: Vec<_> = (1..=3).map(|n| install.pair(n, "operator.read")).collect();
        let rotate = [vec!["keys", "rotate", "secret", "--yes", "--json"], more].concat();
        scope(|threads| {
            let mut rotation = install.host.command(&rotate);
            let rotation = threads.spawn(move || rotation.output().unwrap());
            while !rotation.is_finished() {
                let requests: Vec<_> = paired.iter().map(|p| server.exchange_by(p, &[])).collect();
                assert_eq!(outcomes(&at_once(server, &requests)), ["200"; 3]);
            }
            let ended = rotation.join().unwrap();
            assert!(ended.status.success(), "{ended:?}");
        });
        // The local device is another now; what was paired goes on.
        assert_ne!(install.local().device.id(), local.device.id());
        for paired in &paired {
            assert_eq!(server.exchange(paired, &[]).outcome(), "200");
        }
    }
}
