//! First boot, the root token's announcement, and `root reset`.

use std::sync::Arc;

use hardtack_token::{
    AttestationKey, AuthorityId, Chain, Clock, DeviceId, End, Ended, Grant, GrantId, KeyState,
    RootKey, RootKeyId, RootToken, ScopeSet, Subject, Timestamp,
};
use rand::rngs::StdRng;
use serde_json::{Map, json};

use crate::authority::entropy::Entropy;
use crate::authority::error::Error;
use crate::authority::keys::Keys;
use crate::authority::secrets::{Secrets, seal_root};
use crate::authority::{FEED_KEPT, OPERATOR};
use crate::domain::audit::{Actor, Entry};
use crate::domain::grant::{GrantStatus, Holder};
use crate::domain::ids::{InstanceId, new_uuid};
use crate::store::{
    AttestationKeyRow, BootLock, Install, NewEnd, NewGrant, NewInstall, RootKeyRow, Store, Tx,
};

/// An install's making and mending: what is done by the host, not by a caller.
#[derive(Debug)]
pub struct Bootstrap<'a> {
    /// The database.
    pub store: &'a Store,
    /// The online secret.
    pub secrets: &'a Secrets,
    /// The time.
    pub clock: &'a Arc<dyn Clock>,
    /// Randomness.
    pub entropy: &'a Entropy,
}

/// A root token that is to be shown now, once.
#[derive(Debug)]
pub struct Announcement {
    /// The root token.
    pub root_token: RootToken,
    /// Which install it is of.
    pub instance_id: InstanceId,
    /// The local device.
    pub local_device: LocalDevice,
    /// The devices that a reset ended.
    pub revoked: u64,
    /// Held until the token is shown, so that no other process shows another.
    lock: BootLock,
}

/// The local device and its grant.
#[derive(Clone, Copy, Debug)]
pub struct LocalDevice {
    /// The device.
    pub device: DeviceId,
    /// Its grant.
    pub grant: GrantId,
}

