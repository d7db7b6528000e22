//! A client of the protocol, frame by frame.

use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::client_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::device::Device;
use crate::support::wait::DEADLINE;

/// An open socket.
pub(crate) struct Client {
    pub(crate) socket: WebSocket<TcpStream>,
    /// The payload of `hello-ok`, once there was one.
    pub(crate) hello: Value,
    requests: u64,
    /// Events that came while something else was waited for.
    events: Vec<Value>,
}

/// What a client says when it connects. Tests change one member.
pub(crate) struct Hello<'a> {
    pub(crate) params: Value,
    pub(crate) signer: Option<&'a Device>,
    pub(crate) form: Form,
    /// Changes the signed params after they were signed.
    pub(crate) forge: Option<fn(&mut Value)>,
    /// How far the device's clock is off, in milliseconds.
    pub(crate) clock: i64,
    pub(crate) headers: Vec<(&'static str, &'a str)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    V2,
    V3,
}

/// What came of it.
pub(crate) enum Outcome {
    In(Box<Client>),
    Out(Refused),
}

/// An answer that is an error, and the close that followed it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: Value,
    pub(crate) close: (u16, String),
}

impl Client {
    /// Opens a socket and nothing more.
    pub(crate) fn open(url: &str) -> Self {
        Self::open_with(url, &[])
    }

    pub(crate) fn open_with(url: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_open(url, headers).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub(crate) fn try_open(url: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let address = url.strip_prefix("ws://").unwrap();
        let address = address.split('/').next().unwrap();
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = http::Request::get(url)
            .header("host", address)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let opened = client_with_config(request.body(()).unwrap(), stream, Some(config));
        let (socket, _) = opened.map_err(|error| error.to_string())?;
        Ok(Self {
            socket,
            hello: Value::Null,
            requests: 0,
            events: Vec::new(),
        })
    }

    /// Sends a text as it is.
    pub(crate) fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).unwrap();
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Value {
        self.try_frame()
            .unwrap_or_else(|end| panic!("closed: {end:?}"))
    }

    /// The next frame, or how the socket was closed.
    pub(crate) fn try_frame(&mut self) -> Result<Value, (u16, String)> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(frame)) => {
                    // The answer to a close goes out with the next write.
                    self.socket.flush().ok();
                    return Err(frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.as_str().to_owned())
                    }));
                }
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::Protocol(_)) => {
                    return Err((1006, String::new()));
                }
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came in time")
                }
                Err(Error::Io(_)) => return Err((1006, String::new())),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// How long the next frame is waited for; then the test fails.
    pub(crate) fn patience(&mut self, patience: Duration) {
        let stream = self.socket.get_ref();
        stream.set_read_timeout(Some(patience)).unwrap();
    }

    /// How the socket is closed, whatever comes before.
    pub(crate) fn closed(&mut self) -> (u16, String) {
        loop {
            if let Err(end) = self.try_frame() {
                return end;
            }
        }
    }

    /// Sends a request, and waits for its answer.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.begin(method, params);
        self.answer(&id)
    }

    /// Sends a request; its id.
    pub(crate) fn begin(&mut self, method: &str, params: &Value) -> String {
        self.requests += 1;
        let id = format!("{}:test", self.requests);
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        self.send(frame.to_string());
        id
    }

    /// Waits for the answer to a request.
    pub(crate) fn answer(&mut self, id: &str) -> Value {
        loop {
            let frame = self.frame();
            if frame["type"] == "res" && frame["id"] == id {
                return frame;
            }
            self.events.push(frame);
        }
    }

    /// The payload of an answer that went well.
    pub(crate) fn ok(&mut self, method: &str, params: &Value) -> Value {
        let mut answer = self.ask(method, params);
        assert_eq!(answer["ok"], true, "{method}: {answer}");
        answer["payload"].take()
    }

    /// The error of one that did not.
    pub(crate) fn err(&mut self, method: &str, params: &Value) -> Value {
        let mut answer = self.ask(method, params);
        assert_eq!(answer["ok"], false, "{method}: {answer}");
        answer["error"].take()
    }

    /// The payload of the next event of this name.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        let came = self.events.iter().position(|event| event["event"] == name);
        if let Some(at) = came {
            return self.events.remove(at)["payload"].take();
        }
        loop {
            let mut frame = self.frame();
            if frame["event"] == name {
                return frame["payload"].take();
            }
            self.events.push(frame);
        }
    }

    /// The scopes of the connection.
    pub(crate) fn scopes(&self) -> Vec<&str> {
        let scopes = self.hello["auth"]["scopes"].as_array().unwrap();
        scopes.iter().map(|scope| scope.as_str().unwrap()).collect()
    }

    pub(crate) fn device_token(&self) -> &str {
        self.hello["auth"]["deviceToken"].as_str().unwrap()
    }
}

impl<'a> Hello<'a> {
    /// A client without a device.
    pub(crate) fn new() -> Self {
        let client = json!({
            "id": "gateway-client", "version": "0.3.0", "platform": "linux", "mode": "backend",
        });
        Self {
            params: json!({
                "minProtocol": 4, "maxProtocol": 4, "client": client, "role": "operator",
                "caps": [], "commands": [], "permissions": {}, "locale": "en-US",
            }),
            signer: None,
            form: Form::V3,
            forge: None,
            clock: 0,
            headers: Vec::new(),
        }
    }

    /// A client on a device that signs.
    pub(crate) fn of(device: &'a Device) -> Self {
        Self {
            signer: Some(device),
            ..Self::new()
        }
    }

