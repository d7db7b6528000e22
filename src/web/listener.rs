//! Connections in: accepted, and each served by a task of its own until told to
//! stop. Every door uses it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::web::tls::Certificate;
use crate::web::transport::Transport;

/// How long nothing is accepted after the system refused to give a socket.
const BREATH: Duration = Duration::from_millis(100);

/// Where connections come in, encrypted or not.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    certificate: Option<Certificate>,
    speaks: Http,
}

/// What is spoken at a door.
#[derive(Clone, Copy, Debug)]
pub enum Http {
    /// HTTP/1.1, and WebSockets.
    One,
    /// HTTP/2 as well.
    OneAndTwo,
}

/// How a connection came.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// From where.
    pub from: IpAddr,
    /// Whether what it carries is encrypted.
    pub over_tls: bool,
}

impl Came {
    /// Not encrypted.
    pub(crate) const fn plain(from: IpAddr) -> Self {
        Self {
            from,
            over_tls: false,
        }
    }
}

/// When an idle connection is asked whether the other end is still there. One
/// that is gone without a word would else stay open for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// After how long in silence.
    pub(crate) time: Duration,
    /// How often then.
    pub(crate) interval: Duration,
    /// How many times for nothing until it is gone.
    pub(crate) retries: u32,
    /// How long what was sent may stay unacknowledged, if there is a limit of ours.
    pub(crate) unacknowledged: Option<Duration>,
}

impl Listener {
    /// Connections of `tcp`, encrypted if there is a certificate.
    #[must_use]
    pub const fn new(tcp: TcpListener, certificate: Option<Certificate>, speaks: Http) -> Self {
        Self {
            tcp,
            certificate,
            speaks,
        }
    }

    /// The address that it listens on.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.certificate.is_some()
    }

    fn came(&self, peer: SocketAddr) -> Came {
        Came {
            from: peer.ip(),
            over_tls: self.is_tls(),
        }
    }

    fn open(&self, stream: TcpStream) -> Transport {
        match &self.certificate {
            None => Transport::Plain(stream),
            Some(certificate) => certificate.begin(stream, self.speaks),
        }
    }

    /// Has `serve` serve each connection until `shutdown` is ready, then accepts
    /// nothing more and gives what is still open.
    pub(crate) async fn accept<F: Future<Output = ()> + Send + 'static>(
        self,
        shutdown: impl Future<Output = ()>,
        keep_alive: KeepAlive,
        mut serve: impl FnMut(Transport, Came) -> F,
    ) -> JoinSet<()> {
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => return connections,
                // Ended ones are taken out, so that the set does not grow.
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection ended by a fault of this program");
                    }
                    continue;
                }
                accepted = self.tcp.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    keep_alive.set(&stream);
                    connections.spawn(serve(self.open(stream), self.came(peer)));
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    // Out of files, most likely. It passes when others close.
                    tracing::error!(%error, "cannot accept connections");
                    tokio::select! {
                        () = &mut shutdown => return connections,
                        () = tokio::time::sleep(BREATH) => {}
                    }
                }
            }
        }
    }
}

impl KeepAlive {
    /// It fails only on a socket that is closed already.
    fn set(&self, stream: &TcpStream) {
        let settings = TcpKeepalive::new()
            .with_time(self.time)
            .with_interval(self.interval)
            .with_retries(self.retries);
        let socket = SockRef::from(stream);
        socket.set_tcp_keepalive(&settings).ok();
        #[cfg(target_os = "linux")]
        if self.unacknowledged.is_some() {
            socket.set_tcp_user_timeout(self.unacknowledged).ok();
        }
        // Without it a small answer waits for the acknowledgement of what was before.
        stream.set_nodelay(true).ok();
    }
}

/// Whether a failed `accept` concerns only the connection that it was for.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
