//! Tokens that are made to hurt who reads them, as any holder of an access token
//! can make them offline. Where the block is whole its signatures fit: nothing
//! but the order of reading stands between it and an engine.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use biscuit_auth::{Algorithm, BlockBuilder, KeyPair};
use ed25519_dalek::SigningKey;
use hardtack_token::MAX_TEXT;

use crate::forge::{Handmade, append, bytes, take_apart};
use crate::support::World;

/// A hostile token, and how it is refused, or `ok` where it only costs.
pub(crate) struct Hostile {
    pub(crate) class: &'static str,
    pub(crate) text: String,
    pub(crate) code: &'static str,
}

/// One class: a token of size `n`, or of less where the class has a size of its own.
struct Class {
    name: &'static str,
    /// The sizes that are tried; the last makes a text above the cap.
    sizes: &'static [usize],
    /// The refusal where the text is read.
    code: &'static str,
    make: fn(&mut Maker, usize) -> Vec<u8>,
}

/// The token that all of them start from.
struct Maker {
    world: World,
    open: Vec<u8>,
}

const OUTSIDE: &str = "outside_profile";
const MALFORMED: &str = "malformed_token";

const CLASSES: &[Class] = &[
    class("facts joined many ways", &[20, 100, 2000], OUTSIDE, joins),
    class("rules that make facts", &[20, 60, 2000], OUTSIDE, rules),
    class(
        "a regular expression that grows",
        &[10, 5000],
        OUTSIDE,
        regex,
    ),
    class(
        "a regular expression on many facts",
        &[50, 5000],
        OUTSIDE,
        regex_on_facts,
    ),
    class("closures in closures", &[5, 20, 6000], OUTSIDE, closures),
    class(
        "closures deeper than is read",
        &[90, 1000, 4000],
        MALFORMED,
        nested_closures,
    ),
    class("terms in terms", &[40], OUTSIDE, nested_terms),
    class(
        "terms deeper than is read",
        &[90, 1000, 4000],
        MALFORMED,
        nested_terms,
    ),
    class(
        "strings that grow",
        &[100, 300, 4000],
        OUTSIDE,
        concatenation,
    ),
    class("a long string", &[3000, 1_000_000], OUTSIDE, long_string),
    class("a large set", &[500, 20_000], OUTSIDE, large_set),
    class("many symbols", &[100, 400, 30_000], OUTSIDE, symbols),
    class(
        "symbols that nothing names",
        &[150, 30_000],
        "ok",
        bare_symbols,
    ),
    class("numbers without strings", &[500, 20_000], OUTSIDE, dangling),
    class(
        "many checks of no content",
        &[100, 20_000],
        OUTSIDE,
        true_checks,
    ),
    class(
        "many checks of the profile",
        &[60, 20_000],
        "ok",
        many_checks,
    ),
    class(
        "alternatives in a check",
        &[100, 20_000],
        OUTSIDE,
        alternatives,
    ),
    class("two empty blocks", &[2], "ok", empty_blocks),
    class(
        "many empty blocks",
        &[3, 20, 200, 2000],
        OUTSIDE,
        empty_blocks,
    ),
    class(
        "blocks of another algorithm",
        &[1, 20, 200],
        OUTSIDE,
        p256_blocks,
    ),
    class(
        "a block that a stranger attested",
        &[1],
        "unknown_key",
        strangers,
    ),
    class(
        "blocks that strangers attested",
        &[10, 200],
        OUTSIDE,
        strangers,
    ),
    class(
        "strangers of another algorithm",
        &[1, 10, 200],
        OUTSIDE,
        p256_strangers,
    ),
    // What is empty by its length is not by its encoding: it has members that
    // are required.
    class("empty facts", &[1600, 100_000], MALFORMED, |m, n| {
        m.raw(&[0x22, 0], n)
    }),
    class("empty rules", &[1600, 100_000], MALFORMED, |m, n| {
        m.raw(&[0x2a, 0], n)
    }),
    class("empty checks", &[1600, 100_000], OUTSIDE, |m, n| {
        m.raw(&[0x32, 0], n)
    }),
    class("empty queries", &[1600, 100_000], MALFORMED, |m, n| {
        m.raw_in(0x32, &[0x0a, 0], n)
    }),
    class("empty scopes", &[1600, 100_000], OUTSIDE, |m, n| {
        m.raw(&[0x3a, 0], n)
    }),
    class("empty keys", &[1600, 100_000], MALFORMED, |m, n| {
        m.raw(&[0x42, 0], n)
    }),
    class("empty signed blocks", &[2200, 100_000], OUTSIDE, |_, n| {
        [0x1a, 0].repeat(n)
    }),
    class(
        "signed blocks of empty keys",
        &[1100, 50_000],
        OUTSIDE,
        |_, n| [0x1a, 2, 0x12, 0].repeat(n),
    ),
    class(
        "lengths that lie",
        &[1, 1000, 100_000],
        MALFORMED,
        lying_lengths,
    ),
    class(
        "unknown fields",
        &[1, 1000, 500_000],
        MALFORMED,
        unknown_fields,
    ),
];

