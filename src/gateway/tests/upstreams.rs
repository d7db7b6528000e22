//! Upstreams: one that tells what it was sent, and one that does what it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::support::Setup;

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
