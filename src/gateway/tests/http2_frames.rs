//! What a client of HTTP/2 can say that no client of HTTP/1.1 can, in frames.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::sockets::soon;
use super::support::{Running, World};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// A request is its head alone.
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// `:status 400` in HPACK's static table, and `431`, which is not in it.
const BAD_REQUEST: u8 = 0x8c;

type Fields<'a> = &'a [(&'a str, &'a str)];

const GET: Fields<'static> = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "gw.example"),
    (":path", "/assets/x"),
];

pub(super) struct Frames(TcpStream);

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    BadRequest,
    OtherAnswer,
    Reset,
    Closed,
}

impl Frames {
    pub(super) async fn connect(gateway: &Running) -> Self {
        let mut stream = gateway.connect().await;
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut frames = Self(stream);
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // Who is cut off is told so by what is read.
        self.0.write_all(&frame).await.ok();
    }

    /// The next frame: its kind, its stream and what it holds.
    async fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        soon(self.0.read_exact(&mut head)).await.ok()?;
        let [l0, l1, l2, kind, _flags, s0, s1, s2, s3] = head;
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        soon(self.0.read_exact(&mut payload)).await.ok()?;
        Some((kind, u32::from_be_bytes([s0, s1, s2, s3]), payload))
    }

    /// Asks for a path, as it stands there.
    pub(super) async fn ask(&mut self, stream: u32, path: &str) {
        let head = hpack(&with(&[(":path", path)]));
        self.send(HEADERS, WHOLE, stream, &head).await;
    }

    pub(super) async fn outcome(&mut self, wanted: u32) -> Outcome {
        while let Some((kind, stream, payload)) = self.next().await {
            match (kind, stream) {
                (HEADERS, on) if on == wanted => {
                    return match payload[0] {
                        0x88 => Outcome::Ok,
                        BAD_REQUEST => Outcome::BadRequest,
                        _ => Outcome::OtherAnswer,
                    };
                }
                (RST_STREAM, on) if on == wanted => return Outcome::Reset,
                (GOAWAY, 0) => return Outcome::Closed,
                _ => {}
            }
        }
        Outcome::Closed
    }
}

