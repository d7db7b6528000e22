//! Refusals at the gateway.

use std::net::TcpListener;

use hardtack_token::{Caveat, PathPrefix};

use super::Door::Gateway;
use super::Rows;
use crate::device::Device;
use crate::support::forge::{Forge, altered, bytes, narrowed, session_code};
use crate::support::{Answer, Install, Machine, Request, eventually};

const POLICY: &str = r#"
    route("GET", "/api/{*rest}", "operator.read");
    route("POST", "/api/{*rest}", "operator.write");
    deny("GET", "/api/internal");
"#;

pub(super) fn play(rows: &mut Rows) {
    let host = Machine::new();
    let policy = host.file("policy.datalog", POLICY);
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let upstream = format!("http://{port}");
    let args = ["--policy", policy.as_str(), "--upstream", &upstream];
    let install = Install::on(host, &args);
    let server = &install.server;
    let mut keep = |expected: &str, answer: &Answer| rows.keep(server, Gateway, expected, answer);
    let paired = install.pair(1, "operator.read");
    let token = server.token(&paired);
    let read = |token: &str| server.through(token, Request::get("/api/x"));
    let get = |path: &str| server.through(&token, Request::get(path));

    keep(
        "401 missing_token",
        &Request::get("/api/x").send(&server.gateway),
    );
    keep("401 malformed_token", &read("x"));
    keep("401 root_token_not_accepted", &read(&install.root));
    keep("401 grant_not_accepted", &read(&paired.grant));
    let changed = altered(&bytes(&token), |token| token.root_key_id = Some(7));
    keep("401 unknown_key", &read(&changed));
    let changed = altered(&bytes(&token), |token| token.blocks[0].signature[0] ^= 1);
    keep("401 bad_signature", &read(&changed));
    let mut forge = Forge::of(&install);
    keep(
        "401 outside_profile",
        &read(&forge.hold(&bytes(&token), r#"x("y");"#)),
    );
    let chain = install.stolen_chain(&paired);
    let other = install.pair(2, "operator.admin");
    let code = session_code(&other.grant_id, &server.gateway);
    let forged = forge.attest(chain.to_stored(), &code);
    keep("401 not_activated", &read(&forged));
    let to = |caveat| read(&narrowed(&token, caveat));
    let set = |one: &str| std::iter::once(one.to_owned()).collect();
    keep("401 wrong_holder", &to(Caveat::Holder(Device::new(3).id())));
    keep(
        "403 wrong_audience",
        &to(Caveat::Audience(set("http://gw.example"))),
    );
    keep("403 caveat_method", &to(Caveat::Method(set("POST"))));
    keep(
        "403 caveat_path",
        &to(Caveat::Path(PathPrefix::new("/api/y/").unwrap())),
    );
    keep("403 caveat_operation", &to(Caveat::Operation(set("x"))));
    keep(
        "403 insufficient_scope",
        &server.through(&token, Request::post("/api/x")),
    );
    keep("403 no_route", &get("/other"));
    keep("403 denied_by_policy", &get("/api/internal"));
    keep("400 ambiguous_path", &get("/api/../x"));
    let twice = Request::get("/api/x").bearer(&token);
    keep(
        "400 duplicate_authorization",
        &server.through(&token, twice),
    );
    let odd = Request::get("/api/x").header("x_user", "mallory");
    keep("400 invalid_request", &server.through(&token, odd));
    keep("403 proxy_not_trusted", &get("/forward-auth/nginx"));
    keep("404 not_found", &get("/.hardtack/nothing"));
    let posted = server.through(&token, Request::post("/.hardtack/whoami"));
    keep("405 method_not_allowed", &posted);
    keep("502 upstream_failed", &get("/api/x"));
    let proof = server.through(&token, Request::get("/api/x").header("dpop", "x"));
    assert_ne!(proof.status, 200);
    let dpop = Request::get("/api/x").header("authorization", format!("DPoP {token}"));
    keep(
        "401 invalid_proof",
        &dpop.header("dpop", "x").send(&server.gateway),
    );
    let short = server.token_with(&paired, &[("expires_in", "1")]);
    let expired = eventually("it ends", || Some(read(&short)).filter(|a| a.status == 401));
    keep("401 expired", &expired);
    install
        .host
        .run(&["devices", "retire", &other.device.id().to_string(), "--yes"])
        .ok();
    let none = Install::new();
    let reader = none.pair(1, "operator.read");
    let idle = none.server.token(&reader);
    let answer = none.server.through(&idle, Request::get("/api/x"));
    rows.keep(&none.server, Gateway, "503 no_upstream", &answer);
    for (how, word) in [("retire", "401 retired"), ("revoke", "401 revoked")] {
        let paired = none.pair(2, "operator.read");
        let token = none.server.token(&paired);
        let id = paired.device.id().to_string();
        none.host.run(&["devices", how, &id, "--yes"]).ok();
        let refused = none.server.through(&token, Request::get("/api/x"));
        rows.keep(&none.server, Gateway, word, &refused);
    }
}
