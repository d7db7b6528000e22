//! The way out of a refusal: who could do it, and the exact next command.

use hardtack_token::ScopeSet;

use crate::authority::{Authority, Error};
use crate::domain::grant::GrantStatus;
use crate::domain::operation::Operation;
use crate::domain::policy::Policy;
use crate::store::{GrantFilter, Page, Tx};

/// How many devices are looked at, and how many are named.
const LOOK_AT: u32 = 100;
const NAME: usize = 3;

impl Authority {
    /// A command of the CLI as it is typed where this server runs.
    #[must_use]
    pub fn host_command(&self, command: &str) -> String {
        if self.settings.in_container {
            format!("docker exec hardtack hardtack {command}")
        } else {
            format!("hardtack {command}    # on the server's machine")
        }
    }

    /// The live devices that could do an operation which takes `scopes` too, by
    /// name. Only for callers that may see devices.
    pub(crate) async fn who_can(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        operation: Operation,
        scopes: &ScopeSet,
    ) -> Result<Vec<String>, Error> {
        let catalog = policy.catalog();
        let own = policy.operation(operation).map(|(scope, _)| scope);
        let scopes: ScopeSet = scopes.iter().chain(own).cloned().collect();
        let filter = GrantFilter {
            device: None,
            status: Some(GrantStatus::Active),
        };
        let page = Page {
            after: None,
            limit: LOOK_AT,
        };
        let wanted = catalog.closure(&scopes);
        let mut names = Vec::new();
        for record in tx.grants(filter, page).await? {
            if record.local || !catalog.closure(&record.scopes).covers(&wanted) {
                continue;
            }
            if let Some(device) = record.device() {
                names.push(format!("{} ({})", record.name, device.short()));
            }
            if names.len() == NAME {
                break;
            }
        }
        Ok(names)
    }
}
