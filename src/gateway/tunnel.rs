//! An open WebSocket: bytes copied both ways as they are, until one end closes
//! it, or the gateway does so for both.
//!
//! Between two polls it holds no buffer but what the slower end has not taken
//! yet: an idle socket costs what its two connections cost.

mod pipe;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::gateway::frames::Farewell;
use crate::gateway::streams::Stream;
use pipe::{CHUNK, Pipe};

/// Says whether the gateway stops. Whoever has one is waited for when it does.
pub(crate) type Open = watch::Receiver<bool>;

/// How long one end may stay open after the other has closed.
const HALF_OPEN: Duration = Duration::from_secs(5);

/// How long the gateway waits for the end of a frame that is under way before
/// it closes a socket, and for a close frame to be taken.
const FRAME: Duration = Duration::from_millis(250);

/// How long both ends have, after that, to close their connections.
const LINGER: Duration = Duration::from_millis(500);

/// Copies from when both ends have agreed, in a task of its own.
pub(crate) fn start(client: OnUpgrade, upstream: OnUpgrade, stream: Arc<Stream>, open: Open) {
    tokio::spawn(run(client, upstream, stream, open));
}

async fn run(client: OnUpgrade, upstream: OnUpgrade, stream: Arc<Stream>, mut open: Open) {
    let both = async { tokio::try_join!(client, upstream) };
    let upgraded = tokio::select! {
        both = both => both,
        _ = stream.end_of() => return,
        () = stopping(&mut open) => return,
    };
    let mut tunnel = match upgraded {
        Ok((client, upstream)) => Tunnel::new(client, upstream),
        Err(error) => {
            tracing::debug!(%error, "websocket upgrade failed");
            return;
        }
    };
    let farewell = tokio::select! {
        () = tunnel.copy(HALF_OPEN) => return,
        denial = stream.end_of() => Farewell::policy(denial.code()),
        () = stopping(&mut open) => Farewell::GOING_AWAY,
    };
    tunnel.close(farewell).await;
}

/// Waits until the gateway stops.
async fn stopping(open: &mut Open) {
    // Without a sender there is no gateway any more.
    drop(open.wait_for(|stops| *stops).await);
}

type Io = TokioIo<Upgraded>;

/// The two ends and what passes between them.
struct Tunnel<I> {
    client: I,
    upstream: I,
    up: Pipe,
    down: Pipe,
}

impl Tunnel<Io> {
    fn new(client: Upgraded, upstream: Upgraded) -> Self {
        Self {
            client: TokioIo::new(client),
            upstream: TokioIo::new(upstream),
            up: Pipe::default(),
            down: Pipe::default(),
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Tunnel<I> {
    /// Copies until both ends have closed, or one breaks off: there is nothing
    /// to say to the other then. A WebSocket that is closed on one side is
    /// over, so the other is not waited for much longer.
    async fn copy(&mut self, half_open: Duration) {
        let one = poll_fn(|cx| {
            let (up, down) = self.poll(cx)?;
            if up.is_ready() || down.is_ready() {
                return Poll::Ready(Ok::<(), io::Error>(()));
            }
            Poll::Pending
        });
        if one.await.is_err() {
            return;
        }
        let both = poll_fn(|cx| {
            let (up, down) = self.poll(cx)?;
            if up.is_ready() && down.is_ready() {
                return Poll::Ready(Ok::<(), io::Error>(()));
            }
            Poll::Pending
        });
        timeout(half_open, both).await.ok();
    }

    /// Copies both ways. A direction is ready when it is closed.
    fn poll(&mut self, cx: &mut Context<'_>) -> io::Result<(Poll<()>, Poll<()>)> {
        let Self {
            client,
            upstream,
            up,
            down,
        } = self;
        let up = up.poll_copy(cx, client, upstream);
        let down = down.poll_copy(cx, upstream, client);
        Ok((lift(up)?, lift(down)?))
    }

    /// Closes both connections, each with a close frame if there is a place for
    /// one, in a second at most.
    async fn close(&mut self, farewell: Farewell) {
        let Self {
            client,
            upstream,
            up,
            down,
        } = self;
        let to_client = async {
            poll_fn(|cx| down.poll_frame_end(cx, Some(&mut *upstream), client)).await?;
            client.write_all(&farewell.unmasked()).await?;
            client.flush().await
        };
        timeout(FRAME, to_client).await.ok();
        // SECURITY: nothing more is read from the client. A frame of which the
        // upstream has a part stays one that never came.
        let to_upstream = async {
            poll_fn(|cx| up.poll_frame_end(cx, None::<&mut I>, upstream)).await?;
            upstream.write_all(&farewell.masked()).await?;
            upstream.flush().await
        };
        timeout(FRAME, to_upstream).await.ok();
        // A connection that is closed with bytes unread is reset, and what was
        // written last is lost on the way.
        let closed = async { tokio::join!(shut(client), shut(upstream)) };
        timeout(LINGER, closed).await.ok();
    }
}

/// Shuts a connection down and waits for the other side to do the same.
async fn shut(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    io.shutdown().await?;
    poll_fn(|cx| {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        loop {
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    })
    .await
}

/// The error out of a poll.
fn lift(poll: Poll<io::Result<()>>) -> io::Result<Poll<()>> {
    match poll {
        Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => Ok(Poll::Pending),
    }
}
