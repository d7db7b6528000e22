//! Upgrades, which open a channel that can write.

use rand::RngCore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::read_until;
use super::sockets::{Ends, frame, soon};
use super::support::World;
use super::upstreams::raw_upstream;

#[tokio::test]
async fn an_upgrade_is_decided_on_as_a_method_of_its_own() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    let token = world.token("operator.read");
    let upgrade = |path: &str, more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: gw.example\r\nconnection: Upgrade, close\r\n\
             upgrade: websocket\r\nauthorization: Bearer {token}\r\n{more}\r\n"
        )
    };
    // A GET of the same path would be allowed by its route.
    let answer = gateway.send_raw(&upgrade("/ws/x", "")).await;
    assert_eq!(answer.outcome(), "403 no_route");
    let answer = gateway.send_raw(&upgrade("/api/x", "")).await;
    assert_eq!(answer.outcome(), "403 insufficient_scope");
    let answer = gateway.send_raw(&upgrade("/assets/x", "")).await;
    assert_eq!(answer.outcome(), "403 no_route");
    let answer = gateway
        .send_raw(&upgrade("/api/x", "content-length: 1\r\n"))
        .await;
    assert_eq!(answer.outcome(), "400 invalid_request");
    let line = "WEBSOCKET /api/x";
    assert_eq!(
        gateway.send(line, &[]).await.outcome(),
        "400 invalid_request"
    );
    assert_eq!(echo.requests(), 0);
}

#[tokio::test]
async fn a_websocket_is_passed_through_in_both_directions() {
    let mut world = World::new();
    let setup = raw_upstream(|mut stream| async move {
        let head = read_until(&mut stream, "\r\n\r\n").await.to_lowercase();
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nsec-websocket-key: k\r\n"), "{head}");
        assert!(head.contains("\r\nx-hardtack-scopes: operator.read operator.write\r\n"));
        assert!(!head.contains("authorization"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-accept: a\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut stream, "ping").await, "ping");
        stream.write_all(b"pong").await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    })
    .await;
    let gateway = world.start(setup).await;
    let token = world.token("operator.write");
    let mut client = gateway.connect().await;
    let head = format!(
        "GET /api/x HTTP/1.1\r\nhost: gw.example\r\nconnection: keep-alive, Upgrade\r\n\
         upgrade: h2c, WebSocket\r\nsec-websocket-key: k\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "hello").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(
        answer.contains("\r\nsec-websocket-accept: a\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nx-request-id: "), "{answer}");
    client.write_all(b"ping").await.unwrap();
    read_until(&mut client, "pong").await;
}

#[tokio::test]
async fn frames_of_every_kind_pass_as_they_are() {
    let mut world = World::new();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let token = world.token("operator.write");
    let Ends { client, upstream } = upstreams.open(&gateway, "/api/x", &token).await;
    let mut garbage = vec![0; 300_000];
    world.rng.fill_bytes(&mut garbage);
    let frames = |mask| {
        [
            // A message in fragments, with a control frame between them.
            frame(0x02, mask, b"first"),
            frame(0x89, mask, b"ping"),
            frame(0x80, mask, b""),
            // All three forms of a length, a compressed message, garbage.
            frame(0x82, mask, &garbage[..125]),
            frame(0x82, mask, &garbage[..126]),
            frame(0xc2, mask, &garbage[..65_535]),
            frame(0x81, mask, &garbage),
            garbage.clone(),
        ]
        .concat()
    };
    let (up, down) = (frames(Some(0x5a)), frames(None));
    let pass = |stream: TcpStream, sent: Vec<u8>| async move {
        let (mut reading, mut writing) = stream.into_split();
        let mut received = Vec::new();
        let (read, ()) = tokio::join!(reading.read_to_end(&mut received), async {
            writing.write_all(&sent).await.unwrap();
            writing.shutdown().await.unwrap();
        });
        read.unwrap();
        received
    };
    let both = async { tokio::join!(pass(client, up.clone()), pass(upstream, down.clone())) };
    let (to_client, to_upstream) = soon(both).await;
    assert!(to_client == down && to_upstream == up);
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn an_upstream_that_switches_protocols_unasked_is_cut_off() {
    let mut world = World::new();
    let setup = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.read_u8().await.unwrap_err();
    })
    .await;
    let gateway = world.start(setup).await;
    let answer = gateway.send("GET /assets/x", &[]).await;
    assert_eq!(answer.outcome(), "502 upstream_failed");
}
