//! An OpenClaw gateway in trusted-proxy mode, as far as the door can tell: it
//! says what a gateway of 2026.9.6 was seen to say, and keeps what it hears.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept_hdr_with_config};

use crate::support::eventually;

/// How often a connection looks for orders.
const TURN: Duration = Duration::from_millis(5);

pub(crate) struct Gateway {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// What `connect` is answered with, if not a hello.
    refusal: Mutex<Option<(Value, u16, String)>>,
}

/// A connection that the gateway had.
pub(crate) struct Connection {
    pub(crate) headers: Vec<(String, String)>,
    connect: Mutex<Value>,
    heard: Mutex<Vec<String>>,
    orders: Mutex<mpsc::Sender<Order>>,
    open: AtomicBool,
    /// Requests that were answered.
    answered: AtomicU32,
}

enum Order {
    Say(String),
    Close(u16, String),
    /// Goes away as a process does that is killed.
    Drop,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let shared = Arc::<Shared>::default();
        let kept = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, shared }
    }

    /// Answers every `connect` from now on with this error.
    pub(crate) fn refuse(&self, error: Value, code: u16, reason: &str) {
        *self.shared.refusal.lock().unwrap() = Some((error, code, reason.to_owned()));
    }

    /// Lets everybody in again.
    pub(crate) fn relent(&self) {
        *self.shared.refusal.lock().unwrap() = None;
    }

    /// The connections that it had, the first one first.
    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        self.shared.connections.lock().unwrap().clone()
    }

    /// The connection that was opened last.
    pub(crate) fn last(&self) -> Arc<Connection> {
        eventually("a connection to the gateway", || {
            self.connections().last().cloned()
        })
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        let connections = self.connections();
        connections.iter().filter(|c| c.is_open()).count()
    }
}

impl Connection {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The params of the `connect` that it got.
    pub(crate) fn params(&self) -> Value {
        eventually("a connect request", || {
            let connect = self.connect.lock().unwrap();
            (!connect.is_null()).then(|| connect["params"].clone())
        })
    }

    /// Every frame after `connect`, as it came.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn answered(&self) -> u32 {
        self.answered.load(Ordering::SeqCst)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn say(&self, text: impl Into<String>) {
        self.order(Order::Say(text.into()));
    }

    pub(crate) fn close(&self, code: u16, reason: &str) {
        self.order(Order::Close(code, reason.to_owned()));
    }

    pub(crate) fn drop_it(&self) {
        self.order(Order::Drop);
    }

    fn order(&self, order: Order) {
        self.orders.lock().unwrap().send(order).unwrap();
    }
}

#[expect(clippy::result_large_err, reason = "the signature is the library's")]
fn serve(stream: TcpStream, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut headers = Vec::new();
    let keep = |request: &Request, response: Response| {
        for (name, value) in request.headers() {
            headers.push((name.to_string(), value.to_str().unwrap().to_owned()));
        }
        Ok(response)
    };
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    let Ok(mut socket) = accept_hdr_with_config(stream, keep, Some(config)) else {
        return;
    };
    let (orders, to_do) = mpsc::channel();
    let connection = Arc::new(Connection {
        headers,
        connect: Mutex::default(),
        heard: Mutex::default(),
        orders: Mutex::new(orders),
        open: AtomicBool::new(true),
        answered: AtomicU32::new(0),
    });
    shared
        .connections
        .lock()
        .unwrap()
        .push(Arc::clone(&connection));
    // Whatever ends it, the other end is gone.
    talk(&mut socket, shared, &connection, &to_do).ok();
    connection.open.store(false, Ordering::SeqCst);
}

fn talk(
    socket: &mut WebSocket<TcpStream>,
    shared: &Shared,
    connection: &Connection,
    orders: &mpsc::Receiver<Order>,
) -> Result<(), Error> {
    let challenge = json!({
        "type": "event", "event": "connect.challenge",
        "payload": {"nonce": "of-the-gateway", "ts": 1, "capabilities": ["model-catalog-snapshot"]},
    });
    socket.send(Message::text(challenge.to_string()))?;
    socket.get_ref().set_read_timeout(Some(TURN)).unwrap();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                if !hear(socket, shared, connection, &text)? {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        for order in orders.try_iter() {
            match order {
                Order::Say(text) => socket.send(Message::text(text))?,
                Order::Close(code, reason) => {
                    let reason = reason.into();
                    let code = code.into();
                    socket.close(Some(CloseFrame { code, reason }))?;
                }
                Order::Drop => return Ok(()),
            }
        }
    }
}

/// Answers a frame; false if it is over.
fn hear(
    socket: &mut WebSocket<TcpStream>,
    shared: &Shared,
    connection: &Connection,
    text: &str,
) -> Result<bool, Error> {
    let frame: Value = serde_json::from_str(text).unwrap();
    let is_connect = connection.connect.lock().unwrap().is_null();
    let refusal = shared.refusal.lock().unwrap().clone();
    if is_connect {
        *connection.connect.lock().unwrap() = frame.clone();
        if let Some((error, code, reason)) = refusal {
            let answer = json!({"type": "res", "id": frame["id"], "ok": false, "error": error});
            socket.send(Message::text(answer.to_string()))?;
            let (code, reason) = (code.into(), reason.into());
            socket.close(Some(CloseFrame { code, reason }))?;
            return Ok(true);
        }
        let answer = json!({
            "type": "res", "id": frame["id"], "ok": true, "payload": hello(&frame["params"]),
        });
        socket.send(Message::text(answer.to_string()))?;
        return Ok(true);
    }
    connection.heard.lock().unwrap().push(text.to_owned());
    let payload = json!({"method": frame["method"], "params": frame["params"]});
    let answer = json!({"type": "res", "id": frame["id"], "ok": true, "payload": payload});
    socket.send(Message::text(answer.to_string()))?;
    connection.answered.fetch_add(1, Ordering::SeqCst);
    Ok(true)
}

fn hello(params: &Value) -> Value {
    json!({
        "type": "hello-ok",
        "protocol": params["maxProtocol"],
        "server": {"version": "2026.9.6", "connId": "of-the-gateway"},
        "features": {
            "methods": ["health", "sessions.list", "device.pair.list", "device.pair.theirs"],
            "events": ["tick", "chat"],
        },
        "snapshot": {
            "presence": [], "health": {}, "uptimeMs": 1,
            "stateVersion": {"presence": 0, "health": 0},
        },
        "auth": {"role": "operator", "scopes": params["scopes"], "method": "trusted-proxy"},
        "policy": {"maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 30_000},
    })
}
