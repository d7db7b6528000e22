//! Each of them is refused for what it is, what it makes the reader allocate, and
//! what a flood of tokens leaves behind.

use std::alloc::System;
use std::sync::{Arc, Mutex, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use hardtack_token::{Caveat, MAX_TEXT, TokenText, Verifier, attenuate};

use crate::corpus::corpus;
use crate::support::{NOW, World};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// All that one reading may allocate, freed or not.
const LIMIT: usize = 1024 * 1024;

/// The allocator counts for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn every_hostile_token_is_refused_for_little_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (world, corpus) = corpus(World::new(70));
    for hostile in &corpus {
        let region = Region::new(ALLOCATOR);
        let read = world.verifier.verify(&hostile.text, &world.catalog, NOW);
        let change = region.change();
        let (class, length) = (hostile.class, hostile.text.len());
        let code = read.map_or_else(|denial| denial.code(), |_| "ok");
        assert_eq!(code, hostile.code, "{class}, {length}");
        assert!(
            change.bytes_allocated <= LIMIT,
            "{class}, {length}: {change:?}"
        );
    }
}

/// What is held after all of these went through a new verifier with a cache of so many bytes.
fn held(world: &World, cache: u64, tokens: &[TokenText], code: &str) -> usize {
    let keys = (*world.verifier.keys()).clone();
    let verifier = Verifier::new(keys, Arc::clone(&world.revocations), cache);
    let region = Region::new(ALLOCATOR);
    for token in tokens {
        let read = verifier.verify(token.expose(), &world.catalog, NOW);
        assert_eq!(read.map_or_else(|denial| denial.code(), |_| "ok"), code);
    }
    let change = region.change();
    change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
}

/// Any holder can make valid tokens without end, and anybody invalid ones.
#[test]
fn a_flood_of_distinct_tokens_grows_nothing() {
    const CACHE: usize = 256 * 1024;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new(71);
    let sessions: Vec<_> = (0..200).map(|_| world.token(1)).collect();
    let mut valid = Vec::new();
    for (n, session) in (0..1500).zip(sessions.iter().cycle()) {
        let caveat = Caveat::NotAfter(NOW.plus(100 + n));
        valid.push(attenuate(session, &[caveat], &mut world.rng).unwrap());
    }
    let grown = held(&world, CACHE as u64, &valid, "ok");
    assert!(grown > CACHE / 4 && grown <= CACHE * 5 / 4, "{grown} B");

    let turned =
        |token: &TokenText| crate::forge::altered(token, |raw| raw.blocks[2].signature[63] ^= 1);
    let invalid: Vec<_> = valid.iter().map(turned).collect();
    let grown = held(&world, CACHE as u64, &invalid, "bad_signature");
    assert!(grown < 16 * 1024, "{grown} B");
}

/// Its text, what it says, and what is kept of its session.
#[test]
fn a_token_that_is_kept_takes_two_kibibytes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new(72);
    let tokens: Vec<_> = (0..600).map(|_| world.token(1)).collect();
    let each = held(&world, 1 << 24, &tokens, "ok") / tokens.len();
    assert!((1024..=2048).contains(&each), "{each} B");
}

/// A few checks that name one long symbol say more than their token has room for.
#[test]
fn tokens_that_say_more_than_they_are_long_grow_nothing() {
    const CACHE: usize = 512 * 1024;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new(73);
    let session = world.token(1);
    let tokens: Vec<_> = (0..150)
        .map(|n| {
            let name = format!("{n:01400}");
            let check = format!("check if operation($o), {{\"{name}\"}}.contains($o);");
            crate::forge::hold(&mut world, &session, &check.repeat(30))
        })
        .collect();
    let each = held(&world, 1 << 26, &tokens, "ok") / tokens.len();
    assert!(each > 4 * MAX_TEXT, "{each} B");
    let grown = held(&world, CACHE as u64, &tokens, "ok");
    assert!(grown <= CACHE * 5 / 4, "{grown} B");
}
