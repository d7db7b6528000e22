//! One event for each decision. It never holds a token or the value of a header.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hardtack_token::{Access, Asked, GrantId};

use crate::gateway::Gateway;
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

/// Which of the allowed requests are logged at level `info`: the first of each
/// second, which says how many there were besides since the last such line. So
/// a busy gateway shows what goes through it, and no flood fills a disk.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    second: AtomicU64,
    others: AtomicU64,
}

impl Sample {
    /// How many were not taken since the last one; `None` if this is not taken.
    fn take(&self, second: u64) -> Option<u64> {
        let last = self.second.load(Relaxed);
        let is_first = last != second
            && self
                .second
                .compare_exchange(last, second, Relaxed, Relaxed)
                .is_ok();
        if is_first {
            return Some(self.others.swap(0, Relaxed));
        }
        self.others.fetch_add(1, Relaxed);
        None
    }
}

macro_rules! say_allowed {
    ($level:ident, $subject:expr, $access:expr, $others:expr) => {{
        let subject: Subject<'_> = $subject;
        tracing::event!(
            tracing::Level::$level,
            decision = "allow",
            code = if $access.is_some() { "ok" } else { "public" },
            method = subject.line.method,
            path = subject.line.path,
            grant = $access.map(|access| access.grant_id().to_string()),
            client = %subject.client,
            request_id = subject.id.as_str(),
            others = $others,
            "request allowed"
        )
    }};
}

impl Gateway {
    /// Each is logged at level `debug`, those of the sample at `info`. `access` is
    /// none where everybody may. Whose request it is is asked only if it is logged.
    pub(crate) fn log_allowed<'a>(
        &self,
        subject: impl FnOnce() -> Subject<'a>,
        access: Option<&Access>,
    ) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let now = self.decider.clock().now();
        if let Some(others) = self.allows.take(now.unix()) {
            say_allowed!(INFO, subject(), access, Some(others));
        } else if tracing::enabled!(tracing::Level::DEBUG) {
            say_allowed!(DEBUG, subject(), access, None::<u64>);
        }
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// One line a second at most, and every request is in one line's count.
        #[test]
        fn the_sample_counts_every_request_once(steps in prop::collection::vec(0_u64..3, 1..50)) {
            let sample = Sample::default();
            let mut second = 1_800_000_000;
            let mut seen = Vec::new();
            for step in &steps {
                second += step;
                seen.extend(sample.take(second).map(|others| (second, others)));
            }
            let rest = sample.take(second + 1).unwrap();
            let counted: u64 = seen.iter().map(|(_, others)| 1 + others).sum();
            prop_assert_eq!(counted + rest, steps.len() as u64);
            prop_assert!(seen.is_sorted_by(|(one, _), (next, _)| one < next));
        }
    }
}
