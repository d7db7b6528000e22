//! `/v1/events`: what happens, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use http::header::{HeaderName, HeaderValue};
use serde_json::json;
use tokio::sync::watch;

use crate::api::extract::{Incoming, LastEventId, Listing};
use crate::api::problem::Problem;
use crate::api::{Api, Refusal, views};
use crate::authority::Authority;
use crate::authority::error::Error;
use crate::authority::events::{Follower, Subject, Told};

/// How often a follower is asked whether it may still be one.
const CHECK: Duration = Duration::from_millis(500);
/// How often something is sent, so that proxies do not take it for dead.
const ALIVE: Duration = Duration::from_secs(15);

/// One answer, for as long as it is open.
struct Open {
    authority: Arc<Authority>,
    follower: Follower,
    stop: watch::Receiver<bool>,
    /// What was read and not sent yet: at most one batch.
    ready: VecDeque<Event>,
    has_ended: bool,
}

pub(super) async fn follow(
    State(api): State<Api>,
    incoming: Incoming,
    listing: Listing,
    LastEventId(seen): LastEventId,
) -> Result<Response, Refusal> {
    // Not every client can send the header the first time.
    let after = seen.or(listing.page()?.after);
    let follower = api.authority.follow(&incoming.call(), after).await?;
    let open = Open {
        authority: api.authority,
        follower,
        stop: api.stop,
        ready: VecDeque::new(),
        has_ended: false,
    };
    let mut response = Sse::new(events(open))
        .keep_alive(KeepAlive::new().interval(ALIVE))
        .into_response();
    let headers = response.headers_mut();
    // nginx would hold back what comes in drops.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    Ok(response)
}

fn events(open: Open) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(open, |mut open| async move {
        let event = open.next().await?;
        Some((Ok(event), open))
    })
}

impl Open {
    /// The next event; none at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.has_ended || *self.stop.borrow() {
                return None;
            }
            match self.authority.news(&mut self.follower).await {
                Ok(told) => {
                    let rendered = told.iter().map(|one| self.render(one));
                    self.ready = rendered.collect();
                }
                Err(error) => {
                    self.has_ended = true;
                    return Some(self.end(&error));
                }
            }
            if self.ready.is_empty() && !self.authority.is_behind(&self.follower) {
                tokio::select! {
                    () = self.follower.more() => {}
                    () = tokio::time::sleep(CHECK) => {}
                    _ = self.stop.wait_for(|stop| *stop) => {}
                }
            }
        }
    }

    fn render(&self, told: &Told) -> Event {
        match told {
            Told::Event(seq, kind, subject) => {
                let data = match subject {
                    Subject::Request(request) => views::request(request, self.authority.now()),
                    Subject::Grant(record) => views::ended_grant(record),
                };
                let event = Event::default().id(seq.to_string());
                event.event(kind.as_str()).data(data.to_string())
            }
            Told::Missed(seq) => Event::default()
                .id(seq.to_string())
                .event("missed")
                .data(json!({"detail": "events before this one are not kept any more: list requests and devices"}).to_string()),
        }
    }

    /// Why there will be no more.
    fn end(&self, error: &Error) -> Event {
        let problem = Problem::new(&self.authority, error, self.authority.request_id());
        tracing::info!(code = problem.document.code, "a follower of events ended");
        let text = String::from_utf8(problem.document.to_bytes()).unwrap_or_default();
        Event::default().event("end").data(text)
    }
}
