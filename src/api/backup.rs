//! `/v1/backup`

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::channel::{Channel, Sender};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::api::Refusal;
use crate::api::extract::Incoming;
use crate::authority::{Authority, Error, backup};
use crate::store::StoreError;

/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

pub(super) async fn make(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
) -> Result<Response, Refusal> {
    let copy = authority.backup(&incoming.call()).await?;
    let opened = File::open(&copy).await;
    // What is open stays readable without its name, and goes when it was read.
    backup::remove(&copy);
    let file = opened.map_err(|error| {
        Error::Store(StoreError::File {
            path: copy.display().to_string(),
            error,
        })
    })?;
    let (sender, body) = Channel::<Bytes, io::Error>::new(2);
    tokio::spawn(send(file, sender));
    let kind = HeaderValue::from_static("application/vnd.sqlite3");
    Ok(([(CONTENT_TYPE, kind)], Body::new(body)).into_response())
}

async fn send(mut file: File, mut to: Sender<Bytes, io::Error>) {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        match file.read_buf(&mut chunk).await {
            Ok(0) => return,
            // Whoever asked is gone.
            Ok(_) if to.send_data(chunk.freeze()).await.is_err() => return,
            Ok(_) => {}
            // Cut off, so that the receiver does not take it for whole.
            Err(error) => return to.abort(error),
        }
    }
}
