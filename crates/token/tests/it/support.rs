//! A small authority in memory, and the reference Datalog to hold it against.

use std::sync::Arc;
use std::time::Duration;

use biscuit_auth::builder::{Term, date, fact, string};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit};
use hardtack_token::{
    AttestationKey, AuthorityId, Catalog, Caveat, Chain, ChainProfile, Denial, DeviceId, End,
    Ended, Grant, GrantId, Implied, KeyRing, KeyState, NewSession, PathPrefix, Profile, PublicKey,
    Request, Requirement, Revocations, Role, RootKey, RootKeyId, Scope, ScopeSet, SessionId,
    Subject, Timestamp, TokenText, Untrusted, Verifier,
};
use proptest::test_runner::{Config as ProptestConfig, RngSeed, TestRunner};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::forge::{attest_by_hand, stock_key};

pub(crate) const NOW: Timestamp = Timestamp::from_unix(1_796_083_200);
pub(crate) const GATEWAY: &str = "http://gw.example";
pub(crate) const BOUND: u64 = 5;

pub(crate) struct World {
    pub(crate) root: RootKey,
    pub(crate) key: AttestationKey,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) verifier: Verifier,
    pub(crate) rng: StdRng,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let root = RootKey::generate(RootKeyId::new(1), &mut rng);
        let key = AttestationKey::generate(&mut rng);
        let keys = KeyRing::new()
            .with_root(root.id(), root.public().unwrap(), KeyState::Active)
            .with_attestation(key.public().unwrap(), KeyState::Active);
        let revocations = Arc::new(Revocations::new(BOUND));
        revocations.confirm(NOW);
        Self {
            root,
            key,
            catalog: operator_catalog(),
            verifier: Verifier::new(keys, Arc::clone(&revocations), 1 << 20),
            revocations,
            rng,
        }
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(self.rng.r#gen())
    }

    pub(crate) fn authority(&mut self, scopes: &str) -> Chain {
        let id = AuthorityId::from_uuid(self.uuid());
        self.root
            .mint_authority(id, &set(scopes), &mut self.rng)
            .unwrap()
    }

    pub(crate) fn grant(&mut self, parent: &Chain, device: DeviceId, scopes: &str) -> Chain {
        let grant = self.plain_grant(device, scopes);
        self.append(parent, &grant)
    }

    pub(crate) fn plain_grant(&mut self, device: DeviceId, scopes: &str) -> Grant {
        Grant {
            id: GrantId::from_uuid(self.uuid()),
            subject: Subject::Device(device),
            role: "operator".parse::<Role>().unwrap(),
            scopes: set(scopes),
            not_after: None,
        }
    }

    pub(crate) fn append(&mut self, parent: &Chain, grant: &Grant) -> Chain {
        parent
            .append_grant(grant, &self.key, &mut self.rng)
            .unwrap()
    }

    pub(crate) fn session(&mut self, chain: &Chain, caveats: Vec<Caveat>) -> TokenText {
        let session = NewSession {
            id: SessionId::from_uuid(self.uuid()),
            audience: GATEWAY.to_owned(),
            not_after: NOW.plus(900),
            caveats,
        };
        chain
            .append_session(&session, &self.key, &mut self.rng)
            .unwrap()
    }

    pub(crate) fn requirement(&self, scope: &str) -> Requirement {
        self.catalog.require(&scope.parse().unwrap()).unwrap()
    }

    /// The decision on a GET of `/api/x` that needs `scope`: `ok` or the refusal's code.
    pub(crate) fn decide(&self, token: &TokenText, scope: &str) -> &'static str {
        self.decide_request(token, &get("/api/x"), &[self.requirement(scope)])
    }

    pub(crate) fn decide_request(
        &self,
        token: &TokenText,
        request: &Request<'_>,
        required: &[Requirement],
    ) -> &'static str {
        let decision = self
            .verifier
            .authorize(token.expose(), &self.catalog, request, required);
        decision.map_or_else(|denial| denial.code(), |_| "ok")
    }

    /// Why a GET of `/api/x` that needs no scope is refused.
    pub(crate) fn denial(&self, token: &TokenText) -> Option<Denial> {
        let request = get("/api/x");
        let decision = self
            .verifier
            .authorize(token.expose(), &self.catalog, &request, &[]);
        decision.err()
    }

    /// Every scope, `*` included, with which the request is allowed, and `none`
    /// if it is allowed where no scope is required.
    pub(crate) fn allowed(&self, token: &TokenText, request: &Request<'_>) -> Vec<String> {
        let declared = self.catalog.declared().iter().map(|d| d.scope.clone());
        let scopes = declared.chain([Scope::all()]);
        let mut asks: Vec<_> = scopes
            .map(|s| (s.to_string(), vec![self.catalog.require(&s).unwrap()]))
            .collect();
        asks.push(("none".to_owned(), Vec::new()));
        asks.retain(|(_, required)| self.decide_request(token, request, required) == "ok");
        asks.into_iter().map(|(name, _)| name).collect()
    }

    /// A chain of so many grants, all for `operator.write`.
    pub(crate) fn chain(&mut self, grants: usize) -> Chain {
        let mut chain = self.authority("*");
        for _ in 0..grants {
            chain = self.grant(&chain, device(1), "operator.write");
        }
        chain
    }

    /// An access token on a chain of so many grants, without other caveats.
    pub(crate) fn token(&mut self, grants: usize) -> TokenText {
        let chain = self.chain(grants);
        self.session(&chain, Vec::new())
    }

    pub(crate) fn end(&self, id: Uuid, end: End) {
        self.revocations.add(&[Ended { id, end }]);
    }
}

