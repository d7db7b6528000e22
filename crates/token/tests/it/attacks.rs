//! The attacks on the earlier draft of the design, built with the stock crate,
//! which finds each of these tokens genuine, and shown closed.

use ed25519_dalek::SigningKey;
use hardtack_token::{
    AuthorityId, Caveat, Chain, Denial, End, GrantId, NewSession, Request, RootKey, RootKeyId,
    RootToken, SessionId, TokenText, attenuate,
};

use crate::forge::{
    Handmade, altered, append, attach, attest_by_hand, attested_block, bytes, hold, next_key,
    put_together, sealed, stock, stock_verifies, take_apart, text,
};
use crate::support::{GATEWAY, NOW, World, claims, device, get, oracle, set};

fn grant_code(id: GrantId, scopes: &str) -> String {
    let device = device(3);
    format!(
        r#"grant("{id}"); device("{device}"); role("operator");
           check if accepts($s), {{"{scopes}"}}.contains($s);"#
    )
}

fn session_code(world: &mut World, leaf: GrantId) -> String {
    let (id, end) = (world.uuid(), NOW.plus(900));
    format!(
        r#"session("{leaf}", "{id}");
           check if audience($a), {{"{GATEWAY}"}}.contains($a);
           check if time($t), $t < {end};"#
    )
}

/// What the reference Datalog says of `operator.admin`, for this leaf.
fn datalog_gives_admin(world: &World, token: &TokenText, leaf: GrantId) -> bool {
    let (root, key) = (world.root.public().unwrap(), world.key.public().unwrap());
    let required = [world.requirement("operator.admin")];
    oracle(
        token,
        &root,
        &key,
        leaf,
        &world.catalog,
        &get("/"),
        &required,
    )
}

/// An open chain with two holder's blocks on top, signed so that the second is
/// the same, signature included, whatever the chain: it is signed under payload
/// version 0 by a key that the holder chose.
struct Splice {
    shared: SigningKey,
    last: SigningKey,
    code: &'static str,
}

impl Splice {
    fn new(world: &mut World, code: &'static str) -> Self {
        let shared = SigningKey::generate(&mut world.rng);
        let last = SigningKey::generate(&mut world.rng);
        Self { shared, last, code }
    }

    fn on(&self, world: &mut World, chain: &Chain) -> TokenText {
        let mut open = take_apart(chain.to_stored());
        for next in [&self.shared, &self.last] {
            let sample = hold(world, &put_together(&open), self.code);
            let data = take_apart(&bytes(&sample)).blocks.pop().unwrap().block;
            let block = Handmade {
                data,
                attested_by: None,
                payload: 0,
                next,
            };
            open = append(&open, &block);
        }
        put_together(&open)
    }
}

/// Moves the blocks of `from` after its first `kept` onto `onto`, with the proof.
fn moved(from: &TokenText, kept: usize, onto: &TokenText) -> TokenText {
    let from = take_apart(&bytes(from));
    altered(onto, |t| {
        t.blocks.extend_from_slice(&from.blocks[kept..]);
        t.proof = from.proof.clone();
    })
}

/// E2, E2b: the holder of a paired device and of a stolen open grant.
#[test]
fn a_session_cannot_be_spliced_onto_a_stolen_grant() {
    let mut world = World::new(1);
    for code in ["", r#"check if path($p), $p.starts_with("/");"#] {
        let authority = world.authority("operator.admin");
        let own = world.grant(&authority, device(1), "operator.read");
        let stolen = world.grant(&authority, device(2), "operator.admin");
        let own_leaf = own.profile().unwrap().leaf().id;
        let splice = Splice::new(&mut world, code);
        let (on_own, on_stolen) = (splice.on(&mut world, &own), splice.on(&mut world, &stolen));
        let session = session_code(&mut world, own_leaf);
        let honest = attest_by_hand(&mut world, &bytes(&on_own), &session);
        let spliced = moved(&honest, 3, &on_stolen);

        assert!(stock_verifies(&world, &spliced), "{code}");
        // As the draft had it, without `leaf`: any activation satisfied the policy.
        assert!(datalog_gives_admin(&world, &spliced, own_leaf), "{code}");
        for token in [honest, spliced] {
            assert_eq!(
                world.decide(&token, "operator.read"),
                "outside_profile",
                "{code}"
            );
        }
    }
}

