//! The conformance samples of the Biscuit specification, which the stock crate
//! ships, through our reader: none of them is of the profile, and each is
//! refused for what it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use hardtack_token::{KeyRing, KeyState, PublicKey, RootKeyId, TokenText, Untrusted};
use serde_json::Value;

use crate::forge::{put_together, take_apart};

/// Where cargo unpacked the stock crate.
fn samples() -> PathBuf {
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments);
        String::from_utf8(cargo.output().unwrap().stdout).unwrap()
    };
    // Crates of other platforms need not be there.
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let metadata = cargo(&[
        "metadata",
        "--format-version=1",
        "--offline",
        "--filter-platform",
        host.unwrap(),
    ]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let stock = packages.find(|package| package["name"] == "biscuit-auth");
    let manifest = stock.unwrap()["manifest_path"].as_str().unwrap();
    PathBuf::from(manifest).with_file_name("samples")
}

fn outcome(token: &TokenText, keys: &KeyRing) -> &'static str {
    let read = Untrusted::read(token, keys).and_then(|untrusted| untrusted.verify(keys));
    read.map_or_else(|denial| denial.code(), |_| "verified")
}

#[test]
fn no_sample_of_the_specification_is_taken_for_one_of_ours() {
    let samples = samples();
    let all = fs::read_to_string(samples.join("samples.json")).unwrap();
    let all: Value = serde_json::from_str(&all).unwrap();
    let root = format!("ed25519/{}", all["root_public_key"].as_str().unwrap());
    let root: PublicKey = root.parse().unwrap();
    let keys = KeyRing::new().with_root(RootKeyId::new(1), root, KeyState::Active);

    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in all["testcases"].as_array().unwrap() {
        let bytes = fs::read(samples.join(sample["filename"].as_str().unwrap())).unwrap();
        let as_it_is = TokenText::new(URL_SAFE.encode(&bytes)).unwrap();
        assert_ne!(
            outcome(&as_it_is, &keys),
            "verified",
            "{}",
            sample["filename"]
        );
        // None of them names its root key. With a name, which is not signed, it
        // is the blocks that decide.
        let mut raw = take_apart(&bytes);
        raw.root_key_id = Some(1);
        *outcomes
            .entry(outcome(&put_together(&raw), &keys))
            .or_default() += 1;
    }
    // One has a signature of another size, two are attested by strangers.
    let expected = [
        ("malformed_token", 1),
        ("outside_profile", 35),
        ("unknown_key", 2),
    ];
    assert_eq!(outcomes, BTreeMap::from(expected));
}
