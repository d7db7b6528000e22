//! What a node does in the background.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::authority::feed::{FeedPosition, POLL};
use crate::authority::{Authority, Error};

/// How often what is over is forgotten.
const MAINTAIN: Duration = Duration::from_mins(1);
/// How often the whole feed is read again, so that the set in memory shrinks too.
const RELOAD: Duration = Duration::from_mins(10);

/// The background tasks of a node.
#[derive(Debug)]
pub(super) struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    /// Waits until all have ended.
    pub(super) async fn stop(self) {
        for task in self.0 {
            // A task that panicked has ended as well.
            drop(task.await);
        }
    }
}

/// Reads the feed for the first time, then starts the tasks.
pub(super) async fn start(
    authority: Arc<Authority>,
    stop: watch::Receiver<bool>,
) -> Result<Tasks, Error> {
    let position = FeedPosition::default();
    authority.reload_feed(&position).await?;
    let feed = tokio::spawn(follow_feed(Arc::clone(&authority), position, stop.clone()));
    let maintenance = tokio::spawn(maintain(authority, stop));
    Ok(Tasks(vec![feed, maintenance]))
}

async fn follow_feed(
    authority: Arc<Authority>,
    position: FeedPosition,
    mut stop: watch::Receiver<bool>,
) {
    let mut poll = ticks(POLL);
    let mut reload = ticks(RELOAD);
    let mut failing = false;
    while !*stop.borrow() {
        let read = tokio::select! {
            _ = poll.tick() => authority.poll_feed(&position).await,
            _ = reload.tick() => authority.reload_feed(&position).await,
            _ = stop.changed() => return,
        };
        // Said once, and not twice a second for as long as it lasts.
        match (&read, failing) {
            (Ok(()), true) => tracing::info!("the revocation feed is read again"),
            (Err(error), false) => {
                tracing::error!(%error, "the revocation feed cannot be read; the gateway denies until it can");
            }
            (Ok(()), false) | (Err(_), true) => {}
        }
        failing = read.is_err();
    }
}

async fn maintain(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut tick = ticks(MAINTAIN);
    while !*stop.borrow() {
        tokio::select! {
            _ = tick.tick() => {
                if let Err(error) = authority.maintain().await {
                    tracing::warn!(%error, "maintenance failed; it is tried again in a minute");
                }
            }
            _ = stop.changed() => return,
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
