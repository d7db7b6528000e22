//! Ending devices: revoke takes all below with it, retire leaves it alive.

use hardtack_token::{DeviceId, End, Role};
use serde_json::json;

use crate::authority::caller::{Call, Caller};
use crate::authority::error::Shortfall;
use crate::authority::{Authority, Error};
use crate::domain::grant::GrantRecord;
use crate::domain::operation::Operation;
use crate::store::{GrantFilter, Page, Tx};

/// What ending a device did, or would do.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Which of the two.
    pub end: End,
    /// The devices that end by it.
    pub devices: Vec<DeviceId>,
    /// The names of the service tokens that end by it.
    pub services: Vec<String>,
    /// Whether it was only looked at.
    pub dry_run: bool,
}

impl Authority {
    /// Revokes every grant that a device ever had, and so all below.
    pub async fn revoke(
        &self,
        call: &Call<'_>,
        device: DeviceId,
        dry_run: bool,
    ) -> Result<Ending, Error> {
        let operation = Operation::DevicesRevoke;
        let (caller, mut tx) = self.enter_to_end(call, operation, device).await?;
        let devices = tx.devices_below(device).await?;
        let services = tx.services_below(device, self.now()).await?;
        let mut ended = Vec::new();
        if !dry_run {
            for grant in tx.revoke_grants(device, None).await? {
                self.end(&mut tx, grant.uuid(), End::Revoked, &mut ended)
                    .await?;
            }
            let detail = json!({
                "devices": devices.len(),
                "services": services.len(),
                "grants": ended.len(),
            });
            self.audit_of(&mut tx, &caller, call, "device.revoke", device, detail)
                .await?;
        }
        self.commit(tx, &ended).await?;
        Ok(Ending {
            end: End::Revoked,
            devices,
            services,
            dry_run,
        })
    }

    /// Revokes every grant that a device ever had in one role, and so all below
    /// these. Says how many were not dead yet.
    pub async fn revoke_role(
        &self,
        call: &Call<'_>,
        device: DeviceId,
        role: &Role,
    ) -> Result<usize, Error> {
        let operation = Operation::DevicesRevoke;
        let (caller, mut tx) = self.enter_to_end(call, operation, device).await?;
        let mut ended = Vec::new();
        for grant in tx.revoke_grants(device, Some(role)).await? {
            self.end(&mut tx, grant.uuid(), End::Revoked, &mut ended)
                .await?;
        }
        let detail = json!({"role": role.as_str(), "grants": ended.len()});
        self.audit_of(&mut tx, &caller, call, "device.revoke", device, detail)
            .await?;
        self.commit(tx, &ended).await?;
        Ok(ended.len())
    }

    /// Retires the live grants of a device. What it approved lives.
    pub async fn retire(&self, call: &Call<'_>, device: DeviceId) -> Result<Ending, Error> {
        let operation = Operation::DevicesRetire;
        let (caller, mut tx) = self.enter_to_end(call, operation, device).await?;
        let mut ended = Vec::new();
        for grant in tx.retire_grants(device, None).await? {
            self.end(&mut tx, grant.uuid(), End::Retired, &mut ended)
                .await?;
        }
        let detail = json!({"grants": ended.len()});
        self.audit_of(&mut tx, &caller, call, "device.retire", device, detail)
            .await?;
        self.commit(tx, &ended).await?;
        Ok(Ending {
            end: End::Retired,
            devices: if ended.is_empty() {
                Vec::new()
            } else {
                vec![device]
            },
            services: Vec::new(),
            dry_run: false,
        })
    }

    /// Who may end a device: itself, always; whoever approved it, directly or
    /// through others; and whoever may end any. The local device is ended by
    /// itself or by the root token only, so that nobody locks the host out.
    pub(crate) async fn enter_to_end(
        &self,
        call: &Call<'_>,
        operation: Operation,
        device: DeviceId,
    ) -> Result<(Caller, Tx), Error> {
        let (caller, mut tx) = self.enter_with(call, operation, &[]).await?;
        if caller.device() == Some(device) {
            return Ok((caller, tx));
        }
        self.need(&mut tx, &caller, operation).await?;
        let known = tx.grants(of_device(device), ONE).await?;
        if known.is_empty() {
            return Err(Error::NotFound("device"));
        }
        if caller.is_root() {
            return Ok((caller, tx));
        }
        if known.iter().any(|grant: &GrantRecord| grant.local) {
            return Err(Error::LocalDevice);
        }
        self.need_over(&mut tx, &caller, device).await?;
        Ok((caller, tx))
    }

    /// Refuses a caller that neither approved a device, directly or through
    /// others, nor may end any.
    pub(crate) async fn need_over(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        device: DeviceId,
    ) -> Result<(), Error> {
        let own = match caller.record() {
            Some(record) => tx.is_below(device, record.id).await?,
            None => true,
        };
        if own || caller.is_root() {
            return Ok(());
        }
        self.need(tx, caller, Operation::DevicesEndAny).await
    }

    /// Refuses a caller that lacks the scope of an operation.
    pub(crate) async fn need(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        operation: Operation,
    ) -> Result<(), Error> {
        let Some((scope, requirement)) = caller.policy.operation(operation) else {
            return Ok(());
        };
        if caller.has(requirement) {
            return Ok(());
        }
        let missing = [scope.clone()].into_iter().collect();
        // Names of devices only to those who may list them.
        let may_list = caller.policy.operation(Operation::DevicesList);
        let others = match may_list {
            Some((_, r)) if caller.has(r) => {
                self.who_can(tx, &caller.policy, operation, &missing)
                    .await?
            }
            Some(_) | None => Vec::new(),
        };
        Err(Error::InsufficientScope(Box::new(Shortfall {
            why: format!("`{}` needs `{scope}`", operation.name()),
            required: missing.clone(),
            held: caller.held(),
            missing,
            others,
            ..Shortfall::default()
        })))
    }
}

const ONE: Page<hardtack_token::GrantId> = Page {
    after: None,
    limit: 10,
};

const fn of_device(device: DeviceId) -> GrantFilter {
    GrantFilter {
        device: Some(device),
        status: None,
    }
}
