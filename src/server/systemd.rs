//! What systemd gives and wants to hear: listeners that it opened, and how the
//! node does. Without systemd nothing of it happens.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::authority::{Authority, FEED_BOUND};
use crate::config;
use crate::server::{ServeError, stopped};

/// How often the node looks at itself, if the watchdog wants nothing faster.
const LOOK: Duration = Duration::from_secs(1);
const SERVING: &str = "STATUS=serving";
const DENYING: &str = "STATUS=the revocations cannot be read: the gateway denies";

/// The listeners of the API and of the gateway, in this order, if systemd opened
/// them. Called before anything else runs: it takes variables out of the environment.
pub(super) fn listeners() -> Result<Option<(TcpListener, TcpListener)>, ServeError> {
    let mut passed = ListenFd::from_env();
    match passed.len() {
        0 => return Ok(None),
        2 => {}
        other => {
            let needed = format!(
                "systemd passed {other} socket(s), and two are needed: the API's first, the gateway's second"
            );
            return Err(ServeError::Serve(io::Error::other(needed)));
        }
    }
    let mut take = |index| -> io::Result<TcpListener> {
        let listener = passed.take_tcp_listener(index)?;
        let listener = listener.ok_or_else(|| io::Error::other("the socket is taken"))?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    let mut both = || Ok((take(0)?, take(1)?));
    both().map(Some).map_err(ServeError::Serve)
}

/// Tells systemd that the node serves, that it lives, and that it stops.
pub(super) async fn report(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    if config::text("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // Twice in the time after which a silent node is ended, as systemd advises.
    let period = watchdog.map_or(LOOK, |limit| LOOK.min(limit / 2));
    let mut look = interval(period.max(Duration::from_millis(1)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tell("READY=1\nSTATUS=serving").await;
    let mut serves = true;
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = stopped(&mut stop) => break,
        }
        // SECURITY: a node that cannot read revocations denies everything. The
        // watchdog hears nothing from it, so that it is started anew.
        let reads = reads_revocations(&authority);
        if reads != serves {
            tell(if reads { SERVING } else { DENYING }).await;
            serves = reads;
        }
        if reads && watchdog.is_some() {
            tell("WATCHDOG=1").await;
        }
    }
    tell("STOPPING=1\nSTATUS=open requests may end").await;
}

fn reads_revocations(authority: &Authority) -> bool {
    let as_of = authority.verifier().revocations().as_of();
    authority.now().since(as_of) < FEED_BOUND
}

/// Sends beside the node's work: a manager that does not listen must not stop it.
async fn tell(state: &'static str) {
    let sent = tokio::task::spawn_blocking(|| sd_notify::notify(&[NotifyState::Custom(state)]));
    match sent.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "systemd cannot be told {state:?}"),
        Err(error) => tracing::warn!(%error, "systemd was not told {state:?}"),
    }
}
