//! What only an encoder by hand can write: blocks and keys that no Datalog
//! source makes. They are outside the profile too.

use biscuit_auth::format::schema::{self, op, term};
use biscuit_auth::{Algorithm, BlockBuilder, KeyPair};
use ed25519_dalek::SigningKey;
use hardtack_token::TokenText;
use prost::Message;

use crate::forge::{
    Handmade, altered, append, bytes, hold, hold_with, next_key, put_together, signing_key,
    take_apart,
};
use crate::grammar::{GRANT, HOLDER, SESSION, assert_outside, attested};
use crate::support::{World, get, oracle};

/// `A G S H` with the holder's block rewritten below the level of Datalog.
pub(crate) fn rewritten(world: &mut World, edit: &str) -> TokenText {
    let session = attested(world, GRANT, SESSION);
    let sample = hold(world, &session, HOLDER);
    let sample = take_apart(&bytes(&sample)).blocks.pop().unwrap();
    let mut block = schema::Block::decode(sample.block.as_slice()).unwrap();
    rewrite(&mut block, edit);
    let next = SigningKey::generate(&mut world.rng);
    let holder = Handmade {
        data: match edit {
            "an unknown field" => [block.encode_to_vec(), vec![0x78, 0x01]].concat(),
            _ => block.encode_to_vec(),
        },
        attested_by: None,
        payload: 1,
        next: &next,
    };
    put_together(&append(&take_apart(&bytes(&session)), &holder))
}

fn rewrite(block: &mut schema::Block, edit: &str) {
    let check = &mut block.checks[0];
    let query = &mut check.queries[0];
    let variable = query.body[0].terms[0].clone();
    let [_, right, operator] = &mut query.expressions[0].ops[..] else {
        panic!("the sample is one binary operation");
    };
    let Some(op::Content::Binary(operator)) = &mut operator.content else {
        panic!("the sample is one binary operation");
    };
    let other = |id| Some(term::Content::Variable(id));
    match edit {
        // The second is added to the bytes.
        "nothing" | "an unknown field" => {}
        "Datalog 6" => block.version = Some(6),
        "Datalog 2" => block.version = Some(2),
        "no version" => block.version = None,
        "an empty context" => block.context = Some(String::new()),
        "a scope annotation" => block.scope.push(schema::Scope::default()),
        "a key table" => block.public_keys.push(schema::PublicKey::default()),
        "a scope annotation on a check" => query.scope.push(schema::Scope::default()),
        "check all" => check.kind = Some(1),
        "reject if" => check.kind = Some(2),
        "a kind before there were kinds" => check.kind = Some(0),
        "no query" => check.queries.clear(),
        "two queries" => check.queries.push(check.queries[0].clone()),
        "another head" => query.head.name = 0,
        "a head with a term" => query.head.terms.push(variable),
        "no fact" => query.body.clear(),
        "two facts" => query.body.push(query.body[0].clone()),
        "no term" => query.body[0].terms.clear(),
        "an empty term" => query.body[0].terms[0].content = None,
        "another variable" => query.body[0].terms[0].content = other(0),
        "a variable without a name" => {
            let term = schema::Term {
                content: other(9999),
            };
            query.body[0].terms[0] = term.clone();
            right.content = Some(op::Content::Value(term));
        }
        "no expression" => query.expressions.clear(),
        "another operator" => operator.kind = schema::op_binary::Kind::Regex as i32,
        "an unknown operator" => operator.kind = 99,
        "a foreign function" => operator.ffi_name = Some(0),
        "a closure" => right.content = Some(op::Content::Closure(schema::OpClosure::default())),
        "one operand" => drop(query.expressions[0].ops.remove(0)),
        "a symbol of the default table" => block.symbols.push("time".to_owned()),
        "a symbol of block 0" => block.symbols.push("scope".to_owned()),
        "a symbol twice" => block.symbols.push(block.symbols[0].clone()),
        "a symbol less" => drop(block.symbols.pop()),
        "a fact of no term" => block.facts.push(schema::Fact::default()),
        _ => panic!("{edit}"),
    }
}

