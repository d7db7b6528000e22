//! What the operator set, checked before anything starts. The one place that
//! reads the environment beside the flags.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hardtack_token::Origin;
use ipnet::IpNet;

use crate::domain::setup_code::GatewayUrl;
use crate::store::DatabaseUrl;

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Settings of `hardtack serve`. Each can be given as a flag or as
/// `HARDTACK_<FLAG>`; lists are separated by commas.
#[derive(Clone, Debug, Args)]
pub struct ServeConfig {
    /// Address of the API
    #[arg(long, env = "HARDTACK_LISTEN", default_value = "127.0.0.1:7420")]
    pub listen: SocketAddr,
    /// Address of the gateway
    #[arg(
        long,
        env = "HARDTACK_GATEWAY_LISTEN",
        default_value = "127.0.0.1:7421"
    )]
    pub gateway_listen: SocketAddr,
    /// URL under which clients reach the API; the first one is the issuer
    #[arg(
        long = "public-url",
        env = "HARDTACK_PUBLIC_URL",
        value_delimiter = ','
    )]
    pub public_urls: Vec<Origin>,
    /// URL under which clients reach the gateway
    #[arg(long, env = "HARDTACK_GATEWAY_URL")]
    pub gateway_url: Option<Origin>,
    /// Where the gateway sends allowed requests: URL, or /PREFIX=URL for the paths below a
    /// prefix, the longest of which decides; http://, https:// or h2c:// (HTTP/2 without TLS)
    #[arg(
        long = "upstream",
        env = "HARDTACK_UPSTREAM",
        value_name = "[/PREFIX=]URL",
        value_delimiter = ','
    )]
    pub upstreams: Vec<String>,
    /// Authorities (PEM) that https upstreams may have their certificates from, besides
    /// those that this machine trusts
    #[arg(long, env = "HARDTACK_UPSTREAM_CA")]
    pub upstream_ca: Option<PathBuf>,
    /// Policy file; several are merged
    #[arg(long = "policy", env = "HARDTACK_POLICY", value_delimiter = ',')]
    pub policies: Vec<PathBuf>,
    /// Database, if not the SQLite file in the data directory: postgres://… or sqlite:PATH
    #[arg(long, env = "HARDTACK_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Certificate chain of the listeners (PEM); read again when it changes
    #[arg(long, env = "HARDTACK_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, env = "HARDTACK_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Address or network of proxies whose forwarding headers are believed, and which
    /// may ask at the forward-auth doors
    #[arg(
        long = "trusted-proxy",
        env = "HARDTACK_TRUSTED_PROXY",
        value_delimiter = ',',
        value_parser = network
    )]
    pub trusted_proxies: Vec<IpNet>,
    /// File with the secret that proxies present at the forward-auth doors; without it
    /// they answer to trusted proxies
    #[arg(long, env = "HARDTACK_FORWARD_AUTH_SECRET_FILE")]
    pub forward_auth_secret_file: Option<PathBuf>,
    /// Write the root token to this new file instead of standard output
    #[arg(long, env = "HARDTACK_ROOT_TOKEN_FILE")]
    pub root_token_file: Option<PathBuf>,
    /// Life of a pairing request
    #[arg(long, env = "HARDTACK_REQUEST_TTL", default_value = "1h", value_parser = humantime::parse_duration)]
    pub request_ttl: Duration,
    /// Serve a database that is older than what this node has seen: what was revoked since is live in it
    #[arg(long, env = "HARDTACK_ACCEPT_OLDER_DATABASE")]
    pub accept_older_database: bool,
    /// Form of log lines on standard error
    #[arg(long, env = "HARDTACK_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What to log: error, warn, info, debug, trace, or a filter such as `hardtack=debug`
    #[arg(long, env = "HARDTACK_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Where the online secret comes from.
    #[command(flatten)]
    pub secret: SecretConfig,
    /// The door for OpenClaw's clients.
    #[command(flatten)]
    pub openclaw: OpenClawConfig,
}

