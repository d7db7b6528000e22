//! The part that issues: every use case, one file each. HTTP, WebSockets and
//! the command line call only these.
//!
//! A use case runs in one transaction of the store: it spends the proof of
//! possession, checks that the caller's rows are live, decides, changes, and
//! writes its audit row, or it changes nothing.

pub mod approve;
pub mod backup;
pub mod bootstrap;
pub mod caller;
pub mod client;
pub mod connection;
pub mod device_code;
pub mod end;
pub mod end_token;
pub mod entropy;
pub mod error;
pub mod events;
pub mod exchange;
pub mod feed;
pub mod hint;
pub mod introspect;
pub mod invite;
pub mod keys;
pub mod limits;
pub mod maintenance;
mod narrow;
pub mod paired;
pub mod pairing;
pub mod proof;
pub mod query;
pub mod ready;
pub mod redeem;
pub mod rename;
pub mod restore;
pub mod rotate;
pub mod secrets;
pub mod service_token;
mod session;
pub mod successor;
pub mod watch;
pub mod wider;

use std::sync::Arc;

use arc_swap::ArcSwap;
use hardtack_token::{Chain, Clock, End, Ended, GrantId, Origin, Revocations, Timestamp, Verifier};
use rand::rngs::StdRng;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::audit::{Actor, Entry};
use crate::domain::ids::{InstanceId, new_uuid};
use crate::domain::policy::Policy;
use crate::store::{LiveGrant, NewEnd, Store, Tx};
use entropy::Entropy;
pub use error::Error;
use events::Events;
use keys::Keys;
use limits::{Limits, Rates};
use ready::LastLook;
use secrets::{SecretSource, Secrets};

/// The role that a device asks for where it names none.
pub const OPERATOR: &str = "operator";
/// The role of machines without a key; it cannot be asked for.
pub const SERVICE: &str = "service";
/// The longest life of a session, in seconds.
pub const MAX_SESSION: u64 = 3600;
/// The life of a session where none is asked for, in seconds.
pub const DEFAULT_SESSION: u64 = 900;
/// The life of the session that stands for one call of the API, in seconds.
const CALL_SESSION: u64 = 60;
/// How long an entry of the revocation feed is needed, in seconds: until the
/// last session that could contain the id has ended, clocks that differ included.
pub(crate) const FEED_KEPT: u64 = MAX_SESSION + 120;
/// The age in seconds from which a node that cannot read the feed denies.
pub const FEED_BOUND: u64 = 5;

/// What the operator set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL of the API, which is its audience and the issuer.
    pub issuer: Origin,
    /// Every URL under which clients reach the API, the issuer first.
    pub public_urls: Vec<Origin>,
    /// The gateway's URL, which an exchange gives as the audience by default.
    pub gateway_url: Origin,
    /// The life of a pairing request, in seconds.
    pub request_ttl: u64,
    /// Whether the server runs in a container, for the commands that refusals name.
    pub in_container: bool,
    /// How often callers may ask.
    pub rates: Rates,
}

/// The issuing part of a node.
#[derive(Debug)]
pub struct Authority {
    store: Store,
    secrets: ArcSwap<Secrets>,
    secret_source: SecretSource,
    settings: Settings,
    instance_id: InstanceId,
    keys: ArcSwap<Keys>,
    policy: Arc<ArcSwap<Policy>>,
    verifier: Arc<Verifier>,
    clock: Arc<dyn Clock>,
    entropy: Entropy,
    limits: Limits,
    events: Events,
    last_look: LastLook,
}

/// What an authority is made of.
#[derive(Debug)]
pub struct Parts {
    /// The database, in which the install is made already.
    pub store: Store,
    /// The online secret.
    pub secrets: Secrets,
    /// Where it came from, to be read again when it was rotated.
    pub secret_source: SecretSource,
    /// What the operator set.
    pub settings: Settings,
    /// The policy in force; the gateway shares it.
    pub policy: Arc<ArcSwap<Policy>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Entropy,
    /// The memory for verified tokens, in bytes.
    pub token_cache: u64,
}

