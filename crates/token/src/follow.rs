//! What a verifier far from the authority decides by, and how it stays true:
//! the document of `/.well-known/hardtack` and the feed of what ended.
//!
//! This crate knows no HTTP client: whoever follows brings one, as [`Fetch`].

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::catalog::Catalog;
use crate::document::{DocumentError, FeedPage, Published};
use crate::dpop::ReplayMemory;
use crate::guard::Guard;
use crate::id::InvalidId;
use crate::origin::Origin;
use crate::revocation::{Ended, Revocations};
use crate::time::{Clock, Timestamp};
use crate::verify::Verifier;

/// The document's path.
const DOCUMENT: &str = "/.well-known/hardtack";
/// Entries of a page.
const PAGE: usize = 500;
/// The most pages that one reading takes: 500 000 000 entries.
const MAX_PAGES: usize = 1_000_000;
/// After so many seconds the whole feed is read again, to forget what is over.
const WHOLE_EVERY: u64 = 600;

/// Gets a document by its URL. An answer other than 200 is an error.
pub trait Fetch: Send {
    /// The document's bytes. Bound its time and its size.
    fn fetch(
        &mut self,
        url: &str,
    ) -> impl Future<Output = Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>> + Send;
}

/// What a follower may be set to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The age in seconds from which the feed is too old to decide by.
    pub bound: u64,
    /// The memory for tokens that were verified lately, in bytes.
    pub cache: u64,
    /// How many proofs of possession are remembered.
    pub proofs: usize,
}

/// Keeps a verifier and a catalog as the authority has them.
///
/// It decides nothing by itself: what is not read for [`Limits::bound`] seconds,
/// for whatever reason, makes the verifier deny.
pub struct Follower {
    authority: Origin,
    verifier: Arc<Verifier>,
    catalog: Arc<ArcSwap<Catalog>>,
    clock: Arc<dyn Clock>,
    proofs: Arc<ReplayMemory>,
    instance_id: String,
    /// The path of the feed.
    feed: String,
    keys_version: Option<i64>,
    /// Where the next page begins; `None` to begin with the first.
    after: Option<u64>,
    whole_at: Timestamp,
}

/// Why nothing new is known.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The authority could not be asked.
    #[error("{url} cannot be read: {source}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// What the client says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is no such document.
    #[error("{what} does not read: {source}")]
    Json {
        /// Which one.
        what: &'static str,
        /// Where it is not well formed.
        source: serde_json::Error,
    },
    /// The document says what cannot be used.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A URL, a time or a position is not well formed.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// The feed does not move on, or ends before it is whole.
    #[error("the feed of what ended {0}")]
    Feed(&'static str),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bound: 5,
            cache: 16 * 1024 * 1024,
            proofs: 100_000,
        }
    }
}

impl Follower {
    /// A follower of the authority at this origin. It has read nothing yet, so
    /// that everything is denied until [`Follower::read`] was well once.
    #[must_use]
    pub fn new(authority: Origin, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        let revocations = Arc::new(Revocations::new(limits.bound));
        let keys = crate::keys::KeyRing::new();
        Self {
            authority,
            verifier: Arc::new(Verifier::new(keys, revocations, limits.cache)),
            catalog: Arc::default(),
            clock,
            proofs: Arc::new(ReplayMemory::new(limits.proofs)),
            instance_id: String::new(),
            feed: String::new(),
            keys_version: None,
            after: None,
            whole_at: Timestamp::default(),
        }
    }

    /// The verifier, which goes on with what is read.
    #[must_use]
    pub const fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// The declared scopes, which go on with what is read.
    #[must_use]
    pub const fn catalog(&self) -> &Arc<ArcSwap<Catalog>> {
        &self.catalog
    }

    /// A guard of what is reached under `origin`, which is the audience that
    /// tokens must be for.
    #[must_use]
    pub fn guard(&self, origin: Origin) -> Guard {
        Guard::new(
            origin,
            Arc::clone(&self.verifier),
            Arc::clone(&self.clock),
            Arc::clone(&self.proofs),
        )
    }

