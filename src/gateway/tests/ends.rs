//! What lasts ends when what it was allowed by does.

use std::sync::Arc;
use std::time::Duration;

use hardtack_token::{
    AttestationKey, Caveat, Denial, End, KeyRing, KeyState, Profile, Request, RootKeyId, Untrusted,
    attenuate,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

use super::client::{Answer, read_until};
use super::sockets::{Ends, farewell, frame, rest, soon, take};
use super::support::{GATEWAY, NOW, World, text};
use crate::gateway::streams::{Opening, Streams, Subject};

const NOTHING: &[u8] = &[];

/// The ids in a token: of block 0, the first grant, the last and the session.
fn ids(token: &str) -> [Uuid; 4] {
    let untrusted = Untrusted::inspect(&text(token)).unwrap();
    let Profile::Chain(chain) = untrusted.claims() else {
        panic!("a root token");
    };
    let session = chain.session.as_ref().unwrap().id;
    let (first, leaf) = (chain.first.id, chain.leaf().id);
    [
        chain.authority.uuid(),
        first.uuid(),
        leaf.uuid(),
        session.uuid(),
    ]
}

fn with_keys(world: &World, root: KeyState, attestation: KeyState) {
    let new = AttestationKey::from_secret(&[9; 32]).unwrap();
    let ring = KeyRing::new()
        .with_root(RootKeyId::new(1), world.root.public().unwrap(), root)
        .with_attestation(new.public().unwrap(), KeyState::Active)
        .with_attestation(world.key.public().unwrap(), attestation);
    world.verifier.set_keys(ring);
}

/// A world with a token of a grant that another grant approved.
fn world() -> (World, String) {
    let mut world = World::new();
    let parent = world.device_grant(1, "operator.write");
    let child = world.grant_below(&parent, 2, "operator.write");
    let token = world.session(&child, GATEWAY, Vec::new());
    (world, token)
}

/// What ends the streams of one token: the id in it, and what becomes of it.
const ENDS: [(&str, usize, End); 5] = [
    ("revoked", 0, End::Revoked),
    ("revoked", 1, End::Revoked),
    ("revoked", 2, End::Revoked),
    ("revoked", 3, End::Revoked),
    ("retired", 2, End::Retired),
];

type Change = fn(&World);

/// What ends the streams of everybody.
const CHANGES: [(&str, Change); 5] = [
    ("expired", |world| world.advance(900)),
    ("revocations_stale", |world| world.clock.advance(5)),
    ("unknown_key", |world| {
        with_keys(world, KeyState::Active, KeyState::Retired);
    }),
    ("unknown_key", |world| {
        with_keys(world, KeyState::Retired, KeyState::Active);
    }),
    ("unknown_key", |world| {
        // Another key by the same id.
        let other = AttestationKey::from_secret(&[9; 32]).unwrap();
        let ring = KeyRing::new()
            .with_root(RootKeyId::new(1), other.public().unwrap(), KeyState::Active)
            .with_attestation(world.key.public().unwrap(), KeyState::Active);
        world.verifier.set_keys(ring);
    }),
];

#[tokio::test]
async fn a_websocket_is_closed_with_the_reason_and_others_stay_open() {
    for (code, id, end) in ENDS {
        let (mut world, token) = world();
        let (gateway, mut upstreams) = world.start_with_upstreams().await;
        let other = world.token("operator.write");
        let mut ended = upstreams.open(&gateway, "/api/x", &token).await;
        let mut other = upstreams.open(&gateway, "/api/x", &other).await;
        let mut public = upstreams.open(&gateway, "/assets/live", "").await;
        ended.pass().await;
        gateway.has_open(3, 0).await;

        world.end_id(ids(&token)[id], end);
        let closed = farewell(&mut ended.client, false);
        let closed = timeout(Duration::from_secs(1), closed).await;
        assert_eq!(closed.expect("within a second"), format!("1008 {code}"));
        let told = farewell(&mut ended.upstream, true).await;
        assert_eq!(told, format!("1008 {code}"));
        drop(ended);
        gateway.has_open(2, 0).await;
        other.pass().await;
        public.pass().await;
        drop((other, public));
        gateway.has_open(0, 0).await;
    }
}

#[tokio::test]
async fn a_websocket_is_closed_when_its_token_would_no_longer_do() {
    for (code, change) in CHANGES {
        let (mut world, token) = world();
        let (gateway, mut upstreams) = world.start_with_upstreams().await;
        let mut ended = upstreams.open(&gateway, "/api/x", &token).await;
        let mut public = upstreams.open(&gateway, "/assets/live", "").await;
        change(&world);
        let told = farewell(&mut ended.client, false).await;
        assert_eq!(told, format!("1008 {code}"));
        public.pass().await;
    }
}

#[tokio::test]
async fn what_does_not_concern_a_websocket_leaves_it_open() {
    let (mut world, token) = world();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let mut open = upstreams.open(&gateway, "/api/x", &token).await;
    let other = world.token("operator.write");
    let mut last = upstreams.open(&gateway, "/api/x", &other).await;
    // Its parent was replaced, its keys are about to be, and time passes.
    world.end_id(ids(&token)[1], End::Retired);
    with_keys(&world, KeyState::Retiring, KeyState::Retiring);
    world.advance(899);
    // This one was seen after all of it.
    world.end_id(ids(&other)[3], End::Revoked);
    assert_eq!(farewell(&mut last.client, false).await, "1008 revoked");
    open.pass().await;
}

#[tokio::test]
async fn each_of_several_tokens_ends_in_its_own_time() {
    let mut world = World::new();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let mut open = Vec::new();
    for seconds in [300, 100, 200] {
        let until = Caveat::NotAfter(NOW.plus(seconds));
        let token = text(&world.token("operator.write"));
        let token = attenuate(&token, &[until], &mut world.rng).unwrap();
        open.push(upstreams.open(&gateway, "/api/x", token.expose()).await);
    }
    for at in [1, 2, 0] {
        world.advance(100);
        let told = farewell(&mut open[at].client, false).await;
        assert_eq!(told, "1008 expired");
        assert_eq!(farewell(&mut open[at].upstream, true).await, "1008 expired");
    }
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_not_waited_for() {
    let (mut world, token) = world();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let mut open = upstreams.open(&gateway, "/api/x", &token).await;
    let half = &frame(0x82, None, &[1; 1000])[..500];
    open.upstream.write_all(half).await.unwrap();
    assert_eq!(soon(take(&mut open.client, 500)).await, half);
    let half = &frame(0x82, Some(3), &[1; 1000])[..500];
    open.client.write_all(half).await.unwrap();
    assert_eq!(soon(take(&mut open.upstream, 500)).await, half);
    world.end_id(ids(&token)[2], End::Revoked);
    // No close frame has a place there.
    assert_eq!(rest(&mut open.client).await, NOTHING);
    assert_eq!(rest(&mut open.upstream).await, NOTHING);
    gateway.has_open(0, 0).await;
}

/// Sends the same over and over until nothing more is taken.
async fn flood(ends: &mut Ends, bytes: &[u8]) {
    let patience = Duration::from_millis(200);
    let mut at = 0;
    while let Ok(sent) = timeout(patience, ends.upstream.write(&bytes[at..])).await {
        at = (at + sent.unwrap()) % bytes.len();
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing_up() {
    let (mut world, token) = world();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let mut stuck = upstreams.open(&gateway, "/api/x", &token).await;
    let mut other = upstreams.open(&gateway, "/api/x", &token).await;
    flood(&mut stuck, &frame(0x82, None, &vec![0; 1 << 20])).await;
    other.pass().await;
    world.end_id(ids(&token)[2], End::Revoked);
    assert_eq!(farewell(&mut other.client, false).await, "1008 revoked");
    assert_eq!(farewell(&mut stuck.upstream, true).await, "1008 revoked");
    drop(other);
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_cut_off() {
    let (mut world, token) = world();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let mut stuck = upstreams.events(&gateway, "/api/x", &token).await;
    let chunk = [&b"100000\r\n"[..], &vec![b'a'; 1 << 20], b"\r\n"].concat();
    flood(&mut stuck, &chunk).await;
    world.end_id(ids(&token)[2], End::Revoked);
    assert_eq!(rest(&mut stuck.upstream).await, NOTHING);
    gateway.has_open(0, 0).await;
}

/// A stream of events is cut off by a change, and a public one is not.
async fn breaks_off(code: &str, change: impl FnOnce(&World, [Uuid; 4])) {
    let (mut world, token) = world();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let mut ended = upstreams.events(&gateway, "/api/x", &token).await;
    let mut public = upstreams.events(&gateway, "/assets/x", "").await;
    gateway.has_open(0, 2).await;
    change(&world, ids(&token));
    let left = timeout(Duration::from_secs(1), rest(&mut ended.client)).await;
    // No chunk of length 0: it is no end of the answer.
    assert_eq!(left.expect("within a second"), NOTHING, "{code}");
    assert_eq!(rest(&mut ended.upstream).await, NOTHING);
    let more = b"9\r\ndata: 2\n\n\r\n0\r\n\r\n";
    public.upstream.write_all(more).await.unwrap();
    soon(read_until(&mut public.client, "data: 2\n\n\r\n0\r\n\r\n")).await;
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn a_stream_of_events_breaks_off_and_others_go_on() {
    for (code, id, end) in ENDS {
        breaks_off(code, |world, ids| world.end_id(ids[id], end)).await;
    }
    for (code, change) in CHANGES {
        breaks_off(code, |world, _| change(world)).await;
    }
}

#[tokio::test]
async fn an_upload_breaks_off_and_its_sender_is_told() {
    let (mut world, token) = world();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let head = format!(
        "PUT /api/x HTTP/1.1\r\nhost: gw.example\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    );
    let mut upload = upstreams.send(&gateway, &head).await;
    soon(read_until(&mut upload.upstream, "first\r\n")).await;
    world.end_id(ids(&token)[1], End::Revoked);
    let answer = soon(Answer::read(&mut upload.client)).await;
    assert_eq!(answer.outcome(), "401 revoked");
    assert_eq!(rest(&mut upload.upstream).await, NOTHING);
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn an_upload_breaks_off_when_the_answer_has_begun() {
    let (mut world, token) = world();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let head = format!(
        "PUT /api/x HTTP/1.1\r\nhost: gw.example\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    );
    let mut both = upstreams.send(&gateway, &head).await;
    soon(read_until(&mut both.upstream, "first\r\n")).await;
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    both.upstream.write_all(answer.as_bytes()).await.unwrap();
    soon(read_until(&mut both.client, "hello\r\n")).await;
    world.end_id(ids(&token)[1], End::Revoked);
    assert_eq!(rest(&mut both.upstream).await, NOTHING);
    assert_eq!(rest(&mut both.client).await, NOTHING);
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_is_refused() {
    let (mut world, token) = world();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let head = format!(
        "GET /api/x HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\n\r\n"
    );
    let mut poll = upstreams.send(&gateway, &head).await;
    gateway.has_open(0, 1).await;
    world.end_id(ids(&token)[3], End::Revoked);
    let answer = soon(Answer::read(&mut poll.client)).await;
    assert_eq!(answer.outcome(), "401 revoked");
    assert_eq!(rest(&mut poll.upstream).await, NOTHING);
    gateway.has_open(0, 0).await;
}

#[tokio::test]
async fn a_gateway_that_stops_says_so_on_every_websocket_and_waits_for_it() {
    let (mut world, token) = world();
    let (mut gateway, mut upstreams) = world.start_with_upstreams().await;
    let mut held = upstreams.open(&gateway, "/api/x", &token).await;
    let mut public = upstreams.open(&gateway, "/assets/live", "").await;
    gateway.stop();
    for ends in [&mut held, &mut public] {
        let expected = "1001 the gateway is stopping";
        assert_eq!(farewell(&mut ends.client, false).await, expected);
        assert_eq!(farewell(&mut ends.upstream, true).await, expected);
    }
    drop((held, public));
    soon(gateway.served).await.unwrap();
    let open = gateway.gateway.open_streams();
    assert_eq!((open.websockets, open.exchanges), (0, 0));
}

#[tokio::test]
async fn a_permit_that_ended_before_its_stream_was_opened_is_not_missed() {
    let (world, token) = world();
    let streams = Streams::new(Arc::clone(&world.verifier), Arc::clone(&world.clock) as _);
    let catalog = world.catalog();
    let request = Request {
        now: NOW,
        audience: GATEWAY,
        holder: None,
        method: Some("GET"),
        path: Some("/api/x"),
        operation: None,
    };
    let open = |changes| {
        let permit = world.verifier.authorize(&token, &catalog, &request, &[]);
        permit.map(|permit| {
            let subject = Subject {
                path: "/api/x".into(),
                client: [127, 0, 0, 1].into(),
                request_id: "id-1".into(),
            };
            world.end_id(ids(&token)[1], End::Revoked);
            streams.open(Opening {
                held: Some((permit, subject)),
                is_websocket: true,
                cut: Arc::new(Notify::new()),
                changes,
            })
        })
    };
    let stream = open(streams.changes()).unwrap();
    assert_eq!(stream.ended().map(Denial::code), Some("revoked"));
    assert!(open(streams.changes()).is_err());
}
