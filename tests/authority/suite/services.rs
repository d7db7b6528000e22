//! Service tokens: given once, narrower than their issuer, never renewed.

use hardtack::authority::Error;
use hardtack::authority::caller::{Call, Credential};
use hardtack::authority::client::Proofs;
use hardtack::authority::error::Word;
use hardtack::authority::exchange::{Issued, SubjectToken, Wanted};
use hardtack::authority::feed::FeedPosition;
use hardtack::authority::proof::Target;
use hardtack::authority::service_token::{IssuedService, NewService};
use hardtack::store::Page;
use hardtack_token::{Caveat, Chain, End, Profile, TokenText, Untrusted, attenuate};
use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::support::{
    Approver, FROM, GATEWAY, ISSUER, Paired, World, code, scoped, secrets, token_target,
};
use crate::device::Device;

const TARGET: Target<'static> = Target {
    method: "POST",
    path: "/v1/service-tokens",
};
const DAY: u64 = 86_400;

pub(super) fn service(name: &str, scopes: &str) -> NewService {
    NewService {
        name: name.parse().unwrap(),
        scopes: scopes.parse().unwrap(),
        audience: None,
        expires_in: None,
    }
}

pub(super) async fn issue(
    world: &World,
    by: &Paired,
    new: &NewService,
) -> Result<IssuedService, Error> {
    let proof = world.proof(by, TARGET);
    let call = by.call(TARGET, &proof);
    world.authority.issue_service_token(&call, new).await
}

/// A service token of the local device's.
pub(super) async fn issued(world: &World, name: &str, scopes: &str) -> IssuedService {
    issue(world, &world.local, &service(name, scopes))
        .await
        .unwrap()
}

async fn revoke(world: &World, by: &Paired, issued: &IssuedService) -> Result<(), Error> {
    let id = issued.service.grant.id;
    let path = format!("/v1/service-tokens/{id}/revoke");
    let target = Target {
        method: "POST",
        path: &path,
    };
    let proof = world.proof(by, target);
    let call = by.call(target, &proof);
    let revoked = world.authority.revoke_service_token(&call, id).await;
    revoked.map(drop)
}

pub(super) async fn credentials(
    world: &World,
    name: &str,
    secret: &TokenText,
    wanted: &Wanted,
) -> Result<Issued, Error> {
    let proofs = Proofs {
        client_id: Some(name),
        secret: Some(secret.expose()),
        ..Proofs::none(token_target())
    };
    world
        .authority
        .client_credentials(wanted, proofs, FROM)
        .await
}

/// The code of a refusal that is `invalid_client` to an OAuth client.
fn invalid_client<T>(refused: Result<T, Error>) -> String {
    match refused.map(drop).unwrap_err() {
        Error::Said(Word::InvalidClient, inner) => code(&inner),
        other => code(&other),
    }
}

fn wanted(scopes: &str) -> Wanted {
    Wanted {
        scopes: Some(scopes.parse().unwrap()),
        ..Wanted::default()
    }
}

#[tokio::test]
async fn a_service_token_opens_what_it_names_and_nothing_more() {
    let world = World::new().await;
    let issued = issued(&world, "ci", "operator.read").await;
    assert_eq!(world.decide(&issued.token, "operator.read"), "ok");
    assert_eq!(
        world.decide(&issued.token, "operator.write"),
        "insufficient_scope"
    );
    let kept = &issued.service;
    assert_eq!(
        (kept.audience.as_str(), kept.grant.name.as_str()),
        (GATEWAY, "ci")
    );
    let end = world.now().plus(90 * DAY);
    assert_eq!(kept.grant.expires_at, Some(end));
    world.advance(90 * DAY).await;
    assert_eq!(world.decide(&issued.token, "operator.read"), "expired");
    let row = world.audit_log().await.pop().unwrap();
    assert_eq!(
        (row.action.as_str(), row.object),
        ("service.issue", kept.grant.id.to_string())
    );
}

