//! What callers may see: themselves, devices, the catalog, the audit log.

use std::sync::Arc;

use hardtack_token::{DeviceId, GrantId};

use crate::authority::caller::{Call, Caller};
use crate::authority::{Authority, Error};
use crate::domain::audit::AuditRecord;
use crate::domain::grant::{GrantRecord, GrantStatus};
use crate::domain::operation::Operation;
use crate::domain::policy::Policy;
use crate::store::{GrantFilter, Page, Tx};

/// How many of a device's grants are looked at.
const ROLES: u32 = 100;

impl Authority {
    /// Who the caller is.
    pub async fn whoami(&self, call: &Call<'_>) -> Result<Caller, Error> {
        let (caller, tx) = self.enter(call, Operation::Whoami).await?;
        tx.commit().await?;
        Ok(caller)
    }

    /// The policy whose catalog any caller may read.
    pub async fn catalog(&self, call: &Call<'_>) -> Result<Arc<Policy>, Error> {
        let (caller, tx) = self.enter(call, Operation::Scopes).await?;
        tx.commit().await?;
        Ok(caller.policy)
    }

    /// Lists devices.
    pub async fn devices(
        &self,
        call: &Call<'_>,
        filter: GrantFilter,
        page: Page<GrantId>,
    ) -> Result<Vec<GrantRecord>, Error> {
        let (_, mut tx) = self.enter(call, Operation::DevicesList).await?;
        let records = tx.grants(filter, page).await?;
        tx.commit().await?;
        Ok(records)
    }

    /// Shows a device, once for each of its roles. A device may see itself.
    pub async fn device(
        &self,
        call: &Call<'_>,
        device: DeviceId,
    ) -> Result<Vec<GrantRecord>, Error> {
        let (tx, records) = self.grants_of(call, device, None).await?;
        tx.commit().await?;
        if records.is_empty() {
            return Err(Error::NotFound("device"));
        }
        Ok(records)
    }

    /// A device's grants, for who may see the device. A device may see itself.
    pub(crate) async fn grants_of(
        &self,
        call: &Call<'_>,
        device: DeviceId,
        status: Option<GrantStatus>,
    ) -> Result<(Tx, Vec<GrantRecord>), Error> {
        let operation = Operation::DevicesShow;
        let (caller, mut tx) = self.enter_with(call, operation, &[]).await?;
        if caller.device() != Some(device) {
            self.need(&mut tx, &caller, operation).await?;
        }
        let filter = GrantFilter {
            device: Some(device),
            status,
        };
        let page = Page {
            after: None,
            limit: ROLES,
        };
        let records = tx.grants(filter, page).await?;
        Ok((tx, records))
    }

    /// Reads the audit log.
    pub async fn audit_log(
        &self,
        call: &Call<'_>,
        page: Page<i64>,
    ) -> Result<Vec<AuditRecord>, Error> {
        let (_, mut tx) = self.enter(call, Operation::AuditRead).await?;
        let records = tx.audit_log(page).await?;
        tx.commit().await?;
        Ok(records)
    }
}
