//! What a client is told that has to be approved first.
//!
//! Some clients read the answer, some only the reason of the close: both name
//! the request, and the reason is short enough that nothing of it is cut.

use serde_json::{Value, json};

use crate::authority::connection::{PairingNeeded, Upgrade};
use crate::openclaw::OpenClaw;
use crate::openclaw::errors::{ErrorShape, Refusal};

impl OpenClaw {
    pub(super) fn pairing_required(&self, needed: &PairingNeeded) -> Refusal {
        let (reason, what) = words(needed.why);
        let request = &needed.request;
        let id = request.id.to_string();
        let command = self
            .authority
            .host_command(&format!("devices approve {id}"));
        let message = format!("pairing required: {what}");
        let close = format!("{message} (requestId: {id})");
        let mut error = ErrorShape::new("NOT_PAIRED", message)
            .with("code", "PAIRING_REQUIRED")
            .with("reason", reason)
            .with("requestId", id)
            .with("remediationHint", format!("Approve it with: {command}"))
            .with("deviceId", request.device.to_string())
            .with("requestedRole", request.ask.role.as_str())
            // It comes again by itself, and is in once somebody approved.
            .with("recommendedNextStep", "wait_then_retry")
            .with("retryable", true)
            .with("pauseReconnect", false)
            .with("expiresAt", request.expires_at.to_string());
        let roles: Vec<&str> = needed
            .roles
            .iter()
            .map(hardtack_token::Role::as_str)
            .collect();
        for (name, list) in [
            ("requestedScopes", json!(request.ask.scopes.to_strings())),
            ("approvedScopes", json!(needed.scopes.to_strings())),
            ("approvedRoles", json!(roles)),
        ] {
            if list != Value::Array(Vec::new()) {
                error = error.with(name, list);
            }
        }
        error.retry_after = Some(RETRY_AFTER);
        Refusal::policy(error, close)
    }
}

/// When a client that waits is to ask again, in milliseconds.
const RETRY_AFTER: u64 = 2_000;

/// The word of the protocol for why, and the words of its messages, some of
/// them shortened.
const fn words(why: Upgrade) -> (&'static str, &'static str) {
    match why {
        Upgrade::NotPaired => ("not-paired", "device is not approved yet"),
        Upgrade::Scopes => ("scope-upgrade", "device is asking for more scopes"),
        Upgrade::Role => ("role-upgrade", "device is asking for another role"),
        Upgrade::Metadata => (
            "metadata-upgrade",
            "device identity changed and must be re-approved",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openclaw::errors::MAX_REASON;

    #[test]
    fn every_reason_holds_the_whole_id() {
        for why in [
            Upgrade::NotPaired,
            Upgrade::Scopes,
            Upgrade::Role,
            Upgrade::Metadata,
        ] {
            let (_, what) = words(why);
            let id = uuid::Uuid::nil();
            let reason = format!("pairing required: {what} (requestId: {id})");
            assert!(reason.len() <= MAX_REASON, "{reason}: {}", reason.len());
            // The pattern that clients take the id by has no parentheses in the middle.
            assert!(!what.contains(['(', ')']));
        }
    }
}
