//! Policy files under a running node, and what `policy explain` says of them.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Install, Machine, Request, Server, eventually};

const NAME: &str = "gate.datalog";
const READ: &str = "route(\"GET\", \"/a\", \"operator.read\");\n";
const OPEN: &str = "public(\"GET\", \"/a\");\n";

/// A node whose policy is this file, and what it answers to `GET /a` of nobody.
fn node(text: &str) -> Install {
    let host = Machine::new();
    let file = host.file(NAME, text);
    Install::on(host, &["--policy", &file])
}

fn answer(server: &Server) -> String {
    Request::get("/a").send(&server.gateway).outcome()
}

fn hang_up(server: &Server) {
    let pid = rustix::process::Pid::from_raw(server.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
}

#[test]
fn a_changed_file_comes_into_force_by_itself_and_is_in_the_audit_log() {
    let install = node(READ);
    assert_eq!(answer(&install.server), "401 missing_token");
    let more = format!("{OPEN}scope(\"door.open\", \"Open the door\");\n");
    fs::write(install.host.path(NAME), more).unwrap();
    // Allowed, and there is no upstream.
    eventually("the policy is in force", || {
        (answer(&install.server) == "503 no_upstream").then_some(())
    });
    let rows = install.audit();
    let row = rows.last().unwrap();
    assert_eq!(row["action"], "policy.catalog");
    assert_eq!(row["detail"]["added"], json!(["scope door.open"]));
}

#[test]
fn a_wrong_file_leaves_the_policy_before_in_force_and_says_where_it_is_wrong() {
    let install = node(OPEN);
    let file = install.host.path(NAME);
    fs::write(&file, format!("{OPEN}  deny(\"*\", \"a\");\n")).unwrap();
    hang_up(&install.server);
    eventually("the mistake is in the log", || {
        let log = install.server.stderr();
        let said = log.contains("gate.datalog:2:3") && log.contains("stays in force");
        said.then_some(())
    });
    assert_eq!(answer(&install.server), "503 no_upstream");
    fs::remove_file(&file).unwrap();
    hang_up(&install.server);
    eventually("the missing file is in the log", || {
        install
            .server
            .stderr()
            .contains("No such file")
            .then_some(())
    });
    assert_eq!(answer(&install.server), "503 no_upstream");
    fs::write(&file, READ).unwrap();
    hang_up(&install.server);
    eventually("the policy is in force", || {
        (answer(&install.server) == "401 missing_token").then_some(())
    });
}

#[test]
fn a_mistake_is_shown_with_its_line_and_a_caret() {
    let host = Machine::new();
    let file = host.file(NAME, &format!("{OPEN}deny(\"*\", \"a\");\n"));
    for args in [["policy", "check"].as_slice(), &["serve", "--policy"]] {
        let ended = host.run(&[args, &[&file]].concat());
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(lines[0].contains("gate.datalog:2:1"), "{ended:?}");
        assert_eq!(lines[1..3], ["2 | deny(\"*\", \"a\");", "  | ^"]);
    }
}

fn explain(host: &Machine, method: &str, path: &str, token: &str) -> Value {
    let args = ["policy", "explain", method, path, "--json"];
    if token.is_empty() {
        return host.run(&args).json();
    }
    let token = host.file("token", token);
    let given = format!("@{token}");
    host.run(&[&args[..], &["--token", &given]].concat()).json()
}

#[test]
fn an_explanation_agrees_with_the_gateway() {
    let install = Install::new();
    let reader = install.server.token(&install.pair(1, "operator.read"));
    let writer = install.server.token(&install.pair(2, "operator.write"));
    for token in ["", &reader, &writer] {
        for (method, path) in [
            ("GET", "/api/x"),
            ("POST", "/api/x"),
            ("PUT", "/api/x"),
            ("GET", "/api"),
            ("GET", "/elsewhere"),
        ] {
            let said = explain(&install.host, method, path, token);
            let request = Request::new(method, path);
            let answered = match token {
                "" => request.send(&install.server.gateway),
                token => install.server.through(token, request),
            };
            let decided = match answered.member("code") {
                code if code == "no_upstream" => json!(["allow", null]),
                code => json!(["deny", code]),
            };
            let words = json!([said["decision"], said["code"]]);
            assert_eq!(words, decided, "{method} {path}: {said}");
        }
    }
}

#[test]
fn an_explanation_names_the_fact_the_scope_and_the_block_that_lacks_it() {
    let install = Install::new();
    let reader = install.server.token(&install.pair(1, "operator.read"));
    let said = explain(&install.host, "POST", "/api/x", &reader);
    assert_eq!(said["required"], json!(["operator.write"]));
    assert_eq!(
        said["given_by"],
        json!(["*", "operator.admin", "operator.write"])
    );
    let facts = said["facts"].as_array().unwrap();
    assert_eq!(facts[0]["decides"], true);
    assert_eq!(
        facts[0]["fact"],
        "route(\"*\", \"/api/{*rest}\", \"operator.write\")"
    );
    assert!(facts[1..].iter().all(|f| f["decides"] == false));
    let blocks = said["blocks"].as_array().unwrap();
    let lacking: Vec<&Value> = blocks.iter().filter(|b| b["gives"] == false).collect();
    assert_eq!(lacking.len(), 1, "{blocks:?}");
    assert_eq!(lacking[0]["scopes"], json!(["operator.read"]));
    let ambiguous = install
        .host
        .run(&["policy", "explain", "GET", "/a/../b", "--json"]);
    assert_eq!(ambiguous.outcome(), "7 ambiguous_path");
}
