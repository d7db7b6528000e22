//! The listener: connections in, each served by one task until it closes.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::openclaw::OpenClaw;
use crate::openclaw::limits::Stranger;
use crate::openclaw::upgrade::{self, Visitor};
use crate::web::listener::{Came, KeepAlive, Listener};
use crate::web::peer::Peer;
use crate::web::transport::Transport;

/// The longest head of the upgrade request.
const MAX_HEAD: usize = 16 * 1024;
/// A client that is gone without a word is noticed within a minute or so: an
/// idle connection would else stay open for ever.
const KEEP_ALIVE: KeepAlive = KeepAlive {
    time: Duration::from_secs(30),
    interval: Duration::from_secs(10),
    retries: 3,
    unacknowledged: Some(Duration::from_mins(1)),
};

/// What is left of a connection when its one HTTP request is answered.
struct Upgrade {
    pending: OnUpgrade,
    visitor: Visitor,
    stranger: Stranger,
}

/// Serves `door` on `listener` until `shutdown` is ready. Then all clients are
/// told to come again, and nothing is accepted any more.
pub async fn serve(listener: Listener, door: Arc<OpenClaw>, shutdown: impl Future<Output = ()>) {
    let sessions = Arc::clone(&door.sessions);
    let events = Arc::clone(&door);
    let waiting = door.known_pairings().await;
    tokio::select! {
        () = accept(listener, door, shutdown) => {}
        // SECURITY: in the same task, so that nothing is served without it.
        () = sessions.watch() => {}
        () = sessions.renew() => {}
        () = events.tell_of_pairings(waiting) => {}
    }
}

async fn accept(listener: Listener, door: Arc<OpenClaw>, shutdown: impl Future<Output = ()>) {
    let stops = watch::Sender::new(false);
    let serve = |transport, came| connection(Arc::clone(&door), transport, came, stops.subscribe());
    let mut connections = listener.accept(shutdown, KEEP_ALIVE, serve).await;
    stops.send_replace(true);
    // Each says goodbye within a bound of its own.
    while connections.join_next().await.is_some() {}
}

/// One connection. Its stages are boxed, so that what is over takes no room
/// for as long as the next one lasts.
async fn connection(
    door: Arc<OpenClaw>,
    stream: Transport,
    came: Came,
    mut stop: watch::Receiver<bool>,
) {
    let peer = Peer::new(came, &door.settings.trusted_proxies);
    let deadline = Instant::now() + door.settings.timeouts.handshake;
    let stranger = if peer.trusted {
        None
    } else if let Some(stranger) = door.addresses.admit(peer.address) {
        Some(stranger)
    } else {
        // Not read: whoever has so many open gets no time of ours.
        stream.dismiss(upgrade::TOO_MANY);
        return;
    };
    let upgraded = tokio::select! {
        upgraded = timeout_at(deadline, Box::pin(door.clone().first_request(stream, peer, stranger))) => upgraded,
        _ = stop.changed() => return,
    };
    if let Ok(Some((stream, visitor, stranger))) = upgraded {
        door.client(stream, visitor, stranger, deadline, stop).await;
    }
}

impl OpenClaw {
    /// Answers the one HTTP request of a connection. What is left is a stream
    /// on which WebSocket frames follow.
    async fn first_request(
        self: Arc<Self>,
        stream: Transport,
        peer: Peer,
        stranger: Option<Stranger>,
    ) -> Option<(Transport, Visitor, Stranger)> {
        let upgrade = Arc::<Mutex<Option<Upgrade>>>::default();
        let kept = Arc::clone(&upgrade);
        let stranger = Mutex::new(stranger);
        let door = &self;
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = door.answer(request, peer, &stranger, &kept);
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.settings.timeouts.handshake)
            .max_buf_size(MAX_HEAD);
        let served = http.serve_connection(TokioIo::new(stream), service);
        served.with_upgrades().await.ok()?;
        let upgrade = upgrade
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let upgraded = upgrade.pending.await.ok()?;
        let parts = upgraded.downcast::<TokioIo<Transport>>().ok()?;
        // A client may not speak before it has seen the answer (RFC 6455
        // section 4.1), and the protocol has the server speak first.
        if !parts.read_buf.is_empty() {
            return None;
        }
        Some((parts.io.into_inner(), upgrade.visitor, upgrade.stranger))
    }

    fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        stranger: &Mutex<Option<Stranger>>,
        kept: &Mutex<Option<Upgrade>>,
    ) -> upgrade::Answer {
        let answer = match upgrade::accept(&request) {
            Ok(answer) => answer,
            Err(refusal) => return *refusal,
        };
        let visitor = self.visitor(&request, peer);
        let own = stranger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Behind a proxy of ours it is the client that counts.
        let Some(stranger) = own.or_else(|| self.addresses.admit(visitor.address)) else {
            return upgrade::too_many();
        };
        let upgrade = Upgrade {
            pending: hyper::upgrade::on(&mut request),
            visitor,
            stranger,
        };
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
        answer
    }
}
