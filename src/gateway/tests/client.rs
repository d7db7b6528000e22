//! A client that sends exactly what it is told.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::Running;

impl Running {
    /// Sends a request without a body on a connection of its own.
    pub(super) async fn send(&self, line: &str, headers: &[(&str, &str)]) -> Answer {
        let mut text = format!("{line} HTTP/1.1\r\nhost: gw.example\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        self.send_raw(&text).await
    }

    /// Sends what is given and reads to the end of the connection.
    pub(super) async fn send_raw(&self, text: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        Answer::read(&mut stream).await
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) fn stop(&mut self) {
        self.stop.take();
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// 10 or 11, for HTTP/1.0 and HTTP/1.1.
    pub(super) version: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A connection that is cut off shows in what is missing.
        stream.read_to_end(&mut bytes).await.ok();
        Self::parse(&bytes)
    }

    pub(super) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap().split(' ');
        let version = first.next().unwrap().replace("HTTP/", "").replace('.', "");
        let status = first.next().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        Self {
            status: status.parse().unwrap(),
            version: version.parse().unwrap(),
            headers,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn challenges(&self) -> Vec<&str> {
        let all = self.headers.get_all("www-authenticate");
        all.iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `200`, or status and code of a problem.
    pub(super) fn outcome(&self) -> String {
        if self.header("content-type") == Some("application/problem+json") {
            format!("{} {}", self.status, self.json()["code"].as_str().unwrap())
        } else {
            self.status.to_string()
        }
    }

    /// A header as the upstream got it, from its echo.
    pub(super) fn sent(&self, name: &str) -> Option<String> {
        let echo = self.json();
        let value = echo["headers"].get(name)?;
        Some(value.as_str().unwrap().to_owned())
    }
}

/// Reads until what was read ends in `end`.
pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let byte = stream.read_u8().await;
        let byte =
            byte.unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&bytes)));
        bytes.push(byte);
    }
    String::from_utf8(bytes).unwrap()
}

pub(super) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
