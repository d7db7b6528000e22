//! Setup codes: an invite in the text that OpenClaw's clients take, which names
//! the gateway too. `openclaw connect` and the apps read it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hardtack_token::{InvalidId, Origin, Timestamp};
use serde_json::json;

/// Where OpenClaw's clients reach a gateway: a `ws` or `wss` URL, perhaps with a
/// path, in the one spelling that they accept in a setup code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayUrl {
    text: String,
    is_private: bool,
}

impl GatewayUrl {
    /// The URL's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether nobody on the way can read along: over TLS, or on this machine.
    #[must_use]
    pub const fn is_private(&self) -> bool {
        self.is_private
    }

    /// The setup code for this gateway and what to bring to it. A secret.
    #[must_use]
    pub fn setup_code(&self, token: &str, expires_at: Timestamp) -> String {
        let code = json!({
            "url": self.text,
            "bootstrapToken": token,
            "expiresAtMs": expires_at.unix().saturating_mul(1000),
        });
        URL_SAFE_NO_PAD.encode(code.to_string())
    }
}

impl FromStr for GatewayUrl {
    type Err = InvalidId;

    /// Reads a `ws`, `wss`, `http` or `https` URL without user, query and fragment.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = |why| InvalidId {
            what: "gateway URL",
            why,
        };
        let text = text.trim();
        if text.contains(['?', '#']) {
            return Err(invalid("it must not have a query or a fragment"));
        }
        let web = match text.strip_prefix("ws") {
            Some(rest) => format!("http{rest}"),
            None => text.to_owned(),
        };
        let (origin, path) = Origin::split(&web).map_err(|_| {
            invalid("it must be ws:// or wss://, with a host and nothing before it")
        })?;
        let socket = origin.as_str().replacen("http", "ws", 1);
        Ok(Self {
            is_private: socket.starts_with("wss:") || origin.is_loopback(),
            text: format!("{socket}{}", path.trim_end_matches('/')),
        })
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_gateway_url_is_written_as_clients_demand_it() {
        for (given, text, is_private) in [
            ("wss://Claw.Example", "wss://claw.example", true),
            (
                "https://claw.example:443/gw/",
                "wss://claw.example/gw",
                true,
            ),
            ("ws://127.0.0.1:18789/", "ws://127.0.0.1:18789", true),
            ("ws://[::1]:18789", "ws://[::1]:18789", true),
            ("http://10.0.0.2:80", "ws://10.0.0.2", false),
        ] {
            let url: GatewayUrl = given.parse().unwrap();
            assert_eq!((url.as_str(), url.is_private()), (text, is_private));
            // What is written so reads as itself.
            assert_eq!(text.parse::<GatewayUrl>().unwrap(), url);
        }
        for text in [
            "",
            "claw.example",
            "ftp://claw.example",
            "wss://",
            "wss://a@claw.example",
            "wss://claw.example?x",
            "wss://claw.example#x",
            "wss:claw.example",
        ] {
            assert!(text.parse::<GatewayUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_setup_code_is_json_in_base64url_without_padding() {
        let url: GatewayUrl = "wss://claw.example".parse().unwrap();
        let code = url.setup_code("WDJB-MJHT", Timestamp::from_unix(7));
        let read: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(code).unwrap()).unwrap();
        assert_eq!(
            read,
            json!({"url": "wss://claw.example", "bootstrapToken": "WDJB-MJHT", "expiresAtMs": 7000})
        );
    }
}
