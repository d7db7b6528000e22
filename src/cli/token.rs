//! `hardtack token`

use std::path::{Path, PathBuf};
use std::time::Duration;

use hardtack_token::{TokenText, Untrusted};
use serde_json::Value;

use super::call::{Exchange, Session};
use super::context::{Context, read_token};
use super::credential::CredentialKind;
use super::failure::{Exit, Failure};
use super::inspect;
use super::keys::keys_in;
use super::narrow;
use super::output::{self, text};
use super::service;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Token {
    /// Exchange the credential for an access token
    Exchange(ExchangeArgs),
    /// Narrow an access token, without asking the server
    Attenuate(Box<narrow::Attenuate>),
    /// Decide on a request as a gateway would, without asking it
    Verify(Box<narrow::Verify>),
    /// Issue a service token, for a machine without a key, and print it this once
    Issue(service::Issue),
    /// List service tokens
    List {
        /// Expired and revoked ones too
        #[arg(long)]
        all: bool,
    },
    /// Revoke a service token
    Revoke {
        /// Name, or id of its grant
        #[arg(value_name = "NAME|ID")]
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Show what a token says, block by block, without asking the server
    Inspect {
        /// `-` for standard input, `@FILE` for a file
        #[arg(value_name = "-|@FILE")]
        token: String,
        /// File with the keys to check its signatures with, as /.well-known/hardtack gives them
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct ExchangeArgs {
    /// Only these scopes, separated by commas; needed from the local device and the root token
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
    /// Origin the token is for; the gateway's where nothing is said
    #[arg(long)]
    audience: Option<String>,
    /// Life of the token, at most 1h
    #[arg(long, value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Bind the token to the device's key
    #[arg(long)]
    dpop: bool,
}

pub(super) async fn run(command: &Token, context: &Context) -> Result<(), Failure> {
    match command {
        Token::Exchange(args) => exchange(args, context).await,
        Token::Attenuate(args) => narrow::attenuate_token(args, context),
        Token::Verify(args) => narrow::verify_token(args, context).await,
        Token::Issue(args) => service::issue(args, context).await,
        Token::List { all } => service::list(*all, context).await,
        Token::Revoke { name, yes } => service::revoke(name, *yes, context).await,
        Token::Inspect { token, keys } => inspect_token(token, keys.as_deref(), context),
    }
}

async fn exchange(args: &ExchangeArgs, context: &Context) -> Result<(), Failure> {
    let mut session = Session::open(context).await?;
    let all = match &session.credential.kind {
        CredentialKind::Root(_) => Some("the root token"),
        CredentialKind::LocalDevice { .. } => Some("the local device, which holds `*`"),
        CredentialKind::Access(_) | CredentialKind::Profile { .. } | CredentialKind::None => None,
    };
    if let (Some(what), true) = (all, args.scopes.is_empty()) {
        return Err(Failure::usage(format!(
            "say with --scopes which part of the authority the token is to have: this is {what}"
        ))
        .with_used(session.credential.source.clone())
        .with_next("hardtack token exchange --scopes operator.read"));
    }
    let answer = session
        .exchange(&Exchange {
            scopes: args.scopes.clone(),
            audience: args.audience.clone(),
            expires_in: args.ttl.map(|ttl| ttl.as_secs()),
            dpop: args.dpop,
        })
        .await?;
    if context.json() {
        output::json(&answer)
    } else {
        output::line(text(&answer, "access_token"))
    }
}

fn inspect_token(named: &str, keys: Option<&Path>, context: &Context) -> Result<(), Failure> {
    let given = read_token(named)?;
    let keys = keys.map(keys_in).transpose()?;
    let refused =
        |why: hardtack_token::Denial| Failure::new(Exit::Rejected, why.code(), why.to_string());
    let token = TokenText::new(given.as_str()).map_err(refused)?;
    let read = Untrusted::inspect(&token).map_err(refused)?;
    let checked = keys.map(|keys| Untrusted::read(&token, &keys)?.verify(&keys).map(drop));
    let document: Value = inspect::document(read.claims(), checked.as_ref());
    if context.json() {
        return output::json(&document);
    }
    inspect::lines(read.claims(), &document)
        .iter()
        .try_for_each(|line| output::line(line))
}
