//! Cases that a policy is tested with: a token in words, a request, and what is
//! expected of it. They go through the gateway's own decision, on tokens that
//! are really signed, by keys that nobody has.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hardtack_token::dpop::ReplayMemory;
use hardtack_token::path::canonical;
use hardtack_token::{
    Asked, AttestationKey, AuthorityId, Caveat, ChainError, Clock, Credential, DeviceId, Grant,
    GrantId, InvalidId, KeyRing, KeyState, ManualClock, NewSession, Origin, PathPrefix,
    Revocations, Role, RootKey, RootKeyId, Scope, ScopeSet, SessionId, Subject, Timestamp,
    TokenText, Verifier, attenuate,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::policy::Policy;
use crate::gateway::decide::{Allowed, Decider};

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The policy files that the cases are about, relative to the file of
    /// cases; with none, the built-in policy.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The cases.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// The HTTP method; `WEBSOCKET` for an upgrade.
    pub method: String,
    /// The path as a client sends it.
    pub path: String,
    /// The token that is presented, if any.
    token: Option<TokenWords>,
    /// `allow`, `public`, or the code of the refusal.
    pub expect: String,
}

/// A token in words.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenWords {
    /// The scopes of its grant.
    scopes: Vec<String>,
    /// How its holder narrowed it.
    narrowed: Option<Narrowed>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Narrowed {
    scopes: Option<Vec<String>>,
    methods: Option<BTreeSet<String>>,
    path: Option<String>,
    audience: Option<BTreeSet<String>>,
}

/// Why cases cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The file does not read.
    #[error("{0}")]
    Read(#[from] toml::de::Error),
    /// A name in a case is not well formed.
    #[error("case `{case}`: {error}")]
    Name {
        /// The case.
        case: String,
        /// What is wrong.
        error: InvalidId,
    },
    /// A token cannot be built.
    #[error("a token cannot be built: {0}")]
    Token(#[from] ChainError),
}

/// What came of a case.
#[derive(Debug)]
pub struct Outcome {
    /// The case.
    pub name: String,
    /// What was expected.
    pub expected: String,
    /// What was decided.
    pub decided: &'static str,
}

impl Cases {
    /// Reads a file of cases.
    pub fn read(text: &str) -> Result<Self, RehearsalError> {
        Ok(toml::from_str(text)?)
    }

    /// Plays all cases against a policy.
    pub fn play(&self, policy: Policy) -> Result<Vec<Outcome>, RehearsalError> {
        let mut stage = Stage::new(policy)?;
        self.cases.iter().map(|case| stage.play(case)).collect()
    }
}

impl Outcome {
    /// Whether it was as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.expected == self.decided
    }
}

/// An authority of its own for one file of cases.
struct Stage {
    root: RootKey,
    key: AttestationKey,
    decider: Decider,
    origin: Origin,
    rng: StdRng,
    count: u128,
}

impl Stage {
    fn new(policy: Policy) -> Result<Self, RehearsalError> {
        // Nothing here is secret: the keys are known and trusted by nobody.
        let mut rng = StdRng::seed_from_u64(0);
        let invalid = |error| RehearsalError::Name {
            case: "setup".to_owned(),
            error,
        };
        let root = RootKey::generate(RootKeyId::new(1), &mut rng);
        let key = AttestationKey::generate(&mut rng);
        let active = KeyState::Active;
        let keys = KeyRing::new()
            .with_root(root.id(), root.public().map_err(invalid)?, active)
            .with_attestation(key.public().map_err(invalid)?, active);
        let clock = ManualClock::new(Timestamp::from_unix(0));
        let revocations = Arc::new(Revocations::new(1));
        revocations.confirm(clock.now());
        let origin: Origin = "http://gateway.test".parse().map_err(invalid)?;
        let decider = Decider::new(
            origin.clone(),
            Arc::new(Verifier::new(keys, revocations, 0)),
            Arc::new(ArcSwap::from_pointee(policy)),
            Arc::new(clock),
            Arc::new(ReplayMemory::new(0)),
            Arc::default(),
        );
        Ok(Self {
            root,
            key,
            decider,
            origin,
            rng,
            count: 0,
        })
    }

