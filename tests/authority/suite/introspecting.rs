//! Introspection: what the verifier decides, for who does not decide itself.

use std::time::Duration;

use hardtack::authority::Error;
use hardtack::authority::caller::{Call, Credential};
use hardtack::authority::client::Proofs;
use hardtack::authority::error::Word;
use hardtack::authority::exchange::{SubjectToken, Wanted};
use hardtack::authority::introspect::{Introspected, Stated};
use hardtack::authority::proof::Target;
use hardtack_token::dpop::token_hash;
use hardtack_token::{Caveat, PathPrefix, PublicKey, TokenText, attenuate};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::services::{issue, service};
use super::support::{FROM, GATEWAY, ISSUER, World, code, token_target, url};
use crate::device::{Claims, Device};

const TARGET: Target<'static> = Target {
    method: "POST",
    path: "/oauth/introspect",
};

/// Asks about a token as the local device, by an assertion.
async fn ask(world: &World, token: &str, stated: Stated<'_>) -> Option<Introspected> {
    let assertion = world.local.device.assertion(ISSUER, world.now());
    let proofs = Proofs {
        assertion: Some(&assertion),
        ..Proofs::none(TARGET)
    };
    ask_with(world, Credential::None, proofs, token, stated)
        .await
        .unwrap()
}

async fn ask_with(
    world: &World,
    credential: Credential,
    proofs: Proofs<'_>,
    token: &str,
    stated: Stated<'_>,
) -> Result<Option<Introspected>, Error> {
    let call = Call {
        target: TARGET,
        credential,
        proof: None,
        from: FROM,
    };
    world
        .authority
        .introspect(&call, proofs, token, stated)
        .await
}

async fn is_live(world: &World, token: &TokenText) -> bool {
    ask(world, token.expose(), Stated::default())
        .await
        .is_some()
}

fn narrow(token: &TokenText, caveat: Caveat) -> TokenText {
    attenuate(token, &[caveat], &mut StdRng::seed_from_u64(1)).unwrap()
}

#[tokio::test]
async fn a_live_token_is_what_its_blocks_leave_of_it() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.write operator.pairing").await;
    let token = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    let found = ask(&world, token.expose(), Stated::default())
        .await
        .unwrap();
    assert_eq!(
        found.scopes.to_string(),
        "operator.pairing operator.read operator.write"
    );
    assert_eq!(found.record.device(), Some(paired.device.id()));
    assert_eq!(
        (found.session.audience.as_str(), found.key),
        (GATEWAY, None)
    );
    let narrowed = narrow(&token, Caveat::Scopes("operator.read".parse().unwrap()));
    let found = ask(&world, narrowed.expose(), Stated::default())
        .await
        .unwrap();
    assert_eq!(found.scopes.to_string(), "operator.read");
    // What two blocks have in common may be nothing: then it opens nothing.
    let nothing = narrow(
        &narrowed,
        Caveat::Scopes("operator.pairing".parse().unwrap()),
    );
    let found = ask(&world, nothing.expose(), Stated::default()).await;
    assert!(found.unwrap().scopes.is_empty());
}

#[tokio::test]
async fn what_is_not_live_is_nothing_whatever_the_reason() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let token = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    assert!(is_live(&world, &token).await);
    assert!(
        !is_live(&world, &paired.grant).await,
        "a grant without its key opens nothing"
    );
    assert!(
        !is_live(&world, &world.root).await,
        "nobody learns whether one is genuine"
    );
    for garbage in [
        "",
        "x",
        &"A".repeat(10_000),
        &token.expose().replace('A', "B"),
    ] {
        assert!(ask(&world, garbage, Stated::default()).await.is_none());
    }
    let foreign = World::new().await;
    foreign.pair(2, "operator.read").await;
    let other = foreign.pair(3, "operator.read").await;
    let other = foreign
        .exchange(&other, &Wanted::default())
        .await
        .unwrap()
        .token;
    // Signed by this very key, and unknown to this store.
    assert!(!is_live(&world, &other).await);
    let second = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    world.advance(900).await;
    assert!(!is_live(&world, &token).await, "expired");
    let third = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    world.end("retire", &paired.device).await.unwrap();
    for token in [second, third] {
        assert!(!is_live(&world, &token).await, "retired");
    }
}

