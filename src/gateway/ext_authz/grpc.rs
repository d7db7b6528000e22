//! gRPC as far as one unary call needs it: a message in, a message or a status out.
//! The form is that of the gRPC project's `PROTOCOL-HTTP2`.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use prost::Message;

use crate::gateway::body::AnswerBody;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The longest question. Envoy's own limit for a head is 60 KiB, and no body comes along.
const MAX_MESSAGE: usize = 128 * 1024;
/// How long a question may take to arrive.
const READ_TIME: Duration = Duration::from_secs(5);
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Why a call fails, beside what is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    InvalidArgument,
    DeadlineExceeded,
    PermissionDenied,
    ResourceExhausted,
    Unimplemented,
}

impl Status {
    const fn code(self) -> u16 {
        match self {
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            Self::Unimplemented => 12,
        }
    }
}

/// Whether a request is a call.
pub(super) fn is_call(parts: &Parts) -> bool {
    let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    parts.method == Method::POST
        && parts.version == Version::HTTP_2
        && matches!(kind, Some(b"application/grpc" | b"application/grpc+proto"))
}

/// Reads the one message of a call.
pub(super) async fn read<M: Message + Default>(
    body: Incoming,
) -> Result<M, (Status, &'static str)> {
    let whole = Limited::new(body, MAX_MESSAGE + PREFIX).collect();
    let read = tokio::time::timeout(READ_TIME, whole).await;
    let read = read.map_err(|_| (Status::DeadlineExceeded, "the message did not arrive"))?;
    let bytes = read
        .map_err(|_| {
            (
                Status::ResourceExhausted,
                "the message is too long or broke off",
            )
        })?
        .to_bytes();
    message_in(&bytes)
}

/// What is bytes in the message stays where it is, as a part of `bytes`.
fn message_in<M: Message + Default>(bytes: &Bytes) -> Result<M, (Status, &'static str)> {
    let invalid = |why| (Status::InvalidArgument, why);
    let (prefix, message) = bytes
        .split_first_chunk::<PREFIX>()
        .ok_or(invalid("there is no message"))?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err((Status::Unimplemented, "compressed messages are not read"));
    }
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(invalid("there is not one message"));
    }
    M::decode(bytes.slice_ref(message)).map_err(|_| invalid("the message does not read"))
}

/// The answer that is a message.
pub(super) fn message(message: &impl Message) -> Response<AnswerBody> {
    let text = message.encode_to_vec();
    let mut bytes = BytesMut::with_capacity(PREFIX + text.len());
    bytes.put_u8(0);
    // An answer is a head and a problem document, far from four gibibytes.
    bytes.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    bytes.put_slice(&text);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(&GRPC_STATUS, 0.into());
    answer(AnswerBody::Message(Some(bytes.freeze()), Some(trailers)))
}

/// The answer to a call that is not decided on. Envoy takes it for a failure.
pub(super) fn failure(status: Status, why: &'static str) -> Response<AnswerBody> {
    let mut response = answer(AnswerBody::Message(None, None));
    let headers = response.headers_mut();
    headers.insert(&GRPC_STATUS, status.code().into());
    headers.insert(&GRPC_MESSAGE, HeaderValue::from_static(why));
    response
}

fn answer(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

#[cfg(test)]
mod tests {
    use super::super::messages::HttpRequest;
    use super::*;

    fn read_as(prefix: &[u8], message: &[u8]) -> Result<HttpRequest, Status> {
        let bytes = [prefix, message].concat();
        message_in(&bytes.into()).map_err(|(status, _)| status)
    }

    #[test]
    fn one_whole_message_is_read_and_nothing_else() {
        let asked = HttpRequest {
            method: "GET".to_owned(),
            ..HttpRequest::default()
        };
        let text = asked.encode_to_vec();
        let length = u8::try_from(text.len()).unwrap();
        assert_eq!(read_as(&[0, 0, 0, 0, length], &text).unwrap(), asked);
        for (prefix, status) in [
            (&[0, 0, 0, 0, length + 1][..], Status::InvalidArgument),
            (&[0, 0, 0, 0, length - 1], Status::InvalidArgument),
            (&[1, 0, 0, 0, length], Status::Unimplemented),
        ] {
            assert_eq!(read_as(prefix, &text), Err(status), "{prefix:?}");
        }
        assert_eq!(read_as(&[0, 0, 0, 0], &[]), Err(Status::InvalidArgument));
        assert_eq!(
            read_as(&[0, 0, 0, 0, 1], &[0xff]),
            Err(Status::InvalidArgument)
        );
    }
}
