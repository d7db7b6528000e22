//! Between a client that is let in and its upstream: messages both ways, each
//! request's method decided on, until one side or the session ends.
//!
//! Messages go on as they are. One that is not taken holds up those behind it,
//! so that no more than a few wait on either side.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use crate::openclaw::OpenClaw;
use crate::openclaw::errors::{Close, ErrorShape};
use crate::openclaw::frames::{self, RequestFrame};
use crate::openclaw::handshake::Welcomed;
use crate::openclaw::methods;
use crate::openclaw::session::Session;
use crate::openclaw::socket;
use crate::web::transport::Transport;

/// How many messages go out before the socket is flushed, if more are there.
const BURST: usize = 16;
/// How many requests of a client are answered here at the same time.
const MAX_CALLS: usize = 8;
/// How long answers that are under way may take when a connection is closed.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// What the events of the upstream's own pairing begin with.
const PAIRING_EVENTS: &str = "device.pair.";

type Writer<S> = SplitSink<WebSocketStream<S>, Message>;
type Reader<S> = SplitStream<WebSocketStream<S>>;

/// How a connection came to its end.
#[derive(Debug)]
enum Over {
    /// The client left.
    ClientLeft,
    /// The client is to be told this.
    Close(Close),
}

impl OpenClaw {
    /// Serves a client that is let in, to the end.
    pub(super) async fn bridge(
        self: Arc<Self>,
        welcomed: Welcomed,
        mut stop: watch::Receiver<bool>,
    ) {
        let Welcomed {
            open,
            mut waiting,
            client,
            upstream,
        } = welcomed;
        let session = Arc::clone(&open.session);
        let patience = self.settings.timeouts;
        let (mut to_client, mut from_client) = client.split();
        let (mut to_upstream, mut from_upstream) = upstream.split();
        tracing::info!(
            address = %session.visitor.address, grant = %session.record.id,
            role = %session.role(), "an OpenClaw client is let in"
        );
        let mut calls = JoinSet::new();
        let over = {
            let slow = patience.slow_reader;
            let down = down(&mut from_upstream, &mut to_client, &mut waiting, slow);
            let up = self.up(&session, &mut calls, &mut from_client, &mut to_upstream);
            tokio::select! {
                biased;
                // Boxed: it looks into the store, and is as large as all the rest.
                end = session.end_of() => Over::Close(Box::pin(session.close(end)).await),
                _ = stop.changed() => Over::Close(Close::restart("service restart")),
                over = down => over,
                over = up => over,
            }
        };
        if let Over::Close(_) = &over {
            let said = last_words(&mut calls, &mut waiting, &mut to_client);
            timeout(LAST_WORDS, said).await.ok();
        }
        // What is still under way is dropped with the connection.
        drop(calls);
        let goodbye = match &over {
            Over::ClientLeft => Close::new(1000, "client left"),
            Over::Close(_) => Close::new(1000, "closed by hardtack"),
        };
        tracing::info!(address = %session.visitor.address, ?over, "an OpenClaw client is gone");
        let to_upstream = from_upstream.reunite(to_upstream).ok();
        let to_client = from_client.reunite(to_client).ok();
        // Boxed: room for the end is not held all the time before.
        Box::pin(async {
            let upstream = async {
                if let Some(socket) = to_upstream {
                    socket::farewell(socket, &goodbye, patience.farewell).await;
                }
            };
            let client = async {
                if let (Some(socket), Over::Close(close)) = (to_client, &over) {
                    socket::farewell(socket, close, patience.farewell).await;
                }
            };
            tokio::join!(upstream, client);
        })
        .await;
    }

