//! The WebSockets: how they are configured, and how they are closed.
//!
//! A client is first read with the small limits of a stranger. When it is let
//! in, what it sent already is handed on to a socket with the large ones.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::openclaw::errors::Close;
use crate::openclaw::limits::{MAX_MESSAGE, MAX_STRANGE_MESSAGE};
use crate::web::transport::Transport;

/// What is read at once, which is what an idle socket holds.
const READ_BUFFER: usize = 2 * 1024;
/// How much is written at once.
const WRITE_BUFFER: usize = 4 * 1024;
/// The most bytes of a message of the upstream, which is trusted: twice what
/// it buffers itself by its own policy would be too much for it.
const MAX_FROM_UPSTREAM: usize = 64 * 1024 * 1024;

/// The socket of a client that is let in.
pub(super) type Socket = WebSocketStream<Transport>;

/// The socket of a client that is not let in yet.
pub(super) type StrangeSocket = WebSocketStream<Recorded>;

/// A stream that keeps what was read from it.
#[derive(Debug)]
pub(super) struct Recorded {
    stream: Transport,
    read: Vec<u8>,
}

/// The socket of a stranger.
pub(super) async fn strange(stream: Transport) -> StrangeSocket {
    let recorded = Recorded {
        stream,
        read: Vec::new(),
    };
    let config = config(MAX_STRANGE_MESSAGE);
    WebSocketStream::from_raw_socket(recorded, Role::Server, Some(config)).await
}

/// The socket of a client that is let in, after its first message.
pub(super) async fn known(socket: StrangeSocket) -> Socket {
    let Recorded { stream, read } = socket.into_inner();
    let rest = after_first_message(&read).to_vec();
    let config = config(MAX_MESSAGE);
    WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(config)).await
}

/// The configuration of a socket to the upstream.
pub(super) fn of_upstream() -> WebSocketConfig {
    config(MAX_FROM_UPSTREAM)
}

fn config(most: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(most))
        .max_frame_size(Some(most))
}

/// How a socket is closed after an error of reading from it.
pub(super) fn close_after(error: &Error, too_big: &'static str) -> Option<Close> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::new(1009, too_big)),
        Error::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Some(Close::new(1009, too_big))
        }
        Error::Utf8(_) => Some(Close::new(1007, "text is not UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(Close::new(1002, "protocol error")),
        // The connection is gone.
        _ => None,
    }
}

/// Says why, and waits for the other side to have read it: what is dropped
/// with something unread in it takes the close frame along.
pub(super) async fn farewell<S>(mut socket: WebSocketStream<S>, close: &Close, patience: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let goodbye = async {
        if socket
            .send(Message::Close(Some(close.frame())))
            .await
            .is_err()
        {
            return;
        }
        while let Some(Ok(_)) = socket.next().await {}
    };
    // Whoever does not answer is cut off.
    timeout(patience, goodbye).await.ok();
}

/// What stands behind the first whole message of text or bytes, which may come
/// in several frames with others between them (RFC 6455 section 5.4).
fn after_first_message(mut bytes: &[u8]) -> &[u8] {
    loop {
        let Some((head, length)) = head_of(bytes) else {
            return &[];
        };
        let whole = usize::try_from(length)
            .ok()
            .and_then(|l| l.checked_add(head));
        let rest = whole.and_then(|whole| bytes.get(whole..));
        let (Some(first), Some(rest)) = (bytes.first(), rest) else {
            return &[];
        };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        bytes = rest;
        if fin && opcode <= 2 {
            return bytes;
        }
    }
}

/// The lengths of a frame's head, its mask included, and of its payload.
fn head_of(bytes: &[u8]) -> Option<(usize, u64)> {
    let second = *bytes.get(1)?;
    let (size, length) = match second & 0x7f {
        126 => (
            4,
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    Some((size + mask, length))
}

impl AsyncRead for Recorded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            let new = buffer.filled().get(before..).unwrap_or_default();
            // SECURITY: control frames have no limit of their own, and a first
            // message in many frames is long before it is whole.
            if this.read.len() + new.len() > 2 * MAX_STRANGE_MESSAGE {
                return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
            }
            this.read.extend_from_slice(new);
        }
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                frame.push(0x80 | 0x7e);
                frame.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(payload);
        frame
    }

    proptest! {
        #[test]
        fn nothing_is_lost_behind_the_first_message(
            parts in prop::collection::vec((0_usize..300, any::<bool>()), 1..6),
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = Vec::new();
            let last = parts.len() - 1;
            for (n, (length, with_ping)) in parts.iter().enumerate() {
                if *with_ping {
                    bytes.extend(frame(0x89, b"ping"));
                }
                let opcode = u8::from(n == 0);
                let fin = if n == last { 0x80 } else { 0 };
                bytes.extend(frame(fin | opcode, &vec![0x81; *length]));
            }
            let end = bytes.len();
            bytes.extend(&rest);
            prop_assert_eq!(after_first_message(&bytes), &bytes[end..]);
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(after_first_message(&bytes).len() <= bytes.len());
        }
    }
}
