//! The door for OpenClaw's clients as a part of a node.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::config::OpenClawConfig;
use crate::openclaw::{self, OpenClaw, Settings, Timeouts, Upstream};
use crate::server::{ServeError, listen, local_url, stopped};
use crate::web::listener::{Http, Listener};
use crate::web::tls::Certificate;

/// A door that is not open yet.
#[derive(Debug)]
pub(super) struct Door {
    listener: Listener,
    settings: Settings,
}

impl Door {
    /// Listens, where there is a gateway behind the door.
    pub(super) async fn prepare(
        config: &OpenClawConfig,
        trusted_proxies: &[IpNet],
        certificate: Option<&Certificate>,
    ) -> Result<Option<Self>, ServeError> {
        let Some(upstream) = &config.openclaw_upstream else {
            return Ok(None);
        };
        let upstream: Upstream = upstream.parse()?;
        let listener = listen(config.openclaw_listen, certificate, Http::One).await?;
        let url = match &config.openclaw_url {
            Some(url) => url.clone(),
            None => local_url(&listener)?.as_str().parse()?,
        };
        Ok(Some(Self {
            listener,
            settings: Settings {
                upstream,
                url,
                trusted_proxies: trusted_proxies.to_vec(),
                skew: config.openclaw_skew,
                timeouts: Timeouts::default(),
            },
        }))
    }

    /// Where clients on this machine reach it.
    pub(super) fn url(&self) -> Result<String, ServeError> {
        let url = local_url(&self.listener)?;
        // `http` becomes `ws`, `https` becomes `wss`.
        Ok(url.as_str().replacen("http", "ws", 1))
    }

    /// Lets clients in until `stop` says so.
    pub(super) async fn serve(self, authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
        let door = Arc::new(OpenClaw::new(self.settings, authority));
        let shutdown = async move { stopped(&mut stop).await };
        openclaw::serve(self.listener, door, shutdown).await;
    }
}
