//! Files that are read again when they have changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one state of files from another, without reading them. A file
/// that cannot be looked at is one state as well.
type State = Vec<Option<(u64, u64, u64, i64, i64)>>;

/// Files, and how they were when they were read last.
#[derive(Debug)]
pub(super) struct Watched {
    files: Vec<PathBuf>,
    read: State,
    before: State,
}

impl Watched {
    /// To be made before the files are read for the first time.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let read = state(&files);
        Self {
            before: read.clone(),
            read,
            files,
        }
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether they are to be read again, now that `looks` has ticked.
    ///
    /// SECURITY: half of a policy is a policy too, one without the `deny` that
    /// stands in the other half. Files are taken when they have been as they are
    /// for a look.
    pub(super) fn have_changed(&mut self) -> bool {
        let now = state(&self.files);
        let is_settled = now == self.before;
        self.before = now;
        is_settled && self.note()
    }

    /// Notes that they are read as they are now. Says whether they had changed.
    pub(super) fn note(&mut self) -> bool {
        let changed = self.before != self.read;
        self.read.clone_from(&self.before);
        changed
    }
}

/// The ticks at which files are looked at.
pub(super) fn looks() -> Interval {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look
}

fn state(files: &[PathBuf]) -> State {
    let of = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        let changed = (found.mtime(), found.mtime_nsec());
        Some((found.dev(), found.ino(), found.len(), changed.0, changed.1))
    };
    files.iter().map(of).collect()
}