    /// Reads what is new: the keys if they changed, and what ended. Call it
    /// every half second; where it fails, what is known grows old.
    pub async fn read(&mut self, client: &mut impl Fetch) -> Result<(), FollowError> {
        if self.instance_id.is_empty() {
            self.read_document(client).await?;
        }
        if self.clock.now().since(self.whole_at) >= WHOLE_EVERY {
            self.after = None;
        }
        let mut whole = self.after.is_none().then(Vec::new);
        for _ in 0..MAX_PAGES {
            // Before the page is asked for: what ends meanwhile may be missing in it.
            let asked_at = self.clock.now();
            let page = self.page(client).await?;
            let position = position(&page.position)?;
            let replaced = self.after.is_some_and(|after| position < after);
            if replaced || page.instance_id != self.instance_id {
                // SECURITY: a feed that went back has lost what ended since.
                self.forget();
                self.read_document(client).await?;
                whole = Some(Vec::new());
                continue;
            }
            if self.keys_version != Some(page.keys_version) {
                self.read_document(client).await?;
                self.keys_version = Some(page.keys_version);
            }
            if page.next.is_some() && self.after.is_some_and(|after| position == after) {
                return Err(FollowError::Feed("does not move on"));
            }
            match &mut whole {
                Some(all) => all.extend(page.items),
                None => self.verifier.revocations().add(&page.items),
            }
            self.after = Some(position);
            if page.next.is_none() {
                self.settle(whole, asked_at);
                return Ok(());
            }
        }
        Err(FollowError::Feed("has no end"))
    }

    /// Takes both documents from elsewhere, such as from files: the authority's,
    /// and all that ended in one page. What ended is known as of the page's own time.
    pub fn load(&mut self, document: &[u8], feed: &[u8]) -> Result<(), FollowError> {
        self.take_document(&json("the document", document)?)?;
        let page: FeedPage = json("the feed", feed)?;
        if page.instance_id != self.instance_id {
            return Err(FollowError::Feed("is of another install"));
        }
        if page.next.is_some() {
            return Err(FollowError::Feed("is not whole: ask for all of it"));
        }
        let as_of = page.as_of()?;
        self.settle(Some(page.items), as_of);
        Ok(())
    }

    fn settle(&mut self, whole: Option<Vec<Ended>>, known: Timestamp) {
        let revocations = self.verifier.revocations();
        if let Some(all) = whole {
            revocations.replace(&all);
            self.whole_at = known;
        }
        revocations.confirm(known);
    }

    /// Denies everything until the feed was read from its start.
    fn forget(&mut self) {
        self.verifier.revocations().confirm(Timestamp::default());
        self.after = None;
        self.keys_version = None;
    }

    async fn page(&self, client: &mut impl Fetch) -> Result<FeedPage, FollowError> {
        let mut path = format!("{}?limit={PAGE}", self.feed);
        if let Some(after) = self.after {
            path = format!("{path}&after={after}");
        }
        let bytes = self.fetch(client, &path).await?;
        json("the feed", &bytes)
    }

    async fn read_document(&mut self, client: &mut impl Fetch) -> Result<(), FollowError> {
        let bytes = self.fetch(client, DOCUMENT).await?;
        self.take_document(&json("the document", &bytes)?)
    }

    fn take_document(&mut self, document: &Published) -> Result<(), FollowError> {
        let (keys, catalog) = (document.keys()?, document.catalog()?);
        // The authority may be reached under another name than the one that it
        // is known by.
        let (_, feed) = Origin::split(&document.revocations)?;
        feed.clone_into(&mut self.feed);
        self.instance_id.clone_from(&document.instance_id);
        self.verifier.set_keys(keys);
        self.catalog.store(Arc::new(catalog));
        Ok(())
    }

    async fn fetch(&self, client: &mut impl Fetch, path: &str) -> Result<Vec<u8>, FollowError> {
        let url = format!("{}{path}", self.authority);
        let fetched = client.fetch(&url).await;
        fetched.map_err(|source| FollowError::Fetch { url, source })
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("authority", &self.authority)
            .field("instance_id", &self.instance_id)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

fn json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, FollowError> {
    serde_json::from_slice(bytes).map_err(|source| FollowError::Json { what, source })
}

fn position(text: &str) -> Result<u64, FollowError> {
    let parsed = text.parse();
    parsed.map_err(|_| FollowError::Feed("has a position that is no number"))
}
