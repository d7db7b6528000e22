//! The bodies that go through the gateway. None is collected or copied.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// The body of an answer: the gateway's own words, or the upstream's as they come.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Whole(Option<Bytes>),
    Streamed(Incoming),
}

/// The body of a request on its way to the upstream. It notes its progress, so
/// that a long upload is not taken for an upstream that does not answer.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Incoming,
    progress: Option<Arc<Progress>>,
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

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Whole(bytes) => {
                std::str::from_utf8(bytes.as_deref().unwrap_or_default()).unwrap()
            }
            Self::Streamed(_) => panic!("a streamed body"),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

impl Upload {
    /// Wraps the body of a request. There is no progress to watch if it is empty.
    pub(crate) fn new(body: Incoming) -> (Self, Option<Arc<Progress>>) {
        let progress = (!body.is_end_stream()).then(Arc::<Progress>::default);
        let upload = Self {
            body,
            progress: progress.clone(),
        };
        (upload, progress)
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
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Some(progress) = &this.progress {
            let waits = polled.is_pending();
            progress.waits_for_client.store(waits, Ordering::Relaxed);
            progress
                .frames
                .fetch_add(u64::from(!waits), Ordering::Relaxed);
            if let Poll::Ready(Some(Err(_))) = &polled {
                progress.broken.store(true, Ordering::Relaxed);
            }
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
