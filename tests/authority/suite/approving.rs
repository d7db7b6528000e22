//! Approving: who may give what, and what comes of it.

use hardtack::authority::Error;
use hardtack::authority::approve::Narrowing;
use hardtack::authority::caller::{Call, Credential};
use hardtack::authority::exchange::Wanted;
use hardtack::authority::proof::Target;
use hardtack::domain::audit::Actor;
use hardtack_token::{AuthorityId, Grant, GrantId, RootToken, ScopeSet, Subject, TokenText};
use rand::SeedableRng;

use super::support::{Approver, FROM, ISSUER, Paired, World, code, scoped};
use crate::device::Device;

#[tokio::test]
async fn a_fresh_install_can_approve_its_first_device_locally_and_by_root() {
    for by_root in [false, true] {
        let world = World::new().await;
        let device = Device::new(1);
        let id = world
            .ask(&device, "operator.admin")
            .await
            .unwrap()
            .request
            .id;
        let by = if by_root {
            Approver::Root
        } else {
            Approver::Device(&world.local)
        };
        let approval = world.approve(by, id, &Narrowing::default()).await.unwrap();
        assert_eq!(approval.depth, if by_root { 1 } else { 2 });
        assert_eq!(approval.approved_by == Actor::Root, by_root);
        assert!(world.fetch_grant(&device).await.is_ok());
    }
}

