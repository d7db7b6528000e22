//! `hardtack policy`: check and test policy files without a server.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::Context;
use super::explain::{Explain, explain};
use super::failure::{Exit, Failure};
use super::output;
use crate::gateway::rehearsal::{Cases, Outcome};
use crate::server::load_policy;

/// Where cases are looked for.
const DIRECTORY: &str = "policies/tests";

#[derive(Debug, clap::Subcommand)]
pub(super) enum PolicyCommand {
    /// Load policy files together and say where they are wrong; with none, the built-in policy
    Check {
        /// Policy files
        files: Vec<PathBuf>,
    },
    /// Play the cases of a directory: a token, a request, the expected decision
    Test {
        /// Directory of `.toml` files
        #[arg(default_value = DIRECTORY)]
        directory: PathBuf,
    },
    /// Say which facts decide on a request, what it takes, and what a token (`--token`) lacks
    Explain(Explain),
}

pub(super) async fn run(command: &PolicyCommand, context: &Context) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check { files } => check(files, context),
        PolicyCommand::Test { directory } => test(directory, context),
        PolicyCommand::Explain(args) => explain(args, context).await,
    }
}

fn check(files: &[PathBuf], context: &Context) -> Result<(), Failure> {
    let policy =
        load_policy(files).map_err(|error| rejected(&error.to_string()).with_excerpt(&error))?;
    let scopes = policy.catalog().declared().len();
    if context.json() {
        return output::json(&json!({"status": "ok", "scopes": scopes}));
    }
    output::line(&format!("ok  {scopes} scopes"))
}

fn test(directory: &Path, context: &Context) -> Result<(), Failure> {
    let mut played = Vec::new();
    for file in cases_in(directory)? {
        let outcomes =
            play(&file).map_err(|why| rejected(&format!("{}: {why}", file.display())))?;
        played.extend(outcomes.into_iter().map(|outcome| (file.clone(), outcome)));
    }
    let failed = played
        .iter()
        .filter(|(_, outcome)| !outcome.passed())
        .count();
    if context.json() {
        let list: Vec<_> = played.iter().map(|(file, o)| json!({"file": file.display().to_string(), "name": o.name, "expected": o.expected, "decided": o.decided, "passed": o.passed()})).collect();
        output::json(&json!({"passed": played.len() - failed, "failed": failed, "cases": list}))?;
    } else {
        for (file, outcome) in played.iter().filter(|(_, outcome)| !outcome.passed()) {
            output::line(&format!(
                "FAILED  {}: {}: expected {}, decided {}",
                file.display(),
                outcome.name,
                outcome.expected,
                outcome.decided
            ))?;
        }
        output::line(&format!(
            "{} passed, {failed} failed",
            played.len() - failed
        ))?;
    }
    if failed > 0 {
        return Err(rejected(&format!("{failed} case(s) failed")));
    }
    Ok(())
}

/// The files of cases, in the order of their names. None at all is an error: a
/// test that looks in the wrong place must not pass.
fn cases_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |why: String| rejected(&format!("{}: {why}", directory.display()));
    let entries = std::fs::read_dir(directory).map_err(|e| failed(e.to_string()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(failed("there are no `.toml` files of cases".to_owned()));
    }
    Ok(files)
}

fn play(file: &Path) -> Result<Vec<Outcome>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let cases = Cases::read(&text).map_err(|e| e.to_string())?;
    let beside = file.parent().unwrap_or(Path::new("."));
    let policies: Vec<PathBuf> = cases.policies.iter().map(|p| beside.join(p)).collect();
    let policy = load_policy(&policies).map_err(|e| e.to_string())?;
    cases.play(policy).map_err(|e| e.to_string())
}

fn rejected(why: &str) -> Failure {
    Failure::new(Exit::Rejected, "policy", why)
}
