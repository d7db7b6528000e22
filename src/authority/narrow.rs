//! Access and service tokens as input: a holder's block on exactly what was
//! presented. Never a new session, so never longer, wider or elsewhere.

use hardtack_token::{
    Access, Caveat, MAX_HOLDER_BLOCKS, ScopeSet, Timestamp, TokenText, attenuate,
};

use crate::authority::caller::From;
use crate::authority::client::{KeyOf, Proofs};
use crate::authority::exchange::{Asked, Issued, Wanted, check_scopes};
use crate::authority::{Authority, Error};
use crate::store::Tx;

impl Authority {
    /// The service's own token as client credentials (RFC 6749 section 4.4).
    pub async fn client_credentials(
        &self,
        wanted: &Wanted,
        proofs: Proofs<'_>,
        from: From<'_>,
    ) -> Result<Issued, Error> {
        if proofs.secret.is_none() {
            return Err(Error::NoClient);
        }
        let (asked, mut tx) = self
            .enter_to_get(wanted, proofs, None, KeyOf::Anything, from)
            .await?;
        let service = asked.proven.service.as_ref().ok_or(Error::NoClient)?;
        let issued = self
            .narrow_live(&mut tx, &asked, &service.token, &service.access)
            .await?;
        tx.commit().await?;
        Ok(issued)
    }

    /// Narrows a presented access or service token.
    pub(crate) async fn narrow(
        &self,
        tx: &mut Tx,
        asked: &Asked<'_>,
        token: &TokenText,
    ) -> Result<Issued, Error> {
        let now = self.now();
        let access = self
            .verifier
            .verify_once(token, asked.policy.catalog(), now)?;
        access.check_live(now, asked.proven.device())?;
        self.live_session(tx, access.session().id, access.grant_id())
            .await?;
        self.narrow_live(tx, asked, token, &access).await
    }

    /// The block, on a token whose rows were found live.
    async fn narrow_live(
        &self,
        tx: &mut Tx,
        asked: &Asked<'_>,
        token: &TokenText,
        access: &Access,
    ) -> Result<Issued, Error> {
        let now = self.now();
        let catalog = asked.policy.catalog();
        if access.chain().holder.len() >= MAX_HOLDER_BLOCKS {
            return Err(Error::ChainTooLong);
        }
        self.check_same_audience(access, asked.wanted)?;
        check_scopes(asked.wanted, |s| {
            let required = catalog.require(s);
            required.is_some_and(|r| catalog.meets(access.scope_bits(), r))
        })?;
        let end = access.expires_at().min(now.plus(asked.seconds));
        let named = asked.wanted.scopes.clone();
        let mut caveats = vec![Caveat::NotAfter(end)];
        caveats.extend(named.clone().map(Caveat::Scopes));
        let bound = access.bound_to_holder();
        if !bound {
            caveats.extend(self.bind(tx, asked, end).await?);
        }
        let scopes: ScopeSet = named.unwrap_or_else(|| access.scopes());
        Ok(Issued {
            token: attenuate(token, &caveats, &mut self.entropy.rng())?,
            bound: bound || asked.proven.bind,
            expires_in: end.since(now),
            scopes,
            warning: None,
        })
    }

    /// The caveat that binds to the key of a DPoP proof. The key is kept for as
    /// long as the token lives: whoever introspects it is told which one it is.
    async fn bind(
        &self,
        tx: &mut Tx,
        asked: &Asked<'_>,
        end: Timestamp,
    ) -> Result<Option<Caveat>, Error> {
        match asked.proven.key() {
            Some(key) if asked.proven.bind => {
                tx.keep_key(key.device, &key.key, end).await?;
                Ok(Some(Caveat::Holder(key.device)))
            }
            Some(_) | None => Ok(None),
        }
    }

    fn check_same_audience(&self, access: &Access, wanted: &Wanted) -> Result<(), Error> {
        match self.audience(&wanted.audiences)? {
            Some(origin) if origin.as_str() != access.session().audience => {
                Err(Error::InvalidTarget(format!(
                    "this access token is for `{}` and cannot be given another audience: exchange the grant",
                    access.session().audience
                )))
            }
            Some(_) | None => Ok(()),
        }
    }
}
