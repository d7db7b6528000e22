//! Introspection (RFC 7662): what a token that somebody presented elsewhere is,
//! for resource servers that do not verify tokens themselves.

use std::sync::Arc;

use hardtack_token::{
    Access, Caveat, Denial, DenialKind, DeviceId, PublicKey, Request, Requirement, ScopeSet,
    TokenText,
};

use crate::authority::caller::{Call, Credential, From};
use crate::authority::client::{KeyOf, Proofs, Service};
use crate::authority::error::Word;
use crate::authority::{Authority, Error};
use crate::domain::grant::{GrantRecord, GrantStatus};
use crate::domain::operation::Operation;
use crate::domain::policy::Policy;
use crate::store::{GrantFilter, Page, SessionRecord, Tx};

const OPERATION: Operation = Operation::Introspect;
/// A device has one live grant for each of its roles.
const ROLES: u32 = 100;

/// What the asker says of the request that the token came with. A token that is
/// narrowed to methods, paths or operations is live for such a request only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stated<'a> {
    /// The HTTP method; `WEBSOCKET` for an upgrade.
    pub method: Option<&'a str>,
    /// The canonical path, without the query.
    pub path: Option<&'a str>,
    /// The name of the RPC method.
    pub operation: Option<&'a str>,
}

/// A live token.
#[derive(Clone, Debug)]
pub struct Introspected {
    /// The token.
    pub access: Arc<Access>,
    /// What it gives, implications expanded.
    pub scopes: ScopeSet,
    /// The row of the grant it speaks for.
    pub record: GrantRecord,
    /// The row of its session.
    pub session: SessionRecord,
    /// The key that it is bound to.
    pub key: Option<PublicKey>,
}

