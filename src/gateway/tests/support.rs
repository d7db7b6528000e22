//! An authority in memory, upstreams, and a client that says exactly what it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use hardtack_token::dpop::{ReplayMemory, token_hash};
use hardtack_token::{
    AttestationKey, AuthorityId, Caveat, Chain, Clock, DeviceId, End, Ended, Grant, GrantId,
    KeyRing, KeyState, ManualClock, NewSession, Revocations, RootKey, RootKeyId, SessionId,
    Subject, Timestamp, TokenText, Verifier,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::domain::policy::{Policy, Source};
use crate::gateway::{Gateway, GatewaySettings, Timeouts, serve};

pub(super) const NOW: Timestamp = Timestamp::from_unix(1_796_083_200);
pub(super) const GATEWAY: &str = "http://gw.example";
pub(super) const ISSUER: &str = "http://as.example";

const POLICY: &str = r#"
    route("GET", "/api/{*rest}", "operator.read");
    route("*", "/api/{*rest}", "operator.write");
    route("WEBSOCKET", "/api/{*rest}", "operator.write");
    route("GET", "/ws/{*rest}", "operator.read");
    route("HEAD", "/head/{*rest}", "operator.read");
    public("GET", "/assets/{*rest}");
    deny("*", "/api/internal/{*rest}");
"#;

/// An authority in memory, and what the gateway decides by.
pub(super) struct World {
    pub(super) root: RootKey,
    key: AttestationKey,
    pub(super) revocations: Arc<Revocations>,
    verifier: Arc<Verifier>,
    pub(super) clock: Arc<ManualClock>,
    policy: Arc<ArcSwap<Policy>>,
    pub(super) rng: StdRng,
}

/// A gateway that listens. It ends with the value.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

/// How a test differs from an ordinary gateway.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) upstream: Option<String>,
    pub(super) trusted: Vec<&'static str>,
    pub(super) response_timeout: Option<Duration>,
}

/// A device's key.
pub(super) struct Device(SigningKey);

impl World {
    pub(super) fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let root = RootKey::generate(RootKeyId::new(1), &mut rng);
        let key = AttestationKey::generate(&mut rng);
        let keys = KeyRing::new()
            .with_root(root.id(), root.public().unwrap(), KeyState::Active)
            .with_attestation(key.public().unwrap(), KeyState::Active);
        let revocations = Arc::new(Revocations::new(5));
        revocations.confirm(NOW);
        Self {
            root,
            key,
            verifier: Arc::new(Verifier::new(keys, Arc::clone(&revocations), 1 << 20)),
            revocations,
            clock: Arc::new(ManualClock::new(NOW)),
            policy: Arc::new(ArcSwap::from_pointee(policy(POLICY))),
            rng,
        }
    }

    /// Puts another policy in force.
    pub(super) fn set_policy(&self, text: &str) {
        self.policy.store(Arc::new(policy(text)));
    }

    /// Time passes, and the revocations are read meanwhile.
    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(seconds);
        self.revocations.confirm(self.clock.now());
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(self.rng.r#gen())
    }

    /// A chain of one grant.
    pub(super) fn grant(&mut self, subject: Subject, scopes: &str) -> Chain {
        let id = AuthorityId::from_uuid(self.uuid());
        let root = self
            .root
            .mint_authority(id, &"*".parse().unwrap(), &mut self.rng);
        let grant = Grant {
            id: GrantId::from_uuid(self.uuid()),
            subject,
            role: "operator".parse().unwrap(),
            scopes: scopes.parse().unwrap(),
            not_after: None,
        };
        let chain = root.unwrap().append_grant(&grant, &self.key, &mut self.rng);
        chain.unwrap()
    }

    pub(super) fn device_grant(&mut self, n: u8, scopes: &str) -> Chain {
        self.grant(Subject::Device(Device::new(n).id()), scopes)
    }

    pub(super) fn session(
        &mut self,
        chain: &Chain,
        audience: &str,
        caveats: Vec<Caveat>,
    ) -> String {
        let session = NewSession {
            id: SessionId::from_uuid(self.uuid()),
            audience: audience.to_owned(),
            not_after: NOW.plus(900),
            caveats,
        };
        let token = chain.append_session(&session, &self.key, &mut self.rng);
        token.unwrap().expose().to_owned()
    }

    /// A bearer token of device 1 for the gateway.
    pub(super) fn token(&mut self, scopes: &str) -> String {
        self.token_with(scopes, Vec::new())
    }

    pub(super) fn token_with(&mut self, scopes: &str, caveats: Vec<Caveat>) -> String {
        let chain = self.device_grant(1, scopes);
        self.session(&chain, GATEWAY, caveats)
    }

    pub(super) fn end(&self, chain: &Chain, end: End) {
        let id = chain.profile().unwrap().leaf().id.uuid();
        self.revocations.add(&[Ended { id, end }]);
    }

    pub(super) async fn start(&mut self, setup: Setup) -> Running {
        let upstream = setup.upstream.map(|url| url.parse().unwrap());
        let settings = GatewaySettings {
            origin: GATEWAY.parse().unwrap(),
            issuer: ISSUER.parse().unwrap(),
            upstream,
            trusted_proxies: setup
                .trusted
                .iter()
                .map(|net| net.parse().unwrap())
                .collect(),
            timeouts: Timeouts {
                response: setup.response_timeout.unwrap_or(Duration::from_secs(60)),
                ..Timeouts::default()
            },
        };
        let gateway = Gateway::new(
            settings,
            Arc::clone(&self.verifier),
            Arc::clone(&self.policy),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Arc::new(ReplayMemory::new(1000)),
            &mut self.rng,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        tokio::spawn(serve(listener, Arc::new(gateway.unwrap()), shutdown));
        Running {
            address,
            stop: Some(stop),
        }
    }

    /// A gateway in front of an upstream that tells what it was sent.
    pub(super) async fn start_with_echo(&mut self) -> (Running, Echo) {
        let echo = Echo::start().await;
        let setup = Setup {
            upstream: Some(echo.url.clone()),
            ..Setup::default()
        };
        (self.start(setup).await, echo)
    }
}

