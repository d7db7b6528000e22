//! Exchanging: both proofs, narrowing, audiences, the root token.

use hardtack::authority::caller::From;
use hardtack::authority::client::Proofs;
use hardtack::authority::exchange::{Issued, SubjectToken, Wanted};
use hardtack::authority::{Error, MAX_SESSION};
use hardtack_token::{Caveat, Profile, TokenText, Untrusted, attenuate};
use rand::SeedableRng;

use super::support::{FROM, GATEWAY, ISSUER, Paired, World, code, token_target, url};
use crate::device::Device;

#[tokio::test]
async fn dpop_binds_the_token_and_an_assertion_does_not() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let bound = dpop(&world, &paired.device, &paired.grant).await.unwrap();
    assert!(bound.bound);
    assert_eq!(world.decide(&bound.token, "operator.read"), "wrong_holder");
    let bearer = world.exchange(&paired, &Wanted::default()).await.unwrap();
    assert!(!bearer.bound);
    assert_eq!(world.decide(&bearer.token, "operator.read"), "ok");
}

#[tokio::test]
async fn a_grant_without_its_key_opens_nothing() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let thief = Device::new(66);
    let none = exchange(&world, &paired.grant, None, None)
        .await
        .unwrap_err();
    assert_eq!(code(&none), "Proof");
    let stolen = dpop(&world, &thief, &paired.grant).await.unwrap_err();
    assert_eq!(code(&stolen), "WrongKey");
    let assertion = thief.assertion(ISSUER, world.now());
    let stolen = exchange(&world, &paired.grant, None, Some(&assertion)).await;
    assert_eq!(code(&stolen.unwrap_err()), "WrongKey");
    // Both proofs, of two keys.
    let own = paired.device.assertion(ISSUER, world.now());
    let proof = token_proof(&world, &thief);
    let mixed = exchange(&world, &paired.grant, Some(&proof), Some(&own)).await;
    assert_eq!(code(&mixed.unwrap_err()), "WrongKey");
}

#[tokio::test]
async fn a_proof_without_our_nonce_or_used_twice_is_refused() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let plain = paired
        .device
        .proof("POST", &url("/oauth/token"), world.now(), None);
    let refused = exchange(&world, &paired.grant, Some(&plain), None).await;
    assert_eq!(code(&refused.unwrap_err()), "NonceRequired");
    let proof = token_proof(&world, &paired.device);
    assert!(
        exchange(&world, &paired.grant, Some(&proof), None)
            .await
            .is_ok()
    );
    let replayed = exchange(&world, &paired.grant, Some(&proof), None).await;
    assert_eq!(code(&replayed.unwrap_err()), "Proof");
    let assertion = paired.device.assertion(ISSUER, world.now());
    assert!(
        exchange(&world, &paired.grant, None, Some(&assertion))
            .await
            .is_ok()
    );
    let replayed = exchange(&world, &paired.grant, None, Some(&assertion)).await;
    assert_eq!(code(&replayed.unwrap_err()), "Assertion");
}

#[tokio::test]
async fn assertions_for_others_or_of_another_kind_are_refused() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let device = &paired.device;
    let elsewhere = device.assertion("https://other.example", world.now());
    let old = device.assertion(ISSUER, world.now().minus(200));
    let future = device.assertion(ISSUER, world.now().plus(200));
    let mut proof = device.claims("POST", &url("/oauth/token"), world.now());
    proof.nonce = Some(world.authority.nonce().unwrap());
    for assertion in [elsewhere, old, future, device.dpop(&proof), "x".to_owned()] {
        let refused = exchange(&world, &paired.grant, None, Some(&assertion)).await;
        assert_eq!(code(&refused.unwrap_err()), "Assertion");
    }
}

#[tokio::test]
async fn scopes_life_and_audience_are_narrowed_and_never_widened() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.write").await;
    let ask = async |wanted: Wanted| world.exchange(&paired, &wanted).await;
    let issued = ask(wanted("operator.read", None, Some(60))).await.unwrap();
    assert_eq!(issued.expires_in, 60);
    assert_eq!(issued.scopes.to_string(), "operator.read");
    assert_eq!(world.decide(&issued.token, "operator.read"), "ok");
    assert_eq!(
        world.decide(&issued.token, "operator.write"),
        "insufficient_scope"
    );
    let wider = ask(wanted("operator.admin", None, None)).await.unwrap_err();
    assert_eq!(code(&wider), "InvalidScope");
    let elsewhere = ask(wanted("operator.read", Some("https://other.example"), None)).await;
    assert_eq!(
        world.decide(&elsewhere.unwrap().token, "operator.read"),
        "wrong_audience"
    );
    for (audience, life, expected) in [
        (Some("not an origin"), None, "InvalidTarget"),
        (Some("http://gw.example/path"), None, "InvalidTarget"),
        (None, Some(0), "InvalidRequest"),
        (None, Some(MAX_SESSION + 1), "InvalidRequest"),
    ] {
        let refused = ask(wanted("operator.read", audience, life))
            .await
            .unwrap_err();
        assert_eq!(code(&refused), expected, "{audience:?} {life:?}");
    }
    let two = Wanted {
        audiences: vec![GATEWAY.to_owned(), ISSUER.to_owned()],
        ..Wanted::default()
    };
    assert_eq!(code(&ask(two).await.unwrap_err()), "InvalidTarget");
}

