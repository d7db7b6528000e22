//! The door for OpenClaw's clients as a part of a node.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::config::OpenClawConfig;
use crate::openclaw::{self, OpenClaw, Settings, Timeouts, Upstream};
use crate::server::{ServeError, listen, local_url, stopped};

/// A door that is not open yet.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    settings: Settings,
}

impl Door {
    /// Listens, where there is a gateway behind the door.
    pub(super) async fn prepare(
        config: &OpenClawConfig,
        trusted_proxies: &[IpNet],
    ) -> Result<Option<Self>, ServeError> {
        let Some(upstream) = &config.openclaw_upstream else {
            return Ok(None);
        };
        let upstream: Upstream = upstream.parse()?;
        Ok(Some(Self {
            listener: listen(config.openclaw_listen).await?,
            settings: Settings {
                upstream,
                trusted_proxies: trusted_proxies.to_vec(),
                skew: config.openclaw_skew,
                timeouts: Timeouts::default(),
            },
        }))
    }

    /// Where clients on this machine reach it.
    pub(super) fn url(&self) -> Result<String, ServeError> {
        let url = local_url(&self.listener)?;
        let authority = url.as_str().trim_start_matches("http://");
        Ok(format!("ws://{authority}"))
    }

    /// Lets clients in until `stop` says so.
    pub(super) async fn serve(self, authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
        let door = Arc::new(OpenClaw::new(self.settings, authority));
        let shutdown = async move { stopped(&mut stop).await };
        openclaw::serve(self.listener, door, shutdown).await;
    }
}
