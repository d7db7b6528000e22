//! An open WebSocket: bytes copied both ways as they are, until one end closes
//! it, or the gateway does so for both.
//!
//! Between two polls it holds no buffer but what the slower end has not taken
//! yet: an idle socket costs what its two connections cost.

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

use crate::gateway::frames::{Farewell, Frames};
use crate::gateway::streams::Stream;

/// Says whether the gateway stops. Whoever has one is waited for when it does.
pub(crate) type Open = watch::Receiver<bool>;

/// How much is copied at a time, and held at most, in each direction.
const CHUNK: usize = 16 * 1024;

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

/// One direction.
#[derive(Default)]
struct Pipe {
    /// What was read and is not written yet.
    rest: Vec<u8>,
    /// Where what was written stands.
    frames: Frames,
    unflushed: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The reader is at its end, and the writer is told.
    Closing,
    Closed,
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

impl Pipe {
    /// Copies what there is. Ready when the reader is at its end and the writer
    /// knows.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        loop {
            ready!(self.poll_write_rest(cx, to))?;
            match self.state {
                State::Open => {}
                State::Closing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Closed;
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
            let mut chunk = ReadBuf::uninit(&mut chunk);
            if Pin::new(&mut *from).poll_read(cx, &mut chunk)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
            if chunk.filled().is_empty() {
                self.state = State::Closing;
            } else {
                self.write(cx, chunk.filled(), to)?;
            }
        }
    }

