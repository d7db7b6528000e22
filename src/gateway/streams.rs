//! What is open: requests that are being answered and WebSockets, each with the
//! permit that it was allowed by. It ends when the permit does.
//!
//! A request was decided on when it began. What lasts longer than the permit is
//! found by one look at all that is open, which costs nothing while nothing has
//! changed; no stream has a timer of its own.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hardtack_token::{Clock, Denial, Permit, Timestamp, Verifier};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::gateway::log;

/// How often it is looked whether something has changed or is over.
///
/// A WebSocket is closed within a second of a revocation: the feed is read
/// twice a second, and a frame that is under way gets a quarter.
const PERIOD: Duration = Duration::from_millis(100);

/// How long an answer that has ended may take to get out of the way, before its
/// connection is cut off: a client that does not read holds up what is behind it.
const GRACE: Duration = Duration::from_millis(300);

/// What is open at a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenStreams {
    /// WebSockets, public ones included.
    pub websockets: usize,
    /// Other requests that were passed on and are not answered to the end.
    pub exchanges: usize,
}

/// All that is open.
pub(crate) struct Streams {
    verifier: Arc<Verifier>,
    clock: Arc<dyn Clock>,
    permitted: Mutex<Permitted>,
    ids: AtomicU64,
    websockets: AtomicUsize,
    exchanges: AtomicUsize,
}

/// What is open by a permit, and what the last look at it has seen.
struct Permitted {
    /// With the time when each permit expires.
    open: HashMap<u64, (Timestamp, Weak<Stream>)>,
    changes: u64,
    /// No permit in it expires earlier.
    due: Timestamp,
}

/// One request, or one WebSocket, for as long as it is open.
pub(crate) struct Stream {
    /// None where everybody may: such a stream ends by itself only.
    held: Option<Held>,
    is_websocket: bool,
    ended: OnceLock<Box<Denial>>,
    /// Who waits for the end, on each side.
    waiting: Mutex<[Option<Waker>; 2]>,
    /// Cuts the client's connection off.
    cut: Arc<Notify>,
    id: u64,
    all: Arc<Streams>,
}

struct Held {
    permit: Permit,
    subject: Subject,
}

/// What the log says of a stream. All of it is owned: a piece of the request's
/// head would keep the whole buffer that it was read into.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) path: Box<str>,
    pub(crate) client: IpAddr,
    pub(crate) request_id: Box<str>,
}

/// What a stream is opened with.
pub(crate) struct Opening {
    pub(crate) held: Option<(Permit, Subject)>,
    pub(crate) is_websocket: bool,
    pub(crate) cut: Arc<Notify>,
    /// What [`Streams::changes`] was before the decision.
    pub(crate) changes: u64,
}

/// The two tasks that can wait for the end of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// The one that sends the request on.
    Upstream,
    /// The one that answers it, or that copies both ways.
    Client,
}

