//! The bodies that go through the gateway. None is collected or copied, and each
//! breaks off when what it was allowed by ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hardtack_token::Denial;
#[cfg(feature = "envoy")]
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::gateway::streams::{Side, Stream};
use crate::gateway::trailers;

/// The body of an answer: the gateway's own words, or the upstream's as they come.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Whole(Option<Bytes>),
    Streamed(Incoming, Option<Arc<Stream>>),
    /// A message and the trailers behind it.
    #[cfg(feature = "envoy")]
    Message(Option<Bytes>, Option<HeaderMap>),
}

/// Why a body ends before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    /// What it was allowed by has ended.
    #[error("what the request was allowed by no longer holds: {0}")]
    Ended(&'static str),
}

/// The body of a request on its way to the upstream. It notes its progress, so
/// that a long upload is not taken for an upstream that does not answer.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Incoming,
    watched: Option<Watched>,
}

#[derive(Debug)]
struct Watched {
    progress: Arc<Progress>,
    stream: Arc<Stream>,
}

/// How far an upload has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    frames: AtomicU64,
    waits_for_client: AtomicBool,
    broken: AtomicBool,
}

impl AnswerBody {
    pub(crate) fn whole(text: Vec<u8>) -> Self {
        Self::Whole(Some(text.into()).filter(|bytes: &Bytes| !bytes.is_empty()))
    }

    /// The upstream's. The stream is open until its end.
    pub(crate) fn streamed(body: Incoming, stream: Arc<Stream>) -> Self {
        let stream = Some(stream).filter(|_| !body.is_end_stream());
        Self::Streamed(body, stream)
    }

    /// The gateway's own words, if it is they.
    pub(crate) fn whole_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(bytes) => bytes.as_deref(),
            Self::Streamed(..) => None,
            #[cfg(feature = "envoy")]
            Self::Message(..) => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Whole(bytes) => {
                std::str::from_utf8(bytes.as_deref().unwrap_or_default()).unwrap()
            }
            _ => panic!("another body"),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            #[cfg(feature = "envoy")]
            Self::Message(bytes, trailers) => Poll::Ready(
                next_part(bytes)
                    .map(Frame::data)
                    .or_else(|| trailers.take().map(Frame::trailers))
                    .map(Ok),
            ),
            Self::Streamed(body, stream) => match stream {
                Some(stream) => poll_permitted(body, stream, cx, Side::Client),
                None => poll_part(body, cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed(body, _) => body.is_end_stream(),
            #[cfg(feature = "envoy")]
            Self::Message(bytes, trailers) => bytes.is_none() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            #[cfg(feature = "envoy")]
            Self::Message(..) => SizeHint::default(),
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Streamed(body, _) => body.size_hint(),
        }
    }
}

/// The next part of a message.
///
/// A part of 256 bytes and more is not copied behind the head by h2, and what is in front
/// of it has to be written before anything comes behind. In small parts, head, message
/// and trailers are one write.
#[cfg(feature = "envoy")]
fn next_part(message: &mut Option<Bytes>) -> Option<Bytes> {
    const MOST: usize = 255;
    let rest = message.as_mut().filter(|rest| rest.len() > MOST);
    match rest {
        Some(rest) => Some(rest.split_to(MOST)),
        None => message.take(),
    }
}

impl Upload {
    /// Wraps the body of a request. There is nothing to watch if it is empty.
    pub(crate) fn new(body: Incoming, stream: &Arc<Stream>) -> (Self, Option<Arc<Progress>>) {
        let progress = (!body.is_end_stream()).then(Arc::<Progress>::default);
        let watched = progress.clone().map(|progress| Watched {
            progress,
            stream: Arc::clone(stream),
        });
        (Self { body, watched }, progress)
    }
}

impl Progress {
    /// The number of frames so far.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Whether the next step is the client's: all it sent was passed on, and
    /// there is more to come.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }

    /// Whether what the client sent is no body.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(Watched { progress, stream }) = &this.watched else {
            return poll_part(&mut this.body, cx);
        };
        let polled = poll_permitted(&mut this.body, stream, cx, Side::Upstream);
        let waits = polled.is_pending();
        progress.waits_for_client.store(waits, Ordering::Relaxed);
        progress
            .frames
            .fetch_add(u64::from(!waits), Ordering::Relaxed);
        if let Poll::Ready(Some(Err(BodyError::Connection(_)))) = &polled {
            progress.broken.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The next part of a body, as long as its stream has not ended.
fn poll_permitted(
    body: &mut Incoming,
    stream: &Stream,
    cx: &mut Context<'_>,
    side: Side,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let broken = |denial: &Denial| Some(Err(BodyError::Ended(denial.code())));
    if let Some(denial) = stream.ended() {
        return Poll::Ready(broken(denial));
    }
    match poll_part(body, cx) {
        Poll::Ready(frame) => Poll::Ready(frame),
        Poll::Pending => stream.poll_ended(cx, side).map(broken),
    }
}

/// The next part of a body. Of trailers what may stand there is left.
fn poll_part(
    body: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let mut polled = Pin::new(body).poll_frame(cx);
    if let Poll::Ready(Some(Ok(frame))) = &mut polled
        && let Some(fields) = frame.trailers_mut()
    {
        trailers::rewrite(fields);
    }
    polled.map_err(BodyError::from)
}