/// Fields as HPACK literals that are not indexed.
fn hpack(fields: Fields<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            if let Ok(length @ 0..=126) = u8::try_from(text.len()) {
                block.push(length);
            } else {
                // A number with a prefix of seven bits.
                block.push(127);
                let mut left = text.len() - 127;
                while left >= 128 {
                    block.push(u8::try_from(left % 128).unwrap() | 128);
                    left /= 128;
                }
                block.push(u8::try_from(left).unwrap());
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A request with some fields put in place of those of the same name.
fn with(more: Fields<'_>) -> Vec<(&str, &str)> {
    let kept = GET
        .iter()
        .filter(|(n, _)| !more.iter().any(|(m, _)| m == n));
    let pseudo = more.iter().filter(|(n, _)| n.starts_with(':'));
    let other = more.iter().filter(|(n, _)| !n.starts_with(':'));
    let fields = kept.chain(pseudo).chain(other);
    fields.filter(|(_, value)| *value != "-").copied().collect()
}

#[tokio::test]
async fn a_head_that_means_two_things_or_none_goes_nowhere() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    for (fields, expected) in [
        (with(&[("te", "trailers")]), Outcome::Ok),
        (with(&[("host", "GW.example")]), Outcome::Ok),
        (
            with(&[(":authority", "-"), ("host", "gw.example")]),
            Outcome::Ok,
        ),
        // Two hosts, or none.
        (with(&[("host", "other.example")]), Outcome::BadRequest),
        (
            with(&[("host", "gw.example"), ("host", "gw.example")]),
            Outcome::BadRequest,
        ),
        (with(&[(":authority", "-")]), Outcome::BadRequest),
        (with(&[(":authority", "u@gw.example")]), Outcome::BadRequest),
        // Names that are read in two ways, and other paths.
        (with(&[("x_hardtack_device", "me")]), Outcome::BadRequest),
        (with(&[(":path", "/api/../assets/x")]), Outcome::BadRequest),
        (with(&[(":path", "/assets\\x")]), Outcome::BadRequest),
        (
            with(&[(":path", "*"), (":method", "OPTIONS")]),
            Outcome::BadRequest,
        ),
        (
            with(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]),
            Outcome::BadRequest,
        ),
        // What concerns one connection.
        (with(&[("connection", "x-hardtack-role")]), Outcome::Reset),
        (with(&[("transfer-encoding", "chunked")]), Outcome::Reset),
        (with(&[("upgrade", "websocket")]), Outcome::Reset),
        (with(&[("keep-alive", "1")]), Outcome::Reset),
        (with(&[("proxy-connection", "1")]), Outcome::Reset),
        (with(&[("te", "gzip")]), Outcome::Reset),
        // A WebSocket (RFC 8441), which was not offered, and a tunnel.
        (
            with(&[(":method", "CONNECT"), (":protocol", "websocket")]),
            Outcome::Reset,
        ),
        (
            with(&[(":method", "CONNECT"), (":path", "-"), (":scheme", "-")]),
            Outcome::BadRequest,
        ),
        // Pseudo-headers that are missing, double, unknown or late.
        (with(&[(":path", "-")]), Outcome::Reset),
        (with(&[(":path", "")]), Outcome::Reset),
        (with(&[(":method", "-")]), Outcome::Reset),
        (
            with(&[(":path", "/assets/x"), (":path", "/assets/y")]),
            Outcome::Reset,
        ),
        (with(&[(":status", "200")]), Outcome::Reset),
        ([&[("x", "1")], GET].concat(), Outcome::Reset),
        // Names and values that are none.
        (with(&[("X-Upper", "1")]), Outcome::Closed),
        (with(&[("x y", "1")]), Outcome::Closed),
        (
            with(&[("x", "a\r\nx-hardtack-role: admin")]),
            Outcome::Closed,
        ),
    ] {
        let mut client = Frames::connect(&gateway).await;
        let before = echo.requests();
        client.send(HEADERS, WHOLE, 1, &hpack(&fields)).await;
        let outcome = client.outcome(1).await;
        assert_eq!(outcome, expected, "{fields:?}");
        let went_on = usize::from(outcome == Outcome::Ok);
        assert_eq!(echo.requests(), before + went_on, "{fields:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_no_second_request() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    let token = format!("Bearer {}", world.token("operator.write"));
    for (length, body) in [("4", "GET /api/hidden HTTP/1.1\r\n\r\n"), ("400", "short")] {
        let mut client = Frames::connect(&gateway).await;
        let head = hpack(&with(&[
            (":method", "POST"),
            (":path", "/api/x"),
            ("authorization", &token),
            ("content-length", length),
        ]));
        client.send(HEADERS, END_HEADERS, 1, &head).await;
        client.send(DATA, END_STREAM, 1, body.as_bytes()).await;
        assert_ne!(client.outcome(1).await, Outcome::Ok);
        // The connection to the upstream was not left with half a request.
        client.send(HEADERS, WHOLE, 3, &hpack(GET)).await;
        assert_eq!(client.outcome(3).await, Outcome::Ok);
    }
    assert!(echo.requests() <= 4);
}

#[tokio::test]
async fn a_head_has_its_bounds_and_those_of_others_are_unharmed() {
    let mut world = World::new();
    let (gateway, echo) = world.start_with_echo().await;
    let mut client = Frames::connect(&gateway).await;
    let long = "a".repeat(15_000);
    let long = [("x-a", &*long), ("x-b", &long), ("x-c", &long)];
    let block = hpack(&with(&long));
    let mut parts = block.chunks(16_000);
    client
        .send(HEADERS, END_STREAM, 1, parts.next().unwrap())
        .await;
    let parts: Vec<_> = parts.collect();
    let (last, parts) = parts.split_last().unwrap();
    for part in parts {
        client.send(CONTINUATION, 0, 1, part).await;
    }
    client.send(CONTINUATION, END_HEADERS, 1, last).await;
    assert_eq!(client.outcome(1).await, Outcome::OtherAnswer);
    assert_eq!(echo.requests(), 0);
    client.send(HEADERS, WHOLE, 3, &hpack(GET)).await;
    assert_eq!(client.outcome(3).await, Outcome::Ok);

    // A head without an end.
    let mut endless = Frames::connect(&gateway).await;
    endless.send(HEADERS, END_STREAM, 1, &hpack(GET)).await;
    for _ in 0..10_000 {
        endless.send(CONTINUATION, 0, 1, &[]).await;
    }
    assert_eq!(endless.outcome(1).await, Outcome::Closed);
    client.send(HEADERS, WHOLE, 5, &hpack(GET)).await;
    assert_eq!(client.outcome(5).await, Outcome::Ok);
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection() {
    let mut world = World::new();
    let (gateway, _upstreams) = world.start_with_upstreams().await;
    let mut client = Frames::connect(&gateway).await;
    let head = hpack(GET);
    for n in 0..20_000 {
        client.send(HEADERS, WHOLE, 2 * n + 1, &head).await;
        client.send(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]).await;
    }
    assert_eq!(client.outcome(u32::MAX).await, Outcome::Closed);
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn no_more_requests_are_open_than_were_offered() {
    let mut world = World::new();
    let (gateway, _upstreams) = world.start_with_upstreams().await;
    let mut client = Frames::connect(&gateway).await;
    let head = hpack(GET);
    for n in 0..128 {
        client.send(HEADERS, WHOLE, 2 * n + 1, &head).await;
    }
    gateway.has_open(0, 128).await;
    client.send(HEADERS, WHOLE, 257, &head).await;
    assert_eq!(client.outcome(257).await, Outcome::Reset);
    drop(client);
    gateway.has_open(0, 0).await;
}