    /// What the client sends.
    async fn up(
        self: &Arc<Self>,
        session: &Arc<Session>,
        calls: &mut JoinSet<()>,
        from: &mut Reader<Transport>,
        to: &mut Writer<Transport>,
    ) -> Over {
        let mut out = Out::new(to, self.settings.timeouts.slow_reader);
        loop {
            let Ok(message) = out.next(from).await else {
                return Over::Close(passed_on(None));
            };
            let text = match message {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Binary(_))) => {
                    return Over::Close(Close::new(1003, "text frames only"));
                }
                Some(Ok(Message::Close(_))) | None => return Over::ClientLeft,
                Some(Err(error)) => {
                    let close = socket::close_after(&error, "payload too large");
                    return close.map_or(Over::ClientLeft, Over::Close);
                }
            };
            let frame = match RequestFrame::read(&text) {
                Ok(frame) => frame,
                Err(error) => return Over::Close(Close::policy(error.to_string())),
            };
            let answer = if methods::is_ours(&frame.method) {
                while calls.try_join_next().is_some() {}
                if calls.len() < MAX_CALLS {
                    let id = frame.id.into_owned();
                    let method = frame.method.into_owned();
                    self.begin(session, calls, id, method, text);
                    continue;
                }
                ErrorShape::unavailable("too many requests at the same time", 1000)
            } else {
                match session.check(&frame.method) {
                    Ok(()) => {
                        if out.feed(Message::Text(text)).await.is_err() {
                            return Over::Close(passed_on(None));
                        }
                        continue;
                    }
                    Err(refusal) => refusal,
                }
            };
            let answer = frames::answer(&frame.id, &Err(answer));
            // Waits while the client does not take what is there: it gets no
            // more refusals than it reads.
            if session.to_client.send(answer).await.is_err() {
                return Over::ClientLeft;
            }
        }
    }

    /// Begins to answer a request that is answered here. What an answer takes is
    /// large: it is made on the stack, and never as a part of a connection.
    #[inline(never)]
    fn begin(
        self: &Arc<Self>,
        session: &Arc<Session>,
        calls: &mut JoinSet<()>,
        id: String,
        method: String,
        text: Utf8Bytes,
    ) {
        calls.spawn(Arc::clone(self).reply(Arc::clone(session), id, method, text));
    }

    /// Answers a request that is answered here.
    async fn reply(
        self: Arc<Self>,
        session: Arc<Session>,
        id: String,
        method: String,
        text: Utf8Bytes,
    ) {
        let result = match frames::params(&text) {
            Ok(params) => self.call(&session, &method, params).await,
            Err(error) => Err(ErrorShape::invalid(error.to_string())),
        };
        // It may be gone by now.
        session
            .to_client
            .send(frames::answer(&id, &result))
            .await
            .ok();
    }
}

/// What the client is sent: the upstream's messages, and answers of our own.
async fn down(
    from: &mut Reader<Transport>,
    to: &mut Writer<Transport>,
    waiting: &mut mpsc::Receiver<String>,
    slow_reader: Duration,
) -> Over {
    let mut out = Out::new(to, slow_reader);
    loop {
        let message = loop {
            let theirs = tokio::select! {
                biased;
                Some(text) = waiting.recv() => break Message::text(text),
                theirs = out.next(from) => theirs,
            };
            match theirs {
                Err(failed) => return failed.of_client(),
                Ok(Some(Ok(Message::Text(text)))) if is_of_their_pairing(&text) => {}
                Ok(Some(Ok(message @ (Message::Text(_) | Message::Binary(_))))) => break message,
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let close = frame.map(|f| Close::new(f.code.into(), f.reason.as_str()));
                    return Over::Close(passed_on(close));
                }
                Ok(Some(Err(_)) | None) => return Over::Close(passed_on(None)),
            }
        };
        if let Err(failed) = out.feed(message).await {
            return failed.of_client();
        }
    }
}

/// Sends the answers that are under way when a connection is closed by us: a
/// device whose grant was replaced learns the new one from such an answer.
async fn last_words(
    calls: &mut JoinSet<()>,
    waiting: &mut mpsc::Receiver<String>,
    to: &mut Writer<Transport>,
) {
    let mut busy = true;
    while busy {
        tokio::select! {
            ended = calls.join_next() => busy = ended.is_some(),
            Some(text) = waiting.recv() => {
                if to.feed(Message::text(text)).await.is_err() {
                    return;
                }
            }
        }
    }
    while let Ok(text) = waiting.try_recv() {
        if to.feed(Message::text(text)).await.is_err() {
            return;
        }
    }
    // The close frame follows, and says whether it went out.
    to.flush().await.ok();
}

