//! `hardtack backup` and `hardtack restore`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hardtack_token::{Clock, SystemClock};
use http::Method;
use serde_json::json;

use super::call::Session;
use super::client::Body;
use super::context::Context;
use super::devices::agree;
use super::failure::{Exit, Failure};
use super::init::HostOptions;
use super::output;
use crate::authority::Error;
use crate::authority::bootstrap::Bootstrap;
use crate::authority::entropy::Entropy;
use crate::authority::restore::{Replaced, Restored};
use crate::authority::secrets::Secrets;
use crate::config::database;
use crate::domain::operation::Operation;
use crate::server::open_host;
use crate::store::{DatabaseUrl, Store, StoreError, check_copy};

#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    /// New file to write; it does not hold secret.key
    file: PathBuf,
    #[command(flatten)]
    host: HostOptions,
}

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// Backup to put in force
    file: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Go on where the database that is there cannot be read
    #[arg(long)]
    lose_revocations: bool,
    #[command(flatten)]
    host: HostOptions,
}

/// Made by the server where one runs, else from the files.
pub(super) async fn run(command: &Backup, context: &Context) -> Result<(), Failure> {
    let file = &command.file;
    if file.exists() {
        return Err(Failure::usage(format!("{} exists already", file.display())));
    }
    let session = match Session::open(context).await {
        Err(failure) if failure.exit == Exit::Unreachable => None,
        opened => Some(opened?),
    };
    match session {
        Some(mut session) => {
            let (operation, path) = (Operation::Backup, "/v1/backup");
            session
                .download(operation, Method::POST, path, Body::None, file)
                .await?;
        }
        None => copy_files(command, context).await?,
    }
    // Better known now than on the day when it is needed.
    let whole = check_copy(file).await;
    whole.inspect_err(|_| drop(fs::remove_file(file)))?;
    let size = fs::metadata(file).map_or(0, |m| m.len());
    if context.json() {
        return output::json(&json!({"file": file.display().to_string(), "bytes": size}));
    }
    output::line(&format!("backup  {}  {size} bytes", file.display()))?;
    output::line("        secret.key is not in it: keep a copy of that elsewhere")
}

async fn copy_files(command: &Backup, context: &Context) -> Result<(), Failure> {
    let dir = &context.data_dir;
    dir.check_owner()?;
    let url = database(command.host.database_url.as_deref(), dir.path())?;
    let (store, _) = open_host(dir, &url, &command.host.secret, &Entropy::system()).await?;
    store.copy_to(&command.file).await?;
    store.close().await;
    Ok(())
}

/// Puts a backup in the place of the database, with what ended since it was made.
pub(super) async fn restore(command: &Restore, context: &Context) -> Result<(), Failure> {
    let dir = &context.data_dir;
    dir.check_owner()?;
    let url = database(command.host.database_url.as_deref(), dir.path())?;
    let DatabaseUrl::Sqlite(live) = &url else {
        return Err(StoreError::NoCopy.into());
    };
    let _alone = dir.lock_alone().map_err(|_| {
        let detail = "a server runs on this data directory: stop it first";
        Failure::new(Exit::WrongState, "server_running", detail)
    })?;
    agree(
        command.yes,
        "The backup takes the place of the database; what was paired since then is lost. Go on?",
    )?;
    let secrets = dir.secret(&command.host.secret)?;
    let replaced = match replaced(live, &secrets).await {
        Err(error) if !command.lose_revocations => return Err(unreadable(&error)),
        other => other.ok().flatten(),
    };
    let next = live.with_extension("db.restoring");
    copy_private(&command.file, &next)
        .map_err(|e| Failure::usage(format!("{} cannot be copied: {e}", command.file.display())))?;
    let prepared = match check_copy(&command.file).await {
        Ok(()) => prepare(&next, &secrets, replaced.as_ref()).await,
        Err(damaged) => Err(damaged.into()),
    };
    let restored = prepared.inspect_err(|_| discard(&next))?;
    swap(live, &next).map_err(|e| Failure::unexpected(format!("{}: {e}", live.display())))?;
    dir.forget_seen();
    show(context, restored, replaced.as_ref())
}

