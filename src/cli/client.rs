//! HTTP as the command line needs it: one request, one JSON answer.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hardtack_token::Origin;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value};

use super::failure::{Exit, Failure};
use super::pinned;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// A connection to one server.
pub(super) struct Client {
    server: Origin,
    http: Transport,
    timeout: Duration,
}

enum Transport {
    Plain(Box<Http<HttpConnector, Full<Bytes>>>),
    Tls(Box<Http<HttpsConnector<HttpConnector>, Full<Bytes>>>),
}

/// The body of a request.
pub(super) enum Body {
    None,
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

/// The headers that say who asks.
#[derive(Default)]
pub(super) struct Identity {
    pub(super) authorization: Option<String>,
    pub(super) proof: Option<String>,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Map<String, Value>,
}

impl Client {
    /// `pinned` is the file of the server's certificate, where it is known.
    pub(super) fn new(
        server: Origin,
        pinned: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let executor = TokioExecutor::new();
        let http = if server.as_str().starts_with("https:") {
            let builder = HttpsConnectorBuilder::new();
            let builder = match pinned {
                Some(file) => builder.with_tls_config(pinned::config(file)?),
                None => builder
                    .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
                    .map_err(|e| Failure::unexpected(format!("no CA certificates: {e}")))?,
            };
            let connector = builder.https_only().enable_http1().build();
            Transport::Tls(Box::new(Http::builder(executor).build(connector)))
        } else {
            Transport::Plain(Box::new(
                Http::builder(executor).build(HttpConnector::new()),
            ))
        };
        Ok(Self {
            server,
            http,
            timeout,
        })
    }

    pub(super) const fn server(&self) -> &Origin {
        &self.server
    }

    /// The URL of a path on this server, which proofs are made for.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    /// Sends a request and reads the answer, whatever its status.
    pub(super) async fn send(
        &self,
        method: &Method,
        path_and_query: &str,
        body: &Body,
        identity: &Identity,
    ) -> Result<Answer, Failure> {
        let answer = self.open(method, path_and_query, body, identity).await?;
        self.read(answer).await
    }

    /// Sends a request and gives the answer before its body is read.
    pub(super) async fn open(
        &self,
        method: &Method,
        path_and_query: &str,
        body: &Body,
        identity: &Identity,
    ) -> Result<Response<Incoming>, Failure> {
        let request = self.request(method, path_and_query, body, identity)?;
        let answer = async {
            match &self.http {
                Transport::Plain(http) => http.request(request).await,
                Transport::Tls(http) => http.request(request).await,
            }
        };
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(|e| self.unreachable(&cause(&e))),
            Err(_) => Err(self.unreachable("it did not answer in time")),
        }
    }

    /// Reads the body of an answer, which is JSON.
    pub(super) async fn read(&self, answer: Response<Incoming>) -> Result<Answer, Failure> {
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect();
        let body = match tokio::time::timeout(self.timeout, body).await {
            Ok(body) => body.map_err(|e| self.unreachable(&e.to_string()))?,
            Err(_) => return Err(self.unreachable("it did not answer in time")),
        };
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
        })
    }

    /// Writes the body of an answer to a file that only its owner can read. One
    /// that breaks off leaves no file.
    pub(super) async fn save(&self, answer: Response<Incoming>, to: &Path) -> Result<(), Failure> {
        let failed = |e: std::io::Error| Failure::unexpected(format!("{}: {e}", to.display()));
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)
            .map_err(failed)?;
        let mut body = answer.into_body();
        let saved = async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|e| self.unreachable(&e.to_string()))?;
                if let Ok(data) = frame.into_data() {
                    file.write_all(&data).map_err(failed)?;
                }
            }
            file.sync_all().map_err(failed)
        };
        saved.await.inspect_err(|_| drop(std::fs::remove_file(to)))
    }

    fn request(
        &self,
        method: &Method,
        path_and_query: &str,
        body: &Body,
        identity: &Identity,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.url(path_and_query));
        if let Some(authorization) = &identity.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(proof) = &identity.proof {
            request = request.header(DPOP, proof);
        }
        let (kind, bytes) = match body {
            Body::None => (None, Vec::new()),
            Body::Json(value) => (Some("application/json"), value.to_string().into_bytes()),
            Body::Form(members) => (
                Some("application/x-www-form-urlencoded"),
                encode_form(members).into_bytes(),
            ),
        };
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        request
            .body(Full::new(bytes.into()))
            .map_err(|e| Failure::usage(format!("the request cannot be made: {e}")))
    }

    pub(super) fn unreachable(&self, why: &str) -> Failure {
        let detail = format!("{} cannot be reached: {why}", self.server);
        Failure::new(Exit::Unreachable, "unreachable", detail)
            .with_next("hardtack serve    # or --url, HARDTACK_URL for a server elsewhere")
    }
}

impl Answer {
    /// The body of a success; a failure for anything else.
    pub(super) fn success(self) -> Result<Value, Failure> {
        if self.status.is_success() {
            Ok(Value::Object(self.body))
        } else {
            Err(Failure::answered(self.status.as_u16(), self.body))
        }
    }

    pub(super) fn nonce(&self) -> Option<&str> {
        nonce(&self.headers)
    }
}

/// The nonce that a server wants in the next proof.
pub(super) fn nonce(headers: &HeaderMap) -> Option<&str> {
    headers.get("dpop-nonce")?.to_str().ok()
}

/// The innermost cause of an error, which is the one that says something.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// `application/x-www-form-urlencoded`: all but unreserved characters escaped.
fn encode_form(members: &[(&'static str, String)]) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(b).to_string()
                }
                _ => format!("%{b:02X}"),
            })
            .collect()
    };
    let pairs = members
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}