/// Whoever asks sees scopes and an audience, and would take a token that is
/// narrowed otherwise for more than it is.
#[tokio::test]
async fn a_token_that_is_narrowed_to_requests_is_live_for_such_requests_only() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let token = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    let stated = Stated {
        method: Some("GET"),
        path: Some("/v1/devices/7"),
        operation: Some("device.list"),
    };
    let set = |text: &str| [text.to_owned()].into();
    for caveat in [
        Caveat::Method(set("GET")),
        Caveat::Path(PathPrefix::new("/v1/devices/").unwrap()),
        Caveat::Operation(set("device.list")),
    ] {
        let narrowed = narrow(&token, caveat.clone());
        assert!(!is_live(&world, &narrowed).await, "{caveat:?}");
        assert!(
            ask(&world, narrowed.expose(), stated).await.is_some(),
            "{caveat:?}"
        );
        let other = Stated {
            method: Some("POST"),
            path: Some("/v1/devices-admin"),
            operation: Some("device.remove"),
        };
        assert!(
            ask(&world, narrowed.expose(), other).await.is_none(),
            "{caveat:?}"
        );
    }
    let elsewhere = Caveat::Audience(set("https://other.example"));
    assert!(!is_live(&world, &narrow(&token, elsewhere)).await);
}

#[tokio::test]
async fn a_bound_token_names_its_key_or_is_nothing() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let mut claims = paired
        .device
        .claims("POST", &url("/oauth/token"), world.now());
    claims.nonce = Some(world.authority.nonce().unwrap());
    let proof = paired.device.dpop(&claims);
    let proofs = Proofs {
        dpop: Some(&proof),
        ..Proofs::none(token_target())
    };
    let subject = SubjectToken::Grant(paired.grant.clone());
    let bound = world
        .authority
        .exchange(&subject, &Wanted::default(), proofs, FROM)
        .await;
    let found = ask(&world, bound.unwrap().token.expose(), Stated::default())
        .await
        .unwrap();
    let key = PublicKey::from_bytes(paired.device.key.verifying_key().as_bytes()).unwrap();
    assert_eq!(found.key, Some(key));
    // Bound offline to a key that the authority has never seen.
    let token = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    let unseen = narrow(&token, Caveat::Holder(Device::new(77).id()));
    assert!(!is_live(&world, &unseen).await);
    // And to two keys, which nobody can prove at once.
    let both = narrow(&token, Caveat::Holder(paired.device.id()));
    assert!(is_live(&world, &both).await);
    let both = narrow(&both, Caveat::Holder(world.local.device.id()));
    assert!(!is_live(&world, &both).await);
}

