//! One direction of a tunnel.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gateway::frames::Frames;

/// How much is copied at a time, and held at most.
pub(super) const CHUNK: usize = 16 * 1024;

/// One direction.
#[derive(Default)]
pub(super) struct Pipe {
    /// What was read and is not written yet.
    pub(super) rest: Vec<u8>,
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

impl Pipe {
    /// Copies what there is. Ready when the reader is at its end and the writer
    /// knows.
    pub(super) fn poll_copy(
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
    pub(super) fn poll_frame_end(
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
