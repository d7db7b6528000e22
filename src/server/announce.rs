//! What a start prints on standard output.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::authority::Settings;
use crate::authority::bootstrap::Announcement;
use crate::data_dir::{DataDir, write_private};
use crate::gateway::Upstreams;
use crate::server::ServeError;

/// What is told besides the root token.
#[derive(Clone, Copy, Debug)]
pub struct Announced<'a> {
    /// Why there is a new root token: `first start` or `root reset`.
    pub occasion: &'static str,
    /// The data directory.
    pub data_dir: &'a DataDir,
    /// Where the token goes instead of standard output.
    pub root_token_file: Option<&'a Path>,
    /// What is served, where a server starts.
    pub serving: Option<Serving<'a>>,
}

/// What a server that starts serves.
#[derive(Clone, Copy, Debug)]
pub struct Serving<'a> {
    /// The policy files.
    policies: &'a [PathBuf],
    /// The upstreams.
    upstreams: &'a Upstreams,
}

impl<'a> Serving<'a> {
    /// These policies, before these upstreams.
    #[must_use]
    pub const fn new(policies: &'a [PathBuf], upstreams: &'a Upstreams) -> Self {
        Self {
            policies,
            upstreams,
        }
    }
}

/// Shows the root token, once. An error means that nobody has seen it.
pub fn announce(announcement: &Announcement, told: &Announced<'_>) -> Result<(), ServeError> {
    let token = announcement.root_token.text().expose();
    // Wiped when it is printed; with room enough that it never moves.
    let mut text = Zeroizing::new(String::with_capacity(8 * 1024));
    // Writing to a string does not fail.
    let mut line = |written: std::fmt::Arguments<'_>| text.write_fmt(written).unwrap_or(());
    line(format_args!(
        "hardtack {} · {} · data in {}\n\n",
        env!("CARGO_PKG_VERSION"),
        told.occasion,
        told.data_dir.shown()
    ));
    if let Some(file) = told.root_token_file {
        let line_of_file = Zeroizing::new(format!("HARDTACK_ROOT_TOKEN={token}\n"));
        write_private(file, &line_of_file).map_err(|error| ServeError::Announce {
            to: file.display().to_string(),
            error,
        })?;
        line(format_args!(
            "  Root token, written this once to {}. It can mint any authority; keep it offline. Lost it? `hardtack root reset`.\n",
            file.display()
        ));
    } else {
        line(format_args!(
            "  Root token, shown this once. It can mint any authority; keep it offline. Lost it? `hardtack root reset`.\n\
             HARDTACK_ROOT_TOKEN={token}\n  \
             In a container this line is in the container's log; `docker compose run --rm hardtack init` before `up` shows it on your terminal instead.\n"
        ));
    }
    line(format_args!(
        "\n  Local device {}  scopes *     `hardtack devices list` works here with nothing set\n",
        announcement.local_device.device.short()
    ));
    if let Some(serving) = told.serving {
        let files = serving.policies.iter().map(|p| p.display().to_string());
        let files: Vec<_> = files.collect();
        let policy = if files.is_empty() {
            "built-in (policies/gateway.datalog)".to_owned()
        } else {
            files.join(", ")
        };
        let none = "none: allowed requests answer 503, /.hardtack/whoami works";
        let upstream = match serving.upstreams {
            some if some.is_empty() => none.to_owned(),
            some => some.to_string(),
        };
        line(format_args!(
            "  Policy  {policy}     Upstream  {upstream}\n"
        ));
    }
    print(&text).map_err(|error| ServeError::Announce {
        to: "standard output".to_owned(),
        error,
    })
}

/// Says that the node serves, and what to do next.
pub(super) fn ready(settings: &Settings, openclaw: Option<&str>) -> Result<(), ServeError> {
    let openclaw = openclaw.map_or_else(String::new, |url| format!("  OpenClaw clients: {url}\n"));
    let text = format!(
        "{openclaw}hardtack ready api={} gateway={}\n  next: hardtack pair --scopes operator.read --name laptop --profile laptop\n",
        settings.issuer, settings.gateway_url
    );
    print(&text).map_err(ServeError::Serve)
}

/// Writes to standard output to the end, so that an error is seen here.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
