//! A verifier far from the authority: what it reads, and what it does where it cannot.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hardtack_token::{
    Clock, End, Ended, FeedPage, Fetch, FollowError, Follower, KeyState, Limits, ManualClock,
    Published, PublishedKey, PublishedScope, TokenText,
};
use uuid::Uuid;

use crate::support::{BOUND, NOW, World, claims, get};

const AUTHORITY: &str = "http://authority.example";

/// An authority that answers from memory.
pub(crate) struct Authority {
    instance_id: String,
    document: Published,
    keys_version: i64,
    ended: Vec<Ended>,
    /// Where the numbers of its feed begin.
    start: usize,
    page: usize,
    down: bool,
    /// The paths that were asked for.
    pub(crate) asked: Vec<String>,
    clock: Arc<ManualClock>,
}

impl Authority {
    pub(crate) fn of(world: &World, clock: &Arc<ManualClock>) -> Self {
        let active = KeyState::Active;
        let root = world.root.public().unwrap();
        Self {
            instance_id: "one".to_owned(),
            document: Published {
                instance_id: "one".to_owned(),
                profile: 1,
                root_keys: vec![PublishedKey::new(world.root.id().get(), root, active)],
                attestation_keys: vec![PublishedKey::new(1, world.key.public().unwrap(), active)],
                scopes: world
                    .catalog
                    .declared()
                    .iter()
                    .map(PublishedScope::from)
                    .collect(),
                // Known under another name than the one it is reached by.
                revocations: "https://public.example/v1/revocations".to_owned(),
            },
            keys_version: 1,
            ended: Vec::new(),
            start: 0,
            page: 2,
            down: false,
            asked: Vec::new(),
            clock: Arc::clone(clock),
        }
    }

    fn feed(&self, after: usize) -> FeedPage {
        let rest = self.ended.iter().skip(after.saturating_sub(self.start));
        let items: Vec<_> = rest.take(self.page).copied().collect();
        let position = after.max(self.start) + items.len();
        let more = position < self.start + self.ended.len();
        FeedPage {
            instance_id: self.instance_id.clone(),
            as_of: self.clock.now().to_string(),
            keys_version: self.keys_version,
            position: position.to_string(),
            items,
            next: more.then(|| position.to_string()),
        }
    }
}

impl Fetch for Authority {
    async fn fetch(
        &mut self,
        url: &str,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let path = url.strip_prefix(AUTHORITY).unwrap();
        self.asked.push(path.to_owned());
        if self.down {
            return Err("it is down".into());
        }
        if path == "/.well-known/hardtack" {
            return Ok(serde_json::to_vec(&self.document)?);
        }
        assert!(path.starts_with("/v1/revocations?limit="));
        let after = path
            .split_once("after=")
            .map_or(0, |(_, after)| after.parse().unwrap());
        // Positions before what is kept are answered from the start.
        let after = if after > self.start + self.ended.len() {
            0
        } else {
            after
        };
        Ok(serde_json::to_vec(&self.feed(after))?)
    }
}

/// Runs what never waits.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

pub(crate) fn follower(clock: &Arc<ManualClock>) -> Follower {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    Follower::new(AUTHORITY.parse().unwrap(), clock, Limits::default())
}

fn decide(follower: &Follower, clock: &ManualClock, token: &TokenText) -> &'static str {
    let request = hardtack_token::Request {
        now: clock.now(),
        ..get("/")
    };
    let catalog = follower.catalog().load_full();
    let verifier = follower.verifier();
    let decided = verifier.authorize(token.expose(), &catalog, &request, &[]);
    decided.map_or_else(|denial| denial.code(), |_| "ok")
}

fn set_up(seed: u64) -> (World, Arc<ManualClock>, Authority, Follower, TokenText) {
    let mut world = World::new(seed);
    let clock = Arc::new(ManualClock::new(NOW));
    let authority = Authority::of(&world, &clock);
    let token = world.token(1);
    let follower = follower(&clock);
    (world, clock, authority, follower, token)
}

fn ended(id: Uuid) -> Ended {
    Ended {
        id,
        end: End::Revoked,
    }
}

fn others(n: u128) -> Vec<Ended> {
    (0..n).map(|n| ended(Uuid::from_u128(n))).collect()
}

#[test]
fn nothing_is_allowed_before_the_authority_was_read() {
    let (_, clock, mut authority, mut follower, token) = set_up(80);
    assert_eq!(decide(&follower, &clock, &token), "unknown_key");
    authority.down = true;
    assert!(matches!(
        now(follower.read(&mut authority)),
        Err(FollowError::Fetch { .. })
    ));
    assert_eq!(decide(&follower, &clock, &token), "unknown_key");
    authority.down = false;
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(decide(&follower, &clock, &token), "ok");
}

