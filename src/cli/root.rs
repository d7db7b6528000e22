//! `hardtack root reset`: recovery by whoever owns the data directory.

use std::io::IsTerminal;
use std::sync::Arc;

use hardtack_token::{Clock, SystemClock};

use super::context::Context;
use super::devices::confirm;
use super::failure::Failure;
use super::init::{HostOptions, show};
use crate::authority::bootstrap::Bootstrap;
use crate::authority::entropy::Entropy;
use crate::config::database;
use crate::store::{DatabaseUrl, Store};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Root {
    /// Make a new root key and print its root token; the old root token is dead
    Reset(Reset),
}

#[derive(Debug, clap::Args)]
pub(super) struct Reset {
    /// End every grant too: all devices must pair again
    #[arg(long)]
    revoke_all: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    host: HostOptions,
}

pub(super) async fn run(command: &Root, context: &Context) -> Result<(), Failure> {
    let Root::Reset(reset) = command;
    let dir = &context.data_dir;
    let entropy = Entropy::system();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let url = database(reset.host.database_url.as_deref(), dir.path())?;
    // SECURITY: the files are the owner's. Another user, root included, would
    // leave files behind that lock the owner out.
    if matches!(url, DatabaseUrl::Sqlite(_)) {
        dir.check_owner()?;
    }
    let secrets = dir.secret(&reset.host.secret)?;
    ask(reset)?;
    let store = Store::open(&url).await?;
    let bootstrap = Bootstrap {
        store: &store,
        secrets: &secrets,
        clock: &clock,
        entropy: &entropy,
    };
    let announcement = bootstrap.reset_root(reset.revoke_all).await?;
    show(context, &announcement, Some(announcement.revoked))?;
    bootstrap.shown(announcement).await?;
    store.close().await;
    Ok(())
}

fn ask(reset: &Reset) -> Result<(), Failure> {
    if reset.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "`root reset` makes the old root token useless; say --yes, or run it on a terminal",
        ));
    }
    confirm(if reset.revoke_all {
        "The old root token and every device end now. Go on?"
    } else {
        "The old root token ends now; devices keep working. Go on?"
    })
}
