//! A server that is killed at any moment remembers all that it acknowledged, and
//! leaves nothing half done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread::scope;

use hardtack::domain::audit::AuditRecord;
use hardtack::domain::grant::GrantStatus;
use hardtack::domain::ids::RequestId;
use hardtack::domain::pairing::RequestState;
use hardtack::store::{DatabaseUrl, GrantFilter, Page, Store};
use hardtack_token::{DeviceId, GrantId, Profile, SessionId, TokenText, Untrusted};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::device::Device;
use crate::postgres;
use crate::support::disk::block_on;
use crate::support::{Answer, Install, Machine, Paired, Request, Server, eventually};

/// How many changes are to be acknowledged, a third of each kind.
const CHANGES: usize = 600;
const CLIENTS: u64 = 4;
const CRASHES: usize = 12;

/// What a client was told that it is done.
enum Done {
    Approved(RequestId, GrantId),
    Exchanged(SessionId),
    Revoked(DeviceId),
}

/// The server of the moment, and what all clients were told so far.
struct Node<'a> {
    host: &'a Machine,
    args: Vec<&'a str>,
    server: RwLock<Server>,
    ledger: Mutex<Vec<Done>>,
    devices: AtomicU64,
}

#[test]
fn a_killed_server_on_sqlite_forgets_nothing_and_leaves_nothing_half_done() {
    let host = Machine::new();
    let database = DatabaseUrl::Sqlite(host.data_dir().join("hardtack.db"));
    crash_and_check(host, vec![], &database);
}

#[test]
fn a_killed_server_on_postgres_forgets_nothing_and_leaves_nothing_half_done() {
    let url = block_on(postgres::new_database());
    let database = DatabaseUrl::Postgres(url.clone());
    crash_and_check(Machine::new(), vec!["--database-url", &url], &database);
}

fn crash_and_check(host: Machine, args: Vec<&str>, database: &DatabaseUrl) {
    let install = Install::on(host, &args);
    let local = install.local();
    let Install { server, host, .. } = install;
    let node = Node {
        host: &host,
        args,
        server: RwLock::new(server),
        ledger: Mutex::default(),
        devices: AtomicU64::new(1),
    };
    scope(|threads| {
        for _ in 0..CLIENTS {
            let (node, local) = (&node, local.clone());
            threads.spawn(move || node.play(&local));
        }
        node.crash_now_and_then();
    });
    let Node { server, ledger, .. } = node;
    server.into_inner().unwrap().stop();
    block_on(check(database, &ledger.into_inner().unwrap()));
}

impl Node<'_> {
    /// Pairs, exchanges and revokes one device after the other, whatever becomes
    /// of the server meanwhile.
    fn play(&self, local: &Paired) {
        while !self.is_over() {
            let device = Device::new(self.devices.fetch_add(1, Ordering::Relaxed));
            let id = device.id();
            let Some(paired) = self.pair(local, device) else {
                continue;
            };
            if let Some(answer) = self.try_to(|s| s.exchange_by(&paired, &[])) {
                let token = answer.expect(200)["access_token"].take();
                self.note(Done::Exchanged(session_of(token.as_str().unwrap())));
            }
            let path = format!("/v1/devices/{id}/revoke");
            let revoke = Request::post(path).json(&json!({}));
            if let Some(answer) = self.try_to(|s| s.signed(local, &revoke)) {
                answer.expect(200);
                self.note(Done::Revoked(id));
            }
        }
    }

    fn pair(&self, local: &Paired, device: Device) -> Option<Paired> {
        let ask = Request::post("/v1/pairing-requests").json(&json!({"scopes": ["operator.read"]}));
        let asked = self.try_to(|s| s.proven(&device, &ask))?.expect(202);
        let id = text(&asked, "id");
        let path = format!("/v1/pairing-requests/{id}");
        let approve = Request::post(format!("{path}/approve")).json(&json!({}));
        if let Some(answer) = self.try_to(|s| s.signed(local, &approve)) {
            let grant = text(&answer.expect(200), "grant_id");
            self.note(Done::Approved(id.parse().unwrap(), grant.parse().unwrap()));
        }
        let found = self.try_to(|s| s.proven(&device, &Request::get(path)))?;
        // Nobody knows what became of an approval that was cut off.
        let found = found.expect(200);
        found.get("grant")?;
        Some(Paired::new(device, &found))
    }

    /// Sends a request to the server of the moment; nothing if it dies over it.
    fn try_to(&self, request: impl FnOnce(&Server) -> Request) -> Option<Answer> {
        let server = self.server.read().unwrap();
        request(&server).try_send(&server.url).ok()
    }

    fn note(&self, done: Done) {
        self.ledger.lock().unwrap().push(done);
    }

    fn noted(&self) -> usize {
        self.ledger.lock().unwrap().len()
    }

    fn is_over(&self) -> bool {
        self.noted() >= CHANGES
    }

    /// Kills the server after so many changes, in the midst of what the other
    /// clients wait for, and starts it again.
    fn crash_now_and_then(&self) {
        let mut rng = StdRng::seed_from_u64(7);
        for _ in 0..CRASHES {
            let until = self.noted() + rng.gen_range(1..2 * CHANGES / CRASHES);
            eventually("changes", || {
                (self.noted() >= until || self.is_over()).then_some(())
            });
            self.server.read().unwrap().kill();
            let mut server = self.server.write().unwrap();
            *server = Server::start(self.host, &self.args);
            assert_eq!(server.root, None);
        }
    }
}

