//! `hardtack serve`

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::context::Context;
use super::failure::Failure;
use crate::config::ServeConfig;
use crate::server::{self, ServeError};
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ServeConfig,
}

pub(super) async fn run(command: Serve, context: &Context) -> Result<(), Failure> {
    let config = command.config;
    telemetry::start(config.log_format, &config.log_level).map_err(Failure::usage)?;
    let (stop, stopped) = watch::channel(false);
    let signals = wait_for_signal().map_err(ServeError::Serve)?;
    outlive_file_limit().map_err(ServeError::Serve)?;
    tokio::spawn(async move {
        signals.await;
        tracing::info!("stopping: open requests may end, new ones are not taken");
        // The receiver lives as long as the server does.
        stop.send(true).ok();
        // The sender stays until the process ends.
        std::future::pending::<()>().await;
    });
    Ok(Box::pin(server::serve(config, context.data_dir.clone(), stopped)).await?)
}

/// Waits for SIGTERM or SIGINT. The handlers are in place when this returns.
fn wait_for_signal() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Has a limit on the size of files fail the write, as a full disk does, and not
/// end the process: deciding needs no room. A handler once set stays.
fn outlive_file_limit() -> std::io::Result<()> {
    let number = rustix::process::Signal::XFSZ.as_raw();
    signal(SignalKind::from_raw(number)).map(drop)
}
