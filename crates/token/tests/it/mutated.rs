//! Random changes of known tokens and proofs: nothing panics, and nothing that
//! was changed is accepted. `scripts/test --long` tries many times more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use hardtack_token::dpop::{DpopProof, Expected};
use hardtack_token::{Catalog, Origin, Published, Revocations, Verifier};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::support::{BOUND, NOW};

/// How many changes are tried of each kind.
fn tries() -> usize {
    match std::env::var_os("HARDTACK_TEST_LONG") {
        Some(_) => 20_000_000,
        None => 60_000,
    }
}

fn vectors(name: &str) -> Value {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/vectors").join(format!("{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn texts(name: &str, member: &str) -> Vec<String> {
    let all = vectors(name);
    let all = all.as_array().unwrap().iter();
    all.filter_map(|vector| vector[member].as_str().map(str::to_owned))
        .collect()
}

/// One to four small changes, of the kinds that find most: turned bits, lost,
/// repeated and foreign ranges, and numbers at their limits.
pub(crate) fn change(rng: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.gen_range(1..=4) {
        let at = rng.gen_range(0..=bytes.len());
        let to = (at + rng.gen_range(0..=64)).min(bytes.len());
        match rng.gen_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.gen_range(0..8),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            3 if !other.is_empty() => {
                let from = rng.gen_range(0..other.len());
                let until = (from + rng.gen_range(1..=200)).min(other.len());
                bytes.splice(at..to, other[from..until].iter().copied());
            }
            4 => drop(bytes.splice(at..at, [0xff; 9].into_iter().chain([1]))),
            _ => bytes.truncate(at),
        }
    }
}

/// A verifier of the vectors, the texts that it accepts, and some that it refuses.
struct Setting {
    verifier: Verifier,
    catalog: Arc<Catalog>,
    accepted: Vec<String>,
    refused: Vec<String>,
}

impl Setting {
    fn new() -> Self {
        let mut document = vectors("keys");
        document["instance_id"] = "vectors".into();
        let document: Published = serde_json::from_value(document).unwrap();
        let revocations = Arc::new(Revocations::new(BOUND));
        revocations.confirm(NOW);
        Self {
            verifier: Verifier::new(document.keys().unwrap(), revocations, 0),
            catalog: Arc::new(document.catalog().unwrap()),
            accepted: texts("accepted", "token"),
            refused: texts("refused", "token"),
        }
    }

    /// Changes accepted tokens, with parts of all others. What was done to the
    /// refused ones could be undone, so that they are no start.
    fn change(&self, seed: u64, read: impl Fn(&str) -> Vec<u8>, write: impl Fn(&[u8]) -> String) {
        let mut rng = StdRng::seed_from_u64(seed);
        let starts: Vec<_> = self.accepted.iter().map(|text| read(text)).collect();
        let others: Vec<_> = self.refused.iter().map(|text| read(text)).collect();
        for _ in 0..tries() {
            let mut bytes = starts[rng.gen_range(0..starts.len())].clone();
            let other = &others[rng.gen_range(0..others.len())];
            change(&mut rng, &mut bytes, other);
            let text = write(&bytes);
            let verified = self.verifier.verify(&text, &self.catalog, NOW);
            assert!(verified.is_err() || self.accepted.contains(&text), "{text}");
        }
    }
}

#[test]
fn a_changed_text_is_no_token() {
    let write = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Setting::new().change(1, |text| text.as_bytes().to_vec(), write);
}

#[test]
fn a_changed_container_is_no_token() {
    let read = |text: &str| URL_SAFE.decode(text).unwrap_or_default();
    Setting::new().change(2, read, |bytes| URL_SAFE.encode(bytes));
}

#[test]
fn a_changed_proof_proves_nothing() {
    let all = vectors("proofs");
    let all: Vec<_> = all.as_array().unwrap().iter().collect();
    let genuine: Vec<_> = all.iter().filter(|v| v["device_id"].is_string()).collect();
    let whole: BTreeSet<_> = texts("proofs", "proof").into_iter().collect();
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..tries() {
        let vector = genuine[rng.gen_range(0..genuine.len())];
        let mut bytes = vector["proof"].as_str().unwrap().as_bytes().to_vec();
        let other = all[rng.gen_range(0..all.len())]["proof"].as_str().unwrap();
        change(&mut rng, &mut bytes, other.as_bytes());
        let text = String::from_utf8_lossy(&bytes);
        let origin: Origin = vector["origin"].as_str().unwrap().parse().unwrap();
        let expected = Expected {
            method: vector["method"].as_str().unwrap(),
            path: vector["path"].as_str().unwrap(),
            origin: &|other| *other == origin,
            token: vector["token"].as_str(),
            now: vector["now"].as_str().unwrap().parse().unwrap(),
        };
        let proof = DpopProof::verify(&text, &expected);
        assert!(proof.is_err() || whole.contains(&*text), "{text}");
    }
}
