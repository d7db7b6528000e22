//! `accepted.json`: tokens of the profile, what they say, and what is decided
//! on requests with them.

use std::sync::Arc;

use biscuit_auth::format::schema;
use ed25519_dalek::SigningKey;
use hardtack_token::{
    Caveat, ChainProfile, DeviceId, End, Ended, Grant, Request, Revocations, Scope, Subject,
    Timestamp, TokenText, Verifier, attenuate,
};
use prost::Message;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::{device_id, trusted, world};
use crate::forge::{Handmade, append, bytes, hold, put_together, sealed, take_apart};
use crate::support::{BOUND, GATEWAY, NOW, World, below, claims, datalog, set, strings};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Vector {
    name: String,
    token: String,
    says: Says,
    decisions: Vec<Decision>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Says {
    authority: String,
    scopes: Vec<String>,
    grants: Vec<SaidGrant>,
    session: SaidSession,
    /// The checks of each holder's block, as Datalog.
    holder: Vec<Vec<String>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SaidGrant {
    id: String,
    device: Option<String>,
    service: Option<String>,
    role: String,
    scopes: Vec<String>,
    /// The first second at which it is over.
    not_after: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SaidSession {
    id: String,
    grant: String,
    audience: String,
    not_after: String,
    checks: Vec<String>,
}

#[expect(
    clippy::struct_field_names,
    reason = "the members have these names in the file"
)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Decision {
    now: String,
    audience: String,
    holder: Option<String>,
    method: Option<String>,
    path: Option<String>,
    operation: Option<String>,
    required: Vec<String>,
    /// What the feed of revocations holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<SaidEnd>,
    /// Seconds since the feed was read.
    #[serde(default, skip_serializing_if = "is_zero")]
    feed_age: u64,
    decision: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SaidEnd {
    id: String,
    end: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(age: &u64) -> bool {
    *age == 0
}

fn says(chain: &ChainProfile) -> Says {
    let checks = |caveats: &Vec<Caveat>| caveats.iter().map(datalog).collect();
    let grant = |grant: &Grant| SaidGrant {
        id: grant.id.to_string(),
        device: match &grant.subject {
            Subject::Device(id) => Some(id.to_string()),
            Subject::Service(_) => None,
        },
        service: match &grant.subject {
            Subject::Device(_) => None,
            Subject::Service(name) => Some(name.to_string()),
        },
        role: grant.role.to_string(),
        scopes: grant.scopes.to_strings(),
        not_after: grant.not_after.map(|end| end.to_string()),
    };
    let session = chain.session.as_ref().unwrap();
    Says {
        authority: chain.authority.to_string(),
        scopes: chain.scopes.to_strings(),
        grants: chain.grants().map(grant).collect(),
        session: SaidSession {
            id: session.id.to_string(),
            grant: session.grant.to_string(),
            audience: session.audience.clone(),
            not_after: session.not_after.to_string(),
            checks: checks(&session.caveats),
        },
        holder: chain.holder.iter().map(checks).collect(),
    }
}

/// A decision on a GET of `/api/x` that needs `operator.read`, to be changed.
fn read() -> Decision {
    Decision {
        now: NOW.to_string(),
        audience: GATEWAY.to_owned(),
        holder: None,
        method: Some("GET".to_owned()),
        path: Some("/api/x".to_owned()),
        operation: None,
        required: vec!["operator.read".to_owned()],
        ended: Vec::new(),
        feed_age: 0,
        decision: String::new(),
    }
}

impl Decision {
    fn needs(self, scopes: &[&str]) -> Self {
        let required = scopes.iter().map(|s| (*s).to_owned()).collect();
        Self { required, ..self }
    }

    fn at(self, now: Timestamp) -> Self {
        let now = now.to_string();
        Self { now, ..self }
    }

    fn by(self, n: u8) -> Self {
        let holder = Some(device_id(n).to_string());
        Self { holder, ..self }
    }

    fn method(self, method: &str) -> Self {
        let method = Some(method.to_owned());
        Self { method, ..self }
    }

    fn path(self, path: &str) -> Self {
        let path = Some(path.to_owned());
        Self { path, ..self }
    }

    fn operation(self, name: &str) -> Self {
        let operation = Some(name.to_owned());
        Self { operation, ..self }
    }

    fn frame(self, name: &str) -> Self {
        Self {
            method: None,
            path: None,
            ..self.operation(name)
        }
    }

    fn ended(mut self, id: Uuid, end: &str) -> Self {
        let (id, end) = (id.to_string(), end.to_owned());
        self.ended.push(SaidEnd { id, end });
        self
    }

    fn decide(&self, token: &str) -> &'static str {
        let (ring, catalog) = trusted();
        let now: Timestamp = self.now.parse().unwrap();
        let revocations = Revocations::new(BOUND);
        let ended = self.ended.iter().map(|e| Ended {
            id: e.id.parse().unwrap(),
            end: match e.end.as_str() {
                "revoked" => End::Revoked,
                "retired" => End::Retired,
                other => panic!("{other}"),
            },
        });
        revocations.replace(&ended.collect::<Vec<_>>());
        revocations.confirm(now.minus(self.feed_age));
        let verifier = Verifier::new(ring, Arc::new(revocations), 1 << 16);
        let request = Request {
            now,
            audience: &self.audience,
            holder: self.holder.as_ref().map(|h| h.parse::<DeviceId>().unwrap()),
            method: self.method.as_deref(),
            path: self.path.as_deref(),
            operation: self.operation.as_deref(),
        };
        let scope = |name: &String| name.parse::<Scope>().unwrap();
        let required = self.required.iter().map(scope);
        let required: Vec<_> = required.map(|s| catalog.require(&s).unwrap()).collect();
        let decision = verifier.authorize(token, &catalog, &request, &required);
        decision.map_or_else(|denial| denial.code(), |_| "ok")
    }
}

fn vector(name: &str, token: &TokenText, asked: Vec<Decision>) -> Vector {
    let decide = |asked: Decision| Decision {
        decision: asked.decide(token.expose()).to_owned(),
        ..asked
    };
    Vector {
        name: name.to_owned(),
        token: token.expose().to_owned(),
        says: says(&claims(token)),
        decisions: asked.into_iter().map(decide).collect(),
    }
}

pub(super) fn make() -> Vec<Vector> {
    let mut world = world(1);
    let mut made = vec![plain(&mut world), deep(&mut world, false)];
    made.push(deep(&mut self::world(2), true));
    made.extend([
        dated(&mut world),
        bound(&mut world),
        service(&mut world),
        all_scopes(&mut world),
        undeclared(&mut world),
        crossed(&mut world),
        nothing(&mut world),
        segments(&mut world),
        frames(&mut world),
        as_others_write(&mut world),
        newer(&mut world),
    ]);
    made
}

fn plain(world: &mut World) -> Vector {
    let chain = world.authority("operator.admin operator.read");
    let chain = world.grant(&chain, device_id(1), "operator.write");
    let token = world.session(&chain, Vec::new());
    let said = claims(&token);
    let (session, leaf) = (said.session.as_ref().unwrap(), said.leaf().id.uuid());
    let asked = vec![
        read(),
        read().needs(&["operator.write"]),
        read().needs(&["operator.admin"]),
        read().needs(&["operator.read", "operator.pairing"]),
        read().needs(&["*"]),
        read().needs(&[]),
        read().method("WEBSOCKET").path("/ws"),
        Decision {
            audience: "http://other.example".to_owned(),
            ..read()
        },
        read().at(session.not_after.minus(1)),
        read().at(session.not_after),
        read().ended(said.authority.uuid(), "revoked"),
        read().ended(leaf, "revoked"),
        read().ended(session.id.uuid(), "revoked"),
        read().ended(leaf, "retired"),
        read().ended(session.id.uuid(), "retired"),
        read().ended(leaf, "retired").ended(leaf, "revoked"),
        read().ended(Uuid::nil(), "revoked"),
        Decision {
            feed_age: BOUND - 1,
            ..read()
        },
        Decision {
            feed_age: BOUND,
            ..read()
        },
    ];
    vector("one grant, no caveat of its own", &token, asked)
}

/// Four grants and two holder's blocks with every kind of caveat.
fn deep(world: &mut World, seal: bool) -> Vector {
    let mut chain = world.authority("*");
    for (n, scopes) in ["*", "operator.admin", "operator.write", "operator.write"]
        .iter()
        .enumerate()
    {
        let n = u8::try_from(n % 3).unwrap() + 1;
        chain = world.grant(&chain, device_id(n), scopes);
    }
    let token = world.session(&chain, vec![Caveat::Holder(device_id(1))]);
    let narrow = [
        Caveat::Scopes(set("operator.read operator.write")),
        Caveat::NotAfter(NOW.plus(60)),
        Caveat::Audience(strings(&[GATEWAY, "http://other.example"])),
        Caveat::Method(strings(&["GET", "HEAD"])),
    ];
    let token = attenuate(&token, &narrow, &mut world.rng).unwrap();
    let narrower = [
        below("/api/"),
        Caveat::Operation(strings(&["x.list"])),
        Caveat::Scopes(set("operator.read")),
    ];
    let mut token = attenuate(&token, &narrower, &mut world.rng).unwrap();
    if seal {
        token = sealed(&token);
    }
    let said = claims(&token);
    let first = said.first.id.uuid();
    let fits = || read().by(1).operation("x.list");
    let asked = vec![
        fits(),
        fits().needs(&["operator.write"]),
        fits().method("PUT"),
        fits().path("/other"),
        fits().path("/api"),
        fits().operation("x.drop"),
        fits().by(2),
        Decision {
            holder: None,
            ..fits()
        },
        fits().at(NOW.plus(59)),
        fits().at(NOW.plus(60)),
        fits().ended(first, "retired"),
        fits().ended(first, "revoked"),
        // The earliest reason is the one that is given.
        fits()
            .ended(first, "revoked")
            .at(NOW.plus(60))
            .method("PUT"),
        fits().at(NOW.plus(60)).by(2).method("PUT"),
        fits().method("PUT").path("/other").needs(&["*"]),
    ];
    let name = if seal {
        "four grants, every kind of caveat, sealed by its holder"
    } else {
        "four grants, every kind of caveat"
    };
    vector(name, &token, asked)
}

fn dated(world: &mut World) -> Vector {
    let chain = world.authority("*");
    let grant = Grant {
        not_after: Some(NOW.plus(30)),
        ..world.plain_grant(device_id(1), "operator.read")
    };
    let chain = world.append(&chain, &grant);
    let chain = world.grant(&chain, device_id(2), "operator.read");
    let token = world.session(&chain, Vec::new());
    let last = format!("check if time($t), $t <= {};", NOW.plus(30));
    let token = hold(world, &token, &last);
    let asked = vec![read().at(NOW.plus(29)), read().at(NOW.plus(30))];
    vector(
        "a date in the first grant ends what is below",
        &token,
        asked,
    )
}

fn bound(world: &mut World) -> Vector {
    let chain = world.authority("*");
    let chain = world.grant(&chain, device_id(2), "operator.read");
    let token = world.session(&chain, vec![Caveat::Holder(device_id(2))]);
    let asked = vec![read(), read().by(1), read().by(2)];
    vector("bound to a device's key", &token, asked)
}

fn service(world: &mut World) -> Vector {
    let chain = world.authority("*");
    let grant = Grant {
        subject: Subject::Service("nightly-report".parse().unwrap()),
        role: "service".parse().unwrap(),
        ..world.plain_grant(device_id(1), "operator.read")
    };
    let chain = world.append(&chain, &grant);
    let token = world.session(&chain, Vec::new());
    let asked = vec![read(), read().needs(&["operator.write"])];
    vector("a service's token", &token, asked)
}

fn all_scopes(world: &mut World) -> Vector {
    let chain = world.authority("*");
    let chain = world.grant(&chain, device_id(1), "*");
    let token = world.session(&chain, Vec::new());
    let asked = vec![
        read().needs(&["*"]),
        read().needs(&["operator.admin", "operator.read"]),
        read().needs(&[]),
    ];
    vector("`*` satisfies every requirement", &token, asked)
}

fn undeclared(world: &mut World) -> Vector {
    let chain = world.authority("ghost.walk");
    let chain = world.grant(&chain, device_id(1), "ghost.walk operator.read");
    let token = world.session(&chain, Vec::new());
    let asked = vec![read(), read().needs(&[])];
    vector("an undeclared scope gives nothing", &token, asked)
}

/// Blocks that have a scope in common only by what they imply.
fn crossed(world: &mut World) -> Vector {
    let chain = world.authority("operator.write operator.pairing");
    let chain = world.grant(&chain, device_id(1), "operator.admin");
    let token = world.session(&chain, vec![Caveat::Scopes(set("operator.read"))]);
    let other = vec![
        read(),
        read().needs(&["operator.write"]),
        read().needs(&["operator.pairing"]),
    ];
    vector("scopes meet through what they imply", &token, other)
}

fn nothing(world: &mut World) -> Vector {
    let chain = world.authority("*");
    let chain = world.grant(&chain, device_id(1), "*");
    let token = world.session(&chain, vec![Caveat::Scopes(set(""))]);
    let asked = vec![read(), read().needs(&[])];
    vector("an empty set of scopes gives nothing", &token, asked)
}

fn segments(world: &mut World) -> Vector {
    let chain = world.authority("*");
    let chain = world.grant(&chain, device_id(1), "operator.read");
    let token = world.session(&chain, vec![below("/v1/devices/")]);
    let paths = ["/v1/devices", "/v1/devices/", "/v1/devices/7"];
    let others = ["/v1/devices-admin", "/v1/Devices/7", "/v1/", "/", ""];
    let asked = paths.iter().chain(&others).map(|p| read().path(p));
    let without = Decision {
        path: None,
        ..read()
    };
    let asked = asked.chain([without]).collect();
    vector("a path prefix ends at a segment", &token, asked)
}

fn frames(world: &mut World) -> Vector {
    let chain = world.authority("*");
    let chain = world.grant(&chain, device_id(1), "operator.read");
    let token = world.session(
        &chain,
        vec![Caveat::Operation(strings(&["x.list", "x.show"]))],
    );
    let asked = vec![
        read().frame("x.list"),
        read().frame("x.drop"),
        read().operation("x.show"),
        read(),
    ];
    vector("an operation must be stated", &token, asked)
}

/// Holder's blocks as other libraries write them: names of one's own, several
/// checks of one kind, an empty block.
fn as_others_write(world: &mut World) -> Vector {
    let chain = world.authority("*");
    let chain = world.grant(&chain, device_id(1), "operator.read");
    let token = world.session(&chain, Vec::new());
    let token = hold(
        world,
        &token,
        r#"check if method($query), {"PUT", "GET"}.contains($query);
           check if method($m), {"GET", "HEAD"}.contains($m);
           check if time($now), $now < 2030-01-01T00:00:00Z;
           check if accepts($any), {"ghost.walk", "operator.read"}.contains($any);"#,
    );
    let token = hold(world, &token, "");
    let asked = vec![read(), read().method("PUT"), read().method("HEAD")];
    vector("as other libraries write it", &token, asked)
}

/// A holder's block of Datalog 3.2 whose signature covers the one before it.
fn newer(world: &mut World) -> Vector {
    let chain = world.authority("*");
    let chain = world.grant(&chain, device_id(1), "operator.read");
    let token = world.session(&chain, Vec::new());
    let sample = hold(
        world,
        &token,
        r#"check if method($m), {"GET"}.contains($m);"#,
    );
    let sample = take_apart(&bytes(&sample)).blocks.pop().unwrap();
    let mut block = schema::Block::decode(sample.block.as_slice()).unwrap();
    block.version = Some(5);
    // `check if`, which versions 4 and 5 may also spell out.
    block.checks[0].kind = Some(0);
    let next = SigningKey::generate(&mut world.rng);
    let handmade = Handmade {
        data: block.encode_to_vec(),
        attested_by: None,
        payload: 1,
        next: &next,
    };
    let token = put_together(&append(&take_apart(&bytes(&token)), &handmade));
    let asked = vec![read(), read().method("PUT")];
    vector(
        "a holder's block in the newest accepted form",
        &token,
        asked,
    )
}

#[test]
fn accepted_vectors_say_and_decide_what_is_written() {
    let vectors: Vec<Vector> = super::read("accepted");
    assert!(vectors.len() >= 14);
    for vector in vectors {
        let token = TokenText::new(vector.token.as_str()).unwrap();
        assert_eq!(says(&claims(&token)), vector.says, "{}", vector.name);
        for asked in &vector.decisions {
            let decided = asked.decide(&vector.token);
            assert_eq!(decided, asked.decision, "{}: {asked:?}", vector.name);
        }
    }
}

/// A vector that no decision could tell from another verifier's would show nothing.
#[test]
fn the_accepted_vectors_show_every_refusal_of_a_decision() {
    let vectors: Vec<Vector> = super::read("accepted");
    let decided = vectors.iter().flat_map(|v| &v.decisions);
    let codes: std::collections::BTreeSet<_> = decided.map(|d| d.decision.as_str()).collect();
    assert_eq!(
        codes.into_iter().collect::<Vec<_>>(),
        [
            "caveat_method",
            "caveat_operation",
            "caveat_path",
            "expired",
            "insufficient_scope",
            "ok",
            "retired",
            "revocations_stale",
            "revoked",
            "wrong_audience",
            "wrong_holder",
        ]
    );
}
