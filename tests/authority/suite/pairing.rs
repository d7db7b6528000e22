//! Asking, polling, fetching: what a device sees.

use hardtack::authority::Error;
use hardtack::authority::approve::Narrowing;
use hardtack::authority::pairing::MAX_PENDING_PER_ADDRESS;
use hardtack::authority::proof::Target;
use hardtack::domain::ids::RequestId;
use hardtack::domain::pairing::RequestState;
use hardtack_token::dpop::ProofError;

use super::support::{Approver, World, code, url};
use crate::device::Device;

#[tokio::test]
async fn the_same_or_a_narrower_ask_is_the_same_request() {
    let world = World::new().await;
    let device = Device::new(1);
    let first = world
        .ask(&device, "operator.read operator.write")
        .await
        .unwrap();
    world.advance(600).await;
    let second = world.ask(&device, "operator.read").await.unwrap();
    assert_eq!(second.request.id, first.request.id);
    assert_eq!(second.request.ask, first.request.ask);
    assert!(second.request.expires_at > first.request.expires_at);
}

#[tokio::test]
async fn another_ask_supersedes_and_never_merges() {
    let world = World::new().await;
    let device = Device::new(1);
    let first = world.ask(&device, "operator.read").await.unwrap().request;
    let second = world.ask(&device, "operator.write").await.unwrap().request;
    assert_ne!(second.id, first.id);
    assert_eq!(second.ask.scopes.to_string(), "operator.write");
    let local = Approver::Device(&world.local);
    let refused = world.approve(local, first.id, &Narrowing::default()).await;
    let Err(Error::NotPending { superseded_by, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(superseded_by, Some(second.id));
}

#[tokio::test]
async fn a_request_expires_and_polling_does_not_prolong_it() {
    let world = World::new().await;
    let device = Device::new(1);
    let request = world.ask(&device, "operator.read").await.unwrap().request;
    world.advance(3599).await;
    assert!(fetch(&world, &device, request.id).await.is_ok());
    world.advance(1).await;
    let view = fetch(&world, &device, request.id).await.unwrap();
    assert_eq!(view.request.state_at(world.now()), RequestState::Expired);
    let local = Approver::Device(&world.local);
    let refused = world
        .approve(local, request.id, &Narrowing::default())
        .await;
    assert_eq!(code(&refused.unwrap_err()), "RequestExpired");
    let again = world.ask(&device, "operator.read").await.unwrap().request;
    assert_ne!(again.id, request.id);
}

#[tokio::test]
async fn only_its_device_sees_a_request() {
    let world = World::new().await;
    let request = world
        .ask(&Device::new(1), "operator.read")
        .await
        .unwrap()
        .request;
    for (device, id) in [
        (Device::new(2), request.id),
        (Device::new(1), RequestId::from_uuid(uuid::Uuid::nil())),
    ] {
        let refused = fetch(&world, &device, id).await.unwrap_err();
        assert_eq!(code(&refused), "NotFound");
    }
}

#[tokio::test]
async fn a_proof_is_good_once_and_for_its_own_request() {
    let world = World::new().await;
    let device = Device::new(1);
    let id = world
        .ask(&device, "operator.read")
        .await
        .unwrap()
        .request
        .id;
    let path = format!("/v1/pairing-requests/{id}");
    let target = Target {
        method: "GET",
        path: &path,
    };
    let proof = device.proof("GET", &url(&path), world.now(), None);
    let fetch = async |proof: Option<&str>| world.authority.fetch(id, proof, target).await;
    assert!(fetch(Some(&proof)).await.is_ok());
    let replayed = fetch(Some(&proof)).await;
    assert!(matches!(replayed, Err(Error::Proof(ProofError::Replayed))));
    assert!(matches!(
        fetch(None).await,
        Err(Error::Proof(ProofError::Missing))
    ));
    let elsewhere = device.proof("GET", "http://10.0.0.1/x", world.now(), None);
    let refused = fetch(Some(&elsewhere)).await.unwrap_err().to_string();
    assert!(
        refused.contains("--public-url http://10.0.0.1"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_device_that_holds_what_it_asks_for_gets_its_grant_at_once() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.write").await;
    let view = world.ask(&paired.device, "operator.read").await.unwrap();
    assert_eq!(view.grant, Some(paired.grant.clone()));
    assert_eq!(view.request.ask.scopes.to_string(), "operator.write");
    let more = world.ask(&paired.device, "operator.admin").await.unwrap();
    assert!(more.grant.is_none());
    assert!(more.request.is_pending(world.now()));
}

#[tokio::test]
async fn unknown_roles_and_scopes_and_empty_asks_are_refused() {
    let world = World::new().await;
    let device = Device::new(1);
    for (role, scopes, expected) in [
        ("node", "operator.read", "InvalidRequest"),
        ("service", "operator.read", "InvalidRequest"),
        ("operator", "no.such", "UnknownScope"),
        ("operator", "", "InvalidRequest"),
    ] {
        let refused = world.ask_as(&device, role, scopes, "x").await.unwrap_err();
        assert_eq!(code(&refused), expected, "{role} {scopes}");
    }
}

#[tokio::test]
async fn pending_requests_are_capped_and_none_is_evicted() {
    let world = World::new().await;
    let first = world.ask(&Device::new(0), "operator.read").await.unwrap();
    for number in 1..MAX_PENDING_PER_ADDRESS {
        world
            .ask(&Device::new(number), "operator.read")
            .await
            .unwrap();
    }
    let refused = world.ask(&Device::new(999), "operator.read").await;
    assert_eq!(code(&refused.unwrap_err()), "TooMany");
    let still = fetch(&world, &Device::new(0), first.request.id)
        .await
        .unwrap();
    assert!(still.request.is_pending(world.now()));
    // A device that waits may ask for something else: it takes no more room.
    assert!(world.ask(&Device::new(0), "operator.write").await.is_ok());
}

#[tokio::test]
async fn a_revoked_device_may_ask_again_and_the_approver_sees_it() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    world.end("revoke", &paired.device).await.unwrap();
    let view = world.ask(&paired.device, "operator.read").await.unwrap();
    assert!(view.grant.is_none() && view.request.previously_revoked);
}

async fn fetch(
    world: &World,
    device: &Device,
    id: RequestId,
) -> Result<hardtack::authority::pairing::DeviceView, Error> {
    let path = format!("/v1/pairing-requests/{id}");
    let target = Target {
        method: "GET",
        path: &path,
    };
    let proof = device.proof("GET", &url(&path), world.now(), None);
    world.authority.fetch(id, Some(&proof), target).await
}