#[tokio::test]
async fn nobody_gives_more_than_they_hold_and_the_refusal_says_what_they_can() {
    let world = World::new().await;
    let approver = world.pair(1, "operator.pairing operator.read").await;
    let id = world
        .ask(&Device::new(2), "operator.read operator.write")
        .await;
    let id = id.unwrap().request.id;
    let all = Narrowing::default();
    let refused = world.approve(Approver::Device(&approver), id, &all).await;
    let Err(Error::InsufficientScope(shortfall)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(shortfall.missing.to_string(), "operator.write");
    assert_eq!(shortfall.held.to_string(), "operator.pairing operator.read");
    assert_eq!(shortfall.could_give.to_string(), "operator.read");
    assert_eq!(shortfall.request, Some(id));
    let narrowed = scoped("operator.read");
    let approval = world
        .approve(Approver::Device(&approver), id, &narrowed)
        .await;
    assert_eq!(approval.unwrap().scopes.to_string(), "operator.read");
}

#[tokio::test]
async fn the_right_to_approve_is_a_scope_too() {
    let world = World::new().await;
    let writer = world.pair(1, "operator.write").await;
    let id = world
        .ask(&Device::new(2), "operator.read")
        .await
        .unwrap()
        .request
        .id;
    let refused = world
        .approve(Approver::Device(&writer), id, &Narrowing::default())
        .await;
    let Err(Error::InsufficientScope(shortfall)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(shortfall.missing.to_string(), "operator.pairing");
    // Who else could do it is not told to somebody who may not list devices.
    assert!(shortfall.others.is_empty());
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_given() {
    let world = World::new().await;
    let id = world
        .ask(&Device::new(1), "operator.write")
        .await
        .unwrap()
        .request
        .id;
    for scopes in ["operator.admin", "operator.write operator.pairing", "*"] {
        let local = Approver::Device(&world.local);
        let refused = world.approve(local, id, &scoped(scopes)).await.unwrap_err();
        assert_eq!(code(&refused), "WiderThanRequested", "{scopes}");
    }
    // Reading is a part of writing.
    let local = Approver::Device(&world.local);
    assert!(
        world
            .approve(local, id, &scoped("operator.read"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_new_approval_retires_the_previous_grant_of_the_role() {
    let world = World::new().await;
    let first = world.pair(1, "operator.read").await;
    let token = world
        .exchange(&first, &Wanted::default())
        .await
        .unwrap()
        .token;
    assert_eq!(world.decide(&token, "operator.read"), "ok");
    let second = world.pair(1, "operator.write").await;
    assert_eq!(world.decide(&token, "operator.read"), "retired");
    let refused = world
        .exchange(&first, &Wanted::default())
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "retired");
    assert!(world.exchange(&second, &Wanted::default()).await.is_ok());
}

#[tokio::test]
async fn a_date_ends_the_grant_and_all_below_it() {
    let world = World::new().await;
    let narrowing = Narrowing {
        expires_in: Some(3600),
        ..Narrowing::default()
    };
    let device = Device::new(1);
    let id = world
        .ask(&device, "operator.admin")
        .await
        .unwrap()
        .request
        .id;
    let local = Approver::Device(&world.local);
    let approval = world.approve(local, id, &narrowing).await.unwrap();
    let end = world.now().plus(3600);
    assert_eq!(approval.expires_at, Some(end));
    let parent = Paired {
        grant: world.fetch_grant(&device).await.unwrap(),
        device,
    };
    let child = world
        .pair_by(Approver::Device(&parent), 2, "operator.read")
        .await;
    world.advance(3000).await;
    let issued = world.exchange(&child, &Wanted::default()).await.unwrap();
    assert_eq!(issued.expires_in, 600);
    world.advance(600).await;
    assert_eq!(world.decide(&issued.token, "operator.read"), "expired");
    let refused = world
        .exchange(&child, &Wanted::default())
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "expired");
}

#[tokio::test]
async fn a_chain_ends_where_a_session_would_not_fit() {
    let world = World::new().await;
    let mut approver = world.local.clone();
    for number in 1..=3 {
        approver = world
            .pair_by(Approver::Device(&approver), number, "operator.admin")
            .await;
    }
    let id = world
        .ask(&Device::new(9), "operator.read")
        .await
        .unwrap()
        .request
        .id;
    let refused = world
        .approve(Approver::Device(&approver), id, &Narrowing::default())
        .await;
    assert_eq!(code(&refused.unwrap_err()), "ChainTooLong");
    assert!(world.exchange(&approver, &Wanted::default()).await.is_ok());
}

#[tokio::test]
async fn an_access_token_makes_no_authority() {
    let world = World::new().await;
    let id = world
        .ask(&Device::new(1), "operator.read")
        .await
        .unwrap()
        .request
        .id;
    let wanted = Wanted {
        audiences: vec![ISSUER.to_owned()],
        ..Wanted::default()
    };
    let access = world.exchange(&world.local, &wanted).await.unwrap().token;
    let refused = approve_as_bearer(&world, &access, id).await.unwrap_err();
    assert!(matches!(refused, Error::GrantRequired { request: Some(r), .. } if r == id));
}

#[tokio::test]
async fn a_root_token_of_another_install_or_time_opens_nothing() {
    let world = World::new().await;
    let id = world
        .ask(&Device::new(1), "operator.read")
        .await
        .unwrap()
        .request
        .id;
    let mut rng = rand::rngs::StdRng::seed_from_u64(5);
    // The right id, signed by another key; and the genuine key's second token.
    let stranger = hardtack_token::RootKey::generate(hardtack_token::RootKeyId::new(1), &mut rng);
    let genuine = opened_root(&world).await;
    for root in [&stranger, &genuine] {
        let token = root.mint_root_token(&mut rng).unwrap();
        let refused = approve_as_bearer(&world, token.text(), id)
            .await
            .unwrap_err();
        assert_eq!(code(&refused), "WrongRootToken");
    }
    let root = world.root.clone();
    assert!(approve_as_bearer(&world, &root, id).await.is_ok());
}

/// C3: whoever has a root key out of an old backup can sign a chain that
/// verifies. The store does not know it, so it is worth nothing.
#[tokio::test]
async fn a_chain_that_verifies_but_is_not_in_the_store_is_refused() {
    let world = World::new().await;
    let root = opened_root(&world).await;
    let keys = world.authority.keys();
    let mut rng = rand::rngs::StdRng::seed_from_u64(6);
    let device = Device::new(1);
    let known = world.pair(1, "operator.read").await;
    let claims = hardtack_token::Untrusted::inspect(&known.grant).unwrap();
    let hardtack_token::Profile::Chain(chain) = claims.claims() else {
        panic!();
    };
    // Once with an id of its own, once with the id of the device's real grant.
    for id in [
        GrantId::from_uuid(uuid::Uuid::from_u128(1)),
        chain.leaf().id,
    ] {
        let grant = Grant {
            id,
            subject: Subject::Device(device.id()),
            role: "operator".parse().unwrap(),
            scopes: ScopeSet::all(),
            not_after: None,
        };
        let authority = AuthorityId::from_uuid(uuid::Uuid::from_u128(2));
        let forged = root
            .mint_authority(authority, &ScopeSet::all(), &mut rng)
            .unwrap()
            .append_grant(&grant, &keys.attestation, &mut rng)
            .unwrap();
        let forged = Paired {
            device: device.clone(),
            grant: forged.seal().unwrap(),
        };
        let refused = world
            .exchange(&forged, &Wanted::default())
            .await
            .unwrap_err();
        assert_eq!(code(&refused), "UnknownGrant");
    }
}

#[tokio::test]
async fn a_refused_approval_leaves_no_trace() {
    let world = World::new().await;
    let approver = world.pair(1, "operator.pairing").await;
    let id = world
        .ask(&Device::new(2), "operator.read")
        .await
        .unwrap()
        .request
        .id;
    let before = world.audit_log().await;
    let refused = world
        .approve(Approver::Device(&approver), id, &Narrowing::default())
        .await;
    assert!(refused.is_err());
    assert_eq!(world.audit_log().await.len(), before.len());
    let local = Approver::Device(&world.local);
    assert!(
        world
            .approve(local, id, &Narrowing::default())
            .await
            .is_ok()
    );
}

async fn approve_as_bearer(
    world: &World,
    token: &TokenText,
    id: hardtack::domain::ids::RequestId,
) -> Result<hardtack::authority::approve::Approval, Error> {
    let path = format!("/v1/pairing-requests/{id}/approve");
    let call = Call {
        target: Target {
            method: "POST",
            path: &path,
        },
        credential: Credential::Bearer(token.clone()),
        proof: None,
        from: FROM,
    };
    world
        .authority
        .approve(&call, id, &Narrowing::default())
        .await
}

/// The root private key, as a thief of a backup and the root token has it.
async fn opened_root(world: &World) -> hardtack_token::RootKey {
    let token = RootToken::read(&world.root).unwrap();
    let mut tx = world.store.read().await.unwrap();
    let row = tx.root_keys().await.unwrap().remove(0);
    let sealed = row.sealed.unwrap();
    hardtack::authority::secrets::open_root(&token, &row.public_key, &sealed).unwrap()
}
