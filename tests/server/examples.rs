//! The devices of `docs/examples`, run as a reader runs them.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Install, Machine, Run};

const EXAMPLES: [&str; 2] = ["device.py", "device.sh"];
const ASKED: &str = "operator.read,operator.write";
const GIVEN: &str = "operator.read";
const APPROVE: &str = "approve   hardtack devices approve ";

/// A machine on which an example runs, with a key file of its own.
struct Example {
    machine: Machine,
    name: &'static str,
}

/// An example that waits for its approval.
struct Waiting {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
    printed: String,
    code: String,
}

impl Example {
    fn all() -> impl Iterator<Item = Self> {
        EXAMPLES.into_iter().map(|name| Self {
            machine: Machine::new(),
            name,
        })
    }

    fn key(&self) -> PathBuf {
        self.machine.path("device.key")
    }

    /// The program as `docs/pairing-a-device.md` starts it.
    fn command(&self, api: &str, gateway: &str, scopes: &str) -> Command {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/").to_owned() + self.name;
        let python = std::env::var_os("HARDTACK_TEST_PYTHON");
        let program = match self.name {
            "device.py" => python.unwrap_or_else(|| OsString::from("python3")),
            _ => OsString::from("sh"),
        };
        let mut command = Command::new(program);
        command
            .args([&path, api, gateway, scopes])
            .arg(self.key())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, install: &Install, scopes: &str) -> Run {
        let server = &install.server;
        Run::of(self.command(&server.url, &server.gateway, scopes))
    }

    /// Starts it, and reads the code that it shows.
    fn ask(&self, install: &Install, scopes: &str) -> Waiting {
        let server = &install.server;
        let mut command = self.command(&server.url, &server.gateway, scopes);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut waiting = Waiting {
            stdout: BufReader::new(child.stdout.take().unwrap()),
            stderr: child.stderr.take().unwrap(),
            child,
            printed: String::new(),
            code: String::new(),
        };
        while waiting.code.is_empty() {
            let mut line = String::new();
            let read = waiting.stdout.read_line(&mut line).unwrap();
            assert!(read > 0, "{}: {:?}", self.name, waiting.end());
            waiting.code = line.strip_prefix(APPROVE).unwrap_or("").trim().to_owned();
            waiting.printed += &line;
        }
        waiting
    }
}

impl Waiting {
    fn end(mut self) -> Run {
        self.stdout.read_to_string(&mut self.printed).unwrap();
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).unwrap();
        Run {
            code: self.child.wait().unwrap().code().unwrap_or(-1),
            stdout: self.printed,
            stderr,
        }
    }
}

/// What the gateway said to the device.
fn whoami(run: &Run) -> Value {
    let line = run.ok().lines().find_map(|l| l.strip_prefix("whoami    "));
    serde_json::from_str(line.unwrap()).unwrap()
}

/// It ended with a message, not with a trace of the interpreter.
fn assert_says(run: &Run, what: &str) {
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains(what), "{run:?}");
    assert!(run.stderr.trim().lines().count() == 1, "{run:?}");
}

#[test]
fn a_device_pairs_exchanges_and_uses_the_gateway() {
    let install = Install::new();
    let asking: Vec<_> = Example::all()
        .map(|example| (example.ask(&install, ASKED), example))
        .collect();
    for (waiting, _) in &asking {
        let approve = ["devices", "approve", &waiting.code, "--scopes", GIVEN];
        install.host.run(&approve).ok();
    }
    for (waiting, example) in asking {
        let first = waiting.end();
        let who = whoami(&first);
        let device = who["device_id"].as_str().unwrap();
        let named = format!("device    {device}\n");
        assert!(first.stdout.starts_with(&named), "{first:?}");
        assert_eq!(who["scopes"], json!([GIVEN]));
        assert_eq!(who["audience"], json!(install.server.gateway));
        let key = std::fs::metadata(example.key()).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        // The key is kept, and what was given needs no second approval.
        let again = example.run(&install, GIVEN);
        assert_eq!(whoami(&again)["grant_id"], who["grant_id"]);
        assert!(!again.stdout.contains("approve"), "{again:?}");
    }
}

#[test]
fn a_device_that_is_refused_says_why() {
    let install = Install::new();
    let asking: Vec<_> = Example::all()
        .map(|example| (example.ask(&install, GIVEN), example))
        .collect();
    for (waiting, _) in &asking {
        let reject = ["devices", "reject", &waiting.code, "--reason", "not today"];
        install.host.run(&reject).ok();
    }
    for (waiting, _example) in asking {
        assert_says(&waiting.end(), "rejected: not today");
    }
    for example in Example::all() {
        assert_says(&example.run(&install, "no.such.scope"), "(unknown_scope)");
        let nowhere = "http://127.0.0.1:1";
        let unreachable = Run::of(example.command(nowhere, nowhere, GIVEN));
        assert_says(&unreachable, "127.0.0.1");
    }
}
