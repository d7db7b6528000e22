//! The command line. It talks to a running server; only `serve`, `init` and
//! `root reset` touch the data directory's database.

mod backup;
mod call;
mod client;
mod context;
mod credential;
mod devices;
mod explain;
mod failure;
mod healthcheck;
mod init;
mod inspect;
mod invite;
mod jwt;
mod keys;
mod narrow;
mod output;
mod pair;
mod pinned;
mod policy;
mod profile;
mod root;
mod serve;
mod service;
mod token;
mod watch;
mod whoami;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use context::Context;
use failure::Failure;

/// hardtack: pair devices, narrow authority, check every request
///
/// Exit codes: 0 done, 1 unexpected, 2 usage, 3 refused, 4 not found or wrong
/// state, 5 server unreachable, 6 wait timed out, 7 request rejected.
#[derive(Debug, Parser)]
#[command(name = "hardtack", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
struct Global {
    /// URL of the server's API
    #[arg(long, env = "HARDTACK_URL", global = true)]
    url: Option<String>,
    /// Token to use: `-` for standard input, `@FILE` for a file (the variable `HARDTACK_TOKEN` holds the token itself)
    #[arg(long, global = true, value_name = "-|@FILE")]
    token: Option<String>,
    /// Profile to use
    #[arg(long, global = true)]
    profile: Option<String>,
    /// Data directory of a server on this machine
    #[arg(long, env = "HARDTACK_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long, global = true)]
    json: bool,
    /// How long a request may take; for `pair`, how long to wait for the answer
    #[arg(long, global = true, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: the API and the gateway
    Serve(Box<serve::Serve>),
    /// Make the install without starting a server, and print the root token
    Init(init::Init),
    /// Say whether the server here is ready: exit 0 if it is, 1 if not
    Healthcheck,
    /// Say which credential is used here, where it came from, and what it allows
    Whoami,
    /// Ask to be paired and wait for the approval
    Pair(pair::Pair),
    /// See, approve and end devices
    #[command(subcommand)]
    Devices(devices::Devices),
    /// Get, narrow and look at tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Recover the root of authority
    #[command(subcommand)]
    Root(root::Root),
    /// Write a copy of the database to a file
    Backup(backup::Backup),
    /// Put a backup in force, with what was revoked since
    Restore(backup::Restore),
    /// List and rotate keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Check, test and explain policy files
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

/// Reads the command line, runs the command, and says how it ended.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unreadable(&error),
    };
    let json = cli.global.json;
    let runtime = match cli.command.runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::unexpected(format!("the runtime does not start: {error}"));
            return failure.report(json);
        }
    };
    match runtime.block_on(dispatch(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// Help and version, and command lines that do not read.
fn unreadable(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        return Failure::usage(first.trim_start_matches("error: ")).report(true);
    }
    error.exit()
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let context = Context::new(cli.global);
    match cli.command {
        Command::Serve(command) => serve::run(*command, &context).await,
        Command::Init(command) => init::run(&command, &context).await,
        Command::Healthcheck => healthcheck::run(&context).await,
        Command::Whoami => whoami::run(&context).await,
        Command::Pair(command) => pair::run(&command, &context).await,
        Command::Devices(command) => devices::run(&command, &context).await,
        Command::Token(command) => token::run(&command, &context).await,
        Command::Root(command) => root::run(&command, &context).await,
        Command::Backup(command) => backup::run(&command, &context).await,
        Command::Restore(command) => backup::restore(&command, &context).await,
        Command::Keys(command) => keys::run(&command, &context).await,
        Command::Policy(command) => policy::run(&command, &context).await,
    }
}

impl Command {
    /// The server uses all cores; a command that asks it something needs one.
    fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        let mut builder = match self {
            Self::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
            Self::Init(_)
            | Self::Healthcheck
            | Self::Whoami
            | Self::Pair(_)
            | Self::Devices(_)
            | Self::Token(_)
            | Self::Root(_)
            | Self::Keys(_)
            | Self::Backup(_)
            | Self::Restore(_)
            | Self::Policy(_) => tokio::runtime::Builder::new_current_thread(),
        };
        builder.enable_all().build()
    }
}