impl Authority {
    /// Reads the keys and the revocations, and notes a catalog that changed.
    pub async fn open(parts: Parts) -> Result<Self, Error> {
        let mut tx = parts.store.read().await?;
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        if install.key_check != parts.secrets.check() {
            return Err(Error::WrongSecret);
        }
        let keys = Keys::load(&mut tx, &parts.secrets).await?;
        drop(tx);
        let revocations = Arc::new(Revocations::new(FEED_BOUND));
        let this = Self {
            instance_id: install.instance_id,
            verifier: Arc::new(Verifier::new(keys.ring(), revocations, parts.token_cache)),
            keys: ArcSwap::new(keys),
            store: parts.store,
            secrets: ArcSwap::from_pointee(parts.secrets),
            secret_source: parts.secret_source,
            limits: Limits::new(parts.settings.rates),
            events: Events::new(install.event_seq),
            settings: parts.settings,
            policy: parts.policy,
            clock: parts.clock,
            entropy: parts.entropy,
            last_look: LastLook::default(),
        };
        this.note_catalog(&this.policy()).await?;
        Ok(this)
    }

    /// The verifier, which the gateway shares.
    #[must_use]
    pub const fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// What the operator set.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Which install this is.
    #[must_use]
    pub const fn instance_id(&self) -> InstanceId {
        self.instance_id
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The keys in force.
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// The online secret in force.
    fn secrets(&self) -> Arc<Secrets> {
        self.secrets.load_full()
    }

    /// The store, for readiness checks.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The present time in milliseconds, by which requests are counted.
    #[must_use]
    pub fn millis(&self) -> u64 {
        self.clock.now_millis()
    }

    /// How often callers may ask, and how often they did.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A new id for a request.
    #[must_use]
    pub fn request_id(&self) -> Uuid {
        self.new_uuid(&mut self.entropy.rng())
    }

    fn new_uuid(&self, rng: &mut StdRng) -> Uuid {
        new_uuid(&*self.clock, rng)
    }

    /// Writes an audit row into the transaction of the change it tells of.
    async fn audit(
        &self,
        tx: &mut Tx,
        actor: Actor,
        action: &'static str,
        object: impl ToString,
        address: &str,
        detail: Value,
    ) -> Result<(), Error> {
        let detail = match detail {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let entry = Entry {
            actor,
            action,
            object: object.to_string(),
            address: address.to_owned(),
            detail,
        };
        Ok(tx.audit(&entry, self.now()).await?)
    }

    /// Puts an end into the feed. The entry takes effect here when the
    /// transaction commits and [`Authority::commit`] is told of it.
    async fn end(
        &self,
        tx: &mut Tx,
        id: Uuid,
        end: End,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Error> {
        let now = self.now();
        let entry = Ended { id, end };
        let until = now.plus(FEED_KEPT);
        tx.end(
            &NewEnd {
                ended: entry,
                until,
            },
            now,
        )
        .await?;
        ended.push(entry);
        Ok(())
    }

    /// Commits, then lets this node's own decisions know at once.
    async fn commit(&self, tx: Tx, ended: &[Ended]) -> Result<(), Error> {
        tx.commit().await?;
        if !ended.is_empty() {
            self.verifier.revocations().add(ended);
        }
        Ok(())
    }

    /// The open chain of a stored grant.
    fn open_chain(&self, grant: &LiveGrant) -> Result<Chain, Error> {
        let id = grant.record.id.uuid();
        let bytes = self.secrets().open_chain(id, &grant.chain)?;
        Ok(Chain::from_stored(bytes))
    }

    fn seal_chain(&self, id: GrantId, chain: &Chain, rng: &mut StdRng) -> Result<Vec<u8>, Error> {
        Ok(self
            .secrets()
            .seal_chain(id.uuid(), chain.to_stored(), rng)?)
    }

    /// Puts another policy in force, here and at the gateway.
    pub async fn set_policy(&self, policy: Policy) -> Result<(), Error> {
        // INVARIANT: the audit row comes first. A policy that cannot be noted
        // does not come into force (I9).
        self.note_catalog(&policy).await?;
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    /// A catalog that is not the one of the last start changes what grants
    /// give, which is a change of authority (I9).
    async fn note_catalog(&self, policy: &Policy) -> Result<(), Error> {
        let text = policy.catalog_text();
        let mut tx = self.store.write().await?;
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        if install.catalog == text {
            return Ok(());
        }
        let changed = |from: &str, to: &str| -> Vec<String> {
            let known: std::collections::HashSet<&str> = to.lines().collect();
            let lines = from.lines().filter(|line| !known.contains(line));
            lines.map(str::to_owned).collect()
        };
        let detail = serde_json::json!({
            "added": changed(&text, &install.catalog),
            "removed": changed(&install.catalog, &text),
        });
        tx.set_catalog(&text).await?;
        self.audit(
            &mut tx,
            Actor::Host,
            "policy.catalog",
            "catalog",
            "",
            detail,
        )
        .await?;
        Ok(tx.commit().await?)
    }
}
