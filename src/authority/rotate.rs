//! Putting everything under another online secret.

use hardtack_token::{AuthorityId, Chain, DeviceId, End, Grant, GrantId, ScopeSet, Subject};
use rand::rngs::StdRng;
use serde_json::json;
use uuid::Uuid;

use crate::authority::OPERATOR;
use crate::authority::bootstrap::{Bootstrap, LocalDevice, end_grant};
use crate::authority::error::Error;
use crate::authority::keys::Keys;
use crate::authority::secrets::Secrets;
use crate::domain::grant::{GrantStatus, Holder};
use crate::domain::ids::new_uuid;
use crate::store::{ChainsOf, NewGrant, Tx};

/// How many chains are read at once.
const BATCH: u32 = 500;

/// What a rotation of the secret did.
#[derive(Clone, Copy, Debug)]
pub struct RotatedSecret {
    /// The chains that were put under the new secret.
    pub chains: u64,
    /// The local device of the new secret; none if the old one was ended.
    pub local_device: Option<LocalDevice>,
}

impl Bootstrap<'_> {
    /// Puts all that is under the online secret under another one, in one
    /// transaction. The local device's key comes from the secret: the old one
    /// retires, the new one gets its grant on the same authority block.
    pub async fn rotate_secret(&self, new: &Secrets) -> Result<RotatedSecret, Error> {
        let _lock = self.store.boot_lock().await?;
        let mut tx = self.store.write().await?;
        let install = self.install(&mut tx).await?;
        let mut rng = self.entropy.rng();
        let keys = Keys::load(&mut tx, self.secrets).await?;
        let local_device = self
            .move_local_device(&mut tx, new, &keys, &mut rng)
            .await?;
        let mut chains = 0;
        for of in [ChainsOf::Grants, ChainsOf::AuthorityBlocks] {
            chains += self.seal_again(&mut tx, of, new, &mut rng).await?;
        }
        for key in &keys.attestations {
            let mut key = key.clone();
            let secret = self
                .secrets
                .unwrap_attestation(&key.public_key, &key.wrapped)?;
            key.wrapped = new.wrap_attestation(&key.public_key, &secret, &mut rng)?;
            tx.put_attestation_key(&key, self.clock.now()).await?;
        }
        tx.set_key_check(new.check()).await?;
        Keys::publish(&mut tx, new).await?;
        let local = local_device.map(|local| local.device.to_string());
        let detail = json!({"chains": chains, "local_device": local});
        let object = install.instance_id.to_string();
        self.audit(&mut tx, "secret.rotate", object, &detail)
            .await?;
        tx.commit().await?;
        Ok(RotatedSecret {
            chains,
            local_device,
        })
    }

    async fn seal_again(
        &self,
        tx: &mut Tx,
        of: ChainsOf,
        new: &Secrets,
        rng: &mut StdRng,
    ) -> Result<u64, Error> {
        let mut count = 0;
        let mut after = Uuid::nil();
        loop {
            let page = tx.chains(of, after, BATCH).await?;
            let Some(last) = page.last() else {
                return Ok(count);
            };
            after = last.id;
            for mut stored in page {
                let open = self.secrets.open_chain(stored.id, &stored.chain)?;
                stored.chain = new.seal_chain(stored.id, &open, rng)?;
                tx.set_chain(of, &stored).await?;
                count += 1;
            }
        }
    }

    /// Gives the local device of the new secret a sibling of the old one's
    /// grant. It is still under the old secret when this returns, as all is.
    async fn move_local_device(
        &self,
        tx: &mut Tx,
        new: &Secrets,
        keys: &Keys,
        rng: &mut StdRng,
    ) -> Result<Option<LocalDevice>, Error> {
        let old = tx.local_grant().await?;
        let Some(old) = old.filter(|grant| grant.record.status == GrantStatus::Active) else {
            return Ok(None);
        };
        let Some(block) = tx.authority_block(old.record.authority).await? else {
            return Ok(None);
        };
        let block = Chain::from_stored(self.secrets.open_chain(block.id, &block.chain)?);
        let device = DeviceId::of(&new.local_device().verifying_key());
        let grant = Grant {
            id: GrantId::from_uuid(new_uuid(&**self.clock, rng)),
            subject: Subject::Device(device),
            role: OPERATOR.parse()?,
            scopes: ScopeSet::all(),
            not_after: old.record.expires_at,
        };
        let chain = block.append_grant(&grant, &keys.attestation, rng)?;
        let now = self.clock.now();
        if let Some(old) = old.record.device() {
            for retired in tx.retire_grants(old, Some(&grant.role)).await? {
                end_grant(tx, retired, End::Retired, now).await?;
            }
        }
        let authority: AuthorityId = old.record.authority;
        tx.insert_grant(&NewGrant {
            id: grant.id,
            authority,
            ancestors: Vec::new(),
            holder: Holder::Device(device),
            role: grant.role,
            scopes: grant.scopes,
            name: old.record.name,
            local: true,
            chain: self
                .secrets
                .seal_chain(grant.id.uuid(), chain.to_stored(), rng)?,
            created_at: now,
            expires_at: grant.not_after,
        })
        .await?;
        Ok(Some(LocalDevice {
            device,
            grant: grant.id,
        }))
    }
}
