//! Service tokens, for machines without a key: a grant for a service and one
//! dated session on it, made once and given out once.
//!
//! There is no key to prove, so that such a token gets no other session, cannot
//! be fetched again, and makes no authority.

use hardtack_token::{
    Grant, GrantId, NewSession, Scope, ScopeSet, ServiceName, SessionId, Subject, TokenText,
};
use serde_json::json;

use crate::authority::caller::{Call, Caller, CallerKind, GrantCaller};
use crate::authority::error::Shortfall;
use crate::authority::{Authority, Error, SERVICE};
use crate::domain::grant::Holder;
use crate::domain::operation::Operation;
use crate::domain::service_token::{DEFAULT_LIFE, MAX_LIFE, ServiceStatus, ServiceToken};
use crate::store::{NewGrant, Page, ServiceFilter, SessionRecord, Tx};

/// A service token that is asked for.
#[derive(Clone, Debug)]
pub struct NewService {
    /// The service's name, which is its client id.
    pub name: ServiceName,
    /// What it is to give.
    pub scopes: ScopeSet,
    /// The origin it is for; the gateway's where none is named.
    pub audience: Option<String>,
    /// Its life in seconds.
    pub expires_in: Option<u64>,
}

/// A service token as it is given out, once.
#[derive(Clone, Debug)]
pub struct IssuedService {
    /// The token.
    pub token: TokenText,
    /// What is kept of it.
    pub service: ServiceToken,
}

impl Authority {
    /// Issues a service token on the caller's own stored chain.
    pub async fn issue_service_token(
        &self,
        call: &Call<'_>,
        new: &NewService,
    ) -> Result<IssuedService, Error> {
        let (caller, mut tx) = self.enter(call, Operation::TokensIssue).await?;
        let CallerKind::Grant(parent) = &caller.kind else {
            return Err(Error::GrantRequired {
                operation: Operation::TokensIssue,
                request: None,
            });
        };
        let audience = new.audience.iter().cloned().collect::<Vec<_>>();
        let audience = self.audience(&audience)?;
        let audience = audience.unwrap_or_else(|| self.settings.gateway_url.clone());
        self.check_service(&mut tx, &caller, new).await?;

        let mut rng = self.entropy.rng();
        let now = self.now();
        let asked = now.plus(service_seconds(new.expires_in)?);
        let end = parent.record.expires_at.map_or(asked, |own| own.min(asked));
        let grant = Grant {
            id: GrantId::from_uuid(self.new_uuid(&mut rng)),
            subject: Subject::Service(new.name.clone()),
            role: SERVICE.parse()?,
            scopes: new.scopes.clone(),
            not_after: Some(end),
        };
        let session = NewSession {
            id: SessionId::from_uuid(self.new_uuid(&mut rng)),
            audience: audience.to_string(),
            not_after: end,
            caveats: Vec::new(),
        };
        let keys = self.keys();
        let chain = parent
            .chain
            .append_grant(&grant, &keys.attestation, &mut rng)?;
        let token = chain.append_session(&session, &keys.attestation, &mut rng)?;
        // What does not verify here would not verify at a gateway.
        self.verifier
            .verify_once(&token, caller.policy.catalog(), now)?;
        let sealed = self.seal_chain(grant.id, &chain, &mut rng)?;
        self.place_service(&mut tx, parent, grant.clone(), sealed, &session)
            .await?;
        let detail = json!({
            "name": new.name.as_str(),
            "scopes": grant.scopes.to_strings(),
            "audience": session.audience,
            "session_id": session.id.to_string(),
            "expires_at": end.to_string(),
        });
        self.audit_of(&mut tx, &caller, call, "service.issue", grant.id, detail)
            .await?;
        let service = self.service_token(&mut tx, grant.id).await?;
        tx.commit().await?;
        Ok(IssuedService { token, service })
    }

