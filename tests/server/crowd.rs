//! Many at once on the same objects, on both databases: nobody waits for ever,
//! nothing fails inside, nothing is lost and nothing is given twice.

use serde_json::{Value, json};

use crate::device::Device;
use crate::races::{approve, at_once, end, installs};
use crate::support::people::now;
use crate::support::{Answer, Install, Paired, Request, Server};

const ROUNDS: u64 = 3;
/// How many requests come at the same moment.
const CROWD: usize = 64;

/// What a request of the crowd is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Exchange,
    Answer,
    Issue,
    Credentials,
    EndService,
    EndDevice,
    EndSession,
    Introspect,
}

/// The objects that a round is about.
struct Stage<'a> {
    server: &'a Server,
    approvers: [&'a Paired; 2],
    /// Exchanges its grant while it is revoked.
    busy: Paired,
    /// A session of its.
    token: String,
    /// Asks, and is answered in many ways.
    asking: Device,
    request: String,
    /// A service that works while its token is revoked.
    service: (String, String),
    /// A name that many want.
    name: String,
}

impl<'a> Stage<'a> {
    fn new(install: &'a Install, approvers: [&'a Paired; 2], round: u64) -> Self {
        let server = &install.server;
        let busy = server.pair(approvers[0], 100 + round, "operator.read");
        let asking = Device::new(200 + round);
        let service = format!("busy-{round}");
        let secret = issue(server, approvers[0], &service);
        let secret = server.send(&secret).expect(201)["token"].clone();
        Self {
            server,
            approvers,
            token: server.token(&busy),
            busy,
            request: server.ask(&asking, "operator.read"),
            asking,
            service: (service, secret.as_str().unwrap().to_owned()),
            name: format!("wanted-{round}"),
        }
    }

    fn request(&self, about: About, n: usize) -> Request {
        let (server, by) = (self.server, self.approvers[n % 2]);
        let (name, secret) = &self.service;
        match about {
            About::Exchange => server.exchange_by(&self.busy, &[]),
            About::Answer if n % 4 == 3 => {
                let path = format!("/v1/pairing-requests/{}/reject", self.request);
                server.signed(by, &Request::post(path).json(&json!({})))
            }
            About::Answer => approve(server, by, &self.request),
            About::Issue => issue(server, by, &self.name),
            About::Credentials => Request::post("/oauth/token").form(&[
                ("grant_type", "client_credentials"),
                ("client_id", name),
                ("client_secret", secret),
            ]),
            About::EndService => Request::post("/oauth/revoke").form(&[("token", secret)]),
            About::EndDevice => end(server, by, &self.busy, "revoke"),
            About::EndSession => Request::post("/oauth/revoke").form(&[("token", &self.token)]),
            About::Introspect => {
                let assertion = by.device.assertion(&server.url, now());
                Request::post("/oauth/introspect").form(&[
                    ("token", &self.token),
                    (
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    ),
                    ("client_assertion", &assertion),
                ])
            }
        }
    }
}

fn issue(server: &Server, by: &Paired, name: &str) -> Request {
    let body = json!({"name": name, "scopes": ["operator.read"]});
    server.signed(by, &Request::post("/v1/service-tokens").json(&body))
}

/// The crowd, all kinds mixed.
fn crowd() -> Vec<About> {
    let parts = [
        (About::Exchange, 16),
        (About::Answer, 16),
        (About::Issue, 8),
        (About::Credentials, 8),
        (About::EndService, 4),
        (About::EndDevice, 4),
        (About::EndSession, 4),
        (About::Introspect, 4),
    ];
    let all = parts.iter().flat_map(|(about, count)| vec![*about; *count]);
    let all: Vec<_> = all.collect();
    assert_eq!(all.len(), CROWD);
    // 27 and 64 have no common divisor: each comes once, neighbours come apart.
    (0..CROWD).map(|n| all[n * 27 % CROWD]).collect()
}

#[test]
fn a_crowd_on_the_same_objects_gets_one_outcome_each() {
    for install in installs() {
        let (local, other) = (install.local(), install.pair(1, "operator.admin"));
        for round in 0..ROUNDS {
            let stage = Stage::new(&install, [&local, &other], round);
            let kinds = crowd();
            let requests = kinds.iter().enumerate();
            let requests: Vec<_> = requests
                .map(|(n, about)| stage.request(*about, n))
                .collect();
            let answers = at_once(&install.server, &requests);
            let of = |about: About| -> Vec<&Answer> {
                let all = kinds.iter().zip(&answers);
                all.filter(|(kind, _)| **kind == about)
                    .map(|(_, a)| a)
                    .collect()
            };
            check(&install, &stage, &of);
        }
        check_log(&all_rows(&install));
    }
}

