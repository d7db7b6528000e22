//! Nothing but `A G+ (S H*)?` with the caveats of the closed list is a token:
//! any other block, order or check is outside the profile, at the block and for
//! the reason that are named, although the stock crate signs it gladly.

use biscuit_auth::{Algorithm, BiscuitBuilder, KeyPair};
use hardtack_token::{Denial, RootToken, TokenText};
use uuid::Uuid;

use crate::forge::{attest_by_hand, bytes, hold, sealed, text};
use crate::support::World;

pub(crate) const LEAF: &str = "0198c0de-0000-7000-8000-000000000001";
/// In the code of these tests `DEVICE` stands for a device's id.
pub(crate) const GRANT: &str = r#"
    grant("0198c0de-0000-7000-8000-000000000001"); device("DEVICE"); role("operator");
    check if accepts($s), {"operator.read"}.contains($s);
"#;
pub(crate) const SESSION: &str = r#"
    session("0198c0de-0000-7000-8000-000000000001", "0198c0de-0000-7000-8000-000000000002");
    check if audience($a), {"http://gw.example"}.contains($a);
    check if time($t), $t < 2030-01-01T00:00:00Z;
"#;
pub(crate) const HOLDER: &str = r#"check if method($m), {"GET"}.contains($m);"#;

// Each line: what the reason says | what is taken out of the block above | what is added to it.
pub(crate) const NO_GRANTS: &str = r#"
    no other check than | | check if holder("DEVICE");
    no other check than | | check if method($m), {"GET"}.contains($m);
    no other check than | | check if audience($a), {"http://gw.example"}.contains($a);
    no other check than | | check if path($p), $p.starts_with("/v1/");
    no other check than | | check if operation($o), {"a"}.contains($o);
    a grant holds one | | check if accepts($s), {"operator.read"}.contains($s);
    a grant holds one | | check if time($t), $t < 2030-01-01T00:00:00Z; check if time($t), $t < 2031-01-01T00:00:00Z;
    a grant holds one | check if accepts($s), {"operator.read"}.contains($s); |
    a grant holds one | | service("builder");
    a grant holds one | device("DEVICE"); |
    a grant holds one | device("DEVICE"); | device("me");
    a grant holds one | | device("0202020202020202020202020202020202020202020202020202020202020202");
    a grant holds one | role("operator"); |
    a grant holds one | role("operator"); | role("Operator");
    a grant holds one | | role("node");
    a grant holds one | | grant("0198c0de-0000-7000-8000-000000000009");
    a grant holds one | | scope("operator.admin");
    a grant holds one | | root("1");
    rules are not allowed | | scope($s) <- accepts($s);
    facts hold strings | | level(1);
"#;
pub(crate) const NO_SESSIONS: &str = r#"
    a session holds one | check if audience($a), {"http://gw.example"}.contains($a); |
    a session holds one | check if audience($a), {"http://gw.example"}.contains($a); | check if audience($a), {"http://gw.example", "http://b"}.contains($a);
    a session holds one | check if audience($a), {"http://gw.example"}.contains($a); | check if audience($a), {,}.contains($a);
    a session holds one | | check if audience($a), {"http://gw.example"}.contains($a);
    a session holds one | check if time($t), $t < 2030-01-01T00:00:00Z; |
    a session holds one | | check if time($t), $t < 2029-01-01T00:00:00Z;
    a session holds one | | session("0198c0de-0000-7000-8000-000000000001", "0198c0de-0000-7000-8000-000000000003");
    a session holds one | | scope("operator.admin");
    a session holds one | , "0198c0de-0000-7000-8000-000000000002" |
    a session holds one | -000000000002 |
    none of the allowed | | check if accepts($s);
    rules are not allowed | | session($g, "x") <- leaf($g);
"#;
pub(crate) const NO_HOLDERS: &str = r#"
    takes checks only | | scope("operator.admin");
    facts hold strings | | level(1);
    rules are not allowed | | scope($s) <- accepts($s);
    joins several facts | | check if true;
    joins several facts | | check if method($m), path($p), {"GET"}.contains($m);
    has alternatives | | check if method("GET") or method("HEAD");
    not of the kind `check if` | | check all method($m), {"GET"}.contains($m);
    a scope annotation of its own | | check if method($m), {"GET"}.contains($m) trusting previous;
    has not exactly one term | | check if method($m, $n), {"GET"}.contains($m);
    none of the allowed | | check if user("x");
    none of the allowed | | check if time($t);
    none of the allowed | | check if method($m), {"GET"}.contains($m), {"PUT"}.contains($m);
    none of the allowed | | check if method($m), !{"PUT"}.contains($m);
    none of the allowed | | check if method($m), $m === "GET";
    none of the allowed | | check if method($m), "GET HEAD".contains($m);
    none of the allowed | | check if method($m), {1, 2}.contains($m);
    none of the allowed | | check if accepts($s), {"operator.*"}.contains($s);
    none of the allowed | | check if time($t), $t > 2020-01-01T00:00:00Z;
    none of the allowed | | check if path($p), $p.matches("^/api/");
    none of the allowed | | check if path($p), $p.ends_with("/");
    none of the allowed | | check if path($p), $p.starts_with("/api");
    none of the allowed | | check if path($p), $p.starts_with("api/");
    none of the allowed | | check if holder("me");
    none of the allowed | | check if holder($h);
    Datalog version | | reject if method($m), {"PUT"}.contains($m);
    Datalog version | | check if method($m), $m == "GET";
    Datalog version | | check if method($m), {"GET"}.any($x -> $x == $m);
    Datalog version | | check if method($m), $m.extern::allowed();
