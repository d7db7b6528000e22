//! Invites: what they promise, to whom, how often, and until when.

use hardtack::authority::Error;
use hardtack::authority::exchange::Wanted;
use hardtack::authority::invite::{DEFAULT_LIFE, MAX_OPEN, Promise};
use hardtack::authority::pairing::DeviceView;
use hardtack::authority::proof::Target;
use hardtack::authority::redeem::InvitedAsk;
use hardtack::domain::ids::InviteId;
use hardtack::domain::invite::{Invite, InviteStatus};
use hardtack::domain::pairing::DeviceName;

use super::support::{Approver, FROM, Paired, World, code, url};
use crate::device::Device;

const INVITES: Target<'static> = Target {
    method: "POST",
    path: "/v1/invites",
};
const REDEEM: Target<'static> = Target {
    method: "POST",
    path: "/v1/pairing-requests",
};

pub(super) fn promise(scopes: &str) -> Promise {
    Promise {
        role: "operator".parse().unwrap(),
        scopes: scopes.parse().unwrap(),
        name: DeviceName::default(),
        life: DEFAULT_LIFE,
        grant_life: None,
    }
}

impl World {
    pub(super) async fn invite_by(
        &self,
        by: &Paired,
        promise: Promise,
    ) -> Result<(Invite, String), Error> {
        let proof = self.proof(by, INVITES);
        let call = by.call(INVITES, &proof);
        let (invite, code) = self.authority.invite(&call, promise).await?;
        Ok((invite, code.expose()))
    }

    async fn invite(&self, scopes: &str) -> String {
        let by = &self.local;
        self.invite_by(by, promise(scopes)).await.unwrap().1
    }

    async fn redeem(&self, device: &Device, code: &str) -> Result<DeviceView, Error> {
        self.redeem_from(device, code, InvitedAsk::default(), FROM.address)
            .await
    }

    async fn redeem_from(
        &self,
        device: &Device,
        code: &str,
        ask: InvitedAsk,
        address: &str,
    ) -> Result<DeviceView, Error> {
        let proof = device.proof("POST", &url(REDEEM.path), self.now(), None);
        self.authority
            .redeem_invite(code, Some(&proof), REDEEM, ask, address)
            .await
    }

    async fn take_back(&self, by: &Paired, id: InviteId) -> Result<Invite, Error> {
        let path = format!("/v1/invites/{id}/revoke");
        let target = Target {
            method: "POST",
            path: &path,
        };
        let proof = self.proof(by, target);
        self.authority
            .revoke_invite(&by.call(target, &proof), id)
            .await
    }

    async fn invites(&self) -> Vec<Invite> {
        let page = hardtack::store::Page {
            after: None,
            limit: 500,
        };
        let mut tx = self.store.read().await.unwrap();
        tx.invites(page).await.unwrap()
    }
}

fn paired(device: Device, view: DeviceView) -> Paired {
    Paired {
        device,
        grant: view.grant.unwrap(),
    }
}

fn asking(scopes: &str) -> InvitedAsk {
    InvitedAsk {
        scopes: Some(scopes.parse().unwrap()),
        ..InvitedAsk::default()
    }
}

fn refusal(result: Result<DeviceView, Error>) -> String {
    match result {
        Ok(_) => "given".to_owned(),
        Err(Error::Invite(why)) => why.code().to_owned(),
        Err(error) => code(&error),
    }
}

#[tokio::test]
async fn an_invite_pairs_one_device_with_what_it_promises_and_nothing_else() {
    let world = World::new().await;
    let code = world.invite("operator.read").await;
    let device = Device::new(1);
    let view = world.redeem(&device, &code).await.unwrap();
    assert_eq!(view.request.state.as_str(), "approved");
    let first = paired(device, view);
    let token = world.exchange(&first, &Wanted::default()).await.unwrap();
    assert_eq!(world.decide(&token.token, "operator.read"), "ok");
    assert_eq!(
        world.decide(&token.token, "operator.write"),
        "insufficient_scope"
    );
    let second = world.redeem(&Device::new(2), &code).await;
    assert_eq!(refusal(second), "invite_spent");
    // The same device again, after a lost answer: the same grant.
    let again = world.redeem(&first.device, &code).await.unwrap();
    assert_eq!(again.grant.unwrap().expose(), first.grant.expose());
    let actions: Vec<_> = world.audit_log().await;
    let actions: Vec<_> = actions.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions.iter().filter(|a| **a == "invite.redeem").count(), 1);
}

