//! A gateway that lets everybody in and answers every request with 1 KiB.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::Outcome;

/// What a message carries.
pub(crate) const PAYLOAD: usize = 1024;

/// Starts one; its URL.
pub(crate) async fn start() -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    let answer = json!({"type": "res", "id": "m", "ok": true, "payload": "y".repeat(PAYLOAD)});
    let answer = Utf8Bytes::from(answer.to_string());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move { connection(stream, answer).await.ok() });
        }
    });
    Ok(url)
}

async fn connection(stream: TcpStream, answer: Utf8Bytes) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let mut socket = accept_async(stream).await?;
    let challenge = json!({
        "type": "event", "event": "connect.challenge", "payload": {"nonce": "n", "ts": 1},
    });
    socket.send(Message::text(challenge.to_string())).await?;
    let Some(Ok(Message::Text(connect))) = socket.next().await else {
        return Ok(());
    };
    let connect: Value = serde_json::from_str(&connect)?;
    let hello = json!({
        "type": "hello-ok", "protocol": 4, "server": {"version": "x", "connId": "c"},
        "features": {"methods": [], "events": []},
        "snapshot": {
            "presence": [], "health": {}, "uptimeMs": 1, "stateVersion": {"presence": 0, "health": 0},
        },
        "policy": {"maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 30_000},
    });
    let hello = json!({"type": "res", "id": connect["id"], "ok": true, "payload": hello});
    socket.send(Message::text(hello.to_string())).await?;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            socket.send(Message::Text(answer.clone())).await?;
        }
    }
    Ok(())
}
