//! One event for each decision. It never holds a token or the value of a header.

use std::net::IpAddr;

use crate::gateway::decide::Allowed;
use crate::gateway::refusal::Refused;
use crate::gateway::request_id::RequestId;
use crate::gateway::way_out::Line;

/// The most characters of a path that are logged.
const MAX_PATH: usize = 200;

/// What all events say of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) line: Line<'a>,
    pub(crate) client: IpAddr,
    pub(crate) id: &'a RequestId,
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

pub(crate) fn allowed(subject: Subject<'_>, allowed: &Allowed) {
    let (code, grant) = match allowed {
        Allowed::Everybody => ("public", None),
        Allowed::Holder(permit) => ("ok", Some(permit.access().grant_id())),
    };
    tracing::debug!(
        decision = "allow",
        code,
        method = subject.line.method,
        path = subject.line.path,
        grant = grant.map(|id| id.to_string()),
        client = %subject.client,
        request_id = subject.id.as_str(),
        "request allowed"
    );
}
