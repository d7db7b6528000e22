//! One event for each decision. It never holds a token or the value of a header.

use std::net::IpAddr;

use hardtack_token::{Access, Asked, GrantId};

use crate::gateway::refusal::Refused;
use crate::gateway::request_id::RequestId;
use crate::gateway::streams;

/// The most characters of a path that are logged.
const MAX_PATH: usize = 200;

/// The request line, without its query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
}

/// What all events say of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) line: Line<'a>,
    pub(crate) client: IpAddr,
    pub(crate) id: &'a RequestId,
}

impl<'a> Line<'a> {
    pub(crate) const fn of(asked: &Asked<'a>) -> Self {
        Self {
            method: asked.method,
            path: asked.path,
        }
    }
}

pub(crate) fn refused(subject: Subject<'_>, refused: &Refused) {
    let grant = refused
        .caller
        .as_ref()
        .map(|caller| caller.grant.to_string());
    // A path that was refused can hold anything.
    let path = subject.line.path.chars().take(MAX_PATH);
    let path: String = path.flat_map(char::escape_debug).collect();
    tracing::info!(
        decision = if refused.why.was_allowed() { "allow" } else { "deny" },
        code = refused.why.code(),
        method = subject.line.method,
        path,
        grant,
        client = %subject.client,
        request_id = subject.id.as_str(),
        "request refused"
    );
}

/// `access` is none where everybody may. Whose request it is is asked only if it
/// is logged.
pub(crate) fn allowed<'a>(subject: impl FnOnce() -> Subject<'a>, access: Option<&Access>) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let subject = subject();
    tracing::debug!(
        decision = "allow",
        code = if access.is_some() { "ok" } else { "public" },
        method = subject.line.method,
        path = subject.line.path,
        grant = access.map(|access| access.grant_id().to_string()),
        client = %subject.client,
        request_id = subject.id.as_str(),
        "request allowed"
    );
}

/// A stream was ended before it was over.
pub(crate) fn ended(
    subject: &streams::Subject,
    grant: GrantId,
    is_websocket: bool,
    code: &'static str,
) {
    tracing::info!(
        code,
        kind = if is_websocket { "websocket" } else { "http" },
        path = &*subject.path,
        grant = %grant,
        client = %subject.client,
        request_id = &*subject.request_id,
        "stream ended: what it was allowed by no longer holds"
    );
}

impl From<Subject<'_>> for streams::Subject {
    fn from(subject: Subject<'_>) -> Self {
        let path = subject.line.path;
        Self {
            // It is canonical here, and so ASCII.
            path: path.get(..MAX_PATH).unwrap_or(path).into(),
            client: subject.client,
            request_id: subject.id.as_str().into(),
        }
    }
}
