//! Calling a device otherwise.

use hardtack_token::DeviceId;
use serde_json::json;

use crate::authority::caller::Call;
use crate::authority::{Authority, Error};
use crate::domain::operation::Operation;
use crate::domain::pairing::DeviceName;

impl Authority {
    /// Gives a device another name, in all its roles. A device may name itself;
    /// others need it to be theirs, for approvers decide by names too.
    pub async fn rename(
        &self,
        call: &Call<'_>,
        device: DeviceId,
        name: &DeviceName,
    ) -> Result<(), Error> {
        let operation = Operation::DevicesRename;
        let (caller, mut tx) = self.enter_with(call, operation, &[]).await?;
        if caller.device() != Some(device) {
            self.need(&mut tx, &caller, operation).await?;
            self.need_over(&mut tx, &caller, device).await?;
        }
        if !tx.rename_grants(device, name.as_str()).await? {
            return Err(Error::NotFound("device"));
        }
        let detail = json!({"name": name.as_str()});
        self.audit_of(&mut tx, &caller, call, "device.rename", device, detail)
            .await?;
        Ok(tx.commit().await?)
    }
}
