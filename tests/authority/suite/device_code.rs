//! The device authorization grant: the same pairing, in OAuth's words.

use hardtack::authority::Error;
use hardtack::authority::client::Proofs;
use hardtack::authority::device_code::{DeviceAuthorization, Redeemed};
use hardtack::authority::error::DeviceCodeError;
use hardtack::authority::exchange::Wanted;
use hardtack::authority::proof::Target;
use hardtack::domain::pairing::{Ask, DeviceName, Metadata};
use serde_json::json;

use super::support::{Approver, FROM, ISSUER, World, code, scoped, token_target, url};
use crate::device::Device;

const DEVICE_TARGET: Target<'static> = Target {
    method: "POST",
    path: "/oauth/device_authorization",
};

fn ask(scopes: &str) -> Ask {
    Ask {
        role: "operator".parse().unwrap(),
        scopes: scopes.parse().unwrap(),
        name: DeviceName::default(),
        metadata: Metadata::default(),
    }
}

/// An assertion whose header carries the key.
fn introduction(world: &World, device: &Device) -> String {
    let (id, now) = (device.id().to_string(), world.now().unix());
    let claims = json!({
        "iss": id, "sub": id, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": device.unique(),
    });
    device.sign(&json!({"alg": "EdDSA", "jwk": device.jwk()}), &claims)
}

async fn authorize(
    world: &World,
    device: &Device,
    scopes: &str,
) -> Result<DeviceAuthorization, Error> {
    let assertion = introduction(world, device);
    let proofs = Proofs {
        assertion: Some(&assertion),
        ..Proofs::none(DEVICE_TARGET)
    };
    world
        .authority
        .authorize_device(ask(scopes), proofs, FROM)
        .await
}

async fn redeem(world: &World, device: &Device, code: &str) -> Result<Redeemed, Error> {
    let assertion = device.assertion(ISSUER, world.now());
    redeem_with(world, code, &assertion).await
}

async fn redeem_with(world: &World, code: &str, assertion: &str) -> Result<Redeemed, Error> {
    let proofs = Proofs {
        assertion: Some(assertion),
        ..Proofs::none(token_target())
    };
    let wanted = Wanted::default();
    world
        .authority
        .redeem_device_code(code, &wanted, proofs, FROM)
        .await
}

