//! Bodies, which flow.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::client::{Answer, bearer, read_until};
use super::http2::Http2;
use super::support::World;
use super::upstreams::raw_upstream;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_large_upload_arrives_whole() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.write");
    let mut client = gateway.connect().await;
    let head = format!(
        "PUT /api/x HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        64 * MIB
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![b'a'; MIB];
    for _ in 0..64 {
        client.write_all(&chunk).await.unwrap();
    }
    let answer = Answer::read(&mut client).await;
    assert_eq!(answer.json()["size"], 64 * MIB);
    assert_eq!(answer.sent("content-length"), Some((64 * MIB).to_string()));
}

#[tokio::test]
async fn a_large_download_arrives_whole() {
    let mut world = World::new();
    let setup = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 64 * MIB);
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![b'a'; MIB];
        for _ in 0..64 {
            stream.write_all(&chunk).await.unwrap();
        }
    })
    .await;
    let gateway = world.start(setup).await;
    let answer = gateway.send("GET /assets/x", &[]).await;
    assert_eq!(answer.body.len(), 64 * MIB);
}

/// What the client gets of what an upstream says.
async fn relayed(answer: &'static str) -> Answer {
    let mut world = World::new();
    let setup = raw_upstream(move |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let gateway = world.start(setup).await;
    gateway.send("GET /assets/x", &[]).await
}

#[tokio::test]
async fn an_answer_is_framed_anew() {
    let chunked = b"5\r\nhello\r\n0\r\n\r\n";
    let old = relayed("HTTP/1.0 200 OK\r\nserver: old\r\n\r\nhello").await;
    assert_eq!(old.header("transfer-encoding"), Some("chunked"));
    assert_eq!((old.version, &*old.body), (11, &chunked[..]));
    assert_eq!(old.header("server"), Some("old"));
    let both = relayed(
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    )
    .await;
    assert_eq!(both.header("content-length"), None);
    assert_eq!(both.body, chunked);
    let two = relayed("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(two.await.outcome(), "502 upstream_failed");
}

/// What is held on the way: buffers of the system, and a little of the gateway's.
#[tokio::test]
async fn a_sender_is_held_back_by_an_upstream_that_does_not_read() {
    let mut world = World::new();
    let token = world.token("operator.write");
    let patience = Duration::from_millis(300);
    for is_http2 in [false, true] {
        let setup = raw_upstream(|mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            std::future::pending::<()>().await;
        });
        let gateway = world.start(setup.await).await;
        let mut sent = 0;
        if is_http2 {
            let mut client = Http2::connect(&gateway).await;
            let (mut parts, body) = Channel::<Bytes>::new(1);
            let authorization = bearer(&token);
            let headers = [("authorization", &*authorization)];
            let asked = client.begin("PUT /api/x", &headers, body.boxed());
            let fill = async {
                let part = || vec![0; MIB].into();
                while let Ok(taken) = timeout(patience, parts.send_data(part())).await {
                    taken.unwrap();
                    sent += MIB;
                    assert!(sent < 64 * MIB);
                }
            };
            tokio::select! {
                answer = asked => panic!("{answer:?}"),
                () = fill => {}
            }
        } else {
            let mut client = gateway.connect().await;
            let head = format!(
                "PUT /api/x HTTP/1.1\r\nhost: gw.example\r\nauthorization: Bearer {token}\r\n\
                 content-length: {}\r\n\r\n",
                1024 * MIB
            );
            client.write_all(head.as_bytes()).await.unwrap();
            let part = vec![0; MIB];
            while let Ok(taken) = timeout(patience, client.write(&part)).await {
                sent += taken.unwrap();
                assert!(sent < 64 * MIB);
            }
        }
        gateway.has_open(0, 1).await;
    }
}

#[tokio::test]
async fn a_slow_answer_is_passed_on_as_it_comes() {
    let mut world = World::new();
    let (seen, wait) = oneshot::channel();
    let setup = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let first = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                     transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(first.as_bytes()).await.unwrap();
        wait.await.unwrap();
        stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
    })
    .await;
    let gateway = world.start(setup).await;
    let mut client = gateway.connect().await;
    let head = "GET /assets/x HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut client, "first").await;
    seen.send(()).unwrap();
    read_until(&mut client, "last\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_slow_upload_is_passed_on_as_it_comes() {
    let mut world = World::new();
    let (seen, wait) = oneshot::channel();
    let setup = raw_upstream(|mut stream| async move {
        let head = read_until(&mut stream, "first\r\n").await;
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        seen.send(()).unwrap();
        read_until(&mut stream, "last\r\n0\r\n\r\n").await;
        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let gateway = world.start(setup).await;
    let token = world.token("operator.write");
    let mut client = gateway.connect().await;
    // Even with a method that has no body as a rule.
    let head = format!(
        "GET /api/x HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    wait.await.unwrap();
    client.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(Answer::read(&mut client).await.status, 204);
}

#[tokio::test]
async fn trailers_cannot_carry_an_identity() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.write");
    let answer = gateway
        .send_raw(&format!(
            "POST /api/x HTTP/1.1\r\nhost: gw.example\r\nauthorization: Bearer {token}\r\n\
             connection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-hardtack-role\r\n\r\n\
             5\r\nhello\r\n0\r\nx-hardtack-role: admin\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.json()["body"], "hello");
    assert_eq!(answer.sent("trailer"), None);
    assert_eq!(answer.sent("x-hardtack-role").as_deref(), Some("operator"));
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_asked_only_if_it_may() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.write");
    let head = |authorization: &str| {
        format!(
            "PUT /api/x HTTP/1.1\r\nhost: gw.example\r\n{authorization}\
             expect: 100-continue\r\ncontent-length: 5\r\n\r\n"
        )
    };
    let mut client = gateway.connect().await;
    let close = "connection: close\r\n";
    let allowed = head(&format!("authorization: Bearer {token}\r\n{close}"));
    client.write_all(allowed.as_bytes()).await.unwrap();
    let asked = read_until(&mut client, "\r\n\r\n").await;
    assert_eq!(asked, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    let answer = Answer::read(&mut client).await;
    assert_eq!(answer.json()["body"], "hello");
    assert_eq!(answer.sent("expect"), None);

    let answer = gateway.send_raw(&head("")).await;
    assert_eq!(answer.outcome(), "401 missing_token");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn a_refused_sender_gets_its_answer_and_sends_no_gigabyte() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let (mut reading, mut writing) = gateway.connect().await.into_split();
    let upload = tokio::spawn(async move {
        let head = "PUT /api/x HTTP/1.1\r\nhost: gw.example\r\ncontent-length: 1073741824\r\n\r\n";
        writing.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![0; MIB];
        let mut sent = 0;
        while sent < 1024 && writing.write_all(&chunk).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let mut bytes = Vec::new();
    reading.read_to_end(&mut bytes).await.ok();
    let answer = Answer::parse(&bytes);
    assert_eq!(answer.outcome(), "401 missing_token");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(upload.await.unwrap() < 64);
}

#[tokio::test]
async fn a_connection_goes_on_after_a_short_refused_body() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        let head = "PUT /api/x HTTP/1.1\r\nhost: gw.example\r\ncontent-length: 5\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        // The body comes after the answer.
        let answer = read_until(&mut client, "\"]}").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        client.write_all(b"hello").await.unwrap();
    }
}
