//! The names of upstreams, looked up anew for each connection.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

type Looking<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// What finds the addresses of a name.
#[derive(Clone)]
pub(crate) struct Names(Arc<dyn Fn(String) -> Looking<Vec<SocketAddr>> + Send + Sync>);

impl Names {
    /// The system's: `/etc/hosts`, DNS, and whatever else it asks.
    pub(crate) fn of_system() -> Self {
        Self::new(|name| async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }

    pub(crate) fn new<F, L>(look: F) -> Self
    where
        F: Fn(String) -> L + Send + Sync + 'static,
        L: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(look(name))))
    }

    /// The addresses of a name; their ports are 0.
    pub(crate) async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        (self.0)(name.to_owned()).await
    }
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Looking<Self::Response>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let looking = (self.0)(name.as_str().to_owned());
        Box::pin(async { Ok(looking.await?.into_iter()) })
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}
