//! Requests over HTTP/2: read, decided on and ended as those over HTTP/1.1 are.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use hardtack_token::End;
use http::{Request, Response};
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::{Answer, bearer, read_until};
use super::sockets::{rest, soon};
use super::support::{GATEWAY, Running, Setup, World};
use super::upstreams::raw_upstream;

const MIB: usize = 1 << 20;

type Sent = BoxBody<Bytes, Infallible>;

/// A connection, and the task that is done when it ends.
pub(super) struct Http2 {
    pub(super) sender: SendRequest<Sent>,
    pub(super) ended: JoinHandle<hyper::Result<()>>,
}

impl Http2 {
    pub(super) async fn connect(gateway: &Running) -> Self {
        let stream = TokioIo::new(gateway.connect().await);
        let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
        Self {
            sender,
            ended: tokio::spawn(connection),
        }
    }

    /// Sends a request and gives its answer's head.
    pub(super) async fn begin(
        &mut self,
        line: &str,
        headers: &[(&str, &str)],
        body: Sent,
    ) -> hyper::Result<Response<Incoming>> {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://gw.example{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender.ready().await?;
        let request = request.body(body).unwrap();
        self.sender.send_request(request).await
    }

    pub(super) async fn send(&mut self, line: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = soon(self.begin(line, headers, nothing())).await.unwrap();
        whole(answer).await
    }
}

pub(super) fn nothing() -> Sent {
    Full::default().boxed()
}

pub(super) async fn whole(answer: Response<Incoming>) -> Answer {
    let (parts, body) = answer.into_parts();
    Answer {
        status: parts.status.as_u16(),
        version: 20,
        headers: parts.headers,
        body: soon(body.collect()).await.unwrap().to_bytes().to_vec(),
    }
}

#[tokio::test]
async fn what_is_asked_over_http2_is_decided_on_as_over_http1() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    let mut client = Http2::connect(&gateway).await;
    let read = bearer(&world.token("operator.read"));
    let both = format!("{read}, {read}");
    let lines = [
        "GET /api/x?q=%2e",
        "POST /api/x",
        "HEAD /head/x",
        "OPTIONS /api/x",
        "get /api/x",
        "WEBSOCKET /api/x",
        "GET /%61pi/%7Ex",
        "GET /assets/a",
        "GET /assets/%2fx",
        "GET /assets/../api/x",
        "GET /assets//x",
        "GET /assets/x;y",
        "GET /assets/%00",
        "GET /api/internal/x",
        "GET /nowhere",
        "GET /.hardtack/whoami",
        "GET /.hardtack/nothing",
        "GET /.well-known/oauth-protected-resource",
        "GET /forward-auth/nginx",
    ];
    for credentials in [
        &[][..],
        &[("authorization", &*read)],
        &[("authorization", "Bearer x")],
        &[("authorization", &*both)],
        &[("authorization", &*read), ("authorization", &*read)],
        &[("authorization", &*read), ("x_user", "mallory")],
    ] {
        for line in lines {
            let before = echo.requests();
            let expected = gateway.send(line, credentials).await;
            let went_on = echo.requests() - before;
            let answer = client.send(line, credentials).await;
            if line.starts_with("HEAD") {
                let [one, two] = [&expected, &answer].map(|a| (a.status, a.body.len()));
                assert_eq!((one.1, one), (0, two));
                let length = |answer: &Answer| answer.header("content-length").is_some();
                assert!(length(&expected) && length(&answer));
            } else {
                assert_eq!(answer.outcome(), expected.outcome(), "{line}");
            }
            assert_eq!(answer.challenges(), expected.challenges(), "{line}");
            assert_eq!(echo.requests(), before + 2 * went_on, "{line}");
            assert!(answer.header("x-request-id").is_some());
            assert_eq!(answer.header("connection"), None);
        }
    }
}

