//! The grant as a refresh token.

use hardtack::authority::Error;
use hardtack::authority::client::Proofs;
use hardtack::authority::error::Word;
use hardtack::authority::exchange::{Issued, Wanted};
use hardtack_token::TokenText;

use super::support::{FROM, ISSUER, Paired, World, code, token_target};
use crate::device::Device;

async fn refresh(world: &World, device: &Device, grant: &TokenText) -> Result<Issued, Error> {
    let assertion = device.assertion(ISSUER, world.now());
    let client_id = device.id().to_string();
    let proofs = Proofs {
        assertion: Some(&assertion),
        client_id: Some(&client_id),
        ..Proofs::none(token_target())
    };
    let wanted = Wanted::default();
    world.authority.refresh(grant, &wanted, proofs, FROM).await
}

/// The code of a refusal that is `invalid_grant` to an OAuth client.
fn invalid_grant(refused: Result<Issued, Error>) -> String {
    match refused.unwrap_err() {
        Error::Said(Word::InvalidGrant, inner) => code(&inner),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_grant_is_refreshed_with_proof_of_its_key_and_stays_the_same() {
    let world = World::new().await;
    let Paired { device, grant } = world.pair(1, "operator.read").await;
    for _ in 0..3 {
        let issued = refresh(&world, &device, &grant).await.unwrap();
        assert_eq!(world.decide(&issued.token, "operator.read"), "ok");
    }
    assert_eq!(world.fetch_grant(&device).await.unwrap(), grant);
}

#[tokio::test]
async fn a_refresh_token_that_cannot_be_used_is_an_invalid_grant() {
    let world = World::new().await;
    let Paired { device, grant } = world.pair(1, "operator.read").await;
    let thief = world.pair(2, "operator.read").await.device;
    assert_eq!(
        invalid_grant(refresh(&world, &thief, &grant).await),
        "WrongKey"
    );
    let access = refresh(&world, &device, &grant).await.unwrap().token;
    let paired = Paired {
        device: device.clone(),
        grant: access,
    };
    let refreshed = refresh(&world, &paired.device, &paired.grant).await;
    assert_eq!(invalid_grant(refreshed), "NotAGrant");
    world.end("retire", &device).await.unwrap();
    assert_eq!(
        invalid_grant(refresh(&world, &device, &grant).await),
        "retired"
    );
    world.end("revoke", &device).await.unwrap();
    assert_eq!(
        invalid_grant(refresh(&world, &device, &grant).await),
        "revoked"
    );
}

#[tokio::test]
async fn without_a_key_or_with_the_id_of_another_there_is_no_client() {
    let world = World::new().await;
    let Paired { device, grant } = world.pair(1, "operator.read").await;
    let wanted = Wanted::default();
    let none = Proofs::none(token_target());
    let bare = world.authority.refresh(&grant, &wanted, none, FROM).await;
    assert_eq!(code(&bare.unwrap_err()), "KeyRequired");
    let assertion = device.assertion(ISSUER, world.now());
    let other = Device::new(2).id().to_string();
    let named = Proofs {
        assertion: Some(&assertion),
        client_id: Some(&other),
        ..none
    };
    let refused = world.authority.refresh(&grant, &wanted, named, FROM).await;
    assert_eq!(code(&refused.unwrap_err()), "WrongClient");
}