    /// Copies to the end of the frame that is under way, and no further.
    /// Without a reader, what was read has to do. An error says that no frame
    /// can follow.
    fn poll_frame_end(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Option<&mut (impl AsyncRead + Unpin)>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        loop {
            let left = self.frames.left_of(&self.rest);
            self.rest.truncate(left);
            ready!(self.poll_write_rest(cx, to))?;
            if self.state != State::Open || !self.frames.is_open() {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            }
            if self.frames.is_between() {
                return Poll::Ready(Ok(()));
            }
            let Some(from) = &mut from else {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            };
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut **from).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                self.state = State::Closing;
            }
            self.rest = chunk.filled().to_vec();
        }
    }

    /// Writes what can be written now, and keeps the rest.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let written = match Pin::new(to).poll_write(cx, bytes)? {
            Poll::Ready(written) => written,
            Poll::Pending => 0,
        };
        let (written, rest) = bytes.split_at_checked(written).unwrap_or((bytes, &[]));
        self.frames.pass(written);
        self.unflushed = true;
        self.rest = rest.to_vec();
        Ok(())
    }

    fn poll_write_rest(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.frames
                .pass(self.rest.get(..written).unwrap_or_default());
            self.unflushed = true;
            self.rest.drain(..written.min(self.rest.len()));
        }
        // Its memory too.
        self.rest = Vec::new();
        Poll::Ready(Ok(()))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::runtime;

    use super::*;

    const FOREVER: Duration = Duration::from_mins(1);
    const SOON: Duration = Duration::from_secs(10);
    const FAREWELL: Farewell = Farewell::policy("revoked");

    /// A tunnel with its client and its upstream.
    fn tunnel(buffer: usize) -> (Tunnel<DuplexStream>, DuplexStream, DuplexStream) {
        let (client, client_end) = duplex(buffer);
        let (upstream, upstream_end) = duplex(buffer);
        let tunnel = Tunnel {
            client,
            upstream,
            up: Pipe::default(),
            down: Pipe::default(),
        };
        (tunnel, client_end, upstream_end)
    }

    /// Copies as long as something goes on.
    async fn copy_while(tunnel: &mut Tunnel<DuplexStream>, event: impl Future<Output = ()>) {
        tokio::select! {
            () = tunnel.copy(FOREVER) => panic!("nobody closed"),
            done = timeout(SOON, event) => done.unwrap(),
        }
    }

    /// Closes while the ends send more. Gives what comes out at each.
    async fn close(
        mut tunnel: Tunnel<DuplexStream>,
        (mut client, mut upstream): (DuplexStream, DuplexStream),
        (from_client, from_upstream): (&[u8], &[u8]),
    ) -> (Vec<u8>, Vec<u8>) {
        let (mut to_client, mut to_upstream) = (Vec::new(), Vec::new());
        let closed = async {
            tunnel.close(FAREWELL).await;
            drop(tunnel);
        };
        let client = async {
            client.write_all(from_client).await.ok();
            client.read_to_end(&mut to_client).await.unwrap();
        };
        let upstream = async {
            upstream.write_all(from_upstream).await.ok();
            upstream.read_to_end(&mut to_upstream).await.unwrap();
        };
        let all = async { tokio::join!(closed, client, upstream) };
        timeout(SOON, all).await.unwrap();
        (to_client, to_upstream)
    }

    #[tokio::test]
    async fn a_frame_under_way_is_finished_and_no_other_begun() {
        let (mut tunnel, mut client, mut upstream) = tunnel(1024);
        copy_while(&mut tunnel, async {
            upstream.write_all(b"\x82\x0ahello").await.unwrap();
            client.read_exact(&mut [0; 7]).await.unwrap();
        })
        .await;
        let ends = (client, upstream);
        let sent = (&b"\x81\x80mask"[..], &b"world\x81\x05never"[..]);
        let (to_client, to_upstream) = close(tunnel, ends, sent).await;
        assert_eq!(to_client, [&b"world"[..], &FAREWELL.unmasked()].concat());
        assert_eq!(to_upstream, FAREWELL.masked());
    }

    #[tokio::test]
    async fn nothing_more_is_taken_from_the_client() {
        let (mut tunnel, mut client, mut upstream) = tunnel(1024);
        copy_while(&mut tunnel, async {
            client.write_all(b"\x82\x8amaskhello").await.unwrap();
            upstream.read_exact(&mut [0; 11]).await.unwrap();
        })
        .await;
        let ends = (client, upstream);
        let (to_client, to_upstream) = close(tunnel, ends, (b"world", b"")).await;
        assert_eq!(to_client, FAREWELL.unmasked());
        assert_eq!(to_upstream, b"");
    }

    #[tokio::test]
    async fn what_is_held_back_by_a_slow_client_is_cut_at_the_end_of_a_frame() {
        let (mut tunnel, mut client, mut upstream) = tunnel(8);
        let mut first = [0; 3];
        copy_while(&mut tunnel, async {
            // More than the client's buffer takes, so that the tunnel holds the rest.
            let frames = b"\x82\x0ahelloworld\x81\x05never";
            upstream.write_all(frames).await.unwrap();
            client.read_exact(&mut first).await.unwrap();
        })
        .await;
        let (to_client, _) = close(tunnel, (client, upstream), (b"", b"")).await;
        let all = [&first[..], &to_client].concat();
        let farewell = FAREWELL.unmasked();
        let frames = all.strip_suffix(&farewell[..]).unwrap();
        let whole: [&[u8]; 2] = [b"\x82\x0ahelloworld", b"\x82\x0ahelloworld\x81\x05never"];
        assert!(whole.contains(&frames), "{frames:?}");
    }

    #[tokio::test]
    async fn who_was_told_already_is_not_told_again() {
        let (mut tunnel, mut client, mut upstream) = tunnel(1024);
        let (mut to_client, mut to_upstream) = ([0; 4], [0; 6]);
        copy_while(&mut tunnel, async {
            upstream.write_all(b"\x88\x02\x03\xe8").await.unwrap();
            client.read_exact(&mut to_client).await.unwrap();
            client.write_all(b"\x88\x80mask").await.unwrap();
            upstream.read_exact(&mut to_upstream).await.unwrap();
        })
        .await;
        let (to_client, to_upstream) = close(tunnel, (client, upstream), (b"", b"")).await;
        assert_eq!((&*to_client, &*to_upstream), (&b""[..], &b""[..]));
    }

    #[tokio::test]
    async fn a_half_open_socket_ends() {
        for client_leaves in [true, false] {
            let (mut tunnel, mut client, mut upstream) = tunnel(1024);
            let (leaving, staying) = if client_leaves {
                (&mut client, &mut upstream)
            } else {
                (&mut upstream, &mut client)
            };
            leaving.write_all(b"last").await.unwrap();
            leaving.shutdown().await.unwrap();
            let copied = tunnel.copy(Duration::from_millis(1));
            timeout(SOON, copied).await.unwrap();
            let mut seen = Vec::new();
            staying.read_to_end(&mut seen).await.unwrap();
            assert_eq!(seen, b"last");
        }
    }

    #[tokio::test]
    async fn an_idle_tunnel_holds_no_buffer() {
        let (mut tunnel, mut client, mut upstream) = tunnel(64);
        copy_while(&mut tunnel, async {
            let bytes = vec![1; 10_000];
            let write = client.write_all(&bytes);
            let mut read = vec![0; bytes.len()];
            let (written, _) = tokio::join!(write, upstream.read_exact(&mut read));
            written.unwrap();
        })
        .await;
        assert_eq!(
            (tunnel.up.rest.capacity(), tunnel.down.rest.capacity()),
            (0, 0)
        );
    }

    /// Sends and receives at once, in pieces.
    async fn exchange(end: DuplexStream, sent: &[u8], piece: usize) -> Vec<u8> {
        let (mut reading, mut writing) = tokio::io::split(end);
        let write = async {
            for piece in sent.chunks(piece) {
                writing.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            writing.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (read, ()) = tokio::join!(reading.read_to_end(&mut received), write);
        read.unwrap();
        received
    }

    proptest! {
        /// Whatever the bytes are, frames or not, and whoever is slow.
        #[test]
        fn bytes_pass_unchanged_in_both_directions(
            down in prop::collection::vec(any::<u8>(), 0..20_000),
            up in prop::collection::vec(any::<u8>(), 0..20_000),
            pieces in (1_usize..5000, 1_usize..5000),
            buffer in 1_usize..40_000,
        ) {
            let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (to_client, to_upstream, ()) = runtime.block_on(async {
                let (mut tunnel, client, upstream) = tunnel(buffer);
                let all = async {
                    tokio::join!(
                        exchange(client, &up, pieces.0),
                        exchange(upstream, &down, pieces.1),
                        tunnel.copy(FOREVER),
                    )
                };
                timeout(FOREVER, all).await.unwrap()
            });
            prop_assert!(to_client == down && to_upstream == up);
        }
    }
}