#[tokio::test]
async fn who_asks_must_hold_the_scope_in_whatever_way_it_says_who_it_is() {
    let world = World::new().await;
    let weak = world.pair(1, "operator.read operator.pairing").await;
    let token = world
        .exchange(&weak, &Wanted::default())
        .await
        .unwrap()
        .token;
    let asked = async |credential: Credential, proofs: Proofs<'_>| {
        let asked = ask_with(
            &world,
            credential,
            proofs,
            token.expose(),
            Stated::default(),
        );
        match asked.await {
            Ok(found) => format!("{}", found.is_some()),
            Err(Error::Said(Word::InvalidToken, inner)) => format!("token {}", code(&inner)),
            Err(Error::Said(Word::InvalidClient, inner)) => format!("client {}", code(&inner)),
            Err(other) => code(&other),
        }
    };
    let none = Proofs::none(TARGET);
    assert_eq!(asked(Credential::None, none).await, "NoClient");
    for (device, expected) in [
        (&weak.device, "InsufficientScope"),
        (&world.local.device, "true"),
    ] {
        let assertion = device.assertion(ISSUER, world.now());
        let proofs = Proofs {
            assertion: Some(&assertion),
            ..none
        };
        assert_eq!(asked(Credential::None, proofs).await, expected);
        let mut claims: Claims = device.claims("POST", &url(TARGET.path), world.now());
        claims.nonce = Some(world.authority.nonce().unwrap());
        let proof = device.dpop(&claims);
        let proofs = Proofs {
            dpop: Some(&proof),
            ..none
        };
        assert_eq!(asked(Credential::None, proofs).await, expected);
    }
    let mut admin = service("rs", "operator.admin");
    admin.audience = Some(ISSUER.to_owned());
    let admin = issue(&world, &world.local, &admin).await.unwrap().token;
    let reader = issue(&world, &world.local, &service("reader", "operator.read"))
        .await
        .unwrap()
        .token;
    for (name, secret, expected) in [
        ("rs", &admin, "true"),
        ("reader", &reader, "InsufficientScope"),
        ("other", &admin, "WrongClient"),
        (
            "rs",
            &narrow(&admin, Caveat::Method(["GET".to_owned()].into())),
            "caveat_method",
        ),
        ("rs", &world.root, "client root_token_not_accepted"),
    ] {
        let secret = Some(secret.expose());
        let proofs = Proofs {
            client_id: Some(name),
            secret,
            ..none
        };
        assert_eq!(asked(Credential::None, proofs).await, expected, "{name}");
    }
    for (bearer, expected) in [
        (&admin, "true"),
        (&reader, "token wrong_audience"),
        (&token, "token wrong_audience"),
        (&world.root, "token RootTokenNotAccepted"),
    ] {
        assert_eq!(
            asked(Credential::Bearer(bearer.clone()), none).await,
            expected
        );
    }
    let grant = Credential::Dpop(world.local.grant.clone());
    assert_eq!(asked(grant, none).await, "Proof", "a grant without a proof");
    world.end("revoke", &weak.device).await.unwrap();
    let assertion = weak.device.assertion(ISSUER, world.now());
    let proofs = Proofs {
        assertion: Some(&assertion),
        ..none
    };
    assert_eq!(asked(Credential::None, proofs).await, "client UnknownGrant");
}

#[tokio::test]
async fn a_grant_asks_with_a_nonce_in_its_proof() {
    let world = World::new().await;
    let local = &world.local;
    for (nonce, expected) in [
        (None, Err("NonceRequired".to_owned())),
        (Some(world.authority.nonce().unwrap()), Ok(())),
    ] {
        let mut claims = local.device.claims("POST", &url(TARGET.path), world.now());
        claims.ath = Some(token_hash(local.grant.expose()));
        claims.nonce = nonce;
        let proof = local.device.dpop(&claims);
        let call = local.call(TARGET, &proof);
        let asked = world.authority.introspect(
            &call,
            Proofs::none(TARGET),
            world.root.expose(),
            Stated::default(),
        );
        let found = asked.await.map(|found| assert!(found.is_none()));
        assert_eq!(found.map_err(|error| code(&error)), expected);
    }
}

#[tokio::test]
async fn a_node_that_cannot_know_says_so_and_not_that_a_token_is_dead() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let token = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    let late = Duration::from_secs(10);
    world.clock.advance(late.as_secs());
    let assertion = world.local.device.assertion(ISSUER, world.now());
    let proofs = Proofs {
        assertion: Some(&assertion),
        ..Proofs::none(TARGET)
    };
    let asked = ask_with(
        &world,
        Credential::None,
        proofs,
        token.expose(),
        Stated::default(),
    )
    .await;
    assert_eq!(code(&asked.unwrap_err()), "revocations_stale");
}
