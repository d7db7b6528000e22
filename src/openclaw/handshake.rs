//! From an open WebSocket to a client that is let in: challenge, `connect`,
//! and `hello-ok` or a refusal.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::openclaw::OpenClaw;
use crate::openclaw::admission::Admitted;
use crate::openclaw::connect::ConnectParams;
use crate::openclaw::errors::{Close, ErrorShape, Refusal};
use crate::openclaw::frames::{self, RequestFrame};
use crate::openclaw::limits::Stranger;
use crate::openclaw::sessions::OpenSession;
use crate::openclaw::socket::{self, Socket, StrangeSocket};
use crate::openclaw::upgrade::Visitor;
use crate::openclaw::upstream::Greeted;
use crate::web::transport::Transport;

/// What is at the end of a handshake that went well.
struct Entrance {
    id: String,
    protocol: u32,
    admitted: Admitted,
    greeted: Greeted,
}

/// A client that was told that it is in.
pub(super) struct Welcomed {
    pub(super) open: OpenSession,
    /// What is to be sent to it by us.
    pub(super) waiting: mpsc::Receiver<String>,
    pub(super) client: Socket,
    pub(super) upstream: WebSocketStream<Transport>,
}

/// A `connect` that was refused, and the id of its request if it has one.
struct Refused {
    id: Option<String>,
    refusal: Refusal,
}

impl OpenClaw {
    /// Serves a client to the end of its connection.
    pub(super) async fn client(
        self: Arc<Self>,
        stream: Transport,
        visitor: Visitor,
        stranger: Stranger,
        deadline: Instant,
        mut stop: watch::Receiver<bool>,
    ) {
        let entered = Box::pin(self.enter(stream, &visitor, deadline));
        let entered = tokio::select! {
            entered = entered => entered,
            _ = stop.changed() => return,
        };
        drop(stranger);
        let Some((socket, entrance)) = entered else {
            return;
        };
        // Boxed, as its stages are: what the greeting takes is gone before the
        // part that lasts.
        let welcomed = Box::pin(self.welcome(socket, entrance, visitor));
        let welcomed = tokio::select! {
            welcomed = welcomed => welcomed,
            _ = stop.changed() => return,
        };
        if let Some(welcomed) = welcomed {
            Box::pin(self.bridge(welcomed, stop)).await;
        }
    }

    /// Opens the session of a client that is let in, and tells it so. The answer
    /// goes out by the stranger's socket, whose buffers end with it.
    async fn welcome(
        &self,
        mut socket: StrangeSocket,
        entrance: Entrance,
        visitor: Visitor,
    ) -> Option<Welcomed> {
        let Entrance {
            id,
            protocol,
            mut admitted,
            greeted,
        } = entrance;
        let given = std::mem::take(&mut admitted.given);
        let (open, waiting) = self.sessions.open_session(admitted, visitor);
        let now = self.authority.millis();
        let hello = open.session.hello(protocol, &greeted.hello, &given, now);
        let hello = frames::answer(&id, &Ok(hello));
        let sent = socket.send(Message::text(hello));
        let sent = timeout(self.settings.timeouts.slow_reader, sent).await;
        sent.ok()?.ok()?;
        Some(Welcomed {
            open,
            waiting,
            client: socket::known(socket).await,
            upstream: greeted.socket,
        })
    }

    /// Lets a client in, or says why not.
    async fn enter(
        &self,
        stream: Transport,
        visitor: &Visitor,
        deadline: Instant,
    ) -> Option<(StrangeSocket, Entrance)> {
        let mut socket = socket::strange(stream).await;
        let nonce = self.authority.request_id().to_string();
        let ts = self.authority.millis();
        let challenge = frames::event("connect.challenge", &json!({"nonce": nonce, "ts": ts}));
        let patience = self.settings.timeouts.farewell;
        let first = timeout_at(deadline, async {
            socket.send(Message::text(challenge)).await.ok()?;
            Some(first_message(&mut socket).await)
        });
        let text = match first.await {
            Ok(Some(Ok(text))) => text,
            Ok(Some(Err(Some(close)))) => {
                socket::farewell(socket, &close, patience).await;
                return None;
            }
            Ok(Some(Err(None)) | None) => return None,
            Err(_) => {
                let close = Close::new(1000, "handshake timeout");
                socket::farewell(socket, &close, patience).await;
                return None;
            }
        };
        match self.connect(&text, &nonce, visitor).await {
            Ok(entrance) => Some((socket, entrance)),
            Err(Refused { id, refusal }) => {
                let Refusal { error, close } = refusal;
                tracing::info!(
                    address = %visitor.address, code = error.code, reason = %close.reason,
                    "an OpenClaw client was not let in"
                );
                if let Some(id) = id {
                    let answer = frames::answer(&id, &Err(error));
                    // The close says the same, if it can still be said.
                    socket.feed(Message::text(answer)).await.ok();
                }
                socket::farewell(socket, &close, patience).await;
                None
            }
        }
    }

    async fn connect(
        &self,
        text: &str,
        nonce: &str,
        visitor: &Visitor,
    ) -> Result<Entrance, Refused> {
        let no_answer = |error: frames::NotARequest| Refused {
            id: None,
            refusal: Refusal::said(ErrorShape::invalid(error.to_string())),
        };
        let frame = RequestFrame::read(text).map_err(no_answer)?;
        let params = frames::params(text).map_err(no_answer)?;
        let id = frame.id.into_owned();
        let refused = |refusal| Refused {
            id: Some(id.clone()),
            refusal,
        };
        if frame.method != "connect" {
            let message = "invalid handshake: first request must be connect";
            return Err(refused(Refusal::said(ErrorShape::invalid(message))));
        }
        let entrance = self.connect_with(params, nonce, visitor).await;
        let (protocol, admitted, greeted) = entrance.map_err(refused)?;
        Ok(Entrance {
            id,
            protocol,
            admitted,
            greeted,
        })
    }

    async fn connect_with(
        &self,
        params: Value,
        nonce: &str,
        visitor: &Visitor,
    ) -> Result<(u32, Admitted, Greeted), Refusal> {
        let read = ConnectParams::read(&params)?;
        let protocol = read.protocol()?;
        let admitted = self.admit(&read, nonce, visitor).await?;
        let greeted = self.greet(params, &admitted, visitor).await?;
        Ok((protocol, admitted, greeted))
    }
}

/// The first message; else how the socket is to be closed, if it is there still.
async fn first_message(socket: &mut StrangeSocket) -> Result<String, Option<Close>> {
    loop {
        return match socket.next().await {
            Some(Ok(Message::Text(text))) => Ok(text.as_str().to_owned()),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Binary(_))) => Err(Some(Close::new(1003, "text frames only"))),
            Some(Ok(Message::Close(_))) | None => Err(None),
            Some(Err(error)) => Err(socket::close_after(&error, "preauth payload too large")),
        };
    }
}
