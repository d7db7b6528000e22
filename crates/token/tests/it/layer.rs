//! A service behind the layer: what gets through, and what everything else is answered.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use hardtack_token::{
    AuthorizeLayer, Caveat, End, Follower, ManualClock, Origin, Permit, attenuate,
};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::follow::{Authority, follower, now};
use crate::support::{GATEWAY, NOW, World, below, strings};

fn origin() -> Origin {
    GATEWAY.parse().unwrap()
}

/// A world, and a follower that has read its authority.
fn set_up(seed: u64) -> (World, Follower) {
    let world = World::new(seed);
    let clock = Arc::new(ManualClock::new(NOW));
    let mut follower = follower(&clock);
    now(follower.read(&mut Authority::of(&world, &clock))).unwrap();
    (world, follower)
}

fn app(follower: &Follower, scope: &str) -> Router {
    let layer = AuthorizeLayer::new(follower, origin()).require(scope.parse().unwrap());
    let notes = get(|permit: Permit| async move { permit.access().scopes().to_string() });
    let inner = Router::new().route("/notes", post(|| async { "written" }).merge(notes));
    Router::new().nest("/api", inner).layer(layer)
}

fn ask(app: Router, request: Request<Body>) -> (Response<()>, String) {
    let (parts, body) = now(app.oneshot(request)).unwrap().into_parts();
    let bytes = now(body.collect()).unwrap().to_bytes();
    (
        Response::from_parts(parts, ()),
        String::from_utf8(bytes.to_vec()).unwrap(),
    )
}

fn request(method: &str, path: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Body::empty()).unwrap()
}

