//! Token exchange (RFC 8693): a grant with proof of its key, the root token, or
//! an access token becomes an access token.

use hardtack_token::dpop::ProofError;
use hardtack_token::{
    Access, AuthorityId, Caveat, DeviceId, Grant, GrantId, MAX_HOLDER_BLOCKS, NewSession, Origin,
    Profile, Role, RootToken, Scope, ScopeSet, ServiceName, SessionId, Subject, Timestamp,
    TokenText, Untrusted, attenuate,
};
use rand::rngs::StdRng;
use serde_json::json;

use crate::authority::caller::{EXPOSED, From, LiveCaller};
use crate::authority::proof::{ProvenKey, Target};
use crate::authority::{Authority, DEFAULT_SESSION, Error, MAX_SESSION, SERVICE};
use crate::domain::audit::Actor;
use crate::domain::grant::{GrantRecord, Holder};
use crate::domain::policy::Policy;
use crate::store::{NewGrant, SessionRecord, Tx};

/// What is presented for exchange.
#[derive(Clone, Debug)]
pub enum SubjectToken {
    /// A grant: it needs a proof of its key.
    Grant(TokenText),
    /// An access token or a service token: it is narrowed, never renewed.
    Access(TokenText),
    /// The root token.
    Root(TokenText),
}

impl SubjectToken {
    const fn text(&self) -> &TokenText {
        match self {
            Self::Grant(text) | Self::Access(text) | Self::Root(text) => text,
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only these scopes, if any are named.
    pub scopes: Option<ScopeSet>,
    /// The origins it is to be for, as the client wrote them; at most one can be given.
    pub audiences: Vec<String>,
    /// Its life in seconds.
    pub expires_in: Option<u64>,
}

/// The proofs of a key that came with an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Proofs<'a> {
    /// The request that a DPoP proof must have been made for.
    pub target: Target<'a>,
    /// The `DPoP` header.
    pub dpop: Option<&'a str>,
    /// The `client_assertion` (RFC 7523).
    pub assertion: Option<&'a str>,
}

/// What an exchange gives.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The access token.
    pub token: TokenText,
    /// Whether it is bound to the device's key: `DPoP`, else `Bearer`.
    pub bound: bool,
    /// Its life in seconds.
    pub expires_in: u64,
    /// What it gives.
    pub scopes: ScopeSet,
    /// What the caller should know besides.
    pub warning: Option<&'static str>,
}

/// The key that an exchange was made with, and whether the token is to be bound to it.
struct Proven {
    keys: Vec<ProvenKey>,
    bind: bool,
}

impl Proven {
    fn device(&self) -> Option<DeviceId> {
        self.keys.first().map(|key| key.device)
    }

    fn holder(&self) -> Option<DeviceId> {
        self.device().filter(|_| self.bind)
    }
}

impl Authority {
    /// Exchanges a subject token for an access token.
    pub async fn exchange(
        &self,
        subject: &SubjectToken,
        wanted: &Wanted,
        proofs: Proofs<'_>,
        from: From<'_>,
    ) -> Result<Issued, Error> {
        let seconds = session_seconds(wanted.expires_in)?;
        let policy = self.policy();
        if let Some(unknown) = wanted
            .scopes
            .iter()
            .flat_map(ScopeSet::iter)
            .find(|s| !policy.catalog().knows(s))
        {
            return Err(Error::InvalidScope([unknown.clone()].into_iter().collect()));
        }
        let mut tx = self.write().await?;
        let proven = self.proven(&mut tx, subject, proofs).await?;
        let issued = match subject {
            SubjectToken::Grant(token) => {
                self.activate(&mut tx, &policy, token, wanted, seconds, &proven, from)
                    .await?
            }
            SubjectToken::Root(token) => {
                self.activate_root(&mut tx, &policy, token, wanted, seconds, &proven, from)
                    .await?
            }
            SubjectToken::Access(token) => {
                self.narrow(&mut tx, &policy, token, wanted, seconds, &proven)
                    .await?
            }
        };
        tx.commit().await?;
        Ok(issued)
    }

