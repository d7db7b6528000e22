//! The documents of the contract: their members, no more and no fewer.

use serde_json::{Value, json};

use crate::device::Device;
use crate::support::{Install, Request};

const REQUEST: &str = "address created_at device_id expires_at grant_id id metadata name \
                       previously_revoked role scopes status superseded_by user_code";
const DEVICE: &str = "approved_by created_at descendants device_id expires_at grant_id \
                      last_used_at local name parent_grant_id role scopes status";
const APPROVAL: &str = "approved_by depth device_id expires_at grant_id id role scopes status";

fn members(document: &Value) -> String {
    let mut names: Vec<&str> = document
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.join(" ")
}

#[test]
fn requests_devices_and_approvals_have_the_members_of_the_contract() {
    let install = Install::new();
    let (server, host) = (&install.server, &install.host);
    let metadata = json!({"platform": "linux"});
    let ask = json!({"scopes": ["operator.read"], "name": "laptop", "metadata": metadata});
    let ask = Request::post("/v1/pairing-requests").json(&ask);
    let device = Device::new(1);
    let asked = server.prove(&device, &ask);
    let mut view = asked.expect(202);
    let id = view["id"].as_str().unwrap().to_owned();
    assert_eq!(
        asked.header("location"),
        format!("/v1/pairing-requests/{id}")
    );
    assert_eq!(asked.header("retry-after"), view["interval"].to_string());
    view.as_object_mut().unwrap().remove("interval");
    assert_eq!(members(&view), REQUEST);
    let about = [
        &view["status"],
        &view["name"],
        &view["metadata"],
        &view["role"],
    ];
    assert_eq!(
        about,
        [
            &json!("pending"),
            &json!("laptop"),
            &metadata,
            &json!("operator")
        ]
    );

    let listed = host.run(&["devices", "list", "--json"]).json();
    assert_eq!(members(&listed), "devices pending");
    assert_eq!(listed["pending"], json!([view]));
    assert_eq!(members(&listed["devices"][0]), DEVICE);
    assert_eq!(listed["devices"][0]["local"], true);
    let approval = host.run(&["devices", "approve", &id, "--json"]).json();
    assert_eq!(members(&approval), APPROVAL);
    // The same ask of a device that holds it already is answered like the fetch.
    let again = server.prove(&device, &ask).expect(200);
    assert_eq!(again["grant_id"], approval["grant_id"]);
    assert!(again["grant"].is_string());
    let rejected = server.ask(&Device::new(2), "operator.read");
    let rejected = host.run(&["devices", "reject", &rejected, "--json"]).json();
    assert_eq!(
        (members(&rejected).as_str(), &rejected["status"]),
        (REQUEST, &json!("rejected"))
    );
}

#[test]
fn tokens_and_their_holders_have_the_members_of_the_contract() {
    let install = Install::new();
    let (server, host) = (&install.server, &install.host);
    let whoami = host.run(&["whoami", "--json"]).json();
    let expected =
        "credential device_id expires_at grant_id instance_id next role scopes source url";
    assert_eq!(members(&whoami), expected);
    let exchange = ["token", "exchange", "--scopes", "operator.read", "--json"];
    let answer = host.run(&exchange).json();
    let expected = "access_token expires_in issued_token_type scope token_type";
    assert_eq!(members(&answer), expected);
    let token = answer["access_token"].as_str().unwrap();
    let inspected = host
        .run_fed(token, &["token", "inspect", "-", "--json"])
        .json();
    let expected = "blocks expires_at kind lineage problems scopes verified";
    assert_eq!(members(&inspected), expected);
    assert_eq!(inspected["kind"], "access");
    let root = host
        .run_fed(&install.root, &["token", "inspect", "-", "--json"])
        .json();
    assert_eq!(
        (members(&root).as_str(), &root["kind"]),
        (expected, &json!("root"))
    );
    let known = server
        .send(&Request::get("/.well-known/hardtack"))
        .expect(200);
    assert_eq!(known["profile"], 1);
    assert_eq!(members(&known["root_keys"][0]), "id key state");
    // With the keys the signatures are checked, and with others they do not fit.
    let keys = host.file("keys.json", &known.to_string());
    let other = known.to_string().replace("\"id\":1", "\"id\":7");
    let other = host.file("other.json", &other);
    for (keys, verified) in [(keys, true), (other, false)] {
        for token in [token, &install.root] {
            let inspect = ["token", "inspect", "-", "--json", "--keys", keys.as_str()];
            let inspected = host.run_fed(token, &inspect).json();
            assert_eq!(inspected["verified"], verified, "{inspected}");
            assert_eq!(inspected["problems"] == json!([]), verified, "{inspected}");
        }
    }
    for (path, expected) in [("/healthz", "status"), ("/readyz", "checks status")] {
        assert_eq!(
            members(&server.send(&Request::get(path)).expect(200)),
            expected
        );
    }
    let audit = install.audit();
    let expected = "action actor address at detail hash object prev_hash seq";
    assert_eq!(members(&audit[0]), expected);
}