/// E3: a grant that was approved from the paired device is rooted anew.
#[test]
fn a_grant_cannot_be_spliced_onto_a_stolen_grant() {
    let mut world = World::new(2);
    let authority = world.authority("operator.admin");
    let own = world.grant(&authority, device(1), "operator.read");
    let stolen = world.grant(&authority, device(2), "operator.admin");
    let splice = Splice::new(&mut world, "");
    let (on_own, on_stolen) = (splice.on(&mut world, &own), splice.on(&mut world, &stolen));
    let child = GrantId::from_uuid(world.uuid());
    let granted = attest_by_hand(
        &mut world,
        &bytes(&on_own),
        &grant_code(child, "operator.admin"),
    );
    let spliced = moved(&granted, 3, &on_stolen);
    // The draft's authority then activated it with proof of the child's own key.
    let session = session_code(&mut world, child);
    let honest = attest_by_hand(&mut world, &bytes(&granted), &session);
    let stolen = attest_by_hand(&mut world, &bytes(&spliced), &session);

    assert!(stock_verifies(&world, &stolen));
    assert!(!datalog_gives_admin(&world, &honest, child));
    assert!(
        datalog_gives_admin(&world, &stolen, child),
        "the leaf rule does not stop it"
    );
    assert_eq!(world.decide(&stolen, "operator.read"), "outside_profile");
    // Nor does the authority's own code attest a session on such a chain.
    let stored = Chain::from_stored(bytes(&spliced).into());
    assert!(stored.profile().is_err());
}

/// The control of E2: without the shared key the signatures alone refuse it.
#[test]
fn a_session_cannot_be_moved_to_another_grant() {
    let mut world = World::new(3);
    let authority = world.authority("operator.admin");
    let own = world.grant(&authority, device(1), "operator.read");
    let stolen = world.grant(&authority, device(2), "operator.admin");
    let honest = world.session(&own, Vec::new());
    let spliced = moved(&honest, 1, &text(stolen.to_stored()));
    assert!(!stock_verifies(&world, &spliced));
    assert_eq!(
        world.denial(&spliced),
        Some(Denial::BadSignature { block: 2 })
    );
}

/// Whoever holds an open chain signs its next block, but not for the authority.
#[test]
fn an_attestation_that_the_authority_did_not_make_is_refused() {
    let mut world = World::new(16);
    let (own, stolen) = (world.chain(1), world.chain(1));
    let leaf = stolen.profile().unwrap().leaf().id;
    let code = session_code(&mut world, leaf);

    // Signed with a key of one's own, under the authority's name.
    let own_key = SigningKey::generate(&mut world.rng);
    let genuine = take_apart(&bytes(&attest_by_hand(
        &mut world,
        stolen.to_stored(),
        &code,
    )));
    let genuine = genuine.blocks[1].clone();
    let block = Handmade {
        data: genuine.block,
        attested_by: Some(&own_key),
        payload: 1,
        next: &own_key,
    };
    let mut forged = append(&take_apart(stolen.to_stored()), &block);
    let named = forged.blocks[1].external_signature.as_mut().unwrap();
    named.public_key = genuine.external_signature.unwrap().public_key;

    // Made by the authority, over another chain.
    let block = attested_block(&world.key, own.to_stored(), &code);
    let moved = attach(stolen.to_stored(), &block, next_key(&mut world));
    for token in [put_together(&forged), moved] {
        assert!(!stock_verifies(&world, &token));
        assert_eq!(
            world.denial(&token),
            Some(Denial::BadSignature { block: 2 })
        );
    }
}

