//! A client of the protocol on a device with a key.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::Outcome;
use crate::gateway::PAYLOAD;

pub(crate) struct Client(WebSocketStream<TcpStream>);

/// Who may not come in yet, and what there is to approve.
pub(crate) enum Entry {
    In(Box<Client>),
    Waits(String),
}

/// Connects and goes through the handshake.
pub(crate) async fn connect(url: &str, key: &SigningKey) -> Outcome<Entry> {
    let address = url.strip_prefix("ws://").ok_or("no ws URL")?;
    let stream = TcpStream::connect(address.trim_end_matches('/')).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = client_async(url, stream).await?;
    let challenge = next(&mut socket).await?;
    let params = params(&challenge["payload"], key);
    let request = json!({"type": "req", "id": "c", "method": "connect", "params": params});
    socket.send(Message::text(request.to_string())).await?;
    let answer = next(&mut socket).await?;
    if answer["ok"] == true {
        return Ok(Entry::In(Box::new(Client(socket))));
    }
    let id = answer.pointer("/error/details/requestId");
    let id = id.and_then(Value::as_str);
    Ok(Entry::Waits(
        id.ok_or_else(|| answer.to_string())?.to_owned(),
    ))
}

fn params(challenge: &Value, key: &SigningKey) -> Value {
    let public = key.verifying_key();
    let id = Sha256::digest(public.as_bytes());
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let nonce = challenge["nonce"].as_str().unwrap_or_default();
    let at = &challenge["ts"];
    let signed = format!("v2|{id}|gateway-client|backend|operator|operator.read|{at}||{nonce}");
    let signature = key.sign(signed.as_bytes()).to_bytes();
    json!({
        "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": ["operator.read"],
        "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
        "device": {
            "id": id, "publicKey": URL_SAFE_NO_PAD.encode(public.as_bytes()),
            "signature": URL_SAFE_NO_PAD.encode(signature), "signedAt": at, "nonce": nonce,
        },
    })
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Outcome<Value> {
    loop {
        match socket.next().await.ok_or("closed")?? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Close(frame) => return Err(format!("closed: {frame:?}").into()),
            _ => {}
        }
    }
}

/// A request of 1 KiB.
pub(crate) fn request() -> Utf8Bytes {
    let request = json!({
        "type": "req", "id": "m", "method": "health", "params": "x".repeat(PAYLOAD),
    });
    Utf8Bytes::from(request.to_string())
}

impl Client {
    /// Sends requests, so many at most unanswered, until all are answered.
    pub(crate) async fn exchange(&mut self, count: usize, window: usize) -> Outcome<()> {
        let request = request();
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            while sent < count && sent - answered < window {
                self.0.feed(Message::Text(request.clone())).await?;
                sent += 1;
            }
            self.0.flush().await?;
            self.answer().await?;
            answered += 1;
        }
        Ok(())
    }

    /// How long one request and its answer take, each time.
    pub(crate) async fn times(&mut self, count: usize) -> Outcome<Vec<Duration>> {
        let request = request();
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            self.0.send(Message::Text(request.clone())).await?;
            self.answer().await?;
            times.push(began.elapsed());
        }
        Ok(times)
    }

    async fn answer(&mut self) -> Outcome<()> {
        loop {
            match self.0.next().await.ok_or("closed")?? {
                Message::Text(_) => return Ok(()),
                Message::Close(frame) => return Err(format!("closed: {frame:?}").into()),
                _ => {}
            }
        }
    }
}