#[tokio::test]
async fn nobody_promises_more_than_they_hold() {
    let world = World::new().await;
    let operator = world.pair(1, "operator.pairing operator.read").await;
    let more = world
        .invite_by(&operator, promise("operator.read operator.write"))
        .await;
    assert_eq!(code(&more.unwrap_err()), "InsufficientScope");
    let all = world.invite_by(&operator, promise("*")).await;
    assert_eq!(code(&all.unwrap_err()), "InsufficientScope");
    let reader = world.pair(2, "operator.read").await;
    let own = world.invite_by(&reader, promise("operator.read")).await;
    assert_eq!(code(&own.unwrap_err()), "InsufficientScope");
    assert!(world.invites().await.is_empty());
    let fits = promise("operator.read");
    world.invite_by(&operator, fits).await.unwrap();
}

/// The guard of containment when the invite is brought: without it a device
/// would get what its inviter has lost since.
#[tokio::test]
async fn an_invite_gives_nothing_that_its_inviter_does_not_hold_by_then() {
    let world = World::new().await;
    world.set_policy(
        r#"scope("tools.run", "Run tools"); implies("operator.pairing", "tools.run");"#,
    );
    let inviter = world.pair(1, "operator.pairing").await;
    let promised = promise("tools.run");
    let (_, invite) = world.invite_by(&inviter, promised).await.unwrap();
    // The implication is gone, and with it what the inviter held by it.
    world.set_policy(r#"scope("tools.run", "Run tools");"#);
    let device = Device::new(2);
    assert_eq!(
        refusal(world.redeem(&device, &invite).await),
        "invite_ended"
    );
    assert!(world.fetch_grant(&device).await.is_err());

    // So is the right to invite.
    let world = World::new().await;
    let inviter = world.pair(1, "operator.pairing operator.read").await;
    let promised = promise("operator.read");
    let (_, invite) = world.invite_by(&inviter, promised).await.unwrap();
    world.set_policy(r#"rpc("hardtack.devices.invite", "operator.admin");"#);
    assert_eq!(
        refusal(world.redeem(&device, &invite).await),
        "invite_ended"
    );
}

#[tokio::test]
async fn an_invite_dies_with_the_grant_that_made_it() {
    for how in ["revoke", "retire", "revoke above"] {
        let world = World::new().await;
        let parent = world.pair(1, "operator.pairing operator.read").await;
        let inviter = world
            .pair_by(
                Approver::Device(&parent),
                2,
                "operator.pairing operator.read",
            )
            .await;
        let promised = promise("operator.read");
        let (_, invite) = world.invite_by(&inviter, promised).await.unwrap();
        match how {
            "revoke above" => world.end("revoke", &parent.device).await.unwrap(),
            how => world.end(how, &inviter.device).await.unwrap(),
        };
        let redeemed = world.redeem(&Device::new(3), &invite).await;
        assert_eq!(refusal(redeemed), "invite_ended", "{how}");
        let listed = world.invites().await;
        let status = listed[0].status_at(world.now());
        assert_eq!(status, InviteStatus::Ended, "{how}");
    }
}

#[tokio::test]
async fn what_an_invite_gave_is_revoked_with_the_inviter() {
    let world = World::new().await;
    let inviter = world.pair(1, "operator.pairing operator.read").await;
    let promised = promise("operator.read");
    let (_, invite) = world.invite_by(&inviter, promised).await.unwrap();
    let device = Device::new(2);
    let view = world.redeem(&device, &invite).await.unwrap();
    let child = paired(device, view);
    world.exchange(&child, &Wanted::default()).await.unwrap();
    world.end("revoke", &inviter.device).await.unwrap();
    let refused = world.exchange(&child, &Wanted::default()).await;
    assert_eq!(code(&refused.unwrap_err()), "revoked");
}

#[tokio::test]
async fn less_than_promised_may_be_asked_for_and_more_may_not() {
    let world = World::new().await;
    let invite = world.invite("operator.write operator.approvals").await;
    let device = Device::new(1);
    for (scopes, expected) in [
        ("operator.pairing", "WiderThanInvite"),
        ("operator.write operator.admin", "WiderThanInvite"),
        ("no.such", "UnknownScope"),
        ("", "InvalidRequest"),
    ] {
        let ask = asking(scopes);
        let refused = world.redeem_from(&device, &invite, ask, FROM.address).await;
        assert_eq!(refusal(refused), expected, "{scopes}");
    }
    let ask = asking("operator.read");
    let view = world
        .redeem_from(&device, &invite, ask, FROM.address)
        .await
        .unwrap();
    assert_eq!(view.request.ask.scopes.to_string(), "operator.read");
}

#[tokio::test]
async fn an_invite_ends_in_time_and_when_it_is_taken_back() {
    let world = World::new().await;
    let late = world.invite("operator.read").await;
    world.advance(DEFAULT_LIFE).await;
    let device = Device::new(1);
    assert_eq!(
        refusal(world.redeem(&device, &late).await),
        "invite_expired"
    );

    let inviter = world.pair(2, "operator.pairing operator.read").await;
    let other = world.pair(3, "operator.pairing").await;
    let promised = promise("operator.read");
    let (made, code_) = world.invite_by(&inviter, promised.clone()).await.unwrap();
    let refused = world.take_back(&other, made.id).await.unwrap_err();
    assert_eq!(code(&refused), "InsufficientScope");
    world.take_back(&inviter, made.id).await.unwrap();
    assert_eq!(refusal(world.redeem(&device, &code_).await), "invite_ended");
    // An admin takes back anybody's; one that was used stays used.
    let (made, code_) = world.invite_by(&inviter, promised).await.unwrap();
    world.redeem(&device, &code_).await.unwrap();
    let refused = world.take_back(&world.local, made.id).await.unwrap_err();
    assert!(refused.to_string().contains("used already"), "{refused}");
}

#[tokio::test]
async fn a_grant_by_invite_can_have_an_end_of_its_own() {
    let world = World::new().await;
    let dated = Promise {
        grant_life: Some(60),
        ..promise("operator.read")
    };
    let (_, invite) = world.invite_by(&world.local, dated).await.unwrap();
    world.advance(100).await;
    let device = Device::new(1);
    let view = world.redeem(&device, &invite).await.unwrap();
    let child = paired(device, view);
    world.exchange(&child, &Wanted::default()).await.unwrap();
    world.advance(60).await;
    let refused = world.exchange(&child, &Wanted::default()).await;
    assert_eq!(code(&refused.unwrap_err()), "expired");
}

#[tokio::test]
async fn wrong_codes_are_rare_and_right_ones_are_not_counted() {
    let world = World::new().await;
    let wrong = "BCDF-BCDF-BCDF-BCDF-BCDF";
    for number in 0..12 {
        let code = world.invite("operator.read").await;
        world.redeem(&Device::new(number), &code).await.unwrap();
    }
    let device = Device::new(50);
    for _ in 0..10 {
        let refused = world.redeem(&device, wrong).await;
        assert_eq!(refusal(refused), "invalid_invite");
    }
    // Not even a right one, until the time is over.
    let code = world.invite("operator.read").await;
    assert_eq!(refusal(world.redeem(&device, &code).await), "TooMany");
    let elsewhere = "198.51.100.7";
    let ask = InvitedAsk::default();
    let other = world.redeem_from(&device, "x", ask, elsewhere).await;
    assert_eq!(refusal(other), "invalid_invite");
    world.advance(10).await;
    world.redeem(&device, &code).await.unwrap();
}

#[tokio::test]
async fn open_invites_are_bounded_and_old_ones_are_forgotten() {
    let world = World::new().await;
    for _ in 0..MAX_OPEN {
        world.invite("operator.read").await;
    }
    let more = world
        .invite_by(&world.local, promise("operator.read"))
        .await;
    assert_eq!(code(&more.unwrap_err()), "TooMany");
    world.advance(DEFAULT_LIFE + 1).await;
    world.invite("operator.read").await;
    world.advance(24 * 3600).await;
    world.authority.maintain().await.unwrap();
    assert_eq!(world.invites().await.len(), 1);
}

#[tokio::test]
async fn of_many_who_bring_one_invite_at_once_one_is_paired() {
    let world = World::new().await;
    let invite = world.invite("operator.read").await;
    let devices: Vec<_> = (1..=8).map(Device::new).collect();
    let all = devices.iter().map(|device| world.redeem(device, &invite));
    let results = futures_util::future::join_all(all).await;
    let outcomes: Vec<_> = results.into_iter().map(refusal).collect();
    let given = outcomes.iter().filter(|o| *o == "given").count();
    let spent = outcomes.iter().filter(|o| *o == "invite_spent").count();
    assert_eq!((given, spent), (1, 7), "{outcomes:?}");
}

#[tokio::test]
async fn neither_the_root_token_nor_an_access_token_invites() {
    use hardtack::authority::caller::{Call, Credential};

    let world = World::new().await;
    let wanted = Wanted {
        audiences: vec![super::support::ISSUER.to_owned()],
        ..Wanted::default()
    };
    let token = world.exchange(&world.local, &wanted).await.unwrap().token;
    for (token, expected) in [
        (world.root.clone(), "RootTokenNotAccepted"),
        (token, "GrantRequired"),
    ] {
        let call = Call {
            target: INVITES,
            credential: Credential::Bearer(token),
            proof: None,
            from: FROM,
        };
        let refused = world
            .authority
            .invite(&call, promise("operator.read"))
            .await;
        assert_eq!(code(&refused.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn the_code_is_nowhere_in_the_database() {
    let world = World::new().await;
    let code = world.invite("operator.read").await;
    let rows = world.audit_log().await;
    let plain = code.replace('-', "");
    for text in [code, plain] {
        assert!(!rows.iter().any(|row| row.detail.contains(&text)));
    }
}
