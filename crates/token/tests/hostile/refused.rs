//! Each of them is refused for what it is, and what it makes the reader allocate.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::corpus::corpus;
use crate::support::{NOW, World};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// All that one reading may allocate, freed or not.
const LIMIT: usize = 1024 * 1024;

#[test]
fn every_hostile_token_is_refused_for_little_memory() {
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
