//! Revocation by presenting a token (RFC 7009).

use hardtack::authority::Error;
use hardtack::authority::client::Proofs;
use hardtack::authority::exchange::Wanted;
use hardtack::authority::proof::Target;
use hardtack_token::{Caveat, TokenText, attenuate};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::services::{credentials, issued};
use super::support::{Approver, FROM, ISSUER, World, code};
use crate::device::Device;

const TARGET: Target<'static> = Target {
    method: "POST",
    path: "/oauth/revoke",
};

/// How a revocation by whoever only has the token ended.
async fn revoke(world: &World, token: &TokenText) -> String {
    revoke_with(world, token.expose(), Proofs::none(TARGET)).await
}

async fn revoke_with(world: &World, token: &str, proofs: Proofs<'_>) -> String {
    let revoked = world.authority.revoke_token(token, proofs, FROM).await;
    match revoked {
        Ok(()) => "ok".to_owned(),
        Err(Error::Said(said, inner)) => format!("{said:?} {}", code(&inner)),
        Err(other) => code(&other),
    }
}

/// The same by a device that proves its key.
async fn revoke_as(world: &World, device: &Device, token: &TokenText) -> String {
    let assertion = device.assertion(ISSUER, world.now());
    let proofs = Proofs {
        assertion: Some(&assertion),
        ..Proofs::none(TARGET)
    };
    revoke_with(world, token.expose(), proofs).await
}

async fn revoke_by_secret(
    world: &World,
    name: &str,
    secret: &TokenText,
    token: &TokenText,
) -> String {
    let proofs = Proofs {
        client_id: Some(name),
        secret: Some(secret.expose()),
        ..Proofs::none(TARGET)
    };
    revoke_with(world, token.expose(), proofs).await
}

#[tokio::test]
async fn an_access_token_ends_its_session_and_no_other() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let exchange = async || {
        world
            .exchange(&paired, &Wanted::default())
            .await
            .unwrap()
            .token
    };
    let (token, other) = (exchange().await, exchange().await);
    let caveat = Caveat::Scopes("operator.read".parse().unwrap());
    let copy = attenuate(&token, &[caveat], &mut StdRng::seed_from_u64(1)).unwrap();
    assert_eq!(revoke(&world, &token).await, "ok");
    for ended in [&token, &copy] {
        assert_eq!(world.decide(ended, "operator.read"), "revoked");
    }
    assert_eq!(world.decide(&other, "operator.read"), "ok");
    assert_eq!(world.decide(&exchange().await, "operator.read"), "ok");
    let rows = world.audit_log().await;
    assert_eq!(revoke(&world, &token).await, "ok");
    assert_eq!(world.audit_log().await.len(), rows.len(), "once is enough");
    let row = rows
        .iter()
        .find(|row| row.action == "session.revoke")
        .unwrap();
    assert!(row.actor.contains(&paired.device.id().to_string()));
}

#[tokio::test]
async fn a_grant_ends_with_proof_of_its_key_and_with_it_what_it_approved() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.pairing operator.read").await;
    let child = world
        .pair_by(Approver::Device(&paired), 2, "operator.read")
        .await;
    let token = world
        .exchange(&child, &Wanted::default())
        .await
        .unwrap()
        .token;
    assert_eq!(revoke(&world, &paired.grant).await, "KeyRequired");
    let stranger = revoke_as(&world, &child.device, &paired.grant).await;
    assert_eq!(stranger, "InvalidClient WrongKey");
    let parent = revoke_as(&world, &world.local.device, &paired.grant).await;
    assert_eq!(parent, "InvalidClient WrongKey", "not even who approved it");
    assert_eq!(world.decide(&token, "operator.read"), "ok");
    assert_eq!(revoke_as(&world, &paired.device, &paired.grant).await, "ok");
    assert_eq!(world.decide(&token, "operator.read"), "revoked");
    let refused = world.exchange(&paired, &Wanted::default()).await;
    assert_eq!(code(&refused.unwrap_err()), "revoked");
    assert_eq!(revoke_as(&world, &paired.device, &paired.grant).await, "ok");
}

