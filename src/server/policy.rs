//! The policy files: read at the start, and again when they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::authority::Authority;
use crate::domain::policy::{Policy, Source};
use crate::server::ServeError;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The policy files of a node; with none, the built-in policy.
#[derive(Debug)]
pub(super) struct PolicyFiles {
    files: Vec<PathBuf>,
    /// Whether what OpenClaw's clients may call is in force besides.
    openclaw: bool,
    /// How they were before they were read.
    in_force: State,
}

/// What tells one state of the files from another, without reading them. A file
/// that cannot be looked at is one state as well.
type State = Vec<Option<(u64, u64, u64, i64, i64)>>;

/// Reads and compiles policy files.
pub fn load_policy(files: &[PathBuf]) -> Result<Policy, ServeError> {
    Ok(Policy::load(&sources(files)?)?)
}

fn sources(files: &[PathBuf]) -> Result<Vec<Source>, ServeError> {
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Ok(Source { name, text }),
            Err(error) => Err(ServeError::PolicyFile { path: name, error }),
        }
    };
    files.iter().map(read).collect()
}

impl PolicyFiles {
    pub(super) fn new(files: Vec<PathBuf>, openclaw: bool) -> Self {
        Self {
            in_force: state(&files),
            files,
            openclaw,
        }
    }

    pub(super) fn load(&self) -> Result<Policy, ServeError> {
        if self.openclaw {
            return Ok(Policy::load_with_openclaw(&sources(&self.files)?)?);
        }
        load_policy(&self.files)
    }

    /// Puts the files in force whenever they have changed, and at each SIGHUP.
    pub(super) async fn follow(
        mut self,
        authority: Arc<Authority>,
        mut hang_up: Signal,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = self.in_force.clone();
        while !*stop.borrow() {
            let told = tokio::select! {
                _ = look.tick() => false,
                Some(()) = hang_up.recv() => true,
                _ = stop.changed() => return,
            };
            let state = state(&self.files);
            // SECURITY: half of a file can be a policy too, one without the
            // `deny` that stands in the other half. A file is taken when it has
            // been as it is for a look.
            let is_settled = state == before && state != self.in_force;
            if told || is_settled {
                self.in_force.clone_from(&state);
                self.put_in_force(&authority).await;
            }
            before = state;
        }
    }

    async fn put_in_force(&self, authority: &Authority) {
        let loaded = match self.load() {
            Ok(policy) => authority.set_policy(policy).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        match loaded {
            Ok(()) => tracing::info!("the policy was read again and is in force"),
            Err(error) => {
                let excerpt = error.excerpt().unwrap_or_default();
                tracing::error!(%error, excerpt, "the policy was not taken; the one before stays in force");
            }
        }
    }
}

fn state(files: &[PathBuf]) -> State {
    let of = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        let changed = (found.mtime(), found.mtime_nsec());
        Some((found.dev(), found.ino(), found.len(), changed.0, changed.1))
    };
    files.iter().map(of).collect()
}