#[tokio::test]
async fn the_root_token_gives_a_short_session_with_the_scopes_that_are_named() {
    let world = World::new().await;
    let subject = SubjectToken::Root(world.root.clone());
    let ask = async |wanted: &Wanted| {
        let proofs = no_proofs();
        world
            .authority
            .exchange(&subject, wanted, proofs, FROM)
            .await
    };
    assert_eq!(
        code(&ask(&Wanted::default()).await.unwrap_err()),
        "InvalidRequest"
    );
    let issued = ask(&wanted("operator.read", None, Some(60))).await.unwrap();
    assert_eq!(world.decide(&issued.token, "operator.read"), "ok");
    assert_eq!(
        world.decide(&issued.token, "operator.write"),
        "insufficient_scope"
    );
    world.advance(60).await;
    assert_eq!(world.decide(&issued.token, "operator.read"), "expired");
}

#[tokio::test]
async fn a_root_token_that_others_could_read_is_taken_with_a_warning() {
    let world = World::new().await;
    let subject = SubjectToken::Root(world.root.clone());
    let wanted = wanted("operator.read", None, Some(60));
    for exposed in [false, true] {
        let from = From { exposed, ..FROM };
        let issued = world
            .authority
            .exchange(&subject, &wanted, no_proofs(), from)
            .await
            .unwrap();
        assert_eq!(issued.warning.is_some(), exposed);
        let log = world.audit_log().await;
        let told = format!("\"root_token_exposed\":{exposed}");
        assert!(log.last().unwrap().detail.contains(&told));
    }
}

#[tokio::test]
async fn an_access_token_is_narrowed_and_gets_no_new_session() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.write").await;
    let access = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    let narrowed = narrow(&world, &access, &wanted("operator.read", None, None))
        .await
        .unwrap();
    assert_eq!(session_of(&narrowed.token), session_of(&access));
    assert_eq!(world.decide(&narrowed.token, "operator.read"), "ok");
    assert_eq!(
        world.decide(&narrowed.token, "operator.write"),
        "insufficient_scope"
    );
    world.advance(600).await;
    // Never longer than what was presented.
    let later = narrow(&world, &access, &wanted("operator.read", None, Some(3600))).await;
    assert_eq!(later.unwrap().expires_in, 300);
    let elsewhere = wanted("operator.read", Some("https://other.example"), None);
    let refused = narrow(&world, &access, &elsewhere).await.unwrap_err();
    assert_eq!(code(&refused), "InvalidTarget");
    let wider = narrow(
        &world,
        &narrowed.token,
        &wanted("operator.write", None, None),
    )
    .await;
    assert_eq!(code(&wider.unwrap_err()), "InvalidScope");
}

#[tokio::test]
async fn what_ended_is_not_exchanged() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.write").await;
    let access = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    world.end("revoke", &paired.device).await.unwrap();
    let refused = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "revoked");
    let refused = narrow(&world, &access, &wanted("operator.read", None, None)).await;
    assert_eq!(code(&refused.unwrap_err()), "revoked");
    assert_eq!(world.decide(&access, "operator.read"), "revoked");
}

#[tokio::test]
async fn the_subject_must_be_what_its_type_says() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let access = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    let as_grant = Paired {
        device: paired.device.clone(),
        grant: access,
    };
    let refused = world
        .exchange(&as_grant, &Wanted::default())
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "NotAGrant");
    let refused = narrow(&world, &paired.grant, &Wanted::default())
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "grant_not_accepted");
    let refused = narrow(&world, &world.root, &Wanted::default())
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "root_token_not_accepted");
}

#[tokio::test]
async fn a_caveat_of_the_holder_stays_when_the_token_is_narrowed_here() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.write").await;
    let access = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let caveat = Caveat::Scopes("operator.read".parse().unwrap());
    let own = attenuate(&access, &[caveat], &mut rng).unwrap();
    let wider = narrow(&world, &own, &wanted("operator.write", None, None)).await;
    assert_eq!(code(&wider.unwrap_err()), "InvalidScope");
    let twice = narrow(&world, &own, &Wanted::default())
        .await
        .unwrap()
        .token;
    let full = narrow(&world, &twice, &Wanted::default())
        .await
        .unwrap_err();
    assert_eq!(code(&full), "ChainTooLong");
}

fn wanted(scopes: &str, audience: Option<&str>, expires_in: Option<u64>) -> Wanted {
    Wanted {
        scopes: Some(scopes.parse().unwrap()),
        audiences: audience.into_iter().map(str::to_owned).collect(),
        expires_in,
    }
}

const fn no_proofs() -> Proofs<'static> {
    Proofs::none(token_target())
}

async fn exchange(
    world: &World,
    grant: &TokenText,
    dpop: Option<&str>,
    assertion: Option<&str>,
) -> Result<Issued, Error> {
    let proofs = Proofs {
        dpop,
        assertion,
        ..no_proofs()
    };
    let subject = SubjectToken::Grant(grant.clone());
    let wanted = Wanted::default();
    world
        .authority
        .exchange(&subject, &wanted, proofs, FROM)
        .await
}

fn token_proof(world: &World, device: &Device) -> String {
    let mut claims = device.claims("POST", &url("/oauth/token"), world.now());
    claims.nonce = Some(world.authority.nonce().unwrap());
    device.dpop(&claims)
}

async fn dpop(world: &World, device: &Device, grant: &TokenText) -> Result<Issued, Error> {
    let proof = token_proof(world, device);
    exchange(world, grant, Some(&proof), None).await
}

async fn narrow(world: &World, access: &TokenText, wanted: &Wanted) -> Result<Issued, Error> {
    let subject = SubjectToken::Access(access.clone());
    let proofs = no_proofs();
    world
        .authority
        .exchange(&subject, wanted, proofs, FROM)
        .await
}

fn session_of(token: &TokenText) -> hardtack_token::SessionId {
    match Untrusted::inspect(token).unwrap().claims() {
        Profile::Chain(chain) => chain.session.as_ref().unwrap().id,
        Profile::Root(_) => panic!("not a chain"),
    }
}
