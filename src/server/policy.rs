//! The policy files: read at the start, and again when they change.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::domain::policy::{Policy, Source};
use crate::server::ServeError;
use crate::server::watched::{Watched, looks};

/// The policy files of a node; with none, the built-in policy.
#[derive(Debug)]
pub(super) struct PolicyFiles {
    files: Watched,
    /// Whether what OpenClaw's clients may call is in force besides.
    openclaw: bool,
}

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
            files: Watched::new(files),
            openclaw,
        }
    }

    pub(super) fn load(&self) -> Result<Policy, ServeError> {
        if self.openclaw {
            return Ok(Policy::load_with_openclaw(&sources(self.files.files())?)?);
        }
        load_policy(self.files.files())
    }

    /// Puts the files in force whenever they have changed, and at each SIGHUP.
    pub(super) async fn follow(
        mut self,
        authority: Arc<Authority>,
        mut hang_up: Signal,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut look = looks();
        while !*stop.borrow() {
            let is_new = tokio::select! {
                _ = look.tick() => self.files.have_changed(),
                Some(()) = hang_up.recv() => {
                    self.files.note();
                    true
                }
                _ = stop.changed() => return,
            };
            if is_new {
                self.put_in_force(&authority).await;
            }
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
