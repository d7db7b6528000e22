//! Token exchange (RFC 8693) and the refresh of a session (RFC 6749 section 6):
//! a grant with proof of its key, the root token, or an access token becomes an
//! access token.

use std::sync::Arc;

use hardtack_token::{
    AuthorityId, Grant, GrantId, Origin, Profile, Role, RootToken, Scope, ScopeSet, ServiceName,
    Subject, TokenText, Untrusted,
};

use crate::authority::caller::{From, LiveCaller};
use crate::authority::client::{KeyOf, Proofs, Proven, check_client_id};
use crate::authority::error::Word;
use crate::authority::{Authority, DEFAULT_SESSION, Error, MAX_SESSION, SERVICE};
use crate::domain::grant::Holder;
use crate::domain::policy::Policy;
use crate::store::{NewGrant, Tx};

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

/// A request for an access token whose client was let in.
pub(crate) struct Asked<'a> {
    pub(crate) policy: Arc<Policy>,
    pub(crate) wanted: &'a Wanted,
    /// The life that was asked for, in seconds.
    pub(crate) seconds: u64,
    pub(crate) proven: Proven,
    pub(crate) from: From<'a>,
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
        let token = subject.text();
        let key_of = match subject {
            SubjectToken::Grant(token) => KeyOf::Grant(token),
            SubjectToken::Access(_) | SubjectToken::Root(_) => KeyOf::Anything,
        };
        let (asked, mut tx) = self
            .enter_to_get(wanted, proofs, Some(token), key_of, from)
            .await?;
        let issued = match subject {
            SubjectToken::Grant(_) => {
                self.activate_presented(&mut tx, &asked, token, proofs)
                    .await?
            }
            SubjectToken::Root(_) => self.activate_root(&mut tx, &asked, token).await?,
            SubjectToken::Access(_) => self.narrow(&mut tx, &asked, token).await?,
        };
        tx.commit().await?;
        Ok(issued)
    }

    /// Takes a grant as a refresh token: another access token, the same grant.
    pub async fn refresh(
        &self,
        grant: &TokenText,
        wanted: &Wanted,
        proofs: Proofs<'_>,
        from: From<'_>,
    ) -> Result<Issued, Error> {
        if proofs.dpop.is_none() && proofs.assertion.is_none() {
            return Err(Error::KeyRequired);
        }
        let subject = SubjectToken::Grant(grant.clone());
        let exchanged = self.exchange(&subject, wanted, proofs, from).await;
        exchanged.map_err(|error| error.said(Word::InvalidGrant))
    }

    /// Checks what is asked for as far as it goes alone, then lets the client in.
    pub(crate) async fn enter_to_get<'a>(
        &self,
        wanted: &'a Wanted,
        proofs: Proofs<'_>,
        token: Option<&TokenText>,
        key_of: KeyOf<'_>,
        from: From<'a>,
    ) -> Result<(Asked<'a>, Tx), Error> {
        let seconds = session_seconds(wanted.expires_in)?;
        let policy = self.policy();
        let mut named = wanted.scopes.iter().flat_map(ScopeSet::iter);
        if let Some(unknown) = named.find(|s| !policy.catalog().knows(s)) {
            return Err(Error::InvalidScope([unknown.clone()].into_iter().collect()));
        }
        let (proven, tx) = self.enter_client(&policy, proofs, token, key_of).await?;
        let asked = Asked {
            policy,
            wanted,
            seconds,
            proven,
            from,
        };
        Ok((asked, tx))
    }

    /// A grant with proof of its key: a new session on its stored chain.
    async fn activate_presented(
        &self,
        tx: &mut Tx,
        asked: &Asked<'_>,
        token: &TokenText,
        proofs: Proofs<'_>,
    ) -> Result<Issued, Error> {
        let untrusted = Untrusted::read(token, &self.verifier.keys())?;
        let claims = match untrusted.claims() {
            Profile::Chain(claims) if claims.session.is_none() => claims,
            Profile::Chain(_) | Profile::Root(_) => return Err(Error::NotAGrant),
        };
        let Some(key) = asked.proven.key() else {
            return Err(hardtack_token::dpop::ProofError::Missing.into());
        };
        let live = self.live_grant(tx, token, claims, key).await?;
        check_client_id(proofs, key.device)?;
        self.activate(tx, asked, &live).await
    }

    /// A new session on the stored chain of a grant that was found live and
    /// whose key was proven.
    pub(crate) async fn activate(
        &self,
        tx: &mut Tx,
        asked: &Asked<'_>,
        live: &LiveCaller,
    ) -> Result<Issued, Error> {
        tx.grant_used(live.record.id, self.now()).await?;
        let session = self.new_session(asked, live.record.expires_at)?;
        self.issue_session(tx, asked, live, session).await
    }

    /// The root token: a fresh authority block with a grant for `service("root")`.
    async fn activate_root(
        &self,
        tx: &mut Tx,
        asked: &Asked<'_>,
        token: &TokenText,
    ) -> Result<Issued, Error> {
        let named = asked.wanted.scopes.clone();
        let scopes = named.filter(|scopes| !scopes.is_empty()).ok_or_else(|| {
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
            not_after: Some(now.plus(asked.seconds)),
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
        let session = self.new_session(asked, grant.not_after)?;
        self.issue_session(tx, asked, &live, session).await
    }

    /// The one audience that was asked for.
    pub(crate) fn audience(&self, named: &[String]) -> Result<Option<Origin>, Error> {
        let mut origins = Vec::new();
        for text in named {
            let origin: Origin = text.parse().map_err(|_| {
                Error::InvalidTarget(format!(
                    "`{}` is not an http(s) origin, such as {}",
                    text.chars().take(200).collect::<String>(),
                    self.settings.gateway_url
                ))
            })?;
            origins.push(origin);
        }
        // The same one may be named as `audience` and as `resource`.
        origins.dedup();
        match origins.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            [..] => Err(Error::InvalidTarget(
                "a token has one audience: ask for one token for each".to_owned(),
            )),
        }
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
pub(crate) fn check_scopes(wanted: &Wanted, given: impl Fn(&&Scope) -> bool) -> Result<(), Error> {
    let Some(scopes) = &wanted.scopes else {
        return Ok(());
    };
    let missing: ScopeSet = scopes.iter().filter(|s| !given(s)).cloned().collect();
    if scopes.is_empty() || !missing.is_empty() {
        return Err(Error::InvalidScope(missing));
    }
    Ok(())
}
