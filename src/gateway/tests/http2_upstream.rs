//! Upstreams that speak HTTP/2.

use std::convert::Infallible;

use bytes::Bytes;
use hardtack_token::End;
use http::{HeaderMap, Request, Response};
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::client::{Answer, bearer, read_until};
use super::http2::{Http2, nothing, whole};
use super::sockets::soon;
use super::support::{GATEWAY, Running, Setup, World};
use super::upstreams::{Echo, raw_upstream};

type Sent = BoxBody<Bytes, Infallible>;

/// A request that a test answers. `answer` closes when it is given up.
struct Call {
    request: Request<Incoming>,
    answer: oneshot::Sender<Response<Sent>>,
}

/// An upstream that hands its calls over.
struct Calls(mpsc::UnboundedReceiver<Call>);

impl Calls {
    async fn start(world: &mut World) -> (Running, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("h2c://{}", listener.local_addr().unwrap());
        let (called, calls) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let called = called.clone();
                let service = service_fn(move |request| {
                    let (answer, answered) = oneshot::channel();
                    called.send(Call { request, answer }).unwrap();
                    answered
                });
                let http2 = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
            }
        });
        let setup = Setup {
            upstream: Some(url),
            ..Setup::default()
        };
        (world.start(setup).await, Self(calls))
    }

    async fn next(&mut self) -> Call {
        soon(self.0.recv()).await.unwrap()
    }
}

impl Call {
    /// Begins an answer. Gives the request's body and the sender of the answer's.
    fn begin(self) -> (Incoming, Sender<Bytes>) {
        let (parts, body) = Channel::new(1);
        let answer = Response::new(body.boxed());
        self.answer.send(answer).unwrap();
        (self.request.into_body(), parts)
    }
}

async fn part(body: &mut Incoming) -> Bytes {
    let frame = soon(body.frame()).await.unwrap().unwrap();
    frame.into_data().unwrap()
}

