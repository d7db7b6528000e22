//! Whoever holds too little is told the way out, and can go it.

use serde_json::{Value, json};

use crate::device::Device;
use crate::support::{Install, Machine};

/// An install, and a machine elsewhere with a profile that holds `operator.pairing`.
fn with_helper() -> (Install, Machine) {
    let install = Install::new();
    let elsewhere = Machine::new();
    let pair = [
        "pair",
        "--scopes",
        "operator.pairing",
        "--no-wait",
        "--json",
    ];
    let helper = ["--profile", "helper", "--url", &install.server.url];
    let asked = elsewhere.run(&[pair.as_slice(), &helper].concat()).json();
    let id = asked["id"].as_str().unwrap();
    install.host.run(&["devices", "approve", id]).ok();
    elsewhere
        .run(&["pair", "--profile", "helper", "--no-wait"])
        .ok();
    (install, elsewhere)
}

#[test]
fn a_refused_approval_names_the_way_out() {
    let (install, elsewhere) = with_helper();
    let id = install.server.ask(&Device::new(1), "operator.read");
    let approve = ["devices", "approve", &id, "--profile", "helper"];
    let refused = elsewhere.run(&approve);
    assert_eq!((refused.code, refused.stdout.as_str()), (3, ""));

    let lines: Vec<&str> = refused.stderr.lines().collect();
    assert!(lines.len() <= 12, "{refused:?}");
    let line = |name: &str| -> &str {
        let mut found = lines.iter().filter_map(|line| line.strip_prefix(name));
        found.next().unwrap_or_else(|| panic!("{name} {refused:?}"))
    };
    assert!(line("error: ").contains("insufficient_scope"));
    assert!(
        line("used: ").starts_with("profile `helper`"),
        "{refused:?}"
    );
    assert!(line("used: ").ends_with("from --profile"), "{refused:?}");
    assert_eq!(line("held: "), "operator.pairing");
    assert_eq!(line("missing: "), "operator.read");
    let who = line("who: ");
    assert!(who.contains("the root token") && who.contains("the local device"));
    // Outside of a container a comment says where to type it.
    let next = line("next: ").split("    #").next().unwrap();
    assert!(next.ends_with(&format!("hardtack devices approve {id}")));

    let problem = elsewhere
        .run(&[approve.as_slice(), &["--json"]].concat())
        .problem();
    assert_eq!(problem["status"], 403);
    assert_eq!(problem["required"], json!(["operator.read"]));
    assert_eq!(problem["held"], json!(["operator.pairing"]));
    assert_eq!(problem["missing"], json!(["operator.read"]));
    // The request waits on, and the way out works as it stands.
    let command = next.rsplit_once("hardtack ").unwrap().1;
    let args: Vec<&str> = command.split(' ').collect();
    install.host.run(&args).ok();
}

#[test]
fn whoever_cannot_give_all_can_give_less() {
    let (install, elsewhere) = with_helper();
    let device = Device::new(1);
    let id = install
        .server
        .ask(&device, "operator.pairing operator.read");
    let approve = ["devices", "approve", &id, "--json", "--profile", "helper"];
    let refused = elsewhere.run(&approve).problem();
    let next: Vec<&str> = refused["next"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    // It is for the same caller: as it stands it uses the same profile.
    let narrowed = next.iter().find(|next| next.contains("--scopes")).unwrap();
    assert_eq!(
        *narrowed,
        format!("hardtack devices approve {id} --scopes operator.pairing --profile helper")
    );
    let mut fewer: Vec<&str> = narrowed.split(' ').skip(1).collect();
    fewer.push("--json");
    let approval = elsewhere.run(&fewer).json();
    assert_eq!(approval["scopes"], json!(["operator.pairing"]));
    assert_eq!(approval["depth"], 3);
    let paired = install.server.fetch(device, &id);
    let refused = install
        .server
        .exchange(&paired, &[("scope", "operator.read")]);
    assert_eq!(refused.member("error"), "invalid_scope");
}

/// The deadlock came from a profile that was chosen for the operator.
#[test]
fn a_narrow_profile_is_used_only_where_it_is_named() {
    let (install, _elsewhere) = with_helper();
    let pair = [
        "pair",
        "--scopes",
        "operator.pairing",
        "--no-wait",
        "--json",
    ];
    let asked = install.host.run(&pair).json();
    install
        .host
        .run(&["devices", "approve", asked["id"].as_str().unwrap()])
        .ok();
    install.host.run(&["pair", "--no-wait"]).ok();
    let id = install.server.ask(&Device::new(1), "operator.read");
    let approve = ["devices", "approve", &id, "--json"];
    let named = install
        .host
        .run_with(&[("HARDTACK_PROFILE", "default")], &approve);
    let problem = named.problem();
    assert_eq!(named.outcome(), "3 insufficient_scope");
    let used = problem["used"].as_str().unwrap();
    assert!(used.ends_with("from HARDTACK_PROFILE"), "{used}");
    assert_eq!(install.host.run(&approve).code, 0);
}

#[test]
fn an_access_token_approves_nothing_and_says_what_does() {
    let install = Install::new();
    let id = install.server.ask(&Device::new(1), "operator.read");
    let exchange = [
        "token",
        "exchange",
        "--scopes",
        "operator.pairing,operator.read",
    ];
    let exchange = [exchange.as_slice(), &["--audience", &install.server.url]].concat();
    let token = install.host.run(&exchange);
    let approve = ["devices", "approve", &id, "--token", "-", "--json"];
    let refused = install.host.run_fed(token.ok(), &approve);
    assert_eq!(refused.outcome(), "3 grant_required");
    let next = refused.problem()["next"][0].to_string();
    assert!(next.contains(&format!("devices approve {id}")), "{next}");
    install.host.run(&["devices", "approve", &id]).ok();
}
