//! Requests that are not well formed, to every endpoint: refused in the
//! contract's form, and nothing changes.

use std::io::Write;

use crate::device::Device;
use crate::support::Request;
use crate::support::http::Connection;
use crate::support::target::Target;

const UUID: &str = "0193aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee";

#[test]
fn a_body_that_is_not_what_is_expected_is_refused() {
    let target = Target::new();
    let nested = vec![b'['; 60_000];
    let create = ("POST", "/v1/pairing-requests".to_owned());
    let posts = target.endpoints().into_iter().chain([create]);
    for (_, path) in posts.filter(|(method, _)| *method == "POST") {
        let post = |body: &[u8]| {
            let request = Request::post(&path).body("application/json", body);
            let grant = format!("DPoP {}", target.local.grant);
            if path == "/v1/pairing-requests" {
                let proof = target.server().proof(&Device::new(3), &request, None);
                return request.header("dpop", proof);
            }
            let token = Some(target.local.grant.as_str());
            let proof = target.server().proof(&target.local.device, &request, token);
            request.header("dpop", proof).header("authorization", grant)
        };
        for (what, body) in [
            ("not JSON", &b"operator.read"[..]),
            ("cut off", b"{\"scopes\": ["),
            ("two documents", b"{}{}"),
            ("an array", b"[]"),
            ("a text", b"\"approve\""),
            ("not UTF-8", b"{\"name\": \"\xff\"}"),
            ("nested", &nested),
            ("an unknown member", b"{\"admin\": true}"),
            ("a token", b"{\"token\": \"x\"}"),
        ] {
            target.refuses(what, &post(body), "400 invalid_request");
        }
        let large = vec![b' '; 10_000_000];
        target.refuses("10 MB", &post(&large), "413 too_large");
    }
    target.assert_unchanged();
}

