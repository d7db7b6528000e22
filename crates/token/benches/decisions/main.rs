//! What a decision costs, beside what it is made of and what others take for the
//! same. One run, one table: only the ratios carry over to another machine.
//!
//! `cargo bench -p hardtack-token --bench decisions`

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a program for people who work on it"
)]

#[path = "../clock.rs"]
mod clock;
#[path = "../../tests/it/forge.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod forge;
mod others;
#[path = "../../tests/it/support.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::thread;

use ed25519_dalek::{Signer, SigningKey};
use hardtack_token::{
    Caveat, End, Ended, KeyRing, KeyState, Revocations, TokenText, Untrusted, Verifier, attenuate,
};
use uuid::Uuid;

use others::Primitives;
use support::{BOUND, NOW, World, get, set};

/// Longer chains than this are rare.
const GRANTS: usize = 4;

fn main() {
    let mut world = World::new(2026);
    let unit = Primitives::measure();
    println!(
        "one signature (verify_strict, 400 B)        {:>9.2} µs",
        unit.verify / 1e3
    );
    println!(
        "one key (decompression)                     {:>9.2} µs",
        unit.decompress / 1e3
    );
    println!(
        "one public key out of a secret one          {:>9.2} µs",
        unit.derive / 1e3
    );

    let jwt = others::jwt();
    let seen = seen(&mut world);
    println!("\nseen before");
    println!(
        "  an EdDSA JWT (jsonwebtoken)               {:>9.2} µs",
        jwt / 1e3
    );
    for (blocks, nanos) in &seen {
        row(
            &format!("  {blocks} blocks"),
            *nanos,
            &[("budget 1 µs", nanos / 1e3), ("JWT", nanos / jwt)],
        );
    }

    println!(
        "\nnot seen before                               with its parts as the unit: budget 1.15"
    );
    for grants in 1..=GRANTS {
        cold(&mut world, &unit, grants, 0);
    }
    cold(&mut world, &unit, 1, 1);
    cold(&mut world, &unit, GRANTS, 2);

    println!("\nreading alone: text, container, profile");
    for grants in [1, GRANTS] {
        let token = world.token(grants);
        let token = narrowed(&mut world, &token, 0);
        let keys = world.verifier.keys();
        let nanos = clock::each(|| {
            black_box(Untrusted::read(black_box(&token), &keys).is_ok());
        });
        row(
            &format!("  {} blocks", grants + 3),
            nanos,
            &[("signatures", nanos / unit.verify)],
        );
    }

    println!("\na new holder's block on a session that was seen");
    for grants in [1, GRANTS] {
        let nanos = prefixed(&mut world, grants);
        let name = format!("  {} blocks", grants + 3);
        row(
            &name,
            nanos,
            &[("signatures; budget 2", nanos / unit.verify)],
        );
    }

    println!("\nseen before, with revocations in memory");
    revoked(&mut world);
    println!("\nseen before, by several threads at once");
    threads(&mut world);
}

fn row(name: &str, nanos: f64, ratios: &[(&str, f64)]) {
    print!("{name:<42}  {:>9.2} µs", nanos / 1e3);
    for (of, ratio) in ratios {
        print!("   {ratio:>8.3} × {of}");
    }
    println!();
}

/// A verifier of the world's tokens that keeps so much.
fn verifier(world: &World, cache: u64) -> Verifier {
    let keys = KeyRing::new()
        .with_root(
            world.root.id(),
            world.root.public().unwrap(),
            KeyState::Active,
        )
        .with_attestation(world.key.public().unwrap(), KeyState::Active);
    Verifier::new(keys, Arc::clone(&world.revocations), cache)
}

fn allow(
    world: &World,
    verifier: &Verifier,
    token: &TokenText,
    scope: hardtack_token::Requirement,
) {
    let request = get("/api/x");
    let decided = verifier.authorize(
        black_box(token.expose()),
        &world.catalog,
        &request,
        &[scope],
    );
    assert!(black_box(decided).is_ok());
}

fn seen(world: &mut World) -> Vec<(usize, f64)> {
    let verifier = verifier(world, 1 << 24);
    let scope = world.requirement("operator.read");
    let mut rows = Vec::new();
    for grants in [1, 2, GRANTS] {
        let token = world.token(grants);
        rows.push((
            grants + 2,
            clock::each(|| allow(world, &verifier, &token, scope)),
        ));
    }
    rows
}

