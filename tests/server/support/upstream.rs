//! An upstream that says what it got, and streams.
//!
//! `/api/count` counts the body, `/api/stream` sends each part of it back as it
//! comes, `/api/slow` answers with parts that the test gives, `/api/flood` with
//! a gibibyte, and any other path with the request as JSON. An upgrade makes it
//! send back all that comes.

use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value, json};

use super::wait::DEADLINE;
use super::wire::{Head, write_chunk};

/// How much `/api/flood` sends.
pub(crate) const FLOOD: usize = 1 << 30;

/// The upstream. Its threads end with the connections.
pub(crate) struct Upstream {
    pub(crate) url: String,
    shared: Arc<Shared>,
    parts: mpsc::Sender<Vec<u8>>,
}

struct Shared {
    requests: Mutex<Vec<String>>,
    parts: Mutex<mpsc::Receiver<Vec<u8>>>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (parts, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            parts: Mutex::new(receiver),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, served) = (stream.unwrap(), Arc::clone(&served));
                // The gateway may break off; what it then did is for the test to see.
                std::thread::spawn(move || serve(stream, &served).ok());
            }
        });
        Self { url, shared, parts }
    }

    /// The request lines so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Sends a part of the slow answer; an empty one ends it.
    pub(crate) fn send_part(&self, part: &[u8]) {
        self.parts.send(part.to_vec()).unwrap();
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut from = BufReader::new(stream.try_clone()?);
    let mut to = stream;
    while let Some(head) = Head::read(&mut from)? {
        shared.requests.lock().unwrap().push(head.first.clone());
        if head
            .get("upgrade")
            .is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
        {
            to.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
            )?;
            io::copy(&mut from, &mut to)?;
            return Ok(());
        }
        match head.word(1).split('?').next().unwrap_or_default() {
            "/api/count" => {
                let mut count = 0;
                head.read_body(&mut from, false, |part| {
                    count += part.len();
                    Ok(())
                })?;
                answer(&mut to, &json!({ "bytes": count }))?;
            }
            "/api/stream" => {
                begin_chunks(&mut to)?;
                head.read_body(&mut from, false, |part| write_chunk(&mut to, part))?;
                write_chunk(&mut to, b"")?;
            }
            "/api/slow" => {
                begin_chunks(&mut to)?;
                let parts = shared.parts.lock().unwrap();
                loop {
                    let part = parts.recv_timeout(DEADLINE).map_err(io::Error::other)?;
                    write_chunk(&mut to, &part)?;
                    if part.is_empty() {
                        break;
                    }
                }
            }
            "/api/flood" => {
                write!(to, "HTTP/1.1 200 OK\r\ncontent-length: {FLOOD}\r\n\r\n")?;
                let part = vec![0x5a; 1 << 16];
                for _ in 0..FLOOD / part.len() {
                    to.write_all(&part)?;
                }
            }
            _ => {
                head.read_body(&mut from, false, |_| Ok(()))?;
                let headers: serde_json::Map<_, _> = head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.clone(), json!(value)))
                    .collect();
                let echo = json!({
                    "method": head.word(0), "target": head.word(1), "headers": headers,
                });
                answer(&mut to, &echo)?;
            }
        }
    }
    Ok(())
}

fn answer(to: &mut TcpStream, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    write!(
        to,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn begin_chunks(to: &mut TcpStream) -> io::Result<()> {
    to.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
}
