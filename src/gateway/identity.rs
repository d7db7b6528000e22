//! Whom the upstream is told about: the identity headers.

use std::fmt::Display;

use hardtack_token::Access;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gateway::request_id::RequestId;

/// What the names of all identity headers start with.
pub(crate) const PREFIX: &str = "x-hardtack-";

static DEVICE: HeaderName = HeaderName::from_static("x-hardtack-device");
static SERVICE: HeaderName = HeaderName::from_static("x-hardtack-service");
static GRANT: HeaderName = HeaderName::from_static("x-hardtack-grant");
static ROLE: HeaderName = HeaderName::from_static("x-hardtack-role");
static SCOPES: HeaderName = HeaderName::from_static("x-hardtack-scopes");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-hardtack-request-id");

/// The values of the identity headers, the same for every request of a token.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    device: HeaderValue,
    service: HeaderValue,
    grant: HeaderValue,
    role: HeaderValue,
    scopes: HeaderValue,
}

impl Identity {
    /// The identity of somebody who was not asked for a token.
    pub(crate) const fn nobody() -> Self {
        Self {
            device: NONE,
            service: NONE,
            grant: NONE,
            role: NONE,
            scopes: NONE,
        }
    }

    pub(crate) fn of(access: &Access) -> Self {
        Self {
            device: optional(access.device()),
            service: optional(access.service()),
            grant: value(access.grant_id()),
            role: value(access.role()),
            scopes: HeaderValue::try_from(access.effective_scopes_text()).unwrap_or(NONE),
        }
    }

    /// SECURITY: all of them are set each time, "" where there is none: a header
    /// that is left out is one that somebody else can set.
    pub(crate) fn set(self, headers: &mut HeaderMap, id: &RequestId) {
        headers.insert(&DEVICE, self.device);
        headers.insert(&SERVICE, self.service);
        headers.insert(&GRANT, self.grant);
        headers.insert(&ROLE, self.role);
        headers.insert(&SCOPES, self.scopes);
        headers.insert(&REQUEST_ID, id.value().clone());
    }
}

const NONE: HeaderValue = HeaderValue::from_static("");

fn optional(name: Option<impl Display>) -> HeaderValue {
    name.map_or(NONE, value)
}

/// The names in tokens are printable ASCII by their types.
fn value(name: impl Display) -> HeaderValue {
    HeaderValue::try_from(name.to_string()).unwrap_or(NONE)
}
