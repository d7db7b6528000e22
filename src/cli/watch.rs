//! `hardtack devices approve --watch`: requests as they come, and an answer to each.

use std::collections::HashSet;
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::call::Session;
use super::context::Context;
use super::devices::{Approve, approve_request, done, reject_request};
use super::failure::{Exit, Failure};
use super::output::{self, joined, text};
use crate::domain::operation::Operation;

/// How long nothing may come before the connection is taken for dead: the
/// server sends something every 15 s.
const SILENCE: Duration = Duration::from_mins(1);
/// How long to wait before the next attempt.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest event that is read, in bytes.
const MAX_EVENT: usize = 1024 * 1024;

/// Whoever watches, and what was shown.
struct Watch<'a> {
    session: &'a mut Session,
    context: &'a Context,
    approve: &'a Approve,
    answers: Answers,
    shown: HashSet<String>,
    /// The last event that was seen.
    seen: Option<String>,
    /// Whether the server answered before.
    was_there: bool,
}

/// One server-sent event.
#[derive(Default)]
struct Event {
    id: String,
    kind: String,
    data: String,
}

/// Events as they come over one connection.
struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

/// Lines from standard input, read by a thread of its own: reading a terminal
/// cannot be given up.
struct Answers(Option<mpsc::Receiver<String>>);

pub(super) async fn run(
    session: &mut Session,
    context: &Context,
    approve: &Approve,
) -> Result<(), Failure> {
    let mut watch = Watch {
        session,
        context,
        approve,
        answers: Answers::read(),
        shown: HashSet::new(),
        seen: None,
        was_there: false,
    };
    match context.given_timeout() {
        None => watch.follow().await,
        Some(limit) => match tokio::time::timeout(limit, watch.follow()).await {
            Ok(ended) => ended,
            Err(_) => Err(Failure::new(
                Exit::TimedOut,
                "timed_out",
                "the time to watch is over; requests that were not answered wait on",
            )
            .with_next("hardtack devices list")),
        },
    }
}

impl Watch<'_> {
    /// Follows over one connection after the other.
    async fn follow(&mut self) -> Result<(), Failure> {
        loop {
            match self.follow_once().await {
                Ok(()) => {}
                // A server that restarts is worth waiting for, once it was seen.
                Err(failure) if failure.exit == Exit::Unreachable && self.was_there => {}
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn follow_once(&mut self) -> Result<(), Failure> {
        let path = match &self.seen {
            Some(seen) => format!("/v1/events?after={seen}"),
            None => "/v1/events".to_owned(),
        };
        let body = self.session.listen(Operation::Events, &path).await?;
        // What waits was there before the first event; what comes between is in both.
        if self.seen.is_none() {
            self.offer_all().await?;
        }
        self.was_there = true;
        let mut events = Events {
            body,
            buffer: Vec::new(),
        };
        while let Some(event) = events.next(self.session).await? {
            if !event.id.is_empty() {
                self.seen = Some(event.id.clone());
            }
            self.take(&event).await?;
        }
        Ok(())
    }

    async fn take(&mut self, event: &Event) -> Result<(), Failure> {
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        match event.kind.as_str() {
            "pairing.requested" => self.offer(&data).await,
            "missed" => self.offer_all().await,
            // The server says why: a session that ended is made anew.
            "end" if text(&data, "code") == "expired" => Ok(()),
            "end" => {
                let status = data.get("status").and_then(Value::as_u64).unwrap_or(401);
                let body: Map<String, Value> = data.as_object().cloned().unwrap_or_default();
                let failure = Failure::answered(u16::try_from(status).unwrap_or(401), body);
                Err(self.session.explain(failure))
            }
            _ => Ok(()),
        }
    }

    async fn offer_all(&mut self) -> Result<(), Failure> {
        let path = "/v1/pairing-requests?status=pending";
        let waiting = self.session.all(Operation::PairingList, path).await?;
        for request in waiting {
            self.offer(&request).await?;
        }
        Ok(())
    }

    /// Shows a request and does what is answered.
    async fn offer(&mut self, request: &Value) -> Result<(), Failure> {
        let id = text(request, "id").to_owned();
        if text(request, "status") != "pending" || !self.shown.insert(id.clone()) {
            return Ok(());
        }
        if self.context.json() {
            output::json(request)?;
        } else {
            let cell = |name| text(request, name);
            let (code, name, role) = (cell("user_code"), cell("name"), cell("role"));
            let (scopes, address) = (joined(request, "scopes"), cell("address"));
            output::line(&format!("{code}  {name}  {role}  {scopes}  from {address}"))?;
        }
        let (answered, verb) = match self.answers.next(&id).await.as_str() {
            "y" | "Y" | "yes" => {
                let approved = approve_request(self.session, &id, self.approve).await;
                (approved, "approved")
            }
            "r" | "R" | "reject" => (reject_request(self.session, &id, None).await, "rejected"),
            _ => return Ok(()),
        };
        match answered {
            Ok(answer) => done(self.context, &answer, verb),
            // Somebody was faster, or it may not be given: on to the next.
            Err(failure) if failure.exit != Exit::Unreachable => {
                failure.report(self.context.json());
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }
}

impl Answers {
    fn read() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self(Some(receiver))
    }

    /// The answer about a request; empty once standard input has ended.
    async fn next(&mut self, id: &str) -> String {
        let Some(lines) = &mut self.0 else {
            return String::new();
        };
        let mut err = std::io::stderr();
        if err.is_terminal() {
            drop(write!(err, "approve {id}? [y]es, [r]eject, or leave it: "));
        }
        let line = lines.recv().await;
        if line.is_none() {
            self.0 = None;
        }
        line.unwrap_or_default().trim().to_owned()
    }
}

impl Events {
    /// The next event; none when the server has ended the answer.
    async fn next(&mut self, session: &Session) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let block = std::mem::replace(&mut self.buffer, rest);
                let event = Event::read(&String::from_utf8_lossy(&block));
                if event.kind.is_empty() {
                    continue;
                }
                return Ok(Some(event));
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            match frame {
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                // A connection that breaks is made again, like one that ends.
                Ok(Some(Err(_)) | None) | Err(_) => return Ok(None),
            }
            if self.buffer.len() > MAX_EVENT {
                return Err(session.client.unreachable("what it sends is no event"));
            }
        }
    }
}

impl Event {
    /// Reads one block of lines (HTML living standard, section 9.2.6).
    fn read(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => value.clone_into(&mut event.id),
                "event" => value.clone_into(&mut event.kind),
                "data" => event.data.push_str(value),
                _ => {}
            }
        }
        event
    }
}