fn narrowed(world: &mut World, token: &TokenText, n: u64) -> TokenText {
    let caveats = [
        Caveat::Scopes(set("operator.read")),
        Caveat::NotAfter(NOW.plus(60 + n)),
    ];
    attenuate(token, &caveats, &mut world.rng).unwrap()
}

fn cold(world: &mut World, unit: &Primitives, grants: usize, holders: u64) {
    // Nothing fits into it.
    let verifier = verifier(world, 0);
    let scope = world.requirement("operator.read");
    let mut token = world.token(grants);
    for n in 0..holders {
        token = narrowed(world, &token, n);
    }
    let nanos = clock::each(|| allow(world, &verifier, &token, scope));
    let blocks = grants + 2 + usize::try_from(holders).unwrap();
    // Each block has a signature and the key of the next; attested ones have another signature.
    let signatures = blocks + grants + 1;
    let parts = signatures as f64 * unit.verify + blocks as f64 * unit.decompress + unit.derive;
    let stock = others::stock(world, &token);
    let name = format!("  {blocks} blocks, {signatures} signatures");
    row(
        &name,
        nanos,
        &[
            ("its parts", nanos / parts),
            ("biscuit-auth and Datalog", nanos / stock),
        ],
    );
}

fn prefixed(world: &mut World, grants: usize) -> f64 {
    let verifier = verifier(world, 1 << 26);
    let scope = world.requirement("operator.read");
    let session = world.token(grants);
    allow(world, &verifier, &session, scope);
    let tokens: Vec<_> = (0..2000).map(|n| narrowed(world, &session, n)).collect();
    let batch = |batch: &[TokenText]| {
        let run = || {
            for token in batch {
                allow(world, &verifier, token, scope);
            }
        };
        clock::once(run) / batch.len() as f64
    };
    tokens.chunks(100).map(batch).fold(f64::MAX, f64::min)
}

fn revoked(world: &mut World) {
    let scope = world.requirement("operator.read");
    let token = world.token(GRANTS);
    let mut first = 0.0;
    for count in [0, 1000, 1_000_000_u64] {
        let revocations = Arc::new(Revocations::new(BOUND));
        let ended = |n| Ended {
            id: Uuid::from_u64_pair(0x0198_c0de_0000_7000 + n / 1000, n),
            end: End::Revoked,
        };
        revocations.replace(&(0..count).map(ended).collect::<Vec<_>>());
        revocations.confirm(NOW);
        let other = std::mem::replace(&mut world.revocations, revocations);
        let verifier = verifier(world, 1 << 24);
        world.revocations = other;
        let nanos = clock::each(|| allow(world, &verifier, &token, scope));
        if count == 0 {
            first = nanos;
        }
        row(
            &format!("  {count} revocations, {} blocks", GRANTS + 2),
            nanos,
            &[("none", nanos / first)],
        );
    }
}

/// By the clock on the wall, so that this one depends on who else runs. What the
/// machine itself gains by a second thread is seen on signatures.
fn threads(world: &mut World) {
    let verifier = verifier(world, 1 << 24);
    let scope = world.requirement("operator.read");
    let tokens = [world.token(1), world.token(1)];
    let world = &*world;
    let key = SigningKey::from_bytes(&[3; 32]);
    let signature = key.sign(&[7; 400]);
    let public = key.verifying_key();
    let verify = |_| {
        public
            .verify_strict(black_box(&[7; 400]), &signature)
            .unwrap();
    };
    let own = |n: usize| allow(world, &verifier, &tokens[n], scope);
    let same = |_| allow(world, &verifier, &tokens[0], scope);
    scaling("signatures alone", 20_000, verify);
    scaling("decisions, each on its own token", 2_000_000, own);
    scaling("decisions, all on one token", 2_000_000, same);
}

fn scaling(name: &str, each: usize, run: impl Fn(usize) + Sync) {
    let rate = |count: usize| {
        let start = wall();
        thread::scope(|threads| {
            for n in 0..count {
                let run = &run;
                threads.spawn(move || (0..each).for_each(|_| run(n)));
            }
        });
        (count * each) as f64 / (wall() - start) * 1e3
    };
    let best = |count| (0..5).map(|_| rate(count)).fold(0.0, f64::max);
    let (one, two) = (best(1), best(2));
    println!(
        "  {name:<40}  {one:>8.2} M/s, {two:>8.2} M/s by two: {:.2} ×",
        two / one
    );
}

fn wall() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