const fn class(
    name: &'static str,
    sizes: &'static [usize],
    code: &'static str,
    make: fn(&mut Maker, usize) -> Vec<u8>,
) -> Class {
    Class {
        name,
        sizes,
        code,
        make,
    }
}

/// Every class in every size.
pub(crate) fn corpus(world: World) -> (World, Vec<Hostile>) {
    let mut maker = Maker {
        world,
        open: Vec::new(),
    };
    maker.open = bytes(&maker.world.token(1));
    let mut corpus = Vec::new();
    for class in CLASSES {
        for n in class.sizes {
            let text = URL_SAFE.encode((class.make)(&mut maker, *n));
            let code = if text.len() > MAX_TEXT {
                MALFORMED
            } else {
                class.code
            };
            corpus.push(Hostile {
                class: class.name,
                text,
                code,
            });
        }
    }
    // What is no container at all.
    for (class, text) in [
        ("a long text", "A".repeat(10_000_000)),
        (
            "a text of another alphabet",
            "\u{1f36a}".repeat(MAX_TEXT / 4),
        ),
        ("bytes of no meaning", URL_SAFE.encode([0xff; 4600])),
        ("nothing but groups", URL_SAFE.encode([0x0b; 4600])),
    ] {
        corpus.push(Hostile {
            class,
            text,
            code: MALFORMED,
        });
    }
    (maker.world, corpus)
}

impl Maker {
    /// The token with one more block of this Datalog, by the stock library.
    fn datalog(&mut self, code: &str) -> Vec<u8> {
        let block = BlockBuilder::new().code(code).unwrap();
        self.block(block)
    }

    fn block(&mut self, block: BlockBuilder) -> Vec<u8> {
        let token = biscuit_auth::UnverifiedBiscuit::from(self.open.as_slice()).unwrap();
        let next = crate::forge::next_key(&mut self.world);
        token
            .append_with_keypair(&next, block)
            .unwrap()
            .to_vec()
            .unwrap()
    }

    /// The token with one more block of these bytes, signed as it should be.
    fn bytes(&mut self, data: Vec<u8>) -> Vec<u8> {
        let next = SigningKey::from_bytes(&[7; 32]);
        let block = Handmade {
            data,
            attested_by: None,
            payload: 0,
            next: &next,
        };
        prost::Message::encode_to_vec(&append(&take_apart(&self.open), &block))
    }

    /// A block of version 3 and `n` times the same field.
    fn raw(&mut self, field: &[u8], n: usize) -> Vec<u8> {
        self.bytes([&[0x18, 3][..], &field.repeat(n)].concat())
    }

    /// The same field `n` times within one field of the block.
    fn raw_in(&mut self, outer: u8, field: &[u8], n: usize) -> Vec<u8> {
        let inner = field.repeat(n);
        self.bytes([&[0x18, 3][..], &message(outer, &inner)].concat())
    }
}

/// A field that holds these bytes.
fn message(key: u8, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![key];
    prost::encoding::encode_varint(inner.len() as u64, &mut out);
    out.extend_from_slice(inner);
    out
}

fn many(n: usize, line: impl Fn(usize) -> String) -> String {
    (0..n).fold(String::new(), |mut all, i| {
        write!(all, "{}", line(i)).unwrap();
        all
    })
}

fn joins(m: &mut Maker, n: usize) -> Vec<u8> {
    let facts = many(n, |i| format!("f({i});"));
    m.datalog(&(facts + "check if f($a), f($b), f($c), f($d), f($e), $a + $b + $c + $d + $e < 0;"))
}

fn rules(m: &mut Maker, n: usize) -> Vec<u8> {
    let facts = many(n, |i| format!("f({i});"));
    m.datalog(&(facts + "g($a, $b, $c, $d) <- f($a), f($b), f($c), f($d);"))
}

fn regex(m: &mut Maker, n: usize) -> Vec<u8> {
    let groups = "(\\\\w{50}){50}".repeat(n.div_ceil(20));
    m.datalog(&format!("check if \"x\".matches(\"{groups}\");"))
}

fn regex_on_facts(m: &mut Maker, n: usize) -> Vec<u8> {
    let facts = many(n, |i| format!("f(\"{i}\");"));
    m.datalog(&(facts + "check if f($s), $s.matches(\"(\\\\w{50}){50}\");"))
}

fn closures(m: &mut Maker, n: usize) -> Vec<u8> {
    let set = format!("[{}]", many(n, |i| format!("{i},")).trim_end_matches(','));
    let code = format!(
        "check if {set}.all($a -> {set}.all($b -> {set}.all($c -> {set}.all($d -> $a + $b + $c + $d >= 0))));"
    );
    m.datalog(&code)
}

fn concatenation(m: &mut Maker, n: usize) -> Vec<u8> {
    let sum = vec!["$s"; n].join(" + ");
    m.datalog(&format!(
        "f(\"{}\"); check if f($s), {sum} == \"\";",
        "x".repeat(n)
    ))
}