impl Bootstrap<'_> {
    /// Makes the install if there is none. Gives the root token if it was never
    /// shown: on a first boot, or after one that ended before it could print.
    pub async fn first_boot(&self) -> Result<Option<Announcement>, Error> {
        let lock = self.store.boot_lock().await?;
        let mut tx = self.store.write().await?;
        let made = if tx.install().await?.is_none() {
            self.make(&mut tx).await?
        } else if self.install(&mut tx).await?.announced {
            return Ok(None);
        } else {
            // Nobody has seen the token of the last attempt: another takes its place.
            self.replace_root(&mut tx, false, "root.remint").await?
        };
        tx.commit().await?;
        Ok(Some(made.announce(lock)))
    }

    /// Replaces the root key. Needs write access to the database and the online
    /// secret, and nothing else: no policy and no grant can stand in its way.
    pub async fn reset_root(&self, revoke_all: bool) -> Result<Announcement, Error> {
        let lock = self.store.boot_lock().await?;
        let mut tx = self.store.write().await?;
        self.install(&mut tx).await?;
        tx.set_announced(false).await?;
        let made = self.replace_root(&mut tx, revoke_all, "root.reset").await?;
        tx.commit().await?;
        Ok(made.announce(lock))
    }

    /// Notes that the token of an announcement was shown, and lets other processes go on.
    pub async fn shown(&self, announcement: Announcement) -> Result<(), Error> {
        let mut tx = self.store.write().await?;
        tx.set_announced(true).await?;
        tx.commit().await?;
        drop(announcement.lock);
        Ok(())
    }

    /// The install, if it was made with this secret.
    pub(crate) async fn install(&self, tx: &mut Tx) -> Result<Install, Error> {
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        if install.key_check != self.secrets.check() {
            return Err(Error::WrongSecret);
        }
        Ok(install)
    }

    async fn make(&self, tx: &mut Tx) -> Result<Made, Error> {
        let now = self.clock.now();
        let mut rng = self.entropy.rng();
        let instance_id = InstanceId::from_uuid(new_uuid(&**self.clock, &mut rng));
        tx.insert_install(&NewInstall {
            instance_id,
            key_check: self.secrets.check().to_vec(),
            created_at: now,
        })
        .await?;

        let attestation = AttestationKey::generate(&mut rng);
        let public_key = attestation.public()?;
        let wrapped = &attestation.secret();
        let row = AttestationKeyRow {
            id: 1,
            wrapped: self
                .secrets
                .wrap_attestation(&public_key, wrapped, &mut rng)?,
            public_key,
            state: KeyState::Active,
        };
        tx.put_attestation_key(&row, now).await?;

        let (root, root_token) = self.new_root(tx, RootKeyId::new(1), &mut rng).await?;
        Keys::publish(tx, self.secrets).await?;
        let local_device = self
            .pair_local_device(tx, &root, &attestation, &mut rng)
            .await?;
        let detail = json!({"root_key_id": root.id().get(), "local_device": local_device.device.to_string()});
        self.audit(tx, "install.make", instance_id.to_string(), &detail)
            .await?;
        Ok(Made {
            root_token,
            instance_id,
            local_device,
            revoked: 0,
        })
    }

    async fn replace_root(
        &self,
        tx: &mut Tx,
        revoke_all: bool,
        action: &'static str,
    ) -> Result<Made, Error> {
        let now = self.clock.now();
        let mut rng = self.entropy.rng();
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        let keys = Keys::load(tx, self.secrets).await?;
        let last = keys.roots.last().map_or(0, |key| key.id.get());
        tx.replace_root_key().await?;
        let id = RootKeyId::new(last.saturating_add(1));
        let (root, root_token) = self.new_root(tx, id, &mut rng).await?;

        let mut revoked = 0;
        if revoke_all {
            revoked = tx.count_live_devices().await?;
            for grant in tx.revoke_all_grants().await? {
                end_grant(tx, grant, End::Revoked, now).await?;
            }
        }
        let local = tx.local_grant().await?;
        let alive = local.filter(|grant| grant.record.status == GrantStatus::Active);
        let local_device = match alive {
            Some(grant) => LocalDevice {
                device: self.local_device_id(),
                grant: grant.record.id,
            },
            None => {
                self.pair_local_device(tx, &root, &keys.attestation, &mut rng)
                    .await?
            }
        };
        Keys::publish(tx, self.secrets).await?;
        let detail = json!({
            "root_key_id": id.get(),
            "revoked": revoked,
            "local_device": local_device.device.to_string(),
            "local_grant": local_device.grant.to_string(),
        });
        self.audit(tx, action, id.to_string(), &detail).await?;
        Ok(Made {
            root_token,
            instance_id: install.instance_id,
            local_device,
            revoked,
        })
    }

    /// Makes a root key, seals it under its token, and stores the seal.
    async fn new_root(
        &self,
        tx: &mut Tx,
        id: RootKeyId,
        rng: &mut StdRng,
    ) -> Result<(RootKey, RootToken), Error> {
        let root = RootKey::generate(id, rng);
        let token = root.mint_root_token(rng)?;
        let public_key = root.public()?;
        let row = RootKeyRow {
            id,
            public_key,
            sealed: Some(seal_root(&root, &token, &public_key, rng)?),
            state: KeyState::Active,
        };
        tx.put_root_key(&row, self.clock.now()).await?;
        Ok((root, token))
    }

    /// Gives the local device a grant with `*` on a fresh authority block.
    async fn pair_local_device(
        &self,
        tx: &mut Tx,
        root: &RootKey,
        attestation: &AttestationKey,
        rng: &mut StdRng,
    ) -> Result<LocalDevice, Error> {
        let now = self.clock.now();
        let device = self.local_device_id();
        let grant = Grant {
            id: GrantId::from_uuid(new_uuid(&**self.clock, rng)),
            subject: Subject::Device(device),
            role: OPERATOR.parse()?,
            scopes: ScopeSet::all(),
            not_after: None,
        };
        let authority = AuthorityId::from_uuid(new_uuid(&**self.clock, rng));
        let block = root.mint_authority(authority, &grant.scopes, rng)?;
        let chain = block.append_grant(&grant, attestation, rng)?;
        let kept = self
            .secrets
            .seal_chain(authority.uuid(), block.to_stored(), rng)?;
        tx.insert_authority_block(authority, &kept).await?;
        for retired in tx.retire_grants(device, Some(&grant.role)).await? {
            end_grant(tx, retired, End::Retired, now).await?;
        }
        tx.insert_grant(&NewGrant {
            id: grant.id,
            authority,
            ancestors: Vec::new(),
            holder: Holder::Device(device),
            role: grant.role,
            scopes: grant.scopes,
            name: "local device".to_owned(),
            local: true,
            chain: self.seal_chain(grant.id, &chain, rng)?,
            created_at: now,
            expires_at: None,
        })
        .await?;
        Ok(LocalDevice {
            device,
            grant: grant.id,
        })
    }

    fn seal_chain(&self, id: GrantId, chain: &Chain, rng: &mut StdRng) -> Result<Vec<u8>, Error> {
        Ok(self.secrets.seal_chain(id.uuid(), chain.to_stored(), rng)?)
    }

    fn local_device_id(&self) -> DeviceId {
        DeviceId::of(&self.secrets.local_device().verifying_key())
    }

    pub(crate) async fn audit(
        &self,
        tx: &mut Tx,
        action: &'static str,
        object: String,
        detail: &serde_json::Value,
    ) -> Result<(), Error> {
        let entry = Entry {
            actor: Actor::Host,
            action,
            object,
            address: String::new(),
            detail: detail.as_object().cloned().unwrap_or_else(Map::new),
        };
        Ok(tx.audit(&entry, self.clock.now()).await?)
    }
}

/// A root token that is not committed yet.
struct Made {
    root_token: RootToken,
    instance_id: InstanceId,
    local_device: LocalDevice,
    revoked: u64,
}

impl Made {
    fn announce(self, lock: BootLock) -> Announcement {
        Announcement {
            root_token: self.root_token,
            instance_id: self.instance_id,
            local_device: self.local_device,
            revoked: self.revoked,
            lock,
        }
    }
}

pub(crate) async fn end_grant(
    tx: &mut Tx,
    grant: GrantId,
    end: End,
    now: Timestamp,
) -> Result<(), Error> {
    let ended = Ended {
        id: grant.uuid(),
        end,
    };
    let until = now.plus(FEED_KEPT);
    Ok(tx.end(&NewEnd { ended, until }, now).await?)
}