fn check<'a>(install: &Install, stage: &Stage<'_>, of: &dyn Fn(About) -> Vec<&'a Answer>) {
    let outcomes = |about, expected: &[&str]| {
        for answer in of(about) {
            let outcome = answer.outcome();
            assert!(
                expected.contains(&outcome.as_str()),
                "{about:?}: {}",
                answer.text()
            );
        }
    };
    outcomes(About::Exchange, &["200", "400 revoked"]);
    outcomes(About::Answer, &["200", "409 not_pending"]);
    outcomes(About::Issue, &["201", "409 service_exists"]);
    outcomes(About::Credentials, &["200", "401 revoked"]);
    outcomes(About::EndService, &["200"]);
    outcomes(About::EndDevice, &["200"]);
    outcomes(About::EndSession, &["200"]);
    outcomes(About::Introspect, &["200"]);

    // One answer to the request, one token of the name.
    let count = |about, status| of(about).iter().filter(|a| a.status == status).count();
    assert_eq!(
        (count(About::Answer, 200), count(About::Issue, 201)),
        (1, 1)
    );
    let asked = Request::get(format!("/v1/pairing-requests/{}", stage.request));
    let asked = stage.server.prove(&stage.asking, &asked).expect(200);
    assert!(["approved", "rejected"].contains(&asked["status"].as_str().unwrap()));
    assert_eq!(asked["status"] == "approved", asked["grant"].is_string());

    // Whatever was given before the revocation is dead after it.
    let given = [About::Exchange, About::Credentials].map(of).concat();
    let given = given.iter().filter(|answer| answer.status == 200);
    let tokens = given.map(|answer| answer.member("access_token"));
    for token in tokens.chain([stage.token.clone(), stage.service.1.clone()]) {
        let used = stage
            .server
            .through(&token, Request::get("/.hardtack/whoami"));
        assert_eq!(used.outcome(), "401 revoked");
    }
    assert_eq!(
        stage.server.exchange(&stage.busy, &[]).outcome(),
        "400 revoked"
    );

    // And each change has its row, once.
    let rows = all_rows(install);
    let made = |action: &str, member: &str, value: &str| {
        let all = rows.iter().filter(|row| row["action"] == action);
        all.filter(|row| row["detail"][member] == value || row["object"] == value)
            .count()
    };
    let exchanged = made("token.exchange", "grant_id", &stage.busy.grant_id);
    assert_eq!(
        exchanged,
        count(About::Exchange, 200) + 1,
        "and the one before"
    );
    assert_eq!(made("service.issue", "name", &stage.name), 1);
    let ended = made("device.revoke", "", &stage.busy.device.id().to_string());
    assert_eq!(ended, count(About::EndDevice, 200));
    let service = stage
        .server
        .call(stage.approvers[0], &Request::get("/v1/service-tokens"));
    let services = service.expect(200)["items"].as_array().unwrap().clone();
    let service = services
        .iter()
        .find(|s| s["name"] == stage.service.0)
        .unwrap();
    let id = service["grant_id"].as_str().unwrap();
    assert_eq!(made("service.revoke", "", id), 1);
    let answered = ["pairing.approve", "pairing.reject"].map(|how| made(how, "", &stage.request));
    assert_eq!(answered.iter().sum::<usize>(), 1);
}

/// The whole audit log.
fn all_rows(install: &Install) -> Vec<Value> {
    let local = install.local();
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let after = rows.last().map_or(0, |row| row["seq"].as_i64().unwrap());
        let page = Request::get(format!("/v1/audit?limit=500&after={after}"));
        let page = install.server.call(&local, &page).expect(200);
        rows.extend(page["items"].as_array().unwrap().iter().cloned());
        if page["next"].is_null() {
            return rows;
        }
    }
}

/// No row is missing, and each one follows the one before.
fn check_log(rows: &[Value]) {
    for (row, next) in rows.iter().zip(&rows[1..]) {
        assert_eq!(next["seq"].as_i64(), row["seq"].as_i64().map(|seq| seq + 1));
        assert_eq!(next["prev_hash"], row["hash"]);
    }
}
