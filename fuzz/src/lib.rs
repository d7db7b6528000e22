//! The properties that the fuzzers ask, which are those of the plain tests: the
//! same files, so that what a fuzzer finds fails in `cargo test` too.

#[path = "../../crates/token/tests/it/forge.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod forge;
#[path = "../../tests/policy/property.rs"]
mod policy;
#[path = "../../crates/token/tests/it/support.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;
#[path = "../../crates/token/tests/it/fuzzed.rs"]
mod token;

/// Any text, read as a token.
pub fn token_text(data: &[u8]) {
    token::token_text(data);
}

/// Any bytes, read as a token's container.
pub fn container(data: &[u8]) {
    token::container(data);
}

/// Any bytes, read as a block of a token that is signed as it should be.
pub fn blocks(data: &[u8]) {
    token::blocks(data);
}

/// Any text, read as a policy.
pub fn policy_text(data: &[u8]) {
    policy::policy_text(data);
}