/// A request never changes after it was shown: another ask is another request.
#[test]
fn another_ask_supersedes_the_first_and_the_first_says_by_which() {
    let install = Install::new();
    let (server, host) = (&install.server, &install.host);
    let device = Device::new(1);
    let first = server.ask(&device, "operator.read");
    assert_eq!(server.ask(&device, "operator.read"), first);
    let second = server.ask(&device, "operator.read operator.write");
    assert_ne!(second, first);
    // A narrower one is the same.
    assert_eq!(server.ask(&device, "operator.read"), second);
    let shown = host.run(&["devices", "show", &first, "--json"]).json();
    assert_eq!(shown["scopes"], json!(["operator.read"]));
    assert_eq!(
        (&shown["status"], &shown["superseded_by"]),
        (&json!("superseded"), &json!(second))
    );
    let refused = host.run(&["devices", "approve", &first, "--json"]);
    assert_eq!(refused.outcome(), "4 not_pending");
    let problem = refused.problem();
    assert_eq!(problem["superseded_by"], json!(second));
    assert!(
        problem["next"]
            .to_string()
            .contains(&format!("devices approve {second}"))
    );
    let other = Request::get(format!("/v1/pairing-requests/{first}"));
    assert_eq!(server.prove(&device, &other).member("status"), "superseded");
}

#[test]
fn a_device_says_who_approved_it_and_how_many_live_below_it() {
    let install = Install::new();
    let server = &install.server;
    let local = install.local();
    let desk = install.pair(1, "operator.pairing operator.read");
    let below = server.pair(&desk, 2, "operator.pairing");
    server.pair(&below, 3, "operator.pairing");
    let shown = |id: &str| {
        let run = install.host.run(&["devices", "show", id, "--json"]);
        run.json()
    };
    let local_id = local.device.id().to_string();
    let root = json!({"kind": "root", "device_id": null, "grant_id": null});
    let first = shown(&local_id);
    assert_eq!(
        (&first["approved_by"], &first["descendants"]),
        (&root, &json!(3))
    );
    let by = json!({"kind": "device", "device_id": desk.device.id().to_string(), "grant_id": desk.grant_id});
    let second = shown(&below.device.id().to_string());
    assert_eq!(
        (&second["approved_by"], &second["descendants"]),
        (&by, &json!(1))
    );
    // What died with another is not alive.
    let id = below.device.id().to_string();
    install.host.run(&["devices", "revoke", &id, "--yes"]).ok();
    assert_eq!(shown(&local_id)["descendants"], 1);
}

#[test]
fn whoami_of_a_token_says_when_the_token_ends() {
    let install = Install::new();
    let server = &install.server;
    let paired = install.pair(1, "operator.read");
    let whoami = Request::get("/v1/whoami");
    assert_eq!(
        server.call(&paired, &whoami).expect(200)["expires_at"],
        json!(null)
    );
    let token = server.token_with(&paired, &[("audience", &server.url)]);
    let inspected = install
        .host
        .run_fed(&token, &["token", "inspect", "-", "--json"]);
    let said = server.send(&whoami.bearer(&token)).expect(200);
    assert!(said["expires_at"].is_string());
    assert_eq!(said["expires_at"], inspected.json()["expires_at"]);
}

#[test]
fn a_decision_offline_says_what_is_required_and_what_is_held() {
    let install = Install::new();
    let token = install.server.token(&install.pair(1, "operator.read"));
    for (method, path, decision, code, required) in [
        (
            "GET",
            "/api/x",
            "allow",
            json!(null),
            json!(["operator.read"]),
        ),
        (
            "PUT",
            "/api/x",
            "deny",
            json!("insufficient_scope"),
            json!(["operator.write"]),
        ),
        ("GET", "/elsewhere", "deny", json!("no_route"), json!([])),
    ] {
        let args = [
            "token", "verify", "-", "--method", method, "--path", path, "--json",
        ];
        let run = install.host.run_fed(&token, &args);
        let expected = json!({
            "decision": decision, "code": code, "required": required, "held": ["operator.read"],
        });
        let decided: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(decided, expected);
    }
}

#[test]
fn who_is_named_could_do_it() {
    let install = Install::new();
    let server = &install.server;
    let approver = install.pair(1, "operator.pairing");
    // Holds what is missing, and may not approve.
    let reader = install.pair(2, "operator.read");
    // May approve, and holds what is missing.
    let desk = install.pair(3, "operator.pairing operator.read");
    let asked = server.ask(&Device::new(4), "operator.read");
    let refused = server.approve(&approver, &asked, &json!({}));
    assert_eq!(refused.outcome(), "403 insufficient_scope");
    let who = refused.json()["who"].to_string();
    assert!(who.contains(&desk.device.id().short()), "{who}");
    assert!(!who.contains(&reader.device.id().short()), "{who}");
}
