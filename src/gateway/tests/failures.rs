//! Upstreams that fail, clients that leave, a gateway that ends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::client::{Answer, bearer, read_until};
use super::support::{Setup, World};
use super::upstreams::raw_upstream;

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_upstream() {
    let mut world = World::new();
    let (arrived, wait) = oneshot::channel();
    let (gone, ended) = oneshot::channel();
    let setup = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        arrived.send(()).unwrap();
        let read = stream.read(&mut [0; 8]).await;
        gone.send(read.unwrap_or(0)).unwrap();
    })
    .await;
    let gateway = world.start(setup).await;
    let mut client = gateway.connect().await;
    let head = "GET /assets/x HTTP/1.1\r\nhost: gw.example\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    wait.await.unwrap();
    drop(client);
    assert_eq!(ended.await.unwrap(), 0);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_502() {
    let mut world = World::new();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = Setup {
        upstream: Some(format!("http://{}", closed.local_addr().unwrap())),
        ..Setup::default()
    };
    drop(closed);
    let gateway = world.start(setup).await;
    let token = world.token("operator.read");
    let answer = gateway
        .send("GET /api/x", &[("authorization", &bearer(&token))])
        .await;
    assert_eq!(answer.outcome(), "502 upstream_failed");
    assert!(!answer.json()["detail"].to_string().contains("127.0.0.1"));

    let setup = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"SMTP ready\r\n\r\n").await.unwrap();
    })
    .await;
    let gateway = world.start(setup).await;
    let answer = gateway.send("GET /assets/x", &[]).await;
    assert_eq!(answer.outcome(), "502 upstream_failed");
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_504() {
    let mut world = World::new();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody takes what waits there, so that in the end no more can.
    let patience = Duration::from_millis(200);
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(patience, TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    let setup = Setup {
        upstream: Some(format!("http://{address}")),
        connect: Some(Duration::from_millis(50)),
        ..Setup::default()
    };
    let gateway = world.start(setup).await;
    let answer = gateway.send("GET /assets/x", &[]).await;
    assert_eq!(answer.outcome(), "504 upstream_timeout");
}

#[tokio::test]
async fn a_silent_upstream_is_told_from_a_client_that_stops_or_garbles() {
    let mut world = World::new();
    let token = world.token("operator.write");
    let stalled = format!(
        "PUT /api/x HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-length: 10\r\n\r\nhello"
    );
    let garbled = stalled.replace(
        "content-length: 10\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n",
    );
    let silent = "GET /assets/x HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n\r\n";
    for (request, expected) in [
        (silent, "504 upstream_timeout"),
        (&stalled, "408 request_timeout"),
        (&garbled, "400 invalid_request"),
    ] {
        let mut setup = raw_upstream(|mut stream| async move {
            stream.read_to_end(&mut Vec::new()).await.ok();
        })
        .await;
        setup.response_timeout = Some(Duration::from_millis(100));
        let gateway = world.start(setup).await;
        let answer = gateway.send_raw(request).await;
        assert_eq!(answer.outcome(), expected);
        if answer.status > 400 {
            kept(expected, &answer);
        }
    }
}

/// Compares a refusal with the one that is kept. Those that need no patience are
/// played against a real server, see `tests/server/errors.rs`.
fn kept(outcome: &str, answer: &Answer) {
    let mut body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    body["request_id"] = "<uuid>".into();
    let header = |name| answer.header(name).unwrap_or_default();
    let text = format!(
        "{}\ncache-control: {}\ncontent-type: {}\n\n{body:#}\n",
        answer.status,
        header("cache-control"),
        header("content-type"),
    );
    let name = outcome.replace(' ', "-");
    let file = format!("tests/snapshots/errors/{name}-gateway.txt");
    if std::env::var_os("HARDTACK_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "{file}");
}

#[tokio::test]
async fn a_request_that_was_begun_ends_before_the_gateway_does() {
    let mut world = World::new();
    let (arrived, wait) = oneshot::channel();
    let (go_on, told) = oneshot::channel();
    let setup = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        arrived.send(()).unwrap();
        told.await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let mut gateway = world.start(setup).await;
    let mut client = gateway.connect().await;
    let head = "GET /assets/x HTTP/1.1\r\nhost: gw.example\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    wait.await.unwrap();
    gateway.stop();
    go_on.send(()).unwrap();
    let answer = Answer::read(&mut client).await;
    assert_eq!((answer.status, &*answer.body), (200, &b"done"[..]));
    assert_eq!(answer.header("connection"), Some("close"));
}
