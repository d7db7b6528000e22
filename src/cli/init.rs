//! `hardtack init`: the install without a server, so that the root token is
//! shown on a terminal and not in a container's log.

use std::sync::Arc;

use hardtack_token::{Clock, SystemClock};
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::output;
use crate::authority::Error;
use crate::authority::bootstrap::{Announcement, Bootstrap};
use crate::authority::entropy::Entropy;
use crate::config::{SecretConfig, database};
use crate::server::{Announced, announce, open_host};

#[derive(Debug, clap::Args)]
pub(super) struct Init {
    #[command(flatten)]
    host: HostOptions,
}

/// What a command needs that works on the database itself.
#[derive(Debug, clap::Args)]
pub(super) struct HostOptions {
    /// Database, if not the SQLite file in the data directory
    #[arg(long, env = "HARDTACK_DATABASE_URL", hide_env_values = true)]
    pub(super) database_url: Option<String>,
    #[command(flatten)]
    pub(super) secret: SecretConfig,
}

pub(super) async fn run(command: &Init, context: &Context) -> Result<(), Failure> {
    let dir = &context.data_dir;
    let entropy = Entropy::system();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let url = database(command.host.database_url.as_deref(), dir.path())?;
    let (store, secrets) = open_host(dir, &url, &command.host.secret, &entropy).await?;
    let bootstrap = Bootstrap {
        store: &store,
        secrets: &secrets,
        clock: &clock,
        entropy: &entropy,
    };
    let announcement = bootstrap
        .first_boot()
        .await?
        .ok_or(Error::AlreadyInitialised)?;
    show(context, &announcement, None)?;
    bootstrap.shown(announcement).await?;
    store.close().await;
    Ok(())
}

/// Prints a root token, as JSON or for people.
pub(super) fn show(
    context: &Context,
    announcement: &Announcement,
    revoked: Option<u64>,
) -> Result<(), Failure> {
    let dir = &context.data_dir;
    if context.json() {
        let mut document = json!({
            "instance_id": announcement.instance_id.to_string(),
            "data_dir": dir.path().display().to_string(),
            "root_key_id": announcement.root_token.id().get(),
            "root_token": announcement.root_token.text().expose(),
            "local_device": {
                "device_id": announcement.local_device.device.to_string(),
                "grant_id": announcement.local_device.grant.to_string(),
            },
        });
        if let (Some(count), Some(members)) = (revoked, document.as_object_mut()) {
            members.insert("revoked".to_owned(), Value::from(count));
        }
        return output::json(&document);
    }
    let told = Announced {
        occasion: if revoked.is_some() {
            "root reset"
        } else {
            "first start"
        },
        data_dir: dir,
        root_token_file: None,
        serving: None,
    };
    Ok(announce(announcement, &told)?)
}