fn symbols(m: &mut Maker, n: usize) -> Vec<u8> {
    m.datalog(&many(n, |i| format!("p{i}(0);")))
}

fn bare_symbols(m: &mut Maker, n: usize) -> Vec<u8> {
    // Two letters each, all different, before the version.
    let letters = || b'a'..=b'z';
    let names = letters().flat_map(|a| letters().map(move |b| [a, b]));
    let all = names.cycle().take(n).flat_map(|name| message(0x0a, &name));
    m.bytes(all.chain([0x18, 3]).collect())
}

fn true_checks(m: &mut Maker, n: usize) -> Vec<u8> {
    m.datalog(&"check if true;".repeat(n))
}

fn many_checks(m: &mut Maker, n: usize) -> Vec<u8> {
    m.datalog(&many(n, |i| {
        format!("check if method($m), {{\"GET\", \"{i}\"}}.contains($m);")
    }))
}

fn alternatives(m: &mut Maker, n: usize) -> Vec<u8> {
    let queries = vec!["method(\"GET\")"; n].join(" or ");
    m.datalog(&format!("check if {queries};"))
}

fn long_string(m: &mut Maker, n: usize) -> Vec<u8> {
    m.datalog(&format!("check if f(\"{}\");", "x".repeat(n)))
}

fn large_set(m: &mut Maker, n: usize) -> Vec<u8> {
    let set = many(n, |i| format!("{i},"));
    m.datalog(&format!(
        "check if f($x), {{{}}}.contains($x);",
        set.trim_end_matches(',')
    ))
}

fn dangling(m: &mut Maker, n: usize) -> Vec<u8> {
    // Facts of a predicate whose name is number 2^63.
    let name = [&[8][..], &[0x80; 8], &[0x80, 1]].concat();
    let fact = message(0x22, &message(0x0a, &name));
    m.raw(&fact, n.div_ceil(3))
}

fn empty_blocks(m: &mut Maker, n: usize) -> Vec<u8> {
    let mut token = biscuit_auth::UnverifiedBiscuit::from(m.open.as_slice()).unwrap();
    for _ in 0..n {
        let next = crate::forge::next_key(&mut m.world);
        token = token
            .append_with_keypair(&next, BlockBuilder::new())
            .unwrap();
    }
    token.to_vec().unwrap()
}

fn p256_blocks(m: &mut Maker, n: usize) -> Vec<u8> {
    let mut token = biscuit_auth::UnverifiedBiscuit::from(m.open.as_slice()).unwrap();
    for _ in 0..n {
        let next = KeyPair::new_with_rng(Algorithm::Secp256r1, &mut m.world.rng);
        token = token
            .append_with_keypair(&next, BlockBuilder::new())
            .unwrap();
    }
    token.to_vec().unwrap()
}

fn attested(m: &mut Maker, n: usize, algorithm: Algorithm) -> Vec<u8> {
    let mut token = biscuit_auth::UnverifiedBiscuit::from(m.open.as_slice()).unwrap();
    let stranger = KeyPair::new_with_rng(algorithm, &mut m.world.rng);
    for _ in 0..n {
        let request = token.third_party_request().unwrap();
        let block = request
            .create_block(&stranger.private(), BlockBuilder::new())
            .unwrap();
        let next = crate::forge::next_key(&mut m.world);
        token = token
            .append_third_party_with_keypair(&block.serialize().unwrap(), next)
            .unwrap();
    }
    token.to_vec().unwrap()
}

fn strangers(m: &mut Maker, n: usize) -> Vec<u8> {
    attested(m, n, Algorithm::Ed25519)
}

fn p256_strangers(m: &mut Maker, n: usize) -> Vec<u8> {
    attested(m, n, Algorithm::Secp256r1)
}

fn nested_terms(m: &mut Maker, n: usize) -> Vec<u8> {
    // A set of a set of a set, as the term of a fact.
    let term = (0..n).fold(Vec::new(), |inner, _| message(0x3a, &message(0x0a, &inner)));
    let predicate = [&[8, 0][..], &message(0x12, &term)].concat();
    let fact = message(0x22, &message(0x0a, &predicate));
    m.bytes([&[0x18, 3][..], &fact].concat())
}

fn nested_closures(m: &mut Maker, n: usize) -> Vec<u8> {
    // An operation in a closure in an operation, as the expression of a check.
    let op = (0..n).fold(vec![0x0a, 0], |inner, _| {
        message(0x22, &message(0x12, &inner))
    });
    let query = message(0x0a, &message(0x1a, &message(0x0a, &op)));
    m.bytes([&[0x18, 3][..], &message(0x32, &query)].concat())
}

fn lying_lengths(m: &mut Maker, n: usize) -> Vec<u8> {
    // A block that claims to be of 2^40 bytes, after others that are.
    let lie = [0x1a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
    [&m.open[..], &[0x78, 0].repeat(n), &lie].concat()
}

fn unknown_fields(m: &mut Maker, n: usize) -> Vec<u8> {
    [&m.open[..], &[0x78, 0].repeat(n)].concat()
}
