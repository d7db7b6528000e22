//! The frames of the protocol: one JSON object in each text message.
//!
//! A request is read as far as it is decided on, its id and its method. Its
//! parameters go on to the upstream as they came.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::openclaw::errors::ErrorShape;

/// The longest id of a request, in bytes: it is repeated in the answer.
const MAX_ID: usize = 256;
/// The longest name of a method, in bytes.
const MAX_METHOD: usize = 128;

/// A request. Unknown members are left to the upstream.
///
/// INVARIANT: what is read here is what the upstream reads. A member that
/// stands twice is refused, for the upstream would take the other one.
#[derive(Debug, Deserialize)]
pub(super) struct RequestFrame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) method: Cow<'a, str>,
}

/// A message that is no request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotARequest {
    /// It is no JSON object with the members of a request.
    #[error("invalid request frame")]
    Form,
    /// It is a frame of another type.
    #[error("unexpected frame type")]
    Kind,
}

impl<'a> RequestFrame<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, NotARequest> {
        let frame: Self = serde_json::from_str(text).map_err(|_| NotARequest::Form)?;
        if frame.kind != "req" {
            return Err(NotARequest::Kind);
        }
        let fits = |text: &str, most| !text.is_empty() && text.len() <= most;
        if !fits(&frame.id, MAX_ID) || !fits(&frame.method, MAX_METHOD) {
            return Err(NotARequest::Form);
        }
        Ok(frame)
    }
}

/// The parameters of a request that is answered here.
pub(super) fn params(text: &str) -> Result<Value, NotARequest> {
    #[derive(Deserialize)]
    struct WithParams {
        #[serde(default)]
        params: Value,
    }
    let read: Result<WithParams, _> = serde_json::from_str(text);
    read.map(|frame| frame.params)
        .map_err(|_| NotARequest::Form)
}

/// An answer to a request.
pub(super) fn answer(id: &str, result: &Result<Value, ErrorShape>) -> String {
    match result {
        Ok(payload) => json!({"type": "res", "id": id, "ok": true, "payload": payload}),
        Err(error) => json!({"type": "res", "id": id, "ok": false, "error": error.to_json()}),
    }
    .to_string()
}

/// An event. It has no `seq`: the numbers are the upstream's, and the member
/// may be absent.
pub(super) fn event(name: &str, payload: &Value) -> String {
    json!({"type": "event", "event": name, "payload": payload}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(text: &str) -> Result<String, NotARequest> {
        RequestFrame::read(text).map(|frame| frame.method.into_owned())
    }

    #[test]
    fn a_request_is_read_whatever_else_it_has() {
        let text = r#"{"type":"req","id":"1","method":"health","params":{"a":[1]},"x":2}"#;
        assert_eq!(method(text), Ok("health".to_owned()));
        let escaped = r#"{"type":"req","\u0069d":"1","meth\u006fd":"he\u0061lth"}"#;
        assert_eq!(method(escaped), Ok("health".to_owned()));
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_however_it_is_written() {
        for text in [
            r#"{"type":"req","id":"1","method":"health","method":"config.set"}"#,
            r#"{"type":"req","id":"1","method":"health","m\u0065thod":"config.set"}"#,
            r#"{"type":"req","id":"1","id":"2","method":"health"}"#,
            r#"{"type":"req","type":"req","id":"1","method":"health"}"#,
        ] {
            assert_eq!(method(text), Err(NotARequest::Form), "{text}");
        }
        let twice = r#"{"params":{"a":1},"params":{"a":2}}"#;
        assert_eq!(params(twice), Err(NotARequest::Form));
    }

    #[test]
    fn parameters_may_be_deep_where_they_are_not_read() {
        let brackets = ("[".repeat(5000), "]".repeat(5000));
        let deep = format!(
            r#"{{"type":"req","id":"1","method":"health","params":{}{}}}"#,
            brackets.0, brackets.1
        );
        assert_eq!(method(&deep), Ok("health".to_owned()));
        assert_eq!(params(&deep), Err(NotARequest::Form));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = format!(
            r#"{{"type":"req","id":"{}","method":"health"}}"#,
            "x".repeat(MAX_ID + 1)
        );
        for text in [
            "",
            "[]",
            "1",
            "{",
            r#"{"type":"req"}"#,
            r#"{"type":"req","id":1,"method":"health"}"#,
            r#"{"type":"req","id":"","method":"health"}"#,
            r#"{"type":"req","id":"1","method":""}"#,
            r#"{"type":"req","id":"1","method":"health"} x"#,
            &long,
        ] {
            assert_eq!(method(text), Err(NotARequest::Form), "{text:.60}");
        }
        for kind in ["res", "event", "REQ"] {
            let text = format!(r#"{{"type":"{kind}","id":"1","method":"health"}}"#);
            assert_eq!(method(&text), Err(NotARequest::Kind));
        }
    }
}