/// One side to write to. It is flushed when no more is at hand to be written.
struct Out<'a> {
    to: &'a mut Writer<Transport>,
    /// How long the other end may take no byte of a message.
    patience: Duration,
    burst: usize,
}

/// Why nothing can be written.
enum Failed {
    /// The other end is gone.
    Gone,
    /// It does not read.
    Slow,
}

impl<'a> Out<'a> {
    const fn new(to: &'a mut Writer<Transport>, patience: Duration) -> Self {
        Self {
            to,
            patience,
            burst: 0,
        }
    }

    async fn feed(&mut self, message: Message) -> Result<(), Failed> {
        written(&timeout(self.patience, self.to.feed(message)).await)
    }

    /// The next message of the other side. May be dropped before it is there.
    async fn next(
        &mut self,
        from: &mut Reader<Transport>,
    ) -> Result<Option<Result<Message, WsError>>, Failed> {
        if self.burst < BURST
            && let Some(message) = from.next().now_or_never()
        {
            self.burst += 1;
            return Ok(message);
        }
        written(&timeout(self.patience, self.to.flush()).await)?;
        self.burst = 0;
        Ok(from.next().await)
    }
}

impl Failed {
    fn of_client(self) -> Over {
        match self {
            Self::Gone => Over::ClientLeft,
            Self::Slow => Over::Close(Close::policy("slow consumer")),
        }
    }
}

fn written<E>(done: &Result<Result<(), WsError>, E>) -> Result<(), Failed> {
    match done {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Failed::Gone),
        Err(_) => Err(Failed::Slow),
    }
}

/// How the client is closed when the upstream closed: so that it comes again,
/// unless the upstream said why it should not.
fn passed_on(close: Option<Close>) -> Close {
    let restarted = || Close::restart("gateway restarting: connect again");
    match close {
        // `gateway auth changed` is about this door, not about the client.
        None | Some(Close { code: 4001, .. }) => restarted(),
        Some(close) => match close.code {
            1003 | 1007..=1009 | 1011..=1014 | 4000..=4999 => close,
            _ => restarted(),
        },
    }
}

/// Whether a message is an event of the upstream's own pairing, whose requests
/// nobody here can answer. Looked at closely only if the words are in it.
fn is_of_their_pairing(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct EventFrame<'a> {
        #[serde(borrow)]
        event: std::borrow::Cow<'a, str>,
    }
    text.contains(PAIRING_EVENTS)
        && serde_json::from_str::<EventFrame<'_>>(text)
            .is_ok_and(|frame| frame.event.starts_with(PAIRING_EVENTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstreams_own_pairing_is_not_passed_on() {
        for (text, expected) in [
            (
                r#"{"type":"event","event":"device.pair.requested","payload":{}}"#,
                true,
            ),
            (
                r#"{"payload":{"event":"x"},"event":"device.pair.resolved"}"#,
                true,
            ),
            (
                r#"{"type":"event","event":"chat","payload":{"text":"device.pair.requested"}}"#,
                false,
            ),
            (
                r#"{"type":"res","id":"1","ok":true,"payload":"device.pair.x"}"#,
                false,
            ),
            (r#"{"type":"event","event":"tick"}"#, false),
        ] {
            assert_eq!(is_of_their_pairing(text), expected, "{text}");
        }
    }

    #[test]
    fn an_upstream_that_goes_away_makes_clients_come_again() {
        for code in [1000, 1001, 1005, 1006, 4001] {
            assert_eq!(passed_on(Some(Close::new(code, "x"))).code, 1012, "{code}");
        }
        assert_eq!(passed_on(None).code, 1012);
        for code in [1008, 1009, 1012, 1013, 4000] {
            assert_eq!(passed_on(Some(Close::new(code, "x"))).code, code);
        }
    }
}
