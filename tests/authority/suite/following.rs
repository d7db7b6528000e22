//! Following what happens: who is told what, from where on, and until when.

use std::sync::Arc;

use hardtack::authority::approve::Narrowing;
use hardtack::authority::caller::{Call, Credential};
use hardtack::authority::error::Error;
use hardtack::authority::events::{Follower, Subject, Told};
use hardtack::authority::exchange::Wanted;
use hardtack::authority::proof::Target;
use hardtack::domain::policy::{Policy, Source};

use super::support::{Approver, FROM, ISSUER, Paired, World, code};
use crate::device::Device;

const TARGET: Target<'static> = Target {
    method: "GET",
    path: "/v1/events",
};

impl World {
    async fn follow(&self, who: &Paired, after: Option<i64>) -> Result<Follower, Error> {
        let proof = self.proof(who, TARGET);
        let call = who.call(TARGET, &proof);
        self.authority.follow(&call, after).await
    }

    /// Follows with an access token for the API.
    async fn follow_with_token(&self, who: &Paired) -> Result<Follower, Error> {
        let wanted = Wanted {
            audiences: vec![ISSUER.to_owned()],
            ..Wanted::default()
        };
        let token = self.exchange(who, &wanted).await.unwrap().token;
        let call = Call {
            target: TARGET,
            credential: Credential::Bearer(token),
            proof: None,
            from: FROM,
        };
        self.authority.follow(&call, None).await
    }

    /// All that is new to a follower once its node has read the store, as
    /// `kind state-of-the-subject`.
    async fn told(&self, follower: &mut Follower) -> Vec<String> {
        self.advance(0).await;
        let mut all = Vec::new();
        loop {
            let news = self.authority.news(follower).await.unwrap();
            if news.is_empty() && !self.authority.is_behind(follower) {
                return all;
            }
            all.extend(news.iter().map(words));
        }
    }

    async fn end_of(&self, follower: &mut Follower) -> String {
        self.advance(0).await;
        match self.authority.news(follower).await {
            Ok(told) => format!("{told:?}"),
            Err(error) => code(&error),
        }
    }
}

fn words(told: &Told) -> String {
    match told {
        Told::Event(_, kind, Subject::Request(request)) => {
            format!("{} {}", kind.as_str(), request.state.as_str())
        }
        Told::Event(_, kind, Subject::Grant(record)) => {
            format!("{} {}", kind.as_str(), record.status.as_str())
        }
        Told::Missed(_) => "missed".to_owned(),
    }
}

