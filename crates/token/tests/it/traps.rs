//! The traps of the design that lie in what a check means and not in who signed
//! it: undeclared scopes, empty requirements, two facts of a kind, prefixes of
//! paths, and the channel behind a GET.

use std::sync::Arc;

use hardtack_token::{Catalog, Caveat, Implied, Request, attenuate};

use crate::support::{GATEWAY, World, below, device, get, set, strings};

/// M1: an undeclared scope gives nothing, and nothing can require it.
#[test]
fn an_undeclared_scope_gives_nothing_until_it_is_declared() {
    let mut world = World::new(10);
    let chain = world.authority("ghost.walk");
    let chain = world.grant(&chain, device(1), "ghost.walk");
    let token = world.session(&chain, Vec::new());
    let none: [String; 0] = [];
    assert_eq!(world.allowed(&token, &get("/")), none);
    assert!(
        world
            .catalog
            .require(&"ghost.walk".parse().unwrap())
            .is_none()
    );

    let mut catalog = Catalog::builder();
    for name in ["ghost.walk", "ghost.sit"] {
        catalog.scope(name.parse().unwrap(), "").unwrap();
    }
    let all = Implied::Under("ghost".to_owned());
    catalog.implies("ghost.walk".parse().unwrap(), all);
    world.catalog = Arc::new(catalog.build().unwrap());
    assert_eq!(
        world.allowed(&token, &get("/")),
        ["ghost.sit", "ghost.walk", "none"]
    );
}

/// H10: where nothing is required, every block must still give something.
#[test]
fn an_empty_requirement_is_never_met_vacuously() {
    let mut world = World::new(11);
    let chain = world.chain(1);
    for (scopes, expected) in [
        ("", "insufficient_scope"),
        ("ghost.walk", "insufficient_scope"),
        ("operator.pairing", "ok"),
    ] {
        let token = world.session(&chain, vec![Caveat::Scopes(set(scopes))]);
        assert_eq!(
            world.decide_request(&token, &get("/"), &[]),
            expected,
            "{scopes:?}"
        );
    }
    let grant = chain.seal().unwrap();
    assert_eq!(
        world.decide_request(&grant, &get("/"), &[]),
        "grant_not_accepted"
    );
    let token = world.session(&chain, vec![Caveat::Holder(device(1))]);
    assert_eq!(world.decide_request(&token, &get("/"), &[]), "wrong_holder");
}

/// M2: two audiences would be "either"; one is stated, and each check must name it.
#[test]
fn several_audiences_narrow_each_other() {
    let mut world = World::new(12);
    let token = world.token(1);
    let with = |world: &mut World, origins: &[&str]| {
        attenuate(
            &token,
            &[Caveat::Audience(strings(origins))],
            &mut world.rng,
        )
        .unwrap()
    };
    let both = with(&mut world, &[GATEWAY, "http://b"]);
    let other = with(&mut world, &["http://b"]);
    for (token, audience, expected) in [
        (&both, GATEWAY, "ok"),
        (&both, "http://b", "wrong_audience"),
        (&both, "", "wrong_audience"),
        (&other, GATEWAY, "wrong_audience"),
        (&other, "http://b", "wrong_audience"),
    ] {
        let request = Request {
            audience,
            ..get("/")
        };
        assert_eq!(
            world.decide_request(token, &request, &[]),
            expected,
            "{audience}"
        );
    }
}

/// M3: `/v1/devices` is a prefix of `/v1/devices-admin`.
#[test]
fn a_path_prefix_ends_at_a_segment() {
    let mut world = World::new(13);
    let chain = world.chain(1);
    let token = world.session(&chain, vec![below("/v1/devices/")]);
    for (path, expected) in [
        ("/v1/devices", "ok"),
        ("/v1/devices/", "ok"),
        ("/v1/devices/7", "ok"),
        ("/v1/devices-admin", "caveat_path"),
        ("/v1/devicesx/7", "caveat_path"),
        ("/v1/Devices/7", "caveat_path"),
        ("/v1/", "caveat_path"),
        ("/v1", "caveat_path"),
        ("/", "caveat_path"),
        ("", "caveat_path"),
        ("v1/devices/7", "caveat_path"),
    ] {
        assert_eq!(
            world.decide_request(&token, &get(path), &[]),
            expected,
            "{path:?}"
        );
    }
}

/// H7: an upgrade is a GET, and then every frame runs under it.
#[test]
fn a_read_only_token_opens_no_channel_and_drives_no_frame() {
    let mut world = World::new(14);
    let chain = world.chain(1);
    let read_only = world.session(&chain, vec![Caveat::Method(strings(&["GET", "HEAD"]))]);
    let one_path = world.session(&chain, vec![below("/")]);
    let channel = world.session(&chain, vec![Caveat::Method(strings(&["WEBSOCKET"]))]);
    let upgrade = Request {
        method: Some("WEBSOCKET"),
        ..get("/ws")
    };
    let frame = Request {
        method: None,
        path: None,
        operation: Some("config.set"),
        ..get("/")
    };
    for (what, token, request, expected) in [
        ("GET", &read_only, get("/ws"), "ok"),
        ("an upgrade", &read_only, upgrade, "caveat_method"),
        ("an upgrade with its own method", &channel, upgrade, "ok"),
        (
            "a GET with the upgrade's method",
            &channel,
            get("/ws"),
            "caveat_method",
        ),
        (
            "a frame of a method caveat",
            &read_only,
            frame,
            "caveat_method",
        ),
        (
            "a frame of the upgrade's method",
            &channel,
            frame,
            "caveat_method",
        ),
        ("a frame of a path caveat", &one_path, frame, "caveat_path"),
    ] {
        assert_eq!(
            world.decide_request(token, &request, &[]),
            expected,
            "{what}"
        );
    }
}