/// What the database that is there knows; nothing if there is none.
async fn replaced(live: &Path, secrets: &Secrets) -> Result<Option<Replaced>, Error> {
    if !live.exists() {
        return Ok(None);
    }
    let store = Store::open(&DatabaseUrl::Sqlite(live.to_owned())).await?;
    let known = with(&store, secrets, async |b| b.replaced().await).await;
    store.close().await;
    Ok(Some(known?))
}

fn unreadable(error: &Error) -> Failure {
    let detail = format!(
        "what was revoked since the backup cannot be read from the database that is there: {error}"
    );
    Failure::new(Exit::WrongState, "database_unreadable", detail).with_next(
        "hardtack restore FILE --lose-revocations    # whatever was revoked since is live again",
    )
}

async fn prepare(
    next: &Path,
    secrets: &Secrets,
    replaced: Option<&Replaced>,
) -> Result<Restored, Failure> {
    let store = Store::open(&DatabaseUrl::Sqlite(next.to_owned())).await?;
    let restored = with(&store, secrets, async |b| b.restored(replaced).await).await;
    store.close().await;
    Ok(restored?)
}

async fn with<T>(
    store: &Store,
    secrets: &Secrets,
    run: impl AsyncFnOnce(&Bootstrap<'_>) -> T,
) -> T {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy = Entropy::system();
    let bootstrap = Bootstrap {
        store,
        secrets,
        clock: &clock,
        entropy: &entropy,
    };
    run(&bootstrap).await
}

fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    fs::remove_file(to).or_else(ignore_missing)?;
    let mut options = OpenOptions::new();
    let mut to = options.write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()
}

/// Puts the new database in the place of the old one, which is kept beside it.
///
/// A crash on the way leaves one of both in the place, never none: a start with
/// none would make another install.
fn swap(live: &Path, next: &Path) -> io::Result<()> {
    // SECURITY: what has ended would be live again if it stayed behind in a log.
    if fs::metadata(beside(next, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(io::Error::other("the restored copy is not in one file yet"));
    }
    let aside = free_name(live)?;
    for suffix in ["-wal", ""] {
        fs::hard_link(beside(live, suffix), beside(&aside, suffix)).or_else(ignore_missing)?;
    }
    // The old one's log was folded in when it was closed; one that a crash left
    // must not meet the new one.
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(beside(live, suffix)).or_else(ignore_missing)?;
    }
    fs::rename(next, live)?;
    File::open(live.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Takes away a copy that cannot be put in force; what stays costs room and
/// nothing else.
fn discard(next: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(beside(next, suffix)).ok();
    }
}

/// A name for what is replaced that nothing has yet.
fn free_name(live: &Path) -> io::Result<PathBuf> {
    (1..=1000)
        .map(|n| match n {
            1 => live.with_extension("db.replaced"),
            n => live.with_extension(format!("db.replaced-{n}")),
        })
        .find(|name| !name.exists())
        .ok_or_else(|| io::Error::other("there are a thousand replaced databases: remove some"))
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        return Ok(());
    }
    Err(error)
}

fn show(context: &Context, restored: Restored, replaced: Option<&Replaced>) -> Result<(), Failure> {
    let lost = replaced.map(|r| r.audit_seq - restored.audit_seq);
    if context.json() {
        return output::json(&json!({
            "audit_seq": restored.audit_seq,
            "ended": restored.ended,
            "lost_rows": lost,
            "local_device_ended": restored.local_device_ended,
        }));
    }
    let seq = restored.audit_seq;
    output::line(&format!("restored  up to row {seq} of the audit log"))?;
    output::line(&match lost {
        Some(lost) => format!(
            "lost      {lost} rows since then; the {} grants and sessions that ended in them stay ended",
            restored.ended
        ),
        None => "lost      all that was revoked since then is live again: look at `hardtack devices list`, or end everything with `hardtack root reset --revoke-all`".to_owned(),
    })?;
    if restored.local_device_ended {
        output::line("next      the local device has no live grant: hardtack root reset")?;
    }
    output::line("next      hardtack serve")
}
