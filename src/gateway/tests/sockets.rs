//! Both ends of what goes through a gateway, and just enough of RFC 6455.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use super::client::read_until;
use super::support::{Running, Setup, World};
use crate::gateway::OpenStreams;

/// How long something may take before a test has failed.
const DEADLINE: Duration = Duration::from_secs(10);

/// An upstream that hands each connection over once it has read a head.
pub(super) struct Upstreams {
    url: String,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
}

/// The connections of one request.
pub(super) struct Ends {
    pub(super) client: TcpStream,
    pub(super) upstream: TcpStream,
}

impl World {
    /// A gateway in front of an upstream that a test plays itself.
    pub(super) async fn start_with_upstreams(&mut self) -> (Running, Upstreams) {
        let upstreams = Upstreams::start().await;
        let setup = Setup {
            upstream: Some(upstreams.url.clone()),
            ..Setup::default()
        };
        (self.start(setup).await, upstreams)
    }
}

impl Upstreams {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (accept, accepted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                read_until(&mut stream, "\r\n\r\n").await;
                accept.send(stream).unwrap();
            }
        });
        Self { url, accepted }
    }

    /// The connection of the next request.
    pub(super) async fn accepted(&mut self) -> TcpStream {
        soon(self.accepted.recv()).await.unwrap()
    }

    /// Sends the head of a request, and perhaps more, through the gateway.
    pub(super) async fn send(&mut self, gateway: &Running, text: &str) -> Ends {
        let mut client = gateway.connect().await;
        client.write_all(text.as_bytes()).await.unwrap();
        let mut refusal = [0; 1024];
        tokio::select! {
            upstream = soon(self.accepted.recv()) => Ends {
                client,
                upstream: upstream.unwrap(),
            },
            read = client.read(&mut refusal) => {
                panic!("{}", String::from_utf8_lossy(&refusal[..read.unwrap()]))
            }
        }
    }

    /// Opens a WebSocket through the gateway.
    pub(super) async fn open(&mut self, gateway: &Running, path: &str, token: &str) -> Ends {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: gw.example\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let mut ends = self.send(gateway, &head).await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                      upgrade: websocket\r\n\r\n";
        ends.upstream.write_all(answer.as_bytes()).await.unwrap();
        let answer = soon(read_until(&mut ends.client, "\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        ends
    }

    /// Asks for a stream of events and reads the first.
    pub(super) async fn events(&mut self, gateway: &Running, path: &str, token: &str) -> Ends {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: gw.example\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let mut ends = self.send(gateway, &head).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                      transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
        ends.upstream.write_all(answer.as_bytes()).await.unwrap();
        soon(read_until(&mut ends.client, "data: 1\n\n\r\n")).await;
        ends
    }
}

impl Ends {
    /// Something passes in both directions.
    pub(super) async fn pass(&mut self) {
        let (down, up) = (frame(0x81, None, b"down"), frame(0x81, Some(7), b"up"));
        self.upstream.write_all(&down).await.unwrap();
        assert_eq!(soon(take(&mut self.client, down.len())).await, down);
        self.client.write_all(&up).await.unwrap();
        assert_eq!(soon(take(&mut self.upstream, up.len())).await, up);
    }
}

impl Running {
    /// Waits until this much is open.
    pub(super) async fn has_open(&self, websockets: usize, exchanges: usize) {
        let wanted = OpenStreams {
            websockets,
            exchanges,
        };
        let mut ticks = interval(Duration::from_millis(5));
        let reached = async {
            while self.gateway.open_streams() != wanted {
                ticks.tick().await;
            }
        };
        let reached = timeout(DEADLINE, reached).await;
        reached.unwrap_or_else(|_| panic!("{:?}, not {wanted:?}", self.gateway.open_streams()));
    }
}

/// What has to come, but not at once.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("in time")
}

/// A frame with the shortest length, masked by a key that is made of `mask`.
pub(super) fn frame(first: u8, mask: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(bit | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            frame.push(bit | 0x7e);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(bit | 0x7f);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask.iter().flat_map(|mask| [*mask; 4]));
    frame.extend(payload.iter().map(|byte| byte ^ mask.unwrap_or(0)));
    frame
}

pub(super) async fn take(stream: &mut TcpStream, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// What is left until the connection ends.
pub(super) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.ok();
    bytes
}

/// Code and reason of a close frame, which is the last of a connection.
pub(super) async fn farewell(stream: &mut TcpStream, masked: bool) -> String {
    let frame = rest(stream).await;
    let head = if masked { 6 } else { 2 };
    assert!(frame.len() >= head + 2, "no close frame: {frame:?}");
    assert_eq!(frame[0], 0x88);
    assert_eq!(frame[1] & 0x80 != 0, masked);
    assert_eq!(usize::from(frame[1] & 0x7f), frame.len() - head);
    let mask = if masked { &frame[2..6] } else { &[0] };
    let payload = frame[head..].iter().zip(mask.iter().cycle());
    let payload: Vec<u8> = payload.map(|(byte, mask)| byte ^ mask).collect();
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    format!("{code} {}", String::from_utf8_lossy(&payload[2..]))
}
