//! Revoking and retiring: who may, what ends, and what lives on.

use hardtack::authority::exchange::Wanted;
use hardtack::authority::maintenance::IDLE;
use hardtack::store::{GrantFilter, Page};

use super::support::{Approver, Paired, World, code};
use crate::device::Device;

#[tokio::test]
async fn revoking_ends_all_below_and_retiring_ends_the_leaf_alone() {
    for (how, child_lives) in [("revoke", false), ("retire", true)] {
        let world = World::new().await;
        let parent = world.pair(1, "operator.admin").await;
        let child = world
            .pair_by(Approver::Device(&parent), 2, "operator.admin")
            .await;
        let below = world
            .pair_by(Approver::Device(&child), 3, "operator.read")
            .await;
        let own = world.exchange(&parent, &WANTED).await.unwrap().token;
        let deep = world.exchange(&below, &WANTED).await.unwrap().token;
        world.end(how, &parent.device).await.unwrap();
        assert_ne!(world.decide(&own, "operator.read"), "ok", "{how}");
        let lives = world.decide(&deep, "operator.read") == "ok";
        assert_eq!(lives, child_lives, "{how}");
        assert_eq!(world.exchange(&below, &WANTED).await.is_ok(), child_lives);
    }
}

#[tokio::test]
async fn the_blast_radius_is_shown_before_and_is_what_ends() {
    let world = World::new().await;
    let parent = world.pair(1, "operator.admin").await;
    let child = world
        .pair_by(Approver::Device(&parent), 2, "operator.admin")
        .await;
    let below = world
        .pair_by(Approver::Device(&child), 3, "operator.read")
        .await;
    let dry = world
        .revoke(&world.local, &parent.device, true)
        .await
        .unwrap();
    assert_eq!(dry.devices.len(), 3);
    assert!(world.exchange(&below, &WANTED).await.is_ok());
    let done = world
        .revoke(&world.local, &parent.device, false)
        .await
        .unwrap();
    assert_eq!(done.devices, dry.devices);
    let again = world
        .revoke(&world.local, &parent.device, true)
        .await
        .unwrap();
    assert!(again.devices.is_empty());
}

#[tokio::test]
async fn revoking_a_device_reaches_what_its_retired_grants_approved() {
    let world = World::new().await;
    let first = world.pair(1, "operator.admin").await;
    let child = world
        .pair_by(Approver::Device(&first), 2, "operator.read")
        .await;
    // A narrower grant takes the place of the one that approved the child.
    world.retire(&world.local, &first.device).await.unwrap();
    world.pair(1, "operator.read").await;
    assert!(world.exchange(&child, &WANTED).await.is_ok());
    world.end("revoke", &first.device).await.unwrap();
    assert_eq!(
        code(&world.exchange(&child, &WANTED).await.unwrap_err()),
        "revoked"
    );
}

#[tokio::test]
async fn a_device_may_always_end_itself() {
    let world = World::new().await;
    for (number, how) in [(1, "revoke"), (2, "retire")] {
        let paired = world.pair(number, "operator.read").await;
        world.end_by(how, &paired, &paired.device).await.unwrap();
        assert!(world.exchange(&paired, &WANTED).await.is_err());
    }
}

#[tokio::test]
async fn others_are_ended_by_who_approved_them_or_by_an_admin() {
    let world = World::new().await;
    let approver = world.pair(1, "operator.pairing operator.read").await;
    let own = world
        .pair_by(Approver::Device(&approver), 2, "operator.read")
        .await;
    let foreign = world.pair(3, "operator.read").await;
    let reader = world.pair(4, "operator.read").await;
    let admin = world.pair(5, "operator.admin").await;
    let try_end = async |by: &Paired, device: &Device| {
        let done = world.revoke(by, device, true).await;
        done.map_or_else(|e| code(&e), |_| "ok".to_owned())
    };
    assert_eq!(try_end(&approver, &own.device).await, "ok");
    assert_eq!(
        try_end(&approver, &foreign.device).await,
        "InsufficientScope"
    );
    assert_eq!(try_end(&approver, &admin.device).await, "InsufficientScope");
    assert_eq!(try_end(&reader, &own.device).await, "InsufficientScope");
    assert_eq!(try_end(&admin, &foreign.device).await, "ok");
    assert_eq!(try_end(&admin, &Device::new(77)).await, "NotFound");
}

#[tokio::test]
async fn the_local_device_is_ended_by_itself_and_not_by_an_admin() {
    let world = World::new().await;
    let admin = world.pair(1, "operator.admin").await;
    let local = world.local.device.clone();
    let refused = world.revoke(&admin, &local, false).await.unwrap_err();
    assert_eq!(code(&refused), "LocalDevice");
    assert!(world.revoke(&world.local, &local, false).await.is_ok());
    assert_eq!(
        code(&world.exchange(&world.local, &WANTED).await.unwrap_err()),
        "revoked"
    );
}

#[tokio::test]
async fn idle_grants_retire_but_not_the_local_one() {
    let world = World::new().await;
    let idle = world.pair(1, "operator.read").await;
    world.advance(IDLE / 2).await;
    let used = world.pair(2, "operator.read").await;
    world.advance(IDLE / 2 + 60).await;
    world.authority.maintain().await.unwrap();
    assert_eq!(
        code(&world.exchange(&idle, &WANTED).await.unwrap_err()),
        "retired"
    );
    assert!(world.exchange(&used, &WANTED).await.is_ok());
    assert!(world.exchange(&world.local, &WANTED).await.is_ok());
}

#[tokio::test]
async fn what_is_over_is_forgotten_and_what_is_not_stays() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    world.end("revoke", &paired.device).await.unwrap();
    assert_eq!(world.authority.verifier().revocations().len(), 1);
    world.advance(4000).await;
    world.authority.maintain().await.unwrap();
    let position = hardtack::authority::feed::FeedPosition::default();
    world.authority.reload_feed(&position).await.unwrap();
    // A reload keeps what was added since; the next one drops it.
    world.authority.reload_feed(&position).await.unwrap();
    let mut tx = world.store.read().await.unwrap();
    assert!(tx.feed_after(0, 10).await.unwrap().is_empty());
    // The row remembers, whatever the feed has forgotten.
    assert_eq!(
        code(&world.exchange(&paired, &WANTED).await.unwrap_err()),
        "revoked"
    );
    let filter = GrantFilter {
        device: Some(paired.device.id()),
        status: None,
    };
    let page = Page {
        after: None,
        limit: 10,
    };
    assert_eq!(tx.grants(filter, page).await.unwrap().len(), 1);
}

static WANTED: Wanted = Wanted {
    scopes: None,
    audiences: Vec::new(),
    expires_in: None,
};