#[tokio::test]
async fn an_upstream_of_http2_gets_what_one_of_http1_gets_over_one_connection() {
    let mut world = World::new();
    let token = bearer(&world.token("operator.write"));
    let headers = [("authorization", &*token), ("x-kept", "1")];
    let mut seen = Vec::new();
    for scheme in ["http", "h2c"] {
        let echo = Echo::start_on("127.0.0.1:0", scheme).await;
        let setup = Setup {
            upstream: Some(echo.url.clone()),
            ..Setup::default()
        };
        let gateway = world.start(setup).await;
        let mut client = Http2::connect(&gateway).await;
        let mut answers = Vec::new();
        for line in [
            "GET /%61pi/%7ex?q=%2e%2e//;",
            "DELETE /api/x",
            "GET /api/%e2%82",
        ] {
            answers.push(gateway.send(line, &headers).await);
            answers.push(client.send(line, &headers).await);
        }
        for line in ["PUT /api/x", "GET /api/x"] {
            let body = Full::from("hello").boxed();
            let answer = client.begin(line, &headers, body).await.unwrap();
            answers.push(whole(answer).await);
        }
        if scheme == "h2c" {
            assert_eq!(echo.connections(), 1);
        }
        let told = |answer: &Answer| {
            let mut echo = answer.json();
            let headers = echo["headers"].as_object_mut().unwrap();
            for own in ["x-request-id", "x-hardtack-request-id", "host"] {
                assert!(headers.remove(own).is_some(), "{own}");
            }
            (
                answer.status,
                answer.header("x-hardtack-scopes").is_none(),
                echo,
            )
        };
        seen.push(answers.iter().map(told).collect::<Vec<_>>());
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_grpc_call_runs_both_ways_and_ends_with_its_status() {
    let mut world = World::new();
    let (gateway, mut calls) = Calls::start(&mut world).await;
    let token = bearer(&world.token("operator.write"));
    let headers = [
        ("authorization", &*token),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut client = Http2::connect(&gateway).await;
    let (mut up, body) = Channel::<Bytes>::new(1);
    let line = "POST /api/notes.v1.Notes/Watch";
    let called = client.begin(line, &headers, body.boxed());
    let served = async {
        let call = calls.next().await;
        let head = &call.request;
        assert_eq!(head.uri().path(), "/api/notes.v1.Notes/Watch");
        assert_eq!(head.headers()["te"], "trailers");
        assert_eq!(head.headers()["content-type"], "application/grpc");
        assert!(!head.headers().contains_key("authorization"));
        assert!(!head.headers().contains_key("transfer-encoding"));
        call.begin()
    };
    let (answer, (mut received, mut down)) = tokio::join!(called, served);
    let mut answer = answer.unwrap().into_body();
    // Each side waits for the other.
    for text in ["one", "two"] {
        up.send_data(text.into()).await.unwrap();
        assert_eq!(part(&mut received).await, text);
        down.send_data(text.into()).await.unwrap();
        assert_eq!(part(&mut answer).await, text);
    }
    let mut status = HeaderMap::new();
    status.insert("grpc-status", 5.into());
    status.insert("grpc-message", "no such note".parse().unwrap());
    down.send_trailers(status.clone()).await.unwrap();
    drop((up, down));
    let trailers = soon(answer.collect()).await.unwrap();
    assert_eq!(trailers.trailers(), Some(&status));
    // A status alone, in the head.
    let alone = client.send_with(&mut calls, line, &headers).await;
    assert_eq!(alone.header("grpc-status"), Some("12"));
    // A refusal is a status of HTTP, from which clients make one of gRPC.
    let refused = client.send(line, &[]).await;
    assert_eq!(refused.outcome(), "401 missing_token");
}

impl Http2 {
    /// A call that is answered with a status in the head and nothing else.
    async fn send_with(
        &mut self,
        calls: &mut Calls,
        line: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let served = async {
            let mut answer = Response::new(nothing());
            answer.headers_mut().insert("grpc-status", 12.into());
            calls.next().await.answer.send(answer).unwrap();
        };
        let (answer, ()) = tokio::join!(self.send(line, headers), served);
        answer
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_and_no_other() {
    let mut world = World::new();
    let (gateway, mut calls) = Calls::start(&mut world).await;
    let mut staying = Http2::connect(&gateway).await;
    let asked = staying.begin("GET /assets/x", &[], nothing());
    let (answer, call) = tokio::join!(asked, async {
        let (_, mut down) = calls.next().await.begin();
        down.send_data("first".into()).await.unwrap();
        down
    });
    let (mut answer, mut down) = (answer.unwrap().into_body(), call);
    assert_eq!(part(&mut answer).await, "first");
    // One of either protocol, and nobody has been answered.
    let mut leaving = gateway.connect().await;
    let head = "GET /assets/x HTTP/1.1\r\nhost: gw.example\r\n\r\n";
    leaving.write_all(head.as_bytes()).await.unwrap();
    let mut call = calls.next().await;
    drop(leaving);
    soon(call.answer.closed()).await;
    let mut leaving = Http2::connect(&gateway).await;
    tokio::select! {
        answer = leaving.begin("GET /assets/x", &[], nothing()) => panic!("{answer:?}"),
        next = calls.next() => call = next,
    }
    soon(call.answer.closed()).await;
    down.send_data("last".into()).await.unwrap();
    drop(down);
    assert_eq!(soon(answer.collect()).await.unwrap().to_bytes(), "last");
}

#[tokio::test]
async fn what_ends_with_its_permit_ends_upstream_and_its_neighbours_go_on() {
    let mut world = World::new();
    let (gateway, mut calls) = Calls::start(&mut world).await;
    let chain = world.device_grant(1, "operator.write");
    let ended = bearer(&world.session(&chain, GATEWAY, Vec::new()));
    let other = bearer(&world.token("operator.write"));
    let mut client = Http2::connect(&gateway).await;
    let mut streams = Vec::new();
    for token in [&ended, &other] {
        let (mut up, body) = Channel::<Bytes>::new(1);
        let headers = [("authorization", &**token)];
        let asked = client.begin("PUT /api/x", &headers, body.boxed());
        let (answer, (received, down)) = tokio::join!(asked, async { calls.next().await.begin() });
        let (mut received, answer) = (received, answer.unwrap().into_body());
        up.send_data("first".into()).await.unwrap();
        assert_eq!(part(&mut received).await, "first");
        streams.push((up, received, down, answer));
    }
    world.end(&chain, End::Revoked);
    let (_up, mut received, _down, mut answer) = streams.remove(0);
    assert!(soon(answer.frame()).await.unwrap().is_err());
    assert!(soon(received.frame()).await.unwrap().is_err());
    let (mut up, mut received, mut down, mut answer) = streams.remove(0);
    up.send_data("last".into()).await.unwrap();
    assert_eq!(part(&mut received).await, "last");
    down.send_data("last".into()).await.unwrap();
    assert_eq!(part(&mut answer).await, "last");
    drop((up, received, down, answer));
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn a_websocket_gets_a_connection_of_http1() {
    let mut world = World::new();
    let setup = raw_upstream(|mut stream| async move {
        let head = read_until(&mut stream, "\r\n\r\n").await;
        assert!(head.starts_with("GET /assets/live HTTP/1.1\r\n"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                      upgrade: websocket\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let setup = Setup {
        upstream: setup.upstream.map(|url| url.replace("http:", "h2c:")),
        ..setup
    };
    let gateway = world.start(setup).await;
    let mut client = gateway.connect().await;
    let head = "GET /assets/live HTTP/1.1\r\nhost: gw.example\r\nconnection: Upgrade\r\n\
                upgrade: websocket\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = soon(read_until(&mut client, "hello")).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http2_is_502() {
    let mut world = World::new();
    let echo = Echo::start().await;
    let setup = Setup {
        upstream: Some(echo.url.replace("http:", "h2c:")),
        ..Setup::default()
    };
    let gateway = world.start(setup).await;
    let answer = gateway.send("GET /assets/x", &[]).await;
    assert_eq!(answer.outcome(), "502 upstream_failed");
}
