//! First boot, `root reset`, the audit chain, catalog edits.

use std::sync::Arc;

use hardtack::authority::Error;
use hardtack::authority::bootstrap::Bootstrap;
use hardtack::authority::client::Proofs;
use hardtack::authority::entropy::Entropy;
use hardtack::authority::exchange::{SubjectToken, Wanted};
use hardtack::authority::secrets::Secrets;
use hardtack::domain::audit::AuditRecord;
use hardtack::store::Store;
use hardtack_token::{Clock, ManualClock, TokenText};

use crate::device::Device;

use super::support::{
    FROM, Paired, START, World, code, new_database, new_store, next_secrets, secrets, token_target,
};

struct Host {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Entropy,
    _dir: tempfile::TempDir,
}

impl Host {
    async fn new() -> Self {
        let (store, dir) = new_store().await;
        Self {
            store,
            clock: Arc::new(ManualClock::new(START)),
            entropy: Entropy::seeded(3),
            _dir: dir,
        }
    }

    fn bootstrap<'a>(&'a self, secrets: &'a Secrets) -> Bootstrap<'a> {
        Bootstrap {
            store: &self.store,
            secrets,
            clock: &self.clock,
            entropy: &self.entropy,
        }
    }
}

#[tokio::test]
async fn a_root_token_is_made_once_and_again_only_if_it_was_never_shown() {
    let host = Host::new().await;
    let secrets = secrets();
    let bootstrap = host.bootstrap(&secrets);
    let first = bootstrap.first_boot().await.unwrap().unwrap();
    let lost = first.root_token.text().clone();
    drop(first);
    // The process ended before it could print.
    let second = bootstrap.first_boot().await.unwrap().unwrap();
    assert_ne!(*second.root_token.text(), lost);
    assert_eq!(second.local_device.device.to_string().len(), 64);
    bootstrap.shown(second).await.unwrap();
    assert!(bootstrap.first_boot().await.unwrap().is_none());
}

#[tokio::test]
async fn several_first_boots_at_once_show_exactly_one_root_token() {
    let host = Host::new().await;
    let secrets = secrets();
    let boot = async || {
        let bootstrap = host.bootstrap(&secrets);
        match bootstrap.first_boot().await.unwrap() {
            Some(announcement) => bootstrap.shown(announcement).await.map(|()| 1).unwrap(),
            None => 0,
        }
    };
    let (a, b, c, d) = tokio::join!(boot(), boot(), boot(), boot());
    assert_eq!(a + b + c + d, 1);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let url = new_database(dir.path()).await;
    let store = Store::open(&url).await.unwrap();
    let newer = "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1";
    match &store {
        Store::Sqlite { write, .. } => drop(sqlx::query(newer).execute(write).await.unwrap()),
        Store::Postgres(pool) => drop(sqlx::query(newer).execute(pool).await.unwrap()),
    }
    store.close().await;
    let refused = Store::open(&url).await.unwrap_err().to_string();
    assert!(
        refused.contains("9999") && refused.contains("newer version"),
        "{refused}"
    );
}

