//! Each exit code, and the problem object that goes with it.

use serde_json::{Value, json};

use crate::device::Device;
use crate::support::upstream::Upstream;
use crate::support::{Install, Machine};

#[test]
fn each_exit_code_is_shown() {
    let install = Install::new();
    let host = &install.host;
    let upstream = Upstream::start();
    let approved = install.server.ask(&Device::new(1), "operator.read");
    host.run(&["devices", "approve", &approved]).ok();
    let pending = install.server.ask(&Device::new(2), "operator.read");
    std::fs::create_dir_all(host.path("config/hardtack/profiles")).unwrap();
    std::fs::write(host.profile("torn"), "{").unwrap();
    let unknown = "0193aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee";
    let root = format!("@{}", host.file("root", &install.root));
    for (args, expected) in [
        (&["whoami"][..], "0"),
        (&["whoami", "--profile", "torn"], "1 unexpected"),
        (&["whoami", "--url", &upstream.url], "5 not_hardtack"),
        (&["whoami", "--url", "here"], "2 usage"),
        (&["devices", "approve"], "2 usage"),
        (&["devices", "approve", &pending, "--king"], "2 usage"),
        (&["root", "reset"], "2 usage"),
        (
            &["devices", "list", "--token", &root, "--profile", "x"],
            "0",
        ),
        (&["devices", "show", unknown], "4 not_found"),
        (&["devices", "show", "WDJB-MJHT"], "4 not_found"),
        (&["devices", "approve", &approved], "4 not_pending"),
        (&["devices", "reject", &approved], "4 not_pending"),
        (&["whoami", "--profile", "nobody"], "4 no_profile"),
        (&["init"], "4 already_initialized"),
        (&["whoami", "--url", "http://127.0.0.1:1"], "5 unreachable"),
        (
            &["pair", "--scopes", "operator.read", "--timeout", "2s"],
            "6 timed_out",
        ),
        (
            &["pair", "--scopes", "operator.king", "--no-wait"],
            "7 unknown_scope",
        ),
        (
            &["devices", "approve", &pending, "--scopes", "operator.write"],
            "7 wider_than_requested",
        ),
        (
            &[
                "token",
                "exchange",
                "--scopes",
                "operator.read",
                "--ttl",
                "2h",
            ],
            "7 invalid_request",
        ),
        (
            &["token", "exchange", "--scopes", "operator.king"],
            "7 invalid_scope",
        ),
        (
            &[
                "token",
                "exchange",
                "--scopes",
                "operator.read",
                "--audience",
                "x",
            ],
            "7 invalid_target",
        ),
    ] {
        let mut run = host.run(&[args, &["--json"]].concat());
        if args[0] == "pair" {
            // What it printed before it gave up is what was asked for.
            run.stdout.clear();
        }
        assert_eq!(run.outcome(), expected, "{args:?}");
        if run.code != 0 {
            let problem = run.problem();
            let (_, code) = expected.split_once(' ').unwrap();
            assert_eq!(problem["type"], format!("urn:hardtack:error:{code}"));
            assert!(problem["detail"].is_string(), "{args:?}");
        }
    }
    let elsewhere = Machine::new();
    let list = ["devices", "list", "--json", "--url", &install.server.url];
    assert_eq!(elsewhere.run(&list).outcome(), "3 missing_token");
}

/// `/oauth` says 400 for what is over; the command line says refused.
#[test]
fn an_exchange_for_what_is_over_is_refused() {
    for (end, code) in [("revoke", "revoked"), ("retire", "retired")] {
        let install = Install::new();
        let host = &install.host;
        let pair = [
            "pair",
            "--scopes",
            "operator.read",
            "--no-wait",
            "--json",
            "--profile",
            "p",
        ];
        let asked = host.run(&pair).json();
        host.run(&["devices", "approve", asked["id"].as_str().unwrap()])
            .ok();
        host.run(&pair).ok();
        host.run(&["token", "exchange", "--profile", "p"]).ok();
        let device = asked["device_id"].as_str().unwrap();
        host.run(&["devices", end, device, "--yes"]).ok();
        for args in [
            &["token", "exchange"][..],
            &["whoami"],
            &["devices", "list"],
        ] {
            let refused = host.run(&[args, &["--json", "--profile", "p"]].concat());
            assert_eq!(refused.outcome(), format!("3 {code}"), "{args:?}");
            let problem = refused.problem();
            assert!(
                problem["used"].as_str().unwrap().starts_with("profile `p`"),
                "{problem}"
            );
            let next = problem["next"].to_string();
            assert!(next.contains("hardtack pair"), "{args:?} {problem}");
        }
    }
}

#[test]
fn a_failure_in_words_is_short_and_has_no_trace() {
    let install = Install::new();
    let host = &install.host;
    for args in [
        &["devices", "show", "WDJB-MJHT"][..],
        &["whoami", "--profile", "nobody"],
        &["whoami", "--url", "http://127.0.0.1:1"],
        &["pair", "--scopes", "operator.king", "--no-wait"],
        &["token", "exchange"],
        &["root", "reset"],
    ] {
        let failed = host.run(args);
        assert_ne!(failed.code, 0);
        assert_eq!(failed.stdout, "");
        let known = [
            "error: ",
            "used: ",
            "held: ",
            "missing: ",
            "who: ",
            "next: ",
        ];
        for line in failed.stderr.lines() {
            assert!(
                known.iter().any(|start| line.starts_with(start)),
                "{failed:?}"
            );
        }
        assert!(failed.stderr.lines().count() <= 12);
    }
}

#[test]
fn help_and_version_are_answers() {
    let machine = Machine::new();
    assert!(machine.run(&["--help"]).ok().contains("Exit codes: 0 done"));
    assert!(machine.run(&["--version"]).ok().starts_with("hardtack "));
    assert_eq!(machine.run(&[]).code, 2);
    assert_eq!(machine.run(&["king"]).code, 2);
}

#[test]
fn what_ends_devices_is_confirmed() {
    let install = Install::new();
    let host = &install.host;
    let paired = install.pair(1, "operator.read");
    let id = paired.device.id().to_string();
    for args in [["devices", "revoke", &id], ["devices", "retire", &id]] {
        let refused = host.run(&[&args[..], &["--json"]].concat());
        assert_eq!(refused.outcome(), "2 usage");
        assert!(refused.stderr.contains("--yes"), "{refused:?}");
        // Nor does an answer on standard input count, where nobody sits.
        assert_eq!(host.run_fed("y\n", &args).code, 2);
    }
    let dry = host
        .run(&["devices", "revoke", &id, "--dry-run", "--json"])
        .json();
    let expected = |mode: &str, dry_run: bool| -> Value {
        json!({"mode": mode, "count": 1, "device_ids": [id], "dry_run": dry_run})
    };
    assert_eq!(dry, expected("revoke", true));
    install.server.token(&paired);
    let retired = host
        .run(&["devices", "retire", &id, "--yes", "--json"])
        .json();
    assert_eq!(retired, expected("retire", false));
    assert_eq!(
        install.server.exchange(&paired, &[]).outcome(),
        "400 retired"
    );
}