/// A property's cases, the same in every run.
pub(crate) fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

/// What a token says, whoever signed it.
pub(crate) fn claims(token: &TokenText) -> ChainProfile {
    match Untrusted::inspect(token).unwrap().claims() {
        Profile::Chain(chain) => (**chain).clone(),
        Profile::Root(_) => panic!("a root token"),
    }
}

pub(crate) fn operator_catalog() -> Arc<Catalog> {
    let mut builder = Catalog::builder();
    for name in ["admin", "approvals", "pairing", "read", "write"] {
        let scope = format!("operator.{name}").parse().unwrap();
        builder.scope(scope, name).unwrap();
    }
    builder.implies(
        "operator.write".parse().unwrap(),
        Implied::Scope("operator.read".parse().unwrap()),
    );
    builder.implies(
        "operator.admin".parse().unwrap(),
        Implied::Under("operator".to_owned()),
    );
    Arc::new(builder.build().unwrap())
}

pub(crate) fn get(path: &str) -> Request<'_> {
    Request {
        now: NOW,
        audience: GATEWAY,
        holder: None,
        method: Some("GET"),
        path: Some(path),
        operation: None,
    }
}

pub(crate) fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 32])
}

pub(crate) fn set(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

pub(crate) fn strings(values: &[&str]) -> std::collections::BTreeSet<String> {
    values.iter().map(|v| (*v).to_owned()).collect()
}

pub(crate) fn below(prefix: &str) -> Caveat {
    Caveat::Path(PathPrefix::new(prefix).unwrap())
}

/// What the reference Datalog of the profile says, run by biscuit-auth with
/// limits that never bite on tokens of the profile.
pub(crate) fn oracle(
    token: &TokenText,
    root: &PublicKey,
    attestation: &PublicKey,
    leaf: GrantId,
    catalog: &Catalog,
    request: &Request<'_>,
    required: &[Requirement],
) -> bool {
    let reference = Reference::new(token, root, attestation);
    reference.is_some_and(|reference| reference.allows(leaf, catalog, request, required))
}

/// A token whose signatures biscuit-auth found in order, and the reference Datalog.
pub(crate) struct Reference {
    biscuit: Biscuit,
    rules: AuthorizerBuilder,
}

impl Reference {
    /// None if biscuit-auth does not take the token.
    pub(crate) fn new(
        token: &TokenText,
        root: &PublicKey,
        attestation: &PublicKey,
    ) -> Option<Self> {
        let biscuit = Biscuit::from_base64(token.expose(), stock_key(root)).ok()?;
        let rules = AuthorizerBuilder::new()
            .set_limits(AuthorizerLimits {
                max_facts: 10_000,
                max_iterations: 1_000,
                max_time: Duration::from_secs(20),
            })
            .code(format!(
                "check if scope($s), accepts($s);
                 allow if leaf($g), session($g, $n) trusting {attestation};
                 deny if true;"
            ))
            .unwrap();
        Some(Self { biscuit, rules })
    }

    /// Whether every required scope is allowed; with none, whether any could be.
    pub(crate) fn allows(
        &self,
        leaf: GrantId,
        catalog: &Catalog,
        request: &Request<'_>,
        required: &[Requirement],
    ) -> bool {
        let every_scope = || {
            let declared = catalog.declared().iter().map(|d| d.scope.clone());
            declared.chain([Scope::all()]).collect::<ScopeSet>()
        };
        let evaluations: Vec<ScopeSet> = if required.is_empty() {
            vec![every_scope()]
        } else {
            required.iter().map(|r| catalog.satisfying(*r)).collect()
        };
        evaluations
            .iter()
            .all(|accepts| self.evaluate(leaf, request, accepts))
    }

    fn evaluate(&self, leaf: GrantId, request: &Request<'_>, accepts: &ScopeSet) -> bool {
        let mut builder = self.rules.clone();
        let mut state = |name: &str, term: Term| {
            builder = std::mem::take(&mut builder)
                .fact(fact(name, &[term]))
                .unwrap();
        };
        let now = std::time::UNIX_EPOCH + Duration::from_secs(request.now.unix());
        state("time", date(&now));
        state("audience", string(request.audience));
        state("leaf", string(&leaf.to_string()));
        if let Some(device) = request.holder {
            state("holder", string(&device.to_string()));
        }
        if let Some(method) = request.method {
            state("method", string(method));
        }
        if let Some(path) = request.path {
            let slash = if path.ends_with('/') { "" } else { "/" };
            state("path", string(&format!("{path}{slash}")));
        }
        if let Some(operation) = request.operation {
            state("operation", string(operation));
        }
        for scope in accepts.iter() {
            state("accepts", string(scope.as_str()));
        }
        let authorizer = builder.build(&self.biscuit);
        authorizer.is_ok_and(|mut a| a.authorize().is_ok())
    }
}

/// A session on top of `chain` that names the leaf of `other`. The authority's
/// own code cannot make one, so the attestation key is used by hand.
pub(crate) fn session_naming(
    world: &mut World,
    chain: &Chain,
    other: &Chain,
    session: &NewSession,
) -> TokenText {
    let named = other.profile().unwrap().leaf().id;
    let mut code = format!(
        r#"session("{named}", "{}");
           check if audience($a), {{"{}"}}.contains($a);
           check if time($t), $t < {};"#,
        session.id, session.audience, session.not_after
    );
    for caveat in &session.caveats {
        code.push_str(&datalog(caveat));
    }
    attest_by_hand(world, chain.to_stored(), &code)
}

/// The caveat as the profile's documentation writes it.
pub(crate) fn datalog(caveat: &Caveat) -> String {
    let listed = |values: Vec<String>| {
        let quoted: Vec<_> = values.iter().map(|v| format!("{v:?}")).collect();
        // The empty set is written `{,}`: `{}` is the empty map.
        if quoted.is_empty() {
            "{,}".to_owned()
        } else {
            format!("{{{}}}", quoted.join(", "))
        }
    };
    let strings =
        |values: &std::collections::BTreeSet<String>| listed(values.iter().cloned().collect());
    match caveat {
        Caveat::Scopes(set) => {
            format!(
                "check if accepts($s), {}.contains($s);",
                listed(set.to_strings())
            )
        }
        Caveat::NotAfter(end) => format!("check if time($t), $t < {end};"),
        Caveat::Audience(set) => format!("check if audience($a), {}.contains($a);", strings(set)),
        Caveat::Holder(device) => format!("check if holder(\"{device}\");"),
        Caveat::Method(set) => format!("check if method($m), {}.contains($m);", strings(set)),
        Caveat::Path(prefix) => {
            format!("check if path($p), $p.starts_with({:?});", prefix.as_str())
        }
        Caveat::Operation(set) => format!("check if operation($o), {}.contains($o);", strings(set)),
    }
}
