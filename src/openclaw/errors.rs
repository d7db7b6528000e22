//! Errors and closes in the words that clients of the protocol act on.

use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::openclaw::connect::PROTOCOLS;

/// The longest reason of a close frame, in bytes, that all clients read.
pub(super) const MAX_REASON: usize = 120;

/// The `error` of an answer.
#[derive(Clone, Debug)]
pub(super) struct ErrorShape {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) details: Map<String, Value>,
    /// In milliseconds; says at the same time that to try again makes sense.
    pub(super) retry_after: Option<u64>,
}

/// Why and how a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
}

/// A refused `connect`: the answer, then the close.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) error: ErrorShape,
    pub(super) close: Close,
}

impl ErrorShape {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Map::new(),
            retry_after: None,
        }
    }

    /// A request that makes no sense here, whoever sends it.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("INVALID_REQUEST", message)
    }

    /// Something that is not to be had now.
    pub(super) fn unavailable(message: impl Into<String>, retry_after: u64) -> Self {
        let mut error = Self::new("UNAVAILABLE", message);
        error.retry_after = Some(retry_after);
        error
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn to_json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(members) = error.as_object_mut() {
            if !self.details.is_empty() {
                members.insert("details".into(), Value::Object(self.details.clone()));
            }
            if let Some(after) = self.retry_after {
                members.insert("retryable".into(), json!(true));
                members.insert("retryAfterMs".into(), json!(after));
            }
        }
        error
    }
}

impl Close {
    pub(super) fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        Self { code, reason }
    }

    /// A refusal by policy.
    pub(super) fn policy(reason: impl Into<String>) -> Self {
        Self::new(1008, reason)
    }

    /// The client is to come again: what it was connected to is gone.
    pub(super) fn restart(reason: impl Into<String>) -> Self {
        Self::new(1012, reason)
    }

    /// What the connection was let in by is over.
    pub(super) fn ended(reason: impl Into<String>) -> Self {
        Self::new(4001, reason)
    }

    pub(super) fn frame(&self) -> CloseFrame {
        CloseFrame {
            code: CloseCode::from(self.code),
            reason: Utf8Bytes::from(self.reason.as_str()),
        }
    }
}

impl Refusal {
    pub(super) fn policy(error: ErrorShape, reason: impl Into<String>) -> Self {
        Self {
            error,
            close: Close::policy(reason),
        }
    }

    /// A refusal whose message is the reason of the close too.
    pub(super) fn said(error: ErrorShape) -> Self {
        let reason = error.message.clone();
        Self::policy(error, reason)
    }

    pub(super) fn protocol_mismatch(min: u32, max: u32) -> Self {
        let error = ErrorShape::invalid("protocol mismatch")
            .with("code", "PROTOCOL_MISMATCH")
            .with("clientMinProtocol", min)
            .with("clientMaxProtocol", max)
            .with("expectedProtocol", *PROTOCOLS.end())
            .with("minimumProbeProtocol", *PROTOCOLS.start());
        Self {
            error,
            close: Close::new(1002, "protocol mismatch"),
        }
    }

    /// The upstream cannot be used now; the client comes again by itself.
    pub(super) fn starting(message: impl Into<String>) -> Self {
        let error = ErrorShape::unavailable(message, 500).with("reason", "startup-sidecars");
        Self {
            error,
            close: Close::new(1013, "gateway starting"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters() {
        let close = Close::policy("é".repeat(100));
        assert_eq!(close.reason.len(), MAX_REASON);
        let close = Close::policy(format!("x{}", "é".repeat(100)));
        assert_eq!(close.reason.len(), MAX_REASON - 1);
    }

    #[test]
    fn what_is_not_said_is_not_there() {
        let error = ErrorShape::invalid("x").to_json();
        assert_eq!(error, json!({"code": "INVALID_REQUEST", "message": "x"}));
        let error = ErrorShape::unavailable("y", 5).with("a", 1).to_json();
        assert_eq!(error["retryable"], true);
        assert_eq!(
            (&error["retryAfterMs"], &error["details"]["a"]),
            (&json!(5), &json!(1))
        );
    }
}
