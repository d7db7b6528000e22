//! What every command starts from: where the server is, and the options.

use std::path::PathBuf;
use std::time::Duration;

use hardtack_token::Origin;
use zeroize::Zeroizing;

use super::Global;
use super::client::Client;
use super::failure::Failure;
use super::profile::Profile;
use crate::config::default_data_dir;
use crate::data_dir::DataDir;

/// How long a request may take where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_URL: &str = "http://127.0.0.1:7420";
/// The profile that is used where none is named.
pub(super) const DEFAULT_PROFILE: &str = "default";

/// The options of a command line, put in order.
#[derive(Debug)]
pub(super) struct Context {
    global: Global,
    pub(super) data_dir: DataDir,
}

/// A token that was given, and how.
#[derive(Debug)]
pub(super) struct GivenToken {
    pub(super) text: Zeroizing<String>,
    pub(super) source: String,
}

impl Context {
    pub(super) fn new(global: Global) -> Self {
        let path: PathBuf = global.data_dir.clone().unwrap_or_else(default_data_dir);
        Self {
            data_dir: DataDir::new(path),
            global,
        }
    }

    pub(super) const fn json(&self) -> bool {
        self.global.json
    }

    /// How long a request may take.
    pub(super) fn request_timeout(&self) -> Duration {
        self.global.timeout.unwrap_or(TIMEOUT)
    }

    /// How long a command waits for somebody else.
    pub(super) fn wait_timeout(&self, default: Duration) -> Duration {
        self.global.timeout.unwrap_or(default)
    }

    /// How long a command that goes on by itself may run, if that was said.
    pub(super) const fn given_timeout(&self) -> Option<Duration> {
        self.global.timeout
    }

    /// The profile that was named on the command line or in the environment.
    pub(super) fn named_profile(&self) -> Option<(String, &'static str)> {
        let flag = self.global.profile.clone().map(|name| (name, "--profile"));
        flag.or_else(|| {
            crate::config::text("HARDTACK_PROFILE").map(|name| (name, "HARDTACK_PROFILE"))
        })
    }

    /// The token that was given, if any.
    pub(super) fn given_token(&self) -> Result<Option<GivenToken>, Failure> {
        if let Some(flag) = &self.global.token {
            let text = read_token(flag)?;
            let source = format!("--token {flag}");
            return Ok(Some(GivenToken { text, source }));
        }
        Ok(
            crate::config::text("HARDTACK_TOKEN").map(|text| GivenToken {
                text: Zeroizing::new(text.trim().to_owned()),
                source: "HARDTACK_TOKEN".to_owned(),
            }),
        )
    }

    /// A connection to the server, for requests that take so long at most.
    pub(super) fn client(&self, timeout: Duration) -> Result<Client, Failure> {
        let url = self.url()?;
        let here = self.data_dir.server();
        let here = here.filter(|server| server.url == url.as_str());
        let pinned = here.and_then(|server| server.certificate);
        Client::new(url, pinned.as_deref(), timeout)
    }

    /// Where the server is. Found apart from the credential: a URL that is set
    /// does not change who one is.
    pub(super) fn url(&self) -> Result<Origin, Failure> {
        let (text, from) = if let Some(url) = &self.global.url {
            (url.clone(), "--url or HARDTACK_URL")
        } else if let Some((name, _)) = self.named_profile()
            && let Some(profile) = Profile::load(&name)?
        {
            (profile.url, "the profile")
        } else if let Some(server) = self.data_dir.server() {
            (server.url, "server.json")
        } else if let Some(profile) = Profile::load(DEFAULT_PROFILE)? {
            (profile.url, "the profile `default`")
        } else {
            (DEFAULT_URL.to_owned(), "the default")
        };
        text.parse()
            .map_err(|e| Failure::usage(format!("the server's URL `{text}` ({from}): {e}")))
    }
}

/// Reads a token as it is named on a command line: never the token itself,
/// which everybody on the machine could read there.
pub(super) fn read_token(named: &str) -> Result<Zeroizing<String>, Failure> {
    use std::io::Read;

    let mut text = Zeroizing::new(String::new());
    let read = if named == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else if let Some(path) = named.strip_prefix('@') {
        std::fs::read_to_string(path).map(|read| *text = read)
    } else {
        return Err(Failure::usage(
            "a token is not given as an argument, where others could read it: use `-` (standard input) or `@FILE`",
        ));
    };
    read.map_err(|e| Failure::usage(format!("the token `{named}` cannot be read: {e}")))?;
    let line = text.trim();
    // The line that a first start prints can be given whole.
    let token = line.strip_prefix("HARDTACK_ROOT_TOKEN=").unwrap_or(line);
    Ok(Zeroizing::new(token.to_owned()))
}