#[tokio::test]
async fn nobody_issues_more_than_they_hold() {
    let world = World::new().await;
    let pairing = world.pair(1, "operator.pairing operator.read").await;
    let before = world.audit_log().await.len();
    for more in ["operator.write", "operator.read operator.admin", "*"] {
        let refused = issue(&world, &pairing, &service("ci", more)).await;
        assert_eq!(code(&refused.unwrap_err()), "InsufficientScope", "{more}");
    }
    for (scopes, why) in [("operator.other", "UnknownScope"), ("", "InvalidRequest")] {
        let refused = issue(&world, &world.local, &service("ci", scopes)).await;
        assert_eq!(code(&refused.unwrap_err()), why);
    }
    let reader = world.pair(2, "operator.read").await;
    let refused = issue(&world, &reader, &service("ci", "operator.read")).await;
    assert_eq!(code(&refused.unwrap_err()), "InsufficientScope");
    assert_eq!(
        world.audit_log().await.len(),
        before + 1,
        "the second approval"
    );
    issue(&world, &pairing, &service("ci", "operator.read"))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_has_no_key_issues_and_approves_nothing() {
    let world = World::new().await;
    let mut new = service("ci", "operator.admin operator.pairing");
    new.audience = Some(ISSUER.to_owned());
    let service_token = issue(&world, &world.local, &new).await.unwrap().token;
    let mut wanted = wanted("operator.pairing operator.read");
    wanted.audiences = vec![ISSUER.to_owned()];
    let access = world.exchange(&world.local, &wanted).await.unwrap().token;
    let asked = world.ask(&Device::new(1), "operator.read").await.unwrap();
    for token in [service_token, access] {
        let call = |target| Call {
            target,
            credential: Credential::Bearer(token.clone()),
            proof: None,
            from: FROM,
        };
        let new = service("other", "operator.read");
        let refused = world
            .authority
            .issue_service_token(&call(TARGET), &new)
            .await;
        assert_eq!(code(&refused.unwrap_err()), "GrantRequired");
        let narrowing = scoped("operator.read");
        let path = format!("/v1/pairing-requests/{}/approve", asked.request.id);
        let target = Target {
            method: "POST",
            path: &path,
        };
        let approved = world
            .authority
            .approve(&call(target), asked.request.id, &narrowing)
            .await;
        assert_eq!(code(&approved.unwrap_err()), "GrantRequired");
        // It reads what its scopes allow.
        let target = Target {
            method: "GET",
            path: "/v1/whoami",
        };
        assert!(world.authority.whoami(&call(target)).await.is_ok());
    }
}

/// However a service token is presented, what comes out has the same session.
#[tokio::test]
async fn a_service_token_gets_no_other_session() {
    let world = World::new().await;
    let mut new = service("ci", "operator.read");
    new.expires_in = Some(600);
    let issued = issue(&world, &world.local, &new).await.unwrap();
    let (token, id) = (issued.token, issued.service.grant.id);
    // The sealed chain of its grant, as somebody with the database and the secret has it.
    let mut tx = world.store.read().await.unwrap();
    let stored = tx.grant(id).await.unwrap().unwrap().chain;
    drop(tx);
    let open = secrets().open_chain(id.uuid(), &stored).unwrap();
    let sealed = Chain::from_stored(Zeroizing::new(open.to_vec()))
        .seal()
        .unwrap();
    let device = world.pair(1, "operator.read").await.device;
    for (grant, why) in [(sealed, "WrongKey"), (token.clone(), "NotAGrant")] {
        let proof = device.claims("POST", &super::support::url("/oauth/token"), world.now());
        let nonce = Some(world.authority.nonce().unwrap());
        let proof = device.dpop(&crate::device::Claims { nonce, ..proof });
        let proofs = Proofs {
            dpop: Some(&proof),
            ..Proofs::none(token_target())
        };
        let subject = SubjectToken::Grant(grant);
        let refused = world
            .authority
            .exchange(&subject, &Wanted::default(), proofs, FROM)
            .await;
        assert_eq!(code(&refused.unwrap_err()), why);
    }
    let longer = Wanted {
        expires_in: Some(3600),
        ..Wanted::default()
    };
    let elsewhere = Wanted {
        audiences: vec!["https://other.example".to_owned()],
        ..Wanted::default()
    };
    let subject = SubjectToken::Access(token.clone());
    for given in [
        credentials(&world, "ci", &token, &longer).await.unwrap(),
        world
            .authority
            .exchange(&subject, &longer, Proofs::none(token_target()), FROM)
            .await
            .unwrap(),
    ] {
        assert_eq!(given.expires_in, 600);
        assert_eq!(session(&given.token), session(&token));
    }
    let refused = credentials(&world, "ci", &token, &elsewhere).await;
    assert_eq!(code(&refused.unwrap_err()), "InvalidTarget");
    world.advance(600).await;
    assert_eq!(
        invalid_client(credentials(&world, "ci", &token, &longer).await),
        "expired"
    );
}

/// The session of a token, and the number of blocks that holders added.
fn session(token: &TokenText) -> String {
    let read = Untrusted::inspect(token).unwrap();
    match read.claims() {
        Profile::Chain(chain) => chain.session.as_ref().unwrap().id.to_string(),
        Profile::Root(_) => panic!("a root token"),
    }
}

#[tokio::test]
async fn client_credentials_narrow_exactly_the_token_that_was_presented() {
    let world = World::new().await;
    let token = issued(&world, "ci", "operator.write operator.pairing")
        .await
        .token;
    let given = credentials(&world, "ci", &token, &wanted("operator.read"))
        .await
        .unwrap();
    assert_eq!(given.scopes.to_string(), "operator.read");
    assert_eq!(world.decide(&given.token, "operator.read"), "ok");
    assert_eq!(
        world.decide(&given.token, "operator.write"),
        "insufficient_scope"
    );
    assert_eq!(
        world.decide(&given.token, "operator.pairing"),
        "insufficient_scope"
    );
    // What its holder took away stays away, whatever is asked for.
    let caveats = [Caveat::Scopes("operator.read".parse().unwrap())];
    let narrowed = attenuate(&token, &caveats, &mut StdRng::seed_from_u64(1)).unwrap();
    let refused = credentials(&world, "ci", &narrowed, &wanted("operator.write")).await;
    assert_eq!(code(&refused.unwrap_err()), "InvalidScope");
    let given = credentials(&world, "ci", &narrowed, &Wanted::default())
        .await
        .unwrap();
    assert_eq!(
        world.decide(&given.token, "operator.write"),
        "insufficient_scope"
    );
}

#[tokio::test]
async fn a_client_is_the_service_whose_token_it_shows_and_nobody_else() {
    let world = World::new().await;
    let token = issued(&world, "ci", "operator.read").await.token;
    let everything = Wanted::default();
    let try_as = async |name: &str, secret: &TokenText| {
        invalid_client(credentials(&world, name, secret, &everything).await)
    };
    assert_eq!(try_as("other", &token).await, "WrongClient");
    assert_eq!(try_as("", &token).await, "WrongClient");
    let device = world.pair(1, "operator.read").await;
    let access = world.exchange(&device, &everything).await.unwrap().token;
    let id = device.device.id().to_string();
    assert_eq!(try_as(&id, &access).await, "WrongClient");
    let root = SubjectToken::Root(world.root.clone());
    let none = Proofs::none(token_target());
    let root = world
        .authority
        .exchange(&root, &wanted("operator.read"), none, FROM)
        .await;
    assert_eq!(try_as("root", &root.unwrap().token).await, "WrongClient");
    assert_eq!(try_as("ci", &world.root).await, "root_token_not_accepted");
    assert_eq!(try_as("ci", &device.grant).await, "grant_not_accepted");
}

#[tokio::test]
async fn a_service_token_lives_no_longer_than_its_issuer() {
    let world = World::new().await;
    let device = Device::new(1);
    let asked = world
        .ask(&device, "operator.pairing operator.read")
        .await
        .unwrap();
    let mut narrowing = scoped("operator.pairing operator.read");
    narrowing.expires_in = Some(DAY);
    let local = Approver::Device(&world.local);
    world
        .approve(local, asked.request.id, &narrowing)
        .await
        .unwrap();
    let grant = world.fetch_grant(&device).await.unwrap();
    let dated = Paired { device, grant };
    let issued = issue(&world, &dated, &service("ci", "operator.read"))
        .await
        .unwrap();
    assert_eq!(issued.service.grant.expires_at, Some(world.now().plus(DAY)));
    for seconds in [0, 367 * DAY] {
        let mut new = service("other", "operator.read");
        new.expires_in = Some(seconds);
        let refused = issue(&world, &world.local, &new).await;
        assert_eq!(code(&refused.unwrap_err()), "InvalidRequest");
    }
}

/// The gateway knows revocations only. It must know one for as long as a token
/// below it lives, which is longer here than any session.
#[tokio::test]
async fn a_revocation_is_remembered_until_the_last_service_token_below_it_ends() {
    let world = World::new().await;
    let approver = world.pair(1, "operator.pairing operator.read").await;
    let child = world
        .pair_by(
            Approver::Device(&approver),
            2,
            "operator.pairing operator.read",
        )
        .await;
    let below = issue(&world, &child, &service("below", "operator.read"))
        .await
        .unwrap();
    let own = issued(&world, "own", "operator.read").await;
    world.end("revoke", &approver.device).await.unwrap();
    revoke(&world, &world.local, &own).await.unwrap();
    for days in [0, 1, 88] {
        world.advance(days * DAY).await;
        world.authority.maintain().await.unwrap();
        world
            .authority
            .reload_feed(&FeedPosition::default())
            .await
            .unwrap();
        for token in [&below.token, &own.token] {
            assert_eq!(world.decide(token, "operator.read"), "revoked", "{days}");
        }
        let refused = credentials(&world, "below", &below.token, &Wanted::default()).await;
        assert_eq!(invalid_client(refused), "revoked");
    }
    // Then it is forgotten, and the tokens are over by themselves.
    world.advance(2 * DAY).await;
    world.authority.maintain().await.unwrap();
    world
        .authority
        .reload_feed(&FeedPosition::default())
        .await
        .unwrap();
    let page = Page {
        after: None,
        limit: 500,
    };
    let left = world.authority.feed(page).await.unwrap().ended;
    assert!(
        left.iter().all(|ended| ended.end == End::Retired),
        "idle grants alone"
    );
    assert_eq!(world.decide(&below.token, "operator.read"), "expired");
}

#[tokio::test]
async fn a_name_stands_for_one_live_token() {
    let world = World::new().await;
    let again = async || {
        let issued = issue(&world, &world.local, &service("ci", "operator.read")).await;
        issued.map_or_else(|e| code(&e), |_| "ok".to_owned())
    };
    let first = issued(&world, "ci", "operator.read").await;
    assert_eq!(again().await, "ServiceExists");
    revoke(&world, &world.local, &first).await.unwrap();
    assert_eq!(again().await, "ok");
    assert_eq!(again().await, "ServiceExists");
    world.advance(90 * DAY).await;
    assert_eq!(again().await, "ok");
    let refused = issue(&world, &world.local, &service("root", "operator.read")).await;
    assert_eq!(code(&refused.unwrap_err()), "InvalidRequest");
}

#[tokio::test]
async fn a_service_token_is_revoked_by_whoever_issued_it_or_may_end_any() {
    let world = World::new().await;
    let owner = world.pair(1, "operator.pairing operator.read").await;
    let other = world.pair(2, "operator.pairing operator.read").await;
    let issued = issue(&world, &owner, &service("ci", "operator.read"))
        .await
        .unwrap();
    let refused = revoke(&world, &other, &issued).await;
    assert_eq!(code(&refused.unwrap_err()), "InsufficientScope");
    assert_eq!(world.decide(&issued.token, "operator.read"), "ok");
    revoke(&world, &owner, &issued).await.unwrap();
    assert_eq!(world.decide(&issued.token, "operator.read"), "revoked");
    let rows = world.audit_log().await.len();
    revoke(&world, &world.local, &issued).await.unwrap();
    assert_eq!(
        world.audit_log().await.len(),
        rows,
        "nothing is left to end"
    );
    let second = issue(&world, &owner, &service("ci", "operator.read"))
        .await
        .unwrap();
    revoke(&world, &world.local, &second).await.unwrap();
    assert_eq!(world.decide(&second.token, "operator.read"), "revoked");
}

#[tokio::test]
async fn the_blast_radius_of_a_device_names_its_service_tokens() {
    let world = World::new().await;
    let owner = world.pair(1, "operator.pairing operator.read").await;
    for name in ["one", "two", "three"] {
        issue(&world, &owner, &service(name, "operator.read"))
            .await
            .unwrap();
    }
    let looked = world
        .revoke(&world.local, &owner.device, true)
        .await
        .unwrap();
    assert_eq!(looked.services, ["one", "three", "two"]);
}
