//! What the gateway answers itself: `/.hardtack/whoami`, and the metadata that
//! challenges point to.

use hardtack_token::{Access, Asked, Catalog, Origin};
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::gateway::body::AnswerBody;
use crate::gateway::refusal::Refusal;
use crate::web::metadata::ProtectedResource;
use crate::web::problem::METADATA_PATH;

/// A path that is the gateway's, whatever the policy says. None is proxied.
#[derive(Clone, Debug)]
pub(crate) enum Own {
    /// RFC 9728. Needs no credential.
    Metadata,
    /// Needs any valid access token.
    Whoami,
    /// There is nothing, which only the holder of a valid token is told.
    Nothing(Refusal),
}

/// Whoever a token speaks for, as the gateway sees it.
#[derive(Serialize)]
struct Whoami {
    device_id: Option<String>,
    service: Option<String>,
    grant_id: String,
    role: String,
    scopes: Vec<String>,
    expires_at: String,
    audience: String,
}

impl Own {
    /// Whether a request is for the gateway itself.
    pub(crate) fn of(asked: &Asked<'_>) -> Option<Self> {
        let below = asked.path.strip_prefix("/.hardtack");
        let reserved = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let own = match asked.path {
            METADATA_PATH => Self::Metadata,
            "/.hardtack/whoami" => Self::Whoami,
            _ if reserved => return Some(Self::Nothing(Refusal::NotFound)),
            _ => return None,
        };
        Some(if matches!(asked.method, "GET" | "HEAD") {
            own
        } else {
            Self::Nothing(Refusal::MethodNotAllowed)
        })
    }
}

pub(crate) fn whoami(access: &Access, gateway: &Origin) -> Response<AnswerBody> {
    let whoami = Whoami {
        device_id: access.device().map(|id| id.to_string()),
        service: access.service().map(ToString::to_string),
        grant_id: access.grant_id().to_string(),
        role: access.role().to_string(),
        scopes: access.effective_scopes().to_strings(),
        expires_at: access.expires_at().to_string(),
        audience: gateway.to_string(),
    };
    let mut response = json(&whoami);
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

pub(crate) fn metadata(
    gateway: &Origin,
    issuer: &Origin,
    catalog: &Catalog,
) -> Response<AnswerBody> {
    let name = "hardtack gateway";
    json(&ProtectedResource::new(gateway, name, issuer, catalog))
}

fn json(document: &impl Serialize) -> Response<AnswerBody> {
    // Strings in structs cannot fail to serialise.
    let text = serde_json::to_vec(document).unwrap_or_default();
    let mut response = Response::new(AnswerBody::whole(text));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use hardtack_token::Credential;

    fn own(method: &str, path: &str) -> String {
        let asked = Asked {
            method,
            path,
            operation: None,
            wire_method: method,
            wire_path: path,
            credential: Credential::None,
        };
        match Own::of(&asked) {
            None => "proxied".to_owned(),
            Some(Own::Metadata) => "metadata".to_owned(),
            Some(Own::Whoami) => "whoami".to_owned(),
            Some(Own::Nothing(why)) => why.code().to_owned(),
        }
    }

    #[test]
    fn the_gateways_own_paths_are_never_proxied() {
        for (method, path, expected) in [
            ("GET", "/.hardtack/whoami", "whoami"),
            ("HEAD", "/.hardtack/whoami", "whoami"),
            ("POST", "/.hardtack/whoami", "method_not_allowed"),
            ("WEBSOCKET", "/.hardtack/whoami", "method_not_allowed"),
            ("GET", "/.hardtack", "not_found"),
            ("GET", "/.hardtack/", "not_found"),
            ("GET", "/.hardtack/whoami/", "not_found"),
            ("GET", METADATA_PATH, "metadata"),
            ("PUT", METADATA_PATH, "method_not_allowed"),
            ("GET", "/.hardtacks", "proxied"),
            ("GET", "/.well-known/other", "proxied"),
        ] {
            assert_eq!(own(method, path), expected, "{method} {path}");
        }
    }
}