    /// Checks and spends the proofs that came with the request.
    async fn proven(
        &self,
        tx: &mut Tx,
        subject: &SubjectToken,
        proofs: Proofs<'_>,
    ) -> Result<Proven, Error> {
        let mut keys = Vec::new();
        if let Some(header) = proofs.dpop {
            let token = subject.text().expose();
            let (key, nonce) = self.check_dpop_of_exchange(header, proofs.target, token)?;
            self.check_nonce(nonce.as_deref())?;
            self.spend(tx, &key.proof).await?;
            keys.push(key);
        }
        if let Some(assertion) = proofs.assertion {
            let device = Self::assertion_subject(assertion)?;
            let known = self.key_of_subject(tx, subject, device).await?;
            let key = self.check_assertion(assertion, known.as_ref())?;
            if !tx.spend_proof(&key.proof).await? {
                return Err(Error::Assertion(ProofError::Replayed));
            }
            keys.push(key);
        }
        match keys.as_slice() {
            [one, two] if one.device != two.device => Err(Error::WrongKey),
            _ => Ok(Proven {
                bind: proofs.dpop.is_some(),
                keys,
            }),
        }
    }

    /// The public key of the device that an assertion names: the store has it
    /// from the pairing, the local device's is derived.
    async fn key_of_subject(
        &self,
        tx: &mut Tx,
        subject: &SubjectToken,
        device: DeviceId,
    ) -> Result<Option<hardtack_token::PublicKey>, Error> {
        if device == self.local_device() {
            let key = self.secrets().local_device().verifying_key();
            return Ok(Some(hardtack_token::PublicKey::from_bytes(key.as_bytes())?));
        }
        let SubjectToken::Grant(token) = subject else {
            return Ok(None);
        };
        let untrusted = Untrusted::read(token, &self.verifier.keys())?;
        let Profile::Chain(claims) = untrusted.claims() else {
            return Ok(None);
        };
        let request = tx.request_of_grant(claims.leaf().id).await?;
        match request {
            Some(request) if request.device == device => Ok(Some(request.key)),
            Some(_) => Err(Error::WrongKey),
            None => Err(Error::UnknownGrant),
        }
    }

    /// A grant with proof of its key: a new session on its stored chain.
    #[expect(clippy::too_many_arguments, reason = "one arm of `exchange`")]
    async fn activate(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        token: &TokenText,
        wanted: &Wanted,
        seconds: u64,
        proven: &Proven,
        from: From<'_>,
    ) -> Result<Issued, Error> {
        let untrusted = Untrusted::read(token, &self.verifier.keys())?;
        let claims = match untrusted.claims() {
            Profile::Chain(claims) if claims.session.is_none() => claims,
            Profile::Chain(_) | Profile::Root(_) => {
                return Err(Error::InvalidRequest(
                    "the subject token is not a grant: `subject_token_type` says what it is"
                        .to_owned(),
                ));
            }
        };
        let Some(key) = proven.keys.first() else {
            return Err(ProofError::Missing.into());
        };
        let live = self.live_grant(tx, token, claims, key).await?;
        let now = self.now();
        tx.grant_used(live.record.id, now).await?;
        let session = self.new_session(wanted, seconds, proven, live.record.expires_at)?;
        self.issue(tx, policy, &live, session, wanted, proven, from)
            .await
    }

