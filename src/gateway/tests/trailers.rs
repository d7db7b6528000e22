//! Trailers, through every pair of protocols.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::client::{Answer, bearer};
use super::http2::Http2;
use super::sockets::soon;
use super::support::{Setup, World};
use super::upstreams::{Echo, with_trailers};

const FIELDS: [(&str, &str); 4] = [
    ("x-sum", "7"),
    ("x-hardtack-device", "mallory"),
    ("authorization", "Bearer x"),
    ("x-quiet", "1"),
];

/// What the upstream got behind the body, and the trailers of its answer.
async fn through(from: &str, to: &str) -> (Value, HeaderMap) {
    let mut world = World::new();
    let echo = Echo::start_on("127.0.0.1:0", to).await;
    let setup = Setup {
        upstream: Some(echo.url.clone()),
        ..Setup::default()
    };
    let gateway = world.start(setup).await;
    let token = bearer(&world.token("operator.write"));
    let names = FIELDS.map(|(name, _)| name);
    // One of them was not announced.
    let announced = names[..3].join(", ");
    if from == "http" {
        let fields = FIELDS.map(|(name, value)| format!("{name}: {value}\r\n"));
        let text = format!(
            "POST /api/x HTTP/1.1\r\nhost: gw.example\r\nauthorization: {token}\r\n\
             connection: close, te\r\nte: trailers\r\ntrailer: {announced}\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{}\r\n",
            fields.concat()
        );
        let answer = gateway.send_raw(&text).await;
        return chunked(&answer);
    }
    let mut fields = HeaderMap::new();
    for (name, value) in FIELDS {
        fields.insert(name, value.parse().unwrap());
    }
    let body = with_trailers("hello".to_owned(), fields);
    let headers = [
        ("authorization", &*token),
        ("te", "trailers"),
        ("trailer", &*announced),
    ];
    let mut client = Http2::connect(&gateway).await;
    let answer = client.begin("POST /api/x", &headers, body).await;
    let whole = soon(answer.unwrap().into_body().collect()).await.unwrap();
    let trailers = whole.trailers().cloned().unwrap_or_default();
    (json_of(&whole.to_bytes()), trailers)
}

fn json_of(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The one chunk of an answer, and what is behind the last.
fn chunked(answer: &Answer) -> (Value, HeaderMap) {
    let text = std::str::from_utf8(&answer.body).unwrap();
    let mut lines = text.split("\r\n");
    let _size = lines.next();
    let echo = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(lines.next(), Some("0"));
    let mut trailers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        let name: http::HeaderName = name.parse().unwrap();
        trailers.insert(name, value.parse().unwrap());
    }
    (echo, trailers)
}

#[tokio::test]
async fn trailers_pass_both_ways_and_carry_no_identity() {
    for (from, to) in [
        ("http", "http"),
        ("http", "h2c"),
        ("h2", "http"),
        ("h2", "h2c"),
    ] {
        let (echo, trailers) = through(from, to).await;
        assert_eq!(echo["body"], "hello", "{from} {to}");
        // Over HTTP/1.1 only what was announced is sent.
        let expected = match to {
            "h2c" => json!({"x-sum": "7", "x-quiet": "1"}),
            _ => json!({"x-sum": "7"}),
        };
        assert_eq!(echo["trailers"], expected, "{from} {to}");
        assert_eq!(echo["headers"]["trailer"], "x-sum");
        assert_eq!(echo["headers"]["te"], "trailers");
        assert_eq!(echo["headers"]["x-hardtack-role"], "operator");
        let got = |name: &str| trailers.get(name).map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(got("x-sum").as_deref(), Some("1"), "{from} {to}");
        assert_eq!(got("x-hardtack-role"), None, "{from} {to}");
        let is_http2 = (from, to) == ("h2", "h2c");
        assert_eq!(got("x-more").is_some(), is_http2, "{from} {to}");
    }
}