#[tokio::test]
async fn another_secret_is_refused_before_anything_changes() {
    let host = Host::new().await;
    let right = secrets();
    let announcement = host.bootstrap(&right).first_boot().await.unwrap().unwrap();
    host.bootstrap(&right).shown(announcement).await.unwrap();
    let wrong = Secrets::from_text(&"22".repeat(32)).unwrap();
    let bootstrap = host.bootstrap(&wrong);
    assert!(matches!(
        bootstrap.first_boot().await,
        Err(Error::WrongSecret)
    ));
    assert!(matches!(
        bootstrap.reset_root(true).await,
        Err(Error::WrongSecret)
    ));
    let mut tx = host.store.read().await.unwrap();
    assert_eq!(tx.root_keys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_reset_replaces_the_root_token_and_spares_the_devices() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let old = world.root.clone();
    let new = reset(&world, false).await;
    assert_eq!(
        code(&by_root(&world, &old).await.unwrap_err()),
        "WrongRootToken"
    );
    assert!(by_root(&world, &new).await.is_ok());
    assert!(world.exchange(&paired, &Wanted::default()).await.is_ok());
    assert!(
        world
            .exchange(&world.local, &Wanted::default())
            .await
            .is_ok()
    );
    let mut tx = world.store.read().await.unwrap();
    let sealed = tx.root_keys().await.unwrap();
    assert_eq!(sealed.iter().filter(|key| key.sealed.is_some()).count(), 1);
}

#[tokio::test]
async fn a_reset_of_all_ends_all_and_pairs_the_local_device_again() {
    let mut world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let token = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    reset(&world, true).await;
    world.advance(1).await;
    assert_eq!(world.decide(&token, "operator.read"), "revoked");
    assert_eq!(
        code(
            &world
                .exchange(&paired, &Wanted::default())
                .await
                .unwrap_err()
        ),
        "revoked"
    );
    let local = world.local.device.clone();
    world.local.grant = world.fetch_grant(&local).await.unwrap();
    assert!(
        world
            .exchange(&world.local, &Wanted::default())
            .await
            .is_ok()
    );
    assert!(
        world
            .exchange(&world.pair(2, "operator.read").await, &Wanted::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_local_device_that_was_ended_is_paired_again_by_a_reset() {
    for how in ["revoke", "retire"] {
        let mut world = World::new().await;
        let local = world.local.device.clone();
        world.end(how, &local).await.unwrap();
        assert!(world.fetch_grant(&local).await.is_err());
        reset(&world, false).await;
        world.advance(1).await;
        world.local.grant = world.fetch_grant(&local).await.unwrap();
        assert!(
            world
                .exchange(&world.local, &Wanted::default())
                .await
                .is_ok(),
            "{how}"
        );
    }
}

#[tokio::test]
async fn a_rotated_secret_changes_nothing_for_devices_and_moves_the_local_one() {
    let mut world = World::new().await;
    let paired = world.pair(1, "operator.admin").await;
    let token = world
        .exchange(&paired, &Wanted::default())
        .await
        .unwrap()
        .token;
    let old_local = world.local.clone();
    rotate(&world, &secrets(), &next_secrets()).await.unwrap();
    // The running node takes the new secret with the next thing it does.
    assert!(world.exchange(&paired, &Wanted::default()).await.is_ok());
    assert_eq!(world.decide(&token, "operator.read"), "ok");
    assert!(
        world
            .exchange(&old_local, &Wanted::default())
            .await
            .is_err()
    );
    let device = Device::of(next_secrets().local_device().clone());
    world.local = Paired {
        grant: world.fetch_grant(&device).await.unwrap(),
        device,
    };
    assert!(
        world
            .exchange(&world.local, &Wanted::default())
            .await
            .is_ok()
    );
    let child = world.pair(2, "operator.read").await;
    assert!(world.exchange(&child, &Wanted::default()).await.is_ok());
    assert!(by_root(&world, &world.root).await.is_ok());
}

#[tokio::test]
async fn a_secret_is_rotated_once_and_by_whoever_has_it() {
    let world = World::new().await;
    rotate(&world, &secrets(), &next_secrets()).await.unwrap();
    let again = rotate(&world, &secrets(), &next_secrets()).await;
    assert!(matches!(again, Err(Error::WrongSecret)));
}

/// Whoever can write to the database and has no secret can add no key.
#[tokio::test]
async fn a_key_that_was_written_into_the_database_counts_for_nothing() {
    let world = World::new().await;
    let position = hardtack::authority::feed::FeedPosition::default();
    world.authority.reload_feed(&position).await.unwrap();
    let keys = world.authority.keys();
    let mut forged = keys.roots.first().unwrap().clone();
    forged.id = hardtack_token::RootKeyId::new(7);
    forged.state = hardtack_token::KeyState::Retiring;
    let mut tx = world.store.write().await.unwrap();
    tx.put_root_key(&forged, world.now()).await.unwrap();
    let mac = tx.install().await.unwrap().unwrap().keys_mac;
    tx.keys_changed(99, &mac).await.unwrap();
    tx.commit().await.unwrap();
    let refused = world.authority.poll_feed(&position).await.unwrap_err();
    assert_eq!(code(&refused), "Secret");
    assert_eq!(world.authority.keys().version, keys.version);
    // A node that cannot read its keys denies, as one that cannot read the feed.
    world.clock.advance(60);
    assert!(world.authority.poll_feed(&position).await.is_err());
    let refused = world.exchange(&world.local, &Wanted::default()).await;
    assert_eq!(code(&refused.unwrap_err()), "Secret");
}

#[tokio::test]
async fn every_change_has_its_row_and_the_chain_is_whole() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    world.exchange(&paired, &Wanted::default()).await.unwrap();
    world.end("retire", &paired.device).await.unwrap();
    reset(&world, false).await;
    let log = world.audit_log().await;
    let actions: Vec<&str> = log.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "install.make",
            "policy.catalog",
            "pairing.approve",
            "token.exchange",
            "device.retire",
            "root.reset"
        ]
    );
    let mut previous: Option<&AuditRecord> = None;
    for row in &log {
        assert!(row.follows(previous), "{}", row.seq);
        previous = Some(row);
    }
    let head = world
        .store
        .read()
        .await
        .unwrap()
        .audit_head()
        .await
        .unwrap();
    assert_eq!(head, (previous.unwrap().seq, previous.unwrap().hash));
}

#[tokio::test]
async fn no_row_of_the_log_holds_a_token_or_a_key() {
    let world = World::new().await;
    let paired = world.pair(1, "operator.read").await;
    let issued = world.exchange(&paired, &Wanted::default()).await.unwrap();
    let text = format!("{:?}", world.audit_log().await);
    for secret in [&world.root, &paired.grant, &issued.token] {
        let piece = secret.expose().get(20..60).unwrap();
        assert!(!text.contains(piece));
    }
}

async fn rotate(world: &World, old: &Secrets, new: &Secrets) -> Result<(), Error> {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&world.clock);
    let bootstrap = Bootstrap {
        store: &world.store,
        secrets: old,
        clock: &clock,
        entropy: &Entropy::seeded(11),
    };
    bootstrap.rotate_secret(new).await.map(drop)
}

async fn reset(world: &World, revoke_all: bool) -> TokenText {
    let secrets = secrets();
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&world.clock);
    let bootstrap = Bootstrap {
        store: &world.store,
        secrets: &secrets,
        clock: &clock,
        entropy: &Entropy::seeded(9),
    };
    let announcement = bootstrap.reset_root(revoke_all).await.unwrap();
    let token = announcement.root_token.text().clone();
    bootstrap.shown(announcement).await.unwrap();
    token
}

async fn by_root(world: &World, root: &TokenText) -> Result<(), Error> {
    let wanted = Wanted {
        scopes: Some("operator.read".parse().unwrap()),
        ..Wanted::default()
    };
    let proofs = Proofs::none(token_target());
    let subject = SubjectToken::Root(root.clone());
    let done = world.authority.exchange(&subject, &wanted, proofs, FROM);
    done.await.map(drop)
}
