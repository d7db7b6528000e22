//! The fuzzers' saved corpus, and changes of it, through the same properties:
//! what a fuzzer once found is asked again by every run of the tests.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use biscuit_auth::format::schema;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fuzzed::{accepted, blocks, container, starts, token_text};
use crate::hostile::{Hostile, corpus};
use crate::mutated::{change, texts};
use crate::support::World;

/// How many changes are tried of each kind.
fn tries() -> usize {
    match std::env::var_os("HARDTACK_TEST_LONG") {
        Some(_) => 2_000_000,
        None => 4_000,
    }
}

fn directory(target: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../../fuzz/corpus").join(target)
}

/// What is kept for a target, in the order of the names.
fn saved(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(directory(target)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "{target} has lost its corpus");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Asks a property of all that is kept, and of changes of it.
fn hold(target: &str, property: fn(&[u8])) {
    let saved = saved(target);
    for data in &saved {
        property(data);
    }
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..tries() {
        let mut data = saved[rng.gen_range(0..saved.len())].clone();
        let other = &saved[rng.gen_range(0..saved.len())];
        change(&mut rng, &mut data, other);
        property(&data);
    }
}

#[test]
fn any_text_is_read_in_one_way_or_refused() {
    hold("token_text", token_text);
}

#[test]
fn any_container_is_read_in_one_way_or_refused() {
    hold("container", container);
}

#[test]
fn any_block_says_what_datalog_says_or_is_refused() {
    hold("blocks", blocks);
}

/// Writes what a fuzzer starts from: the test vectors and the hostile tokens.
/// What fuzzers found is beside it, under names of their own.
#[test]
#[ignore = "writes files"]
fn write() {
    let put = |target: &str, name: &str, data: &[u8]| {
        fs::create_dir_all(directory(target)).unwrap();
        fs::write(directory(target).join(name), data).unwrap();
    };
    let refused = texts("refused", "token");
    let named = [("accepted", accepted()), ("refused", refused)];
    for (kind, texts) in named {
        for (i, text) in texts.iter().enumerate() {
            let name = format!("{kind}-{i:02}");
            if i % 3 == 0 {
                put("token_text", &name, text.as_bytes());
            }
            if let (Ok(raw), 0) = (URL_SAFE.decode(text), i % 2) {
                put("container", &name, &raw);
            }
        }
    }
    for (i, start) in (0..).zip(starts()) {
        let signed = std::iter::once(&start.authority).chain(&start.blocks);
        for (at, signed) in (0..8).zip(signed) {
            let data = [&[i << 3 | at][..], &signed.block].concat();
            put("blocks", &format!("genuine-{i:02}-{at}"), &data);
        }
    }
    let (_, hostile) = corpus(World::new(70));
    let short = |hostile: &&Hostile| hostile.text.len() <= 2 * 1024;
    for (i, hostile) in hostile.iter().filter(short).enumerate() {
        let name = format!("hostile-{i:02}");
        let Ok(raw) = URL_SAFE.decode(&hostile.text) else {
            put("token_text", &name, hostile.text.as_bytes());
            continue;
        };
        put("container", &name, &raw);
        if let Ok(raw) = schema::Biscuit::decode(raw.as_slice())
            && let Some(last) = raw.blocks.last()
        {
            // In the place of the first start's session.
            put("blocks", &name, &[&[2][..], &last.block].concat());
        }
    }
}