/// Where the online secret comes from, if not from `secret.key` in the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SecretConfig {
    /// File with the online secret, if not secret.key in the data directory
    #[arg(long, env = "HARDTACK_SECRET_KEY_FILE")]
    pub secret_key_file: Option<PathBuf>,
    /// Command that prints the online secret
    #[arg(long, env = "HARDTACK_SECRET_KEY_COMMAND")]
    pub secret_key_command: Option<String>,
}

/// The door for OpenClaw's clients. It is there where it has a gateway behind it.
#[derive(Clone, Debug, Args)]
pub struct OpenClawConfig {
    /// OpenClaw gateway behind hardtack, in trusted-proxy mode: ws://host:port
    #[arg(long, env = "HARDTACK_OPENCLAW_UPSTREAM")]
    pub openclaw_upstream: Option<String>,
    /// Address for OpenClaw's clients; needs --openclaw-upstream
    #[arg(
        long,
        env = "HARDTACK_OPENCLAW_LISTEN",
        default_value = "127.0.0.1:18789"
    )]
    pub openclaw_listen: SocketAddr,
    /// Where OpenClaw's clients reach hardtack, for setup codes, as a `wss` URL [default: the listen address]
    #[arg(long, env = "HARDTACK_OPENCLAW_URL")]
    pub openclaw_url: Option<GatewayUrl>,
    /// How far the clock of an OpenClaw device may be off
    #[arg(long, env = "HARDTACK_OPENCLAW_SKEW", default_value = "2m", value_parser = humantime::parse_duration)]
    pub openclaw_skew: Duration,
}

impl OpenClawConfig {
    /// Whether there is a door.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.openclaw_upstream.is_some()
    }
}

impl SecretConfig {
    /// The same from the environment alone, for commands without these flags.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            secret_key_file: variable("HARDTACK_SECRET_KEY_FILE").map(PathBuf::from),
            secret_key_command: text("HARDTACK_SECRET_KEY_COMMAND"),
        }
    }
}

impl ServeConfig {
    /// The database that is named, or the one in the data directory.
    pub fn database(
        &self,
        data_dir: &std::path::Path,
    ) -> Result<DatabaseUrl, crate::store::StoreError> {
        database(self.database_url.as_deref(), data_dir)
    }
}

/// The database of a URL, or the one in the data directory.
pub fn database(
    url: Option<&str>,
    data_dir: &std::path::Path,
) -> Result<DatabaseUrl, crate::store::StoreError> {
    match url {
        Some(url) => url.parse(),
        None => Ok(DatabaseUrl::in_data_dir(data_dir)),
    }
}

/// The default data directory: `$XDG_DATA_HOME/hardtack`, else `~/.local/share/hardtack`.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    base_dir("XDG_DATA_HOME", ".local/share").join("hardtack")
}

/// The directory of profiles: `$XDG_CONFIG_HOME/hardtack/profiles`, else below `~/.config`.
#[must_use]
pub fn profiles_dir() -> PathBuf {
    base_dir("XDG_CONFIG_HOME", ".config").join("hardtack/profiles")
}

/// The home directory, to show paths shorter.
#[must_use]
pub fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

/// The directory into which systemd puts credentials (`LoadCredential=`).
#[must_use]
pub fn credentials_dir() -> Option<PathBuf> {
    variable("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// Whether this runs in a container: said by the image, or seen from Docker's marker.
#[must_use]
pub fn in_container() -> bool {
    variable("HARDTACK_CONTAINER").is_some() || std::path::Path::new("/.dockerenv").exists()
}

/// An environment variable of the command line, if it is set and is text.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    variable(name)?.into_string().ok()
}

/// The base directory of the XDG specification; relative values are ignored.
fn base_dir(name: &str, below_home: &str) -> PathBuf {
    let named = variable(name)
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    named.unwrap_or_else(|| home().unwrap_or_default().join(below_home))
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse()).map_err(|_| {
        "it is no address such as 192.0.2.1, and no network such as 192.0.2.0/24".into()
    })
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_is_an_address_or_a_network() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), expected);
        }
        assert!(network("proxy").is_err() && network("10.0.0.0/33").is_err());
    }
}
