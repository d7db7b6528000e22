//! Which server and which credential a command uses: found apart, in a fixed
//! order, and sent only where they belong.

use serde_json::Value;

use crate::support::{Install, Machine, Run};

/// Pairs a machine under a profile, with a scope by which it is known again.
fn pair(install: &Install, machine: &Machine, profile: &str, scopes: &str) {
    let pair = ["pair", "--no-wait", "--json", "--url", &install.server.url];
    let named = ["--profile", profile, "--scopes", scopes];
    let asked = machine.run(&[pair.as_slice(), &named].concat()).json();
    let id = asked["id"].as_str().unwrap();
    install.host.run(&["devices", "approve", id]).ok();
    machine.run(&[pair.as_slice(), &named].concat()).ok();
    assert!(machine.profile(profile).exists());
}

/// The credential that `whoami` tells, and where it says that it came from.
fn who(run: &Run) -> (String, String) {
    let said = run.json();
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    (text("credential"), text("source"))
}

#[test]
fn the_credential_is_the_first_of_a_fixed_order() {
    let install = Install::new();
    let (host, server) = (&install.host, &install.server);
    pair(&install, host, "default", "operator.read");
    pair(&install, host, "one", "operator.write");
    pair(&install, host, "two", "operator.approvals");
    let exchange = [
        "token",
        "exchange",
        "--audience",
        &server.url,
        "--scopes",
        "operator.pairing",
    ];
    let access = host.run(&exchange).ok().trim().to_owned();
    let root = format!("@{}", host.file("root", &install.root));
    let (token, profile) = (
        ("HARDTACK_TOKEN", access.as_str()),
        ("HARDTACK_PROFILE", "one"),
    );
    let elsewhere = ("HARDTACK_DATA_DIR", "/nowhere");
    for (variables, args, kind, source, scopes) in [
        (
            &[token, profile][..],
            &["--token", &root, "--profile", "two"][..],
            "root",
            "--token",
            "*",
        ),
        (
            &[token, profile],
            &["--profile", "two"],
            "token",
            "HARDTACK_TOKEN",
            "operator.pairing",
        ),
        (
            &[profile],
            &["--profile", "two"],
            "profile",
            "--profile",
            "operator.approvals",
        ),
        (
            &[profile],
            &[],
            "profile",
            "HARDTACK_PROFILE",
            "operator.write",
        ),
        (&[], &[], "local_device", "local device", "*"),
        (&[elsewhere], &[], "profile", "`default`", "operator.read"),
        (
            &[elsewhere, ("XDG_CONFIG_HOME", "/nowhere")],
            &[],
            "none",
            "none",
            "",
        ),
    ] {
        // However the server is named.
        for url in [&[][..], &["--url", &server.url]] {
            if url.is_empty() && variables.contains(&elsewhere) {
                continue;
            }
            let run = host.run_with(variables, &[&["whoami", "--json"], args, url].concat());
            let said = who(&run);
            assert_eq!(said.0, kind, "{variables:?} {args:?}");
            assert!(said.1.contains(source), "{said:?}");
            let held = run.json()["scopes"].take();
            let held: Vec<_> = held
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            assert_eq!(held.join(" "), scopes);
        }
    }
}

#[test]
fn the_server_is_the_first_of_a_fixed_order() {
    let (install, other, third) = (Install::new(), Install::new(), Install::new());
    let host = &install.host;
    pair(&other, host, "other", "operator.read");
    let (other, third) = (other.server.url.as_str(), third.server.url.as_str());
    let variable = ("HARDTACK_URL", other);
    for (variables, args, url) in [
        (
            &[variable][..],
            &["--url", third, "--profile", "other"][..],
            third,
        ),
        (&[variable], &[], other),
        (&[], &["--profile", "other"], other),
        (&[("HARDTACK_PROFILE", "other")], &[], other),
        (&[], &[], &install.server.url),
    ] {
        let run = host.run_with(variables, &[&["whoami", "--json"], args].concat());
        if url == third {
            assert_eq!(run.outcome(), "4 other_install");
            assert!(run.stderr.contains(other), "{run:?}");
        } else {
            assert_eq!(run.json()["url"], url, "{variables:?} {args:?}");
        }
    }
}

#[test]
fn the_data_directory_can_be_named() {
    let (install, elsewhere) = (Install::new(), Machine::new());
    let dir = install.host.data_dir();
    let dir = dir.to_str().unwrap();
    for run in [
        elsewhere.run(&["whoami", "--json", "--data-dir", dir]),
        elsewhere.run_with(&[("HARDTACK_DATA_DIR", dir)], &["whoami", "--json"]),
    ] {
        assert_eq!(who(&run).0, "local_device");
        assert_eq!(run.json()["url"], *install.server.url);
    }
}

/// The other server is only asked which install it is.
#[test]
fn what_belongs_to_one_install_is_not_sent_to_another() {
    let (install, other) = (Install::new(), Install::with(&["--log-level", "debug"]));
    let host = &install.host;
    pair(&install, host, "default", "operator.read");
    let url = ["--url", other.server.url.as_str()];
    let nobody = host.run(&[&["whoami", "--json"][..], &url].concat());
    let (kind, source) = who(&nobody);
    assert_eq!(kind, "none");
    assert!(source.contains("is of another install"), "{source}");
    assert!(
        source.contains("`default` belongs to another install"),
        "{source}"
    );
    for args in [
        &["devices", "list"][..],
        &["token", "exchange", "--scopes", "operator.read"],
    ] {
        let refused = host.run(&[args, &url, &["--json"]].concat());
        assert_eq!(refused.outcome(), "3 missing_token");
        let used = refused.problem()["used"].as_str().unwrap().to_owned();
        assert!(used.contains("another install"), "{used}");
    }
    let named = host.run(&[&["whoami", "--json", "--profile", "default"][..], &url].concat());
    assert_eq!(named.outcome(), "4 other_install");
    let pairing = ["pair", "--scopes", "operator.read", "--no-wait", "--json"];
    let pairing = host.run(&[pairing.as_slice(), &url].concat());
    assert_eq!(pairing.outcome(), "4 other_install");

    let log = other.server.stop().stderr;
    assert!(log.contains("/.well-known/hardtack"), "{log}");
    assert!(
        !log.contains("/v1/whoami") && !log.contains("/oauth/"),
        "{log}"
    );
    assert!(!log.contains("/v1/pairing-requests method=POST"), "{log}");
}

#[test]
fn a_token_is_never_an_argument() {
    let install = Install::new();
    for args in [
        &["whoami", "--token", &install.root][..],
        &["token", "inspect", &install.root],
    ] {
        let refused = install.host.run(&[args, &["--json"]].concat());
        assert_eq!(refused.outcome(), "2 usage");
        assert!(!refused.stderr.contains(&install.root), "{refused:?}");
        assert!(refused.stderr.contains("@FILE"), "{refused:?}");
    }
    let missing = install
        .host
        .run(&["whoami", "--token", "@/no/such", "--json"]);
    assert_eq!(missing.outcome(), "2 usage");
}

#[test]
fn a_token_that_cannot_be_used_is_refused_here() {
    let install = Install::new();
    let paired = install.pair(1, "operator.read");
    let altered = install.root.replace('A', "B");
    for token in [paired.grant.as_str(), "nonsense", &altered] {
        let refused = install
            .host
            .run_fed(token, &["whoami", "--token", "-", "--json"]);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(!refused.stderr.contains(token), "{refused:?}");
        let used = refused.problem()["used"].to_string();
        assert!(used.contains("--token -"), "{refused:?}");
    }
}