"#;

pub(crate) fn assert_outside(
    world: &World,
    token: &TokenText,
    block: usize,
    reason: &str,
    what: &str,
) {
    match world.denial(token) {
        Some(Denial::OutsideProfile(found)) => {
            assert_eq!(found.block, block, "{what}: {found}");
            assert!(found.why.contains(reason), "{what}: {found}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

fn attest(world: &mut World, open: &[u8], code: &str) -> TokenText {
    let code = code.replace("DEVICE", &"01".repeat(32));
    attest_by_hand(world, open, &code)
}

/// `A G S` with the grant and the session in Datalog, attested as they are.
pub(crate) fn attested(world: &mut World, grant: &str, session: &str) -> TokenText {
    let authority = world.authority("*");
    let granted = attest(world, authority.to_stored(), grant);
    attest(world, &bytes(&granted), session)
}

pub(crate) fn each_case(cases: &str, base: &str, mut check: impl FnMut(&str, &str, &str)) {
    for line in cases.lines().filter(|line| !line.trim().is_empty()) {
        let [reason, removed, added] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert!(base.contains(removed.trim()), "{line}");
        let code = base.replace(removed.trim(), "") + added;
        check(reason.trim(), &code, line);
    }
}

#[test]
fn a_grant_takes_its_four_facts_and_two_checks_only() {
    let mut world = World::new(1);
    each_case(NO_GRANTS, GRANT, |reason, code, line| {
        let token = attested(&mut world, code, SESSION);
        assert_outside(&world, &token, 1, reason, line);
    });
}

#[test]
fn a_session_takes_one_fact_one_audience_and_one_end() {
    let mut world = World::new(2);
    each_case(NO_SESSIONS, SESSION, |reason, code, line| {
        let token = attested(&mut world, GRANT, code);
        assert_outside(&world, &token, 2, reason, line);
    });
}

#[test]
fn a_holders_block_takes_the_listed_checks_only() {
    let mut world = World::new(3);
    let session = attested(&mut world, GRANT, SESSION);
    each_case(NO_HOLDERS, HOLDER, |reason, code, line| {
        let token = hold(&mut world, &session, code);
        assert_outside(&world, &token, 3, reason, line);
    });
}

fn with_leaf(code: &str, leaf: Uuid) -> String {
    code.replace(LEAF, &leaf.to_string())
}

/// A token of this shape: `A`, attested `G`, `S` and `C` (checks alone),
/// holder's `H`, and a grant `g` or session `s` that the holder signed.
pub(crate) fn shaped(world: &mut World, shape: &str) -> TokenText {
    let mut token = text(world.authority("*").to_stored());
    let mut leaf = Uuid::nil();
    for letter in shape.chars().skip(1) {
        let open = bytes(&token);
        if matches!(letter, 'G' | 'g') {
            leaf = world.uuid();
        }
        token = match letter {
            'G' => attest(world, &open, &with_leaf(GRANT, leaf)),
            'S' => attest(world, &open, &with_leaf(SESSION, leaf)),
            'C' => attest(world, &open, HOLDER),
            'H' => hold(world, &token, HOLDER),
            'g' => hold(world, &token, &with_leaf(GRANT, leaf)),
            's' => hold(world, &token, &with_leaf(SESSION, leaf)),
            _ => panic!("{shape}"),
        };
    }
    token
}

/// Orders and numbers of blocks that are refused, at which block, and the reason.
pub(crate) const BAD_SHAPES: [(&str, usize, &str); 19] = [
    ("A", 0, "alone"),
    ("AG", 1, "must be sealed"),
    ("AS", 1, "a grant must follow"),
    ("AC", 1, "a grant must follow"),
    ("AH", 1, "follow a session only"),
    ("Ag", 1, "follow a session only"),
    ("AGs", 2, "follow a session only"),
    ("AGC", 2, "a session holds one"),
    ("AGHS", 2, "follow a session only"),
    ("AGHGS", 2, "follow a session only"),
    ("AGSG", 3, "nothing attested may follow"),
    ("AGSS", 3, "nothing attested may follow"),
    ("AGSC", 3, "nothing attested may follow"),
    ("AGSs", 3, "checks only"),
    ("AGSHG", 4, "nothing attested may follow"),
    ("AGSHS", 4, "nothing attested may follow"),
    ("AGSHHH", 5, "at most 2 holder's blocks"),
    ("AGGGGGS", 5, "at most 4 grants"),
    ("AGGGGSHHH", 8, "at most 8 blocks"),
];

#[test]
fn blocks_come_in_one_order() {
    let mut world = World::new(3);
    for shape in ["AGS", "AGGGGS", "AGSH", "AGGGGSHH"] {
        let token = shaped(&mut world, shape);
        assert_eq!(world.denial(&token), None, "{shape}");
        assert_eq!(world.denial(&sealed(&token)), None, "{shape} sealed");
    }
    for (shape, block, reason) in BAD_SHAPES {
        let token = shaped(&mut world, shape);
        assert_outside(&world, &token, block, reason, shape);
    }
}

/// A block 0 in Datalog, signed by the root key.
fn minted(world: &mut World, code: &str) -> TokenText {
    let pair = biscuit_auth::PrivateKey::from_bytes(&world.root.secret(), Algorithm::Ed25519);
    let builder = BiscuitBuilder::new().code(code).unwrap().root_key_id(1);
    let symbols = biscuit_auth::datalog::SymbolTable::default();
    let built = builder.build_with_rng(&KeyPair::from(&pair.unwrap()), symbols, &mut world.rng);
    text(&built.unwrap().to_vec().unwrap())
}

/// `A G S` on such a block 0.
fn on_authority(world: &mut World, code: &str) -> TokenText {
    let authority = minted(world, code);
    let granted = attest(world, &bytes(&authority), GRANT);
    attest(world, &bytes(&granted), SESSION)
}

#[test]
fn an_authority_block_holds_its_id_and_scopes_only() {
    const FORM: &str = "an authority block holds one";
    let id = r#"authority("0198c0de-0000-7000-8000-00000000000a");"#;
    let scope = r#"scope("operator.read");"#;
    let mut world = World::new(4);
    let plain = on_authority(&mut world, &format!("{id}{scope}"));
    assert_eq!(world.denial(&plain), None);
    for (code, reason) in [
        (id.to_owned(), FORM),
        (scope.to_owned(), FORM),
        (format!("{id}{scope}{}", id.replace("0a", "0b")), FORM),
        (format!(r#"authority("me");{id}{scope}"#), FORM),
        (format!("{}{scope}", id.replace("0a", "0A")), FORM),
        (format!(r#"{id}scope("operator.*");"#), "not a scope's name"),
        (format!("{id}{scope}{HOLDER}"), "no check"),
        (format!(r#"{id}{scope}device("x");"#), FORM),
        (format!("{id}{scope}scope($s) <- accepts($s);"), "rules"),
        (format!("{id}{scope}level(1);"), "facts hold strings"),
        (format!(r#"{id}{scope}root("1");"#), "the root token"),
        (r#"root("1");"#.to_owned(), "one sealed block"),
        (r#"root("1", "2");"#.to_owned(), FORM),
    ] {
        let token = on_authority(&mut world, &code);
        assert_outside(&world, &token, 0, reason, &code);
    }
}

#[test]
fn the_root_token_is_one_fact_in_one_sealed_block() {
    let mut world = World::new(5);
    let read =
        |token: &TokenText| RootToken::read(token).map_or_else(|denial| denial.code(), |_| "read");
    let plain = minted(&mut world, r#"root("1");"#);
    assert_eq!(read(&sealed(&plain)), "read");
    assert_eq!(read(&plain), "outside_profile", "open");
    let longer = hold(&mut world, &plain, HOLDER);
    assert_eq!(
        read(&sealed(&longer)),
        "outside_profile",
        "with a holder's block"
    );
    let attested = attest(&mut world, &bytes(&plain), GRANT);
    assert_eq!(read(&sealed(&attested)), "outside_profile", "with a grant");
    for code in [
        r#"root("1"); root("2");"#,
        r#"root("1", "2");"#,
        "root(1);",
        r#"root("one");"#,
        r#"root("1"); check if true;"#,
        r#"root("1"); scope("*");"#,
    ] {
        let token = minted(&mut world, code);
        assert_eq!(read(&sealed(&token)), "outside_profile", "{code}");
    }
}

#[test]
fn what_the_profile_lists_is_accepted_as_any_library_writes_it() {
    let mut world = World::new(6);
    let session = attested(&mut world, GRANT, SESSION);
    for code in [
        "",
        r#"check if accepts($any), {"operator.read", "ghost.walk"}.contains($any);"#,
        "check if time($now), $now < 2030-01-01T00:00:00Z;",
        "check if time($now), $now <= 2030-01-01T00:00:00+02:00;",
        r#"check if audience($a), {"http://other", "http://gw.example"}.contains($a);"#,
        r#"check if method($a), {"GET"}.contains($a); check if method($b), {"GET", "PUT"}.contains($b);"#,
        r#"check if path($query), $query.starts_with("/");"#,
    ] {
        let token = hold(&mut world, &session, code);
        assert_eq!(world.decide(&token, "operator.read"), "ok", "{code}");
        assert_eq!(
            world.decide(&sealed(&token), "operator.read"),
            "ok",
            "{code} sealed"
        );
    }
}
