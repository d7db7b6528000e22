//! A connection as the doors see it: bytes, encrypted on the wire or not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;

/// A connection.
pub enum Transport {
    /// As it comes.
    Plain(TcpStream),
    /// The first read or write brings the handshake to its end, so that whoever
    /// limits the time of a first request limits the handshake too, and who does
    /// not speak holds up nobody else.
    Handshake(Box<Accept<TcpStream>>),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// The handshake failed; that was said once.
    Failed,
}

impl Transport {
    /// Writes what can be written at once, to who is not let in. Where it would
    /// have to be encrypted first, nothing is.
    pub(crate) fn dismiss(&self, with: &[u8]) {
        if let Self::Plain(stream) = self {
            // Whoever is not there to read it misses nothing.
            stream.try_write(with).ok();
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Handshake(accept) = self else {
            return Poll::Ready(match self {
                Self::Failed => Err(io::ErrorKind::NotConnected.into()),
                Self::Plain(_) | Self::Handshake(_) | Self::Tls(_) => Ok(()),
            });
        };
        match ready!(Pin::new(accept).poll(cx)) {
            Ok(stream) => *self = Self::Tls(Box::new(stream)),
            Err(error) => {
                *self = Self::Failed;
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Goes on with the opened connection, or waits for it.
macro_rules! opened {
    ($self:ident, $cx:ident, $stream:ident => $then:expr) => {{
        let this = $self.get_mut();
        ready!(this.poll_open($cx))?;
        match this {
            Self::Plain($stream) => {
                let $stream = Pin::new($stream);
                $then
            }
            Self::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $then
            }
            Self::Handshake(_) | Self::Failed => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }};
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        opened!(self, cx, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        opened!(self, cx, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        opened!(self, cx, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Handshake(_) | Self::Failed => true,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            // Nothing was written.
            Self::Handshake(_) | Self::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Handshake(_) | Self::Failed => Poll::Ready(Ok(())),
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Handshake(_) => "Handshake",
            Self::Tls(_) => "Tls",
            Self::Failed => "Failed",
        })
    }
}
