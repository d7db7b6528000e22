//! Upstreams: one that tells what it was sent, and one that does what it is told.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::support::Setup;

/// An upstream that answers with what it was sent.
pub(super) struct Echo {
    pub(super) url: String,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    targets: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    pub(super) async fn start() -> Self {
        Self::start_on("127.0.0.1:0", "http").await
    }

    /// Listens on an address and speaks HTTP/1.1, or HTTP/2 where the scheme says so.
    pub(super) async fn start_on(address: &str, scheme: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let is_http2 = scheme == "h2c";
        let requests = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let targets = Arc::<Mutex<Vec<String>>>::default();
        let (counter, accepted) = (Arc::clone(&requests), Arc::clone(&connections));
        let told = Arc::clone(&targets);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (counter, told) = (Arc::clone(&counter), Arc::clone(&told));
                let service = service_fn(move |request: Request<Incoming>| {
                    counter.fetch_add(1, Ordering::SeqCst);
                    let target = request.uri().path_and_query().unwrap();
                    told.lock().unwrap().push(target.to_string());
                    echo(request)
                });
                let io = TokioIo::new(stream);
                if is_http2 {
                    let http2 = http2::Builder::new(TokioExecutor::new());
                    tokio::spawn(http2.serve_connection(io, service));
                } else {
                    tokio::spawn(http1::Builder::new().serve_connection(io, service));
                }
            }
        });
        Self {
            url,
            requests,
            connections,
            targets,
        }
    }

    /// The targets of requests since this was asked last.
    pub(super) fn targets(&self) -> Vec<String> {
        std::mem::take(&mut *self.targets.lock().unwrap())
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

pub(super) async fn echo(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let (parts, mut body) = request.into_parts();
    let (mut size, mut text) = (0, Vec::new());
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                size += data.len();
                text.extend_from_slice(&data[..data.len().min(64)]);
                text.truncate(64);
            }
            Err(frame) => trailers = frame.into_trailers().unwrap(),
        }
    }
    // Over HTTP/2 the target is a whole URL.
    let target = parts.uri.path_and_query().unwrap();
    let answer = json!({"method": parts.method.as_str(), "target": target.as_str(),
        "headers": map(&parts.headers), "trailers": map(&trailers), "size": size,
        "body": String::from_utf8_lossy(&text)});
    let response = Response::builder()
        .header("x-upstream", "1")
        .header("x-hardtack-scopes", "forged")
        .header("x-request-id", "the-upstreams")
        .header("connection", "x-dropped")
        .header("x-dropped", "1")
        .header("trailer", "x-sum, x-hardtack-role");
    let has_trailers = !trailers.is_empty();
    let mut trailers = HeaderMap::new();
    for (name, value) in [
        ("x-sum", "1"),
        ("x-hardtack-role", "admin"),
        ("x-more", "2"),
    ] {
        trailers.insert(name, HeaderValue::from_static(value));
    }
    let text = answer.to_string();
    let body = if has_trailers {
        with_trailers(text, trailers)
    } else {
        Full::from(text).boxed()
    };
    Ok(response.body(body).unwrap())
}

/// A body with trailers and without a length, beside which HTTP/1.1 has no place for them.
pub(super) fn with_trailers(text: String, trailers: HeaderMap) -> BoxBody<Bytes, Infallible> {
    let frames = [Frame::data(text.into()), Frame::trailers(trailers)];
    StreamBody::new(stream::iter(frames.map(Ok))).boxed()
}

fn map(headers: &HeaderMap) -> serde_json::Map<String, Value> {
    let mut map = serde_json::Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
        map.insert(name.to_string(), values.join(" | ").into());
    }
    map
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
