//! A PostgreSQL for tests: the one that `HARDTACK_TEST_POSTGRES` names, or a
//! throw-away cluster that ends with the process that started it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::Connection;

/// Where Debian puts the binaries, newest first, and then the search path.
const BINARIES: [&str; 5] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "",
];

static SERVER: OnceLock<Server> = OnceLock::new();

struct Server {
    /// The URL without a database.
    url: Box<dyn Fn(&str) -> String + Send + Sync>,
    /// Holds the cluster's life: it ends when this process does.
    _watch: Option<Child>,
}

/// The URL of a new, empty database.
pub(crate) async fn new_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(start);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("hardtack_{}_{number}", std::process::id());
    let admin = (server.url)("postgres");
    let mut connection = sqlx::PgConnection::connect(&admin).await.unwrap();
    // Names are made here, of letters and digits.
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    (server.url)(&name)
}

fn start() -> Server {
    if let Some(base) = hardtack::config::text("HARDTACK_TEST_POSTGRES") {
        // postgres://user@host:port without a database.
        let base = base.trim_end_matches('/').to_owned();
        return Server {
            url: Box::new(move |database| format!("{base}/{database}")),
            _watch: None,
        };
    }
    let binaries = BINARIES
        .iter()
        .map(Path::new)
        .find(|dir| runs(&dir.join("initdb")))
        .expect("no PostgreSQL here: apt-get install postgresql, or set HARDTACK_TEST_POSTGRES=postgres://user@host:port");
    let dir = tempfile::Builder::new()
        .prefix("hardtack-postgres-")
        .tempdir()
        .unwrap()
        .keep();
    let owner = unprivileged();
    if let Some((uid, gid)) = owner {
        chown(&dir, Some(uid), Some(gid)).unwrap();
    }
    init(&binaries.join("initdb"), &dir, owner);
    let watch = run(&binaries.join("postgres"), &dir, owner);
    wait_until_ready(&dir);
    let host = dir.display().to_string();
    Server {
        url: Box::new(move |database| {
            format!("postgres://postgres@localhost/{database}?host={host}")
        }),
        _watch: Some(watch),
    }
}

fn runs(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The user that the server is to run as: it refuses to run as root.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody"))
}

fn command(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").env("LC_ALL", "C");
    command
}

fn init(initdb: &Path, dir: &Path, owner: Option<(u32, u32)>) {
    let output = command(initdb, owner)
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "-D",
        ])
        .arg(dir.join("data"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb: {errors}");
}

/// Starts the server below a shell that waits for the end of its input, which
/// this process holds: however it ends, the server ends too and its files go.
fn run(postgres: &Path, dir: &Path, owner: Option<(u32, u32)>) -> Child {
    const SCRIPT: &str = r#"
        "$1" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off \
            -c max_connections=400 >"$2/log" 2>&1 &
        server=$!
        cat >/dev/null
        kill -INT $server
        wait $server
        rm -rf "$2"
    "#;
    let mut watch = command(Path::new("/bin/sh"), owner)
        .args(["-c", SCRIPT, "watch"])
        .args([postgres, dir])
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    watch.stdin.as_mut().unwrap().flush().unwrap();
    watch
}

/// The socket is there before the server is: it says in its log when it serves.
#[expect(clippy::disallowed_methods, reason = "a deadline for a real process")]
fn wait_until_ready(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
        if log.contains("database system is ready to accept connections") {
            return;
        }
        assert!(Instant::now() < deadline, "postgres: {log}");
        std::thread::yield_now();
    }
}
