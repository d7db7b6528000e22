//! What strangers can make a verifier spend, and what it keeps in memory.
//!
//! `cargo bench -p hardtack-token --bench limits`

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a program for people who work on it"
)]

#[path = "../clock.rs"]
mod clock;
#[path = "../../tests/hostile/corpus.rs"]
mod corpus;
#[path = "../../tests/it/forge.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod forge;
#[path = "../../tests/it/support.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;

use std::alloc::System;
use std::hint::black_box;

use hardtack_token::{End, Ended, MAX_TEXT, Revocations};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use uuid::Uuid;

use support::{BOUND, NOW, World};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    hostile();
    revocations();
    cached();
}

/// The longest first. Budget: 1 ms of processor, 1 MiB of memory.
fn hostile() {
    let (world, corpus) = corpus::corpus(World::new(70));
    let mut rows: Vec<_> = corpus
        .iter()
        .map(|hostile| {
            let read = || {
                let text = black_box(hostile.text.as_str());
                black_box(world.verifier.verify(text, &world.catalog, NOW).is_ok());
            };
            let region = Region::new(ALLOCATOR);
            let first = clock::once(read);
            let bytes = region.change().bytes_allocated;
            // The first may pay for pages that nobody touched before.
            (
                clock::each(read).max(first.min(clock::once(read))),
                bytes,
                hostile,
            )
        })
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!(
        "{} hostile tokens, the costliest first (budget 1 ms, 1024 KiB)",
        rows.len()
    );
    for (nanos, bytes, hostile) in rows.iter().take(12) {
        let (length, kib) = (hostile.text.len(), *bytes as f64 / 1024.0);
        let mark = if length > MAX_TEXT {
            "too long"
        } else {
            hostile.code
        };
        println!(
            "  {:>8.1} µs {kib:>7.1} KiB   {length:>7} B  {mark:<16} {}",
            nanos / 1e3,
            hostile.class
        );
    }
    let most = rows.iter().max_by_key(|row| row.1).unwrap();
    println!(
        "  the most memory: {:.1} KiB, {}",
        most.1 as f64 / 1024.0,
        most.2.class
    );
}

/// What the allocator holds more than before.
fn held<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let region = Region::new(ALLOCATOR);
    let value = make();
    let change = region.change();
    (value, change.bytes_allocated - change.bytes_deallocated)
}

/// Budget: 32 B an entry.
fn revocations() {
    const COUNT: u64 = 1_000_000;
    let ended: Vec<_> = (0..COUNT)
        .map(|n| Ended {
            id: Uuid::from_u64_pair(0x0198_c0de_0000_7000 + n / 1000, n),
            end: End::Revoked,
        })
        .collect();
    let (set, at_once) = held(|| {
        let set = Revocations::new(BOUND);
        set.replace(&ended);
        set
    });
    println!(
        "\n{} revocations read at once     {:>7.2} B each (budget 32)",
        set.len(),
        at_once as f64 / COUNT as f64
    );
    drop(set);
    let (set, by_page) = held(|| {
        let set = Revocations::new(BOUND);
        ended.chunks(1000).for_each(|page| set.add(page));
        set
    });
    println!(
        "{} revocations read by the page {:>7.2} B each",
        set.len(),
        by_page as f64 / COUNT as f64
    );
}

/// Budget: 2 KiB a token of two grants, beyond which the cache counts each by its weight.
fn cached() {
    let mut world = World::new(71);
    let tokens: Vec<_> = (0..4000).map(|_| world.token(1)).collect();
    let length = tokens
        .iter()
        .map(|token| token.expose().len())
        .sum::<usize>()
        / tokens.len();
    for (name, bytes) in [("room for all", 64 << 20), ("room for some", 1 << 20)] {
        let revocations = std::sync::Arc::clone(&world.revocations);
        let keys = (*world.verifier.keys()).clone();
        let (verifier, empty) = held(|| hardtack_token::Verifier::new(keys, revocations, bytes));
        let ((), held) = held(|| {
            for token in &tokens {
                verifier
                    .verify(token.expose(), &world.catalog, NOW)
                    .unwrap();
            }
        });
        let each = held as f64 / tokens.len() as f64;
        println!(
            "\n{name}: {} tokens of {length} B seen, {:.1} KiB held of {} KiB, {:.0} B a token seen; {:.1} KiB when empty",
            tokens.len(),
            held as f64 / 1024.0,
            bytes / 1024,
            each,
            empty as f64 / 1024.0
        );
    }
}
