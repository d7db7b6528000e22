//! What a node does in the background.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::authority::feed::{FeedPosition, POLL};
use crate::authority::{Authority, Error};
use crate::server::history::History;
use crate::store::Store;

/// How often what is over is forgotten.
const MAINTAIN: Duration = Duration::from_mins(1);
/// How often the whole feed is read again, so that the set in memory shrinks too.
const RELOAD: Duration = Duration::from_mins(10);

/// The background tasks of a node.
#[derive(Debug)]
pub(super) struct Tasks {
    /// They end by themselves when the node is told to.
    followers: Vec<JoinHandle<()>>,
    history: JoinHandle<()>,
    last_note: watch::Sender<bool>,
}

impl Tasks {
    /// Waits until all have ended. Nothing may write to the database any more.
    pub(super) async fn stop(self) {
        self.last_note.send_replace(true);
        for task in self.followers.into_iter().chain([self.history]) {
            // A task that panicked has ended as well.
            drop(task.await);
        }
    }
}

/// Reads the feed for the first time, then starts the tasks.
pub(super) async fn start(
    authority: Arc<Authority>,
    history: History,
    stop: watch::Receiver<bool>,
) -> Result<Tasks, Error> {
    let position = FeedPosition::default();
    authority.reload_feed(&position).await?;
    let (last_note, last) = watch::channel(false);
    let history = tokio::spawn(keep_history(authority.store().clone(), history, last));
    let feed = tokio::spawn(follow_feed(Arc::clone(&authority), position, stop.clone()));
    let maintenance = tokio::spawn(maintain(authority, stop));
    Ok(Tasks {
        followers: vec![feed, maintenance],
        history,
        last_note,
    })
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

/// Notes how far the audit log goes, a last time when told to.
async fn keep_history(store: Store, mut history: History, mut last: watch::Receiver<bool>) {
    let mut tick = ticks(POLL);
    let mut failing = false;
    loop {
        let done = tokio::select! {
            _ = tick.tick() => false,
            _ = last.changed() => true,
        };
        let noted = history.note(&store).await;
        if let (Err(error), false) = (&noted, failing) {
            tracing::error!(%error, "how far the audit log goes cannot be noted");
        }
        failing = noted.is_err();
        if done {
            return;
        }
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