    fn play(&mut self, case: &Case) -> Result<Outcome, RehearsalError> {
        let token = match &case.token {
            Some(words) => Some(self.token(&case.name, words)?),
            None => None,
        };
        let credential = token
            .as_ref()
            .map_or(Credential::None, |token| Credential::Bearer(token.expose()));
        let decided = match canonical(&case.path) {
            Err(_) => "ambiguous_path",
            Ok(path) => {
                let asked = Asked {
                    method: &case.method,
                    path: &path,
                    operation: None,
                    wire_method: &case.method,
                    wire_path: &case.path,
                    credential,
                };
                match self.decider.decide(&asked) {
                    Ok(Allowed::Everybody) => "public",
                    Ok(Allowed::Holder(_)) => "allow",
                    Err(refused) => refused.why.code(),
                }
            }
        };
        Ok(Outcome {
            name: case.name.clone(),
            expected: case.expect.clone(),
            decided,
        })
    }

    fn token(&mut self, case: &str, words: &TokenWords) -> Result<TokenText, RehearsalError> {
        let invalid = |error| RehearsalError::Name {
            case: case.to_owned(),
            error,
        };
        let scopes = read_scopes(&words.scopes).map_err(invalid)?;
        let grant = Grant {
            id: GrantId::from_uuid(self.next_id()),
            subject: Subject::Device(DeviceId::from_bytes([0; 32])),
            role: "operator".parse::<Role>().map_err(invalid)?,
            scopes,
            not_after: None,
        };
        let session = NewSession {
            id: SessionId::from_uuid(self.next_id()),
            audience: self.origin.to_string(),
            not_after: Timestamp::MAX,
            caveats: Vec::new(),
        };
        let authority = AuthorityId::from_uuid(self.next_id());
        let rng = &mut self.rng;
        let token = self
            .root
            .mint_authority(authority, &ScopeSet::all(), rng)?
            .append_grant(&grant, &self.key, rng)?
            .append_session(&session, &self.key, rng)?;
        match &words.narrowed {
            None => Ok(token),
            Some(narrowed) => {
                let caveats = narrowed.caveats().map_err(invalid)?;
                Ok(attenuate(&token, &caveats, rng)?)
            }
        }
    }

    fn next_id(&mut self) -> Uuid {
        self.count += 1;
        Uuid::from_u128(self.count)
    }
}

impl Narrowed {
    fn caveats(&self) -> Result<Vec<Caveat>, InvalidId> {
        let mut caveats = Vec::new();
        if let Some(scopes) = &self.scopes {
            caveats.push(Caveat::Scopes(read_scopes(scopes)?));
        }
        caveats.extend(self.methods.clone().map(Caveat::Method));
        caveats.extend(self.audience.clone().map(Caveat::Audience));
        if let Some(path) = &self.path {
            let prefix = PathPrefix::new(path).ok_or(InvalidId {
                what: "path prefix",
                why: "it starts and ends in `/`",
            })?;
            caveats.push(Caveat::Path(prefix));
        }
        Ok(caveats)
    }
}

fn read_scopes(texts: &[String]) -> Result<ScopeSet, InvalidId> {
    texts.iter().map(|text| text.parse::<Scope>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(case: &str) -> Outcome {
        let cases = Cases::read(&format!("[[case]]\nname = \"it\"\n{case}")).unwrap();
        let policy = Policy::load(&[]).unwrap();
        cases.play(policy).unwrap().remove(0)
    }

    #[test]
    fn a_case_that_fails_says_what_was_decided() {
        let outcome = play(
            "method = \"POST\"\npath = \"/api/x\"\ntoken = { scopes = [\"operator.read\"] }\nexpect = \"allow\"",
        );
        assert!(!outcome.passed());
        assert_eq!(outcome.decided, "insufficient_scope");
    }

    #[test]
    fn cases_with_unknown_members_do_not_read() {
        assert!(Cases::read("[[case]]\nname = \"x\"\nmehtod = \"GET\"").is_err());
    }
}
