//! Upstreams that move, and connections that are used again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::client::read_until;
use super::http2::Http2;
use super::sockets::soon;
use super::support::{Running, Setup, World};
use super::upstreams::Echo;
use crate::gateway::names::Names;

/// Who knows the addresses of `up.example`.
#[derive(Clone, Default)]
struct Hosts(Arc<Mutex<Vec<SocketAddr>>>);

impl Hosts {
    fn set(&self, addresses: &[&str]) {
        let addresses = addresses
            .iter()
            .map(|ip| format!("{ip}:0").parse().unwrap());
        *self.0.lock().unwrap() = addresses.collect();
    }

    /// A gateway before `up.example`, at this port.
    async fn start(&self, world: &mut World, scheme: &str, port: u16, every: Duration) -> Running {
        let hosts = self.clone();
        let names = Names::new(move |name| {
            assert_eq!(name, "up.example");
            let found = hosts.0.lock().unwrap().clone();
            async move { Ok(found) }
        });
        let setup = Setup {
            upstream: Some(format!("{scheme}://up.example:{port}")),
            names: Some((names, every)),
            ..Setup::default()
        };
        world.start(setup).await
    }
}

const NEVER: Duration = Duration::from_hours(1);
const OFTEN: Duration = Duration::from_millis(5);

/// Two upstreams at the same port of two addresses.
async fn two(scheme: &str) -> (Echo, Echo, u16) {
    loop {
        let first = Echo::start_on("127.0.0.1:0", scheme).await;
        let (_, port) = first.url.rsplit_once(':').unwrap();
        let port = port.parse().unwrap();
        // It may be taken there.
        let there = format!("127.0.0.2:{port}");
        if TcpListener::bind(&there).await.is_ok() {
            return (first, Echo::start_on(&there, scheme).await, port);
        }
    }
}

#[tokio::test]
async fn requests_follow_an_upstream_that_moved_though_its_old_place_answers() {
    for scheme in ["http", "h2c"] {
        let mut world = World::new();
        let (old, new, port) = two(scheme).await;
        let hosts = Hosts::default();
        hosts.set(&["127.0.0.1"]);
        let gateway = hosts.start(&mut world, scheme, port, OFTEN).await;
        let mut client = Http2::connect(&gateway).await;
        assert_eq!(client.send("GET /assets/x", &[]).await.status, 200);
        assert_eq!((old.requests(), new.requests()), (1, 0));
        hosts.set(&["127.0.0.2"]);
        let moved = async {
            while new.requests() == 0 {
                assert_eq!(client.send("GET /assets/x", &[]).await.status, 200);
            }
        };
        soon(moved).await;
        let before = old.requests();
        assert_eq!(client.send("GET /assets/x", &[]).await.status, 200);
        assert_eq!(old.requests(), before);
    }
}

#[tokio::test]
async fn an_upstream_that_came_up_elsewhere_is_found_at_once() {
    let mut world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let old = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    let hosts = Hosts::default();
    hosts.set(&["127.0.0.1"]);
    let gateway = hosts.start(&mut world, "http", port, NEVER).await;
    assert_eq!(gateway.send("GET /assets/x", &[]).await.status, 200);
    old.await.unwrap();
    let new = Echo::start_on(&format!("127.0.0.2:{port}"), "http").await;
    // Nobody is there any more, and nobody else is known yet.
    let answer = gateway.send("GET /assets/x", &[]).await;
    assert_eq!(answer.outcome(), "502 upstream_failed");
    for known in [&["127.0.0.2"][..], &["127.0.0.1", "127.0.0.2"]] {
        hosts.set(known);
        assert_eq!(gateway.send("GET /assets/x", &[]).await.status, 200);
    }
    assert_eq!(new.requests(), 2);
    hosts.set(&[]);
    // The connection that there is needs no address.
    assert_eq!(gateway.send("GET /assets/x", &[]).await.status, 200);
    assert_eq!((new.requests(), new.connections()), (3, 1));
}

#[tokio::test]
async fn connections_to_upstreams_are_used_again() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    for _ in 0..20 {
        assert_eq!(gateway.send("GET /assets/x", &[]).await.status, 200);
    }
    assert_eq!((echo.requests(), echo.connections()), (20, 1));
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_502_and_one_that_nobody_tells_504() {
    let mut world = World::new();
    let silent = Names::new(|_| std::future::pending());
    let unknown = Names::new(|_| async { Err(std::io::ErrorKind::NotFound.into()) });
    for (names, expected) in [
        (unknown, "502 upstream_failed"),
        (silent, "504 upstream_timeout"),
    ] {
        let setup = Setup {
            upstream: Some("http://up.example".to_owned()),
            names: Some((names, NEVER)),
            response_timeout: Some(Duration::from_millis(50)),
            ..Setup::default()
        };
        let gateway = world.start(setup).await;
        let answer = gateway.send("GET /assets/x", &[]).await;
        assert_eq!(answer.outcome(), expected);
        assert!(!answer.json()["detail"].to_string().contains("up.example"));
    }
}

#[tokio::test]
async fn each_path_goes_to_the_upstream_of_its_prefix_whole() {
    let mut world = World::new();
    let (all, api) = (Echo::start().await, Echo::start().await);
    let setup = Setup {
        upstream: Some(all.url.clone()),
        more: vec![format!("/assets/v2={}/base", api.url)],
        ..Setup::default()
    };
    let gateway = world.start(setup).await;
    let mut client = Http2::connect(&gateway).await;
    for (path, target) in [
        ("/assets/x?q", "/assets/x?q"),
        ("/assets/v20", "/assets/v20"),
        ("/assets/v2?q", "/base/assets/v2?q"),
        ("/assets/%762/x", "/base/assets/v2/x"),
    ] {
        let before = (all.requests(), api.requests());
        let line = format!("GET {path}");
        let (one, two) = (
            gateway.send(&line, &[]).await,
            client.send(&line, &[]).await,
        );
        assert_eq!([&one.json()["target"], &two.json()["target"]], [target; 2]);
        let went = (all.requests() - before.0, api.requests() - before.1);
        let is_base = target.starts_with("/base");
        assert_eq!(went, if is_base { (0, 2) } else { (2, 0) }, "{path}");
    }
    let setup = Setup {
        more: vec![format!("/assets/v2={}", api.url)],
        ..Setup::default()
    };
    let gateway = world.start(setup).await;
    assert_eq!(gateway.send("GET /assets/v2", &[]).await.status, 200);
    let answer = gateway.send("GET /assets/x", &[]).await;
    assert_eq!(answer.outcome(), "503 no_upstream");
}
