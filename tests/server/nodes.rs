//! Several nodes on one PostgreSQL database and one secret.

use std::str::FromStr;

use hardtack::authority::secrets::Secrets;
use serde_json::json;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::device::Device;
use crate::postgres;
use crate::support::disk::block_on;
use crate::support::{Install, Machine, Paired, Request, Server, eventually};

/// Nodes, each with a data directory of its own.
struct Cluster {
    nodes: Vec<Server>,
    root: String,
    // After the nodes, which write into them until they end.
    hosts: Vec<Machine>,
}

const SECRET: [u8; 32] = [0x5a; 32];

impl Cluster {
    /// Starts all nodes at once on an empty database.
    fn start(count: usize) -> Self {
        let url = block_on(postgres::new_database());
        let hosts: Vec<_> = (0..count).map(|_| Machine::new()).collect();
        let secret = hosts[0].file("shared.key", &hex::encode(SECRET));
        let args = ["--database-url", &url, "--secret-key-file", &secret];
        let starting: Vec<_> = hosts.iter().map(|h| Server::begin(h, &args)).collect();
        let ready = starting.into_iter().map(|node| node.ready().unwrap());
        let nodes: Vec<_> = ready.collect();
        let mut shown = nodes.iter().filter_map(|node| node.root.clone());
        let root = shown.next().expect("a root token");
        assert_eq!(shown.next(), None, "one root token");
        Self { nodes, root, hosts }
    }

    /// The local device, which is the same on all nodes.
    fn local(&self) -> Paired {
        let secrets = Secrets::from_text(&hex::encode(SECRET)).unwrap();
        let device = Device::of(secrets.local_device().clone());
        let path = format!("/v1/devices/{}/grant", device.id());
        let found = self.nodes[0].prove(&device, &Request::get(path));
        Paired::new(device, &found.expect(200))
    }
}

fn at_the_gateway(node: &Server, token: &str) -> String {
    let whoami = Request::get("/.hardtack/whoami");
    node.through(token, whoami).outcome()
}

#[test]
fn of_many_nodes_that_start_first_one_shows_the_root_token() {
    let cluster = Cluster::start(4);
    // It works on every node, and no restart shows another.
    for (number, node) in (1..).zip(&cluster.nodes) {
        let id = node.ask(&Device::new(number), "operator.read");
        let approve = Request::post(format!("/v1/pairing-requests/{id}/approve"));
        let approve = approve.json(&json!({})).bearer(&cluster.root);
        node.send(&approve).expect(200);
    }
    drop(cluster.nodes);
    drop(cluster.hosts);
}

#[test]
fn what_is_asked_at_one_node_is_approved_at_another_and_fetched_at_a_third() {
    let cluster = Cluster::start(3);
    let [first, second, third] = &cluster.nodes[..] else {
        panic!("three nodes");
    };
    let device = Device::new(1);
    let id = first.ask(&device, "operator.read");
    second
        .approve(&cluster.local(), &id, &json!({}))
        .expect(200);
    let paired = third.fetch(device, &id);
    for node in &cluster.nodes {
        let token = node.token(&paired);
        assert_eq!(at_the_gateway(node, &token), "200");
    }
}

#[test]
fn a_revocation_at_one_node_is_in_force_at_all() {
    let cluster = Cluster::start(2);
    let [first, second] = &cluster.nodes[..] else {
        panic!("two nodes");
    };
    let local = cluster.local();
    let paired = first.pair(&local, 1, "operator.read");
    let tokens = [first.token(&paired), second.token(&paired)];
    for (node, token) in cluster.nodes.iter().zip(&tokens) {
        assert_eq!(at_the_gateway(node, token), "200");
    }
    let path = format!("/v1/devices/{}/revoke", paired.device.id());
    let revoke = Request::post(path).json(&json!({}));
    first.call(&local, &revoke).expect(200);
    // At once where it was said, and as soon as the other has read of it.
    assert_eq!(at_the_gateway(first, &tokens[0]), "401 revoked");
    eventually("the other node knows", || {
        (at_the_gateway(second, &tokens[1]) == "401 revoked").then_some(())
    });
    for node in &cluster.nodes {
        assert_eq!(node.exchange(&paired, &[]).outcome(), "400 revoked");
    }
}

/// A node with another secret could open nothing, and would make a mess.
#[test]
fn a_node_with_another_secret_does_not_start() {
    let url = block_on(postgres::new_database());
    let (first, second) = (Machine::new(), Machine::new());
    let args = ["--database-url", &url];
    let node = Server::start(&first, &args);
    assert!(node.root.is_some());
    let other = second.file("other.key", &"11".repeat(32));
    let ended = Server::fail(&second, &[args[0], args[1], "--secret-key-file", &other]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(ended.stderr.contains("secret.key"), "{ended:?}");
    // Nor does one that has none: it must not make its own.
    let ended = Server::fail(&Machine::new(), &args);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
}

/// Lets nobody into a database, or everybody again.
pub(crate) fn open_to_all(url: &str, open: bool) {
    let options = PgConnectOptions::from_str(url).unwrap();
    let name = options.get_database().unwrap().to_owned();
    block_on(async {
        let mut admin = options.database("postgres").connect().await.unwrap();
        for statement in [
            format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {open}"),
            format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            ),
        ] {
            let statement = sqlx::AssertSqlSafe(statement);
            sqlx::raw_sql(statement).execute(&mut admin).await.unwrap();
        }
    });
}

#[test]
fn a_node_that_loses_its_database_denies_and_comes_back_by_itself() {
    let url = block_on(postgres::new_database());
    let install = Install::with(&["--database-url", &url]);
    let (server, paired) = (&install.server, install.pair(1, "operator.read"));
    let token = server.token(&paired);
    assert_eq!(at_the_gateway(server, &token), "200");

    open_to_all(&url, false);
    let refused = server.exchange(&paired, &[]);
    assert_eq!(refused.outcome(), "503 store_unavailable");
    assert_eq!(refused.member("error"), "temporarily_unavailable");
    let ready = server.send(&Request::get("/readyz"));
    assert_eq!(ready.status, 503, "{}", ready.text());
    // Revocations cannot be read any more: what was allowed is not for long.
    eventually("the gateway denies", || {
        (at_the_gateway(server, &token) == "503 revocations_stale").then_some(())
    });

    open_to_all(&url, true);
    eventually("ready again", || {
        let ready = server.send(&Request::get("/readyz"));
        (ready.status == 200).then_some(())
    });
    eventually("the gateway allows", || {
        (at_the_gateway(server, &token) == "200").then_some(())
    });
    server.exchange(&paired, &[]).expect(200);
}