/// Changes of a holder's block, and the reason for which each is refused.
pub(crate) const EDITS: [(&str, &str); 31] = [
    ("Datalog 6", "Datalog version"),
    ("Datalog 2", "Datalog version"),
    ("no version", "Datalog version"),
    ("an empty context", "a context"),
    ("a scope annotation", "a context, a scope annotation"),
    ("a key table", "a key table"),
    ("a scope annotation on a check", "annotation of its own"),
    ("check all", "not of the kind `check if`"),
    ("reject if", "not of the kind `check if`"),
    (
        "a kind before there were kinds",
        "not of the kind `check if`",
    ),
    ("no query", "has alternatives"),
    ("two queries", "has alternatives"),
    ("another head", "a head"),
    ("a head with a term", "a head"),
    ("no fact", "joins several facts"),
    ("two facts", "joins several facts"),
    ("no term", "has not exactly one term"),
    ("an empty term", "none of the allowed"),
    ("another variable", "none of the allowed"),
    ("a variable without a name", "none of the allowed"),
    ("no expression", "none of the allowed"),
    ("another operator", "none of the allowed"),
    ("an unknown operator", "none of the allowed"),
    ("a foreign function", "none of the allowed"),
    ("a closure", "none of the allowed"),
    ("one operand", "none of the allowed"),
    ("a symbol of the default table", "declared twice"),
    ("a symbol of block 0", "declared twice"),
    ("a symbol twice", "declared twice"),
    ("a symbol less", "none of the allowed"),
    ("a fact of no term", "takes checks only"),
];

#[test]
fn what_no_datalog_source_says_is_refused_too() {
    let mut world = World::new(1);
    let untouched = rewritten(&mut world, "nothing");
    assert_eq!(world.denial(&untouched), None);
    for (edit, reason) in EDITS {
        let token = rewritten(&mut world, edit);
        assert_outside(&world, &token, 3, reason, edit);
    }
}

/// `A G S` with the attested blocks signed by hand under a payload version and
/// declaring a Datalog version.
fn attested_as(world: &mut World, payload: u32, version: u32) -> TokenText {
    let (key, next) = (
        signing_key(&world.key),
        SigningKey::generate(&mut world.rng),
    );
    let raw = take_apart(&bytes(&attested(world, GRANT, SESSION)));
    let mut open = take_apart(world.authority("*").to_stored());
    for block in &raw.blocks {
        let mut content = schema::Block::decode(block.block.as_slice()).unwrap();
        content.version = Some(version);
        let handmade = Handmade {
            data: content.encode_to_vec(),
            attested_by: Some(&key),
            payload,
            next: &next,
        };
        open = append(&open, &handmade);
    }
    put_together(&open)
}

#[test]
fn an_attested_block_must_be_bound_to_what_precedes_it() {
    let mut world = World::new(2);
    let bound = attested_as(&mut world, 1, 5);
    assert_eq!(world.denial(&bound), None);
    let loose = attested_as(&mut world, 0, 5);
    assert_outside(&world, &loose, 1, "bound to the block before", "payload 0");
}

#[test]
fn an_attested_block_declares_the_version_that_has_attested_blocks() {
    let mut world = World::new(3);
    let (root, key) = (world.root.public().unwrap(), world.key.public().unwrap());
    let leaf = crate::grammar::LEAF.parse().unwrap();
    for version in [3, 4, 5] {
        let token = attested_as(&mut world, 1, version);
        let datalog = oracle(&token, &root, &key, leaf, &world.catalog, &get("/"), &[]);
        assert_eq!(datalog, version == 5, "the stock crate, Datalog {version}");
        let native = world.denial(&token).is_none();
        assert_eq!(native, version == 5, "natively, Datalog {version}");
    }
}

#[test]
fn block_0_is_not_attested() {
    let mut world = World::new(7);
    let token = world.token(1);
    let token = altered(&token, |raw| {
        raw.authority.external_signature = raw.blocks[0].external_signature.clone();
        raw.authority.version = Some(1);
    });
    assert_outside(
        &world,
        &token,
        0,
        "bound to the block before",
        "attested block 0",
    );
}

#[test]
fn a_key_of_another_algorithm_is_refused_wherever_it_stands() {
    let mut world = World::new(8);
    let p256 = KeyPair::new_with_rng(Algorithm::Secp256r1, &mut world.rng);
    let token = world.token(1);
    let on_p256 = hold_with(&token, &p256, BlockBuilder::new());
    let next = next_key(&mut world);
    let after_p256 = hold_with(&on_p256, &next, BlockBuilder::new());
    assert_outside(&world, &on_p256, 3, "Ed25519", "a last key");
    assert_outside(&world, &after_p256, 3, "Ed25519", "a key between");
    for (what, algorithm) in [("P-256", 1), ("an unknown algorithm", 7)] {
        let next = altered(&token, |raw| raw.authority.next_key.algorithm = algorithm);
        assert_outside(&world, &next, 0, "Ed25519", what);
        let attesting = altered(&token, |raw| {
            let external = raw.blocks[1].external_signature.as_mut().unwrap();
            external.public_key.algorithm = algorithm;
        });
        assert_outside(&world, &attesting, 2, "Ed25519", what);
    }
}