fn policy(text: &str) -> Policy {
    let source = Source {
        name: "test.datalog".to_owned(),
        text: text.to_owned(),
    };
    Policy::load(&[source]).unwrap()
}

impl Running {
    /// Sends a request without a body on a connection of its own.
    pub(super) async fn send(&self, line: &str, headers: &[(&str, &str)]) -> Answer {
        let mut text = format!("{line} HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        self.send_raw(&format!("{text}\r\n")).await
    }

    /// Sends what is given and reads to the end of the connection.
    pub(super) async fn send_raw(&self, text: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        Answer::read(&mut stream).await
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) fn stop(&mut self) {
        self.stop.take();
    }
}

impl Device {
    pub(super) fn new(n: u8) -> Self {
        Self(SigningKey::from_bytes(&[n; 32]))
    }

    pub(super) fn id(&self) -> DeviceId {
        DeviceId::of(&self.0.verifying_key())
    }

    /// A proof for a GET with `token`, made now.
    pub(super) fn proof(&self, url: &str, token: &str, jti: &str) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.verifying_key().as_bytes());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk});
        let claims = json!({"htm": "GET", "htu": url, "iat": NOW.unix(), "jti": jti,
            "ath": token_hash(token)});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A connection that is cut off shows in what is missing.
        stream.read_to_end(&mut bytes).await.ok();
        Self::parse(&bytes)
    }

    pub(super) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        Self {
            status: status.parse().unwrap(),
            headers,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn challenges(&self) -> Vec<&str> {
        let all = self.headers.get_all("www-authenticate");
        all.iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `200`, or status and code of a problem.
    pub(super) fn outcome(&self) -> String {
        if self.header("content-type") == Some("application/problem+json") {
            format!("{} {}", self.status, self.json()["code"].as_str().unwrap())
        } else {
            self.status.to_string()
        }
    }

    /// A header as the upstream got it, from its echo.
    pub(super) fn sent(&self, name: &str) -> Option<String> {
        let echo = self.json();
        let value = echo["headers"].get(name)?;
        Some(value.as_str().unwrap().to_owned())
    }
}

/// An upstream that answers with what it was sent.
pub(super) struct Echo {
    pub(super) url: String,
    requests: Arc<AtomicUsize>,
}

impl Echo {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                let service = service_fn(move |request| {
                    counter.fetch_add(1, Ordering::SeqCst);
                    echo(request)
                });
                let io = TokioIo::new(stream);
                tokio::spawn(http1::Builder::new().serve_connection(io, service));
            }
        });
        Self { url, requests }
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, mut body) = request.into_parts();
    let (mut size, mut text) = (0, Vec::new());
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            size += data.len();
            text.extend_from_slice(&data[..data.len().min(64)]);
            text.truncate(64);
        }
    }
    let mut headers = serde_json::Map::new();
    for name in parts.headers.keys() {
        let values = parts.headers.get_all(name).iter();
        let values: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
        headers.insert(name.to_string(), values.join(" | ").into());
    }
    let answer = json!({"method": parts.method.as_str(), "target": parts.uri.to_string(),
        "headers": headers, "size": size, "body": String::from_utf8_lossy(&text)});
    let response = Response::builder()
        .header("x-upstream", "1")
        .header("x-hardtack-scopes", "forged")
        .header("x-request-id", "the-upstreams")
        .header("connection", "x-dropped")
        .header("x-dropped", "1")
        .body(Full::from(answer.to_string()));
    Ok(response.unwrap())
}

/// An upstream of one connection, which does with it what it is told.
pub(super) async fn raw_upstream<F>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> Setup
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { serve(listener.accept().await.unwrap().0).await });
    Setup {
        upstream: Some(url),
        ..Setup::default()
    }
}

/// Reads until what was read ends in `end`.
pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let byte = stream.read_u8().await;
        let byte =
            byte.unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&bytes)));
        bytes.push(byte);
    }
    String::from_utf8(bytes).unwrap()
}

pub(super) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

pub(super) fn text(token: &str) -> TokenText {
    TokenText::new(token).unwrap()
}