#[test]
fn what_ends_is_known_at_the_next_reading_and_only_what_is_new_is_read() {
    let (_, clock, mut authority, mut follower, token) = set_up(81);
    authority.ended = others(5);
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(follower.verifier().revocations().len(), 5);
    assert_eq!(decide(&follower, &clock, &token), "ok");
    authority.asked.clear();
    authority.ended.push(ended(claims(&token).leaf().id.uuid()));
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(authority.asked, ["/v1/revocations?limit=500&after=5"]);
    assert_eq!(decide(&follower, &clock, &token), "revoked");
}

#[test]
fn an_authority_that_is_silent_for_too_long_denies_everything() {
    let (_, clock, mut authority, mut follower, token) = set_up(82);
    now(follower.read(&mut authority)).unwrap();
    authority.down = true;
    clock.advance(BOUND - 1);
    assert!(now(follower.read(&mut authority)).is_err());
    assert_eq!(decide(&follower, &clock, &token), "ok");
    clock.advance(1);
    assert_eq!(decide(&follower, &clock, &token), "revocations_stale");
    authority.down = false;
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(decide(&follower, &clock, &token), "ok");
}

#[test]
fn keys_are_read_again_when_they_changed() {
    let (world, clock, mut authority, mut follower, token) = set_up(83);
    now(follower.read(&mut authority)).unwrap();
    authority.document.attestation_keys[0].state = "retired".to_owned();
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(
        decide(&follower, &clock, &token),
        "ok",
        "not said to have changed"
    );
    authority.keys_version += 1;
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(decide(&follower, &clock, &token), "unknown_key");
    drop(world);
}

/// A backup was put back: the ids that ended since are to be ended again, and
/// what was read before says nothing.
#[test]
fn a_feed_that_went_back_is_read_from_its_start() {
    let (_, clock, mut authority, mut follower, token) = set_up(84);
    authority.ended = others(5);
    now(follower.read(&mut authority)).unwrap();
    authority.ended = others(2);
    authority.ended.push(ended(claims(&token).leaf().id.uuid()));
    authority.asked.clear();
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(decide(&follower, &clock, &token), "revoked");
    assert_eq!(follower.verifier().revocations().len(), 3);
    assert!(
        authority
            .asked
            .contains(&"/.well-known/hardtack".to_owned())
    );
}

#[test]
fn a_feed_that_went_back_and_cannot_be_read_denies_everything() {
    let (_, clock, mut authority, mut follower, token) = set_up(85);
    authority.ended = others(5);
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(decide(&follower, &clock, &token), "ok");
    authority.ended = others(2);
    authority.document.profile = 2;
    assert!(matches!(
        now(follower.read(&mut authority)),
        Err(FollowError::Document(_))
    ));
    assert_eq!(decide(&follower, &clock, &token), "revocations_stale");
}

#[test]
fn a_feed_that_does_not_move_on_is_an_error() {
    let (_, clock, mut authority, mut follower, token) = set_up(86);
    authority.ended = others(3);
    now(follower.read(&mut authority)).unwrap();
    authority.ended = others(5);
    authority.page = 0;
    assert!(matches!(
        now(follower.read(&mut authority)),
        Err(FollowError::Feed(_))
    ));
    clock.advance(BOUND);
    assert_eq!(decide(&follower, &clock, &token), "revocations_stale");
}

/// After ten minutes the set shrinks to what the authority still names.
#[test]
fn the_whole_feed_is_read_from_time_to_time() {
    let (_, clock, mut authority, mut follower, _) = set_up(87);
    authority.ended = others(1000);
    authority.page = 500;
    now(follower.read(&mut authority)).unwrap();
    authority.ended.drain(..990);
    authority.start = 990;
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(follower.verifier().revocations().len(), 1000);
    clock.advance(600);
    now(follower.read(&mut authority)).unwrap();
    assert_eq!(follower.verifier().revocations().len(), 10);
}

#[test]
fn documents_out_of_files_are_as_old_as_they_say() {
    let (_, clock, mut authority, mut follower, token) = set_up(88);
    authority.ended = others(5);
    authority.page = 100;
    let document = serde_json::to_vec(&authority.document).unwrap();
    let feed = serde_json::to_vec(&authority.feed(0)).unwrap();
    clock.advance(BOUND - 1);
    follower.load(&document, &feed).unwrap();
    assert_eq!(decide(&follower, &clock, &token), "ok");
    clock.advance(1);
    assert_eq!(decide(&follower, &clock, &token), "revocations_stale");

    authority.page = 2;
    let part = serde_json::to_vec(&authority.feed(0)).unwrap();
    assert!(matches!(
        follower.load(&document, &part),
        Err(FollowError::Feed(_))
    ));
    authority.instance_id = "two".to_owned();
    authority.page = 100;
    let foreign = serde_json::to_vec(&authority.feed(0)).unwrap();
    assert!(matches!(
        follower.load(&document, &foreign),
        Err(FollowError::Feed(_))
    ));
    assert_eq!(decide(&follower, &clock, &token), "revocations_stale");
}
