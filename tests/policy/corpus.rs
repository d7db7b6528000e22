//! What is kept for the fuzzer of policies, asked as it is and with changes that
//! those who write policies make: facts and words lost, repeated and swapped.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::property::policy_text;

/// How many changes are tried.
fn tries() -> usize {
    match std::env::var_os("HARDTACK_TEST_LONG") {
        Some(_) => 2_000_000,
        None => 8_000,
    }
}

/// Every kept text, in the order of the names, and the policies of the project.
fn saved() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for directory in ["fuzz/corpus/policy_text", "policies"] {
        let entries = fs::read_dir(root.join(directory)).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        paths.extend(files.filter(|path| path.is_file()));
    }
    paths.sort();
    assert!(paths.len() > 20, "the corpus is lost");
    let bytes = paths.iter().map(|path| fs::read(path).unwrap());
    bytes
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

/// The text in words: names, strings, white space and signs.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut quoted = false;
    for c in text.chars() {
        let joins = c.is_alphanumeric() || "._/-{}*".contains(c);
        match words.last_mut() {
            Some(last) if joins && last.ends_with(|c: char| c.is_alphanumeric()) => last.push(c),
            Some(last) if quoted && joins => last.push(c),
            Some(_) | None => words.push(c.to_string()),
        }
        quoted = joins;
    }
    words
}

/// One to four changes, with words of another text.
fn change(rng: &mut StdRng, words: &mut Vec<String>, other: &[String]) {
    for _ in 0..rng.gen_range(1..=4) {
        let at = rng.gen_range(0..=words.len());
        let to = (at + rng.gen_range(0..=12)).min(words.len());
        match rng.gen_range(0..6) {
            0 => drop(words.drain(at..to)),
            1 => {
                let again = words[at..to].to_vec();
                let place = rng.gen_range(0..=words.len());
                words.splice(place..place, again);
            }
            2 if !other.is_empty() => {
                let from = rng.gen_range(0..other.len());
                let until = (from + rng.gen_range(1..=30)).min(other.len());
                words.splice(at..to, other[from..until].iter().cloned());
            }
            3 if at < words.len() => {
                let with = rng.gen_range(0..words.len());
                words.swap(at, with);
            }
            4 => {
                let signs = [
                    "\"", "\\", "*", "{", "}", "/*", "//", "\n", "\r\n", "\t", "é", ";",
                ];
                words.insert(at, (*signs.choose(rng).unwrap()).to_owned());
            }
            _ => words.truncate(at),
        }
    }
}

#[test]
fn any_text_is_a_policy_or_is_refused_with_its_place() {
    let saved = saved();
    for text in &saved {
        policy_text(text.as_bytes());
    }
    let short = saved.iter().filter(|text| text.len() < 2_000);
    let split: Vec<Vec<String>> = short.map(|text| words(text)).collect();
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..tries() {
        let mut words = split[rng.gen_range(0..split.len())].clone();
        let other = &split[rng.gen_range(0..split.len())];
        change(&mut rng, &mut words, other);
        policy_text(words.concat().as_bytes());
    }
}

/// A text of a few kilobytes must not end the process that reads it.
#[test]
fn what_is_nested_deeply_is_refused_like_anything_else() {
    for open in ["[", "{", "(", "!", "{1:", "hex:", "/*", "\"\\"] {
        for start in ["a(", "check if ", ""] {
            policy_text(format!("{start}{}", open.repeat(2_000)).as_bytes());
        }
    }
}
