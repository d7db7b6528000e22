//! The form of a refusal (RFC 9457), and what may stand in a challenge.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::web::code::Code;

/// The path of the metadata that challenges point to (RFC 9728).
pub(crate) const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

/// The signature algorithms of proofs (RFC 9449).
pub(crate) const DPOP_ALGS: [&str; 2] = ["EdDSA", "Ed25519"];

/// The media type of a problem document.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The longest `error_description`, in bytes.
const MAX_DESCRIPTION: usize = 300;

/// A problem document, its members in this order.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Document {
    r#type: String,
    pub(crate) title: &'static str,
    pub(crate) status: u16,
    pub(crate) detail: String,
    pub(crate) code: &'static str,
    pub(crate) request_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) required: Vec<String>,
    /// What the caller itself holds, where it may know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<String>,
    /// Kinds of credential that could do it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) who: Vec<String>,
    /// The commands that get on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) next: Vec<String>,
    /// Members of one kind of problem alone.
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

impl Document {
    /// A problem of which no more is known yet.
    pub(crate) fn new(code: Code, title: &'static str, detail: String, request_id: String) -> Self {
        Self {
            r#type: format!("urn:hardtack:error:{}", code.as_str()),
            title,
            status: code.status().as_u16(),
            detail,
            code: code.as_str(),
            request_id,
            required: Vec::new(),
            held: None,
            missing: Vec::new(),
            who: Vec::new(),
            next: Vec::new(),
            more: Map::new(),
        }
    }

    /// The document's text.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // A structure of strings and lists always has a text.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What may stand in an `error_description` (RFC 6750 section 3): printable
/// ASCII without `"` and `\`.
pub(crate) fn quotable(text: &str) -> String {
    let safe = |c: char| match c {
        '"' => '\'',
        ' '..='~' if c != '\\' => c,
        _ => '?',
    };
    text.chars().take(MAX_DESCRIPTION).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_cannot_leave_its_quotes() {
        assert_eq!(quotable("a\"b\\c\r\nX: y é`"), "a'b?c??X: y ?`");
    }

    #[test]
    fn a_document_has_the_members_of_the_contract_in_their_order() {
        let id = "id-1".to_owned();
        let mut document = Document::new(Code::AmbiguousPath, "Title", "why".to_owned(), id);
        document.more.insert("extra".to_owned(), Value::Null);
        let text = String::from_utf8(document.to_bytes()).unwrap();
        assert_eq!(
            text,
            r#"{"type":"urn:hardtack:error:ambiguous_path","title":"Title","status":400,"detail":"why","code":"ambiguous_path","request_id":"id-1","extra":null}"#
        );
    }
}
