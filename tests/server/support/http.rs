//! A client that sends whatever it is told to.

use std::fmt::Write as _;
use std::io::{self, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::wait::DEADLINE;
use super::wire::Head;

/// A request, well formed only if the test wants it so.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// A connection that takes one request after the other.
pub(crate) struct Connection(pub(crate) BufReader<TcpStream>);

impl Request {
    pub(crate) fn new(method: &str, target: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: impl Into<String>) -> Self {
        Self::new("POST", target)
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The first value of a header that was put in.
    pub(crate) fn value(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(n, _)| n == name);
        found.next().map_or("", |(_, value)| value)
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", kind)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn form(self, members: &[(&str, &str)]) -> Self {
        let pairs = members.iter().map(|(name, value)| {
            let (name, value) = (escaped(name), escaped(value));
            format!("{name}={value}")
        });
        let body = pairs.collect::<Vec<_>>().join("&");
        self.body("application/x-www-form-urlencoded", body)
    }

    /// Sends it on a connection of its own.
    pub(crate) fn send(&self, url: &str) -> Answer {
        self.try_send(url)
            .unwrap_or_else(|e| panic!("{} {}: {e}", self.method, self.target))
    }

    /// The same to a server that may be gone.
    pub(crate) fn try_send(&self, url: &str) -> io::Result<Answer> {
        Connection::try_open(url)?.try_send(self)
    }

    /// The head as it goes over the wire.
    pub(crate) fn head(&self, host: &str, body: &str) -> String {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {host}\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head + body + "\r\n"
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.get(name).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A member of the body as text.
    pub(crate) fn member(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_default().to_owned()
    }

    /// `200` for a success, status and code for a refusal: `403 no_route`.
    pub(crate) fn outcome(&self) -> String {
        let code = self.member("code");
        format!("{} {code}", self.status).trim().to_owned()
    }

    /// The body of a success.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

impl Connection {
    pub(crate) fn open(url: &str) -> Self {
        Self::try_open(url).unwrap()
    }

    fn try_open(url: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(authority(url))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn send(&mut self, request: &Request) -> Answer {
        self.try_send(request)
            .unwrap_or_else(|e| panic!("{} {}: {e}", request.method, request.target))
    }

    fn try_send(&mut self, request: &Request) -> io::Result<Answer> {
        let length = format!("content-length: {}\r\n", request.body.len());
        let mut bytes = self.head_of(request, &length).into_bytes();
        bytes.extend_from_slice(&request.body);
        // A server may answer, and close, before it has read everything.
        self.0.get_mut().write_all(&bytes).ok();
        self.answer(request)
    }

    /// Sends a head whose body follows in chunks.
    pub(crate) fn begin(&mut self, request: &Request) {
        let head = self.head_of(request, "transfer-encoding: chunked\r\n");
        self.0.get_mut().write_all(head.as_bytes()).unwrap();
    }

    /// Sends a head whose body of this length follows.
    pub(crate) fn begin_sized(&mut self, request: &Request, length: u64) {
        let head = self.head_of(request, &format!("content-length: {length}\r\n"));
        self.0.get_mut().write_all(head.as_bytes()).unwrap();
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    /// Reads an answer to its end.
    pub(crate) fn answer(&mut self, request: &Request) -> io::Result<Answer> {
        let head = self.answer_head()?;
        let mut body = Vec::new();
        if request.method != "HEAD" {
            head.read_body(&mut self.0, true, |part| {
                body.extend_from_slice(part);
                Ok(())
            })?;
        }
        let status = head.word(1).parse().map_err(io::Error::other)?;
        Ok(Answer { status, head, body })
    }

    pub(crate) fn answer_head(&mut self) -> io::Result<Head> {
        Head::read(&mut self.0)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn head_of(&self, request: &Request, body: &str) -> String {
        let host = self.0.get_ref().peer_addr().map(|host| host.to_string());
        request.head(&host.unwrap_or_default(), body)
    }
}

/// The host and port of a URL.
pub(crate) fn authority(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
