//! OpenClaw issue 77138: on a fresh install somebody outside asks to be paired,
//! and the machine of the install approves. It must always work, whatever was
//! run before and however the server is named.

use serde_json::{Value, json};

use crate::device::Device;
use crate::support::relay::{AFAR, relay};
use crate::support::{Install, Machine, Paired, Request, Run};

const ASKS: [&str; 2] = [
    "operator.read",
    "operator.admin operator.approvals operator.pairing operator.read operator.write",
];

/// How a command finds the server.
#[derive(Clone, Copy, Debug)]
enum Named {
    Nowhere,
    InTheEnvironment,
    OnTheCommandLine,
}

const WAYS: [Named; 3] = [
    Named::Nowhere,
    Named::InTheEnvironment,
    Named::OnTheCommandLine,
];

impl Named {
    fn run(self, machine: &Machine, url: &str, args: &[&str]) -> Run {
        match self {
            Self::Nowhere => machine.run(args),
            Self::InTheEnvironment => machine.run_with(&[("HARDTACK_URL", url)], args),
            Self::OnTheCommandLine => machine.run(&[args, &["--url", url]].concat()),
        }
    }
}

/// Has requests from outside approved, and checks that the devices get what they asked for.
fn assert_approves(install: &Install, first: u64, approve: impl Fn(&str) -> Run) -> Value {
    let approvals = ASKS.iter().zip(first..).map(|(scopes, number)| {
        let device = Device::new(number);
        let id = install.server.ask(&device, scopes);
        let mut approval = approve(&id).json();
        let paired = install.server.fetch(device, &id);
        assert_eq!(approval["id"].take(), *id);
        assert_eq!(approval["grant_id"].take(), *paired.grant_id);
        assert_eq!(
            approval["device_id"].take(),
            *paired.device.id().to_string()
        );
        let scopes: Vec<&str> = scopes.split(' ').collect();
        assert_eq!(gives(install, &paired), json!(scopes));
        approval
    });
    approvals.collect()
}

/// What a device has at the gateway.
fn gives(install: &Install, paired: &Paired) -> Value {
    let token = install.server.token(paired);
    let whoami = Request::get("/.hardtack/whoami");
    install.server.through(&token, whoami).expect(200)["scopes"].take()
}

/// What an approval says besides the ids of the request, the device and the grant.
fn expected(by: &Value, depth: usize) -> Value {
    let approval = |scopes: &&str| {
        let scopes: Vec<&str> = scopes.split(' ').collect();
        json!({
            "id": null, "status": "approved", "device_id": null, "grant_id": null,
            "role": "operator", "scopes": scopes, "expires_at": null,
            "approved_by": by, "depth": depth,
        })
    };
    ASKS.iter().map(approval).collect()
}

fn by_the_local_device(install: &Install) -> Value {
    let local = install.local();
    let by = json!({
        "kind": "device", "device_id": local.device.id().to_string(), "grant_id": local.grant_id,
    });
    expected(&by, 2)
}

fn by_root() -> Value {
    expected(
        &json!({"kind": "root", "device_id": null, "grant_id": null}),
        1,
    )
}

/// Runs the scenario on a fresh install, after some other commands, once for
/// each way to name the server.
fn assert_local_approval_after(commands: impl Fn(&dyn Fn(&[&str]) -> Run)) {
    for way in WAYS {
        let install = Install::new();
        let run = |args: &[&str]| way.run(&install.host, &install.server.url, args);
        commands(&run);
        let approvals =
            assert_approves(&install, 1, |id| run(&["devices", "approve", id, "--json"]));
        assert_eq!(approvals, by_the_local_device(&install), "{way:?}");
    }
}

#[test]
fn the_first_command_on_a_fresh_install_can_be_to_approve() {
    assert_local_approval_after(|_| {});
}

#[test]
fn approving_works_after_listing() {
    assert_local_approval_after(|run| {
        run(&["devices", "list"]).ok();
    });
}

#[test]
fn approving_works_after_whoami() {
    assert_local_approval_after(|run| {
        assert!(run(&["whoami"]).ok().contains("local device"));
    });
}

/// The narrow profile that is there then does not get in the way.
#[test]
fn approving_works_after_pairing_on_this_machine() {
    assert_local_approval_after(|run| {
        let pair = [
            "pair",
            "--scopes",
            "operator.pairing",
            "--no-wait",
            "--json",
        ];
        let asked = run(&pair).json();
        run(&["devices", "approve", asked["id"].as_str().unwrap()]).ok();
        let paired = run(&["pair", "--no-wait", "--json"]).json();
        assert_eq!(paired["profile"], "default");
        let chosen = run(&["whoami", "--profile", "default", "--json"]).json();
        assert_eq!(chosen["scopes"], json!(["operator.pairing"]));
    });
}

#[test]
fn the_root_token_approves_from_anywhere() {
    let install = Install::new();
    let elsewhere = Machine::new();
    let url = install.server.url.as_str();
    let line = format!("HARDTACK_ROOT_TOKEN={}\n", install.root);
    for (machine, number) in [(&install.host, 1), (&elsewhere, 3)] {
        let file = format!("@{}", machine.file("root", &line));
        let approvals = assert_approves(&install, number, |id| {
            let approve = ["devices", "approve", id, "--json", "--token", &file];
            machine.run(&[approve.as_slice(), &["--url", url]].concat())
        });
        assert_eq!(approvals, by_root());
    }
    let variables = [("HARDTACK_URL", url), ("HARDTACK_TOKEN", &install.root)];
    let approvals = assert_approves(&install, 5, |id| {
        elsewhere.run_with(&variables, &["devices", "approve", id, "--json"])
    });
    assert_eq!(approvals, by_root());
}

/// No decision depends on where a caller seems to be.
#[test]
fn a_path_that_looks_remote_makes_no_difference() {
    for args in [&[][..], &["--trusted-proxy", "127.0.0.0/8"]] {
        let install = Install::with(args);
        let url = relay(&install.server.url);
        let root = install.host.file("root", &install.root);
        let root = format!("@{root}");
        let by_local = assert_approves(&install, 1, |id| {
            let approve = ["devices", "approve", id, "--json", "--url", &url];
            install.host.run(&approve)
        });
        assert_eq!(by_local, by_the_local_device(&install));
        let approved_by_root = assert_approves(&install, 3, |id| {
            let approve = ["devices", "approve", id, "--json", "--url", &url];
            install
                .host
                .run(&[approve.as_slice(), &["--token", &root]].concat())
        });
        assert_eq!(approved_by_root, by_root());

        let rows = install.audit();
        let from = rows.iter().filter(|row| row["action"] == "pairing.approve");
        let from: Vec<&Value> = from.map(|row| &row["address"]).collect();
        let believed = if args.is_empty() { "127.0.0.1" } else { AFAR };
        assert_eq!(from, [believed; 4], "{rows:?}");
    }
}

#[test]
fn a_forwarding_header_on_the_request_itself_makes_no_difference() {
    let install = Install::new();
    let local = install.local();
    for (number, header) in ["x-forwarded-for", "forwarded", "x-real-ip"]
        .iter()
        .enumerate()
    {
        let device = Device::new(number as u64);
        let id = install.server.ask(&device, ASKS[1]);
        let approve = Request::post(format!("/v1/pairing-requests/{id}/approve"));
        let approve = approve.header(header, AFAR).json(&json!({}));
        install.server.call(&local, &approve).expect(200);
        let scopes: Vec<&str> = ASKS[1].split(' ').collect();
        assert_eq!(
            gives(&install, &install.server.fetch(device, &id)),
            json!(scopes)
        );
    }
}