    /// Lists service tokens.
    pub async fn service_tokens(
        &self,
        call: &Call<'_>,
        status: Option<ServiceStatus>,
        page: Page<GrantId>,
    ) -> Result<Vec<ServiceToken>, Error> {
        let (_, mut tx) = self.enter(call, Operation::TokensList).await?;
        let filter = ServiceFilter {
            status,
            ..ServiceFilter::default()
        };
        let found = tx.service_tokens(&filter, page, self.now()).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Revokes a service token. Whoever issued it may, directly or through
    /// others, and who may end any device.
    pub async fn revoke_service_token(
        &self,
        call: &Call<'_>,
        grant: GrantId,
    ) -> Result<ServiceToken, Error> {
        let operation = Operation::TokensRevoke;
        let (caller, mut tx) = self.enter(call, operation).await?;
        let service = self.service_token(&mut tx, grant).await?;
        let own = match caller.record() {
            Some(by) => tx.issued_by(grant, by.id, by.device()).await?,
            None => true,
        };
        if !own && !caller.is_root() {
            self.need(&mut tx, &caller, Operation::DevicesEndAny)
                .await?;
        }
        if service.status_at(self.now()) == ServiceStatus::Revoked {
            tx.commit().await?;
            return Ok(service);
        }
        let mut ended = Vec::new();
        tx.revoke_grant(grant).await?;
        self.end(
            &mut tx,
            grant.uuid(),
            hardtack_token::End::Revoked,
            &mut ended,
        )
        .await?;
        let detail = json!({"name": service.grant.name});
        self.audit_of(&mut tx, &caller, call, "service.revoke", grant, detail)
            .await?;
        let service = self.service_token(&mut tx, grant).await?;
        self.commit(tx, &ended).await?;
        Ok(service)
    }

    /// INVARIANT (I1): a service token gives nothing that whoever issues it does
    /// not hold by its stored chain.
    async fn check_service(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        new: &NewService,
    ) -> Result<(), Error> {
        if new.name.is_root() {
            let why = "the name `root` is taken by exchanges of the root token";
            return Err(Error::InvalidRequest(why.to_owned()));
        }
        if new.scopes.is_empty() {
            let why = "a service token without any scope would allow nothing";
            return Err(Error::InvalidRequest(why.to_owned()));
        }
        let catalog = caller.policy.catalog();
        if let Some(unknown) = new.scopes.iter().find(|s| !catalog.knows(s)) {
            return Err(Error::UnknownScope(unknown.clone()));
        }
        let can_give = |scope: &&Scope| catalog.require(scope).is_some_and(|r| caller.has(r));
        let missing: ScopeSet = new
            .scopes
            .iter()
            .filter(|s| !can_give(s))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(Error::InsufficientScope(Box::new(Shortfall {
                why: format!(
                    "nobody can give more than they hold, and you do not hold `{missing}`"
                ),
                required: new.scopes.clone(),
                held: caller.held(),
                could_give: new.scopes.iter().filter(can_give).cloned().collect(),
                others: self
                    .who_can(tx, &caller.policy, Operation::TokensIssue, &new.scopes)
                    .await?,
                missing,
                request: None,
            })));
        }
        let filter = ServiceFilter {
            name: Some(new.name.clone()),
            status: Some(ServiceStatus::Active),
            grant: None,
        };
        // Writes come one after the other: what is free now is free at the commit.
        if tx
            .service_tokens(&filter, ONE, self.now())
            .await?
            .is_empty()
        {
            Ok(())
        } else {
            Err(Error::ServiceExists(new.name.clone()))
        }
    }

    async fn place_service(
        &self,
        tx: &mut Tx,
        parent: &GrantCaller,
        grant: Grant,
        sealed: Vec<u8>,
        session: &NewSession,
    ) -> Result<(), Error> {
        let now = self.now();
        let name = ServiceName::clone(match &grant.subject {
            Subject::Service(name) => name,
            Subject::Device(_) => return Err(Error::NotAGrant),
        });
        tx.insert_grant(&NewGrant {
            id: grant.id,
            authority: parent.profile.authority,
            ancestors: parent.profile.grants().map(|g| g.id).collect(),
            name: name.to_string(),
            holder: Holder::Service(name),
            role: grant.role,
            scopes: grant.scopes,
            local: false,
            chain: sealed,
            created_at: now,
            expires_at: grant.not_after,
        })
        .await?;
        tx.insert_session(&SessionRecord {
            id: session.id,
            grant: grant.id,
            audience: session.audience.clone(),
            revoked: false,
            created_at: now,
            expires_at: session.not_after,
        })
        .await?;
        Ok(tx.insert_service_token(grant.id, &session.audience).await?)
    }

    async fn service_token(&self, tx: &mut Tx, grant: GrantId) -> Result<ServiceToken, Error> {
        let filter = ServiceFilter {
            grant: Some(grant),
            ..ServiceFilter::default()
        };
        let found = tx.service_tokens(&filter, ONE, self.now()).await?;
        found
            .into_iter()
            .next()
            .ok_or(Error::NotFound("service token"))
    }
}

const ONE: Page<GrantId> = Page {
    after: None,
    limit: 1,
};

fn service_seconds(asked: Option<u64>) -> Result<u64, Error> {
    match asked {
        None => Ok(DEFAULT_LIFE),
        Some(seconds @ 1..=MAX_LIFE) => Ok(seconds),
        Some(_) => Err(Error::InvalidRequest(format!(
            "`expires_in` must be 1 to {MAX_LIFE} seconds"
        ))),
    }
}
