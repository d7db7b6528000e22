//! How a command fails: an exit code, and at most a dozen lines that say what,
//! why, and how to get on.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::authority::Error;
use crate::data_dir::DataDirError;
use crate::server::ServeError;
use crate::store::StoreError;

/// The most lines that a failure prints.
const MAX_LINES: usize = 12;

/// The exit codes of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Unexpected = 1,
    Usage = 2,
    Refused = 3,
    WrongState = 4,
    Unreachable = 5,
    TimedOut = 6,
    Rejected = 7,
}

/// A failure of a command.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// The problem object: the server's, or one of the same form made here.
    pub(super) problem: Map<String, Value>,
    /// The credential that was used and where it came from.
    pub(super) used: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, code: &str, detail: impl Into<String>) -> Self {
        let mut problem = Map::new();
        problem.insert("type".into(), json!(format!("urn:hardtack:error:{code}")));
        problem.insert("code".into(), json!(code));
        problem.insert("detail".into(), json!(detail.into()));
        Self {
            exit,
            problem,
            used: None,
        }
    }

    pub(super) fn unexpected(detail: impl Into<String>) -> Self {
        Self::new(Exit::Unexpected, "unexpected", detail)
    }

    pub(super) fn usage(detail: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", detail)
    }

    /// A refusal or failure that the server answered with.
    pub(super) fn answered(status: u16, body: Map<String, Value>) -> Self {
        let mut problem = body;
        // `/oauth` answers in OAuth's form: the same things under other names.
        if let Some(description) = problem.remove("error_description") {
            problem.entry("detail").or_insert(description);
        }
        let error = problem.remove("error");
        let code = problem
            .entry("code")
            .or_insert_with(|| error.unwrap_or_else(|| json!(format!("http_{status}"))));
        let code = code.as_str().unwrap_or_default().to_owned();
        let exit = exit_of(status, &code);
        let kind = json!(format!("urn:hardtack:error:{code}"));
        problem.entry("type").or_insert(kind);
        problem.entry("status").or_insert(json!(status));
        Self {
            exit,
            problem,
            used: None,
        }
    }

    pub(super) fn with_next(mut self, next: impl Into<String>) -> Self {
        let list = self.problem.entry("next").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(json!(next.into()));
        }
        self
    }

    /// Adds the line of the policy that is wrong, if it is in one line.
    pub(super) fn with_excerpt(mut self, error: &ServeError) -> Self {
        if let Some(excerpt) = error.excerpt() {
            self.problem.insert("excerpt".into(), json!(excerpt));
        }
        self
    }

    pub(super) fn with_used(mut self, used: impl Into<String>) -> Self {
        self.used.get_or_insert(used.into());
        self
    }

    /// Adds the profile to the commands that go on with it.
    pub(super) fn for_profile(mut self, name: &str) -> Self {
        let list = self.problem.get_mut("next").and_then(Value::as_array_mut);
        for next in list.into_iter().flatten() {
            let Some(text) = next.as_str() else { continue };
            let (command, comment) = match text.find("    #") {
                Some(at) => text.split_at(at),
                None => (text, ""),
            };
            let starts = |all: &[&str]| all.iter().any(|start| command.starts_with(start));
            // What is said with a comment is for somebody else to type, or elsewhere.
            let own = starts(&["hardtack pair", "hardtack token", "hardtack whoami"])
                || (starts(&["hardtack devices"]) && comment.is_empty());
            if own {
                *next = json!(format!("{command} --profile {name}{comment}"));
            }
        }
        self
    }

    pub(super) fn code(&self) -> &str {
        self.problem
            .get("code")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Prints the failure on standard error.
    pub(super) fn report(mut self, as_json: bool) -> ExitCode {
        let text = if as_json {
            if let Some(used) = self.used.take() {
                self.problem.insert("used".into(), json!(used));
            }
            Value::Object(std::mem::take(&mut self.problem)).to_string()
        } else {
            self.lines().join("\n")
        };
        // With standard error gone there is nobody left to tell.
        drop(writeln!(std::io::stderr(), "{text}"));
        ExitCode::from(self.exit as u8)
    }

    fn lines(&self) -> Vec<String> {
        let text = |name: &str| self.problem.get(name).and_then(Value::as_str);
        let list = |name: &str| -> Vec<&str> {
            let values = self.problem.get(name).and_then(Value::as_array);
            values
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect()
        };
        let detail = text("detail").unwrap_or("something failed");
        let mut lines = vec![format!("error: {detail} ({})", self.code())];
        lines.extend(
            text("excerpt")
                .unwrap_or_default()
                .lines()
                .map(str::to_owned),
        );
        lines.extend(self.used.iter().map(|used| format!("used: {used}")));
        for name in ["held", "missing"] {
            let values = list(name);
            if self.problem.contains_key(name) {
                let shown = if values.is_empty() {
                    "nothing".to_owned()
                } else {
                    values.join(" ")
                };
                lines.push(format!("{name}: {shown}"));
            }
        }
        let who = list("who");
        if !who.is_empty() {
            lines.push(format!("who: {}", who.join(", ")));
        }
        if let (Some(id), true) = (text("request_id"), self.exit == Exit::Unexpected) {
            lines.push(format!("request: {id}"));
        }
        lines.extend(list("next").iter().map(|next| format!("next: {next}")));
        lines.truncate(MAX_LINES);
        lines
    }
}