fn code(app: Router, method: &str, path: &str, token: &str) -> String {
    let (response, body) = ask(app, request(method, path, Some(token)));
    if response.status().is_success() {
        return "ok".to_owned();
    }
    let problem: Value = serde_json::from_str(&body).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_with_the_scope_gets_through_and_its_permit_with_it() {
    let (mut world, follower) = set_up(92);
    let token = world.token(1);
    let app = app(&follower, "operator.read");
    let (response, body) = ask(app, request("GET", "/api/notes", Some(token.expose())));
    assert_eq!(
        (response.status(), body.as_str()),
        (StatusCode::OK, "operator.write")
    );
}

#[test]
fn without_a_token_the_answer_is_a_challenge() {
    let (_, follower) = set_up(93);
    let (response, body) = ask(
        app(&follower, "operator.read"),
        request("GET", "/api/notes", None),
    );
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        response.headers()["www-authenticate"],
        r#"Bearer realm="hardtack""#
    );
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert!(body.contains(r#""code":"missing_token""#), "{body}");
}

#[test]
fn a_missing_scope_is_named_with_what_is_held() {
    let (mut world, follower) = set_up(94);
    let token = world.token(1);
    let app = app(&follower, "operator.admin");
    let (response, body) = ask(app, request("GET", "/api/notes", Some(token.expose())));
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains(r#"error="insufficient_scope""#),
        "{challenge}"
    );
    assert!(
        challenge.contains(r#"scope="operator.admin""#),
        "{challenge}"
    );
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["required"][0], "operator.admin");
    assert_eq!(problem["held"][0], "operator.write");
}

#[test]
fn a_scope_that_is_not_declared_refuses_everybody() {
    let (mut world, follower) = set_up(95);
    let authority = world.authority("* ghost.walk");
    let chain = world.grant(&authority, crate::support::device(1), "* ghost.walk");
    let token = world.session(&chain, Vec::new());
    let app = app(&follower, "ghost.walk");
    assert_eq!(
        code(app, "GET", "/api/notes", token.expose()),
        "insufficient_scope"
    );
}

/// The path is the one on the wire, also where a router cuts its front off.
#[test]
fn caveats_are_held_against_the_request_on_the_wire() {
    let (mut world, follower) = set_up(96);
    let token = world.token(1);
    let mut narrowed = |caveat| {
        let token = attenuate(&token, &[caveat], &mut world.rng).unwrap();
        token.expose().to_owned()
    };
    let read_only = narrowed(Caveat::Method(strings(&["GET"])));
    let here = narrowed(below("/api/"));
    let elsewhere = narrowed(below("/notes/"));
    let app = || app(&follower, "operator.read");
    assert_eq!(code(app(), "GET", "/api/notes", &read_only), "ok");
    assert_eq!(
        code(app(), "POST", "/api/notes", &read_only),
        "caveat_method"
    );
    assert_eq!(code(app(), "GET", "/api/notes", &here), "ok");
    assert_eq!(code(app(), "GET", "/api/notes", &elsewhere), "caveat_path");
    for path in [
        "/api//notes",
        "/api/x/../notes",
        "/api/%2e%2e/notes",
        "/api/notes;x",
    ] {
        assert_eq!(code(app(), "GET", path, &here), "ambiguous_path", "{path}");
    }
    // Within a nested router the URI is shorter than what was asked for.
    let layer = AuthorizeLayer::new(&follower, origin());
    let inner = Router::new()
        .route("/notes", get(|| async { "" }))
        .layer(layer);
    let nested = || Router::new().nest("/api", inner.clone());
    assert_eq!(code(nested(), "GET", "/api/notes", &here), "ok");
    assert_eq!(
        code(nested(), "GET", "/api/notes", &elsewhere),
        "caveat_path"
    );
}

/// H7: what is upgraded is a channel that can write.
#[test]
fn a_read_only_token_upgrades_nothing() {
    let (mut world, follower) = set_up(97);
    let token = world.token(1);
    let read_only = Caveat::Method(strings(&["GET"]));
    let token = attenuate(&token, &[read_only], &mut world.rng).unwrap();
    let mut request = request("GET", "/api/notes", Some(token.expose()));
    request
        .headers_mut()
        .insert("upgrade", "websocket".parse().unwrap());
    let (response, body) = ask(app(&follower, "operator.read"), request);
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(body.contains("caveat_method"), "{body}");
}

#[test]
fn two_credentials_are_none() {
    let (mut world, follower) = set_up(98);
    let token = world.token(1);
    let mut request = request("GET", "/api/notes", Some(token.expose()));
    let again = request.headers()["authorization"].clone();
    request.headers_mut().append("authorization", again);
    let (response, body) = ask(app(&follower, "operator.read"), request);
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(body.contains("duplicate_authorization"), "{body}");
}

#[test]
fn a_service_that_has_read_nothing_yet_says_so() {
    let mut world = World::new(99);
    let clock = Arc::new(ManualClock::new(NOW));
    let follower = follower(&clock);
    let token = world.token(1);
    let app = app(&follower, "operator.read");
    let (response, body) = ask(app, request("GET", "/api/notes", Some(token.expose())));
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("not_ready"), "{body}");
}

#[test]
fn what_is_revoked_is_refused_by_the_next_request() {
    let (mut world, follower) = set_up(100);
    let token = world.token(1);
    let app = || app(&follower, "operator.read");
    assert_eq!(code(app(), "GET", "/api/notes", token.expose()), "ok");
    let id = crate::support::claims(&token).leaf().id.uuid();
    let ended = hardtack_token::Ended {
        id,
        end: End::Revoked,
    };
    follower.verifier().revocations().add(&[ended]);
    assert_eq!(code(app(), "GET", "/api/notes", token.expose()), "revoked");
}

/// A handler that asks for a permit does not run where no layer gave one.
#[test]
fn a_route_that_was_left_out_of_the_layer_does_not_run() {
    let forgotten = get(|_: Permit| async { "ran" });
    let app = Router::new().route("/notes", forgotten);
    let (response, body) = ask(app, request("GET", "/notes", None));
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_ne!(body, "ran");
}