async fn number_of_first(world: &World, follower: &mut Follower) -> i64 {
    world.advance(0).await;
    match world.authority.news(follower).await.unwrap().first() {
        Some(Told::Event(seq, ..)) => *seq,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_follower_is_told_what_happens_from_then_on_in_order() {
    let world = World::new().await;
    world.pair(1, "operator.read").await;
    let mut follower = world.follow(&world.local, None).await.unwrap();
    assert!(world.told(&mut follower).await.is_empty());

    let device = Device::new(2);
    world.ask(&device, "operator.read").await.unwrap();
    assert_eq!(
        world.told(&mut follower).await,
        ["pairing.requested pending"]
    );
    let asked = world.ask(&device, "operator.write").await.unwrap();
    let approver = Approver::Device(&world.local);
    let narrowing = Narrowing::default();
    world
        .approve(approver, asked.request.id, &narrowing)
        .await
        .unwrap();
    world.end("retire", &Device::new(1)).await.unwrap();
    world.end("revoke", &device).await.unwrap();
    assert_eq!(
        world.told(&mut follower).await,
        [
            "pairing.superseded superseded",
            // As it stands when it is told.
            "pairing.requested approved",
            "pairing.approved approved",
            "grant.retired retired",
            "grant.revoked revoked",
        ]
    );
    assert!(world.told(&mut follower).await.is_empty());
}

#[tokio::test]
async fn whoever_comes_back_is_told_what_it_missed() {
    let world = World::new().await;
    let mut first = world.follow(&world.local, None).await.unwrap();
    world.ask(&Device::new(1), "operator.read").await.unwrap();
    let seen = number_of_first(&world, &mut first).await;
    drop(first);
    world.ask(&Device::new(2), "operator.read").await.unwrap();
    world.ask(&Device::new(3), "operator.read").await.unwrap();
    let mut again = world.follow(&world.local, Some(seen)).await.unwrap();
    assert_eq!(world.told(&mut again).await.len(), 2);
}

#[tokio::test]
async fn whoever_missed_too_much_is_told_so_and_goes_on() {
    let world = World::new().await;
    let mut first = world.follow(&world.local, None).await.unwrap();
    world.ask(&Device::new(1), "operator.read").await.unwrap();
    let seen = number_of_first(&world, &mut first).await;
    for number in 2..8 {
        world
            .ask(&Device::new(number), "operator.read")
            .await
            .unwrap();
    }
    let mut tx = world.store.write().await.unwrap();
    tx.purge_events(3).await.unwrap();
    tx.commit().await.unwrap();
    let mut again = world.follow(&world.local, Some(seen)).await.unwrap();
    assert_eq!(world.told(&mut again).await, ["missed"]);
    assert_eq!(world.told(&mut first).await, ["missed"]);
    // The last three are there still, and who saw the one before has missed nothing.
    let mut near = world.follow(&world.local, Some(seen + 3)).await.unwrap();
    assert_eq!(world.told(&mut near).await.len(), 3);
    // A number that this database never gave.
    let mut ahead = world.follow(&world.local, Some(9999)).await.unwrap();
    assert_eq!(world.told(&mut ahead).await, ["missed"]);
    world.ask(&Device::new(9), "operator.read").await.unwrap();
    for follower in [&mut again, &mut first, &mut ahead] {
        let told = world.told(follower).await;
        assert_eq!(told, ["pairing.requested pending"]);
    }
}

#[tokio::test]
async fn only_who_may_follow_does_and_only_what_it_could_list_is_told() {
    let world = World::new().await;
    let reader = world.pair(1, "operator.read").await;
    let refused = world.follow(&reader, None).await.unwrap_err();
    assert_eq!(code(&refused), "InsufficientScope");

    // Devices are for admins here, requests for whoever may follow.
    world.set_policy(r#"rpc("hardtack.devices.list", "operator.admin");"#);
    let pairing = world.pair(2, "operator.pairing").await;
    let mut some = world.follow(&pairing, None).await.unwrap();
    let mut all = world.follow(&world.local, None).await.unwrap();
    world.ask(&Device::new(3), "operator.read").await.unwrap();
    world.end("revoke", &reader.device).await.unwrap();
    assert_eq!(world.told(&mut some).await, ["pairing.requested pending"]);
    assert_eq!(world.told(&mut all).await.len(), 2);
}

#[tokio::test]
async fn a_follower_ends_with_what_it_was_let_in_by() {
    for (how, expected) in [("revoke", "revoked"), ("retire", "retired")] {
        let world = World::new().await;
        let paired = world.pair(1, "operator.pairing").await;
        let mut by_grant = world.follow(&paired, None).await.unwrap();
        let mut by_token = world.follow_with_token(&paired).await.unwrap();
        assert!(world.told(&mut by_grant).await.is_empty());
        assert!(world.told(&mut by_token).await.is_empty());
        world.end(how, &paired.device).await.unwrap();
        assert_eq!(world.end_of(&mut by_grant).await, expected);
        assert_eq!(world.end_of(&mut by_token).await, expected);
    }
}

#[tokio::test]
async fn a_follower_ends_with_a_grant_above_its_own() {
    let world = World::new().await;
    let parent = world.pair(1, "operator.pairing").await;
    let child = world
        .pair_by(Approver::Device(&parent), 2, "operator.pairing")
        .await;
    let mut follower = world.follow(&child, None).await.unwrap();
    world.end("revoke", &parent.device).await.unwrap();
    assert_eq!(world.end_of(&mut follower).await, "revoked");
}

#[tokio::test]
async fn a_token_s_end_is_the_follower_s_and_a_grant_goes_on() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.pairing").await;
    let mut by_grant = world.follow(&paired, None).await.unwrap();
    let mut by_token = world.follow_with_token(&paired).await.unwrap();
    world.clock.advance(3601);
    assert_eq!(world.end_of(&mut by_token).await, "expired");
    world.ask(&Device::new(2), "operator.read").await.unwrap();
    assert_eq!(world.told(&mut by_grant).await.len(), 1);
}

#[tokio::test]
async fn a_node_that_cannot_read_revocations_tells_nothing() {
    let world = World::new().await;
    let mut follower = world.follow(&world.local, None).await.unwrap();
    world.ask(&Device::new(1), "operator.read").await.unwrap();
    world.clock.advance(6);
    let refused = world.authority.news(&mut follower).await.unwrap_err();
    assert_eq!(code(&refused), "revocations_stale");
}

#[tokio::test]
async fn a_policy_that_takes_the_right_to_follow_ends_who_follows() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.pairing").await;
    let mut by_grant = world.follow(&paired, None).await.unwrap();
    let mut by_token = world.follow_with_token(&paired).await.unwrap();
    let mut admin = world.follow(&world.local, None).await.unwrap();
    world.set_policy(r#"rpc("hardtack.events", "operator.admin");"#);
    assert_eq!(world.end_of(&mut by_grant).await, "InsufficientScope");
    assert_eq!(world.end_of(&mut by_token).await, "expired");
    assert!(world.told(&mut admin).await.is_empty());
}

#[tokio::test]
async fn followers_are_bounded_and_a_place_is_given_back() {
    let world = World::new().await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(world.follow(&world.local, None).await.unwrap());
    }
    let refused = world.follow(&world.local, None).await.unwrap_err();
    assert_eq!(code(&refused), "TooMany");
    let other = world.pair(1, "operator.pairing").await;
    world.follow(&other, None).await.unwrap();
    open.pop();
    world.follow(&world.local, None).await.unwrap();
}

impl World {
    /// Puts another policy in force, as a changed file does.
    pub(crate) fn set_policy(&self, text: &str) {
        let source = Source {
            name: "test".to_owned(),
            text: text.to_owned(),
        };
        let policy = Policy::load(&[source]).unwrap();
        self.policy.store(Arc::new(policy));
    }
}
