//! `hardtack keys`: the install's keys, and another online secret.

use std::path::Path;
use std::sync::Arc;

use hardtack_token::{Clock, KeyRing, Published, SystemClock};
use http::Method;
use serde_json::{Value, json};

use super::client::{Body, Identity};
use super::context::Context;
use super::devices::agree;
use super::failure::{Exit, Failure};
use super::init::HostOptions;
use super::output::{self, text};
use crate::authority::bootstrap::Bootstrap;
use crate::authority::entropy::Entropy;
use crate::authority::secrets::{SecretError, Secrets};
use crate::config::{SecretConfig, database};
use crate::server::open_host;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Keys {
    /// List the public keys and their states
    List,
    /// Put another key or secret in the place of the present one
    #[command(subcommand)]
    Rotate(Rotate),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Rotate {
    /// Put everything under a new secret.key; devices keep working, the local device gets a new key
    Secret {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        host: HostOptions,
    },
}

pub(super) async fn run(command: &Keys, context: &Context) -> Result<(), Failure> {
    match command {
        Keys::List => list(context).await,
        Keys::Rotate(Rotate::Secret { yes, host }) => rotate_secret(*yes, host, context).await,
    }
}

/// What an install publishes for verifiers.
async fn published(context: &Context) -> Result<Value, Failure> {
    const PATH: &str = "/.well-known/hardtack";
    let client = context.client(context.request_timeout())?;
    let none = Identity::default();
    let answer = client.send(&Method::GET, PATH, &Body::None, &none);
    answer.await?.success()
}

/// The keys that tokens are verified with: of a file in the form of
/// `/.well-known/hardtack`, or asked of the server.
pub(super) async fn published_keys(
    file: Option<&Path>,
    context: &Context,
) -> Result<KeyRing, Failure> {
    match file {
        None => ring(published(context).await?),
        Some(file) => keys_in(file),
    }
}

/// Those of a file.
pub(super) fn keys_in(file: &Path) -> Result<KeyRing, Failure> {
    let bad = |why: String| Failure::usage(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| bad(e.to_string()))?;
    ring(serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?)
}

fn ring(document: Value) -> Result<KeyRing, Failure> {
    let bad = |why: String| Failure::usage(format!("the keys do not read: {why}"));
    let published: Published = serde_json::from_value(document).map_err(|e| bad(e.to_string()))?;
    published.keys().map_err(|e| bad(e.to_string()))
}

async fn list(context: &Context) -> Result<(), Failure> {
    let keys = published(context).await?;
    if context.json() {
        return output::json(&keys);
    }
    let rows = |kind: &str, member: &str| -> Vec<Vec<String>> {
        let list = keys.get(member).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .map(|key| {
                let id = key.get("id").map(ToString::to_string);
                let cells = [
                    kind,
                    &id.unwrap_or_default(),
                    text(key, "state"),
                    text(key, "key"),
                ];
                cells.map(str::to_owned).to_vec()
            })
            .collect()
    };
    let rows = [
        rows("root", "root_keys"),
        rows("attestation", "attestation_keys"),
    ]
    .concat();
    output::table(&["KIND", "ID", "STATE", "KEY"], &rows)
}

/// The new secret is written beside the old one first and put in its place last:
/// wherever this is cut off, one of the two opens the database.
async fn rotate_secret(yes: bool, host: &HostOptions, context: &Context) -> Result<(), Failure> {
    let dir = &context.data_dir;
    if host.secret != SecretConfig::default() {
        return Err(Failure::new(
            Exit::Rejected,
            "secret_elsewhere",
            "the secret does not come from secret.key in the data directory: it is rotated there only",
        ));
    }
    let entropy = Entropy::system();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    dir.check_owner()?;
    let url = database(host.database_url.as_deref(), dir.path())?;
    agree(
        yes,
        "Everything is put under a new secret.key; other nodes need a copy of it. Go on?",
    )?;
    let (store, old) = open_host(dir, &url, &host.secret, &entropy).await?;
    let text = Secrets::generate(&mut entropy.rng());
    let new =
        Secrets::from_text(&text).map_err(|e: SecretError| Failure::unexpected(e.to_string()))?;
    dir.prepare_rotation(&text)?;
    let bootstrap = Bootstrap {
        store: &store,
        secrets: &old,
        clock: &clock,
        entropy: &entropy,
    };
    let rotated = bootstrap.rotate_secret(&new).await?;
    dir.finish_rotation()?;
    store.close().await;
    let local = rotated.local_device;
    if context.json() {
        return output::json(&json!({
            "chains": rotated.chains,
            "local_device": local.map(|l| json!({
                "device_id": l.device.to_string(), "grant_id": l.grant.to_string(),
            })),
        }));
    }
    output::line(&format!("rotated   {} stored chains", rotated.chains))?;
    match local {
        Some(local) => output::line(&format!("local     {}", local.device.short())),
        None => output::line(
            "local     none: it was ended before; `hardtack root reset` pairs it again",
        ),
    }
}
