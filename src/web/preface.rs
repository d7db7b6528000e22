//! Which HTTP a client speaks, by the first bytes that it sends. Over TLS it was
//! agreed on by ALPN, and shows in the same bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How a connection of HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection of which a few bytes were read already.
#[derive(Debug)]
pub(crate) struct Begun<T> {
    first: [u8; PREFACE.len()],
    from: usize,
    to: usize,
    rest: T,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Begun<T> {
    /// Reads just enough to know whether it is HTTP/2.
    pub(crate) async fn read(rest: T) -> io::Result<(Self, bool)> {
        let mut begun = Self {
            first: [0; PREFACE.len()],
            from: 0,
            to: 0,
            rest,
        };
        loop {
            let (read, free) = begun.first.split_at_mut(begun.to);
            if !PREFACE.starts_with(read) || free.is_empty() {
                let is_http2 = begun.first == *PREFACE;
                return Ok((begun, is_http2));
            }
            match begun.rest.read(free).await? {
                // What it is is for HTTP/1.1 to say.
                0 => return Ok((begun, false)),
                more => begun.to += more,
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Begun<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let first = this.first.get(this.from..this.to).unwrap_or_default();
        if first.is_empty() {
            return Pin::new(&mut this.rest).poll_read(cx, buffer);
        }
        let given = first.len().min(buffer.remaining());
        buffer.put_slice(first.get(..given).unwrap_or_default());
        this.from += given;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begun<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().rest).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().rest).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().rest).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().rest).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.rest.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Sends these one after the other; whether it is HTTP/2, and what is read of it.
    async fn begun(parts: &[&[u8]]) -> (bool, Vec<u8>) {
        let (mut client, server) = tokio::io::duplex(1024);
        for part in parts {
            client.write_all(part).await.unwrap();
        }
        drop(client);
        let (mut begun, is_http2) = Begun::read(server).await.unwrap();
        let mut all = Vec::new();
        // In small steps: what was read before may not fit at once.
        while let Ok(byte) = begun.read_u8().await {
            all.push(byte);
        }
        (is_http2, all)
    }

    #[tokio::test]
    async fn http2_is_known_by_its_preface_and_nothing_is_lost() {
        for (parts, is_http2) in [
            (&[&PREFACE[..], b"more"][..], true),
            (&[&PREFACE[..3], &PREFACE[3..]], true),
            (&[b"GET / HTTP/1.1\r\n\r\n"], false),
            (&[b"P", b"RI * HTTP/1.1\r\n\r\n"], false),
            (&[&PREFACE[..23]], false),
            (&[b""], false),
        ] {
            assert_eq!(begun(parts).await, (is_http2, parts.concat()));
        }
    }
}