#[tokio::test]
async fn a_service_token_ends_itself() {
    let world = World::new().await;
    let ci = issued(&world, "ci", "operator.read").await;
    let other = issued(&world, "other", "operator.read").await;
    assert_eq!(revoke(&world, &ci.token).await, "ok");
    assert_eq!(world.decide(&ci.token, "operator.read"), "revoked");
    assert_eq!(world.decide(&other.token, "operator.read"), "ok");
    // Its name is free again.
    issued(&world, "ci", "operator.read").await;
}

/// A narrowed copy is given away; the long-lived token must not end with it.
#[tokio::test]
async fn a_narrowed_copy_of_a_service_token_ends_it_for_the_service_alone() {
    let world = World::new().await;
    let ci = issued(&world, "ci", "operator.read").await.token;
    let other = issued(&world, "other", "operator.read").await.token;
    let copy = credentials(&world, "ci", &ci, &Wanted::default())
        .await
        .unwrap()
        .token;
    assert_eq!(revoke(&world, &copy).await, "ServiceTokenRequired");
    let by_other = revoke_by_secret(&world, "other", &other, &copy).await;
    assert_eq!(by_other, "WrongClient");
    assert_eq!(world.decide(&ci, "operator.read"), "ok");
    assert_eq!(revoke_by_secret(&world, "ci", &ci, &copy).await, "ok");
    assert_eq!(world.decide(&copy, "operator.read"), "revoked");
    assert_eq!(world.decide(&ci, "operator.read"), "revoked");
    assert_eq!(world.decide(&other, "operator.read"), "ok");
}

#[tokio::test]
async fn what_is_nothing_to_end_is_no_error() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let token = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    let rows = world.audit_log().await.len();
    // One letter of it changed, wherever: it says what it said, and is not signed.
    let text = token.expose();
    for at in (0..text.len() - 4).step_by(11) {
        let mut altered = text.to_owned().into_bytes();
        altered[at] = if altered[at] == b'B' { b'C' } else { b'B' };
        let altered = String::from_utf8(altered).unwrap();
        let none = Proofs::none(TARGET);
        assert_eq!(revoke_with(&world, &altered, none).await, "ok");
    }
    assert_eq!(world.decide(&token, "operator.read"), "ok");
    for garbage in ["x", &"A".repeat(10_000), world.root.expose()] {
        assert_eq!(
            revoke_with(&world, garbage, Proofs::none(TARGET)).await,
            "ok"
        );
    }
    world.advance(900).await;
    assert_eq!(revoke(&world, &token).await, "ok", "over by itself");
    assert_eq!(world.audit_log().await.len(), rows);
    world
        .exchange(&world.local, &wanted_by_local())
        .await
        .unwrap();
}

fn wanted_by_local() -> Wanted {
    Wanted {
        scopes: Some("operator.read".parse().unwrap()),
        ..Wanted::default()
    }
}

#[tokio::test]
async fn a_client_that_says_who_it_is_ends_its_own_tokens_only() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let other = world.pair(2, "operator.read").await;
    let token = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    assert_eq!(
        revoke_as(&world, &other.device, &token).await,
        "WrongClient"
    );
    let ci = issued(&world, "ci", "operator.read").await.token;
    assert_eq!(
        revoke_by_secret(&world, "ci", &ci, &token).await,
        "WrongClient"
    );
    let wrong = revoke_by_secret(&world, "other", &ci, &ci).await;
    assert_eq!(wrong, "WrongClient");
    assert_eq!(world.decide(&token, "operator.read"), "ok");
    assert_eq!(revoke_as(&world, &paired.device, &token).await, "ok");
    assert_eq!(world.decide(&token, "operator.read"), "revoked");
}