/// C2, E1: a child that was approved with an access token was live without its key.
#[test]
fn a_child_of_an_access_token_is_no_token() {
    let mut world = World::new(4);
    let parent = world.chain(1);
    let parent_leaf = parent.profile().unwrap().leaf().id;
    for caveats in [Vec::new(), vec![Caveat::Holder(device(1))]] {
        let access = world.session(&parent, caveats);
        let child = GrantId::from_uuid(world.uuid());
        let code = grant_code(child, "operator.read");
        let unproven = attest_by_hand(&mut world, &bytes(&access), &code);
        let session = session_code(&mut world, child);
        let activated_twice = attest_by_hand(&mut world, &bytes(&unproven), &session);
        for token in [&unproven, &sealed(&unproven), &activated_twice] {
            assert!(stock_verifies(&world, token));
            let holder = Some(device(1));
            let request = Request {
                holder,
                ..get("/api/x")
            };
            assert_eq!(
                world.decide_request(token, &request, &[]),
                "outside_profile"
            );
        }
        let (root, key) = (world.root.public().unwrap(), world.key.public().unwrap());
        let request = Request {
            holder: Some(device(1)),
            ..get("/api/x")
        };
        let catalog = &world.catalog;
        assert!(oracle(
            &unproven,
            &root,
            &key,
            parent_leaf,
            catalog,
            &request,
            &[]
        ));
    }
}

/// H1, E4: the holder of an open token re-appends the same attested block.
#[test]
fn a_revoked_session_under_another_next_key_is_still_revoked() {
    let mut world = World::new(5);
    let chain = world.chain(1);
    let leaf = chain.profile().unwrap().leaf().id;
    let code = session_code(&mut world, leaf);
    let block = attested_block(&world.key, chain.to_stored(), &code);
    let keys = [next_key(&mut world), next_key(&mut world)];
    let [first, again] = keys.map(|next| attach(chain.to_stored(), &block, next));
    assert_ne!(
        stock(&first).revocation_identifiers().last(),
        stock(&again).revocation_identifiers().last(),
        "what the stock crate would revoke by"
    );
    assert_eq!(world.decide(&again, "operator.read"), "ok");
    world.end(claims(&first).session.unwrap().id.uuid(), End::Revoked);
    for token in [first, again] {
        assert_eq!(world.decide(&token, "operator.read"), "revoked");
    }
}

#[test]
fn a_revoked_grant_under_another_next_key_is_still_revoked() {
    let mut world = World::new(6);
    let parent = world.chain(1);
    let child = GrantId::from_uuid(world.uuid());
    let code = grant_code(child, "operator.read");
    let block = attested_block(&world.key, parent.to_stored(), &code);
    let keys = [next_key(&mut world), next_key(&mut world)];
    let tokens = keys.map(|next| {
        let granted = attach(parent.to_stored(), &block, next);
        let session = session_code(&mut world, child);
        attest_by_hand(&mut world, &bytes(&granted), &session)
    });
    assert_eq!(world.decide(&tokens[1], "operator.read"), "ok");
    world.end(child.uuid(), End::Revoked);
    for token in tokens {
        assert_eq!(world.decide(&token, "operator.read"), "revoked");
    }
}

/// C3, E5: somebody has an old root key and an authority that looks at signatures.
#[test]
fn a_block_0_of_another_root_key_is_refused_everywhere() {
    let mut world = World::new(7);
    let genuine = world.chain(1);
    let said = genuine.profile().unwrap();
    let thief = RootKey::generate(RootKeyId::new(1), &mut world.rng);
    let forged = |world: &mut World, id: AuthorityId| {
        let chain = thief.mint_authority(id, &set("*"), &mut world.rng).unwrap();
        world.append(&chain, said.leaf())
    };
    for id in [said.authority, AuthorityId::from_uuid(world.uuid())] {
        let chain = forged(&mut world, id);
        let token = world.session(&chain, Vec::new());
        assert_eq!(
            world.denial(&token),
            Some(Denial::BadSignature { block: 0 })
        );
        // Even a root key that is still in the ring activates nothing: the
        // authority compares with what it stored.
        assert!(!genuine.same_blocks(&chain.seal().unwrap()));
    }
}

#[test]
fn a_presented_grant_is_the_stored_one_byte_for_byte() {
    let mut world = World::new(8);
    let parent = world.chain(1);
    let stored = world.grant(&parent, device(2), "operator.read");
    let grant = stored.seal().unwrap();
    let sibling = world.append(&parent, stored.profile().unwrap().leaf());
    assert!(stored.same_blocks(&grant));
    for (what, presented) in [
        ("open", text(stored.to_stored())),
        ("its parent", parent.seal().unwrap()),
        (
            "the same grant under another next key",
            sibling.seal().unwrap(),
        ),
        (
            "another root key id",
            altered(&grant, |t| t.root_key_id = Some(2)),
        ),
        ("no root key id", altered(&grant, |t| t.root_key_id = None)),
        (
            "an unknown field",
            text(&[&bytes(&grant)[..], &[0x78, 1]].concat()),
        ),
        ("activated", sealed(&world.session(&stored, Vec::new()))),
    ] {
        assert!(!stored.same_blocks(&presented), "{what}");
    }
}

