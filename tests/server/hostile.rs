//! What is no request, and too many requests.

use std::io::Write;
use std::net::Shutdown;

use serde_json::json;

use crate::device::Device;
use crate::support::http::Connection;
use crate::support::target::Target;
use crate::support::{Install, Request};

#[test]
fn bytes_that_are_no_http_do_no_harm() {
    let target = Target::new();
    let long = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    for url in [&target.server().url, &target.server().gateway] {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n",
            b"POST /v1/pairing-requests HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            long.as_bytes(),
        ] {
            let mut connection = Connection::open(url);
            connection.stream().write_all(bytes).ok();
            connection.stream().shutdown(Shutdown::Write).ok();
            // Refused, or nothing at all; to the preface of HTTP/2 the gateway
            // answers in frames, for Envoy asks there.
            let is_http2 = bytes.starts_with(b"PRI");
            if let Ok(head) = connection.answer_head()
                && !is_http2
            {
                let status: u16 = head.word(1).parse().unwrap();
                assert!((400..500).contains(&status) || status == 505, "{head:?}");
            }
        }
    }
    target.assert_unchanged();
}

#[test]
fn an_address_that_asks_without_end_is_told_when_to_come_back() {
    let install = Install::new();
    let mut connection = Connection::open(&install.server.url);
    let ask = Request::get("/v1/whoami");
    let refused = (0..100_000).find_map(|_| {
        let answer = connection.send(&ask);
        (answer.status != 401).then_some(answer)
    });
    let refused = refused.unwrap();
    assert_eq!(refused.outcome(), "429 too_many_requests");
    assert_eq!(refused.header("retry-after"), "1");
    // The gateway, and what says whether the node is there, go on.
    assert_eq!(connection.send(&Request::get("/healthz")).status, 200);
    let through = Request::get("/api/x").send(&install.server.gateway);
    assert_eq!(through.status, 401);
}

/// Nobody who waits is put out by those who come later.
#[test]
fn too_many_that_wait_are_told_to_come_back() {
    let target = Target::new();
    let ask = |number: u64| {
        let device = Device::new(100 + number);
        let request = Request::post("/v1/pairing-requests");
        let request = request.json(&json!({"scopes": ["operator.read"]}));
        let proof = target.server().proof(&device, &request, None);
        request.header("dpop", proof)
    };
    // One waits already.
    for number in 1..100 {
        target.server().send(&ask(number)).expect(202);
    }
    target.refuses("one more", &ask(100), "429 too_many_requests");
    let answer = target.server().send(&ask(101));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    // Who waits may ask again, and whoever is answered makes room.
    target.server().send(&ask(1)).expect(202);
    let first = target.pending.as_str();
    target
        .server()
        .approve(&target.local, first, &json!({}))
        .expect(200);
    target.server().send(&ask(100)).expect(202);
}
