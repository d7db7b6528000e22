//! The certificate of a node's listeners, followed through its renewals.

use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::config::ServeConfig;
use crate::server::ServeError;
use crate::server::watched::{Watched, looks};
use crate::web::tls::{Certificate, CertificateFiles};

/// A certificate that is in force, and where it comes from.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) certificate: Certificate,
    pub(super) files: CertificateFiles,
    watched: Watched,
}

impl Followed {
    /// Reads the certificate, if there is to be one.
    pub(super) fn read(config: &ServeConfig) -> Result<Option<Self>, ServeError> {
        let (Some(chain), Some(key)) = (&config.tls_cert, &config.tls_key) else {
            return Ok(None);
        };
        let watched = Watched::new(vec![chain.clone(), key.clone()]);
        let absolute = |path| std::path::absolute(path).map_err(ServeError::Serve);
        let files = CertificateFiles {
            chain: absolute(chain)?,
            key: absolute(key)?,
        };
        Ok(Some(Self {
            certificate: Certificate::read(&files)?,
            files,
            watched,
        }))
    }

    /// Puts a renewed certificate in force for new connections; open ones stay.
    pub(super) async fn follow(mut self, mut hang_up: Signal, mut stop: watch::Receiver<bool>) {
        let mut look = looks();
        while !*stop.borrow() {
            let is_new = tokio::select! {
                _ = look.tick() => self.watched.have_changed(),
                Some(()) = hang_up.recv() => {
                    self.watched.note();
                    true
                }
                _ = stop.changed() => return,
            };
            if !is_new {
                continue;
            }
            match self.certificate.reload(&self.files) {
                Ok(()) => tracing::info!("the certificate was read again and is in force"),
                Err(error) => {
                    tracing::error!(%error, "the certificate was not taken; the one before stays in force");
                }
            }
        }
    }
}
