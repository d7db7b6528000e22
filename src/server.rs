//! A node: the database, the authority, the API and the gateway, put together
//! and run until it is told to stop.

mod announce;
mod certificate;
mod door;
mod history;
mod listener;
mod policy;
mod systemd;
mod tasks;
mod watched;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use hardtack_token::dpop::ReplayMemory;
use hardtack_token::{Clock, Origin, SystemClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::api::{self, Api};
use crate::authority::bootstrap::Bootstrap;
use crate::authority::entropy::Entropy;
use crate::authority::limits::Rates;
use crate::authority::secrets::{SecretSource, Secrets};
use crate::authority::{Authority, Error, Parts, Settings};
use crate::config::{SecretConfig, ServeConfig, in_container};
use crate::data_dir::{DataDir, DataDirError, ServerFile};
use crate::domain::policy::PolicyError;
use crate::gateway::{
    Gateway, GatewaySettings, InvalidSecret, ProxySecret, Timeouts, UpstreamError, Upstreams,
};
use crate::store::{DatabaseUrl, Store, StoreError};
use crate::web::listener::{Http, Listener};
use crate::web::tls::{Certificate, TlsError};
pub use announce::{Announced, Serving, announce};
use certificate::Followed;
use door::Door;
use history::History;
use policy::PolicyFiles;
pub use policy::load_policy;

/// The memory for verified tokens, in bytes: some five thousand tokens.
const TOKEN_CACHE: u64 = 16 * 1024 * 1024;
/// How many proofs of possession the gateway remembers.
const REPLAY_MEMORY: usize = 400_000;
/// How long open requests may take to end after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Why a node does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The install cannot be made or opened.
    #[error(transparent)]
    Authority(#[from] Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// A policy file cannot be read.
    #[error("policy file {path}: {error}")]
    PolicyFile {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The policy does not load.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// The certificate cannot be used.
    #[error("certificate: {0}")]
    Certificate(#[from] TlsError),
    /// A listen address, or what is behind OpenClaw's door, makes no URL.
    #[error("{0}")]
    Url(#[from] hardtack_token::InvalidId),
    /// The secret of the forward-auth doors cannot be read, or is none.
    #[error("--forward-auth-secret-file {path}: {why}")]
    ProxySecret {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// There is no way to an upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Standard output or the root token file cannot be written: the root token
    /// was not shown and will be made anew at the next start.
    #[error(
        "the root token could not be written to {to}: {error}; another one is made at the next start"
    )]
    Announce {
        /// Where it was to go.
        to: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The database is older than what this node has seen.
    #[error(
        "the database ends at row {present} of the audit log, and this node has seen row {seen}: an older copy was put in its place, and what was revoked since is live in it. Put it in force with `hardtack restore FILE`, which carries the revocations over, or say --accept-older-database"
    )]
    OlderDatabase {
        /// The newest row that was seen.
        seen: i64,
        /// The newest row there is.
        present: i64,
    },
    /// A listener failed.
    #[error("a listener failed: {0}")]
    Serve(std::io::Error),
}

impl ServeError {
    /// The line of a policy file that is wrong, with a caret.
    #[must_use]
    pub fn excerpt(&self) -> Option<String> {
        if let Self::Policy(error) = self {
            error.place.excerpt()
        } else {
            None
        }
    }
}

/// Runs a node until `stop` says so or a listener fails.
pub async fn serve(
    config: ServeConfig,
    data_dir: DataDir,
    stop: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy = Entropy::system();
    let passed = systemd::listeners()?;
    let hang_up = || signal(SignalKind::hangup()).map_err(ServeError::Serve);
    let (hang_up, hang_up_too) = (hang_up()?, hang_up()?);
    // Everything that can be wrong with the settings is found before a root
    // token is made: a start that fails must not have shown one.
    let files = PolicyFiles::new(config.policies.clone(), config.openclaw.is_on());
    let policy = Arc::new(ArcSwap::from_pointee(files.load()?));
    let upstreams = upstreams(&config)?;
    let proxy_secret = proxy_secret(config.forward_auth_secret_file.as_deref())?;
    let followed = Followed::read(&config)?;
    let url = config.database(data_dir.path())?;
    let (store, secrets) = open_host(&data_dir, &url, &config.secret, &entropy).await?;
    let certificate = followed.as_ref().map(|c| &c.certificate);
    let (api_listener, gateway_listener) = listeners(passed, &config, certificate).await?;
    let door = Door::prepare(&config.openclaw, &config.trusted_proxies, certificate).await?;
    let settings = settings(&config, &api_listener, &gateway_listener)?;

    let running = data_dir.lock_running()?;
    if config.accept_older_database {
        data_dir.forget_seen();
    }
    let history = History::of(&data_dir);
    history.check(&store).await?;
    let bootstrap = Bootstrap {
        store: &store,
        secrets: &secrets,
        clock: &clock,
        entropy: &entropy,
    };
    if let Some(announcement) = bootstrap.first_boot().await? {
        let told = Announced {
            occasion: "first start",
            data_dir: &data_dir,
            root_token_file: config.root_token_file.as_deref(),
            serving: Some(Serving::new(&config.policies, &upstreams)),
        };
        announce(&announcement, &told)?;
        bootstrap.shown(announcement).await?;
    }

    let authority = Arc::new(
        Authority::open(Parts {
            store: store.clone(),
            secrets,
            secret_source: secret_source(&data_dir, &config),
            settings: settings.clone(),
            policy: Arc::clone(&policy),
            clock: Arc::clone(&clock),
            entropy,
            token_cache: TOKEN_CACHE,
        })
        .await?,
    );
    let tasks = tasks::start(Arc::clone(&authority), history, stop.clone()).await?;
    tokio::spawn(files.follow(Arc::clone(&authority), hang_up, stop.clone()));
    let gateway = Arc::new(Gateway::new(
        GatewaySettings {
            origin: settings.gateway_url.clone(),
            issuer: settings.issuer.clone(),
            upstreams,
            proxy_secret,
            trusted_proxies: config.trusted_proxies.clone(),
            timeouts: Timeouts::default(),
        },
        Arc::clone(authority.verifier()),
        policy,
        clock,
        Arc::new(ReplayMemory::new(REPLAY_MEMORY)),
        &mut Entropy::system().rng(),
    ));
    let api = api::router(Api {
        authority: Arc::clone(&authority),
        trusted_proxies: config.trusted_proxies.into(),
        metrics: Arc::clone(gateway.metrics()),
        stop: stop.clone(),
    });

    let openclaw_url = door.as_ref().map(Door::url).transpose()?;
    data_dir.write_server(&ServerFile {
        url: local_url(&api_listener)?.to_string(),
        gateway_url: settings.gateway_url.to_string(),
        openclaw_url: openclaw_url.clone(),
        certificate: followed.as_ref().map(|f| f.files.chain.clone()),
        pid: std::process::id(),
        instance_id: authority.instance_id().to_string(),
    })?;
    announce::ready(&settings, openclaw_url.as_deref())?;
    tokio::spawn(systemd::report(Arc::clone(&authority), stop.clone()));
    if let Some(followed) = followed {
        tokio::spawn(followed.follow(hang_up_too, stop.clone()));
    }

    let door = serve_door(door, authority, stop.clone());
    let ended = answer((api_listener, api), (gateway_listener, gateway), door, stop);
    Box::pin(ended).await;
    data_dir.remove_server();
    tasks.stop().await;
    store.close().await;
    drop(running);
    Ok(())
}

/// Answers on all listeners until `stop` says so and what is open has ended.
async fn answer(
    (api_listener, api): (Listener, Router),
    (gateway_listener, gateway): (Listener, Arc<Gateway>),
    door: impl Future<Output = ()>,
    mut stop: watch::Receiver<bool>,
) {
    let mut api_stop = stop.clone();
    let api_server = listener::serve(api_listener, api, async move {
        stopped(&mut api_stop).await;
    });
    let mut gateway_stop = stop.clone();
    let gateway_server = crate::gateway::serve(gateway_listener, gateway, async move {
        stopped(&mut gateway_stop).await;
    });
    let all = async { tokio::join!(api_server, gateway_server, door) };
    tokio::select! {
        _ = all => {}
        // Those who hold on past the deadline are cut off.
        () = async { stopped(&mut stop).await; tokio::time::sleep(DRAIN).await } => {}
    }
}

/// Lets OpenClaw's clients in, where there is a door for them.
async fn serve_door(door: Option<Door>, authority: Arc<Authority>, stop: watch::Receiver<bool>) {
    if let Some(door) = door {
        door.serve(authority, stop).await;
    }
}

/// Opens the database of a host and the online secret that goes with it.
pub async fn open_host(
    data_dir: &DataDir,
    url: &DatabaseUrl,
    secret: &SecretConfig,
    entropy: &Entropy,
) -> Result<(Store, Secrets), ServeError> {
    data_dir.prepare()?;
    let store = Store::open(url).await?;
    let install = store.read().await?.install().await?;
    let secrets = match install {
        None => data_dir.secret_or_new(secret, &mut entropy.rng())?,
        Some(install) => data_dir.secret_of(secret, &install.key_check)?,
    };
    Ok((store, secrets))
}

/// Where a running node reads its secret again after a rotation.
fn secret_source(data_dir: &DataDir, config: &ServeConfig) -> SecretSource {
    let (data_dir, secret) = (data_dir.clone(), config.secret.clone());
    SecretSource::new(move |check| {
        let read = data_dir.secret_of(&secret, check);
        read.map_err(|error| error.to_string())
    })
}

/// The ways to the upstreams that are named.
fn upstreams(config: &ServeConfig) -> Result<Upstreams, UpstreamError> {
    let authorities = config.upstream_ca.as_deref();
    Upstreams::new(&config.upstreams, authorities, &Timeouts::default())
}

/// The secret that proxies present, if a file holds one.
fn proxy_secret(file: Option<&Path>) -> Result<Option<ProxySecret>, ServeError> {
    let Some(file) = file else {
        return Ok(None);
    };
    let invalid = |why: String| ServeError::ProxySecret {
        path: file.display().to_string(),
        why,
    };
    let text = std::fs::read_to_string(file).map_err(|error| invalid(error.to_string()))?;
    let text = Zeroizing::new(text);
    let secret = text.parse();
    secret
        .map(Some)
        .map_err(|error: InvalidSecret| invalid(error.to_string()))
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it whoever would say stop.
    drop(stop.wait_for(|stop| *stop).await);
}

/// The listeners of API and gateway: those that systemd opened, or our own.
async fn listeners(
    passed: Option<(TcpListener, TcpListener)>,
    config: &ServeConfig,
    certificate: Option<&Certificate>,
) -> Result<(Listener, Listener), ServeError> {
    Ok(match passed {
        Some((api, gateway)) => (
            Listener::new(api, certificate.cloned(), Http::OneAndTwo),
            Listener::new(gateway, certificate.cloned(), Http::OneAndTwo),
        ),
        None => (
            listen(config.listen, certificate, Http::OneAndTwo).await?,
            listen(config.gateway_listen, certificate, Http::OneAndTwo).await?,
        ),
    })
}

async fn listen(
    address: SocketAddr,
    certificate: Option<&Certificate>,
    speaks: Http,
) -> Result<Listener, ServeError> {
    let tcp = TcpListener::bind(address).await;
    let tcp = tcp.map_err(|error| ServeError::Listen { address, error })?;
    Ok(Listener::new(tcp, certificate.cloned(), speaks))
}

fn settings(
    config: &ServeConfig,
    api: &Listener,
    gateway: &Listener,
) -> Result<Settings, ServeError> {
    let default = local_url(api)?;
    let mut public_urls = config.public_urls.clone();
    if public_urls.is_empty() {
        public_urls.push(default.clone());
    }
    let issuer = public_urls.first().cloned().unwrap_or(default);
    let gateway_url = match &config.gateway_url {
        Some(url) => url.clone(),
        None => local_url(gateway)?,
    };
    Ok(Settings {
        issuer,
        public_urls,
        gateway_url,
        request_ttl: config.request_ttl.as_secs().max(1),
        in_container: in_container(),
        rates: Rates::default(),
    })
}

/// The URL of a listener as it is reached on this machine.
fn local_url(listener: &Listener) -> Result<Origin, ServeError> {
    let mut address = listener.address().map_err(ServeError::Serve)?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let scheme = if listener.is_tls() { "https" } else { "http" };
    Ok(format!("{scheme}://{address}").parse()?)
}