/// The exit code of an answer. `/oauth` says 400 for credentials that ended.
fn exit_of(status: u16, code: &str) -> Exit {
    let ended = [
        "expired",
        "revoked",
        "retired",
        "wrong_key",
        "unknown_grant",
        "wrong_root_token",
        "wrong_holder",
        "not_activated",
        "unknown_key",
        "bad_signature",
        "root_token_not_accepted",
    ];
    match status {
        401 | 403 => Exit::Refused,
        400 if ended.contains(&code) => Exit::Refused,
        404 | 409 | 410 => Exit::WrongState,
        400 | 413 | 422 | 429 => Exit::Rejected,
        _ => Exit::Unexpected,
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        match &error {
            DataDirError::Foreign { owner, .. } => {
                let next = format!("run it as that user, for example with `--user {owner}`");
                Self::new(Exit::Refused, "foreign_data_dir", error.to_string()).with_next(next)
            }
            DataDirError::NoSecret(_) => {
                Self::new(Exit::WrongState, "not_initialised", error.to_string())
                    .with_next("hardtack serve")
            }
            DataDirError::File { .. }
            | DataDirError::Secret { .. }
            | DataDirError::SecretGone(_)
            | DataDirError::Command(_) => Self::unexpected(error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::AlreadyInitialised => {
                Self::new(Exit::WrongState, "already_initialized", error.to_string())
                    .with_next("hardtack root reset    # if the root token is lost")
            }
            Error::NotInitialised => {
                Self::new(Exit::WrongState, "not_initialised", error.to_string())
                    .with_next("hardtack serve")
            }
            Error::OtherInstall => Self::new(Exit::WrongState, "other_install", error.to_string()),
            Error::Store(error) => error.into(),
            other => Self::unexpected(other.to_string()),
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::DataDir(error) => error.into(),
            ServeError::Authority(error) => error.into(),
            ServeError::Policy(_)
            | ServeError::PolicyFile { .. }
            | ServeError::ProxySecret { .. }
            | ServeError::Certificate(_)
            | ServeError::Upstream(_)
            | ServeError::Url(_) => Self::usage(error.to_string()).with_excerpt(&error),
            ServeError::OlderDatabase { .. } => {
                Self::new(Exit::WrongState, "older_database", error.to_string())
            }
            ServeError::Store(error) => error.into(),
            ServeError::Listen { .. } => Self::unexpected(error.to_string())
                .with_next("hardtack whoami    # is it a hardtack that runs already?"),
            ServeError::Announce { .. } | ServeError::Serve(_) => {
                Self::unexpected(error.to_string())
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::NoCopy => Self::new(Exit::Rejected, "no_backup", detail)
                .with_next("pg_dump --format=custom --file=FILE DATABASE"),
            StoreError::NotWhole { .. } => Self::new(Exit::WrongState, "backup_damaged", detail)
                .with_next("hardtack backup FILE    # makes another one, and reads it through"),
            StoreError::Newer(_) => Self::new(Exit::WrongState, "newer_database", detail),
            StoreError::ReadOnly(_) => Self::new(Exit::Unexpected, "store_unavailable", detail)
                .with_next("df -h    # make room, or make the data directory writable; nothing was changed"),
            StoreError::Unavailable(_) => {
                Self::new(Exit::Unexpected, "store_unavailable", detail)
            }
            StoreError::Url(_) => Self::usage(detail),
            StoreError::Database(_)
            | StoreError::Conflict
            | StoreError::Corrupt { .. }
            | StoreError::Migrate(_)
            | StoreError::File { .. } => Self::unexpected(detail),
        }
    }
}
