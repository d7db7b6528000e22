//! The test vectors of `docs/token-profile.md`: made here with fixed seeds, kept
//! as JSON in `tests/vectors`, and held against the verifier in every run.
//!
//! `cargo test -p hardtack-token --test it vectors::write -- --ignored` writes
//! them anew.

mod accepted;
mod keys;
mod proofs;
mod refused;

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The one seed of all vectors, so that one set of keys verifies all of them.
const SEED: u64 = 2026;

fn path(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/vectors").join(format!("{name}.json"))
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let text = fs::read_to_string(path(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn text(vectors: &impl Serialize) -> String {
    serde_json::to_string_pretty(vectors).unwrap() + "\n"
}

fn all() -> [(&'static str, String); 4] {
    [
        ("keys", text(&keys::make())),
        ("accepted", text(&accepted::make())),
        ("refused", text(&refused::make())),
        ("proofs", text(&proofs::make())),
    ]
}

#[test]
#[ignore = "it writes the files that the other tests read"]
fn write() {
    for (name, text) in all() {
        fs::write(path(name), text).unwrap();
    }
}

#[test]
fn the_vectors_are_those_that_are_made_here() {
    for (name, made) in all() {
        let kept = fs::read_to_string(path(name)).unwrap();
        assert!(
            kept == made,
            "{name}.json is another: write the vectors anew (see the head of this file)"
        );
    }
}
