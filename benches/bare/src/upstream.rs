//! The application behind the proxies. It runs on the load's processor, so that none
//! of its work counts.

use std::convert::Infallible;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::Outcome;

const TEXT: &[u8] = br#"{"id":"0192f0c1-7b1e-7c55-a2f3-9d1b5c3e8a70","title":"Ship's biscuit","body":"Flour, water, salt. Keeps."}"#;

pub async fn serve() -> Outcome {
    let listener = crate::listener().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = http1::Builder::new()
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(connection);
    }
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(TEXT)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
