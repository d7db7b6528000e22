//! How long connections last, by a clock that is moved by hand: the door and its
//! authority are in this process.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use hardtack::authority::approve::Narrowing;
use hardtack::authority::exchange::Wanted;
use hardtack::domain::policy::Policy;
use hardtack::openclaw::{OpenClaw, Settings, Timeouts, serve};
use hardtack::web::listener::{Http, Listener};
use serde_json::json;
use tokio::net::TcpListener;

use super::client::{Client, Hello};
use super::gateway::Gateway;
use crate::device::Device;
use crate::support::eventually;
use world::{Approver, Paired, World};

#[expect(
    dead_code,
    reason = "the words of another suite, of which a few are used"
)]
#[path = "../../authority/suite/support.rs"]
mod world;

/// The life of a session, in seconds.
const SESSION: u64 = 900;

struct Here {
    world: World,
    door: Arc<OpenClaw>,
    gateway: Gateway,
    url: String,
    port: u16,
}

impl Here {
    async fn new(timeouts: Timeouts) -> Self {
        let world = World::new().await;
        let policy = Policy::load_with_openclaw(&[]).unwrap();
        world.policy.store(Arc::new(policy));
        let gateway = Gateway::start();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("ws://127.0.0.1:{port}");
        let settings = Settings {
            upstream: gateway.url.parse().unwrap(),
            url: url.parse().unwrap(),
            trusted_proxies: Vec::new(),
            skew: Duration::from_mins(2),
            timeouts,
        };
        let door = Arc::new(OpenClaw::new(settings, Arc::clone(&world.authority)));
        let listener = Listener::new(listener, None, Http::One);
        tokio::spawn(serve(listener, Arc::clone(&door), std::future::pending()));
        Self {
            world,
            door,
            gateway,
            url,
            port,
        }
    }

    fn comes(&self, paired: &Paired) -> Client {
        let hello = Hello::of(&paired.device).scopes(&["operator.read"]);
        hello.connect(&self.url).welcome()
    }

    /// Lets time pass, with all that a node does meanwhile.
    async fn pass(&self, seconds: u64) {
        // A node that did not read the feed for five seconds denies.
        const STEP: u64 = 4;
        for step in 0..seconds / STEP {
            self.world.advance(STEP).await;
            if step % 60 == 0 {
                self.door.renew_sessions().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_many_sessions_while_its_grant_lives() {
    let here = Here::new(Timeouts::default()).await;
    let paired = here.world.pair(1, "operator.read operator.pairing").await;
    let mut client = here.comes(&paired);
    for _ in 0..5 {
        here.pass(SESSION).await;
        client.ok("sessions.list", &json!({}));
        client.ok("device.pair.list", &json!({}));
    }
    assert_eq!(here.door.connected(), 1);
    assert_eq!(here.gateway.connections().len(), 1);
    // Only what ends the grant ends it.
    here.world.end("revoke", &paired.device).await.unwrap();
    assert_eq!(client.closed(), (4001, "device revoked".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_with_an_end_is_renewed_up_to_it_and_no_further() {
    let here = Here::new(Timeouts::default()).await;
    let device = Device::new(1);
    let asked = here.world.ask(&device, "operator.read").await.unwrap();
    let narrowing = Narrowing {
        expires_in: Some(2 * SESSION + 100),
        ..Narrowing::default()
    };
    let approved = here
        .world
        .approve(Approver::Root, asked.request.id, &narrowing);
    approved.await.unwrap();
    let hello = Hello::of(&device).scopes(&["operator.read"]);
    let mut client = hello.connect(&here.url).welcome();
    here.pass(2 * SESSION).await;
    client.ok("sessions.list", &json!({}));
    here.pass(200).await;
    assert_eq!(client.closed(), (4001, "device token expired".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_a_client_without_a_key_ends_and_is_not_renewed() {
    let here = Here::new(Timeouts::default()).await;
    let paired = here.world.pair(1, "operator.read").await;
    let wanted = Wanted::default();
    let token = here.world.exchange(&paired, &wanted).await.unwrap();
    let hello = Hello::new().token(token.token.expose());
    let mut bare = hello.connect(&here.url).welcome();
    let mut client = here.comes(&paired);
    here.pass(SESSION - 100).await;
    bare.ok("sessions.list", &json!({}));
    here.pass(200).await;
    assert_eq!(bare.closed(), (4001, "device token expired".to_owned()));
    client.ok("sessions.list", &json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_nothing_any_more_is_let_go() {
    let timeouts = Timeouts {
        slow_reader: Duration::from_millis(300),
        farewell: Duration::from_millis(100),
        ..Timeouts::default()
    };
    let here = Here::new(timeouts).await;
    let paired = here.world.pair(1, "operator.read").await;
    let frozen = here.comes(&paired);
    let mut other = here.comes(&paired);
    let behind = here.gateway.connections().remove(0);
    // 64 MiB that nobody takes; what it holds meanwhile is measured in `relay`.
    let large = format!(
        r#"{{"type":"event","event":"chat","payload":"{}"}}"#,
        "x".repeat(1 << 20)
    );
    for _ in 0..64 {
        behind.say(large.clone());
    }
    eventually("the end of the frozen client", || {
        (here.door.connected() == 1).then_some(())
    });
    other.ok("sessions.list", &json!({}));
    drop(frozen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_asked_whether_it_is_there() {
    let here = Here::new(Timeouts::default()).await;
    let paired = here.world.pair(1, "operator.read").await;
    let _client = here.comes(&paired);
    // The system asks, and closes what does not answer. The fields of each line
    // are: number, own address, the other's, state, queues, kind of timer.
    let own = format!(":{:04X}", here.port);
    eventually("a timer of keep-alive", || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let mut lines = table.lines().map(str::split_whitespace);
        lines.find_map(|mut fields| {
            let (address, state) = (fields.nth(1)?, fields.nth(1)?);
            let timer = fields.nth(1)?;
            (address.ends_with(&own) && state == "01" && timer.starts_with("02:")).then_some(())
        })
    });
}
