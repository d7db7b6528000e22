//! The one upgrade that goes through the gateway: to a WebSocket.

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Version};

/// Whether the client asks for a WebSocket (RFC 6455 section 4.1).
///
/// SECURITY: what is not recognised here loses its `Upgrade` header, so that no
/// upstream can take for an upgrade what was decided on as another method.
pub(crate) fn is_websocket(request: &Parts) -> bool {
    request.method == Method::GET
        && request.version == Version::HTTP_11
        && lists(&request.headers, &UPGRADE, "websocket")
        && lists(&request.headers, &CONNECTION, "upgrade")
}

/// Whether an upstream agreed to one.
pub(crate) fn agrees(response: &HeaderMap) -> bool {
    lists(response, &UPGRADE, "websocket")
}

/// Asks for a WebSocket, or agrees to one.
pub(crate) fn set(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn asks(method: &str, version: Version, connection: &str, upgrade: &str) -> bool {
        let request = Request::builder()
            .method(method)
            .version(version)
            .header(CONNECTION, connection)
            .header(UPGRADE, upgrade)
            .body(())
            .unwrap();
        is_websocket(&request.into_parts().0)
    }

    #[test]
    fn an_upgrade_to_a_websocket_is_recognised_and_no_other() {
        let now = Version::HTTP_11;
        assert!(asks("GET", now, "Upgrade", "websocket"));
        assert!(asks("GET", now, "keep-alive, UPGRADE", "h2c, WebSocket"));
        assert!(!asks("GET", now, "keep-alive", "websocket"));
        assert!(!asks("GET", now, "Upgrade", "h2c"));
        assert!(!asks("POST", now, "Upgrade", "websocket"));
        assert!(!asks("GET", Version::HTTP_10, "Upgrade", "websocket"));
    }
}