#[test]
fn a_block_less_or_more_or_out_of_place_is_no_token() {
    let mut world = World::new(9);
    let session = world.token(2);
    let token = attenuate(&session, &[], &mut world.rng).unwrap();
    assert_eq!(world.decide(&token, "operator.read"), "ok");
    let (outside, bad) = ("outside_profile", "bad_signature");
    // The blocks after block 0 are G, G, S and an empty H.
    for (what, i, expected) in [
        ("dropped", 0, bad),
        ("dropped", 1, bad),
        ("dropped", 2, outside),
        ("dropped", 3, bad),
        ("repeated", 0, bad),
        ("repeated", 1, bad),
        ("repeated", 2, outside),
        ("repeated", 3, bad),
        ("cut off, with all after it", 0, outside),
        ("cut off, with all after it", 1, outside),
        ("cut off, with all after it", 2, outside),
        ("cut off, with all after it", 3, bad),
        ("swapped with the next", 0, bad),
        ("swapped with the next", 1, outside),
        ("swapped with the next", 2, outside),
    ] {
        let changed = altered(&token, |t| match what {
            "dropped" => drop(t.blocks.remove(i)),
            "repeated" => t.blocks.insert(i, t.blocks[i].clone()),
            "swapped with the next" => t.blocks.swap(i, i + 1),
            _ => t.blocks.truncate(i),
        });
        let decision = world.decide(&changed, "operator.read");
        assert_eq!(decision, expected, "block {} {what}", i + 1);
    }
}

/// M6: whatever decodes to the same root token is refused but for its own text.
#[test]
fn a_root_token_has_one_text() {
    let mut world = World::new(15);
    let root = world.root.mint_root_token(&mut world.rng).unwrap();
    let own = root.text();
    assert_eq!(RootToken::read(own).unwrap().id(), world.root.id());
    let code = |t: &TokenText| RootToken::read(t).map_or_else(|denial| denial.code(), |_| "read");
    let unpadded = own.expose().trim_end_matches('=');
    for (what, token, expected) in [
        (
            "an unknown field",
            text(&[&bytes(own)[..], &[0x78, 1]].concat()),
            "malformed_token",
        ),
        (
            "a newline",
            TokenText::new(format!("{}\n", own.expose())).unwrap(),
            "malformed_token",
        ),
        (
            "padding",
            TokenText::new(format!("{unpadded}====")).unwrap(),
            "malformed_token",
        ),
        (
            "no root key id",
            altered(own, |t| t.root_key_id = None),
            "unknown_key",
        ),
        ("an access token", world.token(1), "malformed_token"),
        ("a grant", world.chain(1).seal().unwrap(), "malformed_token"),
    ] {
        assert_eq!(code(&token), expected, "{what}");
    }
    // The unsigned hint must be the id that the fact names.
    assert_eq!(
        code(&altered(own, |t| t.root_key_id = Some(2))),
        "outside_profile"
    );
}

/// C1, C2: the authority's own code attests on grants only, whatever it is handed.
#[test]
fn nothing_is_attested_over_a_session_or_a_holders_block() {
    let mut world = World::new(16);
    let access = world.token(1);
    let narrowed = attenuate(&access, &[Caveat::NotAfter(NOW.plus(9))], &mut world.rng).unwrap();
    let grant = world.plain_grant(device(9), "operator.read");
    for token in [&access, &narrowed] {
        let open = Chain::from_stored(bytes(token).into());
        let over = open.append_grant(&grant, &world.key, &mut world.rng);
        assert!(over.is_err());
        let session = NewSession {
            id: SessionId::from_uuid(world.uuid()),
            audience: GATEWAY.to_owned(),
            not_after: NOW.plus(60),
            caveats: Vec::new(),
        };
        let over = open.append_session(&session, &world.key, &mut world.rng);
        assert!(over.is_err());
    }
}
