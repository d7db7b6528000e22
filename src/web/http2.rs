//! HTTP/2 as it is spoken at the doors: its limits, and which connections are
//! given up.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// How many requests a connection may have open at a time.
const MAX_STREAMS: u32 = 128;
/// The longest head of a request. A field counts 32 bytes more than it has (RFC
/// 9113 section 6.5.2).
const MAX_HEAD: u32 = 32 * 1024;
/// How much of one body a sender may be ahead of its reader.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all bodies of a connection, so that a few uploads that wait for
/// their upstreams do not hold up the others.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// How much of an answer waits to be sent.
const SEND_BUFFER: usize = 64 * 1024;
/// When a silent client is asked whether it is still there, and how long it may
/// take to say so.
const PING_AFTER: Duration = Duration::from_mins(1);
const PING_TIME: Duration = Duration::from_secs(20);
/// How many requests a client may give up before their answers, beyond those
/// whose answers it waited for.
///
/// SECURITY: who asks and resets costs a decision and a connection to an upstream
/// each time, and is not held back by the number of open requests (CVE-2023-44487).
const MAX_GIVEN_UP: usize = 100;
/// How long a connection that was told to end, and has nothing open, may stay.
const LAST_WORDS: Duration = Duration::from_secs(5);

tokio::task_local! {
    static CUT: Arc<Notify>;
}

/// What cuts off the stream that this is called in, and no other of its connection.
pub(crate) fn cut() -> Arc<Notify> {
    CUT.try_with(Arc::clone).unwrap_or_default()
}

/// Why a connection is ended from this side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    #[error("the client gives up one request after the other")]
    Flood,
    #[error("the client does not close")]
    Silence,
}

/// Serves a connection until it ends, `stop` changes, or nothing was asked on it
/// for `idle`. What is open then may end.
pub(crate) async fn serve<T, F, B>(
    connection: T,
    idle: Duration,
    mut stop: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> F,
) -> Result<(), Ended>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let requests = Arc::<Requests>::default();
    let service = service_fn(|request| {
        let asked = Asked::new(&requests);
        let answer = answer(request);
        async move {
            let answer = answer.await;
            asked.answered();
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http2::Builder::new(Streams(Arc::clone(&requests)))
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIME)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(connection), service);
    let mut connection = pin!(connection);
    let mut flood = pin!(requests.flood.notified());
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = &mut flood => return Err(Ended::Flood),
        () = requests.silence(idle) => {}
        // Without a sender there is nobody who would have it served.
        _ = stop.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => Ok(ended?),
        () = flood => Err(Ended::Flood),
        () = requests.silence(LAST_WORDS) => Err(Ended::Silence),
    }
}

/// The requests of a connection.
#[derive(Debug, Default)]
struct Requests {
    /// Those that are not answered to the end.
    open: AtomicUsize,
    begun: AtomicU64,
    given_up: AtomicUsize,
    flood: Notify,
}

impl Requests {
    /// Waits until for this time, twice at most, nothing was asked or open.
    async fn silence(&self, time: Duration) {
        loop {
            let before = self.begun.load(Ordering::Relaxed);
            sleep(time).await;
            let now = self.begun.load(Ordering::Relaxed);
            if now == before && self.open.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    fn add_given_up(&self) {
        if self.given_up.fetch_add(1, Ordering::Relaxed) >= MAX_GIVEN_UP {
            self.flood.notify_one();
        }
    }

    fn add_answered(&self) {
        let less = |n: usize| n.checked_sub(1);
        // None were given up: nothing is saved for later either.
        self.given_up
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }
}

/// A request that has no answer yet.
struct Asked(Option<Arc<Requests>>);

impl Asked {
    fn new(requests: &Arc<Requests>) -> Self {
        Self(Some(Arc::clone(requests)))
    }

    fn answered(mut self) {
        if let Some(requests) = self.0.take() {
            requests.add_answered();
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(requests) = self.0.take() {
            requests.add_given_up();
        }
    }
}

/// Runs each stream of a connection, from request to the end of the answer, in a
/// task of its own that can be cut off.
#[derive(Clone)]
struct Streams(Arc<Requests>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let open = Open::new(&self.0);
        let cut = Arc::new(Notify::new());
        let stream = CUT.scope(Arc::clone(&cut), stream);
        tokio::spawn(async move {
            tokio::select! {
                () = stream => {}
                // A stream that is dropped is reset.
                () = cut.notified() => {}
            }
            drop(open);
        });
    }
}

/// A stream that is open.
struct Open(Arc<Requests>);

impl Open {
    fn new(requests: &Arc<Requests>) -> Self {
        requests.begun.fetch_add(1, Ordering::Relaxed);
        requests.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(requests))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_answers_may_give_up_as_many_more() {
        let requests = Arc::<Requests>::default();
        let flooded = |requests: &Requests| {
            let mut flood = pin!(requests.flood.notified());
            flood.as_mut().enable()
        };
        for _ in 0..1000 {
            drop(Asked::new(&requests));
            Asked::new(&requests).answered();
        }
        // Answers of the past count for nothing.
        for _ in 0..MAX_GIVEN_UP {
            drop(Asked::new(&requests));
        }
        assert!(!flooded(&requests));
        drop(Asked::new(&requests));
        assert!(flooded(&requests));
    }
}