/// Compares the database with what the clients were told, and with itself.
async fn check(database: &DatabaseUrl, ledger: &[Done]) {
    let store = Store::open(database).await.unwrap();
    let mut tx = store.read().await.unwrap();
    let page = Page {
        after: None,
        limit: 1_000_000,
    };
    let log = tx.audit_log(page).await.unwrap();
    let mut previous: Option<&AuditRecord> = None;
    for row in &log {
        assert!(row.follows(previous), "row {}", row.seq);
        previous = Some(row);
    }
    let last = log.last().unwrap();
    assert_eq!(tx.audit_head().await.unwrap(), (last.seq, last.hash));
    let objects = |action: &str| -> Vec<&str> {
        let rows = log.iter().filter(|row| row.action == action);
        rows.map(|row| row.object.as_str()).collect()
    };
    let approved = objects("pairing.approve");
    let exchanged = objects("token.exchange");
    let revoked = objects("device.revoke");
    let mut counts = [0; 3];
    for done in ledger {
        match done {
            Done::Approved(id, grant) => {
                counts[0] += 1;
                assert!(approved.contains(&id.to_string().as_str()), "{id}");
                let request = tx.request(*id).await.unwrap().unwrap();
                assert_eq!(request.state, RequestState::Approved(*grant));
            }
            Done::Exchanged(id) => {
                counts[1] += 1;
                assert!(exchanged.contains(&id.to_string().as_str()), "{id}");
            }
            Done::Revoked(device) => {
                counts[2] += 1;
                assert!(revoked.contains(&device.to_string().as_str()), "{device}");
            }
        }
    }
    assert!(counts.iter().all(|count| *count >= 150), "{counts:?}");

    // Every row of the log has all that goes with it, acknowledged or not.
    let feed = tx.feed_after(0, 1_000_000).await.unwrap();
    for id in &approved {
        let id: RequestId = id.parse().unwrap();
        let request = tx.request(id).await.unwrap().unwrap();
        let RequestState::Approved(grant) = request.state else {
            panic!("{id} is {:?}", request.state);
        };
        let live = tx.grant(grant).await.unwrap().unwrap();
        let gone = revoked.contains(&request.device.to_string().as_str());
        assert_eq!(live.record.status == GrantStatus::Revoked, gone, "{id}");
        let told = feed.iter().any(|entry| entry.ended.id == grant.uuid());
        assert_eq!(told, gone, "{id}");
    }
    for id in &exchanged {
        assert!(tx.session(id.parse().unwrap()).await.unwrap().is_some());
    }
    // And there is nothing without a row in the log.
    let devices = tx.grants(GrantFilter::default(), page_of_grants()).await;
    assert_eq!(devices.unwrap().len(), approved.len() + 1);
    drop(tx);
    store.close().await;
}

fn page_of_grants() -> Page<GrantId> {
    Page {
        after: None,
        limit: 1_000_000,
    }
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap().to_owned()
}

fn session_of(token: &str) -> SessionId {
    let text = TokenText::new(token).unwrap();
    match Untrusted::inspect(&text).unwrap().claims() {
        Profile::Chain(chain) => chain.session.as_ref().unwrap().id,
        Profile::Root(_) => panic!("a root token"),
    }
}
