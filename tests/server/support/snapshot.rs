//! Answers as they are kept in files, without what differs from run to run.

use std::path::{Path, PathBuf};

use super::http::Answer;
use super::server::Server;

/// Headers that are worth keeping.
const HEADERS: [&str; 8] = [
    "allow",
    "cache-control",
    "content-type",
    "dpop-nonce",
    "location",
    "pragma",
    "retry-after",
    "www-authenticate",
];

/// The directory of the kept refusals.
pub(crate) fn errors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/errors")
}

/// Compares a text with its file, or writes the file anew if told to.
pub(crate) fn check(file: &Path, text: &str) {
    if hardtack::config::text("HARDTACK_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(file, text).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == text,
        "{}: it is now\n{text}\nIf that is right, run with HARDTACK_WRITE_SNAPSHOTS=1",
        file.display()
    );
}

/// Status, headers and body of an answer.
pub(crate) fn text(server: &Server, answer: &Answer) -> String {
    let mut lines = vec![answer.status.to_string()];
    let mut headers: Vec<_> = answer.head.headers.iter().collect();
    headers.sort();
    for (name, value) in headers {
        let value = match name.as_str() {
            "dpop-nonce" => "<nonce>",
            "retry-after" => "<seconds>",
            _ => value,
        };
        if HEADERS.contains(&name.as_str()) {
            lines.push(format!("{name}: {value}"));
        }
    }
    let body = match answer.json() {
        serde_json::Value::Null => answer.text(),
        json => serde_json::to_string_pretty(&json).unwrap(),
    };
    lines.extend([String::new(), body, String::new()]);
    let text = lines.join("\n");
    let text = text.replace(&server.url, "<api>");
    settled(&text.replace(&server.gateway, "<gateway>"))
}

/// Puts a word in the place of each id and time.
fn settled(text: &str) -> String {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':');
    let mut settled = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if part_of_word(c) {
            word.push(c);
            continue;
        }
        settled.push_str(name_of(&word).unwrap_or(&word));
        word.clear();
        settled.push(c);
    }
    settled.pop();
    settled
}

fn name_of(word: &str) -> Option<&'static str> {
    let hex = |length| word.len() == length && word.bytes().all(|b| b.is_ascii_hexdigit());
    if word.len() == 36 && uuid::Uuid::try_parse(word).is_ok() {
        Some("<uuid>")
    } else if word.parse::<hardtack_token::Timestamp>().is_ok() {
        Some("<time>")
    } else if hex(64) {
        Some("<device id>")
    } else if hex(12) || hex(8) {
        Some("<hex>")
    } else {
        None
    }
}