impl Streams {
    pub(crate) fn new(verifier: Arc<Verifier>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            permitted: Mutex::new(Permitted {
                open: HashMap::new(),
                changes: verifier.changes(),
                due: Timestamp::MAX,
            }),
            verifier,
            clock,
            ids: AtomicU64::new(0),
            websockets: AtomicUsize::new(0),
            exchanges: AtomicUsize::new(0),
        })
    }

    /// A number that a decision is made under: it grows with what could revoke it.
    pub(crate) fn changes(&self) -> u64 {
        self.verifier.changes()
    }

    pub(crate) fn count(&self) -> OpenStreams {
        OpenStreams {
            websockets: self.websockets.load(Ordering::Relaxed),
            exchanges: self.exchanges.load(Ordering::Relaxed),
        }
    }

    /// Opens a stream. It is open until the last handle of it is dropped.
    pub(crate) fn open(self: &Arc<Self>, opening: Opening) -> Arc<Stream> {
        let held = opening.held;
        let held = held.map(|(permit, subject)| Held { permit, subject });
        let stream = Arc::new(Stream {
            held,
            is_websocket: opening.is_websocket,
            ended: OnceLock::new(),
            waiting: Mutex::default(),
            cut: opening.cut,
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            all: Arc::clone(self),
        });
        self.gauge(&stream).fetch_add(1, Ordering::Relaxed);
        if let Some(held) = &stream.held {
            let due = held.permit.access().expires_at();
            let entry = (due, Arc::downgrade(&stream));
            {
                let mut permitted = self.permitted();
                permitted.due = permitted.due.min(due);
                permitted.open.insert(stream.id, entry);
            }
            // SECURITY: a look between the decision and this moment has not
            // seen the stream. Whatever comes after is seen by the next one.
            if self.changes() != opening.changes {
                self.check(&stream, self.clock.now());
            }
        }
        stream
    }

    /// Looks after what is open, for ever.
    pub(crate) async fn watch(&self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let ended = self.look();
            if !ended.is_empty() {
                tokio::spawn(cut_off(ended));
            }
        }
    }

    /// Ends what is no longer allowed. Gives the answers that have to make way.
    fn look(&self) -> Vec<Weak<Stream>> {
        let now = self.clock.now();
        // Before the entries it stands for are asked.
        let changes = self.changes();
        let streams = {
            let mut permitted = self.permitted();
            let all = permitted.changes != changes || self.verifier.revocations().is_stale(now);
            if !all && now < permitted.due {
                return Vec::new();
            }
            permitted.changes = changes;
            permitted.check_list(now, all)
        };
        // Outside of the lock, which requests take.
        let mut ended = Vec::new();
        for stream in streams {
            if self.check(&stream, now) && !stream.is_websocket {
                ended.push(Arc::downgrade(&stream));
            }
        }
        ended
    }

    /// Ends a stream that is no longer allowed. Says whether it did so now.
    fn check(&self, stream: &Stream, now: Timestamp) -> bool {
        let Some(held) = &stream.held else {
            return false;
        };
        match self.verifier.still_live(held.permit.access(), now) {
            Ok(()) => false,
            Err(denial) => stream.end(held, denial),
        }
    }

    fn permitted(&self) -> MutexGuard<'_, Permitted> {
        // Each change of it is one step.
        self.permitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    const fn gauge(&self, stream: &Stream) -> &AtomicUsize {
        if stream.is_websocket {
            &self.websockets
        } else {
            &self.exchanges
        }
    }
}

impl Permitted {
    /// The streams that are over by `now`, or all. Notes when the next will be.
    ///
    /// INVARIANT: no handle is dropped here. The last one takes the lock.
    fn check_list(&mut self, now: Timestamp, all: bool) -> Vec<Arc<Stream>> {
        let mut next = Timestamp::MAX;
        let entries = self.open.values().filter(|(due, _)| {
            let is_over = *due <= now;
            if !is_over {
                next = next.min(*due);
            }
            all || is_over
        });
        let streams = entries.filter_map(|(_, stream)| stream.upgrade());
        let streams = streams.collect();
        self.due = next;
        streams
    }
}

impl Stream {
    /// Why it has ended, if it has.
    pub(crate) fn ended(&self) -> Option<&Denial> {
        self.ended.get().map(|denial| &**denial)
    }

    /// The same; if it has not, `cx` is woken when it does.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>, side: Side) -> Poll<&Denial> {
        if self.held.is_none() {
            return Poll::Pending;
        }
        {
            let [upstream, client] = &mut *self.waiting();
            let place = match side {
                Side::Upstream => upstream,
                Side::Client => client,
            };
            match place {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *place = Some(cx.waker().clone()),
            }
        }
        // INVARIANT: asked after the waker is in its place, for `end` looks
        // there after it has said so.
        self.ended().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits, on the client's side, until it ends.
    pub(crate) async fn end_of(&self) -> &Denial {
        poll_fn(|cx| self.poll_ended(cx, Side::Client)).await
    }

    /// Says whether it had not ended before.
    fn end(&self, held: &Held, denial: Denial) -> bool {
        let code = denial.code();
        if self.ended.set(Box::new(denial)).is_err() {
            return false;
        }
        let grant = held.permit.access().grant_id();
        log::ended(&held.subject, grant, self.is_websocket, code);
        let wakers = std::mem::take(&mut *self.waiting());
        wakers.into_iter().flatten().for_each(Waker::wake);
        true
    }

    fn waiting(&self) -> MutexGuard<'_, [Option<Waker>; 2]> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.all.gauge(self).fetch_sub(1, Ordering::Relaxed);
        if self.held.is_some() {
            self.all.permitted().open.remove(&self.id);
        }
    }
}

/// Cuts off the connections of answers that have ended and are still there.
async fn cut_off(ended: Vec<Weak<Stream>>) {
    sleep(GRACE).await;
    for stream in ended.iter().filter_map(Weak::upgrade) {
        stream.cut.notify_one();
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Streams({:?})", self.count())
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.id)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}