    /// The root token: a fresh authority block with a grant for `service("root")`.
    #[expect(clippy::too_many_arguments, reason = "one arm of `exchange`")]
    async fn activate_root(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        token: &TokenText,
        wanted: &Wanted,
        seconds: u64,
        proven: &Proven,
        from: From<'_>,
    ) -> Result<Issued, Error> {
        let named = wanted.scopes.clone().filter(|scopes| !scopes.is_empty());
        let scopes = named.ok_or_else(|| {
            Error::InvalidRequest("`scope` is required with the root token".to_owned())
        })?;
        let root = self.unseal_root(tx, &RootToken::read(token)?).await?;
        let mut rng = self.entropy.rng();
        let now = self.now();
        let grant = Grant {
            id: GrantId::from_uuid(self.new_uuid(&mut rng)),
            subject: Subject::Service(ServiceName::root()),
            role: SERVICE.parse::<Role>()?,
            scopes,
            not_after: Some(now.plus(seconds)),
        };
        let authority = AuthorityId::from_uuid(self.new_uuid(&mut rng));
        let chain = root
            .mint_authority(authority, &grant.scopes, &mut rng)?
            .append_grant(&grant, &self.keys().attestation, &mut rng)?;
        tx.insert_grant(&NewGrant {
            id: grant.id,
            authority,
            ancestors: Vec::new(),
            holder: Holder::Service(ServiceName::root()),
            role: grant.role.clone(),
            scopes: grant.scopes.clone(),
            name: "root".to_owned(),
            local: false,
            chain: self.seal_chain(grant.id, &chain, &mut rng)?,
            created_at: now,
            expires_at: grant.not_after,
        })
        .await?;
        let stored = tx.grant(grant.id).await?.ok_or(Error::UnknownGrant)?;
        let live = LiveCaller {
            record: stored.record,
            profile: chain.profile()?,
            chain,
        };
        let session = self.new_session(wanted, seconds, proven, grant.not_after)?;
        self.issue(tx, policy, &live, session, wanted, proven, from)
            .await
    }

    /// An access or service token: a holder's block on exactly what was
    /// presented. Never a new session, so never longer, wider or elsewhere.
    async fn narrow(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        token: &TokenText,
        wanted: &Wanted,
        seconds: u64,
        proven: &Proven,
    ) -> Result<Issued, Error> {
        let now = self.now();
        let catalog = policy.catalog();
        let access = self.verifier.verify_once(token, catalog, now)?;
        access.check_live(now, proven.device())?;
        self.live_session(tx, access.session().id, access.grant_id())
            .await?;
        if access.chain().holder.len() >= MAX_HOLDER_BLOCKS {
            return Err(Error::ChainTooLong);
        }
        self.check_same_audience(&access, wanted)?;
        let given = |s: &&Scope| {
            let required = catalog.require(s);
            required.is_some_and(|r| catalog.meets(access.scope_bits(), r))
        };
        check_scopes(wanted, given)?;

        let end = access.expires_at().min(now.plus(seconds));
        let mut caveats = vec![Caveat::NotAfter(end)];
        caveats.extend(wanted.scopes.clone().map(Caveat::Scopes));
        let bound = access.bound_to_holder();
        if let (false, Some(device)) = (bound, proven.holder()) {
            caveats.push(Caveat::Holder(device));
        }
        let narrowed = attenuate(token, &caveats, &mut self.entropy.rng())?;
        Ok(Issued {
            token: narrowed,
            bound: bound || proven.holder().is_some(),
            expires_in: end.since(now),
            scopes: wanted.scopes.clone().unwrap_or_else(|| access.scopes()),
            warning: None,
        })
    }