impl Authority {
    /// Says what a token is; `None` for anything that is not a live access or
    /// service token, whatever the reason.
    pub async fn introspect(
        &self,
        call: &Call<'_>,
        proofs: Proofs<'_>,
        token: &str,
        stated: Stated<'_>,
    ) -> Result<Option<Introspected>, Error> {
        let policy = self.policy();
        let mut tx = match call.credential {
            Credential::None => self.enter_as_client(&policy, proofs, call.from).await?,
            Credential::Bearer(_) | Credential::Dpop(_) | Credential::Connection(_) => {
                let entered = self.enter(call, OPERATION).await;
                entered.map_err(|error| error.said(Word::InvalidToken))?.1
            }
        };
        let found = self.look_at(&mut tx, &policy, token, stated).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Lets a client in that shows a service's token, or proves a device's key.
    async fn enter_as_client(
        &self,
        policy: &Policy,
        proofs: Proofs<'_>,
        from: From<'_>,
    ) -> Result<Tx, Error> {
        let (proven, mut tx) = self
            .enter_client(policy, proofs, None, KeyOf::Anything)
            .await?;
        let requirement = policy.operation(OPERATION).map(|(_, r)| r);
        let required = requirement.as_slice();
        match (&proven.service, proven.device()) {
            (Some(service), holder) => {
                self.service_may(service, proofs, holder, required)?;
            }
            (None, Some(device)) => {
                let call = Call {
                    target: proofs.target,
                    credential: Credential::None,
                    proof: None,
                    from,
                };
                self.device_may(&mut tx, policy, &call, device, required)
                    .await?;
            }
            (None, None) => return Err(Error::NoClient),
        }
        Ok(tx)
    }

    /// A client's secret is for this server wherever the token itself is for;
    /// all its other caveats hold.
    fn service_may(
        &self,
        service: &Service,
        proofs: Proofs<'_>,
        holder: Option<DeviceId>,
        required: &[Requirement],
    ) -> Result<(), Error> {
        let access = Arc::clone(&service.access);
        let audience = access.session().audience.clone();
        let request = Request {
            now: self.now(),
            audience: &audience,
            holder,
            method: Some(proofs.target.method),
            path: Some(proofs.target.path),
            operation: Some(OPERATION.name()),
        };
        let authenticated = access.authenticate(&request);
        let authenticated =
            authenticated.map_err(|denial| Error::from(denial).said(Word::InvalidClient))?;
        authenticated.authorize(&request, required)?;
        Ok(())
    }

    /// A device that proved its key may what one of its live grants gives.
    async fn device_may(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        call: &Call<'_>,
        device: DeviceId,
        required: &[Requirement],
    ) -> Result<(), Error> {
        let filter = GrantFilter {
            device: Some(device),
            status: Some(GrantStatus::Active),
        };
        let page = Page {
            after: None,
            limit: ROLES,
        };
        let mut refused = Error::UnknownGrant;
        for record in tx.grants(filter, page).await? {
            let allowed = match self.own_grant(tx, record.id).await {
                Ok(live) => self.call_session(&live, call, OPERATION, required, policy, device),
                Err(error) => Err(error),
            };
            match allowed {
                Ok(_) => return Ok(tx.grant_used(record.id, self.now()).await?),
                Err(error) => refused = error,
            }
        }
        Err(refused.said(Word::InvalidClient))
    }

    /// SECURITY: a grant is not live here. Whoever asks would take it for a
    /// credential, and it opens nothing without its device's key.
    async fn look_at(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        token: &str,
        stated: Stated<'_>,
    ) -> Result<Option<Introspected>, Error> {
        let now = self.now();
        let Ok(token) = TokenText::new(token) else {
            return Ok(None);
        };
        let read = self.verifier.verify_once(&token, policy.catalog(), now);
        let Some(access) = live(read)? else {
            return Ok(None);
        };
        // What the asker cannot see in the answer is decided here: the caveats
        // on the request by what it states, all others by the token's own words.
        let request = Request {
            now,
            audience: &access.session().audience.clone(),
            holder: holder(&access),
            method: stated.method,
            path: stated.path,
            operation: stated.operation,
        };
        let decided = Arc::clone(&access).authenticate(&request);
        let decided = decided.and_then(|access| access.authorize(&request, &[]));
        if live(decided)?.is_none() {
            return Ok(None);
        }
        let session = access.session().id;
        let record = match self.live_session(tx, session, access.grant_id()).await {
            Ok(record) => record,
            Err(Error::Denied(_) | Error::UnknownGrant) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(session) = tx.session(session).await? else {
            return Ok(None);
        };
        let key = match holder(&access) {
            None => None,
            Some(device) => match self.key_of_holder(tx, device).await? {
                // Bound to a key that nobody here has seen: the asker could not
                // check it, and would take the token for anybody's.
                None => return Ok(None),
                some => some,
            },
        };
        Ok(Some(Introspected {
            scopes: access.effective_scopes(),
            access,
            record,
            session,
            key,
        }))
    }

    async fn key_of_holder(
        &self,
        tx: &mut Tx,
        device: DeviceId,
    ) -> Result<Option<PublicKey>, Error> {
        match self.known_key(tx, device, KeyOf::Anything).await? {
            None => Ok(tx.bound_key(device).await?),
            some => Ok(some),
        }
    }
}

/// A refusal is an inactive token; not to know is a failure.
fn live<T>(decided: Result<T, Denial>) -> Result<Option<T>, Error> {
    match decided {
        Ok(value) => Ok(Some(value)),
        Err(denial) if denial.kind() == DenialKind::Unavailable => Err(denial.into()),
        Err(_) => Ok(None),
    }
}

/// The device that a token is bound to. Where several are named it is bound to
/// none that could prove all, and the decision says so.
fn holder(access: &Access) -> Option<DeviceId> {
    let session = access.session().caveats.iter();
    let mut caveats = session.chain(access.chain().holder.iter().flatten());
    caveats.find_map(|caveat| match caveat {
        Caveat::Holder(device) => Some(*device),
        Caveat::Scopes(_)
        | Caveat::NotAfter(_)
        | Caveat::Audience(_)
        | Caveat::Method(_)
        | Caveat::Path(_)
        | Caveat::Operation(_) => None,
    })
}