/// Bodies of an ask, and what is said to each.
const ASKS: [(&str, &str); 15] = [
    (r#"{"scopes": "operator.read"}"#, "400 invalid_request"),
    (r#"{"scopes": [1]}"#, "400 invalid_request"),
    (r#"{"scopes": ["Operator Read"]}"#, "400 invalid_request"),
    (r#"{"scopes": [""]}"#, "400 invalid_request"),
    (r#"{"scopes": ["operator.king"]}"#, "400 unknown_scope"),
    (r#"{"scopes": []}"#, "400 invalid_request"),
    (r#"{"scopes": null}"#, "400 invalid_request"),
    (r#"{"scopes": ["*"], "role": 1}"#, "400 invalid_request"),
    (
        r#"{"scopes": ["*"], "role": "king"}"#,
        "400 invalid_request",
    ),
    (
        r#"{"scopes": ["*"], "role": "service"}"#,
        "400 invalid_request",
    ),
    (r#"{"scopes": ["*"], "name": {}}"#, "400 invalid_request"),
    (
        r#"{"scopes": ["*"], "name": "LONG"}"#,
        "400 invalid_request",
    ),
    (
        r#"{"scopes": ["*"], "metadata": []}"#,
        "400 invalid_request",
    ),
    (
        r#"{"scopes": ["*"], "metadata": {"a": 1}}"#,
        "400 invalid_request",
    ),
    (
        r#"{"scopes": ["*"], "metadata": {"a": "LONG"}}"#,
        "400 invalid_request",
    ),
];

/// The same for what is done to a request, and to a device.
const ANSWERS: [(&str, &str, &str); 12] = [
    ("approve", r#"{"scopes": "*"}"#, "400 invalid_request"),
    ("approve", r#"{"scopes": ["a.b"]}"#, "400 unknown_scope"),
    ("approve", r#"{"scopes": []}"#, "400 invalid_request"),
    (
        "approve",
        r#"{"scopes": ["operator.write"]}"#,
        "422 wider_than_requested",
    ),
    ("approve", r#"{"expires_in": 0}"#, "400 invalid_request"),
    ("approve", r#"{"expires_in": -1}"#, "400 invalid_request"),
    ("approve", r#"{"expires_in": "1h"}"#, "400 invalid_request"),
    ("approve", r#"{"expires_in": 1e30}"#, "400 invalid_request"),
    ("approve", r#"{"name": ["x"]}"#, "400 invalid_request"),
    ("reject", r#"{"reason": 1}"#, "400 invalid_request"),
    ("reject", r#"{"reason": "LONG"}"#, "400 invalid_request"),
    ("revoke", r#"{"dry_run": "no"}"#, "400 invalid_request"),
];

#[test]
fn a_member_of_another_type_or_size_is_refused() {
    let target = Target::new();
    let long = "n".repeat(5000);
    for (body, expected) in ASKS {
        let body = body.replace("LONG", &long);
        let request = Request::post("/v1/pairing-requests").body("application/json", body.clone());
        let proof = target.server().proof(&Device::new(3), &request, None);
        target.refuses(&body, &request.header("dpop", proof), expected);
    }
    for (action, body, expected) in ANSWERS {
        let endpoints = target.endpoints().into_iter();
        let mut paths = endpoints
            .map(|(_, path)| path)
            .filter(|path| path.ends_with(action));
        let body = body.replace("LONG", &long);
        let request = Request::post(paths.next().unwrap()).body("application/json", body.clone());
        target.refuses(&body, &target.signed(request), expected);
    }
    target.assert_unchanged();
}

#[test]
fn an_id_that_is_unknown_or_none_is_not_found() {
    let target = Target::new();
    let unknown = "ab".repeat(32);
    let long = "a".repeat(3000);
    for id in [UUID, "not-a-uuid", "%00", "%2e%2e", "1", &long, &unknown] {
        for (method, path) in [
            ("GET", format!("/v1/pairing-requests/{id}")),
            ("POST", format!("/v1/pairing-requests/{id}/approve")),
            ("POST", format!("/v1/pairing-requests/{id}/reject")),
            ("GET", format!("/v1/devices/{id}")),
            ("POST", format!("/v1/devices/{id}/revoke")),
            ("POST", format!("/v1/devices/{id}/retire")),
        ] {
            let request = target.signed(Request::new(method, path));
            target.refuses("unknown", &request, "404 not_found");
        }
        for path in [
            format!("/v1/pairing-requests/{id}"),
            format!("/v1/devices/{id}/grant"),
        ] {
            let request = Request::get(path);
            let proof = target.server().proof(&target.device.device, &request, None);
            target.refuses("unknown", &request.header("dpop", proof), "404 not_found");
        }
        let approve = Request::post(format!("/v1/pairing-requests/{id}/approve"));
        target.refuses(
            "by root",
            &approve.bearer(&target.install.root),
            "404 not_found",
        );
    }
    target.assert_unchanged();
}

/// Whoever proves another key learns nothing, not even that there is one.
#[test]
fn the_request_and_the_grant_of_another_device_are_not_found() {
    let target = Target::new();
    let (pending, device) = (&target.pending, target.device.device.id());
    for path in [
        format!("/v1/pairing-requests/{pending}"),
        format!("/v1/devices/{device}/grant"),
    ] {
        let request = Request::get(path);
        let proof = target.server().proof(&Device::new(3), &request, None);
        target.refuses("foreign", &request.header("dpop", proof), "404 not_found");
    }
    target.assert_unchanged();
}

#[test]
fn an_unknown_path_is_not_found_and_another_method_not_allowed() {
    let target = Target::new();
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v2/devices",
        "/.well-known/nothing",
        "/oauth/nothing",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            target.refuses("unknown", &Request::new(method, path), "404 not_found");
        }
    }
    let open = [
        "/healthz",
        "/readyz",
        "/.well-known/hardtack",
        "/v1/pairing-requests",
    ];
    let more = open
        .map(str::to_owned)
        .into_iter()
        .chain(["/oauth/token".to_owned()]);
    for path in target
        .endpoints()
        .into_iter()
        .map(|(_, path)| path)
        .chain(more)
    {
        for method in ["DELETE", "PUT", "PATCH"] {
            let request = Request::new(method, &path);
            target.refuses("method", &request, "405 method_not_allowed");
            let allow = target.server().send(&request).header("allow").to_owned();
            assert!(
                allow.contains("GET") || allow.contains("POST"),
                "{path}: `{allow}`"
            );
        }
    }
    target.assert_unchanged();
}

#[test]
fn a_page_that_is_none_is_refused() {
    let target = Target::new();
    for path in ["/v1/pairing-requests", "/v1/devices", "/v1/audit"] {
        for query in [
            "limit=0",
            "limit=501",
            "limit=-1",
            "limit=x",
            "after=x",
            "limit=",
        ] {
            let request = target.signed(Request::get(format!("{path}?{query}")));
            target.refuses("page", &request, "400 invalid_request");
        }
    }
    for path in ["/v1/pairing-requests", "/v1/devices"] {
        let request = target.signed(Request::get(format!("{path}?status=king")));
        target.refuses("status", &request, "400 invalid_request");
    }
    target.assert_unchanged();
}

/// Most clients send all of a body before they look for an answer.
#[test]
fn who_sends_all_of_a_large_body_is_told_that_it_is_too_large() {
    let target = Target::new();
    for path in ["/v1/pairing-requests", "/oauth/token"] {
        let request = Request::post(path).header("content-type", "application/json");
        let mut connection = Connection::open(&target.server().url);
        connection.begin_sized(&request, 10_000_000);
        connection
            .stream()
            .write_all(&vec![b' '; 10_000_000])
            .unwrap();
        let answer = connection.answer(&request).unwrap();
        assert_eq!(answer.status, 413, "{path}");
        assert!(answer.json()["code"] == "too_large", "{path}");
    }
}

#[test]
fn an_id_that_does_not_decode_is_not_found() {
    let target = Target::new();
    for path in ["/v1/devices/%FF", "/v1/pairing-requests/%FF"] {
        let request = target.signed(Request::get(path));
        target.refuses("not UTF-8", &request, "404 not_found");
    }
}
