//! The path that was decided on is the path that the upstream gets, whatever a
//! client writes, in either protocol.

use std::cell::Cell;

use hardtack_token::path::canonical;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http2_frames::{Frames, Outcome};
use super::support::{Running, World};
use super::upstreams::Echo;
use crate::domain::policy::{Policy, Rule, Source};

const POLICY: &str = r#"
    public("GET", "/a/{*rest}");
    public("GET", "/a");
    public("GET", "/ab/{x}/c");
    deny("GET", "/a/b/{*rest}");
"#;

/// What servers are known to read in different ways, and what leads them there.
const PIECES: [&str; 40] = [
    "/", "/", "/", "a", "a", "b", "ab", "c", "/a/", "/a/b/", "/ab/", "..", ".", "//", "\\", ";",
    "?", "#", "%", "%2", "%2e", "%2E", "%2f", "%2F", "%5c", "%3b", "%3B", "%61", "%62", "%7e", "~",
    "%00", "%0a", "%25", "%252e", "%c3%a9", "é", "+", ":", "@",
];

fn odd_path() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(select(&PIECES[..]), 0..5);
    (select(&["/", "/a", "/a/", "/ab/", "", "/%61/"][..]), pieces)
        .prop_map(|(first, more)| format!("{first}{}", more.concat()))
}

/// Whether the policy lets everybody read this path.
fn is_public(policy: &Policy, path: &str) -> bool {
    matches!(policy.matched("GET", path).0, Rule::Public)
}

/// What the upstream gets, if anything, of a target as it stands on the wire.
async fn over_http1(gateway: &Running, echo: &Echo, target: &str) -> Vec<String> {
    let mut stream = gateway.connect().await;
    let text = format!("GET {target} HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let targets = echo.targets();
    let is_allowed = answer.starts_with(b"HTTP/1.1 200 ");
    assert_eq!(targets.len(), usize::from(is_allowed), "{target}");
    targets
}

async fn over_http2(client: &mut Frames, id: u32, echo: &Echo, target: &str) -> Vec<String> {
    client.ask(id, target).await;
    let outcome = client.outcome(id).await;
    let targets = echo.targets();
    let is_allowed = outcome == Outcome::Ok;
    assert_eq!(targets.len(), usize::from(is_allowed), "{target}");
    targets
}

#[test]
fn the_path_that_was_decided_on_is_the_path_that_the_upstream_gets() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut world = World::new();
    world.set_policy(POLICY);
    let source = Source {
        name: "test.datalog".to_owned(),
        text: POLICY.to_owned(),
    };
    let policy = Policy::load(&[source]).unwrap();
    let (gateway, echo) = runtime.block_on(world.start_with_echo());
    let (allowed, refused) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let ran = runner.run(&odd_path(), |target| {
        let seen = runtime.block_on(async {
            let one = over_http1(&gateway, &echo, &target).await;
            // On a connection of its own: some paths end it.
            let mut client = Frames::connect(&gateway).await;
            let two = over_http2(&mut client, 1, &echo, &target).await;
            [one, two]
        });
        let before_fragment = target.split('#').next().unwrap_or_default();
        let (path, query) = match before_fragment.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (before_fragment, None),
        };
        for targets in &seen {
            if let [got] = &targets[..] {
                let (path_got, query_got) = match got.split_once('?') {
                    Some((path, query)) => (path, Some(query)),
                    None => (&**got, None),
                };
                prop_assert!(is_public(&policy, path_got), "{} became {}", target, got);
                for path in [path_got, path] {
                    let canonical = canonical(path);
                    prop_assert_eq!(canonical.as_deref(), Ok(path_got));
                }
                prop_assert_eq!(query, query_got);
            }
        }
        prop_assert_eq!(&seen[0], &seen[1], "{}", target);
        // And what is allowed does go through.
        let is_allowed = canonical(path).is_ok_and(|path| is_public(&policy, &path));
        if !seen[0].is_empty() {
            allowed.set(allowed.get() + 1);
        } else if is_allowed {
            prop_assert!(!target.is_ascii(), "{}", target);
        } else {
            refused.set(refused.get() + 1);
        }
        Ok(())
    });
    ran.unwrap();
    assert!(
        allowed.get() > 50 && refused.get() > 100,
        "{allowed:?} {refused:?}"
    );
}
