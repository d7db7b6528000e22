//! Under systemd: who manages the node hears that it serves, lives and stops,
//! and may open its listeners.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::support::disk::block_on;
use crate::support::wait::DEADLINE;
use crate::support::{Machine, Request, Run};

const SERVE: [&str; 5] = [
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--gateway-listen",
    "127.0.0.1:0",
];
const WATCHDOG: &str = "WATCHDOG=1";
/// In microseconds; the node speaks twice in this time.
const WATCHDOG_USEC: &str = "200000";
const SILENCE: Duration = Duration::from_secs(1);

/// What systemd is for a service: the reader of its notifications.
struct Manager(UnixDatagram);

/// A node that was started with more than arguments.
struct Node {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Manager {
    fn of(machine: &Machine) -> Self {
        Self(UnixDatagram::bind(machine.path("notify")).unwrap())
    }

    fn start(machine: &Machine) -> Node {
        let mut command = machine.command(&SERVE);
        command
            .env("NOTIFY_SOCKET", machine.path("notify"))
            .env("WATCHDOG_USEC", WATCHDOG_USEC);
        Node::start(command)
    }

    /// The next notification, or `None` if nothing comes.
    fn hears(&self, limit: Duration) -> Option<String> {
        let mut text = [0; 512];
        self.0.set_read_timeout(Some(limit)).unwrap();
        match self.0.recv(&mut text) {
            Ok(length) => Some(String::from_utf8_lossy(&text[..length]).trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Listens until this is said; before it only the watchdog may be heard.
    fn waits_for(&self, said: &str) {
        loop {
            let heard = self.hears(DEADLINE).expect(said);
            if heard == said {
                return;
            }
            assert_eq!(heard, WATCHDOG, "before {said}");
        }
    }
}

impl Node {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Reads to the line that starts so, and returns the rest of it.
    fn line(&mut self, start: &str) -> String {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("no line `{start}`");
    }

    /// The URLs of the API and of the gateway, when they are served.
    fn urls(&mut self) -> (String, String) {
        let urls = self.line("hardtack ready api=");
        let (api, gateway) = urls.split_once(" gateway=").unwrap();
        (api.to_owned(), gateway.to_owned())
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that has ended cannot be ended.
        self.child.kill().ok();
        self.child.wait().unwrap();
    }
}

/// Runs SQL beside the server.
fn sql(machine: &Machine, statement: String) {
    let path = machine.data_dir().join("hardtack.db");
    block_on(async {
        let options = SqliteConnectOptions::new().filename(path);
        let mut database = options.connect().await.unwrap();
        let statement = sqlx::query(AssertSqlSafe(statement));
        statement.execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    });
}

#[test]
fn the_manager_hears_that_the_node_serves_lives_and_stops() {
    let machine = Machine::new();
    let manager = Manager::of(&machine);
    let mut node = Manager::start(&machine);
    let ready = manager.hears(DEADLINE);
    assert_eq!(ready.as_deref(), Some("READY=1\nSTATUS=serving"));
    let (api, _) = node.urls();
    Request::get("/readyz").send(&api).expect(200);
    for _ in 0..3 {
        assert_eq!(manager.hears(DEADLINE).as_deref(), Some(WATCHDOG));
    }
    node.terminate();
    manager.waits_for("STOPPING=1\nSTATUS=open requests may end");
    assert_eq!(node.ended().code(), Some(0));
    assert_eq!(manager.hears(SILENCE), None);
}

/// The watchdog must not be told that all is well by a node that denies everything.
#[test]
fn the_watchdog_hears_nothing_while_revocations_cannot_be_read() {
    let machine = Machine::new();
    let manager = Manager::of(&machine);
    let mut node = Manager::start(&machine);
    let (api, _) = node.urls();
    manager.waits_for("READY=1\nSTATUS=serving");
    sql(&machine, "ALTER TABLE install RENAME TO away".to_owned());
    manager.waits_for("STATUS=the revocations cannot be read: the gateway denies");
    assert_eq!(manager.hears(SILENCE), None);
    let unready = Request::get("/readyz").send(&api);
    assert_eq!(unready.status, 503, "{}", unready.text());
    let health = machine.run(&["healthcheck"]);
    assert_eq!(health.code, 1, "{health:?}");
    assert!(
        health.stderr.contains("revocations: last read"),
        "{health:?}"
    );
    sql(&machine, "ALTER TABLE away RENAME TO install".to_owned());
    manager.waits_for("STATUS=serving");
    manager.waits_for(WATCHDOG);
}

/// A start as systemd does it: opens listeners, puts them at the file
/// descriptors from 3 on, and becomes the program.
const OPEN: &str = "
import fcntl, os, socket, sys
count, pid = int(sys.argv[1]), int(sys.argv[2])
listeners = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
print('ports', *(listener.getsockname()[1] for listener in listeners), flush=True)
above = [fcntl.fcntl(listener, fcntl.F_DUPFD, 16) for listener in listeners]
for place, listener in enumerate(above, 3):
    os.dup2(listener, place)
os.environ['LISTEN_FDS'] = str(count)
os.environ['LISTEN_PID'] = str(pid or os.getpid())
os.execv(sys.argv[3], sys.argv[3:])
";

/// The command that opens so many listeners for the node: for itself, if 0 is
/// the process that they are for.
fn activated(machine: &Machine, listeners: u32, process: u32) -> Command {
    let serve = machine.command(&SERVE);
    let python = std::env::var_os("HARDTACK_TEST_PYTHON");
    let mut command = Command::new(python.unwrap_or_else(|| OsString::from("python3")));
    command
        .args(["-c", OPEN, &listeners.to_string(), &process.to_string()])
        .arg(serve.get_program())
        .args(serve.get_args())
        .env_clear()
        .envs(
            serve
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null());
    command
}

#[test]
fn the_node_takes_the_listeners_that_systemd_opened() {
    let machine = Machine::new();
    let mut node = Node::start(activated(&machine, 2, 0));
    let ports = node.line("ports ");
    let urls: Vec<_> = ports
        .split(' ')
        .map(|port| format!("http://127.0.0.1:{port}"))
        .collect();
    let (api, gateway) = node.urls();
    assert_eq!(urls, [api.as_str(), gateway.as_str()]);
    Request::get("/readyz").send(&api).expect(200);
    let whoami = Request::get("/.hardtack/whoami").send(&gateway);
    assert_eq!(whoami.outcome(), "401 missing_token");
    machine.run(&["devices", "list"]).ok();
    node.terminate();
    assert_eq!(node.ended().code(), Some(0));
}

#[test]
fn listeners_for_another_process_are_left_alone() {
    let machine = Machine::new();
    let mut node = Node::start(activated(&machine, 2, 1));
    let ports = node.line("ports ");
    let (api, gateway) = node.urls();
    for port in ports.split(' ') {
        assert!(!api.ends_with(port) && !gateway.ends_with(port));
    }
    Request::get("/readyz").send(&api).expect(200);
}

#[test]
fn other_than_two_listeners_are_refused_before_anything_is_made() {
    for count in [1, 3] {
        let machine = Machine::new();
        let refused = Run::of(activated(&machine, count, 0));
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("two are needed"), "{refused:?}");
        assert!(!refused.stdout.contains("HARDTACK_ROOT_TOKEN"));
        assert!(!machine.data_dir().exists());
    }
}

#[test]
fn a_server_that_is_ready_is_healthy() {
    let machine = Machine::new();
    let absent = machine.run(&["healthcheck", "--url", "http://127.0.0.1:1"]);
    assert_eq!(absent.code, 1, "{absent:?}");
    assert!(absent.stderr.contains("cannot be reached"), "{absent:?}");
    let mut node = Node::start(machine.command(&SERVE));
    let (_, gateway) = node.urls();
    assert_eq!(machine.run(&["healthcheck"]).ok(), "ready\n");
    let all = machine.run(&["healthcheck", "--json"]).json();
    assert_eq!(all["checks"]["revocations"], "ok");
    // The gateway is not the API.
    let other = machine.run(&["healthcheck", "--url", &gateway, "--json"]);
    assert_eq!(other.outcome(), "1 not_hardtack");
}
