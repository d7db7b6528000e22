//! Fields behind a body, on their way through.

use http::header::{HeaderMap, HeaderName, HeaderValue, TRAILER};

use crate::gateway::headers::{is_hop_by_hop, is_ours};
use crate::gateway::request_id::X_REQUEST_ID;

/// Fields that count before the body is read, or not at all (RFC 9110 section 6.5.1).
const OF_THE_HEAD: [&str; 24] = [
    "age",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "set-cookie",
    "vary",
    "www-authenticate",
];

/// Whether a field may stand behind a body.
///
/// SECURITY: some servers put trailers with the head. An identity, a credential or
/// the length of a body would then be taken from what no decision looked at.
fn may_trail(name: &HeaderName) -> bool {
    let text = name.as_str();
    !is_ours(text)
        && !is_hop_by_hop(name)
        && !OF_THE_HEAD.contains(&text)
        && *name != X_REQUEST_ID
        && !text.contains('_')
}

/// Leaves of trailers what may stand there.
pub(crate) fn rewrite(trailers: &mut HeaderMap) {
    let unwanted: Vec<HeaderName> = trailers.keys().filter(|n| !may_trail(n)).cloned().collect();
    for name in unwanted {
        trailers.remove(name);
    }
}

/// The announcement of trailers without those that do not come. Over HTTP/1.1
/// nothing is sent that was not announced.
pub(crate) fn announced(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(TRAILER) {
        for name in value.as_bytes().split(|b| *b == b',') {
            match HeaderName::from_bytes(name.trim_ascii()) {
                Ok(name) if may_trail(&name) => {
                    if !list.is_empty() {
                        list.extend_from_slice(b", ");
                    }
                    list.extend_from_slice(name.as_str().as_bytes());
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    if list.is_empty() {
        return None;
    }
    // Names and commas make a value.
    HeaderValue::try_from(list).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_head_does_not_stand_behind_a_body() {
        let passes = [
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "content-digest",
            "server-timing",
            "x-checksum",
        ];
        let stays = [
            "x-hardtack-device",
            "x-hardtack-anything",
            "x-request-id",
            "authorization",
            "dpop",
            "forwarded",
            "x-forwarded-for",
            "x-real-ip",
            "x-original-url",
            "x-http-method-override",
            "x_hardtack_device",
            "host",
            "cookie",
            "set-cookie",
            "content-length",
            "transfer-encoding",
            "connection",
            "te",
            "trailer",
            "upgrade",
        ];
        let mut trailers = HeaderMap::new();
        for name in passes.iter().chain(&stays) {
            trailers.append(*name, HeaderValue::from_static("1"));
        }
        let mut announcement = HeaderMap::new();
        let names: Vec<&str> = stays.iter().chain(&passes).copied().collect();
        announcement.append(TRAILER, names.join(" , ").parse().unwrap());
        announcement.append(TRAILER, HeaderValue::from_static("X-Last,,@"));
        rewrite(&mut trailers);
        let mut left: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let mut expected = passes.to_vec();
        expected.sort_unstable();
        assert_eq!(left, expected);
        let announced = announced(&announcement).unwrap();
        assert_eq!(announced, format!("{}, x-last", passes.join(", ")));
        assert_eq!(super::announced(&HeaderMap::new()), None);
    }
}