    pub(crate) fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        self.params.pointer_mut(parent).unwrap()[name] = value.into();
        self
    }

    pub(crate) fn scopes(self, scopes: &[&str]) -> Self {
        self.set("/scopes", json!(scopes))
    }

    pub(crate) fn role(self, role: &str) -> Self {
        self.set("/role", role)
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.set("/auth", json!({"token": token}))
    }

    /// Brings what a setup code holds.
    pub(crate) fn bringing(self, token: &str) -> Self {
        self.set("/auth", json!({"bootstrapToken": token}))
    }

    pub(crate) const fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    pub(crate) const fn forge(mut self, forge: fn(&mut Value)) -> Self {
        self.forge = Some(forge);
        self
    }

    pub(crate) const fn clock(mut self, millis: i64) -> Self {
        self.clock = millis;
        self
    }

    /// Comes through a proxy, from this address.
    pub(crate) fn from(mut self, address: &'a str) -> Self {
        self.headers.push(("x-forwarded-for", address));
        self
    }

    /// Is a page that came from there.
    pub(crate) fn origin(mut self, origin: &'a str) -> Self {
        self.headers.push(("origin", origin));
        self
    }

    pub(crate) fn connect(self, url: &str) -> Outcome {
        let mut client = Client::open_with(url, &self.headers);
        let challenge = client.frame();
        assert_eq!(challenge["event"], "connect.challenge");
        let params = self.signed(&challenge["payload"]);
        let id = client.begin("connect", &params);
        // An error is followed by the close; a hello is not.
        loop {
            match client.try_frame() {
                Ok(mut frame) if frame["id"] == id && frame["ok"] == true => {
                    client.hello = frame["payload"].take();
                    return Outcome::In(Box::new(client));
                }
                Ok(mut frame) if frame["id"] == id => {
                    let error = frame["error"].take();
                    let close = client.closed();
                    return Outcome::Out(Refused { error, close });
                }
                Ok(_) => {}
                Err(close) => {
                    let error = Value::Null;
                    return Outcome::Out(Refused { error, close });
                }
            }
        }
    }

    /// The parameters with the device's signature over them.
    pub(crate) fn signed(&self, challenge: &Value) -> Value {
        let mut params = self.params.clone();
        if let Some(device) = self.signer {
            let at = challenge["ts"].as_i64().unwrap() + self.clock;
            let nonce = challenge["nonce"].as_str().unwrap();
            let payload = payload(&params, device, at, nonce, self.form);
            let key = device.key.verifying_key();
            params["device"] = json!({
                "id": device.id().to_string(),
                "publicKey": URL_SAFE_NO_PAD.encode(key.as_bytes()),
                "signature": URL_SAFE_NO_PAD.encode(device.key.sign(payload.as_bytes()).to_bytes()),
                "signedAt": at,
                "nonce": nonce,
            });
        }
        if let Some(forge) = self.forge {
            forge(&mut params);
        }
        params
    }
}

/// The text that a device signs.
fn payload(params: &Value, device: &Device, at: i64, nonce: &str, form: Form) -> String {
    let text = |pointer: &str| {
        let value = params.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let scopes = params["scopes"].as_array().map(|scopes| {
        let scopes: Vec<&str> = scopes.iter().map(|s| s.as_str().unwrap()).collect();
        scopes.join(",")
    });
    let token = ["/auth/token", "/auth/deviceToken", "/auth/bootstrapToken"]
        .map(text)
        .into_iter()
        .find(|token| !token.is_empty());
    let mut parts = vec![
        if form == Form::V3 { "v3" } else { "v2" }.to_owned(),
        device.id().to_string(),
        text("/client/id"),
        text("/client/mode"),
        text("/role"),
        scopes.unwrap_or_default(),
        at.to_string(),
        token.unwrap_or_default(),
        nonce.to_owned(),
    ];
    if form == Form::V3 {
        let plain = |pointer| text(pointer).trim().to_ascii_lowercase();
        parts.push(plain("/client/platform"));
        parts.push(plain("/client/deviceFamily"));
    }
    parts.join("|")
}

impl Outcome {
    /// The client that is in.
    pub(crate) fn welcome(self) -> Client {
        match self {
            Self::In(client) => *client,
            Self::Out(refused) => panic!("{refused:?}"),
        }
    }

    /// Why it is not.
    pub(crate) fn refused(self) -> Refused {
        match self {
            Self::In(client) => panic!("it is let in: {}", client.hello),
            Self::Out(refused) => refused,
        }
    }
}

impl Refused {
    /// The code in the details, or else the error's own.
    pub(crate) fn code(&self) -> &str {
        let code = self.error["details"]["code"].as_str();
        code.or_else(|| self.error["code"].as_str())
            .unwrap_or_default()
    }

    /// The request that has to be approved, as both kinds of clients read it.
    pub(crate) fn request_id(&self) -> String {
        assert_eq!(self.error["code"], "NOT_PAIRED", "{self:?}");
        assert_eq!(self.code(), "PAIRING_REQUIRED", "{self:?}");
        let id = self.error["details"]["requestId"].as_str().unwrap();
        let (code, reason) = &self.close;
        assert_eq!(*code, 1008, "{self:?}");
        assert!(reason.len() <= 120, "{reason}");
        let (text, rest) = reason.split_once(" (requestId: ").unwrap();
        assert!(text.starts_with("pairing required: "), "{reason}");
        assert_eq!(rest, format!("{id})"));
        id.to_owned()
    }
}