#[tokio::test]
async fn the_upstream_gets_the_same_request_by_either_protocol() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let mut client = Http2::connect(&gateway).await;
    let token = bearer(&world.token("operator.write"));
    let sent = |cookies: &'static [(&'static str, &'static str)]| {
        let mut headers = vec![
            ("authorization", &*token),
            ("dpop", "x"),
            ("x-hardtack-device", "mallory"),
            ("x-forwarded-host", "evil"),
            ("x-original-url", "/evil"),
            ("te", "trailers"),
            ("x-kept", "1"),
            ("x-kept", "2"),
        ];
        headers.extend(cookies);
        headers
    };
    let crumbs = &[("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
    let whole = &[("cookie", "a=1; b=2; c=3; d=4")];
    for line in ["GET /%61pi/%7ex?q=%2e%2e//;", "DELETE /api/x"] {
        let [mut one, mut two] = [
            gateway.send(line, &sent(whole)).await.json(),
            client.send(line, &sent(crumbs)).await.json(),
        ];
        for echo in [&mut one, &mut two] {
            let id = echo["headers"].as_object_mut().unwrap();
            assert!(id.remove("x-request-id").is_some());
            assert!(id.remove("x-hardtack-request-id").is_some());
        }
        assert_eq!(one, two);
        assert_eq!(two["headers"]["x-forwarded-host"], "gw.example");
    }
}

#[tokio::test]
async fn bodies_flow_both_ways() {
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let mut client = Http2::connect(&gateway).await;
    let token = bearer(&world.token("operator.write"));
    let headers = [("authorization", &*token)];
    let (mut parts, body) = Channel::<Bytes>::new(1);
    let upload = tokio::spawn(async move {
        for _ in 0..32 {
            parts.send_data(vec![b'a'; MIB].into()).await.unwrap();
        }
    });
    let answer = client.begin("PUT /api/x", &headers, body.boxed()).await;
    let answer = whole(answer.unwrap()).await;
    upload.await.unwrap();
    assert_eq!(answer.json()["size"], 32 * MIB);
    assert_eq!(answer.sent("transfer-encoding").as_deref(), Some("chunked"));

    let setup = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 32 * MIB);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'a'; 32 * MIB]).await.unwrap();
    })
    .await;
    let gateway = world.start(setup).await;
    let mut client = Http2::connect(&gateway).await;
    let answer = client.send("GET /assets/x", &[]).await;
    assert_eq!(answer.body.len(), 32 * MIB);
    assert_eq!(
        answer.header("content-length"),
        Some(&*(32 * MIB).to_string())
    );
}

