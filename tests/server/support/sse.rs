//! Server-sent events, as a client reads them.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

use serde_json::Value;

use super::http::{Connection, Request};
use super::wire::Head;

/// An answer that goes on.
pub(crate) struct Events {
    pub(crate) head: Head,
    connection: BufReader<TcpStream>,
}

/// One event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl Events {
    pub(crate) fn open(url: &str, request: &Request) -> Self {
        let mut connection = Connection::open(url);
        connection.begin_sized(request, 0);
        let head = connection.answer_head().unwrap();
        assert_eq!(head.word(1), "200", "{head:?}");
        Self {
            head,
            connection: connection.0,
        }
    }

    /// The next event; none when the server has ended the answer. Each event
    /// comes as one chunk, whose own lines are none of an event's.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if self.connection.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => value.clone_into(&mut event.id),
                Some(("event", value)) => value.clone_into(&mut event.kind),
                Some(("data", value)) => event.data = serde_json::from_str(value).unwrap(),
                None if line == "\n" && !event.kind.is_empty() => return Some(event),
                // The chunk of length zero.
                None if line == "0\r\n" => return None,
                Some(_) | None => {}
            }
        }
    }

    /// Nothing but what keeps the connection alive comes before it is closed.
    pub(crate) fn stays_silent(mut self) -> bool {
        self.connection
            .get_ref()
            .shutdown(std::net::Shutdown::Write)
            .ok();
        let mut rest = String::new();
        self.connection.read_to_string(&mut rest).ok();
        !rest.contains("event:")
    }
}
