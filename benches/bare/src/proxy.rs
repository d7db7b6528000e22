//! A reverse proxy as one writes it with hyper: streaming, connections to the upstream
//! kept, no header sent on that concerns one connection only.

use std::convert::Infallible;
use std::net::IpAddr;

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::Outcome;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

type Body = Either<Incoming, Empty<Bytes>>;

#[derive(Clone)]
struct Proxy {
    client: Client<HttpConnector, Incoming>,
    upstream: Authority,
    host: HeaderValue,
}

pub async fn serve(upstream: Authority) -> Outcome {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let proxy = Proxy {
        client: Client::builder(TokioExecutor::new()).build(connector),
        host: HeaderValue::from_str(upstream.as_str())?,
        upstream,
    };
    let listener = crate::listener().await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let proxy = proxy.clone();
        let service = service_fn(move |request| {
            let proxy = proxy.clone();
            async move { Ok::<_, Infallible>(proxy.forward(request, peer.ip()).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

impl Proxy {
    async fn forward(&self, mut request: Request<Incoming>, client: IpAddr) -> Response<Body> {
        let Ok(uri) = self.target(request.uri()) else {
            return status(StatusCode::BAD_REQUEST);
        };
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        remove_hop_by_hop(headers);
        headers.insert(HOST, self.host.clone());
        if let Ok(client) = HeaderValue::try_from(client.to_string()) {
            headers.insert(&X_FORWARDED_FOR, client);
        }
        match self.client.request(request).await {
            Ok(mut response) => {
                remove_hop_by_hop(response.headers_mut());
                response.map(Either::Left)
            }
            Err(_) => status(StatusCode::BAD_GATEWAY),
        }
    }

    fn target(&self, received: &Uri) -> Result<Uri, http::Error> {
        let mut parts = received.clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.upstream.clone());
        Ok(Uri::from_parts(parts)?)
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in nominated.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    response
}