fn why(refused: Result<Redeemed, Error>) -> DeviceCodeError {
    match refused.unwrap_err() {
        Error::DeviceCode(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_code_is_the_same_pairing_request() {
    let world = World::new().await;
    let device = Device::new(1);
    let asked = authorize(&world, &device, "operator.read").await.unwrap();
    let same = world
        .ask_as(&device, "operator", "operator.read", "")
        .await
        .unwrap();
    assert_eq!(same.request.id, asked.view.request.id);
    let again = authorize(&world, &device, "operator.read").await.unwrap();
    assert_eq!(again.device_code, asked.device_code);
    assert!(!asked.device_code.contains(&same.request.id.to_string()));

    let early = redeem(&world, &device, &asked.device_code).await;
    assert_eq!(why(early), DeviceCodeError::Pending);
    let id = same.request.id;
    let local = Approver::Device(&world.local);
    world
        .approve(local, id, &scoped("operator.read"))
        .await
        .unwrap();
    let redeemed = redeem(&world, &device, &asked.device_code).await.unwrap();
    assert_eq!(world.decide(&redeemed.issued.token, "operator.read"), "ok");
    assert_eq!(redeemed.grant, world.fetch_grant(&device).await.unwrap());
    // A lost answer is fetched again.
    redeem(&world, &device, &asked.device_code).await.unwrap();
}

#[tokio::test]
async fn a_device_code_without_its_key_gives_nothing() {
    let world = World::new().await;
    let (device, thief) = (Device::new(1), world.pair(66, "operator.read").await.device);
    let asked = authorize(&world, &device, "operator.read").await.unwrap();
    let id = asked.view.request.id;
    let local = Approver::Device(&world.local);
    world
        .approve(local, id, &scoped("operator.read"))
        .await
        .unwrap();
    let stolen = redeem(&world, &thief, &asked.device_code).await;
    assert_eq!(code(&stolen.unwrap_err()), "Said");
    let none = Proofs::none(token_target());
    let wanted = Wanted::default();
    let bare = world
        .authority
        .redeem_device_code(&asked.device_code, &wanted, none, FROM)
        .await;
    assert_eq!(code(&bare.unwrap_err()), "KeyRequired");
    // The id that operators see is not the code.
    let guessed = redeem(&world, &device, &id.to_string()).await;
    assert_eq!(why(guessed), DeviceCodeError::Unknown);
    let mut altered = asked.device_code.clone().into_bytes();
    *altered.last_mut().unwrap() ^= 1;
    let altered = String::from_utf8(altered).unwrap();
    assert_eq!(
        why(redeem(&world, &device, &altered).await),
        DeviceCodeError::Unknown
    );
}

#[tokio::test]
async fn a_poll_that_somebody_saw_cannot_be_repeated_after_the_approval() {
    let world = World::new().await;
    let device = Device::new(1);
    let asked = authorize(&world, &device, "operator.read").await.unwrap();
    let seen = introduction(&world, &device);
    let pending = redeem_with(&world, &asked.device_code, &seen).await;
    assert_eq!(why(pending), DeviceCodeError::Pending);
    let local = Approver::Device(&world.local);
    let id = asked.view.request.id;
    world
        .approve(local, id, &scoped("operator.read"))
        .await
        .unwrap();
    let repeated = redeem_with(&world, &asked.device_code, &seen).await;
    assert_eq!(code(&repeated.unwrap_err()), "Assertion");
}

#[tokio::test]
async fn polls_too_soon_are_told_so_and_never_lose_the_answer() {
    let world = World::new().await;
    let device = Device::new(1);
    let asked = authorize(&world, &device, "operator.read").await.unwrap();
    let poll = async || redeem(&world, &device, &asked.device_code).await;
    assert_eq!(why(poll().await), DeviceCodeError::Pending);
    assert_eq!(why(poll().await), DeviceCodeError::TooSoon);
    // At the interval it is never too soon, however often it was before.
    for _ in 0..5 {
        world.advance(5).await;
        assert_eq!(why(poll().await), DeviceCodeError::Pending);
        assert_eq!(why(poll().await), DeviceCodeError::TooSoon);
    }
    let id = asked.view.request.id;
    let local = Approver::Device(&world.local);
    world
        .approve(local, id, &scoped("operator.read"))
        .await
        .unwrap();
    assert!(poll().await.is_ok());
}

#[tokio::test]
async fn a_request_that_ended_says_how() {
    let world = World::new().await;
    let device = Device::new(1);
    let first = authorize(&world, &device, "operator.read").await.unwrap();
    let second = authorize(&world, &device, "operator.write").await.unwrap();
    let superseded = redeem(&world, &device, &first.device_code).await;
    assert_eq!(why(superseded), DeviceCodeError::Expired);
    let id = second.view.request.id;
    let path = format!("/v1/pairing-requests/{id}/reject");
    let target = Target {
        method: "POST",
        path: &path,
    };
    let proof = world.proof(&world.local, target);
    let call = world.local.call(target, &proof);
    let reason = Some("not today".to_owned());
    world
        .authority
        .reject(&call, id, reason.clone())
        .await
        .unwrap();
    let rejected = redeem(&world, &device, &second.device_code).await;
    assert_eq!(why(rejected), DeviceCodeError::Rejected(reason));
    let third = authorize(&world, &device, "operator.read").await.unwrap();
    world.advance(3600).await;
    let expired = redeem(&world, &device, &third.device_code).await;
    assert_eq!(why(expired), DeviceCodeError::Expired);
    // And what was approved and revoked since is refused as a grant is.
    let paired = world.pair(2, "operator.read").await;
    let held = authorize(&world, &paired.device, "operator.read")
        .await
        .unwrap();
    assert!(held.view.grant.is_some());
    world.end("revoke", &paired.device).await.unwrap();
    let revoked = redeem(&world, &paired.device, &held.device_code).await;
    assert_eq!(code(&revoked.unwrap_err()), "Said");
}

#[tokio::test]
async fn a_device_authorization_needs_a_key_and_the_id_that_goes_with_it() {
    let world = World::new().await;
    let device = Device::new(1);
    let authorize = async |proofs: Proofs<'_>| {
        let asked = world
            .authority
            .authorize_device(ask("operator.read"), proofs, FROM)
            .await;
        asked.map_or_else(|e| code(&e), |_| "ok".to_owned())
    };
    let none = Proofs::none(DEVICE_TARGET);
    assert_eq!(authorize(none).await, "KeyRequired");
    // An assertion of a device that is not known says nothing about its key.
    let unknown = device.assertion(ISSUER, world.now());
    let assertion = Some(unknown.as_str());
    assert_eq!(authorize(Proofs { assertion, ..none }).await, "Assertion");
    let proof = |nonce: Option<String>| {
        let mut claims = device.claims("POST", &url(DEVICE_TARGET.path), world.now());
        claims.nonce = nonce;
        device.dpop(&claims)
    };
    let bare = proof(None);
    let dpop = Some(bare.as_str());
    assert_eq!(authorize(Proofs { dpop, ..none }).await, "NonceRequired");
    let good = proof(Some(world.authority.nonce().unwrap()));
    let (dpop, other) = (Some(good.as_str()), Device::new(2).id().to_string());
    let client_id = Some(other.as_str());
    let wrong = Proofs {
        dpop,
        client_id,
        ..none
    };
    assert_eq!(authorize(wrong).await, "WrongClient");
    let own = device.id().to_string();
    let client_id = Some(own.as_str());
    let right = Proofs {
        dpop,
        client_id,
        ..none
    };
    assert_eq!(authorize(right).await, "ok");
    assert_eq!(authorize(right).await, "Proof", "a proof is good once");
}