#[tokio::test]
async fn a_refused_sender_gets_its_answer_and_sends_no_gigabyte() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    let mut client = Http2::connect(&gateway).await;
    let (mut parts, body) = Channel::<Bytes>::new(1);
    let upload = tokio::spawn(async move {
        let mut sent = 0;
        while sent < 1024 && parts.send_data(vec![0; MIB].into()).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let answer = client.begin("PUT /api/x", &[], body.boxed()).await;
    let answer = whole(answer.unwrap()).await;
    assert_eq!(answer.outcome(), "401 missing_token");
    assert!(soon(upload).await.unwrap() < 64);
    // What was sent is nobody else's: the connection goes on.
    assert_eq!(client.send("GET /assets/x", &[]).await.status, 200);
    assert_eq!(echo.requests(), 1);
}

/// The first part of a stream that an upstream sends.
async fn first(client: &mut Http2, line: &str, token: &str) -> Incoming {
    let authorization = bearer(token);
    let headers = [("authorization", &*authorization)];
    let headers = if token.is_empty() { &[] } else { &headers[..] };
    let answer = soon(client.begin(line, headers, nothing())).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let part = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(part.into_data().unwrap(), "first");
    body
}

const FIRST: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";

#[tokio::test]
async fn a_stream_is_reset_when_its_permit_ends_and_its_neighbours_go_on() {
    let mut world = World::new();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let chain = world.device_grant(1, "operator.read");
    let ended = world.session(&chain, GATEWAY, Vec::new());
    let other = world.token("operator.read");
    let mut client = Http2::connect(&gateway).await;
    let mut bodies = Vec::new();
    let mut sockets = Vec::new();
    for (line, token) in [
        ("GET /api/x", &ended),
        ("GET /api/y", &other),
        ("GET /assets/x", &String::new()),
    ] {
        let answered = async {
            let mut upstream = upstreams.accepted().await;
            upstream.write_all(FIRST).await.unwrap();
            upstream
        };
        let (body, socket) = tokio::join!(first(&mut client, line, token), answered);
        bodies.push(body);
        sockets.push(socket);
    }
    world.end(&chain, End::Revoked);
    let broken = timeout(Duration::from_secs(1), bodies[0].frame()).await;
    let broken = broken.expect("within a second").unwrap();
    assert!(broken.is_err(), "the end of a stream is no reset");
    assert_eq!(rest(&mut sockets[0]).await, b"");
    for (body, socket) in bodies.iter_mut().zip(&mut sockets).skip(1) {
        socket.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
        let left = soon(body.collect()).await.unwrap().to_bytes();
        assert_eq!(left, "last");
    }
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_reset_and_its_neighbours_go_on() {
    let mut world = World::new();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let chain = world.device_grant(1, "operator.read");
    let token = world.session(&chain, GATEWAY, Vec::new());
    let mut client = Http2::connect(&gateway).await;
    let flood = async {
        let mut upstream = upstreams.accepted().await;
        upstream.write_all(FIRST).await.unwrap();
        upstream
    };
    let (unread, mut upstream) = tokio::join!(first(&mut client, "GET /api/x", &token), flood);
    let chunk = [&b"100000\r\n"[..], &vec![b'a'; MIB], b"\r\n"].concat();
    let patience = Duration::from_millis(200);
    let mut at = 0;
    while let Ok(sent) = timeout(patience, upstream.write(&chunk[at..])).await {
        at = (at + sent.unwrap()) % chunk.len();
    }
    world.end(&chain, End::Revoked);
    assert_eq!(rest(&mut upstream).await, b"");
    gateway.has_open(0, 0).await;
    assert_eq!(client.send("GET /api/x", &[]).await.status, 401);
    drop(unread);
}

#[tokio::test]
async fn an_upload_breaks_off_and_its_sender_is_told() {
    let mut world = World::new();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let chain = world.device_grant(1, "operator.write");
    let token = bearer(&world.session(&chain, GATEWAY, Vec::new()));
    let mut client = Http2::connect(&gateway).await;
    let (mut parts, body) = Channel::<Bytes>::new(1);
    let headers = [("authorization", &*token)];
    let sent = client.begin("PUT /api/x", &headers, body.boxed());
    let upload = async {
        parts.send_data("first".into()).await.unwrap();
        let mut upstream = upstreams.accepted().await;
        soon(read_until(&mut upstream, "first\r\n")).await;
        world.end(&chain, End::Revoked);
        assert_eq!(rest(&mut upstream).await, b"");
    };
    let (answer, ()) = tokio::join!(sent, upload);
    let answer = whole(answer.unwrap()).await;
    assert_eq!(answer.outcome(), "401 revoked");
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn who_asks_and_gives_up_over_and_over_is_cut_off() {
    let mut world = World::new();
    let (gateway, upstreams) = world.start_with_upstreams().await;
    let mut patient = Http2::connect(&gateway).await;
    let mut client = Http2::connect(&gateway).await;
    let mut given_up = 0;
    loop {
        let asked = client.begin("GET /assets/x", &[], nothing());
        tokio::select! {
            ended = asked => {
                assert!(ended.is_err());
                break;
            }
            () = gateway.has_open(0, 1) => given_up += 1,
        }
        gateway.has_open(0, 0).await;
        assert!(given_up < 200);
    }
    // A page with a hundred pictures may be left.
    assert!(given_up >= 100, "{given_up}");
    soon(&mut client.ended).await.unwrap().ok();
    assert_eq!(patient.send("GET /api/x", &[]).await.status, 401);
    drop(upstreams);
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_one_with_an_open_stream_is_not() {
    let mut world = World::new();
    let upstream = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(FIRST).await.unwrap();
        // Open until the gateway closes it.
        rest(&mut stream).await;
    });
    let setup = Setup {
        request_head: Some(Duration::from_millis(20)),
        ..upstream.await
    };
    let gateway = world.start(setup).await;
    let mut streaming = Http2::connect(&gateway).await;
    let body = first(&mut streaming, "GET /assets/x", "").await;
    let silent = Http2::connect(&gateway).await;
    soon(silent.ended).await.unwrap().unwrap();
    // Neither closed nor told to ask elsewhere.
    assert_eq!(streaming.send("GET /api/x", &[]).await.status, 401);
    drop(body);
    soon(streaming.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_was_begun_ends_before_the_gateway_does() {
    let mut world = World::new();
    let (mut gateway, mut upstreams) = world.start_with_upstreams().await;
    let mut client = Http2::connect(&gateway).await;
    let served = async {
        let mut upstream = upstreams.accepted().await;
        gateway.stop();
        upstream.write_all(FIRST).await.unwrap();
        upstream.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
    };
    let asked = client.send("GET /assets/x", &[]);
    let (answer, ()) = tokio::join!(asked, served);
    assert_eq!(answer.body, b"firstlast");
    soon(client.ended).await.unwrap().unwrap();
    soon(gateway.served).await.unwrap();
}