    fn check_same_audience(&self, access: &Access, wanted: &Wanted) -> Result<(), Error> {
        match self.audience(wanted)? {
            Some(origin) if origin.as_str() != access.session().audience => {
                Err(Error::InvalidTarget(format!(
                    "this access token is for `{}` and cannot be given another audience: exchange the grant",
                    access.session().audience
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The one audience that was asked for.
    fn audience(&self, wanted: &Wanted) -> Result<Option<Origin>, Error> {
        match wanted.audiences.as_slice() {
            [] => Ok(None),
            [one] => one.parse().map(Some).map_err(|_| {
                Error::InvalidTarget(format!(
                    "`{}` is not an http(s) origin, such as {}",
                    one.chars().take(200).collect::<String>(),
                    self.settings.gateway_url
                ))
            }),
            [..] => Err(Error::InvalidTarget(
                "a token has one audience: ask for one token for each".to_owned(),
            )),
        }
    }

    fn new_session(
        &self,
        wanted: &Wanted,
        seconds: u64,
        proven: &Proven,
        grant_end: Option<Timestamp>,
    ) -> Result<NewSession, Error> {
        let audience = self.audience(wanted)?;
        let audience = audience.unwrap_or_else(|| self.settings.gateway_url.clone());
        let end = self.now().plus(seconds);
        let mut rng: StdRng = self.entropy.rng();
        let mut caveats = Vec::new();
        caveats.extend(wanted.scopes.clone().map(Caveat::Scopes));
        caveats.extend(proven.holder().map(Caveat::Holder));
        Ok(NewSession {
            id: SessionId::from_uuid(self.new_uuid(&mut rng)),
            audience: audience.to_string(),
            not_after: grant_end.map_or(end, |grant| grant.min(end)),
            caveats,
        })
    }

    /// Attests the session, writes its row and its audit row.
    #[expect(
        clippy::too_many_arguments,
        reason = "the last step of two arms of `exchange`"
    )]
    async fn issue(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        live: &LiveCaller,
        session: NewSession,
        wanted: &Wanted,
        proven: &Proven,
        from: From<'_>,
    ) -> Result<Issued, Error> {
        let catalog = policy.catalog();
        let gives = live.profile.effective(catalog);
        let held = |s: &&Scope| catalog.require(s).is_some_and(|r| catalog.meets(&gives, r));
        check_scopes(wanted, held)?;
        let now = self.now();
        let keys = self.keys();
        let mut rng = self.entropy.rng();
        let token = live
            .chain
            .append_session(&session, &keys.attestation, &mut rng)?;
        // What does not verify here would not verify at a gateway: say so now,
        // and deny while the revocations are not known.
        self.verifier.verify_once(&token, catalog, now)?;
        tx.insert_session(&SessionRecord {
            id: session.id,
            grant: live.record.id,
            audience: session.audience.clone(),
            revoked: false,
            created_at: now,
            expires_at: session.not_after,
        })
        .await?;
        let named = wanted.scopes.clone();
        let scopes = named.unwrap_or_else(|| live.profile.scopes_in(catalog));
        let exposed = from.exposed && live.record.device().is_none();
        let warning = exposed.then_some(EXPOSED);
        let detail = json!({
            "grant_id": live.record.id.to_string(),
            "audience": session.audience,
            "scopes": scopes.to_strings(),
            "bound": proven.bind,
            "expires_at": session.not_after.to_string(),
            "root_token_exposed": warning.is_some(),
        });
        let actor = actor(&live.record);
        self.audit(
            tx,
            actor,
            "token.exchange",
            session.id,
            from.address,
            detail,
        )
        .await?;
        Ok(Issued {
            token,
            bound: proven.bind,
            expires_in: session.not_after.since(now),
            scopes,
            warning,
        })
    }
}

fn actor(record: &GrantRecord) -> Actor {
    match record.device() {
        Some(device) => Actor::Device(device, record.id),
        None => Actor::Root,
    }
}

fn session_seconds(asked: Option<u64>) -> Result<u64, Error> {
    match asked {
        None => Ok(DEFAULT_SESSION),
        Some(seconds @ 1..=MAX_SESSION) => Ok(seconds),
        Some(_) => Err(Error::InvalidRequest(format!(
            "`expires_in` must be 1 to {MAX_SESSION} seconds"
        ))),
    }
}

/// Refuses scopes that were asked for and are not held.
fn check_scopes(wanted: &Wanted, given: impl Fn(&&Scope) -> bool) -> Result<(), Error> {
    let Some(scopes) = &wanted.scopes else {
        return Ok(());
    };
    let missing: ScopeSet = scopes.iter().filter(|s| !given(s)).cloned().collect();
    if scopes.is_empty() || !missing.is_empty() {
        return Err(Error::InvalidScope(missing));
    }
    Ok(())
}
