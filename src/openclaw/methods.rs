//! The methods that are answered here: whatever is about who is paired. The
//! upstream is not asked, and never sees them.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::openclaw::OpenClaw;
use crate::openclaw::errors::ErrorShape;
use crate::openclaw::session::Session;

/// What their names begin with. A method of such a name that is not known here
/// is unknown: the upstream's own pairing is nobody's business.
const OURS: [&str; 3] = ["device.pair.", "device.token.", "device.scopes."];

pub(super) const LIST: &str = "device.pair.list";
pub(super) const APPROVE: &str = "device.pair.approve";
pub(super) const REJECT: &str = "device.pair.reject";
pub(super) const REMOVE: &str = "device.pair.remove";
pub(super) const RENAME: &str = "device.pair.rename";
pub(super) const ROTATE: &str = "device.token.rotate";
pub(super) const REVOKE: &str = "device.token.revoke";
pub(super) const REQUEST_UPGRADE: &str = "device.scopes.requestUpgrade";
pub(super) const WAIT_UPGRADE: &str = "device.scopes.waitUpgrade";
pub(super) const SETUP_CODE: &str = "device.pair.setupCode";
pub(super) const SETUP_STATUS: &str = "device.pair.setupStatus";

/// The names that clients are told.
pub(super) const NAMES: [&str; 11] = [
    LIST,
    APPROVE,
    REJECT,
    REMOVE,
    RENAME,
    ROTATE,
    REVOKE,
    REQUEST_UPGRADE,
    WAIT_UPGRADE,
    SETUP_CODE,
    SETUP_STATUS,
];

/// Whether a method is answered here.
pub(super) fn is_ours(method: &str) -> bool {
    OURS.iter().any(|prefix| method.starts_with(prefix))
}

impl OpenClaw {
    /// Answers a request of a client for a method of ours.
    pub(super) async fn call(
        &self,
        session: &Session,
        method: &str,
        params: Value,
    ) -> Result<Value, ErrorShape> {
        match method {
            LIST => self.list_pairings(session).await,
            APPROVE => self.approve(session, read(method, params)?).await,
            REJECT => self.reject(session, read(method, params)?).await,
            REMOVE => self.remove(session, read(method, params)?).await,
            RENAME => self.rename(session, read(method, params)?).await,
            ROTATE => self.rotate(session, read(method, params)?).await,
            REVOKE => self.revoke(session, read(method, params)?).await,
            REQUEST_UPGRADE => self.request_upgrade(session, read(method, params)?).await,
            WAIT_UPGRADE => self.wait_upgrade(session, read(method, params)?).await,
            SETUP_CODE => self.setup_code(session, read(method, params)?).await,
            SETUP_STATUS => self.setup_status(session, read(method, params)?).await,
            unknown => Err(ErrorShape::invalid(format!("unknown method: {unknown}"))),
        }
    }
}

/// Parameters as the method takes them. Members that it does not know are left
/// alone: a newer client may send them.
fn read<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, ErrorShape> {
    let params = match params {
        Value::Null => Value::Object(Map::new()),
        given => given,
    };
    T::deserialize(params)
        .map_err(|error| ErrorShape::invalid(format!("invalid {method} params: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_about_pairing_is_answered_here() {
        for name in NAMES {
            assert!(is_ours(name), "{name}");
        }
        assert!(is_ours("device.pair.unheardOf") && is_ours("device.token.new"));
        assert!(!is_ours("device.info") && !is_ours("node.pair.list") && !is_ours("health"));
    }
}
